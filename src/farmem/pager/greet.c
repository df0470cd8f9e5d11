/* SPDX-License-Identifier: Apache-2.0 */
/* A helper is found by its name among the abstract sockets of its instance's network, met, and becomes a space with its userfaultfd. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "server.h"

#define FEATURES (UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_MOVE | UFFD_FEATURE_THREAD_ID)

/* ---- meeting ---- */

static void give_up(struct space *s, int error, const char *why)
{
	struct target *t = space_target(s);
	char text[192];

	snprintf(text, sizeof(text), "process %d: %s: %s", (int)s->st->pid, why, strerror(-error));
	(void)epoll_ctl(s->p->epoll_fd, EPOLL_CTL_DEL, s->st->conn, NULL);
	space_close(s);
	if (!t->attached && !t->st->lost && !greet_pending(s->p, t))
		target_refuse(t, error, text);
}

/* before it ends of it: whoever sees its end knows the reason then */
static void tell_why(struct target *t)
{
	struct pager_event e = { .kind = FARMEM_LOST, .error = t->st->lost };

	if (t->lost_told || !t->client)
		return;
	snprintf(e.why, sizeof(e.why), "%s", t->st->why);
	target_tell(t, &e);
	t->lost_told = true;
}

static void on_hello(struct space *s, const struct warm_msg *m)
{
	struct warm_msg start = { .version = WARM_VERSION, .op = WARM_START };
	struct target *t = space_target(s);
	int r;

	/* it was paged by somebody who is gone with all that was there: not one page may be taken for zeros */
	if (m->out) {
		int pidfd = pidfd_of(s->st->pid);

		space_lost(s, -EIO, "the pager that had it was killed together with those that hold for it");
		tell_why(t);
		if (pidfd >= 0)
			(void)pidfd_signal(pidfd, SIGKILL);
		fd_close(&pidfd);
		give_up(s, -EIO, "its memory is lost");
		return;
	}
	s->st->stage = m->stage;
	for (unsigned k = 0; k < OWN_MAX; k++)
		s->st->own[k] = (struct look_span){ m->own[k].start, m->own[k].end };
	r = sock_packet_send(s->st->conn, &start, WARM_HEAD, s->p->device, false);
	if (r < 0)
		give_up(s, r, "its helper does not listen");
}

/* features are asked for by us: forks are told to the privileged only */
static int enable(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };

	struct uffdio_range any = { .start = 1 << 16, .len = PAGE_BYTES };

	if (ioctl(uffd, UFFDIO_API, &api) == 0)
		return 0;
	/* one that is enabled already, from before a detach, does anything but that */
	return errno == EINVAL && ioctl(uffd, UFFDIO_WAKE, &any) == 0 ? 0 : -errno;
}

static void on_uffd(struct space *s, const struct warm_msg *m, int uffd)
{
	int r = m->error < 0 ? m->error : uffd < 0 ? -EPROTO : enable(uffd);

	if (r < 0) {
		fd_close(&uffd);
		give_up(s, r, r == -EPERM ? "a userfaultfd is not allowed (/dev/userfaultfd, vm.unprivileged_userfaultfd)" : "no userfaultfd with events and moving of pages (Linux 6.8)");
		return;
	}
	s->st->uffd = uffd;
	s->st->index_fd = where_create();
	r = s->st->index_fd < 0 ? s->st->index_fd : space_open(s->p, s);
	if (r == 0)
		r = server_watch(s->p, s->pidfd, WATCH_EXIT, (uint32_t)(s - s->p->spaces));
	(void)epoll_ctl(s->p->epoll_fd, EPOLL_CTL_DEL, s->st->conn, NULL);
	if (r == 0)
		r = worker_adopt(s);
	if (r < 0) {
		give_up(s, r, "cannot be served");
		return;
	}
	__atomic_store_n(&s->st->used, SPACE_LIVE, __ATOMIC_RELEASE);
	space_bell(s);
}

void greet_helper(struct space *s)
{
	struct warm_msg m;
	int passed;
	ssize_t n = sock_packet_recv(s->st->conn, &m, sizeof(m), &passed, false);

	if (n == -EAGAIN)
		return;
	if (n < (ssize_t)WARM_HEAD || m.version != WARM_VERSION || (m.op != WARM_HELLO && m.op != WARM_UFFD)) {
		fd_close(&passed);
		give_up(s, n < 0 ? (int)n : -EPROTO, n == 0 ? "it ended" : "libhearth-warm.so is of another version");
	} else if (m.op == WARM_HELLO) {
		fd_close(&passed);
		on_hello(s, &m);
	} else {
		on_uffd(s, &m, passed);
	}
}

bool greet_pending(const struct pager *p, const struct target *t)
{
	for (size_t k = 0; k < SPACES_MAX; k++)
		if (p->state->spaces[k].used == SPACE_GREETING && &p->targets[p->state->spaces[k].target] == t)
			return true;
	return false;
}

/* ---- finding ---- */

static struct space *known(struct pager *p, const struct target *t, uint32_t inner_pid)
{
	for (size_t k = 0; k < SPACES_MAX; k++) {
		struct space_state *st = &p->state->spaces[k];

		if (st->used && !st->forked && &p->targets[st->target] == t && st->inner_pid == inner_pid)
			return &p->spaces[k];
	}
	return NULL;
}

static struct space *place(struct pager *p)
{
	for (size_t k = 0; k < SPACES_MAX; k++) {
		pthread_mutex_lock(&p->spaces[k].lock);
		if (!p->state->spaces[k].used)
			return &p->spaces[k];
		pthread_mutex_unlock(&p->spaces[k].lock);
	}
	return NULL;
}

/* only processes of the instance: any may take such a name */
static bool belongs(const struct target *t, pid_t pid)
{
	pid_t *tree = NULL;
	ssize_t n = proc_tree(t->st->pid, &tree);
	bool found = false;

	for (ssize_t k = 0; k < n && !found; k++)
		found = tree[k] == pid;
	free(tree);
	return found;
}

static int meet(struct pager *p, struct target *t, const char *name, uint32_t inner_pid)
{
	struct target_state *ts = t->st;
	int fd = sock_unix_connect_packets_now(name), r;
	struct space *s;
	uint64_t starttime = 0;
	pid_t pid = 0;

	if (fd < 0)
		return fd;
	r = sock_peer_cred(fd, NULL, NULL, &pid);
	if (r == 0 && !belongs(t, pid))
		r = -ESRCH;
	if (r == 0)
		r = proc_starttime(pid, &starttime);
	s = r == 0 ? place(p) : NULL;
	if (!s) {
		close(fd);
		return r < 0 ? r : -EMFILE;
	}
	*s->st = (struct space_state){ .generation = s->st->generation + 1, .target = (uint32_t)(t - p->targets), .inner_pid = inner_pid, .pid = pid, .starttime = starttime,
		.uffd = -1, .conn = fd, .index_fd = -1, .store_instance = ts->object.instance ^ (uint64_t)ts->spaces_made++ << 48 };
	s->p = p;
	s->pidfd = s->pagemap = -1;
	r = server_watch(p, fd, WATCH_GREETING, (uint32_t)(s - p->spaces));
	__atomic_store_n(&s->st->used, SPACE_GREETING, __ATOMIC_RELEASE);
	if (r < 0)
		space_close(s);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* a socket belongs to the network that its thread was in when it was made */
static int enter_network(pid_t pid, int *ret_own)
{
	char path[64];
	struct stat mine, its;
	int pidfd, r = 0;

	*ret_own = -1;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	if (stat("/proc/self/ns/net", &mine) < 0 || stat(path, &its) < 0)
		return -errno;
	if (mine.st_ino == its.st_ino)
		return 0;
	pidfd = pidfd_of(pid);
	*ret_own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (pidfd < 0 || *ret_own < 0 || setns(pidfd, CLONE_NEWNET) < 0)
		r = pidfd < 0 ? pidfd : -errno;
	fd_close(&pidfd);
	if (r < 0)
		fd_close(ret_own);
	return r;
}

static void leave_network(int *own)
{
	if (*own >= 0 && setns(*own, CLONE_NEWNET) < 0) {
		log_error("cannot return to the pager's network name space: %s", strerror(errno));
		abort();
	}
	fd_close(own);
}

int greet_find(struct pager *p, struct target *t)
{
	char path[64], prefix[128], *line = NULL;
	int own = -1, r = enter_network(t->st->pid, &own), found = 0;
	size_t cap = 0;
	FILE *list;

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/net/unix", (int)t->st->pid);
	snprintf(prefix, sizeof(prefix), "@" WARM_NAME "/%s/", t->st->name);
	list = fopen(path, "re");
	while (list && getline(&line, &cap, list) > 0) {
		char *name = strstr(line, prefix);
		uint32_t inner;

		if (!name)
			continue;
		name[strcspn(name, "\n")] = '\0';
		inner = (uint32_t)strtoul(name + strlen(prefix), NULL, 10);
		/* the connections of a listener have its name as well */
		if (known(p, t, inner) || meet(p, t, name, inner) == 0)
			found++;
	}
	free(line);
	r = list ? 0 : -errno;
	if (list)
		fclose(list);
	leave_network(&own);
	return r < 0 ? r : found;
}
