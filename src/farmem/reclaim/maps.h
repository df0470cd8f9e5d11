/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_RECLAIM_MAPS_H
#define FARMEM_RECLAIM_MAPS_H

#include <stdint.h>
#include <sys/types.h>

/**
 * maps_anonymous - each anonymous, private, writable mapping of a process, in order of addresses, up to 16 GiB large
 * @each: Return: 0 go on, else maps_anonymous() returns that at once
 * Return: 0, -ESRCH, -errno.
 */
int maps_anonymous(pid_t pid, int (*each)(void *ctx, uint64_t start, uint64_t end), void *ctx);

#endif
