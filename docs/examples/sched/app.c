/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An application for `hearth serve`: counts words (type 0) and turns text around (type 1).
 *
 *   cc -O2 -shared -fPIC -o words.so app.c        (with Hearth's headers installed)
 *   hearth serve words.yaml
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/app.h>

/* what a worker keeps from one request to the next; each has its own */
struct words {
	unsigned long seen;
};

static int words_worker_init(void *server, const struct hearth_app_env *env, uint32_t worker, void **ret_worker)
{
	struct words *w = calloc(1, sizeof(*w));

	(void)server;
	if (w == NULL) {
		snprintf(env->error, env->error_room, "worker %u: out of memory", worker);
		return -12;
	}
	*ret_worker = w;
	return 0;
}

static void words_worker_done(void *worker)
{
	free(worker);
}

/* The request's bytes become the reply's, in place. */
static int words_handle(void *worker, struct hearth_app_request *r)
{
	struct words *w = worker;
	uint32_t words = 0;

	w->seen++;
	if (r->type == 0) {
		for (uint32_t i = 0; i < r->len; i++)
			words += !isspace(r->data[i]) && (i == 0 || isspace(r->data[i - 1]));
		r->len = (uint32_t)snprintf((char *)r->data, r->room, "%u", words);
		return HEARTH_APP_OK;
	}
	if (r->type == 1) {
		for (uint32_t i = 0, j = r->len; i + 1 < j; i++) {
			uint8_t byte = r->data[i];

			r->data[i] = r->data[--j];
			r->data[j] = byte;
		}
		return HEARTH_APP_OK;
	}
	return HEARTH_APP_UNKNOWN;
}

extern const struct hearth_app hearth_app;
const struct hearth_app hearth_app = {
	.abi = HEARTH_APP_ABI,
	.bytes = sizeof(struct hearth_app),
	.name = "words",
	.worker_init = words_worker_init,
	.handle = words_handle,
	.worker_done = words_worker_done,
};
