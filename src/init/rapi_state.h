/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_RAPI_STATE_H
#define INIT_RAPI_STATE_H

#include "rapi.h"

enum rapi_route { ROUTE_NEXT, ROUTE_RESPONSE, ROUTE_ERROR, ROUTE_INIT_ERROR, ROUTE_LOADED, ROUTE_FORK, ROUTE_BAD_METHOD, ROUTE_NONE };

/** struct rapi_request - a whole request, as the state machine sees it */
struct rapi_request {
	enum rapi_route route;
	char id[RAPI_ID_MAX];           /* of the path; an overlong one is cut and matches nothing */
	const char *content_type, *error_type;
	pid_t worker;                   /* who asks; 0: the runtime itself, -1: nobody */
	pid_t forked;                   /* of a zygote: what became of the last fork; 0 and "" nothing */
	const char *fork_error;
	bool too_large;                 /* body is not complete; body_len says how long it was */
	bool failed_in_trailer;         /* streaming: the function failed after it had begun to answer */
	const void *body;
	size_t body_len;
};

enum rapi_route rapi_route(enum http_method method, const char *path, size_t len, char id[RAPI_ID_MAX]);
/** rapi_handle - answer into out. Return: true, or false: the answer comes later (next, and no invocation is there). */
bool rapi_handle(struct rapi *r, struct rapi_conn *c, const struct rapi_request *q, struct buf *out);
/** rapi_conn_resume - an answer that came later was put in c's out: go on with what it received meanwhile */
void rapi_conn_resume(struct rapi_conn *c);
/** rapi_conn_left - a connection is gone, or will get no answer: what it waited for is asked for again, on another */
void rapi_conn_left(struct rapi *r, struct rapi_conn *c);
int rapi_answer_error(struct buf *out, int status, const char *type, const char *message);

/* ---- invocations and workers (rapi_worker.c) ---- */

/** rapi_worker_of - who sent a request; one that is new and asks for work is taken in. Return: NULL if it is nobody. */
struct rapi_worker *rapi_worker_of(struct rapi *r, const struct rapi_request *q);
/** rapi_take - the invocation that waited longest; the caller's from here on. NULL: none waits. */
struct rapi_call *rapi_take(struct rapi *r);
/** rapi_call_over - of one that was taken. NULL is fine. */
void rapi_call_over(struct rapi *r, struct rapi_call *call);
/** rapi_deliver - hand a worker that asked what waited longest. @out: of its connection */
void rapi_deliver(struct rapi *r, struct rapi_worker *w, struct buf *out);
/** rapi_result_send - what came of a worker's invocation: it has none from here on */
void rapi_result_send(struct rapi *r, struct rapi_worker *w, struct rapi_result *result);
/** rapi_fork_told - the zygote asks for the next fork, and says what became of the last. Return: true, it is to fork at once. */
bool rapi_fork_told(struct rapi *r, const struct rapi_request *q);
/** rapi_fork_wanted - have the zygote fork, if it waits to be told and there are more invocations than workers for them */
void rapi_fork_wanted(struct rapi *r);
int rapi_answer_fork(struct buf *out);
/** rapi_answer_not_needed - to a worker that asks for work, and is to end instead */
void rapi_answer_not_needed(struct rapi *r, struct rapi_worker *w, struct buf *out);
/** rapi_event_write - an invocation as the answer to who asked for one. Return: 0, -ENOMEM. */
int rapi_event_write(const struct rapi_call *call, struct buf *out);

#endif
