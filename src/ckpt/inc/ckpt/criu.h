/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_CRIU_H
#define CKPT_CRIU_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

#define CRIU_LOG "criu.log"

/** struct args - an argument vector being built; a failed append is remembered and told by args_done_ok() */
struct args {
	char **v;
	size_t n, cap;
	bool failed;
};
void args_add(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void args_done(struct args *a);

/** criu_version - "4.2.1". Return: 0, -ENOENT (no such program), -EIO (it does not run), -EPROTO (older than 4.2), -errno. */
int criu_version(const char *criu, char *ret, size_t n, struct hearth_err *err);
/** criu_main_error - the first line with "Error" in a log that says something, without its time stamp; "" if there is none */
void criu_main_error(const char *log, char *ret, size_t n);
/**
 * criu_wait - wait for CRIU to end; it is killed after @limit_ms (it can hang on odd images and processes)
 * Return: 0 (exit 0), -EOWNERDEAD (killed, by us or others), -EIO (other exit; told in @err with the log's main error).
 */
int criu_wait(pid_t pid, int limit_ms, const char *what, const char *log, struct hearth_err *err);
/**
 * criu_private_run - make /run a tmpfs in this process's (private) mount name space, as CRIU keeps its feature cache only there
 * @paths: what must stay reachable although it may be below /run; NULL-terminated
 * Nothing happens where /run is a tmpfs already or no tmpfs is to be had: then CRIU probes every time. Return: 0, -errno.
 */
int criu_private_run(char *const *paths);
/**
 * criu_private_tmp - make /tmp an empty tmpfs there, that goes with the process: CRIU makes folders in /tmp, and leaves them there when it is killed
 * @paths: as above. Too many of them, or one missing: nothing is done. Return: 0, -errno.
 */
int criu_private_tmp(char *const *paths);
/**
 * criu_learn - see to it that CRIU's feature cache is there, made by this very program
 * CRIU probes the kernel's features when it has no cache of its own build. Under the ids that a dump runs with that fails, so it is done before, as root.
 * Context: after criu_private_run(), in the same process; blocks for some 50 ms the first time, hardly at all later.
 */
void criu_learn(const char *criu);

/**
 * criu_match_ids - give this process, which becomes CRIU, the real ids of the process it dumps, where that is needed
 * CRIU reads the resource limits of the processes with prlimit(2), which root may do to others only with CAP_SYS_RESOURCE; most containers don't give it. Else
 * the caller's real ids must be the target's. Root stays the effective user, and with it every capability. Return: 0, -errno.
 */
int criu_match_ids(pid_t pid);
/** criu_end_helpers - kill and reap the helpers that a killed CRIU left to the caller, its subreaper: they would wait for it */
void criu_end_helpers(void);
/**
 * criu_kill_orphans - kill and reap what a restore left behind when it failed or was killed: it became this process's, the subreaper's, children
 * @spare: a child that stays, the pager's guard; 0: none
 */
void criu_kill_orphans(pid_t spare);
/** criu_run_on - let a stopped tree go on: its TCP connections leave repair mode, which a killed CRIU leaves them in; then SIGCONT */
void criu_run_on(pid_t root);
/**
 * criu_tree_whole - wait until no memory of a tree is served by a userfaultfd: CRIU would take pages that are still to come for ones that never were
 * A userfaultfd is gone when the last process that has it ended, the pager or its guard: their ends are waited for.
 * Return: 0, -EBUSY (not within @limit_ms, or nobody else has one, so it is the tree's own), -ESRCH, -errno.
 */
int criu_tree_whole(pid_t root, int limit_ms);

/**
 * criu_minder - fork the process that undoes a dump should this one be killed
 * @mind: in the minder; @from: one byte says that all is well, its end without one that this process is gone
 * @ret:  the other end. Return: 0, -errno.
 */
int criu_minder(void (*mind)(void *ctx, int from), void *ctx, int *ret, struct hearth_err *err);

/**
 * criu_exec - become CRIU, with an environment of our own: it looks for tar and gzip in PATH
 * @leave: hearth-criu-leave.so, and @folder for what it notes (criu/leave.c); NULL: a dump with everything, or a restore
 * Returns only on failure.
 */
void criu_exec(char *const *argv, const char *leave, const char *folder);

#endif
