/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <semaphore.h>

/* What became of each status; the double calls this under its lock. */
struct sums {
	unsigned long status[WIRE_STATUSES], bytes, invalid;
};

static void add(void *ctx, const uint8_t *data, size_t len)
{
	struct sums *s = ctx;
	struct wire_header h;

	if (wire_parse(data, len, &h) < 0 || h.kind != WIRE_REPLY) {
		s->invalid++;
		return;
	}
	s->status[h.status]++;
	s->bytes += h.payload_len;
}

/* the first byte is the status; the reply repeats the payload */
static int obey(void *worker, struct hearth_app_request *r)
{
	return r->len > 0 ? r->data[0] : HEARTH_APP_OK;
}

/* Every kind of datagram, many times, over both kinds of backend and every way to idle: nothing is lost, no buffer is given back twice. */
static void test_all_kinds(void **state)
{
	static uint8_t messages[10][64];
	const size_t n = 20000;

	rig_message(messages[0], 0, 1, "\0abc", 4);
	rig_message(messages[1], 1, 2, "\3", 1);
	rig_message(messages[2], 9, 3, "", 0);
	rig_message(messages[3], 0, 4, "\1x", 2);
	rig_message(messages[4], 0, 5, "\2x", 2);
	rig_message(messages[5], 0, 6, "\x63", 1);
	rig_message(messages[6], 0, 7, "abcd", 4);
	messages[6][63]--;              /* shorter than it says: answered */
	rig_message(messages[7], 0, 8, "", 0);
	messages[7][0] = 'X';           /* not ours: silent */
	rig_message(messages[8], 0, 9, "", 0);
	messages[8][5] = WIRE_REPLY;    /* silent */
	messages[9][63] = 0;            /* empty: silent */
	for (int mode = 0; mode < 6; mode++) {
		struct rig *rig = rig_start(mode % 2, 3, SCHED_DARC, 0, (enum idle_mode)(mode / 2), obey);
		struct sums sums = { 0 };

		rig->net.sent = add;
		rig->net.ctx = &sums;
		rig_run(rig);
		mem_feed(&rig->net, messages, 10, n);
		while (atomic_load(&rig->net.sent_n) + atomic_load(&rig->net.released_n) < n)
			sched_yield();
		assert_int_equal(rig->front.counters.malformed, 3 * n / 10);
		assert_int_equal(rig->front.counters.answered, n / 10);
		assert_int_equal(rig->front.counters.replies, n / 10);
		rig_end(rig);
		assert_int_equal(sums.invalid, 0);
		assert_int_equal(sums.status[WIRE_OK], 2 * n / 10);
		assert_int_equal(sums.status[WIRE_FAILED], 2 * n / 10);
		assert_int_equal(sums.status[WIRE_MALFORMED], 2 * n / 10);
		assert_int_equal(sums.status[WIRE_UNKNOWN], n / 10);
		assert_int_equal(sums.bytes, 4 * n / 10);
	}
}

static sem_t gate;
static atomic_int waiting;

static int wait_at_gate(void *worker, struct hearth_app_request *r)
{
	atomic_fetch_add(&waiting, 1);
	while (sem_wait(&gate) < 0)
		;
	return HEARTH_APP_OK;
}

/* Queues that are full: what is over is refused or dropped, at once, and counted; the rest is served in the end. */
static void test_overflow(void **state)
{
	static uint8_t message[1][64];

	rig_message(message[0], 0, 1, "", 0);
	for (int silent = 0; silent < 2; silent++) {
		struct rig *rig = rig_start(true, 2, SCHED_CFCFS, 10, IDLE_SLEEP, wait_at_gate);
		struct sums sums = { 0 };

		sem_init(&gate, 0, 0);
		atomic_store(&waiting, 0);
		rig->front.drop_silently = silent;
		rig->net.sent = add;
		rig->net.ctx = &sums;
		rig_run(rig);
		mem_feed(&rig->net, message, 1, 2);
		while (atomic_load(&waiting) < 2)
			sched_yield();
		mem_feed(&rig->net, message, 1, 100);
		while (rig_status(rig, 0, WIRE_OVERLOAD) < 90)
			sched_yield();
		for (int i = 0; i < 12; i++)
			sem_post(&gate);
		rig_end(rig);
		assert_int_equal(sums.status[WIRE_OVERLOAD], silent ? 0 : 90);
		assert_int_equal(sums.status[WIRE_OK], 12);
	}
}

static int some_wait_at_gate(void *worker, struct hearth_app_request *r)
{
	return r->len > 0 ? wait_at_gate(worker, r) : HEARTH_APP_OK;
}

/* Who was started last may take for ever: the reply of the other one leaves meanwhile, in every way to idle. */
static void test_not_held_by_a_long_one(void **state)
{
	static uint8_t messages[2][64];

	rig_message(messages[0], 0, 1, "", 0);
	rig_message(messages[1], 1, 2, "x", 1);
	sem_init(&gate, 0, 0);
	for (int mode = 0; mode < 3 * 20; mode++) {
		struct rig *rig = rig_start(false, 2, SCHED_CFCFS, 0, (enum idle_mode)(mode % 3), some_wait_at_gate);
		struct sums sums = { 0 };

		rig->net.sent = add;
		rig->net.ctx = &sums;
		rig_run(rig);
		mem_feed(&rig->net, messages, 2, 2);
		while (atomic_load(&rig->net.sent_n) < 1)
			sched_yield();
		assert_int_equal(rig_status(rig, 0, WIRE_OK), 1);
		assert_int_equal(rig_status(rig, 1, WIRE_OK), 0);
		sem_post(&gate);
		rig_end(rig);
		assert_int_equal(sums.status[WIRE_OK], 2);
	}
}

static void test_reject_unknown(void **state)
{
	static uint8_t messages[2][64];
	struct rig *rig = rig_start(true, 1, SCHED_MINIMAX, 0, IDLE_SLEEP, obey);
	struct sums sums = { 0 };

	rig_message(messages[0], 0, 1, "", 0);
	rig_message(messages[1], 2, 1, "", 0);
	rig->front.reject_unknown = true;
	rig->net.sent = add;
	rig->net.ctx = &sums;
	rig_run(rig);
	mem_feed(&rig->net, messages, 2, 100);
	while (atomic_load(&rig->net.sent_n) < 100)
		sched_yield();
	assert_int_equal(rig_status(rig, SCHED_UNKNOWN, WIRE_UNKNOWN), 50);
	rig_end(rig);
	assert_int_equal(sums.status[WIRE_UNKNOWN], 50);
	assert_int_equal(sums.status[WIRE_OK], 50);
}

/* The request that the front took last. */
static struct req *take_one(struct rig *rig)
{
	assert_int_equal(front_ops.receive(&rig->front, 1000, 1), 1);
	return rig->front.free[rig->front.free_n];
}

static void lose(struct rig *rig, struct req *r, enum stage stage)
{
	r->status = WIRE_LOST;
	front_ops.ended(&rig->front, 2000, r, 0, stage);
	front_ops.flush(&rig->front, 0);
}

/* Replies wait for one another while requests keep coming in, but not for long. */
static void test_replies_held(void **state)
{
	static uint8_t message[1][64];
	struct rig *rig = rig_start(true, 1, SCHED_CFCFS, 0, IDLE_SLEEP, obey);
	struct sums sums = { 0 };
	struct req *r;

	rig_message(message[0], 0, 1, "", 0);
	rig->net.sent = add;
	rig->net.ctx = &sums;
	mem_feed(&rig->net, message, 1, 2 * FRONT_HOLD + 4);
	for (unsigned i = 0; i < FRONT_HOLD + 2; i++) {
		r = take_one(rig);
		r->status = WIRE_LOST;
		front_ops.ended(&rig->front, 2000, r, 0, STAGE_IDLE);
		front_ops.flush(&rig->front, 2000);
		assert_int_equal(sums.status[WIRE_LOST], i + 1 < FRONT_HOLD ? 0 : FRONT_HOLD);
	}
	front_ops.flush(&rig->front, 2000 + FRONT_HOLD_NS - 1);
	assert_int_equal(sums.status[WIRE_LOST], FRONT_HOLD);
	front_ops.flush(&rig->front, 2000 + FRONT_HOLD_NS);
	assert_int_equal(sums.status[WIRE_LOST], FRONT_HOLD + 2);
	r = take_one(rig);
	r->status = WIRE_LOST;
	front_ops.ended(&rig->front, 9000, r, 0, STAGE_IDLE);
	assert_int_equal(front_ops.receive(&rig->front, 9000, 0), 0);   /* nothing came in: no reason to wait */
	front_ops.flush(&rig->front, 9000);
	assert_int_equal(sums.status[WIRE_LOST], FRONT_HOLD + 3);
	rig_end(rig);
}

/*
 * A worker process that died: before it sent, its datagram becomes the reply; while it sent, that depends on whether it had given the datagram back, which
 * another request may have by now. Nothing runs here: the dispatcher's thread is this one, and the worker is this, too.
 */
static void test_died_while_sending(void **state)
{
	static uint8_t message[1][64];
	struct rig *rig = rig_start(true, 1, SCHED_CFCFS, 0, IDLE_SLEEP, obey);
	struct sums sums = { 0 };
	struct net_buf *buf;
	struct req *r, *other;

	rig_message(message[0], 0, 1, "", 0);
	rig->net.sent = add;
	rig->net.ctx = &sums;
	mem_feed(&rig->net, message, 1, 10);
	lose(rig, take_one(rig), STAGE_IDLE);
	lose(rig, take_one(rig), STAGE_RUNNING);
	lose(rig, take_one(rig), STAGE_SENDING);        /* nothing was given back yet */
	assert_int_equal(sums.status[WIRE_LOST], 3);
	r = take_one(rig);
	buf = r->item;
	wire_write(&(struct wire_header){ .kind = WIRE_REPLY }, buf->data);
	rig->net.port.ops->tx(&rig->net.port, 0, &buf, 1);
	lose(rig, r, STAGE_SENDING);                    /* it was, and the reply has left */
	r = take_one(rig);
	buf = r->item;
	rig->net.port.ops->tx(&rig->net.port, 0, &buf, 1);
	other = take_one(rig);
	assert_ptr_equal(other->item, buf);             /* and is out again */
	lose(rig, r, STAGE_SENDING);
	assert_int_equal(sums.status[WIRE_LOST], 3);
	lose(rig, other, STAGE_RUNNING);
	assert_int_equal(sums.status[WIRE_LOST], 4);
	assert_int_equal(rig->net.outside, 0);
	assert_int_equal(rig->net.wrong, 0);
	assert_int_equal(rig->front.free_n, rig->front.reqs_n);
	rig_free(rig);
}

static void test_lhist(void **state)
{
	static struct lhist h;
	uint64_t last = 0;

	for (unsigned i = 0; i < LHIST_BUCKETS; i++) {
		assert_int_equal(lhist_index(lhist_bound(i)), i);
		assert_true(i == 0 || lhist_bound(i) > last);
		assert_true(i == 0 || lhist_index(last + 1) == i);
		last = lhist_bound(i);
	}
	assert_int_equal(last, UINT64_MAX);
	assert_int_equal(lhist_quantile(&h, .5), 0);
	for (uint64_t v = 1; v <= 1000; v++)
		lhist_record(&h, v);
	assert_in_range(lhist_quantile(&h, .5), 500, 600);
	assert_int_equal(lhist_below(&h, lhist_bound(lhist_index(1000))), 1000);
	assert_int_equal(lhist_below(&h, 3), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_not_held_by_a_long_one),
		cmocka_unit_test(test_reject_unknown),
		cmocka_unit_test(test_replies_held),
		cmocka_unit_test(test_died_while_sending),
		cmocka_unit_test(test_lhist),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
