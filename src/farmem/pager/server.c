/* SPDX-License-Identifier: Apache-2.0 */
/* The working process: connections, helpers that are met, processes that end; and going on where the one before was killed. */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

#define OUT_MAX (4u << 20)              /* of events that a client does not take */
#define CLIENTS_MAX 16
#define RUNNING_BYTES (PAGER_TARGETS_MAX * sizeof(uint32_t))
#define TIDY_MS 4                       /* between a few pages and the next few */
#define EASE_MS 1000                    /* between an eighth of what lies ready and the next */

bool steps_wanted;

int server_watch(struct pager *p, int fd, unsigned kind, uint32_t n)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = (uint64_t)kind << 32 | n };

	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* ---- clients ---- */

static void want_room(struct client *c, bool want)
{
	struct epoll_event e = { .events = want ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.u64 = (uint64_t)WATCH_CLIENT << 32 | (uint32_t)c->fd };

	(void)epoll_ctl(c->p->epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void push(struct client *c)
{
	while (c->out.len >= sizeof(struct pager_event)) {
		int r = sock_packet_send(c->fd, buf_head(&c->out), sizeof(struct pager_event), -1, false);

		if (r == -EAGAIN) {
			want_room(c, true);
			return;
		}
		if (r < 0) {
			c->dead = true;
			return;
		}
		buf_consume(&c->out, sizeof(struct pager_event));
	}
	want_room(c, false);
}

void client_tell(struct client *c, const struct pager_event *e)
{
	if (c->dead)
		return;
	if (c->out.len > OUT_MAX || buf_append(&c->out, e, sizeof(*e)) < 0)
		c->dead = true;
	else
		push(c);
}

/* its targets wait for the next one */
static void hang_up(struct pager *p, struct client *c)
{
	struct client **at = &p->clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	for (struct target *t = p->targets; t < p->targets + TARGETS_MAX; t++)
		if (t->st->used && t->client == c) {
			t->client = NULL;
			target_alone(p, t);
			target_look(p, t);
		}
	if (c->running)
		munmap((void *)c->running, RUNNING_BYTES);
	fd_close(&c->fd);
	buf_done(&c->out);
	free(c);
}

/* of which nothing can be taken away while we read it */
static void share(struct client *c, int fd)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	void *p;

	if (c->running || seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 || st.st_size < (off_t)RUNNING_BYTES)
		return;
	p = mmap(NULL, RUNNING_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		c->running = p;
}

static void on_client(struct pager *p, int fd)
{
	struct client *c = p->clients;
	struct pager_request r;
	int passed;

	while (c && c->fd != fd)
		c = c->next;
	if (!c)
		return;
	for (int k = 0; k < 64 && !c->dead; k++) {
		ssize_t n = sock_packet_recv(fd, &r, sizeof(r), &passed, false);

		if (n == sizeof(r) && r.version == PAGER_VERSION && r.op == PAGER_RUNNING)
			share(c, passed);
		if (n == sizeof(r) && r.version == PAGER_VERSION && r.op == PAGER_STOP)
			p->state->stopping = true;
		fd_close(&passed);
		if (n == -EAGAIN)
			break;
		if (n != sizeof(r) || r.version != PAGER_VERSION)
			c->dead = true;
		else
			target_request(c, &r);
	}
	if (!c->dead)
		push(c);
	if (c->dead)
		hang_up(p, c);
}

static void on_connect(struct pager *p)
{
	int fd = accept4(p->state->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c = fd < 0 ? NULL : calloc(1, sizeof(*c));
	unsigned n = 0;

	for (const struct client *o = p->clients; o; o = o->next)
		n++;
	if (!c || n >= CLIENTS_MAX || server_watch(p, fd, WATCH_CLIENT, (uint32_t)fd) < 0) {
		free(c);
		fd_close(&fd);
		return;
	}
	c->p = p;
	c->fd = fd;
	c->next = p->clients;
	p->clients = c;
}

/* ---- events ---- */

static void on_greeting(struct pager *p, uint32_t slot)
{
	struct space *s = &p->spaces[slot];
	struct target *t = space_target(s);

	pthread_mutex_lock(&s->lock);
	if (s->st->used == SPACE_GREETING)
		greet_helper(s);
	pthread_mutex_unlock(&s->lock);
	if (t->st->used)
		target_look(p, t);
}

static void on_exit_of(struct pager *p, uint32_t slot)
{
	struct space *s = &p->spaces[slot];

	pthread_mutex_lock(&s->lock);
	if (s->live) {
		(void)epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, s->pidfd, NULL);
		space_gone(s);
	}
	pthread_mutex_unlock(&s->lock);
}

static void on_event(struct pager *p, uint64_t tag)
{
	uint32_t n = (uint32_t)tag;
	uint64_t count;

	switch (tag >> 32) {
	case WATCH_LISTEN:
		on_connect(p);
		break;
	case WATCH_CLIENT:
		on_client(p, (int)n);
		break;
	case WATCH_GREETING:
		on_greeting(p, n);
		break;
	case WATCH_EXIT:
		on_exit_of(p, n);
		break;
	case WATCH_BELL:
		(void)!read(p->bell, &count, sizeof(count));
		depot_work(p->depot);
		break;
	case WATCH_STORE:
		depot_work(p->depot);
		break;
	case WATCH_STOP:
		(void)!read(p->state->stop_fd, &count, sizeof(count));
		break;
	}
}

/* what has left is made smaller while nobody asks for anything, little by little: it takes a processor from those that run */
static void turn(struct pager *p)
{
	struct epoll_event events[64];
	int n = epoll_wait(p->epoll_fd, events, 64, p->untidy ? TIDY_MS : p->uneasy ? EASE_MS : -1);

	if (n != 0)
		p->untidy = p->uneasy = true;
	else if (p->untidy)
		p->untidy = depot_tidy(p->depot);
	else
		p->uneasy = depot_ease(p->depot);
	for (int k = 0; k < n; k++)
		on_event(p, events[k].data.u64);
	for (struct target *t = p->targets; n > 0 && t < p->targets + TARGETS_MAX; t++)
		if (t->st->used)
			target_look(p, t);
}

/* ---- start ---- */

static void recover(struct pager *p, struct space *s)
{
	uint64_t starttime = 0;
	int r;

	if (s->st->used == SPACE_GREETING)
		s->st->used = SPACE_FREE;       /* its descriptor is closed */
	if (!s->st->used || s->live)            /* live: a child that its parent's recovery has made */
		return;
	pthread_mutex_lock(&s->lock);
	r = space_open(p, s);
	if (r == 0 && s->st->pid) {
		r = s->pidfd < 0 || proc_starttime(s->st->pid, &starttime) < 0 || starttime != s->st->starttime ? -ESRCH : server_watch(p, s->pidfd, WATCH_EXIT, (uint32_t)(s - p->spaces));
		if (r == -ESRCH)
			space_gone(s);
	}
	if (r == 0) {
		space_recover(s);
		r = worker_adopt(s);
	}
	if (r < 0 && r != -ESRCH)
		space_lost(s, r, "a pager that was started anew cannot serve it");
	pthread_mutex_unlock(&s->lock);
}

static int set_up(struct pager *p, const struct pager_options *o, struct hearth_err *err)
{
	pthread_mutexattr_t briefly;
	int r;

	signal(SIGPIPE, SIG_IGN);
	/* who waits looks for a moment before it sleeps: several that bring pages have it for a microsecond each, again and again */
	pthread_mutexattr_init(&briefly);
	pthread_mutexattr_settype(&briefly, PTHREAD_MUTEX_ADAPTIVE_NP);
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);       /* -1: helpers try without */
	p->around_pages = (unsigned)(o->around_bytes / PAGE_BYTES);
	p->fetch_workers = o->fetch_workers;
	for (size_t k = 0; k < SPACES_MAX; k++) {
		pthread_mutex_init(&p->spaces[k].lock, &briefly);
		pthread_rwlock_init(&p->spaces[k].copies, NULL);
		p->spaces[k].st = &p->state->spaces[k];
		p->spaces[k].p = p;
		p->spaces[k].pidfd = p->spaces[k].pagemap = -1;
	}
	for (size_t k = 0; k < TARGETS_MAX; k++)
		p->targets[k].st = &p->state->targets[k];
	r = p->epoll_fd < 0 || p->bell < 0 ? -errno : server_watch(p, p->bell, WATCH_BELL, 0);
	if (r == 0)
		r = server_watch(p, p->state->stop_fd, WATCH_STOP, 0);
	if (r < 0)
		return err_set(err, r, "cannot set up: %s", strerror(-r));
	r = depot_open(o->uri, o->key_file, &p->state->depot, p->bell, &p->depot, err);
	if (r < 0)
		return r;
	r = depot_watch(p->depot, p->epoll_fd, (uint64_t)WATCH_STORE << 32);
	if (r < 0)
		return err_set(err, r, "cannot watch the pool: %s", strerror(-r));
	r = workers_start(p);
	if (r < 0)
		return err_set(err, r, "cannot start threads: %s", strerror(-r));
	for (size_t k = 0; k < SPACES_MAX; k++)
		recover(p, &p->spaces[k]);
	r = server_watch(p, p->state->listen_fd, WATCH_LISTEN, 0);
	return r < 0 ? err_set(err, r, "cannot watch the socket: %s", strerror(-r)) : 0;
}

/* every instance gets its memory back before we go. Return: all have it */
static bool recall_all(struct pager *p)
{
	bool all = true;

	for (struct space *s = p->spaces; s < p->spaces + SPACES_MAX; s++) {
		pthread_mutex_lock(&s->lock);
		if (s->live && !s->gone && !space_target(s)->st->lost) {
			bool still = !s->in.active && !s->fetches && s->st->batch.phase == BATCH_NONE, home = still && fetch_complete(s);

			out_cancel(s);
			fetch_hurry(s);
			if (still && !home)
				(void)fetch_begin(s, true, UINT64_MAX, 0);
			all &= home;
		}
		pthread_mutex_unlock(&s->lock);
	}
	return all;
}

static void let_all_go(struct pager *p)
{
	for (struct space *s = p->spaces; s < p->spaces + SPACES_MAX; s++) {
		pthread_mutex_lock(&s->lock);
		if (s->live && !s->gone && !space_target(s)->st->lost)
			space_let_go(s);
		pthread_mutex_unlock(&s->lock);
	}
}

int server_run(struct state *state, const struct pager_options *o)
{
	struct pager *p = calloc(1, sizeof(*p));
	struct hearth_err err = { 0 };
	int r;

	if (!p)
		return 1;
	p->state = state;
	steps_wanted = getenv("HEARTH_FAULT") != NULL;
	r = set_up(p, o, &err);
	if (r < 0) {
		log_error("hearth-pager: %s", err.msg);
		return 1;
	}
	while (!state->stopping)
		turn(p);
	while (!recall_all(p))
		turn(p);
	let_all_go(p);
	return 0;
}
