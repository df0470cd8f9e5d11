/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out anywhere in the life of a zygote and its workers: no call has two results, none is forgotten, nothing is leaked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "rapi.h"

#define FORK(headers) "GET /2018-06-01/runtime/hearth/fork HTTP/1.1\r\n" headers "\r\n"
#define NEXT(pid) "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHearth-Worker: " pid "\r\n\r\n"
#define ANSWER(pid, id) "POST /2018-06-01/runtime/invocation/" id "/response HTTP/1.1\r\nContent-Type: a/b\r\nHearth-Worker: " pid "\r\nContent-Length: 3\r\n\r\n{ }"
#define CALLS 4

struct farm {
	struct rapi rapi;
	struct rapi_conn *conn[3];      /* the zygote's, and two workers' */
	bool taken[CALLS], over[CALLS];
	unsigned rested;
};

static void on_news(void *ctx) {}

static void on_result(void *ctx, const struct rapi_result *r)
{
	struct farm *f = ctx;

	assert_true(r->id < CALLS && f->taken[r->id] && !f->over[r->id]);
	f->over[r->id] = true;
}

static void on_init_error(void *ctx, const struct rapi_result *r) { fail(); }
static void on_output(void *ctx, struct rapi_conn *c) {}
static void on_workers(void *ctx, unsigned count) { assert_true(count <= 2); }
static void on_rested(void *ctx) { ((struct farm *)ctx)->rested++; }
static uint64_t on_waits(void *ctx) { return 1; }
static bool on_alive(void *ctx, pid_t pid) { return true; }
static void on_end(void *ctx, pid_t pid) {}

static const struct rapi_ops ops = {
	.loaded = on_news, .ready = on_news, .result = on_result, .init_error = on_init_error, .output = on_output,
	.workers = on_workers, .rested = on_rested, .waits = on_waits, .alive = on_alive, .end = on_end,
};

static void call(struct farm *f, uint64_t id)
{
	static char meta[] = "request_id=0\n";
	struct fn_view v = { .head = { .type = FN_INVOKE, .id = id, .meta_len = sizeof meta - 1 }, .meta = meta, .body = (uint8_t *)"event", .body_len = 5 };

	meta[sizeof meta - 3] = (char)('0' + id);
	f->taken[id] = true;                    /* before: it may be over at once */
	f->taken[id] = rapi_invoke(&f->rapi, &v) == 0;
}

/* A client whose answer was lost for want of memory sees a connection that ends. */
static void say(struct farm *f, unsigned which, const char *text)
{
	if (!f->conn[which])
		f->conn[which] = rapi_conn_new(&f->rapi);
	if (!f->conn[which])
		return;
	if (rapi_conn_input(f->conn[which], text, strlen(text)) < 0)
		f->conn[which] = rapi_conn_free(f->conn[which]);
	else
		buf_done(rapi_conn_out(f->conn[which]));
}

static void life(struct farm *f)
{
	struct buf ids = { 0 };

	say(f, 0, FORK(""));
	call(f, 0);
	say(f, 1, NEXT("11"));
	say(f, 0, FORK("Hearth-Forked: 11\r\n"));
	call(f, 1);
	say(f, 0, FORK("Hearth-Forked: 12\r\n"));
	say(f, 2, NEXT("12"));
	rapi_running(&f->rapi, &ids);
	buf_done(&ids);
	say(f, 1, ANSWER("11", "0"));
	say(f, 1, NEXT("11"));
	rapi_worker_ended(&f->rapi, 12, 9);
	call(f, 2);
	rapi_cancel(&f->rapi, 2);
	rapi_worker_ended(&f->rapi, 11, 9);
	call(f, 3);
	say(f, 0, FORK("Hearth-Fork-Error: no room\r\n"));
	rapi_rest(&f->rapi);
}

/* Return: the n-th allocation did fail */
static bool try_life(unsigned nth)
{
	long blocks = fault_live_blocks();
	struct farm f = { 0 };
	unsigned open = 0, i;
	bool fired;

	rapi_init(&f.rapi, 1000, &ops, &f);
	rapi_allow_fork(&f.rapi, 2, 10);
	if (nth)
		fault_arm(FAULT_ALLOC, nth, 0);
	life(&f);
	fired = nth && fault_disarm();
	/* the one that was cancelled has no result */
	for (i = 0; i < CALLS; i++)
		open += f.taken[i] && !f.over[i] && i != 2;
	assert_in_range(f.rapi.calls, open, open + (f.taken[2] && !f.over[2]));
	if (!fired)
		assert_true(f.over[0] && f.over[1] && f.over[3] && f.rapi.calls == 0 && f.rested == 1);
	for (i = 0; i < 3; i++)
		rapi_conn_free(f.conn[i]);
	rapi_done(&f.rapi);
	assert_int_equal(fault_live_blocks(), blocks);
	return fired;
}

static void memory_runs_out(void **state)
{
	unsigned n = 1;

	try_life(0);
	while (try_life(n))
		n++;
	assert_in_range(n, 20, 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(memory_runs_out) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
