/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/thread.h"
#include "replay.h"

#define SAMPLE_EVERY_NS (250 * NS_PER_MS)

struct values { uint64_t *v; size_t n, cap; };

struct sampler {
	const struct cli *cli;
	const struct targets *targets;
	uint64_t origin_ns;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;           /* covers what is below */
	pthread_cond_t changed;         /* a new sample, or stopping */
	bool stopping;
	struct sample *samples;
	size_t n, cap;
	unsigned failed;                /* questions that the node did not answer */
	struct values *hot, *any;       /* memory seen, one list a target */
};

static int keep_value(struct values *list, uint64_t value)
{
	int rc = array_grow((void **)&list->v, &list->cap, list->n + 1, sizeof(*list->v));

	if (rc == 0)
		list->v[list->n++] = value;
	return rc;
}

static int read_instance(struct sampler *s, const json_t *instance, struct sample *out)
{
	const char *state = json_string_value(json_object_get(instance, "state"));
	const char *function = json_string_value(json_object_get(instance, "function"));
	json_int_t bytes = json_integer_value(json_object_get(instance, "memory_bytes"));
	json_int_t away;
	uint64_t whole;
	bool hot;
	int rc = 0;

	if (!state || !function)
		return -EPROTO;
	if (strcmp(state, "parked") == 0) {
		out->parked++;
		return 0;
	}
	hot = strcmp(state, "hot") == 0;
	out->live++;
	out->hot += hot;
	out->warm += strcmp(state, "warm") == 0;
	away = json_integer_value(json_object_get(json_object_get(instance, "memory"), "remote_bytes"));
	out->away_bytes += away > 0 ? (uint64_t)away : 0;
	if (bytes <= 0)
		return 0;
	out->instances_bytes += (uint64_t)bytes;
	whole = (uint64_t)bytes + (away > 0 ? (uint64_t)away : 0);      /* what it would have if nothing were moved */
	for (size_t i = 0; rc == 0 && i < s->targets->n; i++) {
		if (strcmp(function, s->targets->v[i].name) != 0)
			continue;
		rc = keep_value(&s->any[i], whole);
		if (rc == 0 && hot)
			rc = keep_value(&s->hot[i], whole);
	}
	return rc;
}

static int read_answer(struct sampler *s, const json_t *answer, struct sample *out)
{
	const json_t *instances = json_object_get(answer, "instances");
	const json_t *about = json_object_get(answer, "node");
	json_int_t node = json_integer_value(json_object_get(about, "memory_bytes")), pool = json_integer_value(json_object_get(json_object_get(about, "farmem"), "pool_bytes"));
	int rc = 0;

	if (!json_is_array(instances))
		return -EPROTO;
	out->node_bytes = node > 0 ? (uint64_t)node : 0;
	out->pool_bytes = pool > 0 ? (uint64_t)pool : 0;
	for (size_t i = 0; rc == 0 && i < json_array_size(instances); i++)
		rc = read_instance(s, json_array_get(instances, i), out);
	return rc;
}

/* One question to the node. The time of a sample is the middle of the call: that is the nearest to when the node looked. */
static int take(struct sampler *s, struct hearth_err *err)
{
	uint64_t before_ns = clock_mono_ns(), after_ns;
	struct sample now = { 0 };
	json_t *request = json_pack("{s:s}", "op", "ps"), *answer = NULL;
	int rc = request ? ctl_call(s->cli, request, &answer, err) : err_set(err, -ENOMEM, "no memory");

	json_decref(request);
	after_ns = clock_mono_ns();
	before_ns += (after_ns - before_ns) / 2;
	now.t_ns = before_ns > s->origin_ns ? before_ns - s->origin_ns : 0;
	pthread_mutex_lock(&s->lock);
	if (rc == 0) {
		rc = read_answer(s, answer, &now);
		if (rc < 0)
			err_set(err, rc, "the node's answer to ps is incomplete");
	}
	if (rc == 0)
		rc = array_grow((void **)&s->samples, &s->cap, s->n + 1, sizeof(*s->samples));
	if (rc == 0)
		s->samples[s->n++] = now;
	else
		s->failed++;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	json_decref(answer);
	return rc;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };
}

static void *sampler_thread(void *arg)
{
	struct sampler *s = arg;
	struct hearth_err err;          /* a failed question is counted, and shows in the report */
	uint64_t next_ns = clock_mono_ns();

	for (;;) {
		struct timespec at;
		bool stop;

		next_ns += SAMPLE_EVERY_NS;
		if (next_ns < clock_mono_ns())
			next_ns = clock_mono_ns();      /* the node was slow: don't catch up in a burst */
		at = to_timespec(next_ns);
		pthread_mutex_lock(&s->lock);
		while (!s->stopping && clock_mono_ns() < next_ns)
			pthread_cond_timedwait(&s->changed, &s->lock, &at);
		stop = s->stopping;
		pthread_mutex_unlock(&s->lock);
		take(s, &err);
		if (stop)
			return NULL;
	}
}

int sampler_start(const struct cli *cli, const struct targets *targets, uint64_t origin_ns, struct sampler **ret, struct hearth_err *err)
{
	struct sampler *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, "no memory");
	s->cli = cli;
	s->targets = targets;
	s->origin_ns = origin_ns;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	s->hot = calloc(targets->n, sizeof(*s->hot));
	s->any = calloc(targets->n, sizeof(*s->any));
	rc = s->hot && s->any ? take(s, err) : err_set(err, -ENOMEM, "no memory");
	if (rc < 0)
		goto fail;
	rc = thread_spawn(&s->thread, sampler_thread, s);
	if (rc < 0) {
		err_set(err, rc, "cannot start the thread that samples memory: %s", strerror(-rc));
		goto fail;
	}
	s->running = true;
	*ret = s;
	return 0;
fail:
	sampler_free(s);
	return rc;
}

struct sample sampler_last(struct sampler *s)
{
	struct sample last;

	pthread_mutex_lock(&s->lock);
	last = s->samples[s->n - 1];    /* sampler_start took the first */
	pthread_mutex_unlock(&s->lock);
	return last;
}

void sampler_wait_parked(struct sampler *s, uint64_t until_ns, volatile sig_atomic_t *stop)
{
	uint64_t now_ns;
	size_t from;

	pthread_mutex_lock(&s->lock);
	from = s->n;                    /* what was seen before says nothing about now */
	/* Wakes with every sample, so a signal is seen within a quarter of a second. */
	while (!*stop && (now_ns = clock_mono_ns()) < until_ns) {
		uint64_t next_ns = now_ns + SAMPLE_EVERY_NS < until_ns ? now_ns + SAMPLE_EVERY_NS : until_ns;
		struct timespec at = to_timespec(next_ns);

		if (s->n >= from + 2 && s->samples[s->n - 1].live == 0 && s->samples[s->n - 2].live == 0)
			break;
		pthread_cond_timedwait(&s->changed, &s->lock, &at);
	}
	pthread_mutex_unlock(&s->lock);
}

void sampler_stop(struct sampler *s)
{
	if (!s->running)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	s->running = false;
}

const struct sample *sampler_data(const struct sampler *s, size_t *ret_n, unsigned *ret_failed)
{
	*ret_n = s->n;
	*ret_failed = s->failed;
	return s->samples;
}

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t sampler_hot_bytes(struct sampler *s, size_t target)
{
	struct values *list = s->hot[target].n ? &s->hot[target] : &s->any[target];

	if (list->n == 0)
		return 0;
	qsort(list->v, list->n, sizeof(*list->v), cmp_u64);
	return list->v[(list->n - 1) / 2];      /* the lower median: in doubt keep-alive holds less */
}

struct sampler *sampler_free(struct sampler *s)
{
	if (!s)
		return NULL;
	sampler_stop(s);
	for (size_t i = 0; i < s->targets->n; i++) {
		if (s->hot)
			free(s->hot[i].v);
		if (s->any)
			free(s->any[i].v);
	}
	free(s->hot);
	free(s->any);
	free(s->samples);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}
