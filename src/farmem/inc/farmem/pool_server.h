/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_SERVER_H
#define FARMEM_POOL_SERVER_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "farmem/pool.h"

/* A pool for other processes and other nodes (`hearth pool`). For one thread. */

struct pool_server;

#define POOL_SERVER_PLACES 8u

/**
 * struct pool_server_options
 * @listen:     @n_listen places: "tcp:HOST:PORT" or "rdma:HOST:PORT" (0 picks a port), "unix:PATH" or "shm:PATH" (a Unix socket and shared memory)
 * @key_file:   with the access key of each tenant; NULL: whoever can connect may do all, for which only loopback and Unix sockets are good enough
 * @lease_s:    a node that has had no connection for so long is forgotten, with all that only it has put or read; 0: never
 */
struct pool_server_options {
	const char *listen[POOL_SERVER_PLACES];
	unsigned n_listen;
	uint64_t memory_bytes, quota_bytes, lease_s;
	const char *key_file;
};

/** struct pool_server_stat - @got_pages: by message; what RDMA clients read by themselves is not known; @refused: connections that could not prove who they are, or spoke something else */
struct pool_server_stat {
	struct pool_stat store;
	uint64_t connections, nodes, accepted, refused, put_pages, got_pages, bad_pages, forgotten_objects;
};

/** pool_server_open - Return: 0, -EINVAL, -EPERM (a place that needs keys), -errno; with message. */
int pool_server_open(const struct pool_server_options *options, struct pool_server **ret, struct hearth_err *err);
struct pool_server *pool_server_close(struct pool_server *s);
/** pool_server_port - that a TCP or RDMA place got; 0: it is another kind */
uint16_t pool_server_port(const struct pool_server *s, unsigned place);
/** pool_server_fd - readable when pool_server_work() has something to do */
int pool_server_fd(const struct pool_server *s);
void pool_server_work(struct pool_server *s);
/** pool_server_tidy - pool_tidy() of what it has */
unsigned pool_server_tidy(struct pool_server *s, unsigned pages);
/** pool_server_ease - pool_ease() of it */
bool pool_server_ease(struct pool_server *s);
void pool_server_stat(const struct pool_server *s, struct pool_server_stat *ret);

/* ---- keys (hearth-pool(1)) ---- */

/** pool_key_new - print a line with a new secret for a tenant. @tenant: its number, or its name, whose digest that is. Return: 0, -EINVAL (it is neither), -EIO. */
int pool_key_new(FILE *out, const char *tenant);
/** pool_key_access - print the lines that a pool gets, for the secrets in a file. Return: 0, -errno with message. */
int pool_key_access(FILE *out, const char *path, struct hearth_err *err);

#endif
