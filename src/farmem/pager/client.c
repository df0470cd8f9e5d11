/* SPDX-License-Identifier: Apache-2.0 */
/* The pager as an engine, for hearthd: requests are packets to hearth-pager, what comes back are events. Nothing waits for it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/pagemap.h"
#include "base/proc.h"
#include "farmem/engine.h"
#include "pager_wire.h"
#include "uffd.h"
#include "warm_wire.h"

#define OUT_MAX (1u << 20)              /* of requests that the pager does not take */
#define ENV_MAX 4400
#define ASKED_MAX 8             /* to end, before it is taken for one that does not know what it is asked for */

struct farmem_target {
	struct farmem_target *next;
	struct farmem_engine *e;
	uint64_t tag;
	void *ctx;
	struct pager_request attach;    /* sent again to a pager that was started anew */
	uint32_t offloads;              /* asked for so far */
	unsigned cancelled;             /* that have been cancelled, of which no end was told yet */
	unsigned requests, word;        /* word: PAGER_TARGETS_MAX: none is left */
	bool attached, offloading, prefetching, refreshing, detaching, barrier[FARMEM_SEGMENTS];
	enum farmem_detach_how how;
};

struct farmem_engine {
	char socket[128], preload[ENV_MAX], instance[128];
	const char *env[3];
	int epoll_fd, bell, fd;
	uint64_t tags;
	uint32_t *running;              /* shared with the pager: requests of each target, by its word */
	int running_fd;
	bool word_taken[PAGER_TARGETS_MAX];
	struct buf out, events;         /* packets; events that we make ourselves */
	bool down, wants_room;
	struct farmem_target *targets;
	struct farmem_stat stat;
};

/* ---- what this machine has ---- */

/* @why: says what is missing. Return: 0, -errno */
static int try_uffd(const char **why)
{
	struct uffdio_api api = { .api = UFFD_API };
	FD_AUTO int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	FD_AUTO int uffd = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	struct pm_scan_arg a = { .size = sizeof(a), .start = 0, .end = 0 };
	FD_AUTO int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	*why = "/dev/userfaultfd cannot be used (Linux 6.1, CONFIG_USERFAULTFD; hearth-pager needs root)";
	if (device < 0 || uffd < 0)
		return -errno;
	*why = "this kernel cannot move pages by userfaultfd: Linux 6.8 is the first that can; the reclaim engine does without";
	if (ioctl(uffd, UFFDIO_API, &api) < 0)
		return -errno;
	if (!(api.features & UFFD_FEATURE_MOVE))
		return -EOPNOTSUPP;
	*why = "this kernel does not tell which pages are present (PAGEMAP_SCAN, Linux 6.7)";
	return pagemap < 0 || ioctl(pagemap, PAGEMAP_SCAN, &a) < 0 ? -errno : api.features & UFFD_FEATURE_POISON ? 1 : 0;
}

static void uffd_probe(const struct farmem_options *options, struct farmem_probe *ret)
{
	const char *why = "";
	int r = try_uffd(&why);

	*ret = (struct farmem_probe){ .error = r < 0 ? r : 0, .features = FARMEM_HAS_SEGMENTS | FARMEM_HAS_PREFETCH | FARMEM_HAS_LATENCY | FARMEM_NEEDS_PRELOAD };
	if (r < 0)
		snprintf(ret->why, sizeof(ret->why), "%s: %s", why, strerror(-r));
	else
		snprintf(ret->what, sizeof(ret->what), "userfaultfd with UFFDIO_MOVE, PAGEMAP_SCAN; lost pages are %s", r ? "poisoned" : "answered by ending the process");
}

/* ---- packets ---- */

static void want_room(struct farmem_engine *e, bool want)
{
	struct epoll_event ev = { .events = want ? EPOLLIN | EPOLLOUT : EPOLLIN };

	if (e->wants_room != want && e->fd >= 0)
		(void)epoll_ctl(e->epoll_fd, EPOLL_CTL_MOD, e->fd, &ev);
	e->wants_room = want;
}

static void push(struct farmem_engine *e)
{
	while (e->fd >= 0 && e->out.len >= sizeof(struct pager_request)) {
		int r = sock_packet_send(e->fd, buf_head(&e->out), sizeof(struct pager_request), -1, false);

		if (r == -EAGAIN) {
			want_room(e, true);
			return;
		}
		if (r < 0)
			return;                 /* its end is told by what is received */
		buf_consume(&e->out, sizeof(struct pager_request));
	}
	want_room(e, false);
}

static void later(struct farmem_engine *e, const struct farmem_event *ev)
{
	/* without memory for it the event is missed: there is nobody to tell */
	if (buf_append(&e->events, ev, sizeof(*ev)) == 0)
		(void)!write(e->bell, &(uint64_t){ 1 }, sizeof(uint64_t));
}

static void send_request(struct farmem_target *t, const struct pager_request *r)
{
	struct farmem_engine *e = t->e;

	if (e->fd < 0)
		return;                         /* said again when there is one */
	if (e->out.len > OUT_MAX || buf_append(&e->out, r, sizeof(*r)) < 0) {
		struct farmem_event ev = { .kind = FARMEM_LOST, .target = t, .ctx = t->ctx, .error = -ENOBUFS, .why = "hearth-pager does not take what it is asked for" };

		later(e, &ev);
		return;
	}
	push(e);
}

static void ask(struct farmem_target *t, enum pager_op op, uint32_t arg, uint64_t bytes)
{
	struct pager_request r = { .version = PAGER_VERSION, .op = (uint16_t)op, .arg = arg, .tag = t->tag, .bytes = bytes };

	send_request(t, &r);
}

/* ---- connection ---- */

static int connect_to(struct farmem_engine *e)
{
	struct pager_request running = { .version = PAGER_VERSION, .op = PAGER_RUNNING };
	struct epoll_event ev = { .events = EPOLLIN };
	int fd = sock_unix_connect_packets(e->socket), r;

	if (fd < 0)
		return fd;
	r = fd_set_nonblock(fd, true);
	if (r == 0 && epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	/* without it what runs is known a little late */
	(void)sock_packet_send(fd, &running, sizeof(running), e->running_fd, false);
	e->fd = fd;
	e->wants_room = false;
	e->down = false;
	return 0;
}

#define RUNNING_BYTES (PAGER_TARGETS_MAX * sizeof(uint32_t))

static int make_running(struct farmem_engine *e)
{
	e->running_fd = memfd_create("hearth-running", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (e->running_fd < 0 || ftruncate(e->running_fd, RUNNING_BYTES) < 0 || fcntl(e->running_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	e->running = mmap(NULL, RUNNING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, e->running_fd, 0);
	if (e->running != MAP_FAILED)
		return 0;
	e->running = NULL;
	return -errno;
}

static void change_running(const struct farmem_target *t, uint32_t by)
{
	if (t->word < PAGER_TARGETS_MAX)
		__atomic_fetch_add(&t->e->running[t->word], by, __ATOMIC_RELEASE);
}

static unsigned take_word(struct farmem_engine *e)
{
	unsigned k = 0;

	while (k < PAGER_TARGETS_MAX && e->word_taken[k])
		k++;
	if (k < PAGER_TARGETS_MAX) {
		e->word_taken[k] = true;
		__atomic_store_n(&e->running[k], 0, __ATOMIC_RELEASE);
	}
	return k;
}

static struct farmem_engine *uffd_close(struct farmem_engine *e)
{
	if (!e)
		return NULL;
	while (e->targets) {
		struct farmem_target *t = e->targets;

		e->targets = t->next;
		free(t);
	}
	buf_done(&e->out);
	buf_done(&e->events);
	fd_close(&e->fd);
	fd_close(&e->bell);
	fd_close(&e->epoll_fd);
	if (e->running)
		munmap(e->running, RUNNING_BYTES);
	fd_close(&e->running_fd);
	free(e);
	return NULL;
}

static int uffd_open(const struct farmem_options *options, struct farmem_engine **ret, struct hearth_err *err)
{
	struct farmem_engine *e = calloc(1, sizeof(*e));
	struct epoll_event ev = { .events = EPOLLIN };
	int r;

	if (!e)
		return err_set(err, -ENOMEM, "out of memory");
	snprintf(e->socket, sizeof(e->socket), "%s", options->socket);
	snprintf(e->preload, sizeof(e->preload), "LD_PRELOAD=%s/libhearth-warm.so", options->libexec_dir);
	e->fd = e->running_fd = -1;
	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	e->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = e->epoll_fd < 0 || e->bell < 0 || epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->bell, &ev) < 0 ? -errno : 0;
	if (r == 0)
		r = make_running(e);
	if (r < 0) {
		uffd_close(e);
		return err_set(err, r, "cannot make what events are told with: %s", strerror(-r));
	}
	e->down = true;                 /* until `again` */
	*ret = e;
	return 0;
}

static int uffd_fd(const struct farmem_engine *e)
{
	return e->epoll_fd;
}

/* what had been asked for and is not known to have been done */
static void say_again(struct farmem_target *t)
{
	struct farmem_event ev = { .target = t, .ctx = t->ctx, .flag = true };

	send_request(t, &t->attach);
	for (unsigned k = 0; k < t->requests; k++)
		ask(t, PAGER_BEGIN, 0, 0);
	for (unsigned k = 0; k < FARMEM_SEGMENTS; k++)
		if (t->barrier[k])
			ask(t, PAGER_BARRIER, k, 0);
	if (t->refreshing)
		ask(t, PAGER_REFRESH, 0, 0);
	if (t->detaching)
		ask(t, PAGER_DETACH, t->how, 0);
	/* these end here: whoever wants more asks for it */
	ev.kind = FARMEM_OFFLOADED;
	ev.error = -EAGAIN;
	for (unsigned k = 0; k < t->cancelled + t->offloading && !t->detaching; k++)
		later(t->e, &ev);
	t->cancelled = 0;
	ev.kind = FARMEM_PREFETCHED;
	ev.error = 0;
	if (t->prefetching && !t->detaching)
		later(t->e, &ev);
	t->offloading = t->prefetching = false;
}

static int uffd_again(struct farmem_engine *e, struct hearth_err *err)
{
	struct farmem_event up = { .kind = FARMEM_ENGINE_UP };
	int r = e->fd >= 0 ? 0 : connect_to(e);

	if (r < 0)
		return err_set(err, r, "cannot reach hearth-pager at %s: %s", e->socket, strerror(-r));
	later(e, &up);
	for (struct farmem_target *t = e->targets; t; t = t->next)
		say_again(t);
	return 0;
}

/* Return: 0 its last process has let go of the connection, -ETIMEDOUT, -errno */
static int wait_closed(int fd, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd };
	int n;

	do {
		uint64_t now = clock_mono_ns();

		n = poll(&p, 1, now < deadline_ns ? (int)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS) : 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

/*
 * No process is asked for by its number: any of the three may have been killed, and others may have the number by now. Whoever has the socket is asked, or will be, and none is left when nobody has it: a worker that is
 * killed closes connections too, but another one goes on with what it was asked for.
 */
static int uffd_end(struct farmem_engine *e, unsigned max_ms)
{
	const struct pager_request stop = { .version = PAGER_VERSION, .op = PAGER_STOP };
	uint64_t deadline = clock_mono_ns() + max_ms * NS_PER_MS;

	for (unsigned asked = 0; asked < ASKED_MAX; asked++) {
		FD_AUTO int fd = sock_unix_connect_packets_now(e->socket);
		int r;

		if (fd < 0)
			return fd == -ENOENT || fd == -ECONNREFUSED ? 0 : fd;
		(void)sock_packet_send(fd, &stop, sizeof(stop), -1, false);
		r = wait_closed(fd, deadline);
		if (r < 0)
			return r;
	}
	return -EPROTO;
}

static const char *const *uffd_environment(struct farmem_engine *e, const char *name)
{
	snprintf(e->instance, sizeof(e->instance), WARM_ENV "=%s", name);
	e->env[0] = e->preload;
	e->env[1] = e->instance;
	return e->env;
}

/* ---- events ---- */

static struct farmem_target **find(struct farmem_engine *e, uint64_t tag)
{
	struct farmem_target **at = &e->targets;

	while (*at && (*at)->tag != tag)
		at = &(*at)->next;
	return at;
}

static void take_out(struct farmem_engine *e, struct farmem_target *t)
{
	struct farmem_target **at = find(e, t->tag);

	*at = t->next;
	if (t->word < PAGER_TARGETS_MAX)
		e->word_taken[t->word] = false;
	free(t);
}

/* Each offload that was cancelled, and the one after it, has an end; the pager tells one for all that it had heard of. */
static void note_offloaded(struct farmem_engine *e, struct farmem_target *t, const struct pager_event *p, struct farmem_event *ret)
{
	struct farmem_event more = { .kind = FARMEM_OFFLOADED, .target = t, .ctx = t->ctx, .flag = true };
	bool last = p->flag && t->offloading && p->segment == t->offloads;
	unsigned ends = p->flag ? t->cancelled + last : 0;

	ret->segment = 0;
	ret->flag = ends > 0;
	for (unsigned k = 1; k < ends; k++)
		later(e, &more);
	if (p->flag)
		t->cancelled = 0;
	t->offloading &= !last;
}

/* Return: it is to be told */
static bool note(struct farmem_engine *e, struct farmem_target *t, const struct pager_event *p, struct farmem_event *ret)
{
	switch ((enum farmem_event_kind)p->kind) {
	case FARMEM_ATTACHED:
		/* of a pager that was started anew, nothing was heard of it being away */
		if (t->attached)
			return false;
		t->attached = true;
		return true;
	case FARMEM_REFUSED:
		if (t->attached && !t->detaching) {
			ret->kind = FARMEM_LOST;        /* the handle stays until it is detached */
			return true;
		}
		if (t->detaching)
			ret->kind = FARMEM_DETACHED;
		take_out(e, t);
		return true;
	case FARMEM_DETACHED:
		take_out(e, t);
		return true;
	case FARMEM_BARRIER:
		t->barrier[p->segment % FARMEM_SEGMENTS] = false;
		return true;
	case FARMEM_OFFLOADED:
		note_offloaded(e, t, p, ret);
		return true;
	case FARMEM_PREFETCHED:
		t->prefetching = false;
		return true;
	case FARMEM_STAT:
		t->refreshing = false;
		e->stat = p->stat;
		ret->stat = &e->stat;
		return true;
	default:
		return true;
	}
}

static void gone(struct farmem_engine *e)
{
	fd_close(&e->fd);
	buf_reset(&e->out);
	e->down = true;
}

static int received(struct farmem_engine *e, struct farmem_event *ret)
{
	struct pager_event p;
	int passed;

	for (;;) {
		ssize_t n = e->fd < 0 ? -EAGAIN : sock_packet_recv(e->fd, &p, sizeof(p), &passed, false);
		struct farmem_target *t;

		if (n == -EAGAIN)
			return 0;
		fd_close(&passed);
		if (n != sizeof(p) || p.version != PAGER_VERSION) {
			gone(e);
			*ret = (struct farmem_event){ .kind = FARMEM_ENGINE_DOWN };
			return 1;
		}
		t = *find(e, p.tag);
		if (!t)
			continue;
		*ret = (struct farmem_event){ .kind = p.kind, .target = t, .ctx = t->ctx, .segment = p.segment, .bytes = p.bytes, .waited_ns = p.waited_ns, .flag = p.flag != 0, .error = p.error };
		snprintf(ret->why, sizeof(ret->why), "%.*s", (int)sizeof(p.why) - 1, p.why);
		if (note(e, t, &p, ret))
			return 1;
	}
}

static int uffd_next(struct farmem_engine *e, struct farmem_event *ret)
{
	uint64_t n;

	push(e);
	while (e->events.len >= sizeof(*ret)) {
		memcpy(ret, buf_head(&e->events), sizeof(*ret));
		buf_consume(&e->events, sizeof(*ret));
		return 1;
	}
	(void)!read(e->bell, &n, sizeof(n));
	return received(e, ret);
}

/* ---- operations ---- */

static int uffd_attach(struct farmem_engine *e, const struct farmem_attach *what, struct farmem_target **ret, struct hearth_err *err)
{
	struct farmem_target *t = calloc(1, sizeof(*t));
	uint64_t starttime = 0;
	int r = t ? proc_starttime(what->pid, &starttime) : -ENOMEM;

	if (e->fd < 0) {
		free(t);
		return err_set(err, -ENOTCONN, "hearth-pager is not there");
	}
	if (r < 0) {
		free(t);
		return err_set(err, r, "cannot look at process %d: %s", (int)what->pid, strerror(-r));
	}
	t->e = e;
	t->tag = ++e->tags;
	t->ctx = what->ctx;
	t->word = take_word(e);
	t->attach = (struct pager_request){ .version = PAGER_VERSION, .op = PAGER_ATTACH, .arg = t->word, .tag = t->tag, .starttime = starttime, .pid = what->pid, .object = what->object };
	snprintf(t->attach.name, sizeof(t->attach.name), "%s", what->name);
	t->next = e->targets;
	e->targets = t;
	send_request(t, &t->attach);
	*ret = t;
	return 0;
}

static void uffd_barrier(struct farmem_target *t, enum farmem_segment segment)
{
	t->barrier[segment] = true;
	ask(t, PAGER_BARRIER, segment, 0);
}

static void uffd_offload(struct farmem_target *t, unsigned segments, uint64_t bytes)
{
	struct pager_request r = { .version = PAGER_VERSION, .op = PAGER_OFFLOAD, .arg = segments, .tag = t->tag, .bytes = bytes, .number = ++t->offloads };

	t->offloading = true;
	send_request(t, &r);
}

static void uffd_cancel(struct farmem_target *t)
{
	t->cancelled += t->offloading;
	t->offloading = false;
	ask(t, PAGER_CANCEL, 0, 0);
}

static void uffd_prefetch(struct farmem_target *t, uint64_t bytes, uint64_t patience_ns)
{
	struct pager_request r = { .version = PAGER_VERSION, .op = PAGER_PREFETCH, .tag = t->tag, .bytes = bytes, .patience_ns = patience_ns };

	t->prefetching = true;
	send_request(t, &r);
}

static void uffd_rollback(struct farmem_target *t)
{
	ask(t, PAGER_ROLLBACK, 0, 0);
}

static void uffd_request_begin(struct farmem_target *t)
{
	t->requests++;
	change_running(t, 1);
	ask(t, PAGER_BEGIN, 0, 0);
}

static void uffd_request_end(struct farmem_target *t)
{
	if (t->requests) {
		t->requests--;
		change_running(t, (uint32_t)-1);
	}
	ask(t, PAGER_END, 0, 0);
}

static void uffd_refresh(struct farmem_target *t)
{
	t->refreshing = true;
	ask(t, PAGER_REFRESH, 0, 0);
}

static void uffd_detach(struct farmem_target *t, enum farmem_detach_how how)
{
	t->detaching = true;
	t->how = how;
	ask(t, PAGER_DETACH, how, 0);
}

const struct farmem_ops farmem_uffd_engine = {
	.name = "uffd",
	.probe = uffd_probe,
	.open = uffd_open,
	.close = uffd_close,
	.fd = uffd_fd,
	.next = uffd_next,
	.again = uffd_again,
	.end = uffd_end,
	.environment = uffd_environment,
	.attach = uffd_attach,
	.barrier = uffd_barrier,
	.offload = uffd_offload,
	.cancel = uffd_cancel,
	.prefetch = uffd_prefetch,
	.rollback = uffd_rollback,
	.request_begin = uffd_request_begin,
	.request_end = uffd_request_end,
	.refresh = uffd_refresh,
	.detach = uffd_detach,
};
