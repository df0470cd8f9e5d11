/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sched/net.h"

static struct net_port *open_port(const char *listen, uint32_t queues, uint32_t buffers)
{
	struct net_config cfg = { .backend = "udp", .listen = listen, .tx_queues = queues, .buffers = buffers };
	struct net_port *p = NULL;
	struct hearth_err err = { 0 };

	if (net_udp.open(&cfg, &p, &err) < 0)
		fail_msg("%s", err.msg);
	return p;
}

static uint16_t port_of(const struct net_port *p)
{
	char text[64];

	p->ops->address(p, text, sizeof(text));
	return (uint16_t)strtoul(strrchr(text, ':') + 1, NULL, 10);
}

/* A client's socket, connected, so that it takes datagrams from that address only. */
static int client(const char *ip, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	bool v6 = strchr(ip, ':') != NULL;
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, ip, v6 ? (void *)&a6.sin6_addr : (void *)&a.sin_addr), 1);
	assert_int_equal(connect(fd, v6 ? (void *)&a6 : (void *)&a, v6 ? sizeof(a6) : sizeof(a)), 0);
	return fd;
}

static bool readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 5000) == 1;
}

/* Datagrams are there once the descriptor says so: loopback delivers before send returns. */
static unsigned receive(struct net_port *p, struct net_buf **bufs, unsigned max)
{
	assert_true(readable(p->ops->fd(p)));
	return p->ops->rx(p, bufs, max);
}

static void echo_over(const char *listen, const char *ip)
{
	struct net_port *p = open_port(listen, 2, 16);
	int fd = client(ip, port_of(p));
	struct net_counters c;
	struct net_buf *b;
	char got[16];

	for (unsigned q = 0; q <= 2; q++) {
		assert_int_equal(send(fd, "hello", 5, 0), 5);
		assert_int_equal(receive(p, &b, 1), 1);
		assert_int_equal(b->len, 5);
		assert_memory_equal(b->data, "hello", 5);
		memcpy(b->data, "HELLO!", 6);
		b->len = 6;
		assert_int_equal(p->ops->tx(p, q, &b, 1), 1);
		assert_true(readable(fd));
		assert_int_equal(recv(fd, got, sizeof(got), 0), 6);
		assert_memory_equal(got, "HELLO!", 6);
	}
	p->ops->counters(p, &c);
	assert_int_equal(c.rx, 3);
	assert_int_equal(c.tx, 3);
	assert_int_equal(c.rx_bytes, 15);
	assert_int_equal(c.tx_bytes, 18);
	assert_int_equal(c.rx_dropped + c.tx_dropped + c.rx_malformed, 0);
	close(fd);
	assert_null(net_udp.close(p));
}

static void test_echo_v4(void **state) { echo_over("127.0.0.1:0", "127.0.0.1"); }

/* The reply comes from the address that the request went to, or the connected client would not see it. */
static void test_wildcard_keeps_address(void **state) { echo_over("0.0.0.0:0", "127.0.0.77"); }

static void test_echo_v6(void **state)
{
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	bool have = fd >= 0 && bind(fd, (void *)&a, sizeof(a)) == 0;

	close(fd);
	if (!have)
		skip();
	echo_over("[::1]:0", "::1");
	echo_over("[::]:0", "::1");
	echo_over("[::]:0", "127.0.0.5");
}

/* More datagrams than buffers: none is lost while the socket has room, and every buffer comes round, whichever queue gives it back. */
static void test_buffers_come_round(void **state)
{
	struct net_port *p = open_port("127.0.0.1:0", 3, 8);
	int fd = client("127.0.0.1", port_of(p));
	struct net_buf *bufs[64];
	unsigned seen = 0;

	for (unsigned round = 0; round < 50; round++) {
		unsigned left = 20;

		for (unsigned i = 0; i < left; i++)
			assert_int_equal(send(fd, &(char){ (char)(seen + i) }, 1, 0), 1);
		while (left > 0) {
			unsigned n = receive(p, bufs, 64);

			assert_true(n > 0 && n <= 8);
			for (unsigned i = 0; i < n; i++)
				assert_int_equal(bufs[i]->data[0], (uint8_t)seen++);
			assert_int_equal(n < 8 || left == 8 ? 0 : p->ops->rx(p, &bufs[63], 1), 0);      /* all are out */
			for (unsigned i = 0; i < n; i++)
				p->ops->release(p, (seen + i) % 4, &bufs[i], 1);
			left -= n;
		}
	}
	close(fd);
	net_udp.close(p);
}

static void test_flows(void **state)
{
	struct net_port *p = open_port("127.0.0.1:0", 0, 8);
	int a = client("127.0.0.1", port_of(p)), b = client("127.0.0.1", port_of(p));
	struct net_buf *bufs[3];

	assert_int_equal(send(a, "1", 1, 0), 1);
	assert_int_equal(send(b, "2", 1, 0), 1);
	assert_int_equal(send(a, "3", 1, 0), 1);
	assert_int_equal(receive(p, bufs, 3), 3);
	assert_true(bufs[0]->flow == bufs[2]->flow && bufs[0]->flow != bufs[1]->flow);
	p->ops->release(p, 0, bufs, 3);
	close(a);
	close(b);
	net_udp.close(p);
}

static void test_empty_and_oversized(void **state)
{
	struct net_port *p = open_port("127.0.0.1:0", 0, 8);
	int fd = client("127.0.0.1", port_of(p));
	static char big[9000];
	struct net_buf *bufs[2];
	struct net_counters c;

	assert_int_equal(send(fd, "", 0, 0), 0);
	assert_int_equal(send(fd, big, sizeof(big), 0), sizeof(big));
	assert_int_equal(receive(p, bufs, 2), 2);
	assert_int_equal(bufs[0]->len, 0);
	assert_true(bufs[1]->len == bufs[1]->room && bufs[1]->len > 1472);
	p->ops->counters(p, &c);
	assert_int_equal(c.rx_malformed, 1);
	p->ops->release(p, 0, bufs, 2);
	close(fd);
	net_udp.close(p);
}

/* A worker process transmits and dies before or after: the receiver knows whose the buffer is. */
static void test_recover(void **state)
{
	struct net_port *p = open_port("127.0.0.1:0", 1, 2);
	int fd = client("127.0.0.1", port_of(p));
	char got[8];

	for (int sends = 0; sends < 2; sends++) {
		struct net_buf *b, *other;
		uint32_t gen;
		int status;
		pid_t pid;

		assert_int_equal(send(fd, "x", 1, 0), 1);
		assert_int_equal(receive(p, &b, 1), 1);
		gen = b->gen;
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			if (sends)
				p->ops->tx(p, 0, &b, 1);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(p->ops->recover(p, 0, b, gen), !sends);
		if (sends) {
			assert_int_equal(recv(fd, got, sizeof(got), 0), 1);
			/* and still known when the buffer is out again for another datagram */
			for (int i = 0; i < 3; i++) {
				assert_int_equal(send(fd, "y", 1, 0), 1);
				assert_int_equal(receive(p, &other, 1), 1);
				assert_false(p->ops->recover(p, 0, b, gen));
				p->ops->release(p, 1, &other, 1);
			}
		} else {
			p->ops->release(p, 1, &b, 1);
		}
	}
	close(fd);
	net_udp.close(p);
}

static void test_refused(void **state)
{
	const char *const wrong[] = { "", ":1", "127.0.0.1", "127.0.0.1:", "localhost:80", "::1:80", "[::1:80", "127.0.0.1:99999", "1.2.3.4.5:1" };
	struct net_config cfg = { .backend = "udp" };
	struct net_port *p = NULL;
	struct hearth_err err;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cfg.listen = wrong[i];
		assert_int_equal(net_udp.open(&cfg, &p, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "ADDRESS:PORT") ?: strstr(err.msg, "brackets"));
	}
	cfg.listen = "127.0.0.1:0";
	cfg.buffers = 100;
	assert_int_equal(net_udp.open(&cfg, &p, &err), -EINVAL);
	cfg.buffers = 0;
	cfg.listen = "192.0.2.1:0";
	assert_int_equal(net_udp.open(&cfg, &p, &err), -EADDRNOTAVAIL);
	assert_null(p);
	assert_null(net_udp.close(NULL));
}

static void test_registry(void **state)
{
	struct hearth_err err;

	assert_ptr_equal(net_backend_find("udp"), &net_udp);
	assert_null(net_backend_find("carrier pigeon"));
	assert_int_equal(net_udp.probe(&err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo_v4),
		cmocka_unit_test(test_wildcard_keeps_address),
		cmocka_unit_test(test_echo_v6),
		cmocka_unit_test(test_buffers_come_round),
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_empty_and_oversized),
		cmocka_unit_test(test_recover),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_registry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
