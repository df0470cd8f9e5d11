/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libhearth-warm.so: preloaded into programs that hearth-pager is to page. All it does is to make a userfaultfd, and to move pages of the program's to a stage and back when the pager asks: UFFDIO_MOVE
 * works from inside of a process only (docs/adr/0022-pager.md).
 *
 * Its thread never touches memory that may be away: its stack, with its thread-local memory, is its own mapping, its data is told to the pager, and it calls nothing of libc but syscall(), whose text and
 * errno are not paged. So the pager need not serve faults while it waits for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "uffd.h"
#include "warm_wire.h"

#define STACK_BYTES (256u << 10)
#define STAGE_BYTES (WARM_PAGES * WARM_PAGE)
#define GUARD_BYTES WARM_PAGE
#define FD_MIN 512              /* out of the way of programs that count on small numbers */
#define TRIES 8

/* one page-aligned object, so that its neighbours in .bss are not kept from being paged */
static struct warm {
	struct warm_msg msg, done;
	char control[CMSG_SPACE(sizeof(int))];
	uint8_t *stack, *stage;
	int listener, conn, uffd;
	uint32_t out;
	bool stage_used;
} __attribute__((aligned(4096))) w = { .listener = -1, .conn = -1, .uffd = -1 };

static long ask(int uffd, unsigned long what, void *arg)
{
	return syscall(SYS_ioctl, uffd, what, arg);
}

static int reply(struct warm_msg *m, int pass)
{
	struct iovec iov = { m, WARM_HEAD };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	m->version = WARM_VERSION;
	if (pass >= 0) {
		struct cmsghdr *c = (struct cmsghdr *)w.control;

		h.msg_control = w.control;
		h.msg_controllen = sizeof(w.control);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		*(int *)CMSG_DATA(c) = pass;
	}
	return syscall(SYS_sendmsg, w.conn, &h, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Return: bytes, 0 the other side closed, -errno. @ret_fd: what came along, or -1 */
static long receive(struct warm_msg *m, int *ret_fd)
{
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = w.control, .msg_controllen = sizeof(w.control) };
	struct cmsghdr *c = (struct cmsghdr *)w.control;
	long n;

	*ret_fd = -1;
	do {
		n = syscall(SYS_recvmsg, w.conn, &h, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n > 0 && h.msg_controllen >= CMSG_LEN(sizeof(int)) && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		*ret_fd = *(int *)CMSG_DATA(c);
	return n < 0 ? -errno : n;
}

static int move_up(int fd)
{
	int up = fd < 0 ? -1 : (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FD_MIN);

	if (up < 0)
		return fd;
	syscall(SYS_close, fd);
	return up;
}

/* the pager's descriptor of the device lets a process without privileges have one that takes faults of system calls too */
static int make_uffd(int device)
{
	long fd = device >= 0 ? syscall(SYS_ioctl, device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK) : syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : move_up((int)fd);
}

static void start(int device)
{
	struct warm_msg *m = &w.msg;

	/* one until it is forgotten: who comes later goes on with it */
	if (w.uffd < 0)
		w.uffd = make_uffd(device);
	m->op = WARM_UFFD;
	m->error = w.uffd < 0 ? w.uffd : 0;
	m->n = 0;
	(void)reply(m, w.uffd);
}

static int stage_register(bool on)
{
	struct uffdio_register r = { .range = { (uintptr_t)w.stage, STAGE_BYTES }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ask(w.uffd, on ? UFFDIO_REGISTER : UFFDIO_UNREGISTER, on ? (void *)&r : (void *)&r.range) < 0 ? -errno : 0;
}

static void stage_clear(void)
{
	if (w.stage_used)
		syscall(SYS_madvise, w.stage, STAGE_BYTES, MADV_DONTNEED);
	w.stage_used = false;
}

/*
 * The kernel moves a page only if nobody else has it, pinned for I/O or shared with a forked child, and only while no change of the address space waits for the pager. What it moves is gone from where it
 * was before the call is over, for every thread.
 * Return: pages moved from the front (> 0), or -errno of the first
 */
static long move(uint64_t to, uint64_t from, uint64_t pages)
{
	long r = -EAGAIN;

	for (int k = 0; k < TRIES && r == -EAGAIN; k++) {
		struct uffdio_move mv = { .dst = to, .src = from, .len = pages * WARM_PAGE };

		if (ask(w.uffd, UFFDIO_MOVE, &mv) == 0 || mv.move > 0)
			r = (long)(mv.move / (int64_t)WARM_PAGE);
		else if (mv.move == 0)
			return errno == EAGAIN ? -ESTALE : -errno;      /* ESTALE: an event is to be read first */
		else
			r = (long)mv.move;
	}
	return r;
}

static void count_skipped(struct warm_msg *d, long error)
{
	if (error == -EBUSY || error == -EAGAIN)
		d->busy++;
	else if (error == -ENOENT)
		d->absent++;
	else
		d->other++;
}

static void out(const struct warm_msg *m)
{
	struct warm_msg *d = &w.done;
	uint64_t at = 0;

	stage_clear();
	memset(d, 0, WARM_HEAD);
	d->op = WARM_OUT_DONE;
	d->seq = m->seq;
	d->error = stage_register(true);
	w.stage_used = true;
	w.out = 1;
	for (uint32_t k = 0; k < m->n && d->error == 0; k++) {
		uint64_t from = m->runs[k].start, left = m->runs[k].pages;

		while (left && at + left <= WARM_PAGES && d->error == 0) {
			long n = move((uintptr_t)w.stage + at * WARM_PAGE, from, left);

			if (n == -ESTALE || n == -ESRCH)
				d->error = n == -ESTALE ? -EAGAIN : -ESRCH;
			else if (n <= 0)
				count_skipped(d, n);
			for (long i = 0; i < n; i++)
				d->moved[(at + (uint64_t)i) / 64] |= 1ull << ((at + (uint64_t)i) % 64);
			n = n > 0 ? n : 1;
			at += (uint64_t)n;
			from += (uint64_t)n * WARM_PAGE;
			left -= (uint64_t)n;
		}
	}
	(void)stage_register(false);
	(void)reply(d, -1);
}

/* what has come back in the meantime by another way is newer, and stays */
static void back(const struct warm_msg *m)
{
	struct warm_msg *d = &w.msg;
	uint64_t at = 0;
	int error = 0;

	for (uint32_t k = 0; k < m->n; k++)
		for (uint64_t i = 0; i < m->runs[k].pages && at < WARM_PAGES; i++, at++) {
			long n;

			if (!(m->moved[at / 64] >> (at % 64) & 1))
				continue;
			n = move(m->runs[k].start + i * WARM_PAGE, (uintptr_t)w.stage + at * WARM_PAGE, 1);
			if (n < 0 && n != -EEXIST && n != -ENOENT && n != -EINVAL)
				error = (int)n;
		}
	d->op = WARM_BACK_DONE;
	d->error = error == -ESTALE ? -EAGAIN : error;
	d->n = 0;
	(void)reply(d, -1);
}

static bool valid(const struct warm_msg *m, long n)
{
	return n >= (long)WARM_HEAD && m->version == WARM_VERSION && m->n <= WARM_PAGES && (size_t)n >= WARM_HEAD + m->n * sizeof(m->runs[0]);
}

static void hello(void)
{
	struct warm_msg *m = &w.msg;

	memset(m, 0, WARM_HEAD);
	m->op = WARM_HELLO;
	m->out = w.out;
	m->stage = (uintptr_t)w.stage;
	m->own[0].start = (uintptr_t)w.stack;
	m->own[0].end = (uintptr_t)w.stack + STACK_BYTES;
	m->own[1].start = (uintptr_t)w.stage - GUARD_BYTES;
	m->own[1].end = (uintptr_t)w.stage + STAGE_BYTES + GUARD_BYTES;
	m->own[2].start = (uintptr_t)&w;
	m->own[2].end = (uintptr_t)(&w + 1);
	(void)reply(m, -1);
}

static void forgotten(void)
{
	w.out = 0;
	if (w.uffd >= 0)
		syscall(SYS_close, w.uffd);
	w.uffd = -1;
}

static void serve(void)
{
	struct warm_msg *m = &w.msg;
	long n;
	int fd;

	hello();
	for (;;) {
		n = receive(m, &fd);
		if (!valid(m, n)) {
			if (fd >= 0)
				syscall(SYS_close, fd);
			return;
		}
		if (m->op == WARM_START)
			start(fd);
		else if (m->op == WARM_OUT && w.uffd >= 0)
			out(m);
		else if (m->op == WARM_BACK && w.uffd >= 0)
			back(m);
		else if (m->op == WARM_DROP)
			stage_clear();
		else if (m->op == WARM_QUERY && (w.done.op = WARM_OUT_DONE))
			(void)reply(&w.done, -1);
		if (fd >= 0)
			syscall(SYS_close, fd);
		/* as if it had never been paged: nothing may be left that a checkpoint could not hold */
		if (m->op == WARM_FORGET) {
			forgotten();
			return;
		}
	}
}

/* an abstract name is open to everyone in the network name space */
static bool allowed(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);

	return syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && (peer.uid == 0 || peer.uid == (uid_t)syscall(SYS_getuid));
}

static void *run(void *arg)
{
	/* runtimes that fork look for threads that would be lost; this one is made for it (functions/runtime/hearth_runtime.py) */
	syscall(SYS_prctl, PR_SET_NAME, "hearth-warm");
	for (;;) {
		long fd = syscall(SYS_accept4, w.listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EMFILE || errno == ENFILE))
			continue;
		if (fd < 0)
			return NULL;            /* the program closed it */
		w.conn = move_up((int)fd);
		if (allowed(w.conn))
			serve();
		syscall(SYS_close, w.conn);
		w.conn = -1;
	}
}

/* ---- start ---- */

static uint8_t *map(size_t bytes)
{
	uint8_t *p = mmap(NULL, bytes + 2 * GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || mprotect(p + GUARD_BYTES, bytes, PROT_READ | PROT_WRITE) < 0)
		return NULL;
	return p + GUARD_BYTES;
}

static int listen_as(const char *instance)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, WARM_NAME "/%s/%d", instance, (int)getpid()), fd;

	if (n < 0 || (size_t)n >= sizeof(sa.sun_path) - 1)
		return -1;
	fd = move_up(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	if (fd >= 0 && (bind(fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) < 0 || listen(fd, 4) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* a child has no such thread, and is not paged on its own; its descriptors would only keep the parent's name in use */
static void forget(void)
{
	int *all[] = { &w.listener, &w.conn, &w.uffd };

	for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
		if (*all[k] >= 0)
			close(*all[k]);
		*all[k] = -1;
	}
}

static int spawn(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, w.stack, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attr, run, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* Any failure leaves the program as it would be without this library: the pager finds no name, and says so. */
__attribute__((constructor)) static void begin(void)
{
	const char *instance = getenv(WARM_ENV);

	if (!instance || !*instance)
		return;
	w.stack = map(STACK_BYTES);
	w.stage = map(STAGE_BYTES);
	if (!w.stack || !w.stage || madvise(w.stage, STAGE_BYTES, MADV_DONTFORK) < 0 || madvise(w.stage, STAGE_BYTES, MADV_NOHUGEPAGE) < 0)
		return;
	w.listener = listen_as(instance);
	if (w.listener < 0)
		return;
	if (pthread_atfork(NULL, NULL, forget) != 0 || spawn() < 0)
		forget();
}
