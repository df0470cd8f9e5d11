/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "private.h"

const char *draft_name(const struct store_draft *d)
{
	return *d->name ? d->name : "(to be sealed)";
}

int draft_error(const struct store_draft *d, int r, struct hearth_err *err)
{
	const char *help = r == -ENOSPC ? "; remove images (hearth images du), or use another store" : r == -EIO ? "; the kernel's log says more of the drive (dmesg); use another store" : "";

	return err_set(err, r, "image %s: cannot write to %s: %s%s", draft_name(d), d->store->dir, strerror(-r), help);
}

/* ---- beginning, ending ---- */

static int take_number(struct store *s, uint32_t *ret)
{
	int r;

	do {
		*ret = atomic_fetch_add(&s->state->next_draft, 1);
		r = use_take(s, LOCK_DRAFT, *ret);
	} while (r == -EAGAIN);
	return r;
}

static int check_name(const struct store *s, const char *name, struct hearth_err *err)
{
	char path[PATH_MAX];

	if (!store_name_ok(name))
		return err_set(err, -EINVAL, "image name '%.250s': use letters, digits, '.', '_' and '-', at most %d, no dot first", name, STORE_NAME_MAX);
	store_path(s, path, "images", name);
	if (access(path, F_OK) == 0)
		return err_set(err, -EEXIST, "store %s: there is an image %s already; remove it first (hearth images rm), or choose another name", s->dir, name);
	return 0;
}

int store_begin(struct store *s, const char *name, const struct store_options *o, struct store_draft **ret, struct hearth_err *err)
{
	struct store_draft *d;
	int r = name ? check_name(s, name, err) : 0;

	if (r < 0)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(err, -ENOMEM, "image %s: out of memory", name ? name : "");
	d->store = s;
	d->options = *o;
	snprintf(d->name, sizeof(d->name), "%s", name ? name : "");
	pthread_mutex_init(&d->lock, NULL);
	r = take_number(s, &d->id);
	if (r < 0) {
		pthread_mutex_destroy(&d->lock);
		free(d);
		return err_set(err, r, "store %s: cannot lock a draft: %s", s->dir, strerror(-r));
	}
	r = index_refresh(s);
	if (r < 0) {
		store_abort(d);
		return err_set(err, r, "store %s: cannot begin an image: %s", s->dir, strerror(-r));
	}
	*ret = d;
	return 0;
}

static void object_free(struct store_object *o)
{
	if (!o)
		return;
	free(o->name);
	json_decref(o->meta);
	free(o->chunks);
	free(o);
}

void draft_free(struct store_draft *d, bool drop)
{
	struct store *s = d->store;

	writer_free(d->writer);
	for (size_t k = 0; k < d->objects_n; k++)
		object_free(d->objects[k]);
	free(d->objects);
	table_done(&d->own);
	for (size_t k = 0; k < d->spaces_n; k++)
		space_free(s, d->spaces[k], drop);
	free(d->spaces);
	free(d->given);
	packset_release(s, &d->holds);
	use_drop(s, LOCK_DRAFT, d->id);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

struct store_draft *store_abort(struct store_draft *d)
{
	struct store *s = d ? d->store : NULL;
	bool shared = d && d->shared;

	if (!d)
		return NULL;
	draft_free(d, !shared);
	/* others may have taken its packs over: they stay if an image names them. What cannot be told now is swept another time. */
	if (shared && lock_all(s, true) == 0) {
		(void)store_reap(s);
		unlock_all(s);
	}
	return NULL;
}

/* ---- objects ---- */

static struct store_object *object_new(const char *name, uint64_t bytes)
{
	struct store_object *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->bytes = bytes;
	o->n = chunks_of(bytes);
	o->name = strdup(name);
	o->chunks = o->n < STORE_CHUNKS_MAX / sizeof(*o->chunks) ? malloc((o->n + 1) * sizeof(*o->chunks)) : NULL;
	if (!o->name || !o->chunks) {
		object_free(o);
		return NULL;
	}
	for (size_t k = 0; k < o->n; k++)
		o->chunks[k] = (struct store_chunk){ .at = UINT64_MAX };
	return o;
}

int draft_add(struct store_draft *d, const char *name, uint64_t bytes, json_t *meta, struct store_object **ret, struct hearth_err *err)
{
	struct store_object *o = object_new(name, bytes);
	int r = o ? 0 : -ENOMEM;

	pthread_mutex_lock(&d->lock);
	for (size_t k = 0; k < d->objects_n && r == 0; k++)
		if (!strcmp(d->objects[k]->name, name))
			r = -EEXIST;
	if (r == 0)
		r = array_grow((void **)&d->objects, &d->objects_cap, d->objects_n + 1, sizeof(*d->objects));
	if (r == 0) {
		o->draft = d;
		o->meta = meta;
		d->objects[d->objects_n++] = o;
		*ret = o;
	}
	pthread_mutex_unlock(&d->lock);
	if (r == 0)
		return 0;
	object_free(o);
	json_decref(meta);
	return err_set(err, r, "image %s: object %.100s: %s", draft_name(d), name, r == -EEXIST ? "there is one of that name already" : strerror(-r));
}

int store_object_begin(struct store_draft *d, const char *name, uint64_t bytes, json_t *meta, struct store_object **ret, struct hearth_err *err)
{
	if (*name == '\0' || bytes > 1ull << 50) {
		json_decref(meta);
		return err_set(err, -EINVAL, "image %s: object '%.100s' of %llu bytes: it needs a name, and at most 1 PiB", draft_name(d), name, (unsigned long long)bytes);
	}
	return draft_add(d, name, bytes, meta, ret, err);
}

void draft_truncate(struct store_draft *d, size_t n)
{
	pthread_mutex_lock(&d->lock);
	while (d->objects_n > n)
		object_free(d->objects[--d->objects_n]);
	pthread_mutex_unlock(&d->lock);
}

/* ---- space ---- */

struct space *draft_own(struct store_draft *d, uint32_t pack)
{
	struct space **recent = &d->recent[pack % OWN_CACHE];

	if (*recent && (*recent)->pack->id == pack)
		return *recent;
	for (size_t k = d->spaces_n; k > 0; k--)
		if (d->spaces[k - 1]->pack->id == pack)
			return *recent = d->spaces[k - 1];
	return NULL;
}

/* what was given up before the oldest write that is still under way can be had again */
static void reuse_given(struct store_draft *d)
{
	uint64_t oldest = d->writer ? writer_oldest(d->writer) : UINT64_MAX;
	size_t kept = 0;

	for (size_t k = 0; k < d->given_n; k++) {
		struct given g = d->given[k];

		if (g.seq <= oldest)
			space_give(g.space, g.page, g.pages);
		else
			d->given[kept++] = g;
	}
	d->given_n = kept;
}

static int more_space(struct store_draft *d, bool mapped, struct space **ret, struct hearth_err *err)
{
	struct store *s = d->store;
	struct space *sp = NULL;
	int r = array_grow((void **)&d->spaces, &d->spaces_cap, d->spaces_n + 1, sizeof(*d->spaces));

	if (r < 0)
		return err_set(err, r, "image %s: out of memory", draft_name(d));
	pthread_mutex_lock(&s->packs_lock);
	if (s->spares_n)
		sp = s->spares[--s->spares_n];
	pthread_mutex_unlock(&s->packs_lock);
	if (!sp)
		r = space_new(s, mapped, &sp, err);
	if (r < 0)
		return r;
	d->spaces[d->spaces_n++] = sp;
	*ret = sp;
	return 0;
}

int draft_space(struct store_draft *d, uint32_t min, uint32_t max, bool mapped, struct space **ret, uint32_t *ret_page, struct hearth_err *err)
{
	struct space *sp = NULL;
	uint32_t n = 0;
	int r = 0;

	reuse_given(d);
	for (size_t k = d->spaces_n; k > 0 && n == 0; k--) {
		sp = d->spaces[k - 1];
		if (!mapped || sp->pack->map)
			n = space_take(sp, min, max, ret_page);
	}
	if (n == 0) {
		r = more_space(d, mapped, &sp, err);
		if (r < 0)
			return r;
		n = space_take(sp, min, max, ret_page);
	}
	if (n == 0)
		return err_set(err, -EINVAL, "image %s: %u pages are more than a segment holds", draft_name(d), min);
	r = space_back(d->store, sp, (uint64_t)(*ret_page + n) * STORE_PAGE);
	if (r < 0) {
		space_give(sp, *ret_page, n);
		return err_set(err, r, "image %s: %s is full: %s; remove images (hearth images du), or use another store", draft_name(d), d->store->dir, strerror(-r));
	}
	*ret = sp;
	return (int)n;
}

/* ---- finishing ---- */

static int all_set(const struct store_draft *d, struct hearth_err *err)
{
	for (size_t k = 0; k < d->objects_n; k++)
		for (size_t i = 0; i < d->objects[k]->n; i++)
			if (chunk_missing(&d->objects[k]->chunks[i]))
				return err_set(err, -EINVAL, "image %s: chunk %zu of %s was never set", draft_name(d), i, d->objects[k]->name);
	return 0;
}

/* space that was handed out but never placed is free */
static void free_unplaced(struct store_draft *d)
{
	for (size_t k = 0; k < d->spaces_n; k++)
		space_clear(d->spaces[k]);
	d->given_n = 0;
	for (size_t k = 0; k < d->objects_n; k++)
		for (size_t i = 0; i < d->objects[k]->n; i++) {
			const struct store_chunk *c = &d->objects[k]->chunks[i];
			struct space *sp = c->pack ? draft_own(d, c->pack) : NULL;

			if (sp)
				space_keep(sp, (uint32_t)(c->at / STORE_PAGE), pages_of(c->stored));
		}
}

static int finish_packs(struct store_draft *d)
{
	char path[PATH_MAX];
	size_t kept = 0;
	int r = 0;

	for (size_t k = 0; k < d->spaces_n; k++) {
		bool empty = false;

		if (r == 0)
			r = space_finish(d->store, d->spaces[k], &empty);
		if (empty)
			space_free(d->store, d->spaces[k], true);
		else
			d->spaces[kept++] = d->spaces[k];
	}
	d->spaces_n = kept;
	memset(d->recent, 0, sizeof(d->recent));
	store_path(d->store, path, "packs", NULL);
	if (r == 0 && kept && !d->store->memory)
		r = dir_fsync(path);
	return r;
}

int draft_finish(struct store_draft *d, struct hearth_err *err)
{
	int r;

	pthread_mutex_lock(&d->lock);
	r = d->failed ? draft_error(d, d->failed, err) : all_set(d, err);
	if (r == 0) {
		if (d->writer)
			writer_drain(d);
		r = d->failed;
		if (r == 0) {
			free_unplaced(d);
			r = finish_packs(d);
		}
		if (r < 0)
			d->failed = draft_error(d, r, err);
	}
	pthread_mutex_unlock(&d->lock);
	return r;
}

int draft_manifest(struct store_draft *d, struct manifest *ret)
{
	struct manifest m = { .created_ns = clock_wall_ns() };
	int r;

	m.objects = calloc(d->objects_n + 1, sizeof(*m.objects));
	if (!m.objects)
		return -ENOMEM;
	for (size_t k = 0; k < d->objects_n; k++) {
		struct store_object *o = d->objects[k];

		m.objects[k] = (struct manifest_object){ .name = o->name, .bytes = o->bytes, .meta = o->meta, .first = m.chunks_n, .n = o->n };
		m.chunks_n += o->n;
	}
	m.objects_n = d->objects_n;
	m.chunks = malloc((m.chunks_n + 1) * sizeof(*m.chunks));
	if (!m.chunks) {
		draft_manifest_done(&m);
		return -ENOMEM;
	}
	for (size_t k = 0; k < d->objects_n; k++)
		memcpy(&m.chunks[m.objects[k].first], d->objects[k]->chunks, d->objects[k]->n * sizeof(*m.chunks));
	m.chunks_digest = digest_mem(m.chunks, m.chunks_n * sizeof(*m.chunks));
	r = manifest_collect_packs(&m);
	if (r < 0)
		draft_manifest_done(&m);
	else
		*ret = m;
	return r;
}

void draft_manifest_done(struct manifest *m)
{
	free(m->objects);
	free(m->packs);
	free(m->chunks);
	*m = (struct manifest){ 0 };
}
