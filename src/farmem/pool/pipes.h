/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_PIPES_H
#define FARMEM_POOL_PIPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Two rings of bytes in memory that two processes share, one for each direction: what a Unix socket does, without the kernel's copies. The socket stays: it has the rings' descriptor brought across, wakes who sleeps
 * (a byte), and says when the other side is gone. Neither side trusts the other: what is in the memory is checked, and copied before it is looked at.
 */

struct pipes;

/** pipes_make - by the client: make them and send them over. @sock: connected, nothing was sent so far. Return: 0, -errno. */
int pipes_make(int sock, struct pipes **ret);
/** pipes_take - by the pool. Return: 1, 0 (they have not come yet), -EPROTO (what came is something else), -errno. */
int pipes_take(int sock, struct pipes **ret);
struct pipes *pipes_free(struct pipes *p);

/** pipes_read - what is there, at most @n bytes; before it returns 0, the other side knows that it is to wake this one. Return: bytes, -EPROTO (the memory makes no sense). */
ssize_t pipes_read(struct pipes *p, void *data, size_t n);
/** pipes_write - as much as there is room for; the same holds when that is not all */
ssize_t pipes_write(struct pipes *p, const void *data, size_t n);
/** pipes_wake - after reading and writing: wake the other side if it waits for that */
void pipes_wake(struct pipes *p, int sock);

#endif
