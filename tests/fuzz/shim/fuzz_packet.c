/* SPDX-License-Identifier: Apache-2.0 */
/* What the shim takes for a packet of the keeper's, from any bytes, parsed and as it comes through a socket in several packets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "wrong: %s\n", what);
	abort();
}

static void check_packet(const struct shim_msg *m)
{
	check(m->version == SHIM_WIRE_VERSION && m->op > 0 && m->op < SHIM_OP_END, "version and op");
	check(strnlen(m->text, sizeof m->text) < sizeof m->text, "text ends");
	check(m->op != SHIM_HELLO && m->op != SHIM_ALLOC && m->op != SHIM_REFUSE && m->op != SHIM_UNREFUSE, "what only a shim says");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int s[2] = { -1, -1 };
	struct shim_msg m;
	size_t piece;
	int ret;

	if (s[0] < 0)
		check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) == 0, "socket pair");
	ret = packet_parse(data, len, &m);
	check(ret == 0 || ret == -EPROTO, "result");
	if (ret == 0)
		check_packet(&m);
	/* the first byte says where packets end */
	for (piece = len && data[0] % 4 == 0 ? 1u + data[0] : sizeof m; len; data += piece, len -= piece) {
		piece = piece < len ? piece : len;
		check(sock_packet_send(s[1], data, piece, -1, true) == 0, "send");
		ret = packet_recv(s[0], &m);
		check(ret == 0 || ret == -EPROTO, "received");
		if (ret == 0)
			check_packet(&m);
	}
	check(packet_recv(s[0], &m) == -EAGAIN, "all taken");
	return 0;
}
