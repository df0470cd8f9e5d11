/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_TRACK_H
#define CKPT_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Which pages of another process were written since one looked last, while it runs: PAGEMAP_SCAN over userfaultfd write protection in async mode (Linux 6.7). A userfaultfd is made inside the
 * process by a few system calls in its name, fetched, and closed there again; the protection is gone with our descriptor, whatever happens to us. A page is called clean only if it is present,
 * not written, and lies in a mapping that is ours to protect: what was mapped, moved or forked since is not, and counts as written.
 * What devices write is not seen (O_DIRECT, memory registered with a GPU): only the pinning is, which may come before a scan and the data after it. Such processes are not to be tracked as long as that lasts.
 */

/** track_supported - whether this kernel can. Probed once, on memory of our own. */
bool track_supported(void);

struct track;

/**
 * track_arm - begin to track processes
 * @pids: that run; those that can't be tracked (gone, seccomp, 32 bits, an own userfaultfd) are left out, as track_armed() tells
 * Stops each for some 0.2 ms. That is done by a process of its own, which ends by itself: should the caller be killed meanwhile, it still puts the last one's registers back.
 * Return: 0 (also when none could be), -EOPNOTSUPP (kernel), -ENOMEM, -errno.
 */
int track_arm(const pid_t *pids, size_t n, struct track **ret, struct hearth_err *err);
bool track_armed(const struct track *t, pid_t pid);
/**
 * track_rest - do not use what was armed yet: until track_wake() the process counts as not armed, and nothing of it is protected
 * For one whose memory devices write to, until they do so no more.
 */
void track_rest(struct track *t, pid_t pid);
/** track_wake - from the next scan on it is tracked. Return: whether it is armed. */
bool track_wake(struct track *t, pid_t pid);
/** track_forget - no longer track one of them: all of it is dirty from here on */
void track_forget(struct track *t, pid_t pid);
/** track_disarm - the processes run on unprotected. NULL is fine; returns NULL. */
struct track *track_disarm(struct track *t);

/** struct track_span - pages that are there (present or swapped, not the zero page), @dirty: written since the last scan that protected, or not known to be clean */
struct track_span { uint64_t start, end; bool dirty; };
struct track_spans { struct track_span *v; size_t n, cap; };
/**
 * track_scan - the private anonymous memory of a process
 * @t: NULL or without this process: everything is dirty
 * @protect: what is found dirty is clean afterwards (until written); new mappings are tracked from here on
 * @ret: ascending; an old one is reused. Free with track_spans_done().
 * Return: 0, -ESRCH, -ENOMEM, -errno. Without PAGEMAP_SCAN: whole mappings, which may be large and empty.
 */
int track_scan(struct track *t, pid_t pid, bool protect, struct track_spans *ret, struct hearth_err *err);
void track_spans_done(struct track_spans *s);

#endif
