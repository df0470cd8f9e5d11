/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_PAGEMAP_H
#define CKPT_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/**
 * struct pagemap_range - memory of one process whose contents CRIU leaves to the pager
 * @start, @end: addresses, page aligned, never across two VMAs, ascending
 * @offset:      of the contents in the pages file; where it has none of them (`elsewhere`) the address again, which stays when the range is moved
 * @bulk:        part of a large mapping or of one for huge pages: data, rather than what a program needs before it can do anything
 */
struct pagemap_range {
	uint64_t start, end, offset;
	bool bulk;
};

struct pagemap {
	uint32_t pages_id;              /* the contents are in pages-<pages_id>.img */
	uint64_t file_bytes;            /* least size of that file */
	bool elsewhere;                 /* the lazy contents are in no pages file: a dump with --lazy-pages */
	struct pagemap_range *ranges;
	size_t n;
};

/**
 * pagemap_load - the lazy part of pagemap-<pid>.img, split at the VMA borders of mm-<pid>.img (CRIU 4.2's formats)
 * @dir: image folder
 * @pid: as CRIU counts, in the instance's PID name space
 * Return: 0, -EBADMSG (malformed), -ENOMEM, -errno.
 */
int pagemap_load(const char *dir, int pid, struct pagemap *ret, struct hearth_err *err);
/** pagemap_parse - pagemap_load on file contents */
int pagemap_parse(const void *map, size_t map_len, const void *mm, size_t mm_len, struct pagemap *ret);
void pagemap_done(struct pagemap *map);

/** pagemap_entry_fn - one entry of a pagemap: @present: its contents are in the pages file. Return: 0, -errno to end the walk. */
typedef int (*pagemap_entry_fn)(void *ctx, uint64_t start, uint64_t bytes, bool present, bool lazy);
/**
 * pagemap_walk - every entry of a pagemap-*.img in order, which is the order of the contents in the pages file
 * @map_data: changed: all lazy entries are marked as present afterwards, for a caller that makes the pages file anew with everything in it
 * Return: 0, -EBADMSG, what @fn returned.
 */
int pagemap_walk(void *map_data, size_t map_len, pagemap_entry_fn fn, void *ctx, uint32_t *ret_pages_id);

/**
 * pagemap_take_left - add what hearth-criu-leave.so noted (criu/leave.c) to CRIU's own lists, and remove the notes
 * @dir: where both are. Return: 0, -EBADMSG (malformed), -ENOMEM, -errno.
 */
int pagemap_take_left(const char *dir, struct hearth_err *err);
/** struct pagemap_left - a range of lazy pages that CRIU's list lacks */
struct pagemap_left { uint64_t start, end; };
/** pagemap_merge - the new contents of a pagemap-*.img, with more lazy pages; what it has already stays as it is. @left: changed (sorted). Return: 0, -EBADMSG, -ENOMEM. */
int pagemap_merge(const void *map, size_t map_len, struct pagemap_left *left, size_t n, struct buf *ret);

#endif
