/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define DIGEST_HEX_LEN 32

/** struct digest - XXH3-128 of some bytes (detects damage; no defence against an attacker) */
struct digest { uint64_t hi, lo; };

struct digest digest_mem(const void *data, size_t n);
#define DIGEST_PIECE_BYTES (2u << 20)
/**
 * digest_file - of a whole file; of one larger than a piece it is the digest of the digests of its pieces, so that several threads can share the work
 * @threads:   how many, this one among them; 0 counts as 1
 * @ret_bytes: its size, may be NULL
 * Return: 0, -errno; outputs untouched on failure.
 */
int digest_file(int dirfd, const char *path, unsigned threads, struct digest *ret, uint64_t *ret_bytes);
/**
 * struct digest_work - the digest of a mapped file, made piece by piece by whichever thread has time
 * digest_work_new():    @map: stays the caller's, must outlive it. NULL: out of memory.
 * digest_work_step():   takes the next piece and reads it in. Thread-safe. Return: 1, 0 none is left to take, -errno (-EIO: it can't be read).
 * digest_work_done():   every piece has been done; the digest, as digest_file() gives it, is in *@ret
 */
struct digest_work *digest_work_new(const void *map, uint64_t bytes);
int digest_work_step(struct digest_work *w);
bool digest_work_done(const struct digest_work *w, struct digest *ret);
struct digest_work *digest_work_free(struct digest_work *w);
void digest_to_hex(struct digest d, char hex[DIGEST_HEX_LEN + 1]);
int digest_from_hex(const char *hex, struct digest *ret);      /* 0, -EINVAL */
bool digest_equal(struct digest a, struct digest b);

/**
 * file_read - a whole file into memory
 * @max_bytes: larger is -EFBIG
 * @ret_data:  NUL-terminated, caller frees; @ret_len without the NUL, may be NULL
 * Return: 0, -errno.
 */
int file_read(const char *path, size_t max_bytes, char **ret_data, size_t *ret_len);
/**
 * file_replace - complete or absent: temporary file in the same folder, write, fsync, rename, fsync of the folder
 * @mode: exactly these bits, whatever the umask
 * On failure the temporary file is gone and the old one untouched, but for one case: when only the last step, the fsync of the folder, fails, the new file
 * is in place and the message says that a power cut may bring the old one back.
 * Context: blocks; a killed caller leaves at most a hidden ".tmp-*" file beside the old one. Folders of such files may be swept of those at start.
 * Return: 0, -errno.
 */
int file_replace(const char *path, const void *data, size_t n, mode_t mode, struct hearth_err *err);
/** file_replace_sealed - file_replace with a last line "#xxh3 <hex>\n" over everything before it */
int file_replace_sealed(const char *path, const void *data, size_t n, mode_t mode, struct hearth_err *err);
/** file_note_sealed - the same without the fsyncs: for what a reboot makes worthless. A killed writer still leaves the old file or the new one. */
int file_note_sealed(const char *path, const void *data, size_t n, mode_t mode, struct hearth_err *err);
/** file_read_sealed - (max_bytes without the seal) file_read that checks and removes that line. Return: 0, -EBADMSG (damaged), -errno. */
int file_read_sealed(const char *path, size_t max_bytes, char **ret_data, size_t *ret_len, struct hearth_err *err);

int dir_make(const char *path, mode_t mode);                   /* mkdir -p: 0, -errno */
/**
 * dir_remove - rm -r of a folder or a file, never across a mount or a link
 * Goes from open folder to open folder, so that nobody who renames things in the tree leads it out. A mount in the tree is left alone: -EBUSY. What cannot
 * be removed does not stop the rest. Return: 0 (also when nothing is there), the first error as -errno.
 */
int dir_remove(const char *path);
int dir_fsync(const char *path);

#endif
