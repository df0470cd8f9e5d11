/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "private.h"

/* Who uses which place, one entry a place. @owner: number of the image, SEVERAL; @seen: the image that was the last to count it. Images are numbered from 1; pack 0: a free entry. */
struct owned { uint32_t pack, owner, seen, pages; uint64_t at; };
#define SEVERAL UINT32_MAX

struct listing {
	struct store *s;
	struct store_entry *list;
	size_t n, cap;
	struct owned *places;
	size_t places_n, places_cap;
};

static size_t hash(uint32_t pack, uint64_t at)
{
	uint64_t h = (at / STORE_PAGE + ((uint64_t)pack << 32)) * 0x9e3779b97f4a7c15ull;

	return (size_t)(h ^ h >> 29);
}

static struct owned *find(const struct listing *l, uint32_t pack, uint64_t at)
{
	size_t i = hash(pack, at) & (l->places_cap - 1);

	while (l->places[i].pack && (l->places[i].pack != pack || l->places[i].at != at))
		i = (i + 1) & (l->places_cap - 1);
	return &l->places[i];
}

static int grow(struct listing *l)
{
	struct listing bigger = { .places_cap = l->places_cap ? l->places_cap * 2 : 1024 };

	bigger.places = calloc(bigger.places_cap, sizeof(*bigger.places));
	if (!bigger.places)
		return -ENOMEM;
	for (size_t i = 0; i < l->places_cap; i++)
		if (l->places[i].pack)
			*find(&bigger, l->places[i].pack, l->places[i].at) = l->places[i];
	free(l->places);
	l->places = bigger.places;
	l->places_cap = bigger.places_cap;
	return 0;
}

/* Each image counts a place once, however often it has it. Who was alone with it until now is not any more. */
static int count(struct listing *l, const struct store_chunk *c, uint32_t image)
{
	struct store_entry *e = &l->list[image - 1], *before;
	struct owned *o;
	uint64_t bytes = (uint64_t)pages_of(c->stored) * STORE_PAGE;

	if ((l->places_n + 1) * 4 > l->places_cap * 3 && grow(l) < 0)
		return -ENOMEM;
	o = find(l, c->pack, c->at);
	if (!o->pack) {
		*o = (struct owned){ .pack = c->pack, .at = c->at, .owner = image, .seen = image, .pages = pages_of(c->stored) };
		l->places_n++;
		e->own_bytes += bytes;
		return 0;
	}
	if (o->seen == image)
		return 0;
	if (o->owner != SEVERAL) {
		before = &l->list[o->owner - 1];
		before->own_bytes -= bytes;
		before->shared_bytes += bytes;
		o->owner = SEVERAL;
	}
	e->shared_bytes += bytes;
	o->seen = image;
	return 0;
}

static void when_made(struct listing *l, struct store_entry *e)
{
	char path[PATH_MAX];
	struct stat st;

	store_path(l->s, path, "images", e->name);
	if (stat(path, &st) == 0)
		e->created_ns = (uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec;
}

static int add(void *ctx, const char *name)
{
	struct listing *l = ctx;
	struct store_entry *e;
	struct manifest m;
	int r = array_grow((void **)&l->list, &l->cap, l->n + 1, sizeof(*l->list));

	if (r < 0)
		return r;
	e = &l->list[l->n];
	*e = (struct store_entry){ 0 };
	snprintf(e->name, sizeof(e->name), "%s", name);
	r = manifest_load(l->s, name, true, &m, NULL);
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return r;
	l->n++;
	e->damaged = r < 0;
	if (r < 0) {
		when_made(l, e);
		return 0;
	}
	e->created_ns = m.created_ns;
	e->meta = json_incref(m.meta);
	for (size_t k = 0; k < m.objects_n; k++)
		e->bytes += m.objects[k].bytes;
	for (size_t k = 0; k < m.chunks_n && r == 0; k++)
		if (m.chunks[k].pack)
			r = count(l, &m.chunks[k], (uint32_t)l->n);
	manifest_done(&m);
	return r;
}

static int by_age(const void *a, const void *b)
{
	const struct store_entry *x = a, *y = b;

	return x->created_ns != y->created_ns ? (x->created_ns < y->created_ns ? -1 : 1) : strcmp(x->name, y->name);
}

static int load(struct listing *l, struct hearth_err *err)
{
	int r = lock_all(l->s, false);

	if (r == 0) {
		r = images_each(l->s, false, add, l);
		unlock_all(l->s);
	}
	if (r < 0)
		return err_set(err, r, "store %s: cannot list the images: %s", l->s->dir, strerror(-r));
	return 0;
}

int store_list(struct store *s, struct store_entry **ret, size_t *ret_n, struct hearth_err *err)
{
	struct listing l = { .s = s };
	int r = load(&l, err);

	free(l.places);
	if (r < 0) {
		store_list_free(l.list, l.n);
		return r;
	}
	if (l.n)
		qsort(l.list, l.n, sizeof(*l.list), by_age);
	*ret = l.list;
	*ret_n = l.n;
	return 0;
}

void store_list_free(struct store_entry *list, size_t n)
{
	for (size_t k = 0; k < n; k++)
		json_decref(list[k].meta);
	free(list);
}

/* ---- all together ---- */

struct weigh { struct store *s; struct store_usage *u; };

static int weigh(void *ctx, uint32_t id)
{
	struct weigh *w = ctx;
	char path[PATH_MAX];
	struct stat st;

	pack_path(w->s, id, "pack", path);
	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	w->u->packs++;
	w->u->pack_bytes += (uint64_t)st.st_blocks * 512;
	return 0;
}

int store_usage(struct store *s, struct store_usage *ret, struct hearth_err *err)
{
	struct listing l = { .s = s };
	struct store_usage u = { 0 };
	struct weigh w = { s, &u };
	int r = load(&l, err);

	for (size_t k = 0; k < l.n && r == 0; k++) {
		u.images++;
		u.damaged += l.list[k].damaged;
		u.bytes += l.list[k].bytes;
	}
	for (size_t i = 0; i < l.places_cap && r == 0; i++)
		if (l.places[i].pack)
			u.live_bytes += (uint64_t)l.places[i].pages * STORE_PAGE;
	if (r == 0) {
		r = packs_each(s, weigh, &w);
		if (r < 0)
			err_set(err, r, "store %s: packs: %s", s->dir, strerror(-r));
	}
	free(l.places);
	store_list_free(l.list, l.n);
	if (r == 0)
		*ret = u;
	return r;
}
