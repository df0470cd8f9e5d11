/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/fault.h"
#include "index.h"

#define SLOTS (1u << 20)

enum { EMPTY, FULL, FREED };

struct slot {
	struct farmem_object object;
	uint64_t id, digest;
	uint64_t state;
};

struct table {
	uint64_t pages;
	uint8_t pad[4088];
	struct slot slot[SLOTS];
};

struct store {
	pthread_mutex_t lock;
	int data_fd;
	struct table *t;
	uint8_t *data;
};

static bool same(const struct slot *e, const struct farmem_object *o, uint64_t id)
{
	return e->state == FULL && e->id == id && !memcmp(&e->object, o, sizeof(*o));
}

static struct slot *find(struct store *s, const struct farmem_object *o, uint64_t id, bool make)
{
	uint64_t at = (o->instance * 31 + id) * 0x9e3779b97f4a7c15ull >> 44;
	struct slot *free_one = NULL;

	for (unsigned k = 0; k < SLOTS; k++, at = (at + 1) % SLOTS) {
		struct slot *e = &s->t->slot[at];

		if (same(e, o, id))
			return e;
		if (e->state != FULL && !free_one)
			free_one = e;
		if (e->state == EMPTY)
			break;
	}
	return make ? free_one : NULL;
}

static uint8_t *page_of(const struct store *s, const struct slot *e)
{
	return s->data + (size_t)(e - s->t->slot) * PAGE_BYTES;
}

static void drop(struct store *s, struct slot *e)
{
	e->state = FREED;
	s->t->pages--;
	(void)fallocate(s->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)((size_t)(e - s->t->slot) * PAGE_BYTES), PAGE_BYTES);
}

static int put(struct store *s, const struct farmem_object *o, uint64_t id, const void *page)
{
	struct slot *e = find(s, o, id, true);

	if (!e || fault_point("pager-pool-full"))
		return -ENOSPC;
	memcpy(page_of(s, e), page, PAGE_BYTES);
	e->digest = XXH3_64bits(page, PAGE_BYTES);
	e->object = *o;
	e->id = id;
	s->t->pages += e->state != FULL;
	__atomic_store_n(&e->state, FULL, __ATOMIC_RELEASE);
	return 0;
}

static int get(struct store *s, const struct farmem_object *o, uint64_t id, void *page)
{
	struct slot *e = find(s, o, id, false);

	if (!e || fault_point("pager-pool-lost"))
		return -ENOENT;
	memcpy(page, page_of(s, e), PAGE_BYTES);
	return XXH3_64bits(page, PAGE_BYTES) == e->digest ? 0 : -EBADMSG;
}

static void del_all(struct store *s, const struct farmem_object *o)
{
	for (unsigned k = 0; k < SLOTS && s->t->pages; k++)
		if (s->t->slot[k].state == FULL && !memcmp(&s->t->slot[k].object, o, sizeof(*o)))
			drop(s, &s->t->slot[k]);
}

static void *map_fd(int *fd, const char *name, size_t bytes)
{
	void *p;

	if (*fd < 0) {
		*fd = memfd_create(name, MFD_CLOEXEC);
		if (*fd < 0 || ftruncate(*fd, (off_t)bytes) < 0)
			return NULL;
	}
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

int store_open(const char *uri, struct store_state *state, struct store **ret, struct hearth_err *err)
{
	struct store *s = calloc(1, sizeof(*s));
	int fds[2] = { state->n ? state->fds[0] : -1, state->n ? state->fds[1] : -1 };

	if (strcmp(uri, "embedded:")) {
		free(s);
		return err_set(err, -EINVAL, "no such pool: %s", uri);
	}
	if (s) {
		pthread_mutex_init(&s->lock, NULL);
		s->t = map_fd(&fds[0], "hearth-pager-pool", sizeof(struct table));
		s->data = map_fd(&fds[1], "hearth-pager-pages", (size_t)SLOTS * PAGE_BYTES);
	}
	if (!s || !s->t || !s->data) {
		free(s);
		return err_set(err, -ENOMEM, "out of memory");
	}
	s->data_fd = fds[1];
	memcpy(state->fds, fds, sizeof(fds));
	state->n = 2;
	*ret = s;
	return 0;
}

struct store *store_close(struct store *s)
{
	free(s);
	return NULL;
}

bool store_submit(struct store *s, struct store_op *op)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned k = 0; k < op->n; k++) {
		struct slot *e;

		switch (op->kind) {
		case STORE_PUT:
			op->status[k] = put(s, &op->object, op->ids[k], op->pages[k]);
			break;
		case STORE_GET:
			op->status[k] = get(s, &op->object, op->ids[k], op->pages[k]);
			break;
		case STORE_DEL:
			e = find(s, &op->object, op->ids[k], false);
			if (e)
				drop(s, e);
			break;
		case STORE_DEL_ALL:
			break;
		}
	}
	if (op->kind == STORE_DEL_ALL)
		del_all(s, &op->object);
	pthread_mutex_unlock(&s->lock);
	return true;
}

int store_fd(const struct store *s)
{
	return -1;
}

void store_work(struct store *s)
{
}

uint64_t store_bytes(struct store *s, const struct farmem_object *object)
{
	return s->t->pages * PAGE_BYTES;
}
