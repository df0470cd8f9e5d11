/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/pager.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "ckpt/pagemap.h"
#include "fill.h"

#define SOCKET_NAME "lazy-pages.socket"
#define RESTORE_FINISHED 0x52535446
#define CHUNK_BYTES (128ull << 10)
#define TAKE_MAX (128u << 10)           /* of one range out of a source */
#define FAULT_BYTES (64ull << 10)
#define NEAR_GAP_BYTES (1ull << 20)
#define FILLERS_MAX 2
#define FILLER_NICE 5
#define ENOMEM_TRIES 100

/* its userfaultfds stay open until it is gone: not one page may read as zeros */
static void end_instance(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	pidfd_signal(pidfd, SIGKILL);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
}

/* ---- pager ---- */

struct pages_file {
	uint32_t id;
	uint8_t *data;
	uint64_t bytes;
};

struct server {
	const char *image;
	const struct pager_source *source;
	int guard, conn, wake;          /* wake: fillers tell the main thread that something changed */
	int instance;                   /* pidfd, once it is restored */
	bool restored;
	struct fill_space **spaces;
	size_t n;
	struct pages_file *files;
	size_t files_n;
	/*
	 * events: held for writing while an event is read and the ranges are changed accordingly, for reading from taking a range until it is copied.
	 * An unmapped page can't come back by a copy that began before the event. list: the ranges and spaces themselves.
	 */
	pthread_rwlock_t events;
	pthread_mutex_t list;
	pthread_cond_t more;
	/* the run of pages that the fillers are at, which began with the last fault: where it began, where it goes on, and which way the faults before it led */
	struct fill_space *near;
	uint64_t near_from, near_at;
	bool near_down;
	int failed;                     /* -errno: a page can't be had */
};

static int map_pages(struct server *s, const struct pagemap *map, const uint8_t **ret)
{
	struct pages_file *more;
	char path[PATH_MAX];
	struct stat st;
	void *data;

	for (size_t k = 0; k < s->files_n; k++)
		if (s->files[k].id == map->pages_id) {
			*ret = s->files[k].data;
			return 0;
		}
	snprintf(path, sizeof(path), "%s/pages-%u.img", s->image, map->pages_id);
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < map->file_bytes)
		return -EBADMSG;
	more = realloc(s->files, (s->files_n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	s->files = more;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return -errno;
	s->files[s->files_n++] = (struct pages_file){ map->pages_id, data, (uint64_t)st.st_size };
	*ret = data;
	return 0;
}

/* the guard has the descriptor before anything depends on it */
static int add_space(struct server *s, struct fill_space *space)
{
	struct fill_space **more = realloc(s->spaces, (s->n + 1) * sizeof(*more));
	struct fill_space *keep = malloc(sizeof(*keep));
	int r;

	if (!more || !keep) {
		free(keep);
		return -ENOMEM;
	}
	s->spaces = more;
	/* without a guard: should this process be killed too, nobody would be left to end the instance. It goes on all the same */
	r = s->guard < 0 ? 0 : sock_send_fd(s->guard, 'U', space->uffd);
	if (r < 0)
		log_warn("pager: its guard is gone: %s", strerror(-r));
	*keep = *space;
	s->spaces[s->n++] = keep;
	return 0;
}

static int add_process(struct server *s, int pid, int uffd)
{
	struct fill_space space = { .uffd = uffd };
	struct pagemap map = { 0 };
	struct hearth_err err = { 0 };
	int r = pagemap_load(s->image, pid, &map, &err);

	if (r < 0) {
		log_error("%s", err.msg);
		return r;
	}
	if (map.n && map.elsewhere)
		r = s->source ? s->source->open(s->source->ctx, pid, &space.process, &err) : err_set(&err, -EBADMSG, "image %s lacks pages of process %d", s->image, pid);
	else
		r = map.n ? map_pages(s, &map, &space.pages) : 0;
	if (r < 0 && err.code)
		log_error("%s", err.msg);
	if (r < 0) {
		pagemap_done(&map);
		return r;
	}
	space.ranges = map.ranges;
	space.n = space.cap = map.n;
	pthread_mutex_lock(&s->list);
	r = add_space(s, &space);
	pthread_mutex_unlock(&s->list);
	return r;
}

/* one message of CRIU's: a pid and its descriptor, a negative pid (a zombie), or the end. Return: 0, -errno */
static int from_criu(struct server *s)
{
	int pid, uffd, r;
	ssize_t n = recv(s->conn, &pid, sizeof(pid), MSG_WAITALL);
	char dummy;

	if (n == 0) {
		fd_close(&s->conn);
		return s->restored ? 0 : -ECONNRESET;
	}
	if (n != sizeof(pid))
		return n < 0 ? -errno : -EPROTO;
	if (pid == RESTORE_FINISHED) {
		pthread_mutex_lock(&s->list);
		s->restored = true;
		pthread_cond_broadcast(&s->more);
		pthread_mutex_unlock(&s->list);
		return 0;
	}
	if (pid < 0)
		return 0;
	r = sock_recv_fd(s->conn, &dummy, &uffd);
	if (r <= 0 || uffd < 0)
		return r < 0 ? r : -EPROTO;
	return add_process(s, pid, uffd);
}

/* Return: 0 */
static int from_guard(struct server *s)
{
	char what;
	int fd;

	if (sock_recv_fd(s->guard, &what, &fd) <= 0)
		fd_close(&s->guard);
	else if (what == 'I' && fd >= 0)
		s->instance = fd;
	return 0;
}

/*
 * A range's pages brought to where they can be copied from: into the page cache and mapped, so that a read error shows here as an error, not as a signal; or into @buf. *ret is what the range's
 * offsets count from.
 */
static int populate(const struct server *s, const struct fill_space *space, struct pagemap_range r, uint8_t *buf, const uint8_t **ret)
{
	struct hearth_err err = { 0 };
	int got;

	if (!space->process) {
		*ret = space->pages;
		if (madvise((void *)(space->pages + r.offset), r.end - r.start, MADV_POPULATE_READ) == 0)
			return 0;
		return errno == EINVAL ? 0 : -errno;    /* before Linux 5.14 */
	}
	if (r.end - r.start > TAKE_MAX)
		return -ENOMEM;
	got = s->source->read(space->process, r.offset, buf, r.end - r.start, &err);
	if (got < 0)
		log_error("%s", err.msg);
	*ret = (const uint8_t *)((uintptr_t)buf - r.offset);
	return got;
}

static void give_up(struct server *s, int r)
{
	pthread_mutex_lock(&s->list);
	s->failed = r;
	pthread_mutex_unlock(&s->list);
}

/* copy, telling apart what ends one address space and what ends the instance. Called without the list lock. */
static int copy_in(struct server *s, struct fill_space *space, const uint8_t *pages, struct pagemap_range range)
{
	struct pagemap_range rest;
	int r = -ENOMEM;

	for (int k = 0; k < ENOMEM_TRIES && r == -ENOMEM; k++) {
		r = fill_range(space, pages, range, &rest);
		if (r == -ENOMEM)
			sched_yield();          /* the kernel is ending someone in the group, perhaps us */
	}
	pthread_mutex_lock(&s->list);
	if (r == -EAGAIN) {
		r = fill_put(space, rest);
	} else if (r == -ESRCH) {
		fill_clear(space);
		r = 0;
	}
	if (r < 0)
		s->failed = r;
	pthread_mutex_unlock(&s->list);
	return r;
}

static bool take_around(struct server *s, struct fill_space *space, uint64_t address, struct pagemap_range *ret)
{
	bool missing;

	pthread_mutex_lock(&s->list);
	missing = fill_take_around(space, address, FAULT_BYTES, ret);
	if (missing) {
		s->near_down = s->near == space && address < s->near_from;
		s->near = space;
		s->near_from = ret->start;
		s->near_at = ret->end;
	}
	pthread_mutex_unlock(&s->list);
	return missing;
}

/*
 * A page that is on no list is one that was never written, or one that a filler has in hand and has not copied yet: only when no filler is under way is
 * it known to be the former. Zeroed too early it would stay zero, as a copy does not replace a page that is there.
 */
static int on_fault(struct server *s, struct fill_space *space, uint64_t address)
{
	static uint8_t buf[TAKE_MAX] __attribute__((aligned(4096)));
	struct pagemap_range range;
	const uint8_t *pages;
	int r = 0;

	address &= ~4095ull;
	if (!take_around(s, space, address, &range)) {
		bool missing;

		pthread_rwlock_wrlock(&s->events);
		missing = take_around(s, space, address, &range);       /* a filler may have put it back */
		if (!missing)
			r = fill_zero(space, address);
		pthread_rwlock_unlock(&s->events);
		if (!missing)
			return r == -ESRCH || r == -EAGAIN ? 0 : r;     /* -EAGAIN: the fault is raised again after the event */
	}
	r = populate(s, space, range, buf, &pages);
	return r < 0 ? r : copy_in(s, space, pages, range);
}

static int on_fork(struct server *s, const struct fill_space *parent, int uffd)
{
	struct fill_space child;
	int r = fill_copy(parent, &child);

	child.uffd = uffd;
	return r < 0 ? r : add_space(s, &child);
}

static int on_event(struct server *s, struct fill_space *space, const struct uffd_msg *m)
{
	int r = 0;

	pthread_mutex_lock(&s->list);
	switch (m->event) {
	case UFFD_EVENT_FORK:
		r = on_fork(s, space, (int)m->arg.fork.ufd);
		break;
	case UFFD_EVENT_REMAP:
		r = fill_move(space, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
		break;
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		r = fill_drop(space, m->arg.remove.start, m->arg.remove.end);
		break;
	}
	pthread_mutex_unlock(&s->list);
	return r;
}

/* one message at a time: a page copied in for a fault must not overtake an event that was read together with it */
static int from_uffd(struct server *s, struct fill_space *space)
{
	struct uffd_msg m;
	ssize_t n;
	int r = 0;

	pthread_rwlock_wrlock(&s->events);
	n = read(space->uffd, &m, sizeof(m));
	if (n == sizeof(m) && m.event != UFFD_EVENT_PAGEFAULT)
		r = on_event(s, space, &m);
	pthread_rwlock_unlock(&s->events);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n != sizeof(m))
		return n == 0 ? 0 : -EPROTO;
	return m.event == UFFD_EVENT_PAGEFAULT ? on_fault(s, space, m.arg.pagefault.address) : r;
}

/* ---- filling ---- */

/*
 * Who walks through its memory finds it there before it comes: behind the last fault first. Where that run ends, at pages that are there already, it goes on
 * the way that the faults led: programs that made one array after the other and use them in that order go up inside of each and down from one to the next, as
 * the kernel gives out addresses.
 */
static bool take_near(struct server *s, struct pagemap_range *ret)
{
	if (!s->near)
		return false;
	if (s->near_down && fill_next(s->near, s->near_at) - s->near_at > NEAR_GAP_BYTES && fill_take_below(s->near, s->near_from, CHUNK_BYTES, ret)) {
		s->near_from = ret->start;
		return true;
	}
	if (!fill_take_from(s->near, s->near_at, CHUNK_BYTES, ret))
		return fill_take_below(s->near, s->near_from, CHUNK_BYTES, ret);
	s->near_at = ret->end;
	return true;
}

static struct fill_space *take_next(struct server *s, struct pagemap_range *ret)
{
	if (take_near(s, ret))
		return s->near;
	for (size_t k = 0; k < s->n; k++)
		if (fill_take(s->spaces[k], CHUNK_BYTES, ret))
			return s->spaces[k];
	return NULL;
}

static void *filler(void *arg)
{
	static _Thread_local uint8_t buf[TAKE_MAX] __attribute__((aligned(4096)));
	struct server *s = arg;
	struct fill_space *space;
	struct pagemap_range range;
	const uint8_t *pages;
	uint64_t one = 1;
	int r = 0;

	/* of this thread only: whoever was woken comes first, and so do its faults */
	(void)setpriority(PRIO_PROCESS, 0, FILLER_NICE);
	pthread_mutex_lock(&s->list);
	while (!s->restored && !s->failed)
		pthread_cond_wait(&s->more, &s->list);
	pthread_mutex_unlock(&s->list);
	do {
		if (fault_point("pager-slow"))    /* for tests: leaves time for faults and events */
			poll(NULL, 0, 20);
		pthread_rwlock_rdlock(&s->events);
		pthread_mutex_lock(&s->list);
		space = s->failed ? NULL : take_next(s, &range);
		pthread_mutex_unlock(&s->list);
		if (space && fault_point("pager-holding"))        /* for tests: faults on what a filler has in hand */
			poll(NULL, 0, 20);
		if (space) {
			/* a read error shows here; the image was read a moment ago to be verified, so this seldom waits for a disk */
			r = populate(s, space, range, buf, &pages);
			if (r == 0)
				r = copy_in(s, space, pages, range);
			else
				give_up(s, r);
		}
		(void)fault_point("pager-filling");
		pthread_rwlock_unlock(&s->events);
	} while (space && r == 0);
	(void)!write(s->wake, &one, sizeof(one));
	return NULL;
}

/* Return: 1 everything is filled in, 0 not yet, -errno */
static int progress(struct server *s)
{
	int r;

	/* the events lock: no range is on its way, taken from the list but not copied yet */
	pthread_rwlock_wrlock(&s->events);
	pthread_mutex_lock(&s->list);
	r = s->failed ? s->failed : s->restored;
	for (size_t k = 0; k < s->n && r == 1; k++)
		r = fill_empty(s->spaces[k]);
	pthread_mutex_unlock(&s->list);
	pthread_rwlock_unlock(&s->events);
	return r;
}

static int start_fillers(struct server *s)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t t;

	for (long k = 0; k < n && k < FILLERS_MAX; k++) {
		if (pthread_create(&t, NULL, filler, s))
			return k ? 0 : -EAGAIN;
		pthread_detach(t);
	}
	return 0;
}

static int serve(struct server *s)
{
	struct pollfd *p = NULL;
	uint64_t count;
	int r = 0;

	while (r == 0) {
		size_t n = s->n, at = 0;
		struct pollfd *more = realloc(p, (n + 3) * sizeof(*p));

		if (!more) {
			r = -ENOMEM;
			break;
		}
		p = more;
		for (; at < n; at++)
			p[at] = (struct pollfd){ .fd = s->spaces[at]->uffd, .events = POLLIN };
		p[at++] = (struct pollfd){ .fd = s->wake, .events = POLLIN };
		p[at++] = (struct pollfd){ .fd = s->conn, .events = POLLIN };
		p[at++] = (struct pollfd){ .fd = s->guard, .events = POLLIN };
		if (poll(p, at, -1) < 0) {
			if (errno != EINTR)
				r = -errno;
			continue;
		}
		for (size_t k = 0; k < n && r == 0; k++)
			if (p[k].revents & POLLIN)
				r = from_uffd(s, s->spaces[k]);
			else if (p[k].revents & (POLLERR | POLLHUP | POLLNVAL))
				r = -EIO;
		if (r == 0 && s->conn >= 0 && p[n + 1].revents)
			r = from_criu(s);
		if (r == 0 && p[n + 2].revents)
			r = from_guard(s);
		if (r == 0 && p[n].revents) {
			(void)!read(s->wake, &count, sizeof(count));
			r = progress(s);
			/* a filler that gave up while an event put ranges back: begin again */
			if (r == 0)
				r = start_fillers(s);
		}
	}
	free(p);
	return r;
}

static _Noreturn void pager(const char *image, const struct pager_source *source, int listen_fd, int guard, const char *id)
{
	struct server s = { .image = image, .source = source, .guard = guard, .conn = -1, .instance = -1 };
	pthread_rwlockattr_t attr;
	int r;

	pthread_rwlockattr_init(&attr);
	/* events must not starve: a process waits in the kernel for each */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s.events, &attr);
	pthread_mutex_init(&s.list, NULL);
	pthread_cond_init(&s.more, NULL);
	s.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s.conn = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	close(listen_fd);
	r = s.wake < 0 || s.conn < 0 ? -errno : start_fillers(&s);
	if (r == 0)
		r = serve(&s);
	if (r < 0 && s.restored)
		log_error("pager of %s: cannot fill in its memory: %s", id, strerror(-r));
	if (r < 0 && s.instance >= 0)
		end_instance(s.instance);
	if (r > 0 && s.guard >= 0)
		(void)sock_send_fd(guard, 'D', -1);
	/* an image that was removed meanwhile goes with its last user, page by page; nobody waits for that */
	(void)setpriority(PRIO_PROCESS, 0, 19);
	_exit(r < 0);
}

/* ---- guard ---- */

struct guard {
	const char *id, *work;
	pid_t pager;
	int ctl, peer, instance;
	bool done;
};

/* killed between CRIU's end and our learning of it: the pid is in CRIU's pid file */
static void find_instance(struct guard *g)
{
	char path[PATH_MAX], *text = NULL;

	if (snprintf(path, sizeof(path), "%s/" PAGER_PIDFILE, g->work) >= (int)sizeof(path) || file_read(path, 64, &text, NULL) < 0)
		return;
	if (atoi(text) > 1)
		g->instance = pidfd_of((pid_t)atoi(text));
	free(text);
}

/* Return: 1 to go on */
static int guard_step(struct guard *g, struct pollfd p[2])
{
	char what;
	int fd;

	if (p[0].revents) {
		if (sock_recv_fd(g->peer, &what, &fd) <= 0) {
			fd_close(&g->peer);
			if (g->instance >= 0)
				return 0;
			/* while CRIU still restores it fails by itself, having lost its server; the box tells which way it went */
			return g->ctl >= 0;
		}
		if (what == 'D') {
			g->done = true;
			/* at once: a userfaultfd that nobody reads would hold up the instance's next fork */
			fd_close(&g->peer);
			if (g->ctl < 0)
				return 0;
			close_range(3, (unsigned)g->ctl - 1, 0);
			close_range((unsigned)g->ctl + 1, ~0u, 0);
			return 1;
		}
		return 1;                       /* 'U': the descriptor stays open, which is all */
	}
	if (p[1].revents) {
		if (sock_recv_fd(g->ctl, &what, &fd) > 0 && what == 'I') {
			g->instance = fd;
			if (g->peer >= 0)
				(void)sock_send_fd(g->peer, 'I', fd);
			(void)sock_send_fd(g->ctl, g->peer < 0 && !g->done ? 'L' : 'K', -1);
			fd_close(&g->ctl);
			return g->peer >= 0 && !g->done;
		}
		/* box and CRIU are both gone without a word: what they restored must not live */
		fd_close(&g->ctl);
		g->done = false;
		find_instance(g);
		return 0;
	}
	return 1;
}

static int without_input_and_output(void)
{
	FD_AUTO int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	return null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ? -errno : 0;
}

static _Noreturn void guard(const char *image, const struct pager_source *source, const char *work, int listen_fd, int ctl, const char *id)
{
	struct guard g = { .id = id, .work = work, .ctl = ctl, .instance = -1 };
	int ends[2];

	setsid();
	signal(SIGPIPE, SIG_IGN);
	/* not closed: a userfaultfd that came in their place would be left open when the others are closed, and whoever unmaps memory would wait for ever */
	if (without_input_and_output() < 0)
		_exit(1);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		_exit(1);
	g.pager = fork();
	if (g.pager == 0) {
		close(ends[0]);
		close(ctl);
		pager(image, source, listen_fd, ends[1], id);
	}
	close(ends[1]);
	close(listen_fd);
	if (g.pager < 0)
		_exit(1);
	g.peer = ends[0];
	for (int go = 1; go; ) {
		struct pollfd p[2] = { { .fd = g.peer, .events = POLLIN }, { .fd = g.ctl, .events = POLLIN } };

		if (poll(p, 2, -1) < 0)
			continue;
		go = guard_step(&g, p);
	}
	if (!g.done) {
		kill(g.pager, SIGKILL);
		if (g.instance >= 0) {
			log_error("pager of %s ended before its memory was filled in: the instance is ended", id);
			end_instance(g.instance);
		}
	}
	waitpid(g.pager, NULL, 0);
	_exit(!g.done);
}

/* ---- box side ---- */

static int listen_in(const char *work, struct hearth_err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	FD_AUTO int dir = open(work, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* by way of the folder's descriptor: its path may be longer than a socket address */
	snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/" SOCKET_NAME, dir);
	if (dir >= 0 && fd >= 0 && bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 && listen(fd, 1) == 0)
		return fd;
	err_set(err, -errno, "cannot make the pager's socket in %s: %s", work, strerror(errno));
	fd_close(&fd);
	return err->code;
}

int pager_start(const char *image, const char *work, const char *id, const struct pager_source *source, struct pager *ret, struct hearth_err *err)
{
	FD_AUTO int sock = listen_in(work, err);
	int ends[2];
	pid_t pid;

	if (sock < 0)
		return sock;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return err_set(err, -errno, "cannot make a socket pair: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		guard(image, source, work, sock, ends[1], id);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return err_set(err, -errno, "cannot fork: %s", strerror(errno));
	}
	*ret = (struct pager){ pid, ends[0] };
	return 0;
}

int pager_commit(struct pager *pager, int instance_pidfd)
{
	char what = 0;
	int fd, r = sock_send_fd(pager->ctl, 'I', instance_pidfd);

	if (r == 0 && (sock_recv_fd(pager->ctl, &what, &fd) <= 0 || what != 'K'))
		r = -EIO;
	if (r < 0)
		return r;
	fd_close(&pager->ctl);
	*pager = (struct pager){ 0, -1 };
	return 0;
}

void pager_abort(struct pager *pager)
{
	if (pager->guard <= 0)
		return;
	fd_close(&pager->ctl);
	waitpid(pager->guard, NULL, 0);
	*pager = (struct pager){ 0, -1 };
}
