/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_WHERE_H
#define FARMEM_PAGER_WHERE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Where each page of an address space is. In a memfd, so that a pager that comes after one that was killed finds it as it was: every change is one store of 64 bits. Not thread-safe.
 */
#define PAGE_BYTES 4096ull

enum page_state {
	PAGE_UNKNOWN,           /* nothing is known of it: present, or never touched */
	PAGE_LOCAL,             /* was present when it was last looked at */
	PAGE_LEAVING,           /* of the batch that is under way: with the process, or in its stage */
	PAGE_REMOTE,            /* in the pool, under its id */
	PAGE_LOST,              /* the pool could not give it back */
};

/* An entry: id << 16 | flags */
#define ENTRY_STATE 7u
#define ENTRY_SEGMENT_SHIFT 3
#define ENTRY_SEGMENT (3u << ENTRY_SEGMENT_SHIFT)
#define ENTRY_SEGMENT_KNOWN (1u << 5)
#define ENTRY_USED (1u << 6)            /* by a request since it last left: the working set */
#define ENTRY_FETCHED (1u << 7)         /* came back unasked */
#define ENTRY_SAMPLE (1u << 8)          /* was left out of a prefetch, to see whether it is still used */
#define ENTRY_BESIDE (1u << 9)          /* came along with one that was used, and nothing else is known of it: counts as of the working set until it is tried */
#define ENTRY_TRIED (1u << 10)          /* one of those, sent away by itself: it is of the working set when it is touched, else it is not */
#define ENTRY_SET (ENTRY_USED | ENTRY_BESIDE)   /* the working set, as far as it is known */
#define ENTRY_ID_SHIFT 16

static inline enum page_state entry_state(uint64_t e) { return (enum page_state)(e & ENTRY_STATE); }
static inline unsigned entry_segment(uint64_t e) { return (unsigned)(e & ENTRY_SEGMENT) >> ENTRY_SEGMENT_SHIFT; }
static inline uint64_t entry_id(uint64_t e) { return e >> ENTRY_ID_SHIFT; }
static inline uint64_t entry_with_state(uint64_t e, enum page_state s) { return (e & ~(uint64_t)ENTRY_STATE) | s; }
static inline uint64_t entry_with_id(uint64_t e, uint64_t id) { return (e & ((1ull << ENTRY_ID_SHIFT) - 1)) | id << ENTRY_ID_SHIFT; }
static inline uint64_t entry_with_segment(uint64_t e, unsigned segment)
{
	return (e & ~(uint64_t)ENTRY_SEGMENT) | (uint64_t)segment << ENTRY_SEGMENT_SHIFT | ENTRY_SEGMENT_KNOWN;
}

struct where_file;
struct where {
	struct where_file *file;
};

/** where_create - an empty one. Return: its descriptor (a memfd), which where_open() takes; -errno. */
int where_create(void);
/** where_open - map one. @fd: borrowed. Return: 0, -errno. */
int where_open(struct where *ix, int fd);
void where_close(struct where *ix);
/** where_get - an address's entry; 0 if there is none */
uint64_t where_get(const struct where *ix, uint64_t address);
/** where_set - Return: 0, -ENOSPC (the address space is spread too widely; nothing was changed) */
int where_set(struct where *ix, uint64_t address, uint64_t entry);
/** where_each - every entry that is not 0, chunk by chunk in the order they came, ascending inside of one. @each may change entries; it returns false to stop. */
void where_each(const struct where *ix, bool (*each)(void *ctx, uint64_t address, uint64_t entry), void *ctx);
/** where_each_in - those in [start, end), ascending */
void where_each_in(const struct where *ix, uint64_t start, uint64_t end, bool (*each)(void *ctx, uint64_t address, uint64_t entry), void *ctx);
/**
 * where_move - what was known of [from, from + len) is of [to, to + len), which do not overlap; may be done again after it was interrupted
 * Return: 0, -ENOSPC (then part of it)
 */
int where_move(struct where *ix, uint64_t from, uint64_t to, uint64_t len);
/** where_copy - everything, into an empty one. Return: 0, -ENOSPC. */
int where_copy(const struct where *from, struct where *to);

#endif
