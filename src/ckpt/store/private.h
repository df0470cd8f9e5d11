/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_STORE_PRIVATE_H
#define CKPT_STORE_PRIVATE_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "base/err.h"
#include "base/file.h"
#include "ckpt/store.h"
#include "hearth/ds.h"

/* What the files of the store share among themselves. Who locks what, and why a pack that is in use cannot vanish: docs/adr/0016-store.md. */

#define STORE_PAGE 4096u
#define STORE_CHUNK_PAGES (STORE_CHUNK_BYTES / STORE_PAGE)
#define STORE_AT_MAX (1ull << 40)       /* far beyond any segment: what a table may say at all */
#define STORE_NAME_MAX 200
#define STORE_MANIFEST_MAX (256u << 20)
#define STORE_CHUNKS_MAX (16ull << 30)

/* One chunk as it is in chunks.bin, and everywhere else: little endian, as every machine that this runs on. Zeros: pack, at and stored are 0. Not set yet (drafts): at is all ones. */
struct store_chunk {
	struct digest digest;
	uint64_t at;
	uint32_t pack, stored;          /* bytes in the pack; fewer than the chunk has: zstd */
};
_Static_assert(sizeof(struct store_chunk) == 32, "as in the file");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "as in the file");

static inline bool chunk_missing(const struct store_chunk *c) { return c->at == UINT64_MAX; }
static inline bool chunk_zero(const struct store_chunk *c) { return c->pack == 0 && !chunk_missing(c); }
static inline uint32_t pages_of(uint64_t bytes) { return (uint32_t)((bytes + STORE_PAGE - 1) / STORE_PAGE); }
static inline size_t chunks_of(uint64_t bytes) { return (size_t)((bytes + STORE_CHUNK_BYTES - 1) / STORE_CHUNK_BYTES); }
/* of an object of @bytes, how long is chunk @k */
static inline size_t chunk_len(uint64_t bytes, uint64_t k)
{
	uint64_t left = bytes - k * STORE_CHUNK_BYTES;

	return left < STORE_CHUNK_BYTES ? (size_t)left : STORE_CHUNK_BYTES;
}

/* ---- table.c: chunks by digest ---- */

struct slot { struct store_chunk chunk; uint32_t refs; };
struct table { struct slot *slots; size_t n, cap; };

struct slot *table_find(const struct table *t, struct digest d);
/* table_add - of a digest that is not in it. Return: the slot, refs 1; NULL: out of memory. Valid until the next call. */
struct slot *table_add(struct table *t, const struct store_chunk *c);
/* table_reserve - room for @n digests, so that adding them moves nothing. Return: 0, -ENOMEM (it grows as it is needed). */
int table_reserve(struct table *t, size_t n);
/* table_prefetch - a digest that will be looked for soon */
void table_prefetch(const struct table *t, struct digest d);
void table_del(struct table *t, struct slot *s);
void table_done(struct table *t);

/* ---- lock.c: locks and counters that all processes of a store share ---- */

struct state {
	_Atomic uint64_t generation;    /* another after every change of what images there are, and before any space is given back */
	_Atomic uint32_t next_pack, next_draft;
};

enum { LOCK_ALL = 0, LOCK_PACK = 1, LOCK_DRAFT = 2 };

/* lock_open - file, counters, descriptors. Return: 0, -errno. */
int lock_open(struct store *s);
void lock_close(struct store *s);
/* lock_forked - close the descriptors of the locks without giving any back */
void lock_forked(struct store *s);
/* lock_all, unlock_all - the store's lock; waits. @exclusive: to change what images there are. Return: 0, -errno. */
int lock_all(struct store *s, bool exclusive);
void unlock_all(struct store *s);
/* use_take - say that a pack or draft is in use; does not wait. Return: 0, -EAGAIN (being removed), -errno. */
int use_take(struct store *s, int kind, uint32_t id);
void use_drop(struct store *s, int kind, uint32_t id);
/* use_nobody - whether nobody uses it; if so nobody can until use_nobody_drop(). Under the store's lock, exclusive. */
bool use_nobody(struct store *s, int kind, uint32_t id);
void use_nobody_drop(struct store *s, int kind, uint32_t id);

/* ways of io.c, a context each */
enum { IO_CACHED, IO_DIRECT, IO_WAYS };

/* ---- pack.c: packs that this handle uses ---- */

struct pack {
	uint32_t id;
	unsigned refs;
	int fd;                         /* for reading, -1: not yet */
	struct hearth_ds_file *file[IO_WAYS];   /* the same for io.c, from the first read on, in the context @file_of */
	const struct hearth_ds *file_of[IO_WAYS];
	uint64_t hold_generation;       /* the store's, just after it was held: an index as new as that tells the truth about this pack */
	uint8_t *map;
	size_t map_bytes;
	bool announced;
};

/* sorted by id */
struct packset { struct pack **v; size_t n, cap; };
struct pack *packset_find(const struct packset *set, uint32_t id);
int packset_add(struct packset *set, struct pack *p);
void packset_del(struct packset *set, uint32_t id);
/* packset_release - let go of all, free the set */
void packset_release(struct store *s, struct packset *set);

void pack_path(const struct store *s, uint32_t id, const char *suffix, char out[PATH_MAX]);
/* pack_hold - it stays until pack_release(). Return: 0, -ENOENT, -EAGAIN (being removed), -errno. */
int pack_hold(struct store *s, uint32_t id, struct pack **ret);
void pack_release(struct store *s, struct pack *p);
/* pack_fd - for reading; pack_fd_locked - under packs_lock. Return: descriptor (of the pack), -errno. */
int pack_fd(struct store *s, struct pack *p);
int pack_fd_locked(struct store *s, struct pack *p);
/* pack_map - the whole of it. @write: to write into; then faulted in, and it must be as long as a segment. Return: 0, -errno. */
int pack_map(struct store *s, struct pack *p, bool write);
/* pack_mapped - whether that was done; it stays so while it is held */
bool pack_mapped(struct store *s, struct pack *p);
/* pack_mark_bad - nobody shares its chunks any more */
void pack_mark_bad(struct store *s, uint32_t id);
bool pack_is_bad(const struct store *s, uint32_t id);

/* ---- space.c: packs of a draft, and what is free in them ---- */

struct space {
	struct pack *pack;
	int fd;                         /* for writing */
	struct hearth_ds_file *file;    /* the same for the writer, from its first write on */
	uint64_t *used;                 /* a bit a page */
	uint32_t pages, free, hint, top;        /* where the next search begins, upwards and downwards */
	uint32_t no_run;                /* there is no free run of so many pages; 0: not known */
	uint64_t allocated;             /* bytes of the file that have their blocks */
};

/* space_new - a new, empty pack. @whole: all blocks now, mapped. Return: 0, -ENOSPC, -errno. */
int space_new(struct store *s, bool whole, struct space **ret, struct hearth_err *err);
/* space_free - @drop: the file too */
struct space *space_free(struct store *s, struct space *sp, bool drop);
/* space_take - a run of at least @min and at most @max pages. Return: pages, 0 when there is none. */
uint32_t space_take(struct space *sp, uint32_t min, uint32_t max, uint32_t *ret_page);
void space_give(struct space *sp, uint32_t page, uint32_t pages);
/* space_clear - all of it is free; space_keep - but for this. For space_finish() only: what is free is not counted any more. */
void space_clear(struct space *sp);
void space_keep(struct space *sp, uint32_t page, uint32_t pages);
/* space_back - see to it that the file has blocks up to @bytes. Return: 0, -ENOSPC, -errno. */
int space_back(const struct store *s, struct space *sp, uint64_t bytes);
/* space_finish - cut off and punch out what is free, sync. @ret_empty: nothing is used, the file is empty. Return: 0, -errno. */
int space_finish(const struct store *s, struct space *sp, bool *ret_empty);

/* ---- io.c: packs through libhearth-ds; nothing of it is there before it is needed ---- */

struct io {
	struct hearth_ds *ds;
	struct hearth_ds_device *host;
	pid_t pid;                      /* whose it is */
};

/* io_get - this process' context for writing, which stays until store_close(). Return: 0, -ENOMEM. */
int io_get(struct store *s, struct io *ret);
/* io_room - memory for long reads and writes, a multiple of 2 MiB, to be freed with free(). NULL: out of memory. */
void *io_room(size_t bytes);
/* io_read - @n bytes of a pack. Whole pages in @at, @n and @to are what is fast. Return: bytes, fewer only where the pack ends; -errno. */
ssize_t io_read(struct store *s, struct pack *p, void *to, size_t n, uint64_t at);

/* ---- index.c: what is in the images that are there ---- */

struct index_image { char name[STORE_NAME_MAX + 1]; struct digest id; };
struct index {
	pthread_rwlock_t lock;
	struct table table;
	uint64_t generation;
	bool loaded;
	struct index_image *images;
	size_t images_n, images_cap;
};

/* index_refresh - read what other processes have committed since. Return: 0, -errno. Damaged images are left out. */
int index_refresh(struct store *s);
/* index_find - a chunk that is in a pack held by @set; holds the pack and adds it to the set if need be. Return: 1, 0 (there is none), -errno. */
/* index_prefetch - digests that will be looked for soon */
void index_prefetch(struct store *s, const struct digest *digests, size_t n);
int index_find(struct store *s, struct packset *set, struct digest d, struct store_chunk *ret);
void index_done(struct store *s);

/* ---- manifest.c: images as they are on disk ---- */

struct manifest_object { char *name; uint64_t bytes; json_t *meta; size_t first, n; };
struct manifest {
	uint64_t created_ns;
	json_t *meta;
	struct manifest_object *objects;
	size_t objects_n, chunks_n;
	uint32_t *packs;                /* ascending */
	size_t packs_n;
	struct digest chunks_digest, id;        /* of chunks.bin; of the manifest itself */
	struct store_chunk *chunks;     /* NULL: not read */
};

bool store_name_ok(const char *name);
/* manifest_parse - @text without its seal; what it says is consistent in itself. Return: 0, -EBADMSG, -EPROTO, -ENOMEM. */
int manifest_parse(const char *text, size_t len, uint64_t seed, struct manifest *ret, struct hearth_err *err);
/* manifest_check_chunks - every chunk lies where one may. Return: 0, -EBADMSG. */
int manifest_check_chunks(const struct manifest *m, const struct store_chunk *chunks, size_t bytes, struct hearth_err *err);
/* manifest_load - of an image, by the name of its folder below images/. @chunks: its table too. Return: 0, -ENOENT, -EBADMSG, -EPROTO, -errno. */
int manifest_load(const struct store *s, const char *name, bool chunks, struct manifest *ret, struct hearth_err *err);
/* manifest_text - what manifest_parse() reads; the caller frees. NULL: out of memory. */
char *manifest_text(const struct manifest *m, const char *name, uint64_t seed);
bool manifest_uses(const struct manifest *m, uint32_t pack);
void manifest_done(struct manifest *m);
/* manifest_collect_packs - fill in packs from the chunks. Return: 0, -ENOMEM. */
int manifest_collect_packs(struct manifest *m);
/* images_each - @fn for every folder in images/ (hidden ones: @hidden only); a negative answer ends it. Return: 0, that answer, -errno. */
int images_each(const struct store *s, bool hidden, int (*fn)(void *ctx, const char *name), void *ctx);
/* packs_each - the same for the packs */
int packs_each(const struct store *s, int (*fn)(void *ctx, uint32_t id), void *ctx);

/* ---- codec.c ---- */

struct scratch;                         /* what compressing, expanding and short reads need; one at a time uses it */
struct scratch_pool { pthread_mutex_t lock; struct scratch *free; };

struct digest chunk_digest(const struct store *s, const void *data, size_t len);
struct digest zero_digest(const struct store *s, size_t len);
bool is_zeros(const void *data, size_t len);
struct scratch *scratch_get(struct scratch_pool *pool);         /* NULL: out of memory */
void scratch_put(struct scratch_pool *pool, struct scratch *sc);
void scratch_pool_done(struct scratch_pool *pool);
uint8_t *scratch_chunk(struct scratch *sc);                     /* room for one chunk, page aligned */
/* chunk_compress - into the scratch's stored side. Return: bytes, 0 when it saves no page, -ENOMEM. */
int chunk_compress(struct scratch *sc, const void *data, size_t len, int level, const uint8_t **ret);
uint8_t *scratch_stored(struct scratch *sc);
/* chunk_expand - what lies in the stored side. Return: 0, -EBADMSG, -ENOMEM. */
int chunk_expand(struct scratch *sc, size_t stored, void *out, size_t len);

/* ---- the store ---- */

struct store {
	char dir[PATH_MAX - 300];       /* so that every path below it fits */
	uint64_t seed;
	struct digest zero;             /* of a whole chunk of zeros */
	bool memory;
	uint64_t segment_bytes;         /* of new packs */
	int lock_fd, use_fd;
	pthread_mutex_t all_lock;       /* with the store's lock: its descriptor is one for all threads */
	struct state *state;
	pthread_mutex_t packs_lock;
	struct packset packs;
	struct io io[IO_WAYS];
	struct space **spares;          /* memory: made beforehand */
	size_t spares_n, spares_cap;
	void (*each)(void *ctx, void *at, size_t bytes);
	void (*gone)(void *ctx, void *at, size_t bytes);
	void *each_ctx, *gone_ctx;
	struct index index;
	struct scratch_pool scratch;
};

/* store_path - "DIR/a" or "DIR/a/b"; @b may be NULL */
void store_path(const struct store *s, char out[PATH_MAX], const char *a, const char *b);
/* store_reap - under the store's lock, exclusive: packs that no image names and nobody uses. Return: how many, -EBADMSG (an image's manifest is damaged: nothing is removed), -errno. */
int store_reap(struct store *s);

/* ---- drafts ---- */

struct store_object {
	struct store_draft *draft;
	char *name;
	uint64_t bytes;
	json_t *meta;
	struct store_chunk *chunks;
	size_t n;
};

/* space that was given up, and may be written again when the writes before it are done */
struct given { struct space *space; uint32_t page, pages; uint64_t seq; };

#define OWN_CACHE 64                    /* packs of 256 MiB: a draft of 16 GiB */

struct store_draft {
	struct store *store;
	char name[STORE_NAME_MAX + 1];  /* "": only to be sealed */
	struct store_options options;
	uint32_t id;
	pthread_mutex_t lock;           /* of all below, and of the objects' chunks */
	int failed;                     /* -errno: something could not be written; only aborting is left */
	bool shared;                    /* sealed or visible: others may know its packs */
	struct store_object **objects;
	size_t objects_n, objects_cap;
	struct table own;               /* chunks in its own packs */
	struct space **spaces;
	struct space *recent[OWN_CACHE]; /* by number: those that were asked for */
	size_t spaces_n, spaces_cap;
	struct packset holds;           /* packs of others that its objects use, its own too */
	struct given *given;
	size_t given_n, given_cap;
	struct writer *writer;          /* disks, from the first chunk on */
	struct store_stats stats;       /* new_*: kept up to date, adopted ones too */
};

/* draft_space - pages in one of its packs, in a new one if need be. Under the draft's lock. Return: pages taken, -ENOSPC, -errno. */
int draft_space(struct store_draft *d, uint32_t min, uint32_t max, bool mapped, struct space **ret, uint32_t *ret_page, struct hearth_err *err);
/* draft_own - the pack of that number if it is one of its own, else NULL. Under the draft's lock. */
struct space *draft_own(struct store_draft *d, uint32_t pack);
/* draft_finish - all is written: wait, cut, sync. Return: 0, -EINVAL (names the chunk that is not set), -errno. */
int draft_finish(struct store_draft *d, struct hearth_err *err);
/* draft_manifest - of its objects, chunks in one array. Borrows names and metas: free chunks, objects and packs only (draft_manifest_done). */
int draft_manifest(struct store_draft *d, struct manifest *ret);
void draft_manifest_done(struct manifest *m);
/* draft_add - an object without chunks set. @meta: stolen. Return: 0, -EEXIST, -ENOMEM, -EINVAL. */
int draft_add(struct store_draft *d, const char *name, uint64_t bytes, json_t *meta, struct store_object **ret, struct hearth_err *err);
/* draft_truncate - drop the objects from number @n on, which are not handed out yet */
void draft_truncate(struct store_draft *d, size_t n);
/* draft_free - @drop: its packs too */
void draft_free(struct store_draft *d, bool drop);
const char *draft_name(const struct store_draft *d);
/* draft_error - what was to be stored could not be: where, why and what to do. Return: @r. */
int draft_error(const struct store_draft *d, int r, struct hearth_err *err);

/* ---- writer.c: to disks ---- */

struct writer;
struct wbuf;
/* writer_room - room for @stored bytes of a chunk: where they go and where to copy them to. The first one makes the writer. Under the draft's lock, which is let go while it waits. Return: 0, -ENOSPC, -errno. */
int writer_room(struct store_draft *d, uint32_t stored, struct wbuf **ret, uint8_t **ret_to, struct store_chunk *c, struct hearth_err *err);
/* writer_copied - it is there. Under the draft's lock. */
void writer_copied(struct store_draft *d, struct wbuf *b);
/* writer_oldest - the number of the oldest buffer that is not on the disk yet; writer_next - of the next one */
uint64_t writer_oldest(const struct writer *w);
uint64_t writer_next(const struct writer *w);
/* writer_drain - wait until everything is written. Under the draft's lock. */
void writer_drain(struct store_draft *d);
struct writer *writer_free(struct writer *w);

#endif
