/* SPDX-License-Identifier: Apache-2.0 */
#include "space.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"

#define EVENTS_MAX 64                   /* of one space, before others have a turn */
#define FORGET_AT DEPOT_PAGES
#define FORGET_MOST (16 * FORGET_AT)    /* where somebody will soon do it without the space's lock, */
#define FORGET_SOME 64                  /* so many at a time: whoever reads of the store waits for it */
#define ZERO_BYTES (64ull << 10)
#define FORGET_MAX_MS 1000
#define WHOLE_END 0x7fffffffe000ull     /* of the addresses that programs have */

static const uint8_t zeros[PAGE_BYTES] __attribute__((aligned(4096)));

int pages_add(struct pages *p, uint64_t v)
{
	if (array_grow((void **)&p->v, &p->cap, p->n + 1, sizeof(*p->v)) < 0)
		return -ENOMEM;
	p->v[p->n++] = v;
	return 0;
}

void pages_done(struct pages *p)
{
	free(p->v);
	*p = (struct pages){ 0 };
}

bool space_recording(const struct space *s)
{
	const struct target *t = space_target(s);
	const uint32_t *running = __atomic_load_n(&t->running, __ATOMIC_ACQUIRE);

	return __atomic_load_n(running ? running : &t->st->requests, __ATOMIC_ACQUIRE) != 0;
}

struct target *space_target(const struct space *s)
{
	return &s->p->targets[s->st->target];
}

struct farmem_object space_object(const struct space *s)
{
	struct farmem_object o = space_target(s)->st->object;

	o.instance = s->st->store_instance;
	return o;
}

void space_bell(struct space *s)
{
	(void)!write(s->p->bell, &(uint64_t){ 1 }, sizeof(uint64_t));
	s->wants = true;
	if (s->home)
		worker_ring(s->home);
}

/* ---- what the pool can forget ---- */

/* children refer to the same pages; they are few, and only until they have all of theirs. Their places are taken and given back with the pager's lock, but a glance at them needs none. */
bool space_children(const struct space *s)
{
	const struct state *state = s->p->state;

	for (size_t k = 0; k < SPACES_MAX; k++) {
		const struct space_state *c = &state->spaces[k];

		if (__atomic_load_n(&c->used, __ATOMIC_ACQUIRE) && c != s->st && c->target == s->st->target && c->store_instance == s->st->store_instance)
			return true;
	}
	return false;
}

void space_forget(struct space *s, uint64_t id)
{
	/* without memory for the list the page stays in the pool until the instance ends */
	if (id && pages_add(&s->dead, id) == 0 && s->dead.n >= (s->fetches ? FORGET_MOST : FORGET_AT))
		space_flush(s);
}

struct forgetting {
	struct depot_op op;
	uint64_t id[DEPOT_PAGES];
};

static void forgotten(struct depot_op *op)
{
	free(op->ctx);
}

/* Return: to be submitted; NULL: nothing can be forgotten now */
static struct forgetting *to_forget(struct space *s, unsigned most)
{
	unsigned n = s->dead.n < most ? (unsigned)s->dead.n : most;
	struct forgetting *f;

	/* a child's pages are its parent's */
	if (s->st->forked)
		s->dead.n = 0;
	if (!s->dead.n || space_children(s))
		return NULL;
	f = malloc(sizeof(*f));
	if (!f)
		return NULL;
	s->dead.n -= n;
	memcpy(f->id, s->dead.v + s->dead.n, n * sizeof(f->id[0]));
	f->op = (struct depot_op){ .kind = DEPOT_DEL, .object = space_object(s), .ids = f->id, .n = n, .done = forgotten, .ctx = f };
	return f;
}

static void forget(struct pager *p, struct forgetting *f)
{
	if (depot_submit(p->depot, &f->op))
		forgotten(&f->op);
}

void space_flush(struct space *s)
{
	struct forgetting *f;

	while ((f = to_forget(s, DEPOT_PAGES)))
		forget(s->p, f);
}

void space_flush_some(struct space *s)
{
	struct forgetting *f = s->dead.n >= FORGET_SOME ? to_forget(s, FORGET_SOME) : NULL;

	if (!f)
		return;
	pthread_mutex_unlock(&s->lock);
	forget(s->p, f);
	pthread_mutex_lock(&s->lock);
}

/* ---- memory that is lost ---- */

void space_lost(struct space *s, int error, const char *why)
{
	struct target_state *t = space_target(s)->st;

	if (!t->lost) {
		snprintf(t->why, sizeof(t->why), "%s", why);
		__atomic_store_n(&t->lost, error, __ATOMIC_RELEASE);
		log_error("instance %s: memory is lost: %s; it is ended", t->name, why);
	}
	space_bell(s);
}

/* whoever touches it gets a signal; where the kernel cannot do that, the process ends now. It must not wait for ever either. */
static void poison(struct space *s, uint64_t address)
{
	struct uffdio_poison po = { .range = { address, PAGE_BYTES } };

	if (ioctl(s->st->uffd, UFFDIO_POISON, &po) == 0 || errno == EEXIST)
		fetch_wake(s, address);
	else if (errno == EAGAIN)
		space_park(s, address);
	else if (s->pidfd >= 0)
		(void)pidfd_signal(s->pidfd, SIGKILL);
}

/* ---- faults that wait for an event ---- */

/*
 * Nothing can be copied in while a change of the address space waits to be read, and the kernel tells of faults before it tells of changes: whoever is sent back to touch its page again is told of again, first.
 * So these wait until there is nothing more to read.
 */
void space_park(struct space *s, uint64_t address)
{
	if (pages_add(&s->parked, address) < 0)
		fetch_wake(s, address);
	s->wants = true;
}

static void wake_parked(struct space *s)
{
	for (size_t k = 0; k < s->parked.n; k++)
		fetch_wake(s, s->parked.v[k]);
	s->parked.n = 0;
}

/* ---- events ---- */

static bool drop_one(void *ctx, uint64_t address, uint64_t entry)
{
	struct space *s = ctx;

	if (entry_state(entry) == PAGE_REMOTE)
		space_forget(s, entry_id(entry));
	(void)where_set(&s->where, address, 0);
	return true;
}

static void drop(struct space *s, uint64_t start, uint64_t end)
{
	where_each_in(&s->where, start, end, drop_one, s);
}

static void on_remap(struct space *s, uint64_t from, uint64_t to, uint64_t len)
{
	struct batch *b = &s->st->batch;

	if (where_move(&s->where, from, to, len) < 0)
		space_lost(s, -ENOSPC, "its address space is spread too widely for the pager's index");
	for (uint32_t k = 0; b->phase && k < b->n; k++)
		if (b->address[k] >= from && b->address[k] < from + len)
			b->address[k] += to - from;
}

/* those that a child was promised as zeros */
static void drop_wiped(struct space *child, pid_t parent)
{
	unsigned long long start = 0, end = 0;
	char path[64], *line = NULL;
	size_t cap = 0;
	FILE *smaps;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)parent);
	smaps = fopen(path, "re");
	while (smaps && getline(&line, &cap, smaps) > 0) {
		unsigned long long a, b;

		if (sscanf(line, "%llx-%llx ", &a, &b) == 2) {
			start = a;
			end = b;
		} else if (!strncmp(line, "VmFlags:", 8) && strstr(line, " wf")) {
			drop(child, start, end);
		}
	}
	free(line);
	if (smaps)
		fclose(smaps);
}

/* pages on their way out are with us: they come back into the child now */
static void give_leaving(struct space *s, struct space *child)
{
	const struct batch *b = &s->st->batch;

	for (uint32_t k = 0; b->phase == BATCH_MOVED && s->buf && k < b->n; k++) {
		if (entry_state(where_get(&child->where, b->address[k])) != PAGE_LEAVING)
			continue;
		(void)where_set(&child->where, b->address[k], 0);
		(void)fetch_copy(child, b->address[k], s->buf + k * PAGE_BYTES, 1, 0);
	}
}

static struct space *free_space(struct pager *p)
{
	for (size_t k = 0; k < SPACES_MAX; k++)
		if (!p->state->spaces[k].used && pthread_mutex_trylock(&p->spaces[k].lock) == 0) {
			if (!p->state->spaces[k].used)
				return &p->spaces[k];
			pthread_mutex_unlock(&p->spaces[k].lock);
		}
	return NULL;
}

static bool known_uffd(const struct pager *p, int uffd)
{
	for (size_t k = 0; k < SPACES_MAX; k++)
		if (p->state->spaces[k].used && p->state->spaces[k].uffd == uffd)
			return true;
	return false;
}

/* A child has its parent's pages under the same ids. All of them come back to it, and then it is left alone: it has no helper. */
static int on_fork(struct space *s, int uffd)
{
	struct space *c;
	int fd, r;

	if (known_uffd(s->p, uffd))
		return 0;                       /* the worker before this one came as far as this */
	fd = where_create();
	c = free_space(s->p);
	if (!c || fd < 0) {
		r = fd < 0 ? fd : -EMFILE;
		if (c)
			pthread_mutex_unlock(&c->lock);
		fd_close(&fd);
		return r;
	}
	c->p = s->p;
	*c->st = (struct space_state){ .generation = c->st->generation + 1, .target = s->st->target, .forked = 1, .uffd = uffd, .conn = -1, .index_fd = fd,
		.store_instance = s->st->store_instance };
	r = space_open(s->p, c);
	if (r == 0)
		r = where_copy(&s->where, &c->where);
	if (r == 0) {
		drop_wiped(c, s->st->pid);
		give_leaving(s, c);
		__atomic_store_n(&c->st->used, 1, __ATOMIC_RELEASE);
		(void)step("pager-forked");
		r = fetch_begin(c, true, UINT64_MAX, 0);
	}
	if (r == 0)
		r = worker_adopt(c);
	if (r < 0)
		space_close(c);
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* Return: 0, or -errno: its memory can't be kept right any more */
static int on_event(struct space *s, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_FORK:
		out_cancel(s);
		return on_fork(s, (int)m->arg.fork.ufd);
	case UFFD_EVENT_REMAP:
		on_remap(s, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
		return 0;
	case UFFD_EVENT_REMOVE:
		drop(s, m->arg.remove.start, m->arg.remove.end);
		/* the kernel takes the pages away after it has been told that we know: until that is done none of them may be moved to where it does not look */
		return look_spans_add(&s->quarantine, m->arg.remove.start, m->arg.remove.end);
	case UFFD_EVENT_UNMAP:
		drop(s, m->arg.remove.start, m->arg.remove.end);
		return 0;
	}
	return 0;
}

/* ---- faults ---- */

/* how many pages from one on are nobody's, inside of its window */
static uint64_t untouched(const struct space *s, uint64_t address)
{
	uint64_t end = (address & ~(ZERO_BYTES - 1)) + ZERO_BYTES, a = address + PAGE_BYTES;

	while (a < end && entry_state(where_get(&s->where, a)) == PAGE_UNKNOWN)
		a += PAGE_BYTES;
	return (a - address) / PAGE_BYTES;
}

static int map_zeros(struct space *s, uint64_t from, uint64_t pages)
{
	struct uffdio_zeropage z = { .range = { from, pages * PAGE_BYTES }, .mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE };

	return ioctl(s->st->uffd, UFFDIO_ZEROPAGE, &z) < 0 && z.zeropage <= 0 ? -errno : 0;
}

/*
 * A page that was never written, or that the process has thrown away. Those behind it are mapped too, as the kernel's own page of zeros, which takes no memory: who goes on there makes a page of it
 * without coming here.
 */
static void zero_page(struct space *s, uint64_t address, bool write)
{
	uint64_t pages = untouched(s, address);
	int r = 0;

	if (write)
		r = fetch_copy(s, address, zeros, 1, UFFDIO_COPY_MODE_DONTWAKE);
	if (r >= 0 && (!write || pages > 1)) {
		int error = map_zeros(s, address + (write ? PAGE_BYTES : 0), pages - write);

		/* where they end is not where its mapping does */
		if (error == -ENOENT && !write)
			error = map_zeros(s, address, 1);
		r = write ? 0 : error;
	}
	s->st->figures.zero_faults++;
	if (r == -ESRCH || r == -ENOSPC)
		space_gone(s);
	else if (r == -EAGAIN)
		space_park(s, address);
	else if (r < 0)
		fetch_wake(s, address);         /* it is there, or its mapping is not */
	else
		s->answered = (struct look_span){ address, address + PAGE_BYTES };
}

static void on_fault(struct space *s, struct worker *w, const struct uffd_msg *m)
{
	uint64_t address = m->arg.pagefault.address & ~(PAGE_BYTES - 1), entry = where_get(&s->where, address);
	int at, r;

	if (m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		fetch_wake(s, address);         /* nothing is protected by us */
		return;
	}
	s->same_thread = m->arg.pagefault.feat.ptid == s->last_thread ? s->same_thread + 1 : 0;
	s->last_thread = m->arg.pagefault.feat.ptid;
	if (s->faults_until_look-- == 0)
		worker_settle(s);
	switch (entry_state(entry)) {
	case PAGE_REMOTE:
		fetch_fault(s, w, address);
		break;
	case PAGE_LEAVING:
		at = out_leaving(s, address);
		r = at < 0 ? -EAGAIN : fetch_copy(s, address, s->buf + (size_t)at * PAGE_BYTES, 1, 0);
		if (r > 0)
			(void)where_set(&s->where, address, entry_with_id(entry_with_state(entry, PAGE_LOCAL), 0) | ENTRY_USED);
		else if (r == -EAGAIN)
			space_park(s, address);
		else
			fetch_wake(s, address);
		break;
	case PAGE_LOST:
		poison(s, address);
		break;
	default:
		zero_page(s, address, m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE);
	}
}

void space_readable(struct space *s, struct worker *w)
{
	struct uffd_msg *m = &s->st->event;
	int r = 0;

	/* what was begun before an event is read is before it, or fails; what is begun after it has been dealt with is of what the index says then */
	share_copies_end(s);
	for (int k = 0; k < EVENTS_MAX && !s->held && !s->waits && !s->gone; k++) {
		/* straight into what outlives us: the kernel has told of it by the time it lets us be killed */
		ssize_t n = read(s->st->uffd, m, sizeof(*m));

		if (n != sizeof(*m)) {
			if (n < 0 && errno != EAGAIN && errno != EINTR)
				space_gone(s);
			wake_parked(s);
			return;
		}
		fetch_answered(s);
		(void)step(m->event == UFFD_EVENT_PAGEFAULT ? "pager-fault" : "pager-event");
		if (m->event == UFFD_EVENT_PAGEFAULT)
			on_fault(s, w, m);
		else
			r = on_event(s, m);
		m->event = 0;
		if (r < 0) {
			space_lost(s, r, "the pager has no room to follow a change of its memory");
			if (s->pidfd >= 0)
				(void)pidfd_signal(s->pidfd, SIGKILL);
			return;
		}
	}
}

/* ---- life ---- */

int space_open(struct pager *p, struct space *s)
{
	unsigned top = (unsigned)(s - p->spaces) + 1, now = __atomic_load_n(&p->spaces_top, __ATOMIC_RELAXED);
	int r = where_open(&s->where, s->st->index_fd);

	while (now < top && !__atomic_compare_exchange_n(&p->spaces_top, &now, top, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	s->p = p;
	s->pidfd = s->st->pid ? pidfd_of(s->st->pid) : -1;
	s->pagemap = -1;
	s->gone = s->held = s->waits = s->querying = false;
	s->wants = false;
	s->fetches = 0;
	share_stop(s);
	s->faults_until_look = s->look_every = 0;
	s->windows = s->dense = s->tried = s->tried_used = 0;
	memset(s->stream, 0, sizeof(s->stream));
	s->answered = (struct look_span){ 0 };
	s->live = r == 0;
	return r;
}

void space_close(struct space *s)
{
	worker_leave(s);
	where_close(&s->where);
	fd_close(&s->pidfd);
	pages_done(&s->out.pages);
	pages_done(&s->in.pages);
	pages_done(&s->dead);
	pages_done(&s->parked);
	look_spans_done(&s->quarantine);
	look_spans_done(&s->maps);
	free(s->buf);
	s->buf = NULL;
	s->out = s->in = (struct job){ 0 };
	s->live = false;
	__atomic_store_n(&s->st->used, 0, __ATOMIC_RELEASE);
	/* numbers of a table that the holder shares: first the place that names them, then they */
	fd_close(&s->st->uffd);
	fd_close(&s->st->conn);
	fd_close(&s->st->index_fd);
}

/* whether a change of its address space waits to be told of, or is about to: the kernel says so before it looks at anything else */
static bool changing(const struct space *s)
{
	struct uffdio_zeropage z = { .range = { s->st->stage - PAGE_BYTES, PAGE_BYTES } };      /* of nobody's */

	return ioctl(s->st->uffd, UFFDIO_ZEROPAGE, &z) < 0 && errno == EAGAIN;
}

static void watch_nothing(struct space *s)
{
	struct look_spans maps = { 0 };

	if (s->st->pid && look_mappings(s->st->pid, s->st->own, OWN_MAX, &maps, NULL) == 0)
		for (size_t k = 0; k < maps.n; k++) {
			struct uffdio_range r = { maps.v[k].start, maps.v[k].end - maps.v[k].start };

			(void)ioctl(s->st->uffd, UFFDIO_UNREGISTER, &r);
		}
	look_spans_done(&maps);
}

/*
 * Of what is not watched any more no change that begins now is told of; but whoever began one before waits until it has been read. A fork would wait for ever: its child has the helper's userfaultfd already,
 * which therefore is not released when we and the helper have closed it.
 * Return: there was one, and it has been read
 */
static bool read_the_last(struct space *s, uint64_t until_ns)
{
	bool changed = changing(s);

	do {
		space_readable(s, s->home);
		fetch_answered(s);
		if (s->gone || !changing(s))
			return changed && !s->gone;
	} while (poll(&(struct pollfd){ .fd = s->st->uffd, .events = POLLIN }, 1, 1) >= 0 && clock_mono_ns() < until_ns);
	return false;
}

void space_let_go(struct space *s)
{
	struct warm_msg m = { .version = WARM_VERSION, .op = WARM_FORGET };
	uint64_t until_ns = clock_mono_ns() + FORGET_MAX_MS * NS_PER_MS;

	/* what was on its way to another place when its mappings were looked at is watched there still: where that is, is known once the change has been read */
	do
		watch_nothing(s);
	while (read_the_last(s, until_ns) && clock_mono_ns() < until_ns);
	/* its helper closes the userfaultfd, then the connection: only then may it be checkpointed. One that is stopped answers later; whoever dumps it then is told so by CRIU */
	if (s->st->conn >= 0 && sock_packet_send(s->st->conn, &m, WARM_HEAD, -1, false) == 0)
		(void)poll(&(struct pollfd){ .fd = s->st->conn, .events = POLLRDHUP }, 1, FORGET_MAX_MS);
}

void space_recover(struct space *s)
{
	struct uffdio_range all = { .start = 1 << 16, .len = WHOLE_END - (1 << 16) };
	int r = look_spans_add(&s->quarantine, 0, WHOLE_END);

	out_read(s);
	if (r == 0 && s->st->event.event && s->st->event.event != UFFD_EVENT_PAGEFAULT)
		r = on_event(s, &s->st->event);
	s->st->event.event = 0;
	if (r < 0)
		space_lost(s, r, "the pager has no room to follow a change of its memory");
	out_recover(s);
	/* faults that were read and not answered are raised again */
	(void)ioctl(s->st->uffd, UFFDIO_WAKE, &all);
	if (s->st->forked && fetch_begin(s, true, UINT64_MAX, 0) < 0)
		log_warn("a forked child's memory comes back as it is touched: out of memory");
}
