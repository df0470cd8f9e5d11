/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_http_function PORT [BYTES] - the smallest keep-alive HTTP function: one epoll loop, a fixed answer to every head that ends in an empty
 * line. It is what both proxies forward to, so that a comparison measures them and not it.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static char answer[70000];
static size_t answer_len;

/* Requests of wrk and of the proxies fit one segment: what arrives is whole heads. */
static void serve(int fd)
{
	char in[16384];
	ssize_t n = read(fd, in, sizeof(in) - 1);
	const char *p = in;

	if (n <= 0) {
		close(fd);
		return;
	}
	in[n] = '\0';
	while ((p = strstr(p, "\r\n\r\n")) != NULL) {
		size_t done = 0;

		for (p += 4; done < answer_len;) {
			ssize_t w = write(fd, answer + done, answer_len - done);

			if (w < 0)
				return;
			done += (size_t)w;
		}
	}
}

static int listen_on(int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1024) < 0)
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	size_t bytes = argc > 2 ? (size_t)atol(argv[2]) : 64;
	int listener = argc > 1 ? listen_on(atoi(argv[1])) : -1, ep = epoll_create1(0), one = 1;
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, got[256];

	if (listener < 0 || ep < 0 || bytes > 65536) {
		fprintf(stderr, "usage: bench_http_function PORT [BYTES up to 65536]\n");
		return 2;
	}
	answer_len = (size_t)sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", bytes);
	memset(answer + answer_len, 'x', bytes);
	answer_len += bytes;
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
	for (;;) {
		int n = epoll_wait(ep, got, 256, -1);

		for (int i = 0; i < n; i++) {
			if (got[i].data.fd != listener) {
				serve(got[i].data.fd);
				continue;
			}
			ev.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (ev.data.fd >= 0) {
				setsockopt(ev.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
				epoll_ctl(ep, EPOLL_CTL_ADD, ev.data.fd, &ev);
			}
		}
	}
}
