/* SPDX-License-Identifier: Apache-2.0 */
/* hearth-keeper: see keeper.h and docs/adr/0015-programs-and-keeper.md */
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/yaml.h"
#include "op.h"

#define EXIT_NO_DRIVER 77
#define HOLD_NS (600 * NS_PER_S)        /* how long memory of a parked program is held when nobody says */
#define NEW_MAX 1024            /* connections that have not said what they are */

static const char usage[] =
	"usage: hearth-keeper [--socket PATH] [--pool-store DIR --pool-bytes N] [--hold-bytes N] [--hold-time TIME] [--driver PATH] [--log-level error|warn|info|debug]\n"
	"\n"
	"Holds and copies the device memory of programs under `hearth run`; hearthd starts it. Prints a newline when it is ready.\n"
	"Exit status 77: there is no CUDA driver here.\n";

struct options { const char *socket, *pool_store, *driver; uint64_t pool_bytes, hold_bytes, hold_ns; };

int keeper_watch(struct keeper_server *k, int fd, enum watch_kind kind)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = (uint64_t)kind << 32 | (uint32_t)fd };

	return epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

void keeper_unwatch(struct keeper_server *k, int fd)
{
	(void)epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

bool keeper_until(struct keeper_server *k, uint64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S) };

	return pthread_cond_timedwait(&k->changed, &k->lock, &ts) != ETIMEDOUT;
}

/* ---- events; the lock is held ---- */

static void on_connect(struct keeper_server *k)
{
	int fd = accept4(k->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (k->new_n >= NEW_MAX || keeper_watch(k, fd, WATCH_NEW) < 0)
		close(fd);
	else
		k->new_n++;
}

/* the first packet says what it is: a struct, or JSON */
static void on_new(struct keeper_server *k, int fd)
{
	char *data = malloc(REQUEST_BYTES_MAX);
	int passed = -1;
	ssize_t got = data ? sock_packet_recv(fd, data, REQUEST_BYTES_MAX, &passed, false) : -ENOMEM;
	struct shim_msg m;
	struct request *r;
	struct hearth_err err;
	uid_t uid;
	pid_t pid;

	fd_close(&passed);
	keeper_unwatch(k, fd);
	k->new_n--;
	if (got <= 0 || k->stopping || sock_peer_cred(fd, &uid, NULL, &pid) < 0)
		close(fd);
	else if (shim_msg_check(data, (size_t)got, &m) == 0 && m.op == SHIM_HELLO)
		shim_hello(k, fd, pid, uid, &m);
	else if (request_parse(data, (size_t)got, &r, &err) == 0)
		engine_new(k, fd, pid, uid, r);
	else
		close(fd);
	free(data);
}

static void on_process(struct keeper_server *k, int fd, bool died)
{
	struct process *p = k->processes;

	while (p && (died ? p->pidfd : p->fd) != fd)
		p = p->next;
	if (p && died)
		process_drop(k, p, "it ended");
	else if (p)
		shim_readable(k, p);
}

static void on_engine(struct keeper_server *k, int fd)
{
	struct engine *e = k->engines;

	while (e && e->fd != fd)
		e = e->next;
	if (e)
		engine_readable(k, e);
}

/* everybody's work is undone; then we end */
static void on_signal(struct keeper_server *k)
{
	k->stopping = true;
	for (struct engine *e = k->engines; e; e = e->next) {
		e->hangup = true;
		shutdown(e->fd, SHUT_RDWR);     /* its thread may be telling it something that it does not read */
	}
	pthread_cond_broadcast(&k->changed);
}

static void on_event(struct keeper_server *k, uint64_t tag)
{
	int fd = (int)(uint32_t)tag;
	uint64_t n;

	pthread_mutex_lock(&k->lock);
	switch ((enum watch_kind)(tag >> 32)) {
	case WATCH_LISTEN:
		on_connect(k);
		break;
	case WATCH_NEW:
		on_new(k, fd);
		break;
	case WATCH_PROCESS:
		on_process(k, fd, false);
		break;
	case WATCH_PIDFD:
		on_process(k, fd, true);
		break;
	case WATCH_ENGINE:
		on_engine(k, fd);
		break;
	case WATCH_SIGNAL:
		keeper_unwatch(k, fd);
		on_signal(k);
		break;
	case WATCH_WAKE:
		(void)!read(k->wake_fd, &n, sizeof(n));
		break;
	}
	engines_reap(k);
	pthread_mutex_unlock(&k->lock);
}

static void run(struct keeper_server *k)
{
	struct epoll_event events[64];

	while (!k->stopping || k->engines) {
		int next_ms, n;

		pthread_mutex_lock(&k->lock);
		next_ms = holds_expire(k);
		pthread_mutex_unlock(&k->lock);
		n = epoll_wait(k->epoll_fd, events, 64, next_ms);
		for (int i = 0; i < n; i++)
			on_event(k, events[i].data.u64);
	}
}

/* ---- start and end ---- */

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "socket", 1, NULL, 's' }, { "pool-store", 1, NULL, 'p' }, { "pool-bytes", 1, NULL, 'b' }, { "hold-bytes", 1, NULL, 'H' }, { "hold-time", 1, NULL, 'T' },
		{ "driver", 1, NULL, 'd' }, { "log-level", 1, NULL, 'L' },
		{ "help", 0, NULL, 'h' }, { "version", 0, NULL, 'v' }, { 0 },
	};
	int c, r = 0;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 's': o->socket = optarg; break;
		case 'p': o->pool_store = optarg; break;
		case 'b': r |= parse_bytes(optarg, &o->pool_bytes); break;
		case 'H': r |= parse_bytes(optarg, &o->hold_bytes); break;
		case 'T': r |= parse_duration(optarg, &o->hold_ns); break;
		case 'd': o->driver = optarg; break;
		case 'L': r |= log_set_level_named(optarg); break;
		case 'h': fputs(usage, stdout); exit(0);
		case 'v': puts("hearth-keeper " HEARTH_VERSION); exit(0);
		default: r = -EINVAL;
		}
	}
	if (r < 0 || optind < argc) {
		fputs(usage, stderr);
		return -EINVAL;
	}
	return 0;
}

/* those that are there already found no keeper, or lost theirs */
static void wake_programs(const char *run_dir)
{
	char pattern[PATH_MAX];
	struct hearth_err err;
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/programs/*/gate", run_dir);
	if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++)
			if (keeper_wake(found.gl_pathv[i], &err) < 0)
				log_debug("%s", err.msg);
	globfree(&found);
}

static int set_up(struct keeper_server *k, const struct options *o, struct hearth_err *err)
{
	char copy[sizeof(k->run_dir)];
	pthread_condattr_t attr;
	int r, signals;

	pthread_mutex_init(&k->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->changed, &attr);
	pthread_condattr_destroy(&attr);
	fd_raise_limit();
	snprintf(copy, sizeof(copy), "%s", o->socket);
	snprintf(k->run_dir, sizeof(k->run_dir), "%s", dirname(copy));
	k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	k->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = k->epoll_fd < 0 || k->wake_fd < 0 ? -errno : keeper_watch(k, k->wake_fd, WATCH_WAKE);
	signal(SIGPIPE, SIG_IGN);
	signals = fd_stop_signals();
	if (r == 0)
		r = signals < 0 ? signals : keeper_watch(k, signals, WATCH_SIGNAL);
	if (r < 0)
		return err_set(err, r, "cannot set up: %s", strerror(-r));
	r = devices_open(&k->cu, k->devices, err);
	if (r < 0)
		return r;
	k->devices_n = r;
	pool_init(&k->pool, k->devices_n ? &k->devices[0] : NULL);
	if (o->pool_store && o->pool_bytes && pool_keep(&k->pool, o->pool_store, o->pool_bytes, err) < 0)
		log_warn("no memory is prepared for images: %s", err->msg);
	k->listen_fd = sock_unix_listen_packets(o->socket, 0666);
	if (k->listen_fd < 0)
		return err_set(err, k->listen_fd, "cannot listen on %s: %s", o->socket, k->listen_fd == -EADDRINUSE ? "another keeper does" : strerror(-k->listen_fd));
	wake_programs(k->run_dir);
	return keeper_watch(k, k->listen_fd, WATCH_LISTEN);
}

static void tear_down(struct keeper_server *k, const char *socket)
{
	if (k->listen_fd >= 0) {
		unlink(socket);
		fd_close(&k->listen_fd);
	}
	pthread_mutex_lock(&k->lock);
	while (k->processes)
		process_drop(k, k->processes, "the keeper ends");
	pthread_mutex_unlock(&k->lock);
	holds_free(k);
	pool_done(&k->pool);
	devices_close(k->devices, k->devices_n);
	fd_close(&k->epoll_fd);
	fd_close(&k->wake_fd);
}

int main(int argc, char **argv)
{
	static struct keeper_server k = { .listen_fd = -1, .epoll_fd = -1, .wake_fd = -1 };
	struct options o = { .socket = KEEPER_SOCKET, .hold_bytes = UINT64_MAX, .hold_ns = HOLD_NS };
	struct hearth_err err = { 0 };
	int r;

	if (parse_options(argc, argv, &o) < 0)
		return 2;
	r = cuda_load(&k.cu, o.driver, &err);
	if (r < 0) {
		fprintf(stderr, "hearth-keeper: %s\n", err.msg);
		return r == -ENOENT ? EXIT_NO_DRIVER : 1;
	}
	k.hold_bytes = o.hold_bytes;
	k.hold_ns = o.hold_ns;
	r = set_up(&k, &o, &err);
	if (r == 0) {
		log_info("hearth-keeper: %d devices, socket %s", k.devices_n, o.socket);
		(void)!write(STDOUT_FILENO, "\n", 1);
		run(&k);
	} else {
		fprintf(stderr, "hearth-keeper: %s\n", err.msg);
	}
	tear_down(&k, o.socket);
	return r < 0;
}
