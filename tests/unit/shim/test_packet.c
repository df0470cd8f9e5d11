/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "packet.h"

static void test_parse(void **state)
{
	struct shim_msg m = { .version = SHIM_WIRE_VERSION, .op = SHIM_CREATE, .id = 7 }, got = { 0 };

	assert_int_equal(packet_parse(&m, sizeof m, &got), 0);
	assert_int_equal(got.id, 7);
	got.id = 1;
	assert_int_equal(packet_parse(&m, sizeof m - 1, &got), -EPROTO);
	assert_int_equal(packet_parse(&m, 0, &got), -EPROTO);
	for (uint32_t op = 0; op < 40; op++) {
		bool known = op == SHIM_WELCOME || op == SHIM_FREE || (op >= SHIM_GATE_CLOSE && op <= SHIM_CREATE);

		m.op = op;
		assert_int_equal(packet_parse(&m, sizeof m, &got), known ? 0 : -EPROTO);
	}
	m.op = SHIM_CREATE;
	m.version++;
	assert_int_equal(packet_parse(&m, sizeof m, &got), -EPROTO);
	m.version--;
	memset(m.text, 'x', sizeof m.text);
	assert_int_equal(packet_parse(&m, sizeof m, &got), -EPROTO);
}

static void test_recv(void **state)
{
	struct shim_msg m[2] = { { .version = SHIM_WIRE_VERSION, .op = SHIM_DETACH } }, got;
	unsigned before;
	int s[2], fd;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	assert_int_equal(packet_recv(s[0], &got), -EAGAIN);
	before = count_entries("/proc/self/fd");
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(sock_packet_send(s[1], m, sizeof m[0], fd, true), 0);          /* with a descriptor that nobody wants */
	close(fd);
	assert_int_equal(packet_recv(s[0], &got), 0);
	assert_int_equal(got.op, SHIM_DETACH);
	assert_int_equal(count_entries("/proc/self/fd"), before);
	assert_int_equal(sock_packet_send(s[1], m, sizeof m, -1, true), 0);             /* too long */
	assert_int_equal(packet_recv(s[0], &got), -EPROTO);
	assert_int_equal(sock_packet_send(s[1], m, 10, -1, true), 0);
	assert_int_equal(packet_recv(s[0], &got), -EPROTO);
	close(s[1]);
	assert_int_equal(packet_recv(s[0], &got), -ECONNRESET);
	close(s[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_parse), cmocka_unit_test(test_recv) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
