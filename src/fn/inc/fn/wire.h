/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FN_WIRE_H
#define FN_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * The channel between hearthd and an instance: a Unix stream socket that the *instance* listens on, in the abstract name space of its own network
 * namespace, and hearthd connects to. So nothing of the channel is in a checkpoint (hearthd hangs up first), any number of clones of one image can be
 * called, and a restarted daemon only has to connect again.
 *
 * Two listeners exist: FN_NAME_INIT, served by hearth-init for every instance (log, readiness, exit, and the invocations of the lambda contract), and
 * FN_NAME_NATIVE, served by libhearth-fn inside a native function (invocations). Names get the suffix "-ID" where instances share the host's network
 * ($HEARTH_INSTANCE). One peer at a time: a new connection replaces the older one.
 *
 * Frames: struct fn_frame (little endian, 32 bytes), then meta_len bytes of "key=value\n" lines, then the body. len counts meta and body.
 * Either side ends a connection that sends a frame it must not send; the daemon trusts nothing that an instance sends.
 */
#define FN_VERSION 1
/*
 * What an instance speaks is in its HELLO; the daemon speaks no more than that. Version 2 is version 1 and what is marked (2) below. hearth-init speaks it where several invocations run at a time, in workers
 * that a zygote forks (docs/adr/0026-zygote.md), and version 1 otherwise, as every native function does: images outlive programs. A daemon that does not know a version says so and ends the instance.
 */
#define FN_VERSION_WORKERS 2
#define FN_NAME_INIT "@hearth-init"
#define FN_NAME_NATIVE "@hearth-fn"
#define FN_META_MAX 16384u
#define FN_BODY_MAX (64u << 20)         /* the protocol's limit; hearthd's configured one is lower (6 MB) */

enum fn_type {
	/* daemon to instance */
	FN_INVOKE = 1,          /* id; arg = deadline, CLOCK_REALTIME ms, 0 = none; meta: request_id, arn, trace_id, content_type, client_context, cognito_identity; body = event */
	FN_STOP = 2,            /* arg = signal number for the function's process; hearth-init only */
	FN_CANCEL = 3,          /* (2) id: it has taken too long, the worker that has it is to end. Nothing is answered; a result may be on its way already. */
	FN_REST = 4,            /* (2) nothing runs, and all workers are to end; FN_RESTED when they have */

	/* instance to daemon */
	FN_HELLO = 16,          /* first frame of each connection; arg = FN_VERSION; id = invocation in progress or 0; flags: FN_FLAG_*; (2) body: the ids of all of them, 8 bytes each */
	FN_READY_NOW = 17,      /* the function finished its initialisation; (2) flags: FN_FLAG_ZYGOTE */
	FN_RESULT = 18,         /* id; arg: enum fn_outcome; meta: content_type, error_type; body = response or error document */
	FN_INIT_ERROR = 19,     /* lambda: the runtime reported an initialisation error; meta: error_type; body = error document */
	FN_LOG = 20,            /* arg = 1 stdout, 2 stderr; body = bytes as written */
	FN_LOG_LOST = 21,       /* arg = bytes dropped because they came faster than they were taken */
	FN_LOADED_NOW = 23,     /* the language runtime is loaded; the function's own initialisation begins. Not every runtime says so. */
	FN_WORKERS = 24,        /* (2) arg = how many workers there are */
	FN_RESTED = 25,         /* (2) there are no workers any more */
	FN_EXITED = 22,         /* arg = wait status of the function's process; last frame before hearth-init ends */
};

enum fn_outcome {
	FN_OK = 0,
	FN_FUNCTION_ERROR = 1,
	FN_REFUSED = 2,         /* this instance can't take the invocation (busy, not ready) */
	FN_WORKER_DIED = 3,     /* (2) the worker that had it ended, or none could be had; body = how, as a part of a sentence */
};

#define FN_FLAG_READY 1u
#define FN_FLAG_LOADED 2u
#define FN_FLAG_ZYGOTE 4u       /* (2) the runtime forks workers: several invocations may be sent at a time */

struct fn_frame {
	uint32_t len;
	uint8_t type;
	uint8_t flags;
	uint16_t meta_len;
	uint64_t id;
	uint64_t arg;
	uint64_t reserved;      /* 0 */
};
_Static_assert(sizeof(struct fn_frame) == 32, "wire format");
#define FN_HEAD_BYTES 32u

/**
 * struct fn_view - one whole frame inside a receive buffer; every pointer leads into that buffer
 * @meta: head.meta_len bytes of checked "key=value\n" lines
 * @total: bytes of the frame with its header: what to consume
 */
struct fn_view {
	struct fn_frame head;
	char *meta;
	uint8_t *body;
	size_t body_len;
	size_t total;
};

/** fn_frame_put - a header as wire bytes. len and meta_len must be right already. */
void fn_frame_put(uint8_t out[FN_HEAD_BYTES], const struct fn_frame *head);
/**
 * fn_frame_peek - the first frame of a receive buffer; safe on any bytes
 * @data, @len: what was received so far; not changed
 * @body_max:   larger bodies are refused (at most FN_BODY_MAX)
 * @ret:        filled in when the frame is whole; before that only ret->total is set, to the bytes that are known to be needed
 * Return: 1 (a frame), 0 (read on), -EPROTO (no frame of this protocol), -EMSGSIZE (larger than body_max). After an error nothing that follows
 * can be trusted: hang up.
 */
int fn_frame_peek(void *data, size_t len, size_t body_max, struct fn_view *ret);

/** struct fn_meta - one "key=value" line; neither part is NUL-terminated; value[value_len] is the newline */
struct fn_meta {
	const char *key, *value;
	size_t key_len, value_len;
};
/** fn_meta_next - the line at *pos. Return: true and *pos moved on, or false at the end or at a line that is none. */
bool fn_meta_next(const char *meta, size_t len, size_t *pos, struct fn_meta *ret);
/** fn_meta_is - is this the line of that key? */
bool fn_meta_is(const struct fn_meta *m, const char *key);
/** fn_meta_get - the value of a key (the first such line). Return: false when there is none. */
bool fn_meta_get(const char *meta, size_t len, const char *key, const char **ret_value, size_t *ret_len);
/**
 * fn_meta_put - append a line
 * @meta, @cap:  where; cap may be anything, FN_META_MAX is the protocol's limit
 * @len:         bytes in use, moved on; untouched on failure
 * @value, @value_len: may be empty
 * Return: 0, -EINVAL (empty key, '=' in the key, newline or NUL in either), -EMSGSIZE (no room).
 */
int fn_meta_put(char *meta, size_t cap, size_t *len, const char *key, const char *value, size_t value_len);

/**
 * fn_address - the address of a listener
 * @name:   FN_NAME_INIT or FN_NAME_NATIVE
 * @suffix: NULL or "": none. "ID" and "-ID" both give "name-ID".
 * Return: 0, -ENAMETOOLONG.
 */
int fn_address(const char *name, const char *suffix, struct sockaddr_un *ret, socklen_t *ret_len);
/** fn_listen - a non-blocking, close-on-exec listener there. Return: descriptor, -errno (-EADDRINUSE, -ENAMETOOLONG). */
int fn_listen(const char *name, const char *suffix);
/**
 * fn_connect - a non-blocking, close-on-exec connection to it, from the network namespace of the calling thread
 * Never waits. Return: descriptor (connected), -ECONNREFUSED (nobody listens), -EAGAIN (its queue is full), -errno.
 */
int fn_connect(const char *name, const char *suffix);
/**
 * fn_accept - take a connection from fn_listen's descriptor; non-blocking, close-on-exec
 * Only root and the listener's own user are let in: abstract names have no permissions, and without a network namespace the whole machine sees them.
 * Return: descriptor, -EAGAIN (none waiting), -EACCES (a stranger, hung up on), -errno.
 */
int fn_accept(int listen_fd);

#endif
