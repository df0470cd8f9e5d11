/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_SERVE_H
#define SCHED_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * The server: a port, a dispatcher, workers in processes of their own, an application, a control socket. `hearth serve` is this and a main. All of it belongs to
 * one thread, which does serve_step when serve_fd is readable; the dispatcher has a thread that the server starts.
 */
struct serve_config;
struct serve;

/** serve_config_load - a YAML file, hearth-serve(1). Return: 0, -EINVAL with message (file:line, key, what would be right), -errno. */
int serve_config_load(const char *path, struct serve_config **ret, struct hearth_err *err);
struct serve_config *serve_config_free(struct serve_config *c);
/** serve_config_metrics - HOST:PORT for /metrics, or NULL */
const char *serve_config_metrics(const struct serve_config *c);
/**
 * serve_check - all that can be found out about a configuration without opening anything: application, classifier, policy, cores, backend
 * @out: what would run, a line per fact; appended
 * Return: 0, -errno with message.
 */
int serve_check(const struct serve_config *c, struct buf *out, struct hearth_err *err);

/**
 * serve_new - start. Forks, so call it before there are other threads.
 * @c: borrowed until serve_free
 * Context: blocks until the workers are ready.
 * Return: 0, -errno with message.
 */
int serve_new(const struct serve_config *c, struct serve **ret, struct hearth_err *err);
/** serve_fd - readable when serve_step has something to do */
int serve_fd(const struct serve *s);
void serve_step(struct serve *s);
/** serve_address - what it listens on, "ADDRESS:PORT" */
void serve_address(const struct serve *s, char *out, size_t n);

/**
 * serve_reload - go on with another configuration
 * @next: taken over on success
 * @out:  what has changed and what cannot, a line each; appended
 * Return: 0, -errno with message; on failure all is as it was.
 */
int serve_reload(struct serve *s, struct serve_config *next, struct buf *out, struct hearth_err *err);
/** serve_reread - serve_reload from the file that it came from */
int serve_reread(struct serve *s, struct buf *out, struct hearth_err *err);
/** serve_metrics - Prometheus text; appended. Return: 0, -ENOMEM. */
int serve_metrics(struct serve *s, struct buf *out);
/** serve_explain - the present reservation and why; @json: as one object. Appended. Return: 0, -ENOMEM. */
int serve_explain(struct serve *s, bool json, struct buf *out);

/** serve_stop - what waits is served for `drain` at most, the rest refused. Figures can be asked for until serve_free. */
void serve_stop(struct serve *s);
/** serve_free - serve_stop, workers end, everything is closed. NULL is fine. @err: the first thing that went wrong; may be NULL. */
struct serve *serve_free(struct serve *s, struct hearth_err *err);

/**
 * serve_ask - one question to a running server's control socket
 * @question: "explain", "explain json", "stats", "metrics", "reload"
 * @ret:      the answer; caller frees
 * Return: 0; -errno with message (the server's own where it refused).
 */
int serve_ask(const char *socket, const char *question, char **ret, struct hearth_err *err);

#endif
