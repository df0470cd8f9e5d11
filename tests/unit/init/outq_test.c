/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "outq.h"

/* The queue as a line of text: L<length>, X<lost>, R<id>, H, E ... */
static void show(struct outq *q, char *text)
{
	struct iovec iov[64];
	size_t n = outq_iov(q, iov, 64), i;
	struct fn_view v;

	text[0] = 0;
	for (i = 0; i < n; i++) {
		assert_int_equal(fn_frame_peek(iov[i].iov_base, iov[i].iov_len, FN_BODY_MAX, &v), 1);
		switch (v.head.type) {
		case FN_LOG: text += sprintf(text, "L%zu ", v.body_len); break;
		case FN_LOG_LOST: text += sprintf(text, "X%d ", (int)v.head.arg); break;
		case FN_RESULT: text += sprintf(text, "R%d ", (int)v.head.id); break;
		default: text += sprintf(text, "%d ", v.head.type); break;
		}
	}
}

static void expect(struct outq *q, const char *wanted)
{
	char text[1024];

	show(q, text);
	assert_string_equal(text, wanted);
}

static void oldest_log_goes_first_and_is_counted(void **state)
{
	static char data[400];
	struct outq q;
	int i;

	outq_init(&q, 1300);
	outq_log(&q, 1, data, 400);
	outq_put(&q, (struct fn_frame){ .type = FN_RESULT, .id = 7 }, NULL, 0, NULL, 0);
	outq_log(&q, 2, data, 399);
	expect(&q, "L400 R7 L399 ");
	outq_log(&q, 1, data, 398);
	expect(&q, "X400 R7 L399 L398 ");
	outq_log(&q, 1, data, 397);
	expect(&q, "X400 R7 X399 L398 L397 ");
	for (i = 0; i < 1000; i++)
		outq_log(&q, 1, data, 396);
	expect(&q, "X400 R7 X396402 L396 L396 ");       /* 399 + 398 + 397 + 998 * 396 */
	assert_true(q.log_bytes <= 1300);
	outq_done(&q);
}

static void half_sent_frames(void **state)
{
	static char data[100];
	struct iovec iov[4];
	struct outq q;

	outq_init(&q, 600);
	outq_log(&q, 1, data, 100);
	outq_log(&q, 1, data, 99);
	outq_sent(&q, 50);
	outq_log(&q, 1, data, 98);
	outq_log(&q, 1, data, 97);
	/* The half-sent one must be finished, so the second went. */
	assert_int_equal(outq_iov(&q, iov, 4), 4);
	assert_int_equal(iov[0].iov_len, 82);
	outq_hangup(&q);
	expect(&q, "L100 X99 L98 L97 ");
	outq_sent(&q, 132 + 32);
	expect(&q, "L98 L97 ");
	outq_done(&q);
}

/* the ids of results that wait, as text */
static void expect_results(const struct outq *q, const char *wanted)
{
	char text[100] = "";
	struct buf ids = { 0 };
	size_t i;

	assert_int_equal(outq_result_ids(q, &ids), 0);
	for (i = 0; i < ids.len / 8; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%llu ", (unsigned long long)((uint64_t *)buf_head(&ids))[i]);
	assert_string_equal(text, wanted);
	buf_done(&ids);
}

static void hangup_keeps_what_the_next_peer_needs(void **state)
{
	struct outq q;

	outq_init(&q, 1000);
	outq_put_first(&q, (struct fn_frame){ .type = FN_HELLO }, NULL, 0);
	outq_put(&q, (struct fn_frame){ .type = FN_READY_NOW }, NULL, 0, NULL, 0);
	outq_put(&q, (struct fn_frame){ .type = FN_RESULT, .id = 3, .arg = FN_REFUSED }, NULL, 0, NULL, 0);
	expect_results(&q, "");
	outq_put(&q, (struct fn_frame){ .type = FN_RESULT, .id = 4, .arg = FN_FUNCTION_ERROR }, "a=b\n", 4, "x", 1);
	outq_put(&q, (struct fn_frame){ .type = FN_RESULT, .id = 5, .arg = FN_WORKER_DIED }, NULL, 0, NULL, 0);
	outq_put(&q, (struct fn_frame){ .type = FN_WORKERS, .arg = 2 }, NULL, 0, NULL, 0);
	outq_log(&q, 1, "abc", 3);
	outq_put(&q, (struct fn_frame){ .type = FN_EXITED }, NULL, 0, NULL, 0);
	outq_sent(&q, 40);
	outq_hangup(&q);
	outq_put_first(&q, (struct fn_frame){ .type = FN_HELLO }, NULL, 0);
	expect(&q, "16 R4 R5 L3 22 ");
	expect_results(&q, "4 5 ");
	outq_sent(&q, 32 + 37 + 32 + 35 + 32);
	expect(&q, "");
	assert_null(q.head);
	assert_null(q.tail);
	assert_int_equal(q.log_bytes, 0);
	outq_done(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oldest_log_goes_first_and_is_counted), cmocka_unit_test(half_sent_frames),
		cmocka_unit_test(hangup_keeps_what_the_next_peer_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
