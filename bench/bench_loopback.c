/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel charges for asking another process for a page over loopback TCP, bare: nothing of ours is in it, so that what ours costs can be held against it. usage: bench_loopback
 *
 *   NAME us=X  WHAT
 *
 * Microseconds from a request (of one item) to its answer (with a page), the median. Waiting is in a system call; "looks": not at all, recv(2) is called until there is something, for both ends;
 * "uring": io_uring(7), what is to go and what is to come in one system call (DEFER_TASKRUN), which waits, or looks.
 */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hist.h"

#define REQUEST 88u             /* a head and an item */
#define ANSWER  4184u           /* the same, and a page */
#define ROUNDS  20000u
#define PARTS   5u              /* medians, of which the least counts */

enum how { WAITS, LOOKS, YIELDS, URING_WAITS, URING_LOOKS };

static int die(const char *what)
{
	fprintf(stderr, "bench_loopback: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- one end ---- */

struct end {
	int fd;
	enum how how;
	struct io_uring ring;
};

/* Return: whether this kernel can */
static bool begin(struct end *e, int fd, enum how how)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };

	*e = (struct end){ .fd = fd, .how = how };
	return how < URING_WAITS || io_uring_queue_init_params(8, &e->ring, &p) == 0;
}

static void take(struct end *e, uint8_t *in, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = recv(e->fd, in + got, n - got, e->how == WAITS ? 0 : MSG_DONTWAIT);

		if (r == 0)
			_exit(0);
		if (r < 0 && errno != EAGAIN)
			die("recv");
		if (r < 0 && e->how == YIELDS)
			sched_yield();
		got += r > 0 ? (size_t)r : 0;
	}
}

/* What is to go and what is to come, with one system call unless it comes in parts. */
static void exchange(struct end *e, const uint8_t *out, size_t n_out, uint8_t *in, size_t n_in)
{
	size_t got = 0;
	bool asked = false;

	if (n_out)
		io_uring_prep_send(io_uring_get_sqe(&e->ring), e->fd, out, n_out, 0);
	while (got < n_in) {
		struct io_uring_cqe *c;
		int r;

		if (!asked) {
			struct io_uring_sqe *s = io_uring_get_sqe(&e->ring);

			io_uring_prep_recv(s, e->fd, in + got, n_in - got, 0);
			s->user_data = 1;
			asked = true;
		}
		r = e->how == URING_WAITS ? io_uring_submit_and_wait(&e->ring, 1) : io_uring_submit_and_get_events(&e->ring);
		if (r < 0)
			die("io_uring");
		while (io_uring_peek_cqe(&e->ring, &c) == 0) {
			if (c->user_data && c->res <= 0)
				_exit(0);
			if (c->user_data) {
				got += (size_t)c->res;
				asked = false;
			}
			io_uring_cqe_seen(&e->ring, c);
		}
	}
}

/* @out goes, then @in comes. */
static void turn(struct end *e, const uint8_t *out, size_t n_out, uint8_t *in, size_t n_in)
{
	if (e->how >= URING_WAITS) {
		exchange(e, out, n_out, in, n_in);
		return;
	}
	if (n_out && send(e->fd, out, n_out, MSG_NOSIGNAL) != (ssize_t)n_out)
		die("send");
	take(e, in, n_in);
}

/* ---- both ---- */

static void stay_on(int on_cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(on_cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("a processor");
}

static void connect_two(int fd[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (l < 0 || bind(l, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l, 1) < 0 || getsockname(l, (struct sockaddr *)&a, &len) < 0)
		die("listen");
	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd[0] < 0 || connect(fd[0], (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
	fd[1] = accept(l, NULL, NULL);
	for (unsigned k = 0; k < 2; k++)
		if (setsockopt(fd[k], IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)) < 0)
			die("socket");
	close(l);
}

static void answer(int fd, enum how how, int on_cpu)
{
	static uint8_t in[REQUEST], out[ANSWER];
	struct end e;
	size_t n = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stay_on(on_cpu);
	if (!begin(&e, fd, how))
		_exit(1);
	for (;; n = sizeof(out))
		turn(&e, out, n, in, sizeof(in));
}

static double ask(enum how how, int fd)
{
	static uint8_t in[ANSWER], out[REQUEST];
	static struct hist h;
	uint64_t best = UINT64_MAX;
	struct end e;

	if (!begin(&e, fd, how))
		return 0;
	for (unsigned p = 0; p < PARTS; p++) {
		hist_reset(&h);
		for (unsigned k = 0; k < ROUNDS / PARTS; k++) {
			uint64_t t = clock_mono_ns();

			turn(&e, out, sizeof(out), in, sizeof(in));
			hist_record(&h, clock_mono_ns() - t);
		}
		best = hist_quantile(&h, 0.5) < best ? hist_quantile(&h, 0.5) : best;
	}
	if (how >= URING_WAITS)
		io_uring_queue_exit(&e.ring);
	return (double)best / 1e3;
}

/* Return: 0: this kernel cannot */
static double measure(enum how how, int other)
{
	cpu_set_t mine;
	double us;
	int fd[2];
	pid_t pid;

	if (sched_getaffinity(0, sizeof(mine), &mine) < 0)
		die("processors");
	connect_two(fd);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		close(fd[0]);
		answer(fd[1], how, other);
	}
	close(fd[1]);
	stay_on(0);
	us = ask(how, fd[0]);
	close(fd[0]);
	waitpid(pid, NULL, 0);
	(void)sched_setaffinity(0, sizeof(mine), &mine);
	return us;
}

static const struct {
	const char *name, *what;
	enum how how;
	int other;
} rows[] = {
	{ "ask_same", "both ends wait, on one processor", WAITS, 0 },
	{ "ask_other", "both ends wait, each on its own", WAITS, 1 },
	{ "ask_looks", "both look, each on its own", LOOKS, 1 },
	{ "ask_yields", "both look and yield, on one processor", YIELDS, 0 },
	{ "ask_looks_yields", "both look and yield, each on its own", YIELDS, 1 },
	{ "uring_same", "io_uring, both ends wait, on one processor", URING_WAITS, 0 },
	{ "uring_other", "io_uring, both ends wait, each on its own", URING_WAITS, 1 },
	{ "uring_looks", "io_uring, both look, each on its own", URING_LOOKS, 1 },
};

int main(void)
{
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		double us = sysconf(_SC_NPROCESSORS_ONLN) > rows[k].other ? measure(rows[k].how, rows[k].other) : 0;

		if (us > 0)
			printf("%-16s us=%-8.3f %s\n", rows[k].name, us, rows[k].what);
		fflush(stdout);
	}
	return 0;
}
