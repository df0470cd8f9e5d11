/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "private.h"

#define SEGMENT_MEMORY_BYTES (256ull << 20)
#define SEGMENT_DISK_BYTES (1ull << 30)

void store_path(const struct store *s, char out[PATH_MAX], const char *a, const char *b)
{
	/* s->dir leaves room for the longest of them */
	if (snprintf(out, PATH_MAX, "%s/%s%s%s", s->dir, a, b ? "/" : "", b ? b : "") >= PATH_MAX)
		out[PATH_MAX - 1] = '\0';
}

/* ---- store.json ---- */

static int parse_identity(const char *text, size_t len, uint64_t *ret_seed)
{
	json_error_t why;
	json_t *root = json_loadb(text, len, 0, &why);
	const char *hex = json_string_value(json_object_get(root, "seed"));
	char *end = NULL;
	int r = root || *why.text ? -EBADMSG : -ENOMEM;

	if (json_is_integer(json_object_get(root, "version")) && json_integer_value(json_object_get(root, "version")) != STORE_VERSION) {
		r = -EPROTO;
	} else if (hex && strlen(hex) == 16 && json_integer_value(json_object_get(root, "version")) == STORE_VERSION &&
		   json_integer_value(json_object_get(root, "chunk_bytes")) == STORE_CHUNK_BYTES) {
		*ret_seed = strtoull(hex, &end, 16);
		r = *end ? -EBADMSG : 0;
	}
	json_decref(root);
	return r;
}

static int make_identity(const char *path, uint64_t *ret_seed, struct hearth_err *err)
{
	char text[160];
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return err_set(err, errno ? -errno : -EIO, "cannot get random bytes for the seed of %s", path);
	snprintf(text, sizeof(text), "{\"version\":%d,\"chunk_bytes\":%u,\"seed\":\"%016llx\"}\n", STORE_VERSION, STORE_CHUNK_BYTES, (unsigned long long)seed);
	*ret_seed = seed;
	return file_replace_sealed(path, text, strlen(text), 0600, err);
}

static int any(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return -EEXIST;
}

static int identify(struct store *s, struct hearth_err *err)
{
	char path[PATH_MAX], *text;
	size_t len;
	int r;

	store_path(s, path, "store.json", NULL);
	r = file_read_sealed(path, 4096, &text, &len, NULL);
	if (r == -ENOENT && images_each(s, false, any, NULL) == -EEXIST)
		return err_set(err, -EBADMSG, "%s is missing, but there are images: without its seed they cannot be checked", path);
	if (r == -ENOENT)
		return make_identity(path, &s->seed, err);
	if (r == 0) {
		r = parse_identity(text, len, &s->seed);
		free(text);
	}
	if (r == -EFBIG)
		r = -EBADMSG;
	if (r < 0)
		return err_set(err, r, "%s: %s", path, r == -EBADMSG ? "damaged; restore it from a copy, or remove the store" :
			       r == -EPROTO ? "written by another version of Hearth; use that, or another store" : strerror(-r));
	return 0;
}

/* ---- opening ---- */

static int highest(void *ctx, uint32_t id)
{
	uint32_t *max = ctx;

	if (id > *max)
		*max = id;
	return 0;
}

/* The counters went with a crash of the machine, perhaps; the packs did not. Under the store's lock. */
static int set_counters(struct store *s)
{
	uint32_t max = 0;
	int r = packs_each(s, highest, &max);

	if (r == 0 && atomic_load(&s->state->next_pack) <= max)
		atomic_store(&s->state->next_pack, max + 1);
	return r;
}

static int make_folders(struct store *s)
{
	char path[PATH_MAX];
	int r;

	store_path(s, path, "images", NULL);
	r = dir_make(path, 0700);
	if (r == 0) {
		store_path(s, path, "packs", NULL);
		r = dir_make(path, 0700);
	}
	return r;
}

static int is_memory(const char *dir, bool *ret)
{
	struct statfs fs;

	if (statfs(dir, &fs) < 0)
		return -errno;
	*ret = fs.f_type == TMPFS_MAGIC;
	return 0;
}

static int open_in(struct store *s, struct hearth_err *err)
{
	int r = dir_make(s->dir, 0700);

	if (r == 0)
		r = is_memory(s->dir, &s->memory);
	if (r == 0)
		r = make_folders(s);
	if (r == 0)
		r = lock_open(s);
	if (r == 0)
		r = lock_all(s, true);
	if (r < 0)
		return err_set(err, r, "cannot open the store %s: %s%s", s->dir, strerror(-r),
			       r == -EROFS ? "; who only reads it locks what he reads there, too: mount it writable, or copy it" : "");
	r = identify(s, err);
	if (r == 0) {
		r = set_counters(s);
		if (r < 0)
			err_set(err, r, "store %s: packs: %s", s->dir, strerror(-r));
	}
	unlock_all(s);
	return r;
}

int store_open(const char *dir, struct store **ret, struct hearth_err *err)
{
	static const uint8_t zeros[STORE_CHUNK_BYTES];
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "cannot open the store %s: out of memory", dir);
	s->lock_fd = s->use_fd = -1;
	pthread_mutex_init(&s->all_lock, NULL);
	pthread_mutex_init(&s->packs_lock, NULL);
	pthread_mutex_init(&s->scratch.lock, NULL);
	pthread_rwlock_init(&s->index.lock, NULL);
	if (snprintf(s->dir, sizeof(s->dir), "%s", dir) >= (int)sizeof(s->dir) || !*dir)
		r = err_set(err, *dir ? -ENAMETOOLONG : -EINVAL, "the store's folder '%.100s' has a name that is %s", dir, *dir ? "too long" : "empty");
	else
		r = open_in(s, err);
	if (r < 0) {
		store_close(s);
		return r;
	}
	s->segment_bytes = s->memory ? SEGMENT_MEMORY_BYTES : SEGMENT_DISK_BYTES;
	s->zero = chunk_digest(s, zeros, sizeof(zeros));
	*ret = s;
	return 0;
}

struct store *store_close(struct store *s)
{
	if (!s)
		return NULL;
	while (s->spares_n)
		space_free(s, s->spares[--s->spares_n], true);
	free(s->spares);
	packset_release(s, &s->packs);
	for (int k = 0; k < IO_WAYS; k++)
		hearth_ds_close(s->io[k].ds);
	index_done(s);
	scratch_pool_done(&s->scratch);
	lock_close(s);
	pthread_rwlock_destroy(&s->index.lock);
	pthread_mutex_destroy(&s->scratch.lock);
	pthread_mutex_destroy(&s->packs_lock);
	pthread_mutex_destroy(&s->all_lock);
	free(s);
	return NULL;
}

/* closed, not unlocked: locks go with the last descriptor, and it is the parent who has that */
void store_forked(struct store *s)
{
	if (s)
		lock_forked(s);
}

uint64_t store_seed(const struct store *s)
{
	return s->seed;
}

bool store_in_memory(const struct store *s)
{
	return s->memory;
}

/* ---- spare segments ---- */

int store_reserve_segments(struct store *s, uint64_t bytes, void (*each)(void *ctx, void *at, size_t n), void *ctx, struct hearth_err *err)
{
	struct space *sp;
	int r = 0;

	if (!s->memory)
		return err_set(err, -EOPNOTSUPP, "store %s is not in memory: it has no segments to make beforehand", s->dir);
	pthread_mutex_lock(&s->packs_lock);
	s->each = each;
	s->each_ctx = ctx;
	while (r == 0 && s->spares_n * s->segment_bytes < bytes) {
		pthread_mutex_unlock(&s->packs_lock);
		r = space_new(s, true, &sp, err);
		pthread_mutex_lock(&s->packs_lock);
		if (r < 0)
			break;
		r = array_grow((void **)&s->spares, &s->spares_cap, s->spares_n + 1, sizeof(*s->spares));
		if (r == 0) {
			s->spares[s->spares_n++] = sp;
			continue;
		}
		pthread_mutex_unlock(&s->packs_lock);
		space_free(s, sp, true);
		pthread_mutex_lock(&s->packs_lock);
		err_set(err, r, "store %s: out of memory", s->dir);
	}
	pthread_mutex_unlock(&s->packs_lock);
	return r;
}

uint64_t store_spare_bytes(struct store *s)
{
	uint64_t bytes;

	pthread_mutex_lock(&s->packs_lock);
	bytes = s->spares_n * s->segment_bytes;
	pthread_mutex_unlock(&s->packs_lock);
	return bytes;
}

void store_segments_gone(struct store *s, void (*gone)(void *ctx, void *at, size_t bytes), void *ctx)
{
	pthread_mutex_lock(&s->packs_lock);
	s->gone = gone;
	s->gone_ctx = ctx;
	pthread_mutex_unlock(&s->packs_lock);
}
