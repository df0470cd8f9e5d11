/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fault.h"
#include "serve_private.h"

/*
 * A server's parts are made up to the point where threads and processes begin, with every allocation and every system call failing once: the error has words, and
 * nothing is left behind.
 */
#define SWEEP_MAX 3000

static const char text[] = "listen: 127.0.0.1:0\nworkers: 3\noversubscribe: true\npolicy: darc\nclassify: path\nunknown: reject\nbuffers: 64\nqueue_max: 8\n"
	"app_options: {dilate: \"3\"}\ntypes:\n  - {name: a, mean: 1us, match: [/a, /b/c]}\n  - {name: b, mean: 1ms, ratio: 0.5, match: /}\n";

static int ignore(void *ctx, const char *question, struct buf *out, struct hearth_err *err)
{
	return 0;
}

static int make_dispatcher(struct front *front, const struct serve_config *c, struct bell *bell, struct hearth_err *err)
{
	struct idle idle = { 0 };
	struct crew_config crew = { .workers = (uint32_t)c->workers };
	struct crew_thread *threads = NULL;
	struct sched_config core;
	struct disp *d = NULL;
	int r = crew_thread_new(&crew, bell, &idle, &threads, err);

	if (r < 0)
		return r;
	config_sched(c, &core);
	r = disp_new(&(struct disp_config){ .sched = &core, .slots = crew_thread_slots(threads), .bell = bell, .front = &front_ops, .front_ctx = front,
					    .crew = &crew_thread_ops, .crew_ctx = threads }, &d, err);
	disp_free(d);
	crew_thread_free(threads);
	return r;
}

static int make_front(const struct serve_config *c, struct bell *bell, struct hearth_err *err)
{
	struct net_config net = { .backend = "udp", .listen = c->listen, .tx_queues = 3, .buffers = config_buffers(c) };
	struct classify_config classify;
	struct net_port *port = NULL;
	struct front front;
	int r = net_udp.open(&net, &port, err);

	if (r < 0)
		return r;
	r = front_init(&front, port, 3, 64, err);
	if (r == 0) {
		config_classify(c, NULL, &classify);
		r = classifier_new(&classify, &front.classifier, err);
		if (r == 0)
			r = make_dispatcher(&front, c, bell, err);
		front_done(&front);
	}
	net_udp.close(port);
	return r;
}

static int make(struct bell *bell, struct hearth_err *err)
{
	struct serve_config *c = NULL;
	struct control *control = NULL;
	struct buf out = { 0 };
	int r = config_parse(text, sizeof(text) - 1, "test", &c, err);

	if (r < 0)
		return r;
	r = serve_check(c, &out, err);
	if (r == 0)
		r = make_front(c, bell, err);
	if (r == 0)
		r = control_new("@hearth-fault-serve", ignore, NULL, &control, err);
	control_free(control);
	buf_done(&out);
	serve_config_free(c);
	return r;
}

static void sweep(enum fault_kind kind, int error)
{
	struct bell bell = { .fd = eventfd(0, EFD_CLOEXEC) };
	struct hearth_err err = { 0 };
	unsigned n, failed = 0;
	bool fired = true;

	/* what libraries keep for good is there then */
	if (make(&bell, &err) < 0)
		fail_msg("%s", err.msg);
	for (n = 1; n < SWEEP_MAX && fired; n++) {
		long blocks = fault_live_blocks();
		unsigned fds = fault_open_fds();
		int r;

		err = (struct hearth_err){ 0 };
		fault_arm(kind, n, error);
		r = make(&bell, &err);
		fired = fault_disarm();
		assert_true(r == 0 || (r < 0 && err.code < 0 && err.msg[0] != '\0'));
		failed += r < 0;
		assert_int_equal(fault_live_blocks(), blocks);
		assert_int_equal(fault_open_fds(), fds);
	}
	assert_true(n < SWEEP_MAX);
	assert_true(failed > 2);
	close(bell.fd);
}

static void test_allocations(void **state) { sweep(FAULT_ALLOC, ENOMEM); }
static void test_system_calls(void **state) { sweep(FAULT_SYSCALL, EIO); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_system_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
