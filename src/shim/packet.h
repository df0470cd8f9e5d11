/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_PACKET_H
#define SHIM_PACKET_H

#include <stddef.h>

#include "shim/wire.h"

/**
 * packet_parse - is it something that a keeper says
 * @data: may be shorter than a packet
 * @ret:  untouched on failure
 * Return: 0, -EPROTO.
 */
int packet_parse(const void *data, size_t len, struct shim_msg *ret) __attribute__((visibility("hidden")));
/** packet_recv - one packet, parsed; a descriptor that comes with it is closed. Never blocks. Return: 0, -EAGAIN (none there), -ECONNRESET (end), -EPROTO, -errno. */
int packet_recv(int sock, struct shim_msg *ret) __attribute__((visibility("hidden")));

#endif
