/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_RAPI_STATE_H
#define INIT_RAPI_STATE_H

#include "rapi.h"

enum rapi_route { ROUTE_NEXT, ROUTE_RESPONSE, ROUTE_ERROR, ROUTE_INIT_ERROR, ROUTE_LOADED, ROUTE_BAD_METHOD, ROUTE_NONE };

/** struct rapi_request - a whole request, as the state machine sees it */
struct rapi_request {
	enum rapi_route route;
	char id[RAPI_ID_MAX];           /* of the path; an overlong one is cut and matches nothing */
	const char *content_type, *error_type;
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
int rapi_answer_error(struct buf *out, int status, const char *type, const char *message);

#endif
