/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FN_WIRE_H
#define FN_WIRE_H

#include <stdint.h>

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
#define FN_NAME_INIT "@hearth-init"
#define FN_NAME_NATIVE "@hearth-fn"
#define FN_META_MAX 16384u
#define FN_BODY_MAX (64u << 20)         /* the protocol's limit; hearthd's configured one is lower (6 MB) */

enum fn_type {
	/* daemon to instance */
	FN_INVOKE = 1,          /* id; arg = deadline, CLOCK_REALTIME ms, 0 = none; meta: request_id, arn, trace_id, content_type, client_context, cognito_identity; body = event */
	FN_STOP = 2,            /* arg = signal number for the function's process; hearth-init only */

	/* instance to daemon */
	FN_HELLO = 16,          /* first frame of each connection; arg = FN_VERSION; id = invocation in progress or 0; flags: FN_READY */
	FN_READY_NOW = 17,      /* the function finished its initialisation */
	FN_RESULT = 18,         /* id; arg: enum fn_outcome; meta: content_type, error_type; body = response or error document */
	FN_INIT_ERROR = 19,     /* lambda: the runtime reported an initialisation error; meta: error_type; body = error document */
	FN_LOG = 20,            /* arg = 1 stdout, 2 stderr; body = bytes as written */
	FN_LOG_LOST = 21,       /* arg = bytes dropped because they came faster than they were taken */
	FN_EXITED = 22,         /* arg = wait status of the function's process; last frame before hearth-init ends */
};

enum fn_outcome { FN_OK = 0, FN_FUNCTION_ERROR = 1, FN_REFUSED = 2 /* this instance can't take the invocation (busy, not ready) */ };

#define FN_FLAG_READY 1u

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

#endif
