/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "private.h"

/* ---- sets ---- */

/* the first that is not below @id */
static size_t at_or_after(const struct packset *set, uint32_t id)
{
	size_t low = 0, high = set->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (set->v[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct pack *packset_find(const struct packset *set, uint32_t id)
{
	size_t k = at_or_after(set, id);

	return k < set->n && set->v[k]->id == id ? set->v[k] : NULL;
}

int packset_add(struct packset *set, struct pack *p)
{
	size_t k = at_or_after(set, p->id);
	int r = array_grow((void **)&set->v, &set->cap, set->n + 1, sizeof(*set->v));

	if (r < 0)
		return r;
	memmove(&set->v[k + 1], &set->v[k], (set->n - k) * sizeof(*set->v));
	set->v[k] = p;
	set->n++;
	return 0;
}

void packset_del(struct packset *set, uint32_t id)
{
	size_t k = at_or_after(set, id);

	if (k == set->n || set->v[k]->id != id)
		return;
	set->n--;
	memmove(&set->v[k], &set->v[k + 1], (set->n - k) * sizeof(*set->v));
}

void packset_release(struct store *s, struct packset *set)
{
	while (set->n)
		pack_release(s, set->v[--set->n]);
	free(set->v);
	*set = (struct packset){ 0 };
}

/* ---- packs in use ---- */

void pack_path(const struct store *s, uint32_t id, const char *suffix, char out[PATH_MAX])
{
	char name[32];

	snprintf(name, sizeof(name), "%08x.%s", id, suffix);
	store_path(s, out, "packs", name);
}

/* under packs_lock */
static int hold_new(struct store *s, uint32_t id, struct pack **ret)
{
	char path[PATH_MAX];
	struct pack *p = calloc(1, sizeof(*p));
	int r = p ? use_take(s, LOCK_PACK, id) : -ENOMEM;

	if (r < 0) {
		free(p);
		return r;
	}
	*p = (struct pack){ .id = id, .refs = 1, .fd = -1, .hold_generation = atomic_load(&s->state->generation) };
	pack_path(s, id, "pack", path);
	r = access(path, F_OK) < 0 ? -errno : packset_add(&s->packs, p);
	if (r < 0) {
		use_drop(s, LOCK_PACK, id);
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int pack_hold(struct store *s, uint32_t id, struct pack **ret)
{
	struct pack *p;
	int r = 0;

	pthread_mutex_lock(&s->packs_lock);
	p = packset_find(&s->packs, id);
	if (p)
		p->refs++;
	else
		r = hold_new(s, id, &p);
	pthread_mutex_unlock(&s->packs_lock);
	if (r == 0)
		*ret = p;
	return r;
}

static void unmap(struct store *s, struct pack *p)
{
	if (p->map && p->announced && s->gone)
		s->gone(s->gone_ctx, p->map, p->map_bytes);
	if (p->map)
		munmap(p->map, p->map_bytes);
}

void pack_release(struct store *s, struct pack *p)
{
	bool last;

	pthread_mutex_lock(&s->packs_lock);
	last = --p->refs == 0;
	if (last) {
		packset_del(&s->packs, p->id);
		unmap(s, p);
		for (int k = 0; k < IO_WAYS; k++)
			hearth_ds_file_close(p->file[k]);
		fd_close(&p->fd);
		use_drop(s, LOCK_PACK, p->id);
	}
	pthread_mutex_unlock(&s->packs_lock);
	if (last)
		free(p);
}

int pack_fd_locked(struct store *s, struct pack *p)
{
	char path[PATH_MAX];

	if (p->fd < 0) {
		pack_path(s, p->id, "pack", path);
		p->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (p->fd < 0)
			return -errno;
	}
	return p->fd;
}

int pack_fd(struct store *s, struct pack *p)
{
	int fd;

	pthread_mutex_lock(&s->packs_lock);
	fd = pack_fd_locked(s, p);
	pthread_mutex_unlock(&s->packs_lock);
	return fd;
}

/* Before Linux 5.14 pages are faulted in one by one, when they are used: slower, nothing else. */
static int map_whole(struct store *s, struct pack *p, int fd, bool write)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return -EBADMSG;
	/* a driver registers only what may be written */
	map = mmap(NULL, (size_t)st.st_size, write || s->each ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	if (write && madvise(map, (size_t)st.st_size, MADV_POPULATE_WRITE) < 0 && errno != EINVAL) {
		int r = -errno;

		munmap(map, (size_t)st.st_size);
		return r;
	}
	p->map = map;
	p->map_bytes = (size_t)st.st_size;
	p->announced = s->each != NULL;
	if (s->each)
		s->each(s->each_ctx, p->map, p->map_bytes);
	return 0;
}

int pack_map(struct store *s, struct pack *p, bool write)
{
	char path[PATH_MAX];
	FD_AUTO int fd = -1;
	int r = 0;

	pthread_mutex_lock(&s->packs_lock);
	if (!p->map) {
		pack_path(s, p->id, "pack", path);
		fd = open(path, (write || s->each ? O_RDWR : O_RDONLY) | O_CLOEXEC);
		r = fd < 0 ? -errno : map_whole(s, p, fd, write);
	}
	pthread_mutex_unlock(&s->packs_lock);
	return r;
}

bool pack_mapped(struct store *s, struct pack *p)
{
	bool mapped;

	pthread_mutex_lock(&s->packs_lock);
	mapped = p->map != NULL;
	pthread_mutex_unlock(&s->packs_lock);
	return mapped;
}

void pack_mark_bad(struct store *s, uint32_t id)
{
	char path[PATH_MAX];
	int fd;

	/* if this fails the damage may be shared once more; it is found again when that is read */
	pack_path(s, id, "bad", path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	fd_close(&fd);
}

bool pack_is_bad(const struct store *s, uint32_t id)
{
	char path[PATH_MAX];

	pack_path(s, id, "bad", path);
	return access(path, F_OK) == 0;
}
