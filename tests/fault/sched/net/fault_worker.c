/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/ring.h"
#include "frame.h"
#include "module.h"

/*
 * A worker's process that ends in the middle of sending or giving back, at each point where that can be told: the receiver learns from the port whose the
 * datagram is, every one is answered exactly once, and no frame is lost, which would show after as many deaths as there are frames.
 */
#define FRAMES 64
#define ROUNDS (3 * FRAMES)

enum point { NOWHERE, BEFORE_SEND, BEFORE_CALL, AFTER_CALL, BEFORE_BACK, AFTER_BACK };

static enum point death;

static void die_at(enum point point)
{
	if (death == point)
		_exit(7);
}

size_t __real_frame_answer(uint8_t *frame, size_t len);
size_t __wrap_frame_answer(uint8_t *frame, size_t len);
size_t __wrap_frame_answer(uint8_t *frame, size_t len)
{
	die_at(BEFORE_SEND);
	return __real_frame_answer(frame, len);
}

ssize_t __real_sendto(int fd, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t len);
ssize_t __wrap_sendto(int fd, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t len);
ssize_t __wrap_sendto(int fd, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t len)
{
	ssize_t r;

	die_at(BEFORE_CALL);
	r = __real_sendto(fd, data, n, flags, to, len);
	die_at(AFTER_CALL);
	return r;
}

bool __real_spsc_push(struct spsc *r, void *item);
bool __wrap_spsc_push(struct spsc *r, void *item);
bool __wrap_spsc_push(struct spsc *r, void *item)
{
	bool pushed;

	die_at(BEFORE_BACK);
	pushed = __real_spsc_push(r, item);
	die_at(AFTER_BACK);
	return pushed;
}

/* ---- the other end of the wire ---- */

static int wire(void)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex("hf1") };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP));

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* a datagram from 10.79.0.2:5000: an answer of the server's, turned round */
static void say(int fd, unsigned number)
{
	uint8_t f[FRAME_HEADERS_BYTES + 4] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 };
	const uint16_t from = htons(5000), to = htons(7001);

	/* what frame_answer swaps */
	inet_pton(AF_INET, "10.79.0.1", f + 26);
	inet_pton(AF_INET, "10.79.0.2", f + 30);
	memcpy(f + 34, &to, 2);
	memcpy(f + 36, &from, 2);
	memcpy(f + FRAME_HEADERS_BYTES, &number, sizeof(number));
	assert_int_equal(__real_frame_answer(f, 4), sizeof(f));
	assert_int_equal(write(fd, f, sizeof(f)), sizeof(f));
}

static bool readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 10000) == 1;
}

/* the next datagram from the server is this one */
static void hear(int fd, unsigned number)
{
	struct sockaddr_ll a;
	uint8_t f[2048];
	unsigned got;

	for (;;) {
		socklen_t len = sizeof(a);

		if (!readable(fd))
			fail_msg("no answer to %u", number);
		if (recvfrom(fd, f, sizeof(f), 0, (struct sockaddr *)&a, &len) >= FRAME_HEADERS_BYTES + 4 && a.sll_pkttype != PACKET_OUTGOING)
			break;
	}
	memcpy(&got, f + FRAME_HEADERS_BYTES, sizeof(got));
	assert_int_equal(got, number);
}

/* ---- the server ---- */

static struct net_buf *receive(struct net_port *p)
{
	struct net_buf *b = NULL;

	while (p->ops->rx(p, &b, 1) == 0)
		if (p->ops->arm(p) && !readable(p->ops->fd(p)))
			fail_msg("nothing came in");
	return b;
}

static void worker(struct net_port *p, struct net_buf *b, enum point point)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		death = point;
		if (point < BEFORE_BACK)
			p->ops->tx(p, 0, &b, 1);
		else
			p->ops->release(p, 0, &b, 1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == (point == NOWHERE ? 0 : 7));
}

static void sweep(enum point point, bool ours, bool answered)
{
	struct net_config cfg = { .backend = "xdp", .listen = "10.79.0.1:7001", .interface = "hf0", .tx_queues = 1, .buffers = FRAMES };
	struct net_port *p;
	struct net_counters c;
	struct hearth_err err;
	int fd = wire();

	if (net_xdp_module.open(&cfg, &p, &err) < 0)
		fail_msg("%s", err.msg);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct net_buf *b;
		uint32_t gen;

		say(fd, i);
		b = receive(p);
		gen = b->gen;
		worker(p, b, point);
		assert_int_equal(p->ops->recover(p, 0, b, gen), ours);
		assert_false(p->ops->recover(p, 0, b, gen - 1));
		if (ours)
			assert_int_equal(p->ops->tx(p, 1, &b, 1), 1);
		if (ours || answered)
			hear(fd, i);
		/* the next worker on this queue is none the wiser */
		say(fd, i + ROUNDS);
		b = receive(p);
		worker(p, b, NOWHERE);
		hear(fd, i + ROUNDS);
	}
	p->ops->counters(p, &c);
	assert_int_equal(c.rx, 2 * ROUNDS);
	assert_int_equal(c.rx_dropped + c.tx_dropped + c.rx_malformed, 0);
	p->ops->close(p);
	close(fd);
}

static void test_before_sending(void **state) { sweep(BEFORE_SEND, true, true); }
static void test_before_the_call(void **state) { sweep(BEFORE_CALL, false, true); }
static void test_after_the_call(void **state) { sweep(AFTER_CALL, false, true); }
static void test_before_giving_back(void **state) { sweep(BEFORE_BACK, true, true); }
static void test_after_giving_back(void **state) { sweep(AFTER_BACK, false, false); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_sending), cmocka_unit_test(test_before_the_call), cmocka_unit_test(test_after_the_call),
		cmocka_unit_test(test_before_giving_back), cmocka_unit_test(test_after_giving_back),
	};

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0 ||
	    system("ip link add hf0 address 02:00:00:00:00:01 numrxqueues 1 numtxqueues 1 type veth peer name hf1 address 02:00:00:00:00:02 numrxqueues 1 numtxqueues 1 && "
		   "ip address add 10.79.0.1/24 dev hf0 && ip link set hf0 up && ip link set hf1 up") != 0 || net_xdp_module.probe(NULL) < 0) {
		puts("1..0 # SKIP needs root, network namespaces, veth and AF_XDP");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
