/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROC_H
#define BASE_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** proc_starttime - field 22 of /proc/PID/stat: with the pid it names one process for ever. Return: 0, -ESRCH, -errno. */
int proc_starttime(pid_t pid, uint64_t *ret);
/** proc_state - state letter of a process ('T' stopped, 'Z' zombie). Return: letter, -ESRCH. */
int proc_state(pid_t pid);
/** proc_ending - whether a process is there that has been killed (SIGKILL waits for it) or is exiting, a zombie too: it will not run on, but its pid is not free. Never of one that was stopped or asked to end. */
bool proc_ending(pid_t pid);
/**
 * proc_tree - a process and all its descendants, parents first
 * @ret: owned by the caller. Return: how many, -ENOMEM, -ESRCH.
 */
ssize_t proc_tree(pid_t pid, pid_t **ret);
/** proc_children - direct children of a process (all its threads'). Return: how many (0 if it is gone), -ENOMEM. */
ssize_t proc_children(pid_t pid, pid_t **ret);
/** proc_tree_computes - whether any thread of a process or of its descendants runs, or waits for a processor; as it is at this moment */
bool proc_tree_computes(pid_t pid);
/** proc_cpus - processors that this thread may run on, which in a container may be a few of the machine's: at least 1 */
unsigned proc_cpus(void);
/** proc_any_fd - whether one of a process's descriptors is such; false also if they may not be looked at. @link: what /proc shows it as, the first 63 bytes */
bool proc_any_fd(pid_t pid, bool (*is)(pid_t pid, int fd, const char *link));
/** proc_tree_signal - to every process of a tree. Return: 0, -ESRCH, -errno. */
int proc_tree_signal(pid_t pid, int sig);

#endif
