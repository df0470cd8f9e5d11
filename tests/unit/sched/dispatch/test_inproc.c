/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "hearth/sched.h"

/* The in-process API, used as a program would. What a request does when it runs: */
enum what { RETURN, FAIL, HANG, SUBMIT };

struct thing {
	enum what what;
	sem_t *gate;                            /* HANG: until it opens; each test's own, as those that come late may still wait at it */
	uint32_t type;
	int seen;                               /* how often it ended */
	struct hearth_sched_result result;
};

static struct hearth_sched *scheduler;
static atomic_int runs, ended, ends[4];
static sem_t all_done;
static atomic_int awaited;
static struct thing extra;

static int run(void *ctx, uint32_t worker, uint32_t type, void *request)
{
	struct thing *t = request;

	assert_string_equal(ctx, "ctx");
	assert_int_equal(type, t->type);
	atomic_fetch_add(&runs, 1);
	switch (t->what) {
	case FAIL:
		return 42;
	case HANG:
		while (sem_wait(t->gate) < 0)
			;
		return 0;
	case SUBMIT:
		return hearth_sched_submit(scheduler, extra.type, &extra);
	default:
		return 0;
	}
}

static void done(void *ctx, void *request, const struct hearth_sched_result *result)
{
	struct thing *t = request;

	t->seen++;
	t->result = *result;
	atomic_fetch_add(&ends[result->end], 1);
	if (atomic_fetch_add(&ended, 1) + 1 == atomic_load(&awaited))
		sem_post(&all_done);
}

static uint32_t classify(void *ctx, const void *request)
{
	return ((const struct thing *)request)->type;
}

static const struct hearth_sched_type types[] = { { .name = "short", .mean_ns = 1000 }, { .name = "long", .queue_max = 64 } };

static struct hearth_sched_config config_of(uint32_t workers)
{
	return (struct hearth_sched_config){ .workers = workers, .types = types, .types_n = 2, .run = run, .done = done, .classify = classify, .ctx = "ctx",
					     .idle = HEARTH_SCHED_SLEEP };
}

static void begin(const struct hearth_sched_config *cfg, int expected)
{
	char error[256] = "";

	atomic_store(&runs, 0);
	atomic_store(&ended, 0);
	for (size_t i = 0; i < 4; i++)
		atomic_store(&ends[i], 0);
	atomic_store(&awaited, expected);
	sem_init(&all_done, 0, 0);
	if (hearth_sched_open(cfg, &scheduler, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

static void wait_all(void)
{
	while (sem_wait(&all_done) < 0)
		;
}

static void test_runs(void **state)
{
	static struct thing things[1000];
	struct hearth_sched_config cfg = config_of(3);
	struct hearth_sched_stats stats;
	char text[4096];

	for (int idle = 0; idle < 2; idle++) {
		memset(things, 0, sizeof(things));
		cfg.idle = (enum hearth_sched_idle)idle;
		begin(&cfg, 1000);
		for (size_t i = 0; i < 1000; i++) {
			things[i].type = i % 3 == 2 ? HEARTH_SCHED_UNKNOWN : 0;
			things[i].what = i % 10 == 0 ? FAIL : RETURN;
			assert_int_equal(hearth_sched_submit(scheduler, i % 2 == 0 ? things[i].type : HEARTH_SCHED_CLASSIFY, &things[i]), 0);
		}
		wait_all();
		assert_int_equal(hearth_sched_stats(scheduler, 0, &stats), 0);
		assert_int_equal(stats.enqueued, 667);
		assert_int_equal(hearth_sched_stats(scheduler, HEARTH_SCHED_UNKNOWN, &stats), 0);
		assert_int_equal(stats.enqueued, 333);
		assert_int_equal(hearth_sched_stats(scheduler, 7, &stats), -EINVAL);
		hearth_sched_explain(scheduler, text, sizeof(text));
		assert_non_null(strstr(text, "minimax"));
		assert_null(hearth_sched_close(scheduler, 1000000000));
		for (size_t i = 0; i < 1000; i++) {
			assert_int_equal(things[i].seen, 1);
			assert_int_equal(things[i].result.end, i % 10 == 0 ? HEARTH_SCHED_FAILED : HEARTH_SCHED_DONE);
			assert_int_equal(things[i].result.value, i % 10 == 0 ? 42 : 0);
			assert_true(things[i].result.latency_ns >= things[i].result.service_ns);
		}
	}
}

static void test_submit_from_run(void **state)
{
	struct hearth_sched_config cfg = config_of(1);
	struct thing t = { .what = SUBMIT };

	extra = (struct thing){ .type = 1 };
	begin(&cfg, 2);
	assert_int_equal(hearth_sched_submit(scheduler, 0, &t), 0);
	wait_all();
	hearth_sched_close(scheduler, 0);
	assert_int_equal(t.seen, 1);
	assert_int_equal(extra.seen, 1);
}

#define THREADS 4
#define EACH 5000
static struct thing many[THREADS][EACH];

static void *submitter(void *arg)
{
	struct thing *mine = arg;

	for (size_t i = 0; i < EACH; i++)
		while (hearth_sched_submit(scheduler, mine[i].type = i % 2, &mine[i]) == -ENOBUFS)
			sched_yield();
	return NULL;
}

/* Many threads submit more than there is room for: each request ends exactly once, done or refused. */
static void test_many_submitters(void **state)
{
	struct hearth_sched_config cfg = config_of(2);
	pthread_t threads[THREADS];

	memset(many, 0, sizeof(many));
	cfg.capacity = 128;
	begin(&cfg, THREADS * EACH);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, submitter, many[i]), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	wait_all();
	hearth_sched_close(scheduler, 0);
	for (size_t i = 0; i < THREADS; i++)
		for (size_t j = 0; j < EACH; j++)
			assert_int_equal(many[i][j].seen, 1);
	assert_int_equal(ends[HEARTH_SCHED_DONE] + ends[HEARTH_SCHED_OVERLOAD], THREADS * EACH);
	assert_int_equal(ends[HEARTH_SCHED_DONE], runs);
}

/* Two workers hang and are replaced, again and again; others are served meanwhile. What comes back late touches nothing. */
static void test_hang(void **state)
{
	static struct thing hung[6], fine[100];
	static sem_t gate;
	struct hearth_sched_config cfg = config_of(2);

	memset(hung, 0, sizeof(hung));
	memset(fine, 0, sizeof(fine));
	cfg.hang_ns = 20000000;
	sem_init(&gate, 0, 0);
	begin(&cfg, 106);
	for (size_t i = 0; i < 6; i++) {
		hung[i].what = HANG;
		hung[i].gate = &gate;
		assert_int_equal(hearth_sched_submit(scheduler, 0, &hung[i]), 0);
	}
	for (size_t i = 0; i < 100; i++) {
		fine[i].type = i % 2;
		assert_int_equal(hearth_sched_submit(scheduler, i % 2, &fine[i]), 0);
	}
	wait_all();
	/* three come back while the scheduler is there, three when it is gone */
	for (size_t i = 0; i < 3; i++)
		sem_post(&gate);
	hearth_sched_close(scheduler, 0);
	for (size_t i = 0; i < 3; i++)
		sem_post(&gate);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(hung[i].seen, 1);
		assert_int_equal(hung[i].result.end, HEARTH_SCHED_LOST);
	}
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(fine[i].seen, 1);
}

/* Closed while one runs for ever and others wait: each has ended when close returns. */
static void test_close_with_work(void **state)
{
	static struct thing things[500];
	static sem_t gate;
	struct hearth_sched_config cfg = config_of(1);

	memset(things, 0, sizeof(things));
	begin(&cfg, -1);
	things[0].what = HANG;
	things[0].gate = &gate;
	sem_init(&gate, 0, 0);
	for (size_t i = 0; i < 500; i++)
		assert_int_equal(hearth_sched_submit(scheduler, 0, &things[i]), 0);
	while (atomic_load(&runs) == 0)
		sched_yield();
	hearth_sched_close(scheduler, 10000000);
	sem_post(&gate);
	assert_int_equal(things[0].result.end, HEARTH_SCHED_LOST);
	for (size_t i = 1; i < 500; i++)
		assert_int_equal(things[i].result.end, HEARTH_SCHED_OVERLOAD);
	for (size_t i = 0; i < 500; i++)
		assert_int_equal(things[i].seen, 1);
}

static void test_queue_limit(void **state)
{
	static struct thing things[200];
	static sem_t gate;
	struct hearth_sched_config cfg = config_of(1);
	struct hearth_sched_stats stats;

	memset(things, 0, sizeof(things));
	begin(&cfg, 200);
	things[0].what = HANG;
	things[0].gate = &gate;
	sem_init(&gate, 0, 0);
	things[0].type = 0;
	assert_int_equal(hearth_sched_submit(scheduler, 0, &things[0]), 0);
	while (atomic_load(&runs) == 0)
		sched_yield();
	for (size_t i = 1; i < 200; i++) {
		things[i].type = 1;
		assert_int_equal(hearth_sched_submit(scheduler, 1, &things[i]), 0);
	}
	do
		hearth_sched_stats(scheduler, 1, &stats);
	while (stats.enqueued + stats.dropped < 199);
	assert_int_equal(stats.depth, 64);
	assert_int_equal(stats.dropped, 135);
	assert_int_equal(ends[HEARTH_SCHED_OVERLOAD], 135);
	sem_post(&gate);
	wait_all();
	hearth_sched_close(scheduler, 0);
}

static void test_switch(void **state)
{
	static const struct hearth_sched_type three[3] = { { .name = "a" }, { .name = "b" }, { .name = "c" } };
	struct hearth_sched_config cfg = config_of(2), next = config_of(9);
	char error[256];
	struct thing t = { 0 };

	begin(&cfg, 1);
	next.policy = "darc";
	assert_int_equal(hearth_sched_switch(scheduler, &next, error, sizeof(error)), 0);
	hearth_sched_explain(scheduler, error, sizeof(error));
	assert_non_null(strstr(error, "darc"));
	next.policy = "fastest";
	assert_int_equal(hearth_sched_switch(scheduler, &next, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "fastest"));
	next.policy = "fp";
	next.types = three;
	next.types_n = 3;
	assert_int_equal(hearth_sched_switch(scheduler, &next, NULL, 0), -EINVAL);
	assert_int_equal(hearth_sched_submit(scheduler, 0, &t), 0);
	wait_all();
	hearth_sched_close(scheduler, 0);
}

static void test_refused(void **state)
{
	struct hearth_sched_config good = config_of(1), cfg;
	char error[256];

	scheduler = NULL;
#define REFUSED(change, words) \
	do { \
		cfg = good; \
		change; \
		assert_int_equal(hearth_sched_open(&cfg, &scheduler, error, sizeof(error)), -EINVAL); \
		assert_non_null(strstr(error, words)); \
	} while (0)
	REFUSED(cfg.workers = 0, "workers");
	REFUSED(cfg.workers = 257, "workers");
	REFUSED(cfg.types_n = 0, "types");
	REFUSED(cfg.run = NULL, "run");
	REFUSED(cfg.policy = "ts", "");
	REFUSED(cfg.policy = "nonsense", "nonsense");
	REFUSED(cfg.zero[7] = 1, "later version");
	REFUSED(cfg.capacity = UINT32_MAX, "capacity");
	REFUSED(cfg.idle = (enum hearth_sched_idle)9, "idle");
	assert_null(scheduler);
	assert_null(hearth_sched_close(NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_submit_from_run),
		cmocka_unit_test(test_many_submitters),
		cmocka_unit_test(test_hang),
		cmocka_unit_test(test_close_with_work),
		cmocka_unit_test(test_queue_limit),
		cmocka_unit_test(test_switch),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
