/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "private.h"

/*
 * Which chunks there are, and where: the tables of all images, by digest. A hint only: packs may have gone, or lost space, since it was read. What it says counts for a pack that is held since
 * before it was read (hold_generation), for from then on nobody takes anything from that pack.
 */

struct refresh {
	struct store *s;
	struct index_image *images;     /* those that are there now */
	size_t n, cap;
};

static int add_chunks(struct store *s, const struct manifest *m)
{
	for (size_t k = 0; k < m->chunks_n; k++) {
		const struct store_chunk *c = &m->chunks[k];

		if (c->pack != 0 && !table_find(&s->index.table, c->digest) && !table_add(&s->index.table, c))
			return -ENOMEM;
	}
	return 0;
}

/* what is damaged is nothing to share: it is left out. Chunks of packs marked bad, too. */
static int add_image(struct store *s, const char *name)
{
	struct manifest m;
	int r = manifest_load(s, name, true, &m, NULL);

	if (r < 0)
		return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? r : 0;
	for (size_t k = 0; k < m.packs_n; k++)
		if (pack_is_bad(s, m.packs[k]))
			for (size_t i = 0; i < m.chunks_n; i++)
				if (m.chunks[i].pack == m.packs[k])
					m.chunks[i].pack = 0;
	r = add_chunks(s, &m);
	manifest_done(&m);
	return r;
}

static int note(void *ctx, const char *name)
{
	struct refresh *f = ctx;
	struct index_image *i;
	struct manifest m;
	int r = manifest_load(f->s, name, false, &m, NULL);

	if (r < 0)
		return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? r : 0;
	r = array_grow((void **)&f->images, &f->cap, f->n + 1, sizeof(*f->images));
	if (r == 0) {
		i = &f->images[f->n++];
		i->id = m.id;
		snprintf(i->name, sizeof(i->name), "%s", name);
	}
	manifest_done(&m);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct index_image *)a)->name, ((const struct index_image *)b)->name);
}

static bool has(const struct index_image *list, size_t n, const struct index_image *i)
{
	const struct index_image *found = n ? bsearch(i, list, n, sizeof(*list), by_name) : NULL;

	return found && digest_equal(found->id, i->id);
}

/* new images are added; if one has gone, all is read anew */
static int update(struct store *s, struct refresh *f)
{
	struct index *x = &s->index;
	bool anew = false;
	int r = 0;

	if (f->n)
		qsort(f->images, f->n, sizeof(*f->images), by_name);
	for (size_t k = 0; k < x->images_n && !anew; k++)
		anew = !has(f->images, f->n, &x->images[k]);
	if (anew) {
		table_done(&x->table);
		x->images_n = 0;
	}
	for (size_t k = 0; k < f->n && r == 0; k++)
		if (!has(x->images, x->images_n, &f->images[k]))
			r = add_image(s, f->images[k].name);
	free(x->images);
	x->images = f->images;
	x->images_n = r == 0 ? f->n : 0;
	if (r < 0)
		table_done(&x->table);
	return r;
}

static int refresh(struct store *s)
{
	struct refresh f = { .s = s };
	struct index *x = &s->index;
	uint64_t now;
	int r = lock_all(s, false);

	if (r < 0)
		return r;
	now = atomic_load(&s->state->generation);
	if (!x->loaded || x->generation != now) {
		r = images_each(s, false, note, &f);
		if (r == 0)
			r = update(s, &f);
		else
			free(f.images);
		x->loaded = r == 0;
		x->generation = now;
	}
	unlock_all(s);
	return r;
}

int index_refresh(struct store *s)
{
	int r;

	pthread_rwlock_wrlock(&s->index.lock);
	r = refresh(s);
	pthread_rwlock_unlock(&s->index.lock);
	return r;
}

static bool find(struct store *s, struct digest d, struct store_chunk *ret, uint64_t *ret_generation)
{
	struct slot *slot;

	pthread_rwlock_rdlock(&s->index.lock);
	slot = table_find(&s->index.table, d);
	if (slot)
		*ret = slot->chunk;
	*ret_generation = s->index.generation;
	pthread_rwlock_unlock(&s->index.lock);
	return slot != NULL;
}

void index_prefetch(struct store *s, const struct digest *digests, size_t n)
{
	pthread_rwlock_rdlock(&s->index.lock);
	for (size_t k = 0; k < n; k++)
		table_prefetch(&s->index.table, digests[k]);
	pthread_rwlock_unlock(&s->index.lock);
}

static int hold_for(struct store *s, struct packset *set, uint32_t id, struct pack **ret)
{
	struct pack *p;
	int r = pack_hold(s, id, &p);

	if (r < 0)
		return r;
	/* found damaged since the index was read: as if it were not there */
	r = pack_is_bad(s, id) ? -ENOENT : packset_add(set, p);
	if (r < 0)
		pack_release(s, p);
	else
		*ret = p;
	return r;
}

int index_find(struct store *s, struct packset *set, struct digest d, struct store_chunk *ret)
{
	struct store_chunk c;
	struct pack *p;
	uint64_t read_at;
	int r;

	for (;;) {
		if (!find(s, d, &c, &read_at))
			return 0;
		p = packset_find(set, c.pack);
		r = p ? 0 : hold_for(s, set, c.pack, &p);
		if (r == -ENOENT || r == -EAGAIN)
			return 0;
		if (r < 0)
			return r;
		/* held first, read after: true from now on */
		if (read_at >= p->hold_generation) {
			*ret = c;
			return 1;
		}
		r = index_refresh(s);
		if (r < 0)
			return r;
	}
}

void index_done(struct store *s)
{
	table_done(&s->index.table);
	free(s->index.images);
}
