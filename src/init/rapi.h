/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_RAPI_H
#define INIT_RAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <http_parser.h>

#include "base/buf.h"
#include "fn/wire.h"

/*
 * The AWS Lambda Runtime API, 2018-06-01, as a state machine without I/O: bytes of HTTP connections go in, bytes and invocations' results come out.
 * https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 * Two paths are ours. POST .../runtime/hearth/loaded, before a runtime imports the function: on AWS it is a 404 that a runtime may ignore. GET .../runtime/hearth/fork, of a
 * runtime that becomes a zygote: below.
 *
 *   INIT --next--> WAITING --invoke--> RUNNING --response or error--> IDLE --next--> WAITING
 *   INIT --init error--> FAILED
 *   INIT --fork--> ZYGOTE
 *
 * An invocation that comes in IDLE (the runtime answered and will ask again) waits for the runtime. One invocation at a time.
 *
 * A zygote (docs/adr/0026-zygote.md) runs no invocations. Its question for forks is answered when there are more invocations than workers for them; it forks a worker, and says with its next question what became
 * of that: Hearth-Forked: PID, or Hearth-Fork-Error: TEXT. A worker is a process with a state of its own from IDLE on; each of its requests says Hearth-Worker: PID. Its question for work is answered 410
 * when it is needed no more. What it was given ends with it: rapi_worker_ended.
 */
#define RAPI_RESPONSE_MAX 6291556u      /* Lambda's: 6 MiB and 100 bytes */
#define RAPI_ID_MAX 128
#define RAPI_WHY_MAX 160

enum rapi_state { RAPI_INIT, RAPI_IDLE, RAPI_WAITING, RAPI_RUNNING, RAPI_FAILED, RAPI_ZYGOTE };

struct rapi_result {
	uint64_t id;
	enum fn_outcome outcome;
	const char *content_type, *error_type;  /* "" = none */
	const void *body;
	size_t body_len;
};

struct rapi_conn;

struct rapi_ops {
	void (*loaded)(void *ctx);                                      /* the runtime says that it is loaded: what comes now is the function's */
	void (*ready)(void *ctx);                                       /* the runtime asked for its first invocation, or became a zygote */
	void (*result)(void *ctx, const struct rapi_result *result);
	void (*init_error)(void *ctx, const struct rapi_result *error); /* id and outcome mean nothing */
	void (*output)(void *ctx, struct rapi_conn *conn);              /* conn->out grew outside of rapi_conn_input */
	/* of a zygote only */
	void (*workers)(void *ctx, unsigned count);                     /* so many are there now */
	void (*rested)(void *ctx);                                      /* after rapi_rest: there are none any more */
	uint64_t (*waits)(void *ctx);                                   /* one begins to wait: the time, ns; see rapi_idle_due */
	bool (*alive)(void *ctx, pid_t pid);                            /* is there such a process, be it a zombie? */
	void (*end)(void *ctx, pid_t pid);                              /* kill it; its end is told as any other's. 0: the zygote, which is stuck */
};

/** struct rapi_call - an invocation that waits or runs */
struct rapi_call {
	struct rapi_call *next;
	uint64_t id, deadline_ms;
	char request_id[RAPI_ID_MAX];
	struct buf meta, event;
};

/** struct rapi_worker - who runs invocations: the runtime itself, or one that its zygote forked */
struct rapi_worker {
	struct rapi_worker *next;
	pid_t pid;                      /* 0: the runtime itself */
	enum rapi_state state;
	bool asked;                     /* for work, once at least */
	bool ending;                    /* it was told to, or killed */
	struct rapi_conn *waiter;       /* in WAITING */
	struct rapi_call *call;         /* in RUNNING */
	uint64_t since_ns;              /* in WAITING */
	char answered_id[RAPI_ID_MAX];
};

struct rapi {
	struct rapi_worker own;
	size_t response_max;
	const struct rapi_ops *ops;
	void *ctx;
	unsigned calls_max, calls;      /* waiting and running */
	struct rapi_call *waiting;      /* the oldest first */
	/* of a zygote */
	bool may_fork;
	uint64_t idle_ns;
	struct rapi_worker *workers;
	struct rapi_conn *zygote;       /* its question */
	bool forking;                   /* it was told to, and has not said what became of it */
	bool fork_failed;               /* not to be tried again before something changes */
	bool resting;
	unsigned told;                  /* of ops.workers */
};

void rapi_init(struct rapi *r, size_t response_max, const struct rapi_ops *ops, void *ctx);
/** rapi_allow_fork - the runtime may become a zygote. @max: workers, and invocations at a time; @idle_ns: a worker that waited for so long ends, but for the last. */
void rapi_allow_fork(struct rapi *r, unsigned max, uint64_t idle_ns);
void rapi_done(struct rapi *r);
/** rapi_invoke - an invocation for the runtime; copied. Return: 0, -EBUSY (as many as it takes are there, or the runtime isn't ready), -ENOMEM. */
int rapi_invoke(struct rapi *r, const struct fn_view *frame);
/** rapi_running - the ids of invocations that wait or run, appended to @ids. Return: 0, -ENOMEM. */
int rapi_running(const struct rapi *r, struct buf *ids);
bool rapi_is_zygote(const struct rapi *r);
/** rapi_cancel - it has taken too long: the worker that has it ends, or the zygote that did not fork one for it. Nothing comes of an id that is nobody's, or of a runtime that is no zygote. */
void rapi_cancel(struct rapi *r, uint64_t id);
/** rapi_worker_ended - a process was reaped; what it was doing is over. @status: of waitpid. One that is no worker does not matter. */
void rapi_worker_ended(struct rapi *r, pid_t pid, int status);
/** rapi_rest - nothing runs: end all workers. ops.rested is told, unless an invocation comes. */
void rapi_rest(struct rapi *r);
/** rapi_idle_due - when rapi_idle_end has something to do; 0 = not before the next ops.waits */
uint64_t rapi_idle_due(const struct rapi *r);
/** rapi_idle_end - tell workers to end that have waited for long enough */
void rapi_idle_end(struct rapi *r, uint64_t now_ns);

/** rapi_conn_new - one HTTP connection of the runtime; out: bytes to send to it, consumed by the caller. NULL: no memory. */
struct rapi_conn *rapi_conn_new(struct rapi *r);
struct rapi_conn *rapi_conn_free(struct rapi_conn *c);  /* NULL is fine; returns NULL */
/** rapi_conn_input - bytes came. Return: 0, or -EPIPE: nothing more will be understood, send out and close. */
int rapi_conn_input(struct rapi_conn *c, const void *data, size_t len);
struct buf *rapi_conn_out(struct rapi_conn *c);
/** rapi_conn_closing - close once out is sent? */
bool rapi_conn_closing(const struct rapi_conn *c);
void *rapi_conn_owner(const struct rapi_conn *c);
void rapi_conn_set_owner(struct rapi_conn *c, void *owner);

#endif
