/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "private.h"

#define FILE_PIECE_BYTES (1u << 20)
#define SPARSE_LEVEL 1                  /* chunks that are half zeros are compressed in any case */
#define PLACED_MAX 256                  /* chunks looked at together */
#define EXPECTED_MAX (1u << 22)         /* 256 GiB: beyond, tables grow with what there is */

/* ---- what the chunks of a draft are, all under its lock ---- */

static void give_up(struct store_draft *d, struct space *sp, uint32_t page, uint32_t pages)
{
	/* in memory a write is over when its chunk is set; where there is no room for a note the space is lost until the commit, no more */
	if (d->store->memory)
		space_give(sp, page, pages);
	else if (array_grow((void **)&d->given, &d->given_cap, d->given_n + 1, sizeof(*d->given)) == 0)
		d->given[d->given_n++] = (struct given){ sp, page, pages, writer_next(d->writer) };
}

static void forget(struct store_draft *d, const struct store_chunk *c, size_t len)
{
	struct space *sp = chunk_missing(c) || chunk_zero(c) ? NULL : draft_own(d, c->pack);
	struct slot *slot = sp ? table_find(&d->own, c->digest) : NULL;

	if (!slot || --slot->refs > 0)
		return;
	d->stats.new_chunks--;
	d->stats.new_bytes -= len;
	d->stats.stored_bytes -= (uint64_t)pages_of(c->stored) * STORE_PAGE;
	give_up(d, sp, (uint32_t)(c->at / STORE_PAGE), pages_of(c->stored));
	table_del(&d->own, slot);
}

static void set(struct store_object *o, uint64_t k, const struct store_chunk *c)
{
	struct store_chunk old = o->chunks[k];

	o->chunks[k] = *c;
	forget(o->draft, &old, chunk_len(o->bytes, k));
}

/* by its digest alone. Return: 1, 0 (not known), -errno. */
static int set_known(struct store_object *o, uint64_t k, struct digest dg)
{
	struct store_draft *d = o->draft;
	struct slot *slot = table_find(&d->own, dg);
	struct store_chunk c;
	int r;

	if (d->failed)
		return d->failed;
	if (slot) {
		slot->refs++;
		c = slot->chunk;
		set(o, k, &c);
		return 1;
	}
	r = index_find(d->store, &d->holds, dg, &c);
	if (r > 0)
		set(o, k, &c);
	return r;
}

static void set_zeros(struct store_object *o, uint64_t k, struct digest dg)
{
	struct store_chunk c = { .digest = dg };

	set(o, k, &c);
}

/* a chunk that was just given its place. Return: 0, -ENOMEM (the place is given back). */
static int set_new(struct store_object *o, uint64_t k, const struct store_chunk *c)
{
	struct store_draft *d = o->draft;

	if (!table_add(&d->own, c))
		return -ENOMEM;
	d->stats.new_chunks++;
	d->stats.new_bytes += chunk_len(o->bytes, k);
	d->stats.stored_bytes += (uint64_t)pages_of(c->stored) * STORE_PAGE;
	set(o, k, c);
	return 0;
}

/* ---- storing ---- */

void store_expect(struct store_draft *d, uint64_t chunks)
{
	pthread_mutex_lock(&d->lock);
	if (chunks <= EXPECTED_MAX)
		(void)table_reserve(&d->own, d->own.n + chunks);
	pthread_mutex_unlock(&d->lock);
}

/* memory: the copy is made without the lock. Nobody can give this space up meanwhile: this object's chunk is set to it, and is ours. */
static int store_to_memory(struct store_object *o, uint64_t k, struct store_chunk *c, const void *data, struct hearth_err *err)
{
	struct store_draft *d = o->draft;
	uint32_t pages = pages_of(c->stored), page;
	struct space *sp;
	ssize_t n;
	int r = draft_space(d, pages, pages, false, &sp, &page, err);

	if (r < 0)
		return r;
	c->pack = sp->pack->id;
	c->at = (uint64_t)page * STORE_PAGE;
	r = set_new(o, k, c);
	if (r < 0) {
		space_give(sp, page, pages);
		return err_set(err, r, "image %s: out of memory", draft_name(d));
	}
	pthread_mutex_unlock(&d->lock);
	if (sp->pack->map) {
		memcpy(sp->pack->map + c->at, data, c->stored);
		memset(sp->pack->map + c->at + c->stored, 0, (size_t)pages * STORE_PAGE - c->stored);
	} else {
		for (size_t done = 0; done < c->stored && r == 0; done += (size_t)n) {
			n = pwrite(sp->fd, (const char *)data + done, c->stored - done, (off_t)(c->at + done));
			if (n < 0)
				r = errno == EINTR ? 0 : -errno;
			if (n < 0)
				n = 0;
		}
	}
	pthread_mutex_lock(&d->lock);
	if (r < 0)
		d->failed = draft_error(d, r, err);
	return r;
}

static int store_to_disk(struct store_object *o, uint64_t k, struct store_chunk *c, const void *data, struct hearth_err *err)
{
	struct store_draft *d = o->draft;
	struct wbuf *b;
	uint8_t *to;
	int r = writer_room(d, c->stored, &b, &to, c, err), known;

	if (r < 0)
		return r;
	/* while it waited another thread may have stored the same: then this room is lost until the commit */
	known = set_known(o, k, c->digest);
	if (known == 0)
		r = set_new(o, k, c);
	else
		r = known < 0 ? known : 1;
	if (r == 0) {
		pthread_mutex_unlock(&d->lock);
		memcpy(to, data, c->stored);
		memset(to + c->stored, 0, (size_t)pages_of(c->stored) * STORE_PAGE - c->stored);
		pthread_mutex_lock(&d->lock);
	} else {
		memset(to, 0, (size_t)pages_of(c->stored) * STORE_PAGE);
	}
	writer_copied(d, b);
	return r < 0 ? draft_error(d, r, err) : 0;
}

/* Its latter half is zeros: caches and arenas that are not full yet. Decided by a few bytes where it is not. */
static bool is_sparse(const void *data, size_t len)
{
	return len == STORE_CHUNK_BYTES && is_zeros((const uint8_t *)data + len / 2, len / 2);
}

/* Return: 0 and what to store in @c->stored bytes at @ret */
static int compress(struct store_draft *d, const void *data, size_t len, struct scratch **ret_scratch, const void **ret, struct store_chunk *c)
{
	int level = d->options.zstd_level ? d->options.zstd_level : is_sparse(data, len) ? SPARSE_LEVEL : 0, n;
	const uint8_t *packed;

	*ret = data;
	c->stored = (uint32_t)len;
	if (level == 0)
		return 0;
	*ret_scratch = scratch_get(&d->store->scratch);
	if (!*ret_scratch)
		return -ENOMEM;
	n = chunk_compress(*ret_scratch, data, len, level, &packed);
	if (n > 0) {
		*ret = packed;
		c->stored = (uint32_t)n;
	}
	return n < 0 ? n : 0;
}

static int put_one(struct store_object *o, uint64_t k, const void *data, const struct digest *given, struct hearth_err *err)
{
	struct store_draft *d = o->draft;
	size_t len = chunk_len(o->bytes, k);
	struct store_chunk c = { 0 };
	struct scratch *scratch = NULL;
	const void *stored;
	bool zeros = given ? digest_equal(*given, len == STORE_CHUNK_BYTES ? d->store->zero : zero_digest(d->store, len)) : is_zeros(data, len);
	int r;

	c.digest = given ? *given : chunk_digest(d->store, data, len);
	pthread_mutex_lock(&d->lock);
	if (zeros)
		set_zeros(o, k, c.digest);
	r = zeros ? 1 : set_known(o, k, c.digest);
	pthread_mutex_unlock(&d->lock);
	if (r > 0)
		return 0;
	if (r == 0)
		r = compress(d, data, len, &scratch, &stored, &c);
	if (r == 0) {
		pthread_mutex_lock(&d->lock);
		r = set_known(o, k, c.digest);          /* since it was looked for */
		if (r == 0)
			r = d->store->memory ? store_to_memory(o, k, &c, stored, err) : store_to_disk(o, k, &c, stored, err);
		else if (r < 0)
			draft_error(d, r, err);
		pthread_mutex_unlock(&d->lock);
	} else {
		draft_error(d, r, err);
	}
	scratch_put(&d->store->scratch, scratch);
	return r < 0 ? r : 0;
}

int store_put(struct store_object *o, uint64_t offset, const void *data, size_t bytes, const struct digest *digests, struct hearth_err *err)
{
	const char *p = data;
	int r = 0;

	if (offset % STORE_CHUNK_BYTES || offset > o->bytes || bytes > o->bytes - offset || (bytes % STORE_CHUNK_BYTES && offset + bytes != o->bytes))
		return err_set(err, -EINVAL, "image %s: %s: %zu bytes at %llu are not whole chunks of its %llu", draft_name(o->draft), o->name, bytes, (unsigned long long)offset,
			       (unsigned long long)o->bytes);
	for (uint64_t k = offset / STORE_CHUNK_BYTES, end = k + chunks_of(bytes); k < end && r == 0; k++) {
		r = put_one(o, k, p, digests, err);
		p += STORE_CHUNK_BYTES;
		if (digests)
			digests++;
	}
	return r;
}

/* Looking for a digest misses the cache at nearly every step: the steps of many are begun together. Under the lock. */
static void prefetch(struct store_object *o, uint64_t first, size_t n, const struct digest *digests)
{
	for (size_t k = 0; k < n; k++) {
		table_prefetch(&o->draft->own, digests[k]);
		if (!chunk_missing(&o->chunks[first + k]))
			table_prefetch(&o->draft->own, o->chunks[first + k].digest);
	}
	index_prefetch(o->draft->store, digests, n);
}

static bool has_chunks(const struct store_object *o, uint64_t first, size_t n)
{
	return first <= o->n && n <= o->n - first;
}

ssize_t store_put_known(struct store_object *o, uint64_t first, size_t n, const struct digest *digests, bool *ret_known)
{
	struct store_draft *d = o->draft;
	ssize_t known = 0;
	int r = 0;

	if (!has_chunks(o, first, n))
		return -EINVAL;
	pthread_mutex_lock(&d->lock);
	prefetch(o, first, n, digests);
	for (size_t k = 0; k < n && r >= 0; k++) {
		bool zero = digest_equal(digests[k], zero_digest(d->store, chunk_len(o->bytes, first + k)));

		r = d->failed ? d->failed : zero ? 1 : set_known(o, first + k, digests[k]);
		if (zero && r > 0)
			set_zeros(o, first + k, digests[k]);
		ret_known[k] = r > 0;
		known += r > 0;
	}
	pthread_mutex_unlock(&d->lock);
	return r < 0 ? r : known;
}

/* ---- in place ---- */

int store_space(struct store_draft *d, size_t chunks, void **ret, struct store_place *ret_place, struct hearth_err *err)
{
	struct space *sp;
	uint32_t page, pages;
	int r;

	if (!d->store->memory)
		return err_set(err, -EOPNOTSUPP, "store %s is not in memory: nothing can be written into its packs directly", d->store->dir);
	if (chunks == 0 || chunks > d->store->segment_bytes / STORE_CHUNK_BYTES)
		return err_set(err, -EINVAL, "image %s: %zu chunks at once: at least one, at most %llu", draft_name(d), chunks,
			       (unsigned long long)(d->store->segment_bytes / STORE_CHUNK_BYTES));
	pages = (uint32_t)chunks * STORE_CHUNK_PAGES;
	pthread_mutex_lock(&d->lock);
	r = draft_space(d, pages, pages, true, &sp, &page, err);
	if (r >= 0) {
		*ret = sp->pack->map + (uint64_t)page * STORE_PAGE;
		*ret_place = (struct store_place){ .pack = sp->pack->id, .at = (uint64_t)page * STORE_PAGE };
	}
	pthread_mutex_unlock(&d->lock);
	return r < 0 ? r : 0;
}

/* Return: 0, -EINVAL, -ENOMEM. Under the lock. */
static int put_placed(struct store_object *o, uint64_t k, struct digest digest, struct space *sp, uint64_t at)
{
	struct store_chunk c = { .digest = digest, .pack = sp->pack->id, .at = at, .stored = (uint32_t)chunk_len(o->bytes, k) };
	bool zero = digest_equal(digest, zero_digest(o->draft->store, c.stored));
	int r = zero ? 1 : set_known(o, k, digest);

	if (zero)
		set_zeros(o, k, digest);
	if (r == 0)
		r = set_new(o, k, &c);
	/* what was not needed, or of the last, shorter one: the rest */
	if (r > 0)
		space_give(sp, (uint32_t)(at / STORE_PAGE), STORE_CHUNK_PAGES);
	else if (r == 0 && pages_of(c.stored) < STORE_CHUNK_PAGES)
		space_give(sp, (uint32_t)(at / STORE_PAGE) + pages_of(c.stored), STORE_CHUNK_PAGES - pages_of(c.stored));
	return r < 0 ? r : 0;
}

/* Some of what was placed is not worth its place. Return: the draft's own space where it lies, or NULL */
static struct space *look_for_sparse(struct store_object *o, const bool *known, size_t n, struct store_place place, bool sparse[PLACED_MAX])
{
	struct store_draft *d = o->draft;
	struct space *sp;

	pthread_mutex_lock(&d->lock);
	sp = draft_own(d, place.pack);
	pthread_mutex_unlock(&d->lock);
	if (!sp || !sp->pack->map || place.at % STORE_PAGE)
		return NULL;
	for (size_t k = 0; k < n; k++) {
		sparse[k] = false;
		if (known && known[k])
			continue;
		if (place.at > sp->pack->map_bytes || sp->pack->map_bytes - place.at < STORE_CHUNK_BYTES)
			return NULL;
		sparse[k] = is_sparse(sp->pack->map + place.at, STORE_CHUNK_BYTES);
		place.at += STORE_CHUNK_BYTES;
	}
	return sp;
}

/* what is half zeros is stored anew, smaller, and its place given back */
static int put_sparse(struct store_object *o, uint64_t k, struct digest digest, struct space *sp, uint64_t at)
{
	struct hearth_err err;
	int r = put_one(o, k, sp->pack->map + at, &digest, &err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&o->draft->lock);
	space_give(sp, (uint32_t)(at / STORE_PAGE), STORE_CHUNK_PAGES);
	pthread_mutex_unlock(&o->draft->lock);
	return 0;
}

static int put_some_placed(struct store_object *o, uint64_t first, size_t n, const struct digest *digests, const bool *known, struct store_place *place)
{
	bool sparse[PLACED_MAX];
	struct space *sp = look_for_sparse(o, known, n, *place, sparse);
	uint64_t at = place->at;
	int r = sp ? 0 : -EINVAL;

	if (r < 0)
		return r;
	pthread_mutex_lock(&o->draft->lock);
	prefetch(o, first, n, digests);
	for (size_t k = 0; k < n && r == 0; k++) {
		if (known && known[k])
			continue;
		if (!sparse[k])
			r = put_placed(o, first + k, digests[k], sp, place->at);
		place->at += STORE_CHUNK_BYTES;
	}
	pthread_mutex_unlock(&o->draft->lock);
	for (size_t k = 0; k < n && r == 0; k++) {
		if (known && known[k])
			continue;
		if (sparse[k])
			r = put_sparse(o, first + k, digests[k], sp, at);
		at += STORE_CHUNK_BYTES;
	}
	return r;
}

int store_put_placed(struct store_object *o, uint64_t first, size_t n, const struct digest *digests, const bool *known, struct store_place place)
{
	int r = 0;

	if (!has_chunks(o, first, n))
		return -EINVAL;
	for (size_t done = 0, now; done < n && r == 0; done += now) {
		now = n - done < PLACED_MAX ? n - done : PLACED_MAX;
		r = put_some_placed(o, first + done, now, digests + done, known ? known + done : NULL, &place);
	}
	return r;
}

/* ---- files ---- */

static int put_pieces(struct store_object *o, int fd, void *room, const char *path, struct hearth_err *err)
{
	int r = 0;

	for (uint64_t at = 0; at < o->bytes && r == 0; at += FILE_PIECE_BYTES) {
		size_t want = o->bytes - at < FILE_PIECE_BYTES ? (size_t)(o->bytes - at) : FILE_PIECE_BYTES;
		ssize_t n = fd_pread_full(fd, room, want, (off_t)at);

		if (n != (ssize_t)want)
			return err_set(err, n < 0 ? (int)n : -EIO, "image %s: cannot read %s: %s", draft_name(o->draft), path, n < 0 ? strerror((int)-n) : "it became shorter");
		r = store_put(o, at, room, want, NULL, err);
	}
	return r;
}

int store_put_file(struct store_draft *d, const char *name, const char *path, struct hearth_err *err)
{
	struct store_object *o = NULL;
	struct stat st = { 0 };
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	void *room;
	int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;

	if (r < 0)
		return err_set(err, r, "image %s: cannot read %s: %s", draft_name(d), path, strerror(-r));
	room = malloc(FILE_PIECE_BYTES);
	if (!room)
		return err_set(err, -ENOMEM, "image %s: out of memory", draft_name(d));
	r = store_object_begin(d, name, (uint64_t)st.st_size, NULL, &o, err);
	if (r == 0)
		r = put_pieces(o, fd, room, path, err);
	free(room);
	return r;
}
