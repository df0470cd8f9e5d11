/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_RECLAIM_RECLAIM_H
#define FARMEM_RECLAIM_RECLAIM_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "farmem/engine.h"

/*
 * The parts of the reclaim engine. Everything but engine.c runs on the engine's one thread, where it may block as the kernel likes; engine.c is the caller's side: it puts jobs on a list and takes events off another.
 */

#define PAGE_BYTES 4096ull
#define STEP_BYTES (4ull << 20)         /* between two looks at whether the offload was cancelled */

/** struct reclaim_ways - what this machine has. Found by reclaim_probe; tests make their own. */
struct reclaim_ways {
	bool swap;
	uint64_t swap_bytes;
	bool v2, memory_reclaim;        /* the group's file of that name; v1: the limit is lowered for a moment instead */
	bool groups;                    /* instances have groups that can be told to give memory back */
	bool madvise;                   /* process_madvise(2), MADV_PAGEOUT and MADV_WILLNEED */
	char lru[64];                   /* LRU_FILE; "" without MGLRU */
};

/** reclaim_probe - @options: only cgroup_dir matters. @ret_ways may be NULL. Context: blocks for some 100 us. */
void reclaim_probe(const struct farmem_options *options, struct reclaim_ways *ret_ways, struct farmem_probe *ret);

/** reclaim_open - the engine on a machine that is known. Return: 0, -ENOMEM, -errno. */
int reclaim_open(const struct reclaim_ways *ways, struct farmem_engine **ret, struct hearth_err *err);

/* ---- how much there is (seen.c) ---- */

struct reclaim_seen { uint64_t resident_bytes, swapped_bytes; };

/** reclaim_seen_parse - memory.stat of a group. @swap_current: memory.swap.current's contents, NULL on v1, whose memory.stat has it */
struct reclaim_seen reclaim_seen_parse(const char *stat, const char *swap_current, bool v2);
/** reclaim_see - a group, or where there is none the process and all its descendants from smaps_rollup. Return: 0, -ESRCH, -errno. */
int reclaim_see(const struct reclaim_ways *w, const char *group, pid_t pid, struct reclaim_seen *ret);

/* ---- moving (move.c) ---- */

/** reclaim_by_group - tell the group to give @bytes back, whatever the kernel finds coldest; files' pages count too. @limit_bytes: its limit. Return: 0, -EAGAIN (not all), -errno. */
int reclaim_by_group(const struct reclaim_ways *w, const char *group, uint64_t bytes, uint64_t limit_bytes);
/** reclaim_by_pages - MADV_PAGEOUT to anonymous memory of a process and its descendants, in order of addresses, until @bytes were resident there. Return: 0, -errno. */
int reclaim_by_pages(pid_t pid, uint64_t bytes);

/* ---- which pages are away (pages.c) ---- */

/** struct away_page - @seen: bit k: used by the k-th last recorded request; @fetched: read ahead, not used yet; @here: it is not away: it has been used, and is remembered for that */
struct away_page {
	pid_t pid;
	uint64_t page;
	uint8_t seen;
	bool fetched, here;
};

/** struct away - in order of pid and page */
struct away { struct away_page *v; size_t n, cap; };

void away_done(struct away *a);
/** away_look - every page of a process and its descendants that is swapped out, and those that @before has a use of. Takes what is known of each over. Return: 0, -ENOMEM, -errno. */
int away_look(pid_t pid, const struct away *before, struct away *ret);
/**
 * away_settle - which of the pages that were away have been used since: they are in the page table again, and are here from now on
 * Those are the working set of one more request.
 * @ret_used:  how many; @ret_hits: how many of these had been read ahead
 */
void away_settle(struct away *a, uint64_t *ret_used, uint64_t *ret_hits);
/** away_fetch - MADV_WILLNEED to those of the working set (@any: to all) that are away, at most @bytes. Return: pages asked for, -errno. */
ssize_t away_fetch(struct away *a, bool any, uint64_t bytes);
/** away_working_set - pages of the working set that are away */
uint64_t away_working_set(const struct away *a);

#endif
