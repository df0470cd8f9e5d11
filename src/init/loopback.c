/* SPDX-License-Identifier: Apache-2.0 */
#include "loopback.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_at(uint16_t port, struct sockaddr_in *ret)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	return fd < 0 ? -errno : fd;
}

static int failed(int fd)
{
	int ret = -errno;

	close(fd);
	return ret;
}

int loopback_listen(uint16_t port)
{
	struct sockaddr_in address;
	int fd = open_at(port, &address), on = 1;

	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 64) < 0)
		return failed(fd);
	return fd;
}

int loopback_connect_start(uint16_t port)
{
	struct sockaddr_in address;
	int fd = open_at(port, &address);

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
		return failed(fd);
	return fd;
}

int loopback_connected(int fd)
{
	int error = 0;
	socklen_t len = sizeof error;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}
