/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_IMAGE_H
#define CKPT_IMAGE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"

/*
 * A checkpoint image is a folder: the checkpointer's files, and manifest.json, which names every one of them with size and digest. It is complete or
 * it is not there: it is written to ".tmp-NAME-XXXXXX" beside its place, synced, and renamed. Names that begin with a dot are never images.
 */
#define IMAGE_VERSION 2
#define IMAGE_MANIFEST "manifest.json"
#define IMAGE_PAGES "pages-"            /* what the names of files with memory contents begin with */

struct image_file {
	char *name;
	uint64_t bytes;
	struct digest digest;
};

/**
 * struct image - what a manifest says
 * @id, @function:   the instance that was checkpointed
 * @created_ns:      CLOCK_REALTIME
 * @criu:            version of the program that wrote it, "4.2.1"
 * @meta:            what the daemon wants to find again, one JSON object as text; may be NULL
 * @mounts:          folders and files of the host that the sandbox shows at the same place, outermost first; NULL-terminated
 * @pages_bytes:     memory contents; @image_bytes: everything
 * @empty_tmp_bytes: the size of its /tmp, which was empty and is not in the image; 0: its contents are
 * @path:            where it was loaded from
 */
struct image {
	char *path, *id, *function, *criu, *meta;
	char **mounts;
	uint64_t created_ns, pages_bytes, image_bytes, empty_tmp_bytes;
	struct image_file *files;
	size_t files_n;
};

/** image_load - read and check a manifest (not the files). Return: 0, -ENOENT, -EBADMSG (damaged), -EPROTO (version), -ENOMEM, -errno. */
int image_load(const char *path, struct image **ret, struct hearth_err *err);
struct image *image_free(struct image *img);
/**
 * image_verify - compare the size and the digest of every file with the manifest, small files first
 * @pages:   files with memory contents too
 * @threads: that share the work, this one among them
 * Context: blocks for as long as reading everything takes; thread-safe (reads @img only).
 * Return: 0, -EBADMSG (the message names the first bad file), -errno.
 */
int image_verify(const struct image *img, bool pages, unsigned threads, struct hearth_err *err);
/** image_check - what image_verify() says of a file that was found to be so. Return: 0, -EBADMSG. */
int image_check(const struct image *img, const struct image_file *f, uint64_t bytes, struct digest digest, struct hearth_err *err);
bool image_file_is_pages(const struct image_file *f);

/**
 * image_list - load every image in a folder, oldest first
 * @ret:     owned by the caller: image_free() each, free() the array; damaged ones are left out
 * @ret_bad: how many were left out; may be NULL
 * Return: 0 (also when the folder does not exist: none), -ENOMEM, -errno.
 */
int image_list(const char *dir, struct image ***ret, size_t *ret_n, size_t *ret_bad);
/** image_remove - first invisible (renamed), then gone. Return: 0 (also when absent), -errno. */
int image_remove(const char *path);
/**
 * image_discard - image_remove() that returns as soon as the image is invisible
 * Its files go in a thread of their own, at the lowest priority; what a process that ends leaves of them is image_sweep()'s.
 * Return: 0 (also when absent), -errno.
 */
int image_discard(const char *path);
/** image_sweep - remove what interrupted image_begin() and image_remove() left in a folder; those in progress stay. Return: how many, -errno. */
int image_sweep(const char *dir);

/**
 * struct image_draft - an image being written
 * @tmp:    the folder to write to
 * @lock:   descriptor that keeps image_sweep() away for as long as it is open, in this process or a child
 */
struct image_draft {
	char tmp[PATH_MAX], target[PATH_MAX];
	int lock;
};

/** image_begin - make the folder to write to; parents too. Return: 0, -EEXIST (an image is there), -ENAMETOOLONG, -errno. */
int image_begin(const char *target, struct image_draft *ret, struct hearth_err *err);
/**
 * image_commit - digest and sync everything in the draft, write the manifest, make the image visible
 * @img:        identity, mounts and so on; its files and sizes are filled in here
 * @ret_digest_ns, @ret_sync_ns: time spent; may be NULL
 * On failure nothing is visible and the draft still exists: image_abort(). Return: 0, -EEXIST, -ENOSPC, -errno.
 */
int image_commit(struct image_draft *draft, struct image *img, uint64_t *ret_digest_ns, uint64_t *ret_sync_ns, struct hearth_err *err);
/** image_abort - remove a draft; no effect after a commit */
void image_abort(struct image_draft *draft);
/**
 * image_withdraw - make what another process may have committed a draft again, by a copy of the draft from before that, with the lock still open
 * An image of the same name that is not this draft's stays. Return: 0 (also when it was not committed), -errno.
 */
int image_withdraw(const struct image_draft *draft);
/** image_wait - wait until nobody writes an image to @target, or takes it back (holds the lock of its draft). Context: blocks. */
void image_wait(const char *target);

#endif
