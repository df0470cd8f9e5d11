/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_TCP_H
#define CKPT_ENGINE_TCP_H

#include <sys/types.h>

#include "base/err.h"

/**
 * tcp_reread - write what CRIU noted of a tree's TCP connections anew, so that the two ends of each fit
 * CRIU reads one end after the other and counts on a packet filter that keeps the network still meanwhile, and again at the restore: there it *sends* what was not yet sent, which without the filter is answered by
 * a reset, as the other end is not there yet. Installing a filter costs an RCU grace period while the program stands still, and a killed CRIU leaves it behind. Instead: both ends are read again until no byte is lost
 * between them, and what was not sent is noted as sent and not answered: the kernel sends it once both are back.
 * @root: the tree; it is stopped, and CRIU has written what it knows
 * @dir:  folder with CRIU's files
 * Connections are in repair mode for moments; criu_run_on() takes those out of it that a killed caller left there.
 * Return: 0, -EAGAIN (two ends never fitted), -EBADMSG (a file is not as CRIU 4.2 writes it), -ENOMEM, -errno; told in @err.
 */
int tcp_reread(pid_t root, const char *dir, struct hearth_err *err);

#endif
