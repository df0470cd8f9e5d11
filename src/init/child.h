/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_CHILD_H
#define INIT_CHILD_H

#include <sys/types.h>

/**
 * child_spawn - start the function: own session, standard input from /dev/null, output into two pipes, default signals
 * @ret_out, @ret_err: the pipes' read ends, non-blocking, close-on-exec
 * Return: its pid, or -errno: what exec failed with, too.
 */
pid_t child_spawn(char **argv, int *ret_out, int *ret_err);
/**
 * child_kill_rest - end every process that is still there, and reap it
 * PID 1 kills its whole PID namespace. Otherwise: the function's process group, and whatever became a child of this process (it has to be a
 * subreaper). @group: 0 = there is none. SIGCHLD must be blocked. Waits 1 s at most.
 */
void child_kill_rest(pid_t group);

#endif
