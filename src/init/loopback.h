/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_LOOPBACK_H
#define INIT_LOOPBACK_H

#include <stdint.h>

/*
 * TCP on 127.0.0.1. Not base's functions: those resolve names, and a resolver has no place in a static program.
 * Descriptors are non-blocking and close-on-exec.
 */
int loopback_listen(uint16_t port);             /* descriptor, -errno */
int loopback_connect_start(uint16_t port);      /* descriptor (wait for writing, then loopback_connected), -errno */
int loopback_connected(int fd);                 /* 0, -errno */

#endif
