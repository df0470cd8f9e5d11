/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_FILL_H
#define CKPT_FILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ckpt/pagemap.h"

/* What is still to be filled in, per address space, and filling it in. Not thread-safe; the pager locks. */

/** struct fill_space - one address space: its userfaultfd, and the ranges that are still missing in it */
struct fill_space {
	int uffd;
	struct pagemap_range *ranges;   /* ascending, disjoint; those before first are used up */
	size_t first, n, cap;
	const uint8_t *pages;           /* the pages file; NULL: the process of a source */
	void *process;
	uint64_t soon_at;               /* where fill_take_soon() goes on */
	bool open;                      /* fill_take_soon() may begin */
	bool settled;                   /* every mapping is in its place: what is missing is gone. Before, it is to come */
};

/** fill_take - remove up to @max_bytes from the front. Return: false if nothing is left. */
bool fill_take(struct fill_space *s, uint64_t max_bytes, struct pagemap_range *ret);
/** fill_take_soon - remove up to @max_bytes of what is not bulk, from the first address upwards, once. Return: false if nothing is left. */
bool fill_take_soon(struct fill_space *s, uint64_t max_bytes, struct pagemap_range *ret);
/** fill_take_from - remove up to @max_bytes from the first that is missing at an address or behind it. Return: false if nothing is. */
bool fill_take_from(struct fill_space *s, uint64_t address, uint64_t max_bytes, struct pagemap_range *ret);
/** fill_take_below - remove up to @max_bytes from the end of the last range that is missing before an address. Return: false if nothing is. */
bool fill_take_below(struct fill_space *s, uint64_t address, uint64_t max_bytes, struct pagemap_range *ret);
/** fill_next - where the first missing page at an address or behind it is; UINT64_MAX: nowhere */
uint64_t fill_next(const struct fill_space *s, uint64_t address);
/** fill_take_around - remove the missing piece around an address, inside its aligned window. Return: false if it is not missing. */
bool fill_take_around(struct fill_space *s, uint64_t address, uint64_t window_bytes, struct pagemap_range *ret);
/** fill_put - give back what could not be filled in. Return: 0, -ENOMEM. */
int fill_put(struct fill_space *s, struct pagemap_range r);
/** fill_drop - [start, end) is no longer wanted (unmapped, discarded). Return: 0, -ENOMEM. */
int fill_drop(struct fill_space *s, uint64_t start, uint64_t end);
/** fill_move - what was at [from, from + len) is now at to. Return: 0, -ENOMEM. */
int fill_move(struct fill_space *s, uint64_t from, uint64_t to, uint64_t len);
/** fill_copy - the same ranges for a forked child. Return: 0, -ENOMEM. */
int fill_copy(const struct fill_space *from, struct fill_space *to);
static inline bool fill_empty(const struct fill_space *s) { return s->first == s->n; }
void fill_clear(struct fill_space *s);

/**
 * fill_range - copy one range in
 * @pages: what its offsets count from
 * @ret_rest: what is left to do when -EAGAIN is returned
 * Pages that are there already, or whose mapping is gone, are skipped. Return: 0, -EAGAIN (an event must be read first, or a mapping is not settled), -ESRCH (the address space is
 * gone), -errno (the pages can't be read: -EFAULT; no memory: -ENOMEM).
 */
int fill_range(const struct fill_space *s, const uint8_t *pages, struct pagemap_range r, struct pagemap_range *ret_rest);
/** fill_zero - a page that was never there. Return: as fill_range(). */
int fill_zero(const struct fill_space *s, uint64_t address);

#endif
