/* SPDX-License-Identifier: Apache-2.0 */
/* libhearth-fn against a peer that speaks the channel's frames */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hearth/fn.h>

#include "fn/wire.h"

struct peer {
	int fd;
	uint8_t *data;
	size_t len, used, cap;
};

static char suffix[32];
static int events_seen;

static void peer_connect(struct peer *p)
{
	*p = (struct peer){ .cap = 32u << 20 };
	p->data = malloc(p->cap);
	p->fd = fn_connect(FN_NAME_NATIVE, suffix);
	assert_true(p->fd >= 0);
}

static void peer_close(struct peer *p)
{
	close(p->fd);
	free(p->data);
}

static void wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	assert_int_equal(poll(&p, 1, 10000), 1);
}

/* Receive what is there. Return: false at the end of the connection. */
static bool fill(struct peer *p)
{
	ssize_t n = recv(p->fd, p->data + p->len, p->cap - p->len, 0);

	assert_true(p->len < p->cap);
	if (n <= 0)
		return false;
	p->len += (size_t)n;
	return true;
}

/* As hearthd does: reads on while the instance takes no more. */
static void send_bytes(struct peer *p, const void *data, size_t n)
{
	const uint8_t *at = data;

	while (n > 0) {
		ssize_t sent = send(p->fd, at, n, MSG_NOSIGNAL);

		if (sent < 0) {
			assert_int_equal(errno, EAGAIN);
			wait_for(p->fd, POLLOUT | POLLIN);
			fill(p);
			continue;
		}
		at += sent;
		n -= (size_t)sent;
	}
}

static void invoke(struct peer *p, uint64_t id, const char *meta, const void *body, size_t body_len)
{
	uint8_t *frame = malloc(FN_HEAD_BYTES + strlen(meta) + body_len);

	fn_frame_put(frame, &(struct fn_frame){
		.type = FN_INVOKE, .id = id, .arg = 1234, .meta_len = (uint16_t)strlen(meta), .len = (uint32_t)(strlen(meta) + body_len) });
	memcpy(frame + FN_HEAD_BYTES, meta, strlen(meta));
	memcpy(frame + FN_HEAD_BYTES + strlen(meta), body, body_len);
	send_bytes(p, frame, FN_HEAD_BYTES + strlen(meta) + body_len);
	free(frame);
}

/* Return: false at the end of the connection. */
static bool receive(struct peer *p, struct fn_view *v)
{
	p->len -= p->used;
	memmove(p->data, p->data + p->used, p->len);
	p->used = 0;
	while (fn_frame_peek(p->data, p->len, FN_BODY_MAX, v) == 0) {
		wait_for(p->fd, POLLIN);
		if (!fill(p))
			return false;
	}
	p->used = v->total;
	return true;
}

static void expect_hello(struct peer *p, uint8_t flags)
{
	struct fn_view v;

	assert_true(receive(p, &v));
	assert_int_equal(v.head.type, FN_HELLO);
	assert_int_equal(v.head.arg, FN_VERSION);
	assert_int_equal(v.head.flags, flags);
}

static int start(void **state)
{
	static int count;

	snprintf(suffix, sizeof suffix, "u%d-%d", (int)getpid(), count++);
	events_seen = 0;
	return hearth_fn_open(&(struct hearth_fn_options){ .suffix = suffix }, (struct hearth_fn **)state);
}

static int finish(void **state)
{
	*state = hearth_fn_close(*state);
	return 0;
}

/* A function of as many threads as one likes: "fail" fails, anything else comes back after its request id. */
static void *work(void *arg)
{
	const struct hearth_fn_event *e;
	struct hearth_fn_reply r;
	char *text;

	while (hearth_fn_next(arg, &e) == 0) {
		size_t id_len = strlen(e->request_id);

		r = (struct hearth_fn_reply){ .content_type = e->content_type[0] ? e->content_type : NULL };
		text = malloc(id_len + e->body_len + 1);
		memcpy(text, e->request_id, id_len);
		memcpy(text + id_len, e->body, e->body_len);
		r.body = text;
		r.body_len = id_len + e->body_len;
		if (e->body_len == 4 && memcmp(e->body, "fail", 4) == 0)
			r.error_type = "Function.Wanted";
		if (e->body_len == 3 && memcmp(e->body, "bad", 3) == 0)
			r.content_type = "two\nlines";
		__atomic_add_fetch(&events_seen, 1, __ATOMIC_RELAXED);
		hearth_fn_reply(arg, e, &r);
		free(text);
	}
	return NULL;
}

static void with_threads(struct hearth_fn *fn, int threads, void (*body)(struct hearth_fn *fn))
{
	pthread_t t[8];
	int i;

	for (i = 0; i < threads; i++)
		assert_int_equal(pthread_create(&t[i], NULL, work, fn), 0);
	body(fn);
	hearth_fn_stop(fn);
	for (i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
}

static void talk(struct hearth_fn *fn)
{
	const char *value;
	struct peer p;
	struct fn_view v;
	size_t len;

	peer_connect(&p);
	expect_hello(&p, 0);
	hearth_fn_ready(fn);
	assert_true(receive(&p, &v));
	assert_int_equal(v.head.type, FN_READY_NOW);
	invoke(&p, 5, "request_id=r5\ncontent_type=text/x\nunknown=1\n", "!", 1);
	assert_true(receive(&p, &v));
	assert_int_equal(v.head.type, FN_RESULT);
	assert_int_equal(v.head.id, 5);
	assert_int_equal(v.head.arg, FN_OK);
	assert_int_equal(v.body_len, 3);
	assert_memory_equal(v.body, "r5!", 3);
	assert_true(fn_meta_get(v.meta, v.head.meta_len, "content_type", &value, &len));
	assert_memory_equal(value, "text/x\n", 7);
	invoke(&p, 6, "", "fail", 4);
	assert_true(receive(&p, &v));
	assert_int_equal(v.head.arg, FN_FUNCTION_ERROR);
	invoke(&p, 7, "", "bad", 3);
	assert_true(receive(&p, &v));
	assert_int_equal(v.head.arg, FN_FUNCTION_ERROR);
	assert_true(fn_meta_get(v.meta, v.head.meta_len, "error_type", &value, &len));
	assert_memory_equal(value, "Function.InvalidReply\n", 22);
	peer_close(&p);
}

static void invocations_and_errors(void **state) { with_threads(*state, 1, talk); }

/* Frames cut anywhere, several in one piece, small and large mixed: all come back, from any number of threads. */
static void pipeline(struct hearth_fn *fn)
{
	static const size_t sizes[] = { 0, 1, 100, 5000, 65503, 65504, 65505, 200000, 3000000, 7 };
	enum { COUNT = 200 };
	uint8_t *body = malloc(3000000), seen[COUNT] = { 0 };
	struct peer p;
	struct fn_view v;
	int i, done = 0;

	hearth_fn_ready(fn);
	peer_connect(&p);
	expect_hello(&p, FN_FLAG_READY);
	for (i = 0; i < COUNT; i++) {
		memset(body, i, 3000000);
		invoke(&p, (uint64_t)i, "", body, sizes[i % 10]);
		if (i % 10 != 9)
			continue;
		for (; done <= i; done++) {
			assert_true(receive(&p, &v));
			assert_true(v.head.id < COUNT && !seen[v.head.id]);
			seen[v.head.id] = 1;
			assert_int_equal(v.body_len, sizes[v.head.id % 10]);
			assert_true(v.body_len == 0 || (v.body[0] == (uint8_t)v.head.id && v.body[v.body_len - 1] == (uint8_t)v.head.id));
		}
	}
	free(body);
	peer_close(&p);
}

static void pipelined_one_thread(void **state) { with_threads(*state, 1, pipeline); }
static void pipelined_four_threads(void **state) { with_threads(*state, 4, pipeline); }

static void reconnect(struct hearth_fn *fn)
{
	struct peer a, b;
	struct fn_view v;

	hearth_fn_ready(fn);
	peer_connect(&a);
	expect_hello(&a, FN_FLAG_READY);
	send_bytes(&a, "half a frame", 12);
	peer_connect(&b);
	expect_hello(&b, FN_FLAG_READY);
	assert_false(receive(&a, &v));          /* replaced */
	invoke(&b, 1, "", "x", 1);
	assert_true(receive(&b, &v));
	peer_close(&a);
	peer_close(&b);
	peer_connect(&a);
	expect_hello(&a, FN_FLAG_READY);
	send_bytes(&a, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 32);
	assert_false(receive(&a, &v));          /* no frame of the protocol */
	peer_close(&a);
	peer_connect(&a);
	expect_hello(&a, FN_FLAG_READY);
	invoke(&a, 2, "", "y", 1);
	assert_true(receive(&a, &v));
	assert_int_equal(v.head.id, 2);
	peer_close(&a);
}

static void connections_come_and_go(void **state) { with_threads(*state, 2, reconnect); }

/* A peer that sends and never reads: the function waits, and goes on with the next peer. */
static void deaf_peer(struct hearth_fn *fn)
{
	static uint8_t body[60000];
	struct peer a, b;
	struct fn_view v;
	struct pollfd full = { .events = POLLOUT };

	hearth_fn_ready(fn);
	peer_connect(&a);
	full.fd = a.fd;
	/* Until neither takes anything any more: its receive buffer and ours are full. */
	while (poll(&full, 1, 200) == 1)
		if (send(a.fd, body, 0, 0) == 0) {
			uint8_t frame[FN_HEAD_BYTES + sizeof body] = { 0 };

			fn_frame_put(frame, &(struct fn_frame){ .type = FN_INVOKE, .id = 1, .len = sizeof body });
			if (send(a.fd, frame, sizeof frame, MSG_NOSIGNAL) != (ssize_t)sizeof frame)
				break;
		}
	peer_connect(&b);
	expect_hello(&b, FN_FLAG_READY);
	invoke(&b, 9, "", "z", 1);
	assert_true(receive(&b, &v));
	assert_int_equal(v.head.id, 9);
	peer_close(&a);
	peer_close(&b);
}

static void peer_that_does_not_read(void **state) { with_threads(*state, 1, deaf_peer); }
static void peer_that_does_not_read_threads(void **state) { with_threads(*state, 3, deaf_peer); }

static void late_reply_is_dropped(void **state)
{
	const struct hearth_fn_event *e;
	struct peer a, b;
	struct fn_view v;
	pthread_t t;

	hearth_fn_ready(*state);
	peer_connect(&a);
	invoke(&a, 1, "", "old", 3);
	assert_int_equal(hearth_fn_next(*state, &e), 0);
	peer_close(&a);
	peer_connect(&b);
	invoke(&b, 2, "", "new", 3);
	pthread_create(&t, NULL, work, *state);
	expect_hello(&b, FN_FLAG_READY);
	assert_int_equal(e->body_len, 3);
	assert_memory_equal(e->body, "old", 3);         /* the event lives on all the same */
	assert_int_equal(hearth_fn_reply(*state, e, &(struct hearth_fn_reply){ .body = "late", .body_len = 4 }), -ECONNRESET);
	assert_true(receive(&b, &v));
	assert_int_equal(v.head.id, 2);
	assert_memory_equal(v.body, "new", 3);
	hearth_fn_stop(*state);
	pthread_join(t, NULL);
	peer_close(&b);
}

static void name_in_use_and_names_too_long(void **state)
{
	struct hearth_fn *other = (void *)1;
	char longest[300];

	assert_int_equal(hearth_fn_open(&(struct hearth_fn_options){ .suffix = suffix }, &other), -EADDRINUSE);
	memset(longest, 'x', sizeof longest);
	longest[sizeof longest - 1] = 0;
	assert_int_equal(hearth_fn_open(&(struct hearth_fn_options){ .suffix = longest }, &other), -ENAMETOOLONG);
	assert_ptr_equal(other, (void *)1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, finish)
	const struct CMUnitTest tests[] = {
		T(invocations_and_errors), T(pipelined_one_thread), T(pipelined_four_threads), T(connections_come_and_go),
		T(peer_that_does_not_read), T(peer_that_does_not_read_threads), T(late_reply_is_dropped), T(name_in_use_and_names_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
