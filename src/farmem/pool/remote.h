/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_REMOTE_H
#define FARMEM_POOL_REMOTE_H

#include "farmem/pool.h"

/* One pool at another place: connects, proves who it is, and sends what was not answered again after a connection is lost. For one thread. */

struct remote;

/** remote_new - @uri: of @n bytes. Return: 0, -EINVAL, -ENOMEM, -errno; with message. */
int remote_new(const char *uri, size_t n, const struct pool_options *options, struct remote **ret, struct hearth_err *err);
/** remote_free - what is not done is done with -ECANCELED */
struct remote *remote_free(struct remote *r);
/** remote_submit - done() may be called before it returns (no key for the tenant) */
void remote_submit(struct remote *r, struct pool_op *op);
/** remote_fd - readable when remote_work() has something to do */
int remote_fd(const struct remote *r);
void remote_work(struct remote *r);
/** remote_look - see pool_look() */
void remote_look(struct remote *r);

#endif
