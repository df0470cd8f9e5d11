/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_APP_H
#define HEARTH_APP_H

/*
 * Applications for `hearth serve`: what a worker does with a request. A shared object exports one symbol, `hearth_app`, a struct hearth_app; the server
 * loads it with `app: /path/FILE.so`. hearth-app(3) says the same at length; docs/examples/sched/app.c is one to begin with.
 *
 * Where what runs: `init` once, in a process that no worker is in and that is forked for each of them; `worker_init` and `handle` in the worker's own process, one
 * request at a time. What crashes or hangs there costs the one request that the worker has (its client is told so), and a new worker takes the place.
 * With HEARTH_APP_SHARED all workers are threads of one process instead, for state that they must share: `init` runs in it, before them, and a crash or a
 * hang costs what all of them have at the time.
 *
 * The process that receives and schedules loads the object, but calls none of its functions except `classify`, if the configuration asks for that.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HEARTH_APP_ABI 1

/** enum hearth_app_status - how a request ended, as its client will be told */
enum hearth_app_status {
	HEARTH_APP_OK,
	HEARTH_APP_MALFORMED,           /* the payload is not a request of this application */
	HEARTH_APP_UNKNOWN,             /* it is, but of a kind that the application does not know */
	HEARTH_APP_FAILED,
};

/** a type that is not configured; see `unknown` in hearth-serve(1) */
#define HEARTH_APP_TYPE_UNKNOWN UINT32_MAX

/**
 * struct hearth_app_request - one request, which becomes its reply in place
 * @data: in: the payload of @len bytes; out: the reply's. At least as many as the wire format allows (1,440) may be written, @room says how many.
 * @len:  in: of the payload; out: of the reply, at most @room. The reply of a request that failed has no payload.
 * @type: as configured, by its place in the list; HEARTH_APP_TYPE_UNKNOWN
 * @id:   the client's
 */
struct hearth_app_request {
	uint8_t *data;
	uint32_t len, room;
	uint32_t type, worker;
	uint64_t id;
};

/**
 * struct hearth_app_env - what an application is told at its start; lives as long as the server's workers
 * @options:    `app_options` of the configuration, "KEY=VALUE", NULL-terminated
 * @type_names: @types of them
 * @error:      where to say why init failed: what, on what, why, what to do; @error_room bytes
 */
struct hearth_app_env {
	const char *const *options;
	const char *const *type_names;
	uint32_t types, workers;
	char *error;
	size_t error_room;
};

/* struct hearth_app.flags */
#define HEARTH_APP_SHARED 1u            /* workers must share memory: threads of one process */

/**
 * struct hearth_app - an application; every function but handle may be NULL
 * @abi:         HEARTH_APP_ABI; another one is refused
 * @bytes:       sizeof(struct hearth_app), so that the structure can grow
 * @init:        once, before any worker. @ret_server is passed on. Return: 0, or -errno with @env->error filled in; the server then does not start.
 * @worker_init: in the worker, before its first request, and again in every replacement. Return as init; the worker is tried again after a while.
 * @handle:      Return: enum hearth_app_status.
 * @worker_done: in the worker when the server stops; not after a crash
 * @done:        after that, where init ran
 * @classify:    with `classify: app`: the type of a request, by its place in the list. Runs in the scheduling process, for every request, on
 *               bytes from the network: it must be quick and must not trust them. @wire_type: what the client wrote into the header.
 */
struct hearth_app {
	uint32_t abi;
	uint32_t bytes;
	const char *name;
	uint64_t flags;
	int (*init)(const struct hearth_app_env *env, void **ret_server);
	int (*worker_init)(void *server, const struct hearth_app_env *env, uint32_t worker, void **ret_worker);
	int (*handle)(void *worker, struct hearth_app_request *request);
	void (*worker_done)(void *worker);
	void (*done)(void *server);
	uint32_t (*classify)(uint32_t wire_type, const uint8_t *payload, size_t len);
};

/** hearth_app_option - the value of an option, or NULL. Here so that applications link with nothing. */
static inline const char *hearth_app_option(const struct hearth_app_env *env, const char *key)
{
	size_t i, n;

	for (i = 0; env->options && env->options[i]; i++) {
		for (n = 0; key[n] && env->options[i][n] == key[n]; n++)
			;
		if (!key[n] && env->options[i][n] == '=')
			return env->options[i] + n + 1;
	}
	return NULL;
}

#ifdef __cplusplus
}
#endif
#endif
