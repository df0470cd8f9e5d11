/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "app.h"
#include "base/clock.h"
#include "base/yaml.h"
#include "sched/wire.h"

/*
 * The synthetic application of the literature: a request says how long it takes. The worker burns that time, looking at the clock all the while.
 *
 * With `dilate: N` it waits N times that long instead, asleep until an absolute time: to the scheduler all is as with requests N times longer, and it needs no
 * core for each worker. So an experiment with 14 workers runs on a machine with two cores, in N times the time.
 */
#define SPIN_DILATE_MAX 1000000
#define SPIN_MAX_NS (60 * NS_PER_S)

struct spin {
	uint64_t dilate, max_ns;
};

static int spin_error(const struct hearth_app_env *env, const char *option, const char *text, const char *want)
{
	snprintf(env->error, env->error_room, "application spin: option %s: \"%s\" is not %s", option, text, want);
	return -EINVAL;
}

static int spin_init(const struct hearth_app_env *env, void **ret_server)
{
	static const char *const known[] = { "dilate", "max" };
	const char *dilate = hearth_app_option(env, "dilate"), *max = hearth_app_option(env, "max");
	struct spin *s;

	for (size_t i = 0; env->options != NULL && env->options[i] != NULL; i++) {
		size_t n = strcspn(env->options[i], "=");

		if ((n != strlen(known[0]) || strncmp(env->options[i], known[0], n) != 0) && (n != strlen(known[1]) || strncmp(env->options[i], known[1], n) != 0)) {
			snprintf(env->error, env->error_room, "application spin: no option \"%.*s\"; it has dilate and max", (int)n, env->options[i]);
			return -EINVAL;
		}
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->max_ns = SPIN_MAX_NS;
	if (dilate != NULL) {
		char *end;

		s->dilate = strtoull(dilate, &end, 10);
		if (*end != '\0' || dilate[0] < '0' || dilate[0] > '9' || s->dilate == 0 || s->dilate > SPIN_DILATE_MAX) {
			free(s);
			return spin_error(env, "dilate", dilate, "a whole number from 1 to 1000000");
		}
	}
	if (max != NULL && parse_duration(max, &s->max_ns) < 0) {
		free(s);
		return spin_error(env, "max", max, "a duration such as 10ms");
	}
	*ret_server = s;
	return 0;
}

static int spin_worker_init(void *server, const struct hearth_app_env *env, uint32_t worker, void **ret_worker)
{
	(void)prctl(PR_SET_TIMERSLACK, 1);      /* dilated time ends when it should, not 50 us later */
	*ret_worker = server;
	return 0;
}

static void wait_until(uint64_t end)
{
	struct timespec ts = { .tv_sec = (time_t)(end / NS_PER_S), .tv_nsec = (long)(end % NS_PER_S) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static int spin_handle(void *worker, struct hearth_app_request *request)
{
	const struct spin *s = worker;
	uint64_t begin = clock_mono_ns(), ns;

	if (request->len != WIRE_SPIN_BYTES)
		return HEARTH_APP_MALFORMED;
	memcpy(&ns, request->data, sizeof(ns));
	ns = le64toh(ns);
	if (ns > s->max_ns)
		return HEARTH_APP_MALFORMED;
	if (s->dilate > 0)
		wait_until(begin + ns * s->dilate);
	else
		while (clock_mono_ns() - begin < ns)
			;
	request->len = 0;
	return HEARTH_APP_OK;
}

static void spin_done(void *server)
{
	free(server);
}

const struct hearth_app app_spin = {
	.abi = HEARTH_APP_ABI,
	.bytes = sizeof(struct hearth_app),
	.name = "spin",
	.init = spin_init,
	.worker_init = spin_worker_init,
	.handle = spin_handle,
	.done = spin_done,
};
