/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_CRIU_LEAVE_H
#define CKPT_CRIU_LEAVE_H

/* What hearth-criu-leave.so and the engine agree on: the variable that names the folder, and the files in it, LEAVE_FILE followed by the process's number */
#define LEAVE_LIBRARY "hearth-criu-leave.so"
#define LEAVE_FOLDER "HEARTH_CRIU_LEFT"
#define LEAVE_FILE "left-"

/* past the library's own ioctl() */
int leave_real_ioctl(int fd, unsigned long request, void *arg);

#endif
