/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_STORE_H
#define CKPT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "base/err.h"
#include "base/file.h"

/*
 * A store is a folder of images whose contents are shared:
 *   images/NAME/manifest.json   one image: identity, meta, objects; sealed (its own digest in the last line)
 *   images/NAME/chunks.bin      digest and place of every chunk of every object, in order; its digest is in the manifest
 *   packs/ID.pack               chunks, whole or compressed, each at a multiple of 4096 bytes (O_DIRECT); written by one draft, then never again (what no image uses is punched out)
 *   store.json                  version, chunk size, seed of the digests
 * An object is a named sequence of bytes in chunks of 64 KiB (the last may be shorter): a device buffer, the memory of a process, one of CRIU's files. Chunks of equal content are stored once in a
 * store, across objects and images. A chunk of zeros is stored nowhere. Every chunk is digested (XXH3-128 with the store's seed, XXH3_128bits_withSeed) and checked whenever it is read.
 *   lock                        locks and counters of the processes that use the store
 * An image is complete or it is not there (temp, fsync, rename, fsync of the folder). Drafts hold a lock; what a killed writer left is swept.
 * Any number of processes may use a store at once; who may remove what, and when: docs/adr/0016-store.md. File systems: local ones.
 */
#define STORE_VERSION 1
#define STORE_CHUNK_BYTES 65536u

struct store;
struct store_draft;
struct store_object;            /* of a draft, being written */
struct store_image;

/** struct store_options - of a draft; zero is right
 * @zstd_level: 0 = chunks are stored as they are, but those whose latter half is zeros
 */
struct store_options {
	int zstd_level;
};

/** store_open - open, or make, a store. Return: 0, -EPROTO (version), -EBADMSG, -errno. Thread-safe afterwards unless a function says otherwise. */
int store_open(const char *dir, struct store **ret, struct hearth_err *err);
struct store *store_close(struct store *s);
/**
 * store_forked - in a child that goes on without exec(): its copies of the locks end, so that those of the parent end with the parent
 * Nothing else of the store may be used in the child, store_close() and store_abort() least of all: they would act on the parent's locks and packs.
 */
void store_forked(struct store *s);
uint64_t store_seed(const struct store *s);
/** store_in_memory - whether the folder is on a tmpfs (with huge pages, if it is mounted so) */
bool store_in_memory(const struct store *s);

/** store_begin - begin an image. @name: [A-Za-z0-9._-]{1,200}, no dot first; NULL = only to be sealed. Return: 0, -EEXIST, -EINVAL, -ENOSPC, -errno. */
int store_begin(struct store *s, const char *name, const struct store_options *o, struct store_draft **ret, struct hearth_err *err);
/** store_object_begin - a new object of @bytes, all chunks missing. @meta: stolen, may be NULL. Objects of one draft may be written by different threads at once. */
int store_object_begin(struct store_draft *d, const char *name, uint64_t bytes, json_t *meta, struct store_object **ret, struct hearth_err *err);
/** store_expect - so many chunks will be put that the store does not have: its tables have room for them then, and need not grow while others wait. A hint, needed by nobody. */
void store_expect(struct store_draft *d, uint64_t chunks);
/**
 * store_put - set chunks from memory; setting one again replaces it (pre-copy, then what changed). The space of what was replaced is written again, unless others share it.
 * @digests: of the chunks, computed by the caller over exactly these bytes; NULL = computed here
 * @offset:  multiple of the chunk size; @bytes: multiple of it, or up to the object's end
 * The data may be reused when this returns (it was copied, or is stored already). Thread-safe for different chunks. Return: 0, -ENOSPC, -errno.
 */
int store_put(struct store_object *o, uint64_t offset, const void *data, size_t bytes, const struct digest *digests, struct hearth_err *err);
/** store_put_known - set @n chunks from @first on by their digests alone. @ret_known: which of them the store has, so that they are set; the data of the others is to be put. Return: how many, -errno. */
ssize_t store_put_known(struct store_object *o, uint64_t first, size_t n, const struct digest *digests, bool *ret_known);
/** store_put_file - a whole file as an object (one of CRIU's). Return: 0, -errno. */
int store_put_file(struct store_draft *d, const char *name, const char *path, struct hearth_err *err);
/**
 * store_space - room for chunks inside a pack, to be written by DMA (memory stores only: -EOPNOTSUPP otherwise)
 * @ret: page aligned memory of a mapped pack, @chunks * 64 KiB, at most what one segment holds; registered memory is the caller's business (store_segments())
 * Then store_put_placed() says which chunks they became; space that is never placed is given back at commit.
 */
struct store_place { uint32_t pack; uint64_t at; };
int store_space(struct store_draft *d, size_t chunks, void **ret, struct store_place *ret_place, struct hearth_err *err);
/** store_put_placed - what lies at @place one after another: those of the @n chunks from @first on that are not @known (of store_put_known(); NULL: all). Return: 0, -EINVAL, -errno. */
int store_put_placed(struct store_object *o, uint64_t first, size_t n, const struct digest *digests, const bool *known, struct store_place place);
/**
 * store_reserve_segments - memory stores: have spare segments for @bytes, faulted in; @each is called for every mapped segment (to register it with the driver), also for later ones
 * @each: must not call the store; may be NULL. Spare segments are the handle's: the next drafts take them, store_close() removes what is left.
 */
int store_reserve_segments(struct store *s, uint64_t bytes, void (*each)(void *ctx, void *at, size_t bytes), void *ctx, struct hearth_err *err);
/** store_spare_bytes - of spare segments that are there */
uint64_t store_spare_bytes(struct store *s);

/** store_segments_gone - @gone is called before a segment that @each was called for is unmapped (to unregister it). It stays mapped while a draft or an open image uses its pack. */
void store_segments_gone(struct store *s, void (*gone)(void *ctx, void *at, size_t bytes), void *ctx);

/** struct store_stats - of a commit */
struct store_stats { uint64_t bytes, new_bytes, stored_bytes, zero_bytes, chunks, new_chunks; };
/**
 * store_commit - every chunk must be set (-EINVAL names the first that is not); packs and manifest are synced, then the image is visible. Frees the draft on success.
 * @meta: borrowed: what the owner wants to find again (program, phases, objects' meaning)
 * On failure the draft still exists: store_abort(). Return: 0, -ENOSPC, -errno.
 */
int store_commit(struct store_draft *d, const json_t *meta, struct store_stats *ret, struct hearth_err *err);
struct store_draft *store_abort(struct store_draft *d);
/**
 * store_seal - finish a draft whose objects another process will commit (the keeper's device buffers in the engine's image)
 * Every chunk must be set. Its packs are synced and the objects described in a memfd. The draft keeps hold of the packs until store_abort(), which is due after the other's commit.
 */
int store_seal(struct store_draft *d, int *ret_fd, struct hearth_err *err);
/** store_adopt - take the objects of a sealed draft of the same store into this one. @fd: borrowed. Return: 0, -EBADMSG, -EEXIST (an object of that name is there), -errno. */
int store_adopt(struct store_draft *d, int fd, struct hearth_err *err);

/** store_image_open - manifest and chunk table are checked, chunks are when they are read. Holds a shared lock: store_rm() waits for nobody, the packs stay until the last reader is gone. */
int store_image_open(struct store *s, const char *name, struct store_image **ret, struct hearth_err *err);
struct store_image *store_image_close(struct store_image *img);
const json_t *store_image_meta(const struct store_image *img);
/** store_image_object - by name. Return: its number, or -ENOENT. */
int store_image_object(const struct store_image *img, const char *name);
size_t store_image_objects(const struct store_image *img);
const char *store_image_object_name(const struct store_image *img, int object);
const json_t *store_image_object_meta(const struct store_image *img, int object);
uint64_t store_image_object_bytes(const struct store_image *img, int object);
/** store_image_digests - of an object's chunks, borrowed; a chunk of zeros has the digest of 64 KiB of zeros (the last, shorter one: of as many) */
const struct digest *store_image_digests(const struct store_image *img, int object, size_t *ret_n);
/** store_read - bytes of an object, every chunk checked. Thread-safe. Return: 0, -EBADMSG (names image, object, chunk), -EINVAL (range), -errno. */
int store_read(struct store_image *img, int object, uint64_t offset, void *buf, size_t bytes, struct hearth_err *err);
/** store_map_chunk - memory stores: the chunk where it lies, not checked (the reader checks what it copied). NULL when compressed, zeros or not in memory. */
const void *store_map_chunk(struct store_image *img, int object, uint64_t chunk);
/** store_chunk_mapped - the same, but only where its pack is mapped already: never waits for that */
const void *store_chunk_mapped(struct store_image *img, int object, uint64_t chunk);
/** store_extract - an object as a file. Return: 0, -EBADMSG, -errno. */
int store_extract(struct store_image *img, int object, int dirfd, const char *name, struct hearth_err *err);
/** store_image_verify - read everything. @threads: 0 = as many as CPUs. Return: 0, -EBADMSG (names the first bad thing), -errno. */
int store_image_verify(struct store_image *img, unsigned threads, struct hearth_err *err);

/** struct store_entry - one image in a listing. @bytes: of its objects; @own_bytes: what its removal would give back; @shared_bytes: stored and also used by others */
struct store_entry { char name[256]; uint64_t created_ns, bytes, own_bytes, shared_bytes; bool damaged; json_t *meta; };
/** store_list - oldest first; caller: store_list_free(). Damaged ones are listed as such. */
int store_list(struct store *s, struct store_entry **ret, size_t *ret_n, struct hearth_err *err);
void store_list_free(struct store_entry *list, size_t n);
/** struct store_usage - of a whole store. @bytes: of all objects; @live_bytes: of the packs, what images use; @pack_bytes: what the packs take on the disk, drafts' too */
struct store_usage { uint64_t images, damaged, packs, bytes, live_bytes, pack_bytes; };
int store_usage(struct store *s, struct store_usage *ret, struct hearth_err *err);
/**
 * store_rm - the image is gone when this returns; packs nobody uses go too, and in others the space that only it used is punched out
 * Waits for no reader and no draft: they keep the packs they use. Return: 0, -ENOENT, -errno.
 */
int store_rm(struct store *s, const char *name, struct hearth_err *err);
/** store_sweep - remove what killed writers left. Return: how many things, -errno. */
int store_sweep(struct store *s, struct hearth_err *err);

#endif
