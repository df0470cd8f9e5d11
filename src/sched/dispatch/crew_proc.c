/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "crew.h"

#define END_WAIT_NS (5 * NS_PER_S)

/*
 * What server and nursery say to each other, one datagram each. A group is what one process holds: a worker, or all of them.
 * Server: NURSE_START, NURSE_KILL a group; NURSE_END. Nursery: NURSE_READY (text: why not, if value is not 0), NURSE_DIED (value: status, or -errno of fork).
 */
enum nurse_op { NURSE_START, NURSE_KILL, NURSE_END, NURSE_READY, NURSE_DIED };

struct nurse_msg {
	uint32_t op, group;
	int32_t value;
	char text[256];         /* sent with NURSE_READY only */
};
#define NURSE_SHORT offsetof(struct nurse_msg, text)

struct crew_proc {
	struct crew_config cfg;
	struct disp *disp;
	uint32_t groups;
	int fd;                         /* -1: there is no nursery */
	_Atomic int pid;
	bool alive[SCHED_WORKERS_MAX];  /* of groups: asked for, and not heard to be dead */
};

/* ---- in a worker's process ---- */

struct thread_arg {
	const struct crew_config *cfg;
	uint32_t worker;
};

static void *worker_thread(void *arg)
{
	const struct thread_arg *a = arg;

	if (a->cfg->cpus != NULL)
		(void)crew_pin(a->cfg->cpus[a->worker]);        /* checked when the server started */
	a->cfg->work.worker(a->cfg->work.ctx, a->worker, a->cfg->slots[a->worker]);
	return NULL;
}

static void run_shared(const struct crew_config *cfg)
{
	static struct thread_arg arg[SCHED_WORKERS_MAX];
	pthread_t thread[SCHED_WORKERS_MAX];
	char error[SLOT_ERROR_MAX] = "";
	int r = cfg->work.init != NULL ? cfg->work.init(cfg->work.ctx, error, sizeof(error)) : 0;

	if (r < 0) {
		slot_ready(cfg->slots[0], error[0] != '\0' ? error : strerror(-r));
		_exit(1);
	}
	for (uint32_t w = 0; w < cfg->workers; w++) {
		arg[w] = (struct thread_arg){ cfg, w };
		if (pthread_create(&thread[w], NULL, worker_thread, &arg[w]) != 0)
			_exit(1);
	}
	for (uint32_t w = 0; w < cfg->workers; w++)
		pthread_join(thread[w], NULL);
	if (cfg->work.done != NULL)
		cfg->work.done(cfg->work.ctx);
}

/* The terminal's signals are for the server, which ends its workers itself. */
static void worker_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((noreturn)) static void worker_process(const struct crew_config *cfg, uint32_t group, pid_t parent)
{
	struct thread_arg arg = { cfg, group };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	worker_signals();
	if (cfg->shared)
		run_shared(cfg);
	else
		worker_thread(&arg);
	_exit(0);
}

/* ---- in the nursery ---- */

struct nursery {
	const struct crew_config *cfg;
	int fd, signals;
	pid_t pid, child[SCHED_WORKERS_MAX];    /* 0: none */
	unsigned children;
};

static void tell(const struct nursery *n, enum nurse_op op, uint32_t group, int32_t value, const char *text)
{
	struct nurse_msg m = { .op = op, .group = group, .value = value };

	if (text != NULL)
		snprintf(m.text, sizeof(m.text), "%s", text);
	(void)!send(n->fd, &m, text != NULL ? sizeof(m) : NURSE_SHORT, MSG_NOSIGNAL);
}

static void nursery_start(struct nursery *n, uint32_t group)
{
	pid_t pid = fork();

	if (pid == 0) {
		close(n->fd);
		close(n->signals);
		worker_process(n->cfg, group, n->pid);
	}
	if (pid < 0) {
		tell(n, NURSE_DIED, group, -errno, NULL);
		return;
	}
	n->child[group] = pid;
	n->children++;
}

static void nursery_reap(struct nursery *n)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(n->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (uint32_t g = 0; g < SCHED_WORKERS_MAX; g++) {
			if (n->child[g] != pid)
				continue;
			n->child[g] = 0;
			n->children--;
			tell(n, NURSE_DIED, g, status, NULL);
		}
	}
}

static void nursery_kill(const struct nursery *n)
{
	for (uint32_t g = 0; g < SCHED_WORKERS_MAX; g++)
		if (n->child[g] > 0)
			kill(n->child[g], SIGKILL);
}

/* Workers have been told through their slots. @orderly: the server waits for this. */
__attribute__((noreturn)) static void nursery_end(struct nursery *n, bool orderly)
{
	uint64_t until = clock_mono_ns() + (orderly ? END_WAIT_NS : 0), now;

	while (n->children > 0 && (now = clock_mono_ns()) < until) {
		struct pollfd pfd = { .fd = n->signals, .events = POLLIN };

		poll(&pfd, 1, (int)((until - now) / NS_PER_MS) + 1);
		nursery_reap(n);
	}
	nursery_kill(n);
	if (orderly && !n->cfg->shared && n->cfg->work.done != NULL)
		n->cfg->work.done(n->cfg->work.ctx);
	_exit(0);
}

static void nursery_obey(struct nursery *n)
{
	struct nurse_msg m;
	ssize_t got = recv(n->fd, &m, sizeof(m), 0);

	if (got < 0 && errno == EINTR)
		return;
	if (got < (ssize_t)NURSE_SHORT)
		nursery_end(n, false);  /* the server is gone */
	if (m.op == NURSE_END)
		nursery_end(n, true);
	if (m.op == NURSE_START && n->child[m.group] == 0)
		nursery_start(n, m.group);
	else if (m.op == NURSE_KILL && n->child[m.group] > 0)
		kill(n->child[m.group], SIGKILL);
}

__attribute__((noreturn)) static void nursery_main(const struct crew_config *cfg, int fd)
{
	struct nursery n = { .cfg = cfg, .fd = fd, .pid = getpid() };
	char error[256] = "";
	sigset_t child;
	int r;

	/* a group of its own: the server ends all of it with one signal, and the terminal's do not reach it */
	setpgid(0, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	prctl(PR_SET_NAME, "hearth-nursery");
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_SETMASK, &child, NULL);
	n.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	r = cfg->work.init != NULL && !cfg->shared ? cfg->work.init(cfg->work.ctx, error, sizeof(error)) : 0;
	tell(&n, NURSE_READY, 0, r, error[0] != '\0' ? error : strerror(-r));
	if (r < 0 || n.signals < 0)
		_exit(1);
	for (;;) {
		struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = n.signals, .events = POLLIN } };

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents != 0)
			nursery_reap(&n);
		if (fds[0].revents != 0)
			nursery_obey(&n);
	}
}

/* ---- in the server ---- */

/* Return: 0, -errno. */
static int open_nursery(struct crew_proc *c)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		nursery_main(&c->cfg, pair[1]);
	}
	fd_close(&pair[1]);
	if (pid < 0) {
		fd_close(&pair[0]);
		return -errno;
	}
	setpgid(pid, pid);      /* here too: whoever comes first */
	c->fd = pair[0];
	atomic_store(&c->pid, pid);
	return 0;
}

static int ask(const struct crew_proc *c, enum nurse_op op, uint32_t group)
{
	struct nurse_msg m = { .op = op, .group = group };

	return send(c->fd, &m, NURSE_SHORT, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)NURSE_SHORT ? 0 : -errno;
}

static uint32_t group_of(const struct crew_proc *c, uint32_t worker)
{
	return c->cfg.shared ? 0 : worker;
}

static int proc_start(void *ctx, uint32_t worker, struct slot *slot)
{
	struct crew_proc *c = ctx;
	bool *alive = &c->alive[group_of(c, worker)];
	int r = 0;

	if (*alive)
		return 0;       /* one process for all, and it is there */
	if (c->fd < 0)
		r = open_nursery(c);
	if (r == 0)
		r = ask(c, NURSE_START, group_of(c, worker));
	*alive = r == 0;
	return r;
}

static bool proc_kill(void *ctx, uint32_t worker, const struct req *r)
{
	const struct crew_proc *c = ctx;

	log_warn("worker %u (pid %d) hangs: it is killed", worker, (int)crew_proc_pid(c, worker));
	return ask(c, NURSE_KILL, group_of(c, worker)) == 0;
}

static void group_died(struct crew_proc *c, uint32_t group)
{
	if (!c->alive[group])
		return;
	c->alive[group] = false;
	for (uint32_t w = 0; c->disp != NULL && w < c->cfg.workers; w++)
		if (group_of(c, w) == group)
			disp_died(c->disp, w);
}

static void say_death(const struct crew_proc *c, const struct nurse_msg *m)
{
	const char *what = c->cfg.shared ? "the workers' process" : "a worker";

	if (m->value < 0)
		log_warn("%s (%u) cannot be forked: %s", what, m->group, strerror(-m->value));
	else if (WIFSIGNALED(m->value))
		log_warn("%s (%u) died: %s; it is replaced", what, m->group, strsignal(WTERMSIG(m->value)));
	else if (WEXITSTATUS(m->value) != 0)
		log_warn("%s (%u) ended with status %d; it is replaced", what, m->group, WEXITSTATUS(m->value));
}

/* All that it had forked dies with it, and belongs to us then: see to that before their memory is used again. */
static void nursery_lost(struct crew_proc *c)
{
	pid_t pid = (pid_t)atomic_load(&c->pid);

	log_error("the nursery (pid %d) is gone: its workers are replaced with it", (int)pid);
	fd_close(&c->fd);
	kill(-pid, SIGKILL);
	while (waitpid(-pid, NULL, 0) > 0 || errno == EINTR)
		;
	atomic_store(&c->pid, 0);
	for (uint32_t g = 0; g < c->groups; g++)
		group_died(c, g);
}

static void proc_look(void *ctx)
{
	struct crew_proc *c = ctx;
	struct nurse_msg m;
	ssize_t n;

	while (c->fd >= 0) {
		n = recv(c->fd, &m, sizeof(m), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			return;
		if (n < (ssize_t)NURSE_SHORT) {
			nursery_lost(c);
			return;
		}
		if (m.op == NURSE_READY && m.value < 0)
			log_error("the nursery cannot begin: %s", m.text);
		if (m.op == NURSE_DIED && m.group < c->groups) {
			say_death(c, &m);
			group_died(c, m.group);
		}
	}
}

static int proc_fd(void *ctx)
{
	return ((struct crew_proc *)ctx)->fd;
}

const struct disp_crew crew_proc_ops = {
	.start = proc_start,
	.kill = proc_kill,
	.fd = proc_fd,
	.look = proc_look,
};

struct crew_proc *crew_proc_free(struct crew_proc *c)
{
	if (c == NULL)
		return NULL;
	if (c->fd >= 0) {
		struct nurse_msg m = { .op = NURSE_END };
		pid_t pid = (pid_t)atomic_load(&c->pid);
		ssize_t n;

		/* what it still has to say is read, or it might wait for that for ever; so that it ends also if it cannot be told, it is told that we are gone */
		if (send(c->fd, &m, NURSE_SHORT, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			shutdown(c->fd, SHUT_WR);
		do
			n = recv(c->fd, &m, sizeof(m), 0);
		while (n > 0 || (n < 0 && errno == EINTR));
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		kill(-pid, SIGKILL);
		while (waitpid(-pid, NULL, 0) > 0 || errno == EINTR)
			;
	}
	fd_close(&c->fd);
	free(c);
	return NULL;
}

int crew_proc_new(const struct crew_config *cfg, struct crew_proc **ret, struct hearth_err *err)
{
	struct crew_proc *c = calloc(1, sizeof(*c));
	struct nurse_msg m = { 0 };
	int r;

	if (c == NULL)
		return err_set(err, -ENOMEM, "workers: out of memory");
	c->cfg = *cfg;
	c->groups = cfg->shared ? 1 : cfg->workers;
	c->fd = -1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	r = open_nursery(c);
	if (r < 0)
		err_set(err, r, "workers: fork: %s", strerror(-r));
	else if (recv(c->fd, &m, sizeof(m), 0) < (ssize_t)NURSE_SHORT)
		r = err_set(err, -ECHILD, "workers: the application ended the process that initialises it");
	else if (m.value < 0)
		r = err_set(err, m.value, "%s", m.text);
	if (r < 0) {
		crew_proc_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void crew_proc_bind(struct crew_proc *c, struct disp *d)
{
	c->disp = d;
}

pid_t crew_proc_pid(const struct crew_proc *c, uint32_t worker)
{
	return (pid_t)atomic_load(&c->cfg.slots[worker]->pid);
}

pid_t crew_proc_nursery(const struct crew_proc *c)
{
	return (pid_t)atomic_load(&c->pid);
}
