/* SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include <errno.h>
#include <string.h>

#include "base/fd.h"

int packet_parse(const void *data, size_t len, struct shim_msg *ret)
{
	struct shim_msg m;

	if (len != sizeof m)
		return -EPROTO;
	memcpy(&m, data, sizeof m);
	if (m.version != SHIM_WIRE_VERSION || memchr(m.text, '\0', sizeof m.text) == NULL)
		return -EPROTO;
	switch (m.op) {
	case SHIM_WELCOME:
	case SHIM_FREE:
	case SHIM_GATE_CLOSE:
	case SHIM_GATE_OPEN:
	case SHIM_DETACH:
	case SHIM_CREATE:
		*ret = m;
		return 0;
	default:
		return -EPROTO;
	}
}

int packet_recv(int sock, struct shim_msg *ret)
{
	struct shim_msg m;
	int fd = -1;
	ssize_t n = sock_packet_recv(sock, &m, sizeof m, &fd, false);

	fd_close(&fd);
	if (n <= 0)
		return n == 0 ? -ECONNRESET : n == -EMSGSIZE ? -EPROTO : (int)n;
	return packet_parse(&m, (size_t)n, ret);
}
