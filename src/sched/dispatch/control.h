/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_CONTROL_H
#define SCHED_CONTROL_H

#include "base/buf.h"
#include "base/err.h"

/*
 * The server's control socket: a Unix stream socket, one question a connection. The question is a line; the answer is "ok" or "error MESSAGE" on a line of its
 * own, then text, then the end. Nothing blocks; a peer that is slow holds up no one, and one that is silent is dropped when another wants its place.
 */
struct control;

/** control_answer - @out: what to say. Return: 0, -errno with message. */
typedef int control_answer(void *ctx, const char *question, struct buf *out, struct hearth_err *err);

/** control_new - @path: as sock_unix_listen. Return: 0, -errno with message. */
int control_new(const char *path, control_answer *on_question, void *ctx, struct control **ret, struct hearth_err *err);
/** control_fd - readable when control_step has something to do */
int control_fd(const struct control *c);
void control_step(struct control *c);
struct control *control_free(struct control *c);

#endif
