/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOX_CGROUP_H
#define BOX_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Control groups by relative name ("hearth/i-12") under the daemon's own subtree, on cgroup v2, on v1 (memory, cpu, pids and freezer as separate
 * hierarchies) or on neither: then every call that would have to do something returns -EOPNOTSUPP and the caller goes on without.
 */
enum cgroup_version { CGROUP_NONE = 0, CGROUP_V1 = 1, CGROUP_V2 = 2 };
enum cgroup_ctl { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS, CGROUP_FREEZER, CGROUP_CTL_N };

struct cgroup_tree;

/** struct cgroup_limits - 0 means no limit */
struct cgroup_limits {
	uint64_t memory_max_bytes;
	double cpu_max_cores;
	uint64_t pids_max;
};

/**
 * struct cgroup_usage - what a group holds now
 * @anon_bytes, @shmem_bytes: memory that only swapping or ending the processes gives back
 * @file_bytes: page cache without shmem: given back by the kernel when it needs it
 * @oom_kills:  processes killed in the group for want of memory, since it was made
 */
struct cgroup_usage {
	uint64_t total_bytes, anon_bytes, shmem_bytes, file_bytes;
	uint64_t oom_kills;
};

/**
 * cgroup_probe - find the hierarchies and this process's place in them
 * @ret: owned by the caller, cgroup_tree_free(); CGROUP_NONE is success too
 * Context: may block (reads /proc and /sys); a tree is not thread-safe.
 * Return: 0, -ENOMEM, -errno (/proc unreadable).
 */
int cgroup_probe(struct cgroup_tree **ret, struct hearth_err *err);
/**
 * cgroup_probe_from - cgroup_probe on given text, for tests and tools
 * @self_cgroup: contents of /proc/self/cgroup
 * @mountinfo:   contents of /proc/self/mountinfo
 */
int cgroup_probe_from(const char *self_cgroup, const char *mountinfo, struct cgroup_tree **ret, struct hearth_err *err);
struct cgroup_tree *cgroup_tree_free(struct cgroup_tree *tree);

enum cgroup_version cgroup_tree_version(const struct cgroup_tree *tree);
bool cgroup_tree_has(const struct cgroup_tree *tree, enum cgroup_ctl ctl);
/** cgroup_tree_base - the folder that relative names of a controller start from, NULL if there is none */
const char *cgroup_tree_base(const struct cgroup_tree *tree, enum cgroup_ctl ctl);
/** cgroup_tree_describe - "v1: memory cpu pids freezer" and the like, for people */
void cgroup_tree_describe(const struct cgroup_tree *tree, char *text, size_t n);

/**
 * cgroup_claim - make the daemon's subtree able to hold groups with limits; called once by hearthd
 *
 * On v2 that is the group "hearth" at the top of the hierarchy, which cgroup_probe() finds from then on, or, where that can't be had (it needs
 * root), the group that the process is in. A group that holds processes can't hand controllers down: in the second case the calling process moves
 * to a leaf of it, "hearth.supervisor". v1 and none: nothing to do.
 * Return: 0, -EBUSY (others in our group), -EACCES, -EROFS, -errno: groups can be made, but have no limits.
 */
int cgroup_claim(struct cgroup_tree *tree, struct hearth_err *err);

/**
 * cgroup_make - create a group (parents too) and set its limits; an existing one is reused
 * Limits whose controller is missing are left out. Nothing stays behind on failure.
 * Return: 0, -EOPNOTSUPP (no hierarchy), -EINVAL (name), -errno.
 */
int cgroup_make(struct cgroup_tree *tree, const char *name, const struct cgroup_limits *limits, struct hearth_err *err);
/** cgroup_join - move a process (0: the caller, with all its threads) into a group. Return: 0, -EOPNOTSUPP, -ESRCH, -errno. */
int cgroup_join(struct cgroup_tree *tree, const char *name, pid_t pid, struct hearth_err *err);
/** cgroup_join_thread - move the calling thread, and with it what it forks, into a group; NULL: the tree's own. v1 only. Return: 0, -EOPNOTSUPP, -errno. */
int cgroup_join_thread(struct cgroup_tree *tree, const char *name, struct hearth_err *err);
/**
 * cgroup_rename - give a group another name below the same parent, and limits; whatever is in it stays. v1 only.
 * On failure it has the old name. Return: 0, -EOPNOTSUPP, -EEXIST, -errno.
 */
int cgroup_rename(struct cgroup_tree *tree, const char *from, const char *to, const struct cgroup_limits *limits, struct hearth_err *err);
/**
 * cgroup_kill - SIGKILL to every process of a group but the caller
 * Does not wait for them to be gone. Return: 0 (also when empty or absent), -EOPNOTSUPP, -errno.
 */
int cgroup_kill(struct cgroup_tree *tree, const char *name);
/** cgroup_populated - Return: 1 if a process is in the group, 0 if none (or no group), -errno. */
int cgroup_populated(struct cgroup_tree *tree, const char *name);
/** cgroup_remove - remove an empty group and its (empty) children. Return: 0 (also when absent), -EBUSY (still populated), -EOPNOTSUPP, -errno. */
int cgroup_remove(struct cgroup_tree *tree, const char *name);
/** cgroup_read_usage - Return: 0, -EOPNOTSUPP (no memory controller), -ENOENT, -errno. */
int cgroup_read_usage(struct cgroup_tree *tree, const char *name, struct cgroup_usage *ret);

#endif
