/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "read.h"

#define RUN_BYTES (4u << 20)            /* read at once, where chunks lie one behind the other */

/* ---- opening ---- */

static int split_digests(struct store_image *img)
{
	img->digests = malloc((img->m.chunks_n + 1) * sizeof(*img->digests));
	if (!img->digests)
		return -ENOMEM;
	for (size_t k = 0; k < img->m.chunks_n; k++)
		img->digests[k] = img->m.chunks[k].digest;
	return 0;
}

/* under the store's lock: what the manifest names cannot go away before it is held */
static int load(struct store_image *img, struct hearth_err *err)
{
	struct store *s = img->store;
	struct pack *p;
	int r = manifest_load(s, img->name, true, &img->m, err);

	if (r < 0)
		return r;
	for (size_t k = 0; k < img->m.packs_n; k++) {
		r = pack_hold(s, img->m.packs[k], &p);
		if (r == 0) {
			r = packset_add(&img->packs, p);
			if (r < 0)
				pack_release(s, p);
		}
		if (r == -ENOENT)
			return err_set(err, -EBADMSG, "image %s: packs/%08x.pack is missing; remove the image", img->name, img->m.packs[k]);
		if (r < 0)
			return err_set(err, r, "image %s: packs/%08x.pack: %s", img->name, img->m.packs[k], strerror(-r));
	}
	r = split_digests(img);
	return r < 0 ? err_set(err, r, "image %s: out of memory", img->name) : 0;
}

int store_image_open(struct store *s, const char *name, struct store_image **ret, struct hearth_err *err)
{
	struct store_image *img;
	int r;

	if (!store_name_ok(name))
		return err_set(err, -EINVAL, "'%.250s' is no name of an image", name);
	img = calloc(1, sizeof(*img));
	if (!img)
		return err_set(err, -ENOMEM, "image %s: out of memory", name);
	img->store = s;
	snprintf(img->name, sizeof(img->name), "%s", name);
	r = lock_all(s, false);
	if (r < 0) {
		err_set(err, r, "store %s: cannot lock it: %s", s->dir, strerror(-r));
	} else {
		r = load(img, err);
		unlock_all(s);
	}
	if (r < 0)
		store_image_close(img);
	else
		*ret = img;
	return r;
}

/* it was removed while it was read: whoever reads last clears up */
static bool was_removed(const struct store_image *img)
{
	struct manifest m;
	bool same;

	if (manifest_load(img->store, img->name, false, &m, NULL) < 0)
		return true;
	same = digest_equal(m.id, img->m.id);
	manifest_done(&m);
	return !same;
}

struct store_image *store_image_close(struct store_image *img)
{
	bool removed;

	if (!img)
		return NULL;
	removed = img->packs.n && atomic_load(&img->store->state->generation) != img->packs.v[0]->hold_generation && was_removed(img);
	packset_release(img->store, &img->packs);
	if (removed && lock_all(img->store, true) == 0) {
		(void)store_reap(img->store);
		unlock_all(img->store);
	}
	manifest_done(&img->m);
	free(img->digests);
	free(img);
	return NULL;
}

/* ---- looking ---- */

const json_t *store_image_meta(const struct store_image *img)
{
	return img->m.meta;
}

int store_image_object(const struct store_image *img, const char *name)
{
	for (size_t k = 0; k < img->m.objects_n; k++)
		if (!strcmp(img->m.objects[k].name, name))
			return (int)k;
	return -ENOENT;
}

size_t store_image_objects(const struct store_image *img)
{
	return img->m.objects_n;
}

const char *store_image_object_name(const struct store_image *img, int object)
{
	return img->m.objects[object].name;
}

const json_t *store_image_object_meta(const struct store_image *img, int object)
{
	return img->m.objects[object].meta;
}

uint64_t store_image_object_bytes(const struct store_image *img, int object)
{
	return img->m.objects[object].bytes;
}

const struct digest *store_image_digests(const struct store_image *img, int object, size_t *ret_n)
{
	*ret_n = img->m.objects[object].n;
	return &img->digests[img->m.objects[object].first];
}

/* ---- reading ---- */

static int damaged(struct store_image *img, int object, uint64_t k, const char *why, struct hearth_err *err)
{
	const struct store_chunk *c = &img->m.chunks[img->m.objects[object].first + k];

	/* so that no later image shares it */
	if (c->pack)
		pack_mark_bad(img->store, c->pack);
	return err_set(err, -EBADMSG, "image %s: chunk %llu of %.100s is damaged (packs/%08x.pack at %llu: %s); remove the image, and the others that share it (hearth images verify --all)",
		       img->name, (unsigned long long)k, img->m.objects[object].name, c->pack, (unsigned long long)c->at, why);
}

static int failed(struct store_image *img, int object, uint64_t k, int r, struct hearth_err *err)
{
	const struct store_chunk *c = &img->m.chunks[img->m.objects[object].first + k];

	/* what the disk cannot give back is damaged as well */
	if (r == -EIO && c->pack)
		pack_mark_bad(img->store, c->pack);
	return err_set(err, r, "image %s: chunk %llu of %.100s cannot be read (packs/%08x.pack at %llu): %s", img->name, (unsigned long long)k, img->m.objects[object].name, c->pack,
		       (unsigned long long)c->at, strerror(-r));
}

/* Return: bytes, -errno */
static ssize_t read_pack(struct store_image *img, const struct store_chunk *c, void *to, size_t bytes)
{
	struct pack *p = packset_find(&img->packs, c->pack);

	/* the table was checked against the manifest, whose packs are held */
	return p ? io_read(img->store, p, to, bytes, c->at) : -EBADMSG;
}

static int expand(struct store_image *img, int object, uint64_t k, struct scratch *sc, size_t stored, void *to, size_t len, struct hearth_err *err)
{
	int r = chunk_expand(sc, stored, to, len);

	if (r == -EBADMSG)
		return damaged(img, object, k, "it does not expand", err);
	return r < 0 ? failed(img, object, k, r, err) : 0;
}

/* one that is compressed, or no whole pages: by way of a buffer, into which its last page fits */
static int read_aside(struct store_image *img, int object, uint64_t k, const struct store_chunk *c, void *to, size_t len, struct hearth_err *err)
{
	struct scratch *sc = scratch_get(&img->store->scratch);
	ssize_t n;
	int r = 0;

	if (!sc)
		return failed(img, object, k, -ENOMEM, err);
	n = read_pack(img, c, scratch_stored(sc), (size_t)pages_of(c->stored) * STORE_PAGE);
	if (n < 0)
		r = failed(img, object, k, (int)n, err);
	else if (n < (ssize_t)c->stored)
		r = damaged(img, object, k, "cut off", err);
	else if (c->stored == len)
		memcpy(to, scratch_stored(sc), len);
	else
		r = expand(img, object, k, sc, c->stored, to, len, err);
	scratch_put(&img->store->scratch, sc);
	return r;
}

/* chunks @k to @k + @n - 1, all as they are, one behind the other */
static int read_run(struct store_image *img, int object, uint64_t k, uint8_t *to, size_t bytes, struct hearth_err *err)
{
	ssize_t got = read_pack(img, &img->m.chunks[img->m.objects[object].first + k], to, bytes);

	if (got < 0)
		return failed(img, object, k, (int)got, err);
	if ((size_t)got < bytes)
		return damaged(img, object, k + (uint64_t)got / STORE_CHUNK_BYTES, "cut off", err);
	return 0;
}

/* how many chunks from @k on, at most @max, can be read with one call; 0: it is not stored as it is, or not in whole pages */
static size_t run_of(const struct store_image *img, int object, uint64_t k, size_t max)
{
	const struct manifest_object *o = &img->m.objects[object];
	const struct store_chunk *c = &img->m.chunks[o->first + k];
	size_t n = 0;

	while (n < max && c[n].pack && c[n].stored % STORE_PAGE == 0 && c[n].stored == chunk_len(o->bytes, k + n) && c[n].pack == c->pack && c[n].at == c->at + n * STORE_CHUNK_BYTES)
		n++;
	return n;
}

/* whole chunks, checked */
static int read_chunks(struct store_image *img, int object, uint64_t k, size_t n, uint8_t *to, struct hearth_err *err)
{
	const struct manifest_object *o = &img->m.objects[object];

	for (size_t done = 0, step; done < n; done += step) {
		const struct store_chunk *c = &img->m.chunks[o->first + k + done];
		size_t bytes = 0;
		int r = 0;

		step = run_of(img, object, k + done, n - done < RUN_BYTES / STORE_CHUNK_BYTES ? n - done : RUN_BYTES / STORE_CHUNK_BYTES);
		for (size_t i = 0; i < step; i++)
			bytes += chunk_len(o->bytes, k + done + i);
		if (step) {
			r = read_run(img, object, k + done, to, bytes, err);
		} else {
			step = 1;
			bytes = chunk_len(o->bytes, k + done);
			if (c->pack)
				r = read_aside(img, object, k + done, c, to, bytes, err);
			else
				memset(to, 0, bytes);
		}
		for (size_t i = 0; i < step && r == 0; i++)
			if (!digest_equal(c[i].digest, chunk_digest(img->store, to + i * STORE_CHUNK_BYTES, chunk_len(o->bytes, k + done + i))))
				r = damaged(img, object, k + done + i, "its digest differs", err);
		if (r < 0)
			return r;
		to += bytes;
	}
	return 0;
}

/* a part of one chunk */
static int read_part(struct store_image *img, int object, uint64_t k, size_t from, uint8_t *to, size_t bytes, struct hearth_err *err)
{
	struct scratch *sc = scratch_get(&img->store->scratch);
	int r;

	if (!sc)
		return failed(img, object, k, -ENOMEM, err);
	r = read_chunks(img, object, k, 1, scratch_chunk(sc), err);
	if (r == 0)
		memcpy(to, scratch_chunk(sc) + from, bytes);
	scratch_put(&img->store->scratch, sc);
	return r;
}

int store_read(struct store_image *img, int object, uint64_t offset, void *buf, size_t bytes, struct hearth_err *err)
{
	uint8_t *to = buf;
	uint64_t total;

	if (object < 0 || (size_t)object >= img->m.objects_n)
		return err_set(err, -EINVAL, "image %s has no object %d", img->name, object);
	total = img->m.objects[object].bytes;
	if (offset > total || bytes > total - offset)
		return err_set(err, -EINVAL, "image %s: %zu bytes at %llu of %s are not within its %llu", img->name, bytes, (unsigned long long)offset, img->m.objects[object].name,
			       (unsigned long long)total);
	while (bytes > 0) {
		uint64_t k = offset / STORE_CHUNK_BYTES;
		size_t from = (size_t)(offset % STORE_CHUNK_BYTES), len = chunk_len(total, k), n;
		int r;

		if (from == 0 && bytes >= len) {
			/* as many whole ones as there are; the last may be shorter */
			size_t whole = offset + bytes == total ? chunks_of(bytes) : bytes / STORE_CHUNK_BYTES;

			n = whole == chunks_of(bytes) ? bytes : whole * STORE_CHUNK_BYTES;
			r = read_chunks(img, object, k, whole, to, err);
		} else {
			n = len - from < bytes ? len - from : bytes;
			r = read_part(img, object, k, from, to, n, err);
		}
		if (r < 0)
			return r;
		to += n;
		offset += n;
		bytes -= n;
	}
	return 0;
}

static const void *chunk_at(struct store_image *img, int object, uint64_t chunk, bool map)
{
	const struct manifest_object *o;
	const struct store_chunk *c;
	struct pack *p;

	if (!img->store->memory || object < 0 || (size_t)object >= img->m.objects_n || chunk >= img->m.objects[object].n)
		return NULL;
	o = &img->m.objects[object];
	c = &img->m.chunks[o->first + chunk];
	if (!c->pack || c->stored != chunk_len(o->bytes, chunk))
		return NULL;
	p = packset_find(&img->packs, c->pack);
	if (!p || (map ? pack_map(img->store, p, false) < 0 : !pack_mapped(img->store, p)) || c->at > p->map_bytes || p->map_bytes - c->at < c->stored)
		return NULL;
	return p->map + c->at;
}

const void *store_map_chunk(struct store_image *img, int object, uint64_t chunk)
{
	return chunk_at(img, object, chunk, true);
}

const void *store_chunk_mapped(struct store_image *img, int object, uint64_t chunk)
{
	return chunk_at(img, object, chunk, false);
}

/* ---- as files ---- */

static int extract_to(struct store_image *img, int object, int fd, uint8_t *room, struct hearth_err *err)
{
	const struct manifest_object *o = &img->m.objects[object];

	/* zeros are left out: the file is as long as it is to be */
	if (ftruncate(fd, (off_t)o->bytes) < 0)
		return err_set(err, -errno, "cannot write %s: %s", o->name, strerror(errno));
	for (uint64_t k = 0; k < o->n;) {
		size_t n = 0, bytes = 0;
		int r;

		while (k + n < o->n && n < RUN_BYTES / STORE_CHUNK_BYTES && img->m.chunks[o->first + k + n].pack)
			bytes += chunk_len(o->bytes, k + n++);
		if (n == 0) {
			k++;
			continue;
		}
		r = read_chunks(img, object, k, n, room, err);
		if (r < 0)
			return r;
		for (size_t done = 0; done < bytes;) {
			ssize_t put = pwrite(fd, room + done, bytes - done, (off_t)(k * STORE_CHUNK_BYTES + done));

			if (put < 0 && errno != EINTR)
				return err_set(err, -errno, "cannot write %s: %s", o->name, strerror(errno));
			done += put > 0 ? (size_t)put : 0;
		}
		k += n;
	}
	return 0;
}

int store_extract(struct store_image *img, int object, int dirfd, const char *name, struct hearth_err *err)
{
	uint8_t *room;
	FD_AUTO int fd = -1;
	int r;

	if (object < 0 || (size_t)object >= img->m.objects_n)
		return err_set(err, -EINVAL, "image %s has no object %d", img->name, object);
	room = aligned_alloc(STORE_PAGE, RUN_BYTES);
	if (!room)
		return err_set(err, -ENOMEM, "image %s: out of memory", img->name);
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		r = err_set(err, -errno, "cannot make %s: %s", name, strerror(errno));
	} else {
		r = extract_to(img, object, fd, room, err);
		if (r < 0)
			(void)unlinkat(dirfd, name, 0);
	}
	free(room);
	return r;
}
