/* SPDX-License-Identifier: Apache-2.0 */
/* hearth-pager: see pager.h and docs/adr/0022-pager.md */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/yaml.h"
#include "server.h"

#define PAGER_SOCKET "/run/hearth/pager.sock"
#define AROUND_BYTES (64u << 10)
#define RESTARTS_FAST 16                /* of a worker that ends as soon as it began, before the next one has to wait */
#define FAST_NS NS_PER_S
#define BACK_OFF_MS 1000

static const char usage[] =
	"usage: hearth-pager [--socket PATH] [--pool URI] [--pool-key FILE] [--fault-around BYTES] [--fetch-workers N] [--log-level error|warn|info|debug] [--check]\n"
	"\n"
	"Moves memory of functions to a pool and back; hearthd starts it. Prints a newline when it is ready, or when another one is at that socket already.\n";

static int parse_options(int argc, char **argv, struct pager_options *o)
{
	static const struct option longs[] = {
		{ "socket", 1, NULL, 's' }, { "pool", 1, NULL, 'p' }, { "pool-key", 1, NULL, 'k' }, { "fault-around", 1, NULL, 'a' }, { "fetch-workers", 1, NULL, 'w' }, { "log-level", 1, NULL, 'L' },
		{ "check", 0, NULL, 'c' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'v' }, { 0 },
	};
	unsigned long workers;
	char *end;
	int c, r = 0;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 's': o->socket = optarg; break;
		case 'p': o->uri = optarg; break;
		case 'k': o->key_file = optarg; break;
		case 'a':
			r |= parse_bytes(optarg, &o->around_bytes);
			if (o->around_bytes < PAGE_BYTES || o->around_bytes > FETCH_PAGES * PAGE_BYTES || (o->around_bytes & (o->around_bytes - 1)))
				r = -EINVAL;
			break;
		case 'w':
			workers = strtoul(optarg, &end, 10);
			if (*end || workers < 1 || workers > CPU_SETSIZE)
				r = -EINVAL;
			o->fetch_workers = (unsigned)workers;
			break;
		case 'L': r |= log_set_level_named(optarg); break;
		case 'c': o->check = true; break;
		case 'h': fputs(usage, stdout); exit(0);
		case 'v': puts("hearth-pager " HEARTH_VERSION); exit(0);
		default: r = -EINVAL;
		}
	}
	if (r < 0 || optind < argc) {
		fputs(usage, stderr);
		return -EINVAL;
	}
	return 0;
}

/* ---- three processes, one table of descriptors ---- */

static struct state *state;

static bool known_fd(int fd)
{
	if (fd == state->listen_fd || fd == state->stop_fd || fd == state->worker_pidfd || fd == state->holder_pidfd || fd == state->spare_pidfd)
		return true;
	for (uint32_t k = 0; k < state->depot.n; k++)
		if (state->depot.fds[k] == fd)
			return true;
	for (size_t k = 0; k < SPACES_MAX; k++) {
		const struct space_state *s = &state->spaces[k];

		if (s->used == SPACE_LIVE && (s->uffd == fd || s->conn == fd || s->index_fd == fd))
			return true;
		/* read, and not yet taken in */
		if (s->used == SPACE_LIVE && s->event.event == UFFD_EVENT_FORK && (int)s->event.arg.fork.ufd == fd)
			return true;
	}
	return false;
}

/* what a worker that is gone had of its own; its connections too, by whose end clients learn of it */
static void close_left(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		int fd = atoi(e->d_name);

		if (fd > STDERR_FILENO && fd != dirfd(d) && !known_fd(fd))
			close(fd);
	}
	if (d)
		closedir(d);
}

/* As fork(2), but with the same descriptors. Only while this process has one thread. */
static pid_t fork_sharing(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
}

static void wait_any(int a, int b)
{
	struct pollfd p[2] = { { .fd = a, .events = POLLIN }, { .fd = b, .events = POLLIN } };

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
}

static bool ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd < 0 || poll(&p, 1, 0) != 0;
}

static void *serve(void *arg)
{
	int r = server_run(state, arg);

	state->ended = 1 + r;
	_exit(r);
}

/* in a thread of its own: this one was not made by the C library, which has its parent's number for it */
static _Noreturn void work(const struct pager_options *o)
{
	pthread_t thread;

	prctl(PR_SET_NAME, "hearth-pager");
	if (pthread_create(&thread, NULL, serve, (void *)o) == 0)
		pthread_join(thread, NULL);
	_exit(1);
}

static _Noreturn void hold(const struct pager_options *o);

/* holds when the holder is killed */
static _Noreturn void stand_by(const struct pager_options *o)
{
	prctl(PR_SET_NAME, "pager-spare");
	wait_any(state->holder_pidfd, -1);
	if (state->ended)
		_exit(0);
	log_warn("hearth-pager: its holder ended; another one holds");
	hold(o);
}

static void begin_spare(const struct pager_options *o)
{
	pid_t pid;

	fd_close(&state->holder_pidfd);
	fd_close(&state->spare_pidfd);
	state->holder_pidfd = pidfd_of(getpid());
	pid = fork_sharing();
	if (pid == 0)
		stand_by(o);
	state->spare_pidfd = pid < 0 ? -1 : pidfd_of(pid);
}

static void begin_worker(const struct pager_options *o)
{
	pid_t pid;

	fd_close(&state->worker_pidfd);
	close_left();
	pid = fork_sharing();
	if (pid == 0)
		work(o);
	state->worker_pidfd = pid < 0 ? -1 : pidfd_of(pid);
}

/* Until the worker ends of itself. Whatever else ends it, there is a new one, with all that it had. */
static _Noreturn void hold(const struct pager_options *o)
{
	unsigned fast = 0;
	uint64_t began = clock_mono_ns();

	prctl(PR_SET_NAME, "pager-holder");
	begin_spare(o);
	if (state->worker_pidfd < 0)
		begin_worker(o);
	for (;;) {
		wait_any(state->worker_pidfd, state->spare_pidfd);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (state->ended)
			_exit(state->ended - 1);
		if (ended(state->worker_pidfd)) {
			fast = clock_mono_ns() - began < FAST_NS ? fast + 1 : 0;
			if (fast > RESTARTS_FAST) {
				log_error("hearth-pager: its worker ends as soon as it begins; whoever touches memory that is away waits");
				(void)poll(NULL, 0, BACK_OFF_MS);
			}
			state->restarts++;
			unsetenv("HEARTH_FAULT");       /* the fault has happened */
			log_warn("hearth-pager: its worker ended; another one goes on");
			began = clock_mono_ns();
			begin_worker(o);
		}
		if (ended(state->spare_pidfd))
			begin_spare(o);
	}
}

/* One that is elsewhere need not answer yet. Return: 0, -errno with message. */
static int check_pool(const struct pager_options *o, struct hearth_err *err)
{
	struct pool_options of = { .key_file = o->key_file, .memory_bytes = PAGE_BYTES };
	struct pool *pool = NULL;
	int r = pool_open(o->uri, &of, &pool, err);

	pool_close(pool);
	return r;
}

/* whichever of the three it was sent to */
static void stop(int sig)
{
	(void)sig;
	state->stopping = true;
	(void)eventfd_write(state->stop_fd, 1);
}

int main(int argc, char **argv)
{
	struct pager_options o = { .socket = PAGER_SOCKET, .uri = "embedded:", .around_bytes = AROUND_BYTES };
	struct sigaction act = { .sa_handler = stop, .sa_flags = SA_RESTART };
	struct hearth_err err;

	if (parse_options(argc, argv, &o) < 0)
		return 2;
	if (check_pool(&o, &err) < 0) {
		fprintf(o.check ? stdout : stderr, "%s%s\n", o.check ? "" : "hearth-pager: ", err.msg);
		return 2;
	}
	if (o.check)
		return 0;
	state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (state == MAP_FAILED) {
		fprintf(stderr, "hearth-pager: out of memory\n");
		return 1;
	}
	fd_raise_limit();
	state->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	state->listen_fd = sock_unix_listen_packets(o.socket, 0600);
	if (state->listen_fd < 0 && state->listen_fd != -EADDRINUSE) {
		fprintf(stderr, "hearth-pager: cannot listen on %s: %s\n", o.socket, strerror(-state->listen_fd));
		return 1;
	}
	(void)!write(STDOUT_FILENO, "\n", 1);
	if (state->listen_fd < 0)
		return 0;
	/* the worker ends when all memory is where it belongs, and we with it */
	(void)sigaction(SIGTERM, &act, NULL);
	(void)sigaction(SIGINT, &act, NULL);
	state->worker_pidfd = state->holder_pidfd = state->spare_pidfd = -1;
	hold(&o);
}
