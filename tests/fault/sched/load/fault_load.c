/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "fault.h"
#include "sched/load.h"

#define SWEEP_MAX 500

/* Every allocation fails once: -ENOMEM with words, nothing leaked. */
static void parse_without_memory(void **state)
{
	static const char text[] = "t_ns,type,service_ns\n0,short,1000\n1,long,100000\n2,3,7\n3,short,1000\n";
	bool fired = true;
	unsigned n;

	for (n = 1; n < SWEEP_MAX && fired; n++) {
		long blocks = fault_live_blocks();
		struct hearth_err err = { 0 };
		struct load_trace *t = NULL;
		int rc;

		fault_arm(FAULT_ALLOC, n, 0);
		rc = load_trace_parse(text, strlen(text), "t.csv", &t, &err);
		fired = fault_disarm();
		assert_int_equal(rc, fired ? -ENOMEM : 0);
		assert_int_equal(err.msg[0] != '\0', fired);
		load_trace_free(t);
		assert_int_equal(fault_live_blocks(), blocks);
	}
	assert_true(n > 4 && n < SWEEP_MAX);
}

/* A port of loopback that answers nothing: bound, and never read. */
static int silent_port(int type, char *address, size_t n)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_true(type == SOCK_DGRAM || listen(fd, 64) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(address, n, "127.0.0.1:%u", ntohs(a.sin_port));
	return fd;
}

static const struct load_http requests[2] = { { "GET", "/", NULL, NULL }, { "POST", "/{}", "X: y\r\n", "{\"ns\":{service_ns}}" } };

/* @fd: the port, where the connections of the last run still wait */
static int run(int fd, int type, const char *address, struct workload *w, struct hearth_err *err)
{
	struct load_config cfg = { .http = type == SOCK_STREAM ? requests : NULL, .target = address, .workload = w, .rate_hz = 10000, .duration_ns = 2 * NS_PER_MS, .threads = 1, .flows = 3, .timeout_ns = 2 * NS_PER_MS };
	struct load_result *r = NULL;
	int rc = load_run(&cfg, &r, err), peer;

	while (type == SOCK_STREAM && (peer = accept(fd, NULL, NULL)) >= 0)
		close(peer);
	assert_null(r);         /* nobody answers: there is no result in any case */
	return rc;
}

static void sweep_run(int type, enum fault_kind kind, int error, unsigned at_least)
{
	struct workload *w = NULL;
	struct hearth_err err;
	char address[32];
	int fd = silent_port(type, address, sizeof(address));
	bool fired = true;
	unsigned n;

	assert_int_equal(workload_load("high-bimodal", &w, NULL), 0);
	/* the C library keeps what its first thread and its first look-up made */
	assert_int_equal(run(fd, type, address, w, &err), -ETIMEDOUT);
	for (n = 1; n < SWEEP_MAX && fired; n++) {
		long blocks = fault_live_blocks();
		unsigned fds = fault_open_fds();
		int rc;

		memset(&err, 0, sizeof(err));
		fault_arm(kind, n, error);
		rc = run(fd, type, address, w, &err);
		fired = fault_disarm();
		assert_true(rc < 0);
		assert_int_equal(err.code, rc);
		assert_true(err.msg[0] != '\0');
		if (!fired)
			assert_int_equal(rc, -ETIMEDOUT);
		/* the C library may let go of what it kept for threads */
		assert_true(fault_live_blocks() <= blocks);
		assert_int_equal(fault_open_fds(), fds);
	}
	assert_true(n > at_least && n < SWEEP_MAX);
	workload_free(w);
	close(fd);
}

static void udp_without_memory(void **state) { sweep_run(SOCK_DGRAM, FAULT_ALLOC, 0, 8); }
static void udp_without_sockets(void **state) { sweep_run(SOCK_DGRAM, FAULT_SYSCALL, EMFILE, 3); }
static void http_without_memory(void **state) { sweep_run(SOCK_STREAM, FAULT_ALLOC, 0, 8); }
static void http_without_sockets(void **state) { sweep_run(SOCK_STREAM, FAULT_SYSCALL, EMFILE, 3); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_without_memory), cmocka_unit_test(udp_without_memory), cmocka_unit_test(udp_without_sockets), cmocka_unit_test(http_without_memory),
		cmocka_unit_test(http_without_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
