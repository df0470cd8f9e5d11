/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native_load ECHO_C WORDCOUNT_C - the two native functions as processes, called over the channel: answers checked, rates printed.
 * Bounded in count; prints TAP.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fn/wire.h"

#define CALLS 200000
#define BUFFER_BYTES (8u << 20)

struct function {
	pid_t pid;
	int fd;
	uint8_t *in;
	size_t in_len;
	char suffix[32];
};

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The listener is there once the program has started; nothing tells us when, so try again. */
static void function_connect(struct function *f)
{
	double deadline = now_s() + 10;

	while ((f->fd = fn_connect(FN_NAME_NATIVE, f->suffix)) < 0) {
		if (f->fd != -ECONNREFUSED || now_s() > deadline) {
			errno = -f->fd;
			die("connect");
		}
		poll(NULL, 0, 1);
	}
	f->in_len = 0;
}

static void function_start(struct function *f, const char *program)
{
	snprintf(f->suffix, sizeof f->suffix, "load%d", (int)getpid());
	f->in = malloc(BUFFER_BYTES);
	f->pid = fork();
	if (f->pid < 0 || !f->in)
		die("start");
	if (f->pid == 0) {
		setenv("HEARTH_SUFFIX", f->suffix, 1);
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	function_connect(f);
}

/* Return: user and system time of the function, s. */
static double function_end(struct function *f)
{
	struct rusage usage;
	int status;

	close(f->fd);
	kill(f->pid, SIGTERM);
	if (wait4(f->pid, &status, 0, &usage) != f->pid)
		die("wait");
	free(f->in);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void send_all(struct function *f, const uint8_t *data, size_t n)
{
	struct pollfd p = { .fd = f->fd, .events = POLLOUT };
	ssize_t sent;

	while (n > 0) {
		sent = send(f->fd, data, n, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN)
			poll(&p, 1, 10000);
		else if (sent < 0)
			die("send");
		else
			data += sent, n -= (size_t)sent;
	}
}

static void receive_some(struct function *f)
{
	struct pollfd p = { .fd = f->fd, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, 10000) != 1)
		die("no answer within 10 s");
	n = recv(f->fd, f->in + f->in_len, BUFFER_BYTES - f->in_len, 0);
	if (n <= 0)
		die("receive");
	f->in_len += (size_t)n;
}

static size_t put_invoke(uint8_t *out, uint64_t id, const char *body, size_t body_len)
{
	static const char meta[] = "request_id=01234567-89ab-cdef-0123-456789abcdef\ncontent_type=application/json\n";

	fn_frame_put(out, &(struct fn_frame){
		.type = FN_INVOKE, .id = id, .meta_len = sizeof meta - 1, .len = (uint32_t)(sizeof meta - 1 + body_len) });
	memcpy(out + FN_HEAD_BYTES, meta, sizeof meta - 1);
	memcpy(out + FN_HEAD_BYTES + sizeof meta - 1, body, body_len);
	return FN_HEAD_BYTES + sizeof meta - 1 + body_len;
}

/* Results in the buffer, each checked against the body that was sent. */
static unsigned take_results(struct function *f, uint64_t *next, const char *body, bool *good)
{
	size_t used = 0;
	unsigned count = 0;
	struct fn_view v;

	while (fn_frame_peek(f->in + used, f->in_len - used, FN_BODY_MAX, &v) == 1) {
		used += v.total;
		if (v.head.type == FN_HELLO) {
			*good &= v.head.flags == FN_FLAG_READY;
			continue;
		}
		*good &= v.head.type == FN_RESULT && v.head.id == (*next)++ && v.head.arg == FN_OK;
		*good &= v.body_len == strlen(body) && memcmp(v.body, body, v.body_len) == 0;
		count++;
	}
	f->in_len -= used;
	memmove(f->in, f->in + used, f->in_len);
	return count;
}

/* depth invocations are always under way; what was answered is replaced with one send. */
static bool load(struct function *f, unsigned depth, unsigned calls)
{
	static const char body[] = "{\"n\":1}";
	uint8_t *batch = malloc((size_t)depth * 256);
	unsigned sent = 0, done = 0;
	uint64_t next = 0;
	bool good = true;
	double begin = now_s();

	while (done < calls && good) {
		size_t len = 0;

		for (; sent < calls && sent - done < depth; sent++)
			len += put_invoke(batch + len, sent, body, sizeof body - 1);
		send_all(f, batch, len);
		receive_some(f);
		done += take_results(f, &next, body, &good);
	}
	free(batch);
	printf("# depth %u: %u invocations, %.0f/s\n", depth, done, done / (now_s() - begin));
	return good && done == calls;
}

static bool word_count(const char *program)
{
	static const char text[] = "one two\n three\tfour\n\nfive";
	static const char wanted[] = "{\"lines\":3,\"words\":5,\"bytes\":25}\n";
	struct function f;
	uint64_t next = 0;
	uint8_t frame[512];
	bool good = true;
	unsigned done = 0;

	function_start(&f, program);
	send_all(&f, frame, put_invoke(frame, 0, text, sizeof text - 1));
	while (done == 0) {
		receive_some(&f);
		done += take_results(&f, &next, wanted, &good);
	}
	function_end(&f);
	return good;
}

int main(int argc, char **argv)
{
	static const unsigned depths[] = { 1, 16, 64 };
	struct function f;
	size_t i;
	bool good = true;
	double cpu_s;

	if (argc != 3)
		return 2;
	printf("1..3\n");
	function_start(&f, argv[1]);
	for (i = 0; i < sizeof depths / sizeof *depths; i++)
		good &= load(&f, depths[i], depths[i] == 1 ? CALLS / 10 : CALLS);
	printf("%sok 1 echo_c answers every invocation, in order\n", good ? "" : "not ");
	close(f.fd);
	function_connect(&f);
	printf("%sok 2 echo_c serves the next connection\n", load(&f, 8, 1000) ? "" : "not ");
	cpu_s = function_end(&f);
	printf("# echo_c used %.2f s of CPU: %.0f invocations per CPU second\n", cpu_s, (2.1 * CALLS + 1000) / cpu_s);
	printf("%sok 3 wordcount_c counts as wc does\n", word_count(argv[2]) ? "" : "not ");
	return 0;
}
