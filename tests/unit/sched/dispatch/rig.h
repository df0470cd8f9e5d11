/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

/* The server's front and dispatcher around the double, with threads as workers: everything of `hearth serve` but processes and sockets, in one process. */
#include "check.h"

#include <sys/eventfd.h>

#include "base/clock.h"
#include "crew.h"
#include "front.h"
#include "mem_net.h"

struct rig {
	struct mem_net net;
	struct front front;
	struct bell bell;
	struct crew_thread *crew;
	struct disp *disp;
	struct hearth_app app;
	pthread_t thread;
};

static void rig_worker(void *ctx, uint32_t w, struct slot *slot)
{
	struct rig *rig = ctx;
	struct front_worker worker = { .app = &rig->app, .port = &rig->net.port, .worker = w };

	slot_ready(slot, NULL);
	slot_run(slot, &front_work, &worker);
}

static void *rig_dispatcher(void *arg)
{
	disp_run(((struct rig *)arg)->disp);
	return NULL;
}

/** rig_start - types "a" and "b", by the number in the header */
static struct rig *rig_start(bool forks, uint32_t workers, enum sched_policy policy, uint32_t queue_max, enum idle_mode mode, int (*handle)(void *, struct hearth_app_request *))
{
	struct rig *rig = aligned_alloc(64, (sizeof(*rig) + 63) & ~(size_t)63);
	struct idle idle = { .mode = mode, .spin_ns = 20000, .yield = true };
	struct sched_config core = { .policy = policy, .workers = workers, .types_n = 2, .queue_max = queue_max, .types = { { .name = "a" }, { .name = "b" } } };
	struct classify_config types = { .kind = CLASSIFY_TYPE, .types_n = 2, .names = { "a", "b" } };
	struct crew_config crew = { .workers = workers, .work = { .worker = rig_worker, .ctx = rig } };
	struct disp_config cfg = { .sched = &core, .bell = &rig->bell, .idle = idle, .front = &front_ops, .front_ctx = &rig->front, .crew = &crew_thread_ops };
	struct hearth_err err;

	memset(rig, 0, sizeof(*rig));
	mem_init(&rig->net, forks, workers);
	rig->app = (struct hearth_app){ .handle = handle };
	rig->bell.silent = mode == IDLE_POLL;
	rig->bell.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(front_init(&rig->front, &rig->net.port, workers, MEM_BUFFERS, &err), 0);
	assert_int_equal(classifier_new(&types, &rig->front.classifier, &err), 0);
	assert_int_equal(crew_thread_new(&crew, &rig->bell, &idle, &rig->crew, &err), 0);
	cfg.slots = crew_thread_slots(rig->crew);
	cfg.crew_ctx = rig->crew;
	assert_int_equal(disp_new(&cfg, &rig->disp, &err), 0);
	rig->front.disp = rig->disp;
	crew_thread_bind(rig->crew, rig->disp);
	return rig;
}

static void rig_run(struct rig *rig)
{
	assert_int_equal(pthread_create(&rig->thread, NULL, rig_dispatcher, rig), 0);
}

static inline uint64_t rig_status(const struct rig *rig, uint32_t type, enum wire_status status)
{
	return counter_get(&disp_type_of(rig->disp, type)->status[status]);
}

static void rig_free(struct rig *rig)
{
	crew_thread_free(rig->crew);
	disp_free(rig->disp);
	front_done(&rig->front);
	close(rig->bell.fd);
	close(rig->net.fd);
	free(rig);
}

/* Also checks that every buffer is back. */
static void rig_end(struct rig *rig)
{
	disp_stop(rig->disp, 10 * NS_PER_S);
	pthread_join(rig->thread, NULL);
	assert_int_equal(rig->front.free_n, rig->front.reqs_n);
	/* the last reply's buffer is back before its request is */
	assert_int_equal(rig->net.outside, 0);
	assert_int_equal(rig->net.wrong, 0);
	rig_free(rig);
}

/* A datagram of the list for mem_feed. */
static void rig_message(uint8_t out[64], uint16_t type, uint64_t id, const void *payload, uint8_t len)
{
	struct wire_header h = { .kind = WIRE_REQUEST, .type = type, .id = id, .payload_len = len };

	memset(out, 0, 64);
	wire_write(&h, out);
	memcpy(out + WIRE_HEADER_BYTES, payload, len);
	out[63] = (uint8_t)(WIRE_HEADER_BYTES + len);
}

#endif
