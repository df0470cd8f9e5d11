/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that leave. A batch: marked in the index (PAGE_LEAVING), registered, moved by the process's helper to its stage, read from there, put into the pool, marked as remote; then the stage is dropped.
 * While the helper moves, no event of the userfaultfd is read: the kernel moves only if none is waiting, so what was moved is what the index said. docs/adr/0022-pager.md has the proof.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/pagemap.h"
#include "space.h"

#define BUCKETS (3 * FARMEM_SEGMENTS)   /* not in the working set; perhaps; in it */
#define YIELD_NS (20 * NS_PER_MS)       /* a batch leaves after so long, however many wait for a processor */

struct put {
	struct depot_op op;
	struct space *s;
	uint64_t seq;
	unsigned n;
	uint64_t id[WARM_PAGES];
	void *page[WARM_PAGES];
	int status[WARM_PAGES];
};

static bool bit(const uint64_t *set, unsigned k) { return set[k / 64] >> (k % 64) & 1; }

/* ---- what there is ---- */

/* what no barrier has closed yet counts as EXECUTION's */
static void take_in(struct space *s, const struct look_spans *runs)
{
	for (size_t k = 0; k < runs->n; k++)
		for (uint64_t a = runs->v[k].start; a < runs->v[k].end; a += PAGE_BYTES) {
			uint64_t entry = where_get(&s->where, a);

			/* without room in the index the page stays */
			if (entry_state(entry) == PAGE_UNKNOWN)
				(void)where_set(&s->where, a, PAGE_LOCAL | FARMEM_EXECUTION << ENTRY_SEGMENT_SHIFT);
		}
}

struct closing {
	struct space *s;
	enum farmem_segment segment;
};

static bool close_one(void *ctx, uint64_t address, uint64_t entry)
{
	const struct closing *c = ctx;

	if (!(entry & ENTRY_SEGMENT_KNOWN))
		(void)where_set(&c->s->where, address, entry_with_segment(entry, c->segment));
	return true;
}

int out_barrier(struct space *s, enum farmem_segment segment)
{
	struct closing c = { s, segment };
	int r = out_scan(s, NULL, NULL);

	if (r == 0)
		where_each(&s->where, close_one, &c);
	return r;
}

int out_scan(struct space *s, struct look_spans *ret, uint64_t uncovered[LOOK_REASONS])
{
	struct look_spans *maps = &s->maps, runs = { 0 };
	int r = look_mappings(s->st->pid, s->st->own, OWN_MAX, maps, uncovered);
	FD_AUTO int pagemap = pagemap_open(s->st->pid);        /* opened anew: after an exec it would show what was before */

	if (r == 0 && pagemap < 0)
		r = pagemap;
	for (size_t k = 0; k < maps->n && r == 0; k++)
		r = look_present(pagemap, maps->v[k], &runs);
	if (r == 0)
		take_in(s, &runs);
	if (r == 0 && ret)
		*ret = runs;
	else
		look_spans_done(&runs);
	return r;
}

/* ---- which leave ---- */

static bool quarantined(const struct space *s, uint64_t address)
{
	for (size_t k = 0; k < s->quarantine.n; k++)
		if (address >= s->quarantine.v[k].start && address < s->quarantine.v[k].end)
			return true;
	return false;
}

static unsigned bucket_of(uint64_t entry)
{
	return entry_segment(entry) + (entry & ENTRY_USED ? 2 * FARMEM_SEGMENTS : entry & ENTRY_BESIDE ? FARMEM_SEGMENTS : 0);
}

/* When segments leave, what requests use stays: the same ones would only touch it again. Of what came along with it a part is tried at a time, as the next request waits for each page of that that it needs. */
static bool may_leave(struct space *s, unsigned segments, uint64_t address, uint64_t *entry)
{
	if (entry_state(*entry) != PAGE_LOCAL || !(segments & FARMEM_SEGMENT_BIT(entry_segment(*entry))) || quarantined(s, address))
		return false;
	if (!(*entry & ENTRY_SET) || segments & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION))
		return true;
	return fetch_try(s, address, entry);
}

/* the coldest first: what no request has used since it was last away, by age; then what one may have used; then what one has */
static int choose(struct space *s, const struct look_spans *runs, unsigned segments, uint64_t max)
{
	struct pages *out = &s->out.pages;
	int r = 0;

	for (unsigned b = 0; b < BUCKETS; b++)
		for (size_t k = 0; k < runs->n; k++)
			for (uint64_t a = runs->v[k].start; a < runs->v[k].end && r == 0; a += PAGE_BYTES) {
				uint64_t entry = where_get(&s->where, a);

				if (out->n == max)
					return 0;
				if (bucket_of(entry) == b && may_leave(s, segments, a, &entry))
					r = pages_add(out, a);
			}
	return r;
}

int out_begin(struct space *s, unsigned segments, uint64_t bytes)
{
	struct look_spans runs = { 0 };
	uint64_t left = s->out.active ? s->out.pages.n - s->out.pages.at : 0, pages = bytes / PAGE_BYTES;
	int r;

	if (s->st->forked || s->st->conn < 0 || space_children(s))
		return -EBUSY;
	if (s->quarantine.n && look_outside(s->st->pid))
		s->quarantine.n = 0;
	r = out_scan(s, &runs, NULL);
	s->out.pages.n = s->out.pages.at = 0;
	if (!(segments & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION)))
		fetch_turn(s);
	if (r == 0)
		r = choose(s, &runs, segments, pages > SIZE_MAX - left ? SIZE_MAX : pages + left);
	look_spans_done(&runs);
	if (r == 0) {
		s->out.active = true;
		space_bell(s);
	}
	return r;
}

void out_cancel(struct space *s)
{
	s->out.pages.n = s->out.pages.at = 0;
}

int out_leaving(const struct space *s, uint64_t address)
{
	const struct batch *b = &s->st->batch;

	for (uint32_t k = 0; b->phase == BATCH_MOVED && s->buf && k < b->n; k++)
		if (b->address[k] == address && bit(b->moved, k))
			return (int)k;
	return -1;
}

/* ---- a batch ---- */

static int send_helper(struct space *s, struct warm_msg *m)
{
	m->version = WARM_VERSION;
	return sock_packet_send(s->st->conn, m, WARM_HEAD + m->n * sizeof(m->runs[0]), -1, false);
}

static void runs_of(const struct batch *b, struct warm_msg *m)
{
	for (uint32_t k = 0; k < b->n; k++) {
		struct warm_run *last = m->n ? &m->runs[m->n - 1] : NULL;

		if (last && last->start + last->pages * PAGE_BYTES == b->address[k])
			last->pages++;
		else
			m->runs[m->n++] = (struct warm_run){ b->address[k], 1 };
	}
}

/* what is still of the batch is where it was */
static void stay(struct space *s, uint32_t k)
{
	uint64_t entry = where_get(&s->where, s->st->batch.address[k]);

	if (entry_state(entry) == PAGE_LEAVING)
		(void)where_set(&s->where, s->st->batch.address[k], entry_with_id(entry_with_state(entry, PAGE_LOCAL), 0));
}

static void end_batch(struct space *s)
{
	__atomic_store_n(&s->st->batch.phase, BATCH_NONE, __ATOMIC_RELEASE);
	s->wants = true;
}

static void abandon(struct space *s)
{
	for (uint32_t k = 0; k < s->st->batch.n; k++)
		stay(s, k);
	end_batch(s);
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* a page that is in it twice would be moved once and refused the other time, which says that it stayed: nobody would know where it is */
static uint32_t without_twins(uint64_t *v, uint32_t n)
{
	uint32_t kept = 0;

	for (uint32_t k = 0; k < n; k++)
		if (!kept || v[k] != v[kept - 1])
			v[kept++] = v[k];
	return kept;
}

/* Return: whether there is one */
static bool fill_batch(struct space *s)
{
	struct pages *p = &s->out.pages;
	struct batch *b = &s->st->batch;

	b->n = 0;
	while (p->at < p->n && b->n < WARM_PAGES) {
		uint64_t a = p->v[p->at++];

		if (entry_state(where_get(&s->where, a)) == PAGE_LOCAL && !quarantined(s, a))
			b->address[b->n++] = a;
	}
	if (!b->n)
		return false;
	qsort(b->address, b->n, sizeof(b->address[0]), ascending);
	b->n = without_twins(b->address, b->n);
	b->seq = ++s->st->seq;
	b->first_id = s->st->next_id + 1;
	s->st->next_id += b->n;
	memset(b->moved, 0, sizeof(b->moved));
	return true;
}

static bool registered(struct space *s, uint64_t start, uint64_t end)
{
	struct uffdio_register r = { .range = { start, end - start }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(s->st->uffd, UFFDIO_REGISTER, &r) == 0;
}

/* the whole mapping, or mappings side by side, as they were when they were last looked at: part of one would be another mapping from then on, and mremap(2) of both an error */
static bool mappings_registered(struct space *s, uint64_t start, uint64_t end)
{
	uint64_t at = start;

	for (size_t k = 0; k < s->maps.n && at < end; k++) {
		const struct look_span *map = &s->maps.v[k];

		if (at < map->start || at >= map->end)
			continue;
		if (!registered(s, map->start, map->end))
			return false;
		at = map->end;
	}
	return at >= end;
}

/* Only from mappings whose faults we see. Those that are not what they were, or that somebody else has registered, stay: of a run that is not wholly so, each page for itself. */
static void register_runs(struct space *s, struct warm_msg *m)
{
	struct batch *b = &s->st->batch;
	uint32_t kept = 0, at = 0;
	struct warm_msg all = *m;

	m->n = 0;
	for (uint32_t k = 0; k < all.n; k++) {
		uint64_t start = all.runs[k].start, end = start + all.runs[k].pages * PAGE_BYTES;
		bool whole = mappings_registered(s, start, end) || registered(s, start, end);

		for (uint64_t i = 0; i < all.runs[k].pages; i++, at++) {
			if (whole || registered(s, b->address[at], b->address[at] + PAGE_BYTES))
				b->address[kept++] = b->address[at];
			else
				stay(s, at);
		}
	}
	s->st->figures.fixed_pages += b->n - kept;
	b->n = kept;
	runs_of(b, m);
}

static void ask(struct space *s)
{
	struct warm_msg m = { .op = WARM_OUT, .seq = s->st->batch.seq };
	struct batch *b = &s->st->batch;

	/* of those pages none is still being copied by somebody who found it away, while it came by a fault */
	share_copies_end(s);
	/* nothing that happens to the address space from here on is taken in before the helper has answered */
	worker_hold(s, true);
	__atomic_store_n(&b->phase, BATCH_ASKED, __ATOMIC_RELEASE);
	for (uint32_t k = 0; k < b->n; k++) {
		uint64_t entry = where_get(&s->where, b->address[k]);

		(void)where_set(&s->where, b->address[k], entry_with_id(entry_with_state(entry, PAGE_LEAVING), b->first_id + k));
	}
	runs_of(b, &m);
	register_runs(s, &m);
	for (uint32_t k = 0; k < b->n; k++)     /* some may have been taken out */
		(void)where_set(&s->where, b->address[k], entry_with_id(where_get(&s->where, b->address[k]), b->first_id + k));
	(void)step("pager-asking");
	if (!m.n || send_helper(s, &m) < 0) {
		abandon(s);
		worker_hold(s, false);
		return;
	}
	(void)step("pager-asked");
}

bool out_yields(struct space *s)
{
	uint64_t now_ns;

	if (!s->out.active || s->st->batch.phase != BATCH_NONE || s->held)
		return false;
	now_ns = clock_mono_ns();
	if (now_ns < s->out_due_ns && look_crowded())
		return true;
	s->out_due_ns = now_ns + YIELD_NS;
	return false;
}

bool out_step(struct space *s)
{
	if (s->back_again && !s->held) {
		s->back_again = false;
		out_back(s);
		return false;
	}
	if (!s->out.active || s->st->batch.phase != BATCH_NONE || s->held || s->gone)
		return false;
	if (s->st->conn < 0 || !fill_batch(s)) {
		s->out.active = false;
		s->out.ended = true;
		space_bell(s);
		return false;
	}
	ask(s);
	return s->st->batch.phase == BATCH_NONE;
}

/* ---- what has left ---- */

void out_read(struct space *s)
{
	struct batch *b = &s->st->batch;
	struct iovec local[WARM_PAGES], remote[WARM_PAGES];
	unsigned n = 0;
	size_t total = 0;
	ssize_t got;

	if (b->phase != BATCH_MOVED)
		return;
	if (!s->buf)
		s->buf = aligned_alloc(PAGE_BYTES, WARM_PAGES * PAGE_BYTES);
	for (uint32_t k = 0; s->buf && k < b->n; k++) {
		if (!bit(b->moved, k))
			continue;
		if (n && bit(b->moved, k - 1) && k > 0) {
			local[n - 1].iov_len += PAGE_BYTES;
			remote[n - 1].iov_len += PAGE_BYTES;
		} else {
			local[n] = (struct iovec){ s->buf + k * PAGE_BYTES, PAGE_BYTES };
			remote[n++] = (struct iovec){ (void *)(uintptr_t)(s->st->stage + k * PAGE_BYTES), PAGE_BYTES };
		}
		total += PAGE_BYTES;
	}
	got = s->buf ? process_vm_readv(s->st->pid, local, n, remote, n, 0) : -1;
	if (got == (ssize_t)total)
		return;
	free(s->buf);
	s->buf = NULL;
	if (got < 0 && errno == ESRCH)
		space_gone(s);
}

/* Of a batch that has ended: of one that has not, a worker after this one would read the stage once more, and put zeros under the numbers of its pages. */
static void drop_stage(struct space *s)
{
	struct warm_msg m = { .op = WARM_DROP };

	/* if it is not sent, the next batch clears the stage */
	(void)send_helper(s, &m);
	(void)step("pager-dropped");
}

/* those that are to be in the process again. The answer ends the batch. */
void out_back(struct space *s)
{
	struct warm_msg m = { .op = WARM_BACK, .seq = s->st->batch.seq };
	struct batch *b = &s->st->batch;
	bool any = false;

	for (uint32_t k = 0; k < b->n; k++)
		if (bit(b->moved, k) && entry_state(where_get(&s->where, b->address[k])) == PAGE_LEAVING) {
			m.moved[k / 64] |= 1ull << (k % 64);
			any = true;
		}
	/* one page a run: an event may have led them apart */
	for (uint32_t k = 0; k < b->n; k++)
		m.runs[m.n++] = (struct warm_run){ b->address[k], 1 };
	if (!any) {
		end_batch(s);
		drop_stage(s);
		return;
	}
	worker_hold(s, true);
	s->backing = true;
	if (send_helper(s, &m) < 0)
		space_lost(s, -EPIPE, "pages that the pool did not take cannot be moved back: its helper is gone");
}

static void back_done(struct space *s, int error)
{
	if (!s->backing)
		return;
	s->backing = false;
	worker_hold(s, false);
	if (error == -EAGAIN) {
		s->back_again = s->wants = true;        /* an event is to be read first */
		return;
	}
	if (error < 0)
		space_lost(s, error, "pages that the pool did not take cannot be moved back");
	abandon(s);
	drop_stage(s);
}

/* Return: 0, all of them are there; else what the pool says of one that is not */
static int commit(struct space *s, const struct put *p)
{
	struct batch *b = &s->st->batch;
	int r = 0;

	(void)step("pager-committing");
	for (unsigned i = 0; i < p->n; i++) {
		uint32_t k = (uint32_t)(p->id[i] - b->first_id);
		uint64_t entry = where_get(&s->where, b->address[k]);
		bool ours = entry_state(entry) == PAGE_LEAVING && entry_id(entry) == p->id[i];

		if (ours && p->status[i] == 0) {
			(void)where_set(&s->where, b->address[k], entry_with_state(entry, PAGE_REMOTE) & ~(uint64_t)(ENTRY_FETCHED | ENTRY_SAMPLE));
			s->st->figures.offloaded_pages++;
			s->out.done_pages++;
		} else if (p->status[i] == 0 && entry_id(entry) != p->id[i]) {
			space_forget(s, p->id[i]);      /* it came back, or was thrown away, meanwhile */
		} else if (ours) {
			r = p->status[i];
		}
		if (i == p->n / 2)
			(void)step("pager-half-committed");
	}
	return r;
}

static void put_done(struct space *s, const struct put *p)
{
	int r;

	if (s->gone || s->st->batch.phase != BATCH_MOVED || s->st->batch.seq != p->seq)
		return;
	r = commit(s, p);
	if (r < 0 && r != s->st->figures.put_error)
		log_warn("instance %s: the pool does not take its pages: %s", space_target(s)->st->name, strerror(-r));
	s->st->figures.put_error = r;
	if (r == 0) {
		end_batch(s);
		drop_stage(s);
	} else {
		out_cancel(s);
		out_back(s);
	}
}

static void put_done_later(struct depot_op *op)
{
	struct put *p = op->ctx;
	struct space *s = p->s;

	pthread_mutex_lock(&s->lock);
	put_done(s, p);
	s->fetches--;
	space_bell(s);
	pthread_mutex_unlock(&s->lock);
	free(p);
}

static void moved(struct space *s)
{
	struct batch *b = &s->st->batch;
	struct put *p = malloc(sizeof(*p));

	out_read(s);
	(void)step("pager-read");
	if (!p || !s->buf) {
		free(p);
		if (!s->gone)
			out_back(s);
		return;
	}
	*p = (struct put){ .s = s, .seq = b->seq };
	for (uint32_t k = 0; k < b->n; k++)
		if (bit(b->moved, k)) {
			p->id[p->n] = b->first_id + k;
			p->page[p->n++] = s->buf + k * PAGE_BYTES;
		}
	p->op = (struct depot_op){ .kind = DEPOT_PUT, .object = space_object(s), .ids = p->id, .pages = p->page, .status = p->status, .n = p->n, .done = put_done_later, .ctx = p };
	if (!depot_submit(s->p->depot, &p->op)) {
		s->fetches++;
		return;
	}
	put_done(s, p);
	free(p);
}

/* ---- the helper's words ---- */

static void out_done(struct space *s, const struct warm_msg *m)
{
	struct batch *b = &s->st->batch;
	bool any = false, did = m->seq == b->seq;

	if (b->phase != BATCH_ASKED || (!did && !s->querying))
		return;
	s->querying = false;
	for (uint32_t k = 0; k < b->n; k++) {
		if (did && bit(m->moved, k)) {
			b->moved[k / 64] |= 1ull << (k % 64);
			any = true;
		} else {
			stay(s, k);
		}
	}
	if (did)
		s->st->figures.fixed_pages += m->busy + m->other;
	if (any)
		__atomic_store_n(&b->phase, BATCH_MOVED, __ATOMIC_RELEASE);
	else
		end_batch(s);
	(void)step("pager-moved");
	worker_hold(s, false);
	if (any)
		moved(s);
	s->wants = true;
}

/* the program closed it, or is another one now */
static void hang_up(struct space *s)
{
	struct uffdio_zeropage z = { .range = { s->st->stage - PAGE_BYTES, PAGE_BYTES } };      /* of nobody's */

	worker_leave_helper(s);
	if (ioctl(s->st->uffd, UFFDIO_ZEROPAGE, &z) < 0 && errno == ESRCH) {
		space_gone(s);
		return;
	}
	if (s->st->batch.phase == BATCH_ASKED || s->backing)
		space_lost(s, -EPIPE, "it closed its helper's descriptor while pages were being moved");
	worker_hold(s, false);
	s->wants = true;
}

void out_helper(struct space *s)
{
	struct warm_msg m;
	int passed;

	for (;;) {
		ssize_t n = sock_packet_recv(s->st->conn, &m, sizeof(m), &passed, false);

		fd_close(&passed);
		if (n == -EAGAIN)
			return;
		if (n < (ssize_t)WARM_HEAD || m.version != WARM_VERSION) {
			hang_up(s);
			return;
		}
		if (m.op == WARM_OUT_DONE)
			out_done(s, &m);
		else if (m.op == WARM_BACK_DONE)
			back_done(s, m.error);
	}
}

void out_recover(struct space *s)
{
	struct warm_msg m = { .op = WARM_QUERY };

	if (s->st->batch.phase == BATCH_ASKED) {
		worker_hold(s, true);
		s->querying = true;
		if (s->st->conn < 0 || send_helper(s, &m) < 0)
			space_lost(s, -EPIPE, "its helper is gone");
	} else if (s->st->batch.phase == BATCH_MOVED) {
		moved(s);
	}
}
