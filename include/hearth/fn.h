/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_FN_H
#define HEARTH_FN_H

/*
 * libhearth-fn: native functions for Hearth (contract: native).
 *
 * The short way: initialise, then call hearth_fn_serve() with a handler. The longer one, for functions with several threads:
 * hearth_fn_open(), initialise, hearth_fn_ready(), then in every thread hearth_fn_next() and hearth_fn_reply().
 *
 * Nothing here may be used in a child after fork().
 */

#include <stddef.h>
#include <stdint.h>

#ifdef HEARTH_FN_BUILD
#pragma GCC visibility push(default)
#endif
#ifdef __cplusplus
extern "C" {
#endif

/** struct hearth_fn - the function's side of the channel to the node; opaque */
struct hearth_fn;

/**
 * struct hearth_fn_options - all zero is right for functions that hearthd starts
 * @suffix:          distinguishes instances that share one network namespace; NULL: from $HEARTH_SUFFIX
 * @max_event_bytes: larger events end the connection; 0: the protocol's limit, 64 MiB
 * @reserved:        zero
 */
struct hearth_fn_options {
	const char *suffix;
	size_t max_event_bytes;
	uint64_t reserved[4];
};

/**
 * struct hearth_fn_event - one invocation
 * @id:          of the channel; unique while the invocation runs
 * @deadline_ms: when the caller stops waiting, ms since 1970; 0 = never
 * @body:        the event as it came; not NUL-terminated; may be written to
 * Strings are NUL-terminated, "" when the caller gave none. Everything lives until the handler returns or the event is replied to.
 */
struct hearth_fn_event {
	uint64_t id;
	uint64_t deadline_ms;
	void *body;
	size_t body_len;
	const char *request_id;
	const char *arn;
	const char *trace_id;
	const char *content_type;
	const char *client_context;
	const char *cognito_identity;
};

/**
 * struct hearth_fn_reply - the answer to an event; all zero is an empty success
 * @body:         copied by the library; may be the event's own body
 * @content_type: NULL: application/json
 * @error_type:   not NULL: the invocation failed with an error of this name and body is the error document
 * @scratch:      the library's; see hearth_fn_room
 */
struct hearth_fn_reply {
	const void *body;
	size_t body_len;
	const char *content_type;
	const char *error_type;
	struct hearth_fn *scratch;
};

/**
 * hearth_fn_handler - answers one event
 * @reply: empty; fill it in. What it points to must live until the next call of the handler.
 * Return: 0; anything else is a failed invocation (with a generated error document unless reply->error_type is set).
 */
typedef int hearth_fn_handler(const struct hearth_fn_event *event, struct hearth_fn_reply *reply, void *ctx);

/**
 * hearth_fn_serve - say that the function is ready and answer events, one after the other, in the calling thread
 * @options: NULL = all zero
 * Context: blocks; returns on failure only. The node's stop signal ends the process.
 * Return: -EADDRINUSE (an instance of that suffix runs), -ENOMEM, -errno of the socket calls.
 */
int hearth_fn_serve(const struct hearth_fn_options *options, hearth_fn_handler *handler, void *ctx);

/**
 * hearth_fn_room - memory for a reply's body, kept by the library and used again for every event
 * @reply: one that hearth_fn_serve gave to the handler
 * Context: only in a handler. A second call in the same handler gives the same memory, grown, with its content kept.
 * Return: len bytes, or NULL (no memory).
 */
void *hearth_fn_room(struct hearth_fn_reply *reply, size_t len);

/**
 * hearth_fn_open - start to listen; the node may connect from now on but waits for hearth_fn_ready
 * @ret: for hearth_fn_close; untouched on failure
 * Return: 0, -EADDRINUSE, -ENAMETOOLONG (suffix), -ENOMEM, -errno.
 */
int hearth_fn_open(const struct hearth_fn_options *options, struct hearth_fn **ret);

/**
 * hearth_fn_ready - the initialisation is over: events may come, and an image may be taken of this state
 * Context: thread-safe; once is enough.
 * Return: 0.
 */
int hearth_fn_ready(struct hearth_fn *fn);

/**
 * hearth_fn_next - wait for the next event
 * @ret: the caller's until it is passed to hearth_fn_reply, which must happen exactly once for every event; untouched on failure
 * Context: blocks; any number of threads.
 * Return: 0, -ESHUTDOWN (hearth_fn_stop was called), -ENOMEM, -errno (the listener failed).
 */
int hearth_fn_next(struct hearth_fn *fn, const struct hearth_fn_event **ret);

/**
 * hearth_fn_reply - answer an event and give it back
 * @event: from hearth_fn_next; invalid afterwards, whatever the result
 * @reply: copied
 * Context: thread-safe; blocks while the node doesn't read. Replies of quick handlers are collected while more events wait in the buffer; they are
 * on their way when the thread calls hearth_fn_next and no event is there, or at hearth_fn_flush.
 * Return: 0, -ECONNRESET (the node hung up meanwhile; nobody waits for this answer), -EMSGSIZE (over 64 MiB) and -EINVAL (a type with a newline)
 * (the caller gets an error instead), -ENOMEM.
 */
int hearth_fn_reply(struct hearth_fn *fn, const struct hearth_fn_event *event, const struct hearth_fn_reply *reply);

/** hearth_fn_flush - send collected replies now. Context: thread-safe. Return: 0, -ECONNRESET. */
int hearth_fn_flush(struct hearth_fn *fn);

/** hearth_fn_stop - every hearth_fn_next, waiting or to come, returns -ESHUTDOWN. Context: thread-safe, async-signal-safe. */
void hearth_fn_stop(struct hearth_fn *fn);

/** hearth_fn_close - free everything; NULL is fine. No other thread may use fn any more and no event may be out. Return: NULL. */
struct hearth_fn *hearth_fn_close(struct hearth_fn *fn);

#ifdef __cplusplus
}
#endif
#ifdef HEARTH_FN_BUILD
#pragma GCC visibility pop
#endif
#endif
