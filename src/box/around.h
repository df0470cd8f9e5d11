/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOX_AROUND_H
#define BOX_AROUND_H

#include <sys/types.h>

#include "base/err.h"
#include "box/cgroup.h"

/*
 * What an instance is restored in: its cgroup, a network name space. (Not its mounts: a copy of them made beforehand would be an old one.) Joining a group waits for the kernel's readers (10 to 25 ms, in which nothing
 * is computed), so it is done by a thread, beside the rest, or long before: a hearth-box that stands by for the next wake has it done when the wake comes.
 */
struct around;

/**
 * around_new - make the group and start the thread that goes there
 * @group:  NULL: none
 * @limits: of the group
 * Return: 0, -errno with message.
 */
int around_new(const char *group, const struct cgroup_limits *limits, struct around **ret, struct hearth_err *err);
/** around_rename - wait until all is prepared; the group gets another name below the same parent, and limits. Return: 0, -EOPNOTSUPP (cgroup v2 can't), -errno with message. */
int around_rename(struct around *a, const char *group, const struct cgroup_limits *limits, struct hearth_err *err);
/**
 * around_fork - wait until all is prepared and run @child in a process of its own there; it must not return
 * The child is killed should this process end (job_die_with_parent), and at around_leave().
 * Return: pid, -errno with message.
 */
pid_t around_fork(struct around *a, void (*child)(void *arg), void *arg, struct hearth_err *err);
/** around_join - in the child, first: into the group, where the thread could not go for it. Return: 0, -errno with message. */
int around_join(const struct around *a, struct hearth_err *err);
/** around_netns - in the child: descriptor of the new network name space, close-on-exec */
int around_netns(const struct around *a);
/** around_tree - the hierarchies, NULL where there is no group; borrowed */
struct cgroup_tree *around_tree(const struct around *a);
/** around_leave - end the thread: nothing of this process is in the group any more */
void around_leave(struct around *a);
/** around_drop - the group goes, with whatever still runs in it. Leaves first. */
void around_drop(struct around *a);
struct around *around_free(struct around *a);   /* NULL is fine; returns NULL. The group stays. */

/** around_stand_by - prepare for a wake whose instance is not known yet, in a group ".standby-PID" below @parent. Return: 0, -errno with message. */
int around_stand_by(const char *parent, struct hearth_err *err);
/** around_take - what around_stand_by() prepared, NULL if nothing; once */
struct around *around_take(void);

#endif
