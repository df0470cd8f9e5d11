/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include <errno.h>
#include <string.h>

#include "base/fd.h"

void conn_done(struct conn *c)
{
	if (c->way && c->way->done)
		c->way->done(c);
	fd_close(&c->fd);
	c->way = NULL;
	c->at = NULL;
	buf_done(&c->in);
	buf_done(&c->out);
	explicit_bzero(&c->session, sizeof(c->session));
}

int conn_reached(struct conn *c)
{
	return c->way->reached(c);
}

int conn_fill(struct conn *c)
{
	return c->way->fill(c);
}

int conn_flush(struct conn *c)
{
	return c->way->flush(c);
}

int conn_next(struct conn *c, struct wire_frame *ret)
{
	int r = wire_decode(buf_head(&c->in), c->in.len, ret);

	return r == 1 && wire_check(&c->session, ret) < 0 ? -EACCES : r;
}

void conn_drop(struct conn *c, const struct wire_frame *f)
{
	buf_consume(&c->in, f->bytes);
}

bool conn_idle(const struct conn *c)
{
	return !c->out.len && (!c->way->gone || c->way->gone(c));
}

bool conn_blocked(const struct conn *c)
{
	return c->out.len && !c->way->only_in;
}
