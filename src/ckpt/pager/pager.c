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

#include "base/clock.h"
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
#define FOLLOWING_BYTES (512ull << 10)
#define NEAR_GAP_BYTES (1ull << 20)
#define FILLERS_MAX 6
#define FILLER_NICE 5
#define IDLE_MAX_NS NS_PER_S
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
	const struct image_file *file;
	uint8_t *data;
	struct digest_work *work;
	bool taken, verified;           /* taken: some thread has each of its pieces in hand */
};

struct filler {
	struct server *server;
	bool fills;                     /* rather than verifies, where the instance does not wait for that */
	pid_t tid;                      /* 0: it has ended */
	bool idle;                      /* gets a processor only where nobody else wants it */
};

struct server {
	const char *folder;
	const struct image *img;        /* whose files with memory contents are verified here; NULL: there are none */
	const struct pager_source *source;
	int guard, conn, wake;          /* wake: fillers tell the main thread that something changed */
	int verdict;                    /* to pager_verified() */
	bool early;                     /* as for pager_start() */
	int instance;                   /* pidfd, once it is restored */
	bool restored;
	uint64_t restored_ns;
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
	pthread_cond_t more;            /* with changes: fillers may find something to do, or that there is nothing left */
	unsigned changes;
	/* the run of pages that the fillers are at, which began with the last fault: where it began, where it goes on, and which way the faults before it led */
	struct fill_space *near;
	uint64_t near_from, near_at;
	bool near_down;
	struct filler fillers[FILLERS_MAX];
	int failed;                     /* -errno: a page can't be had */
};

static void changed(struct server *s)
{
	s->changes++;
	pthread_cond_broadcast(&s->more);
}

static void give_up(struct server *s, int r)
{
	pthread_mutex_lock(&s->list);
	s->failed = r;
	changed(s);
	pthread_mutex_unlock(&s->list);
}

/* ---- the files ---- */

/* the box is told once, and the end of the pager tells it too */
static void tell_verdict(struct server *s, const struct hearth_err *verdict)
{
	if (s->verdict >= 0)
		(void)fd_write_full(s->verdict, verdict, sizeof(*verdict));
	fd_close(&s->verdict);
}

static int map_file(const struct server *s, const struct image_file *f, struct pages_file *ret, struct hearth_err *err)
{
	char path[PATH_MAX];
	struct stat st = { 0 };
	void *data;
	int r;

	snprintf(path, sizeof(path), "%s/%s", s->img->path, f->name);
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	r = image_check(s->img, f, (uint64_t)st.st_size, f->digest, err);
	if (r < 0)
		return r;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return err_set(err, -errno, "cannot map %s: %s", path, strerror(errno));
	*ret = (struct pages_file){ .file = f, .data = data, .work = digest_work_new(data, f->bytes) };
	return ret->work ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int map_files(struct server *s, struct hearth_err *err)
{
	int r = 0;

	if (!s->img)
		return 0;
	s->files = calloc(s->img->files_n + 1, sizeof(*s->files));
	if (!s->files)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t k = 0; k < s->img->files_n && r == 0; k++) {
		const struct image_file *f = &s->img->files[k];

		if (image_file_is_pages(f) && f->bytes > 0)
			r = map_file(s, f, &s->files[s->files_n++], err);
	}
	return r;
}

static bool all_verified(const struct server *s)
{
	size_t k = 0;

	while (k < s->files_n && s->files[k].verified)
		k++;
	return k == s->files_n;
}

/* one piece of one file */
static void verify_piece(struct server *s, struct pages_file *f)
{
	struct hearth_err verdict = { 0 };
	struct digest digest;
	int r = digest_work_step(f->work);

	(void)fault_point("pager-verifying");
	pthread_mutex_lock(&s->list);
	if (r < 0) {
		r = err_set(&verdict, r, "image %s: %s: %s; remove the image, the function will start cold", s->img->path, f->file->name, strerror(-r));
	} else if (r == 0) {
		f->taken = true;
	} else if (digest_work_done(f->work, &digest) && !f->verified) {
		f->verified = true;
		r = image_check(s->img, f->file, f->file->bytes, digest, &verdict);
		changed(s);
	}
	if (r < 0 || all_verified(s))
		tell_verdict(s, &verdict);
	pthread_mutex_unlock(&s->list);
	if (r < 0)
		give_up(s, r);
}

/* ---- address spaces ---- */

static int find_pages(const struct server *s, const struct pagemap *map, const uint8_t **ret)
{
	char name[32];

	snprintf(name, sizeof(name), IMAGE_PAGES "%u.img", map->pages_id);
	for (size_t k = 0; k < s->files_n; k++)
		if (!strcmp(s->files[k].file->name, name)) {
			*ret = s->files[k].data;
			return s->files[k].file->bytes < map->file_bytes ? -EBADMSG : 0;
		}
	return -ENOENT;
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
	int r = pagemap_load(s->folder, pid, &map, &err);

	if (r < 0) {
		log_error("%s", err.msg);
		return r;
	}
	if (map.n && map.elsewhere)
		r = s->source ? s->source->open(s->source->ctx, pid, &space.process, &err) : err_set(&err, -EBADMSG, "image %s lacks pages of process %d", s->folder, pid);
	else
		r = map.n ? find_pages(s, &map, &space.pages) : 0;
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
		s->restored_ns = clock_mono_ns();
		for (size_t k = 0; k < s->n; k++)
			s->spaces[k]->settled = true;
		changed(s);
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
		space->open = space->settled;
		r = fill_put(space, rest);
	} else if (r == -ESRCH) {
		fill_clear(space);
		r = 0;
	}
	pthread_mutex_unlock(&s->list);
	if (r < 0)
		give_up(s, r);
	return r;
}

/* who outruns the fillers is not stopped again at once */
static uint64_t window(const struct server *s, const struct fill_space *space, uint64_t address)
{
	bool follows = s->near == space && address >= s->near_from && address < s->near_at + NEAR_GAP_BYTES;

	if (!follows)
		return FAULT_BYTES;
	return space->process ? TAKE_MAX : FOLLOWING_BYTES;
}

static bool take_around(struct server *s, struct fill_space *space, uint64_t address, struct pagemap_range *ret)
{
	bool missing;

	pthread_mutex_lock(&s->list);
	missing = fill_take_around(space, address, window(s, space, address), ret);
	if (missing) {
		s->near_down = s->near == space && address < s->near_from;
		s->near = space;
		s->near_from = ret->start;
		s->near_at = ret->end;
	}
	pthread_mutex_unlock(&s->list);
	return missing;
}

static void set_idle(struct filler *f, bool idle)
{
	const struct sched_param none = { 0 };

	if (f->tid > 0)
		(void)sched_setscheduler(f->tid, idle ? SCHED_IDLE : SCHED_OTHER, &none);
}

/* No range is on its way after this. A filler that lost its processor half-way must not have to wait for an idle one meanwhile. */
static void stop_fillers(struct server *s)
{
	if (pthread_rwlock_trywrlock(&s->events) == 0)
		return;
	pthread_mutex_lock(&s->list);
	for (size_t k = 0; k < FILLERS_MAX; k++)
		if (s->fillers[k].idle)
			set_idle(&s->fillers[k], false);
	pthread_mutex_unlock(&s->list);
	pthread_rwlock_wrlock(&s->events);
	pthread_mutex_lock(&s->list);
	for (size_t k = 0; k < FILLERS_MAX; k++)
		if (s->fillers[k].idle)
			set_idle(&s->fillers[k], true);
	pthread_mutex_unlock(&s->list);
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

		stop_fillers(s);
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

/* the restorer touches its memory (for rseq) when all of it is in place; should that be different one day, it is found out (fill_space.settled) */
static void begin_early(struct server *s, struct fill_space *space)
{
	pthread_mutex_lock(&s->list);
	if (!space->open) {
		space->open = true;
		changed(s);
	}
	pthread_mutex_unlock(&s->list);
}

/* one message at a time: a page copied in for a fault must not overtake an event that was read together with it */
static int from_uffd(struct server *s, struct fill_space *space)
{
	struct uffd_msg m;
	ssize_t n;
	int r = 0;

	stop_fillers(s);
	n = read(space->uffd, &m, sizeof(m));
	if (n == sizeof(m) && m.event != UFFD_EVENT_PAGEFAULT)
		r = on_event(s, space, &m);
	pthread_rwlock_unlock(&s->events);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n != sizeof(m))
		return n == 0 ? 0 : -EPROTO;
	if (m.event != UFFD_EVENT_PAGEFAULT)
		return r;
	begin_early(s, space);
	return on_fault(s, space, m.arg.pagefault.address);
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

struct step {
	enum { FILL, VERIFY, WAIT, END } what;
	struct fill_space *space;
	struct pagemap_range range;
	struct pages_file *file;
	bool read;                      /* all files have been, a moment ago */
	unsigned seen;                  /* changes, when this was the step to take */
};

static bool take_soon(struct server *s, struct step *step)
{
	for (size_t k = 0; k < s->n; k++)
		if ((s->spaces[k]->open || s->restored) && fill_take_soon(s->spaces[k], CHUNK_BYTES, &step->range)) {
			step->space = s->spaces[k];
			return true;
		}
	return false;
}

static bool take_next(struct server *s, struct step *step)
{
	step->space = s->near;
	if (take_near(s, &step->range))
		return true;
	for (size_t k = 0; k < s->n; k++)
		if (fill_take(s->spaces[k], CHUNK_BYTES, &step->range)) {
			step->space = s->spaces[k];
			return true;
		}
	return false;
}

static bool take_unverified(struct server *s, struct step *step)
{
	for (size_t k = 0; k < s->files_n; k++) {
		step->file = &s->files[k];
		if (!step->file->taken)
			return true;
	}
	return false;
}

/*
 * What every program needs before it can do anything, as soon as it has a place; then the digests, for the result waits for them; then the data. Where only the
 * answer of a call waits for the digests, one of two fillers sees to the data first, and leaves its processor to CRIU before.
 */
static struct step next_step(struct server *s, const struct filler *f)
{
	struct step step = { .what = FILL, .read = all_verified(s), .seen = s->changes };

	if (s->failed) {
		step.what = END;
		return step;
	}
	if (take_soon(s, &step) || (f->fills && s->restored && take_next(s, &step)))
		return step;
	step.what = VERIFY;
	if ((!f->fills || s->restored) && take_unverified(s, &step))
		return step;
	step.what = FILL;
	if (s->restored && take_next(s, &step))
		return step;
	step.what = s->restored && step.read ? END : WAIT;
	return step;
}

static void fill(struct server *s, const struct step *step)
{
	static _Thread_local uint8_t buf[TAKE_MAX] __attribute__((aligned(4096)));
	const uint8_t *pages = step->space->pages;
	int r = 0;

	if (fault_point("pager-holding"))         /* for tests: faults on what a filler has in hand */
		poll(NULL, 0, 20);
	/* a read error shows here */
	if (step->space->process || !step->read)
		r = populate(s, step->space, step->range, buf, &pages);
	if (r == 0)
		r = copy_in(s, step->space, pages, step->range);
	else
		give_up(s, r);
	(void)fault_point("pager-filling");
}

/* Return: false when there is nothing left to do */
static bool filler_step(struct filler *f)
{
	struct server *s = f->server;
	struct step step;
	bool idle;

	pthread_rwlock_rdlock(&s->events);
	pthread_mutex_lock(&s->list);
	step = next_step(s, f);
	/* the data: whoever was woken comes first. But not for ever, where no processor is ever idle: the image is still needed, and parking waits for the end */
	idle = step.what == FILL && (step.read || (f->fills && s->restored)) && clock_mono_ns() - s->restored_ns < IDLE_MAX_NS;
	if (idle != f->idle) {
		f->idle = idle;
		set_idle(f, idle);
		(void)setpriority(PRIO_PROCESS, 0, FILLER_NICE);
	}
	pthread_mutex_unlock(&s->list);
	if (step.what == FILL)
		fill(s, &step);
	pthread_rwlock_unlock(&s->events);
	if (step.what == VERIFY)
		verify_piece(s, step.file);
	if (step.what == FILL && fault_point("pager-slow"))       /* for tests: leaves time for faults and events */
		poll(NULL, 0, 20);
	pthread_mutex_lock(&s->list);
	while (step.what == WAIT && s->changes == step.seen)
		pthread_cond_wait(&s->more, &s->list);
	pthread_mutex_unlock(&s->list);
	return step.what != END;
}

static void *filler(void *arg)
{
	struct filler *f = arg;
	struct server *s = f->server;
	uint64_t one = 1;

	pthread_mutex_lock(&s->list);
	f->tid = gettid();
	f->idle = false;
	pthread_mutex_unlock(&s->list);
	while (filler_step(f))
		;
	pthread_mutex_lock(&s->list);
	f->tid = 0;
	pthread_mutex_unlock(&s->list);
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

/* one a processor where there are few; where there are many, what is woken wants most of them */
static long fillers_wanted(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN), most = n < 4 ? n : n / 2;

	return most < FILLERS_MAX ? most : FILLERS_MAX;
}

/* those that have ended; none has before there was nothing to do for it */
static int start_fillers(struct server *s)
{
	long n = fillers_wanted();
	bool any = false;
	pthread_t t;

	for (long k = 0; k < n; k++) {
		struct filler *f = &s->fillers[k];
		bool runs;

		pthread_mutex_lock(&s->list);
		runs = f->tid != 0;
		if (!runs) {
			f->server = s;
			f->fills = s->early && k > 0;
			f->tid = -1;            /* on its way */
		}
		pthread_mutex_unlock(&s->list);
		if (!runs && pthread_create(&t, NULL, filler, f)) {
			pthread_mutex_lock(&s->list);
			f->tid = 0;
			pthread_mutex_unlock(&s->list);
			continue;
		}
		if (!runs)
			pthread_detach(t);
		any = true;
	}
	return any ? 0 : -EAGAIN;
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

static int begin(struct server *s, int listen_fd)
{
	pthread_rwlockattr_t attr;
	struct hearth_err err = { 0 };
	int r;

	pthread_rwlockattr_init(&attr);
	/* events must not starve: a process waits in the kernel for each */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->events, &attr);
	pthread_mutex_init(&s->list, NULL);
	pthread_cond_init(&s->more, NULL);
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = s->wake < 0 ? err_set(&err, -errno, "cannot make an eventfd: %s", strerror(errno)) : map_files(s, &err);
	if (r < 0 || all_verified(s))
		tell_verdict(s, &err);
	if (r < 0)
		return r;
	/* they verify while CRIU is on its way */
	r = start_fillers(s);
	s->conn = r < 0 ? -1 : accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	close(listen_fd);
	return r == 0 && s->conn < 0 ? -errno : r;
}

/* how the two begin */
struct start { const char *folder, *work, *id; const struct image *img; const struct pager_source *source; bool early; };

static _Noreturn void pager(const struct start *start, int listen_fd, int guard, int verdict)
{
	struct server s = { .folder = start->folder, .img = start->img, .source = start->source, .guard = guard, .conn = -1, .instance = -1, .verdict = verdict,
			    .early = start->early };
	int r = begin(&s, listen_fd);

	if (r == 0)
		r = serve(&s);
	if (r < 0 && s.restored)
		log_error("pager of %s: cannot fill in its memory: %s", start->id, strerror(-r));
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

static _Noreturn void guard(const struct start *s, int listen_fd, int ctl, int verdict)
{
	struct guard g = { .id = s->id, .work = s->work, .ctl = ctl, .instance = -1 };
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
		pager(s, listen_fd, ends[1], verdict);
	}
	close(ends[1]);
	close(listen_fd);
	close(verdict);
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
			log_error("pager of %s ended before its memory was filled in: the instance is ended", s->id);
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

int pager_start(const char *folder, const struct image *img, const char *work, const char *id, const struct pager_source *source, bool early, struct pager *ret,
		struct hearth_err *err)
{
	const struct start start = { folder, work, id, img, source, early };
	FD_AUTO int sock = listen_in(work, err);
	int ends[2], verdict[2], r;
	pid_t pid;

	if (sock < 0)
		return sock;
	if (pipe2(verdict, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		r = err_set(err, -errno, "cannot make a socket pair: %s", strerror(errno));
		goto err;
	}
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		close(verdict[0]);
		guard(&start, sock, ends[1], verdict[1]);
	}
	r = pid < 0 ? err_set(err, -errno, "cannot fork: %s", strerror(errno)) : 0;
	close(ends[1]);
	if (r < 0) {
		close(ends[0]);
		goto err;
	}
	close(verdict[1]);
	*ret = (struct pager){ pid, ends[0], verdict[0] };
	return 0;
err:
	close(verdict[0]);
	close(verdict[1]);
	return r;
}

int pager_verified(struct pager *pager, struct hearth_err *err)
{
	struct hearth_err verdict;
	ssize_t n = fd_read_full(pager->verdict, &verdict, sizeof(verdict));

	if (n != (ssize_t)sizeof(verdict))
		return err_set(err, n < 0 ? (int)n : -EIO, "the pager ended before the image was verified");
	verdict.msg[sizeof(verdict.msg) - 1] = '\0';
	return verdict.code ? err_set(err, verdict.code, "%s", verdict.msg) : 0;
}

static void forget(struct pager *pager)
{
	fd_close(&pager->ctl);
	fd_close(&pager->verdict);
	*pager = (struct pager)PAGER_NONE;
}

int pager_commit(struct pager *pager, int instance_pidfd)
{
	char what = 0;
	int fd, r = sock_send_fd(pager->ctl, 'I', instance_pidfd);

	if (r == 0 && (sock_recv_fd(pager->ctl, &what, &fd) <= 0 || what != 'K'))
		r = -EIO;
	if (r == 0)
		forget(pager);
	return r;
}

void pager_abort(struct pager *pager)
{
	if (pager->guard <= 0)
		return;
	fd_close(&pager->ctl);
	waitpid(pager->guard, NULL, 0);
	forget(pager);
}
