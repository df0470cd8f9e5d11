/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An application that goes wrong on demand. The first byte of the payload says how; the reply is the payload, but for 'p' (pid of the worker) and 'n'.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hearth/app.h"

static const char *mode;

static int faulty_init(const struct hearth_app_env *env, void **ret_server)
{
	mode = hearth_app_option(env, "mode");
	if (mode != NULL && strcmp(mode, "refuse") == 0) {
		snprintf(env->error, env->error_room, "faulty: told to refuse");
		return -22;
	}
	if (mode != NULL && strcmp(mode, "crash") == 0)
		abort();
	*ret_server = strdup("server");
	return 0;
}

static int faulty_worker_init(void *server, const struct hearth_app_env *env, uint32_t worker, void **ret_worker)
{
	if (strcmp(server, "server") != 0 || (mode != NULL && strcmp(mode, "refuse-worker") == 0)) {
		snprintf(env->error, env->error_room, "faulty: worker told to refuse");
		return -22;
	}
	if (mode != NULL && strcmp(mode, "crash-worker") == 0)
		abort();
	*ret_worker = calloc(1, sizeof(uint32_t));
	return 0;
}

static int faulty_handle(void *worker, struct hearth_app_request *r)
{
	uint32_t *seen = worker;

	(*seen)++;
	switch (r->len > 0 ? r->data[0] : 0) {
	case 'a': abort();
	case 's': raise(SIGSEGV); break;
	case 'k': kill(getpid(), SIGKILL); break;
	case 'x': _exit(3);
	case 'h':
		for (;;)
			pause();
	case 'l': for (volatile int on = 1; on;); break;
	case 'f': return HEARTH_APP_FAILED;
	case 'm': return HEARTH_APP_MALFORMED;
	case 'u': return HEARTH_APP_UNKNOWN;
	case 'w': return 4711;
	case 'o': r->len = r->room + 1; return HEARTH_APP_OK;
	case 'b':
		memset(r->data, 'B', r->room);
		r->len = r->room;
		return HEARTH_APP_OK;
	case 'p': r->len = (uint32_t)snprintf((char *)r->data, r->room, "%d", (int)getpid()); break;
	case 'n': r->len = (uint32_t)snprintf((char *)r->data, r->room, "%u", *seen); break;
	default: break;
	}
	return HEARTH_APP_OK;
}

/* the last byte of the payload */
static uint32_t faulty_classify(uint32_t wire_type, const uint8_t *payload, size_t len)
{
	return len > 0 && payload[len - 1] >= '0' ? payload[len - 1] - (uint32_t)'0' : HEARTH_APP_TYPE_UNKNOWN;
}

extern const struct hearth_app hearth_app;
const struct hearth_app hearth_app = {
	.abi = HEARTH_APP_ABI,
	.bytes = sizeof(struct hearth_app),
	.name = "faulty",
	.init = faulty_init,
	.worker_init = faulty_worker_init,
	.handle = faulty_handle,
	.done = free,
	.classify = faulty_classify,
};
