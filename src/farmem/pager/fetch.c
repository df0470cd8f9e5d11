/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that come back: for a fault, with what is around it, and in bulk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "space.h"

#define SAMPLE_BITS 5                   /* one in 32 of the working set, of a large one fewer, is left to be touched, which tells whether it still is one */
#define FETCHES_MAX 8                   /* batches at a pool that is elsewhere, of one space */
#define SAMPLE_MIN 128                  /* pages; of less, all come */
#define SAMPLE_MAX 256                  /* pages that are left out, at most */
#define BESIDE_PAGES 4                  /* of a window, in which one that was never asked for is; but all */
#define DENSE_PAGES 2                   /* where so many others were asked for */
#define WINDOWS_MIN 32                  /* before anything is said of the others */
#define STREAM_TIMES 4                  /* as much as comes along otherwise, where memory is gone through */
#define TRY_BITS 3                      /* of pages that came along one in 8 is sent away again, or left there, to see whether it is of the working set: */
#define TRIES_MAX 256                   /* so many at a time, */
#define TRIES_FEW 64                    /* or these, if more than half of those before were */

struct fetch {
	struct depot_op op;
	struct space *s;
	uint64_t fault;                 /* the address; 0: none */
	bool parked;                    /* it waits for an event */
	uint64_t began_ns;
	unsigned n;
	uint64_t address[FETCH_PAGES], id[FETCH_PAGES];
	void *page[FETCH_PAGES];
	int status[FETCH_PAGES];
	uint8_t buf[FETCH_PAGES * PAGE_BYTES] __attribute__((aligned(4096)));
};

void fetch_wake(struct space *s, uint64_t address)
{
	struct uffdio_range r = { .start = address, .len = PAGE_BYTES };

	(void)ioctl(s->st->uffd, UFFDIO_WAKE, &r);
}

int fetch_copy(struct space *s, uint64_t address, const uint8_t *from, unsigned pages, uint64_t mode)
{
	struct uffdio_copy c = { .dst = address, .src = (uintptr_t)from, .len = pages * PAGE_BYTES, .mode = mode };

	if (ioctl(s->st->uffd, UFFDIO_COPY, &c) == 0 || c.copy > 0)
		return (int)(c.copy / (int64_t)PAGE_BYTES);
	if (errno == ENOSPC || errno == ESRCH)
		return -ESRCH;
	return -errno;
}

/* never asked for, never sent away to see whether it is */
static bool unknown(uint64_t entry)
{
	return !(entry & (ENTRY_USED | ENTRY_TRIED | ENTRY_SAMPLE));
}

static void here(struct space *s, const struct fetch *f, unsigned k)
{
	struct figures *n = &s->st->figures;
	uint64_t entry = where_get(&s->where, f->address[k]);
	bool used = f->address[k] == f->fault, recording = f->fault && space_recording(s);

	entry = entry_with_id(entry_with_state(entry, PAGE_LOCAL), 0) & ~(uint64_t)ENTRY_FETCHED;
	if (used && (entry & ENTRY_SAMPLE) && !(entry & ENTRY_USED))
		n->sampled_used++;
	s->tried_used += used && (entry & ENTRY_TRIED) && !(entry & ENTRY_USED);
	if (used && recording)
		entry = (entry & ~(uint64_t)(ENTRY_BESIDE | ENTRY_TRIED)) | ENTRY_USED;
	else if (recording && unknown(entry))
		entry |= ENTRY_BESIDE;
	/* one of the sample that came along with another is not used for that */
	entry = used ? entry & ~(uint64_t)ENTRY_SAMPLE : entry | ENTRY_FETCHED;
	(void)where_set(&s->where, f->address[k], entry);
	space_forget(s, f->id[k]);
	n->recalled_pages++;
	if (!f->fault) {
		n->prefetched_pages++;
		s->in.done_pages++;
	}
}

static bool still_away(const struct space *s, const struct fetch *f, unsigned k)
{
	uint64_t entry = where_get(&s->where, f->address[k]);

	return entry_state(entry) == PAGE_REMOTE && entry_id(entry) == f->id[k];
}

static void lost(struct space *s, const struct fetch *f, unsigned k)
{
	char why[128];

	snprintf(why, sizeof(why), "the pool does not give back page %#llx: %s", (unsigned long long)f->address[k], strerror(-f->status[k]));
	(void)where_set(&s->where, f->address[k], entry_with_state(where_get(&s->where, f->address[k]), PAGE_LOST));
	space_lost(s, f->status[k], why);
	fetch_wake(s, f->address[k]);           /* and finds it so */
}

static int copy_some(struct space *s, const struct fetch *f, unsigned k, unsigned n)
{
	return f->fault ? fetch_copy(s, f->address[k], f->page[k], n, UFFDIO_COPY_MODE_DONTWAKE) : share_copy(s, f->address[k], f->page[k], n);
}

/* pages k and those behind it that can be copied together. Return: how many are dealt with, 0: not now */
static unsigned copy_run(struct space *s, struct fetch *f, unsigned k)
{
	unsigned n = 1, most = s->shared && !f->fault ? SHARED_PAGES : FETCH_PAGES;
	int r;

	if (!still_away(s, f, k)) {
		fetch_wake(s, f->address[k]);
		return 1;
	}
	if (f->status[k] < 0) {
		lost(s, f, k);
		return 1;
	}
	while (n < most && k + n < f->n && f->address[k + n] == f->address[k] + n * PAGE_BYTES && f->status[k + n] == 0 && still_away(s, f, k + n))
		n++;
	r = copy_some(s, f, k, n);
	/* of several mappings side by side: each page for itself up to where the first ends */
	if (r == -ENOENT && n > 1 && still_away(s, f, k))
		r = copy_some(s, f, k, 1);
	if (r == -ESRCH) {
		space_gone(s);
		return f->n;
	}
	if (r == -EEXIST) {
		/* it came while this was under way, or an earlier worker had come as far as this */
		fetch_wake(s, f->address[k]);
		r = 1;
	}
	/* who copied without the lock may find that an event or a fault was dealt with meanwhile */
	for (int i = 0; i < r; i++)
		if (still_away(s, f, k + (unsigned)i))
			here(s, f, k + (unsigned)i);
	if (r == -EAGAIN && f->fault) {
		f->parked = true;
		space_park(s, f->fault);
	} else if (r < 0) {
		if (r == -EAGAIN)
			share_stop(s);          /* the others would not get further, and leave more behind */
		fetch_wake(s, f->address[k]);   /* its mapping is gone, or memory is short: whoever waits touches it again */
	}
	return r > 0 ? (unsigned)r : r == -EAGAIN ? 0 : 1;
}

void fetch_answered(struct space *s)
{
	struct uffdio_range r = { .start = s->answered.start, .len = s->answered.end - s->answered.start };

	if (!r.len)
		return;
	s->answered.end = s->answered.start;
	(void)ioctl(s->st->uffd, UFFDIO_WAKE, &r);
}

static void answer(struct space *s, const struct fetch *f)
{
	s->st->figures.faults++;
	farmem_latency_add(&s->st->figures.latency, clock_mono_ns() - f->began_ns);
	if (!f->parked)
		s->answered = (struct look_span){ f->address[0], f->address[f->n - 1] + PAGE_BYTES };
}

static void finish(struct space *s, struct fetch *f)
{
	(void)step(f->fault ? "pager-fetched" : "pager-prefetched");
	for (unsigned k = 0, n = 1; k < f->n && n && !s->gone; k += n)
		n = copy_run(s, f, k);
	if (f->fault)
		answer(s, f);
}

/* gives the lock up meanwhile */
static void finish_bulk(struct space *s, struct fetch *f)
{
	finish(s, f);
	space_flush_some(s);
	s->fetches--;
}

static void fetched(struct depot_op *op)
{
	struct fetch *f = op->ctx;
	struct space *s = f->s;

	pthread_mutex_lock(&s->lock);
	if (f->fault) {
		finish(s, f);
		fetch_answered(s);
		s->fetches--;
	} else {
		finish_bulk(s, f);
	}
	space_bell(s);
	pthread_mutex_unlock(&s->lock);
	free(f);
}

static void add(struct fetch *f, uint64_t address, uint64_t entry)
{
	f->address[f->n] = address;
	f->id[f->n] = entry_id(entry);
	f->page[f->n] = f->buf + f->n * PAGE_BYTES;
	f->n++;
}

/* In bulk without the lock, but for where the index is looked at. Return: it is done, and @f can be used again */
static bool submit(struct space *s, struct worker *w, struct fetch *f)
{
	bool done, bulk = !f->fault;    /* @f may be somebody else's already when that is not done at once */

	f->s = s;
	f->op = (struct depot_op){ .kind = DEPOT_GET, .object = space_object(s), .ids = f->id, .pages = f->page, .status = f->status, .n = f->n, .done = fetched, .ctx = f,
		.waited_for = f->fault, .others = w->epoll_fd };
	(void)step("pager-fetching");
	if (!bulk) {
		done = depot_submit(s->p->depot, &f->op);
		if (done)
			finish(s, f);
		else
			s->fetches++;
		return done;
	}
	s->fetches++;
	pthread_mutex_unlock(&s->lock);
	done = depot_submit(s->p->depot, &f->op);
	pthread_mutex_lock(&s->lock);
	if (done)
		finish_bulk(s, f);
	return done;
}

static struct fetch *buffer(struct worker *w)
{
	if (!w->fetch)
		w->fetch = aligned_alloc(4096, (sizeof(struct fetch) + 4095) & ~4095ul);
	if (w->fetch) {
		w->fetch->n = 0;
		w->fetch->fault = 0;
		w->fetch->parked = false;
	}
	return w->fetch;
}

/* ---- what comes along ---- */

static bool went_by(void *ctx, uint64_t address, uint64_t entry)
{
	struct space *s = ctx;

	if (entry_state(entry) != PAGE_LOCAL || !(entry & ENTRY_FETCHED))
		return true;
	if ((entry & ENTRY_SAMPLE) && !(entry & ENTRY_USED))
		s->st->figures.sampled_used++;
	(void)where_set(&s->where, address, (entry & ~(uint64_t)(ENTRY_FETCHED | ENTRY_SAMPLE | ENTRY_BESIDE | ENTRY_TRIED)) | ENTRY_USED);
	return true;
}

/* the one that is at @address now, or a new one */
static struct stream *stream_at(struct space *s, uint64_t address)
{
	unsigned most = STREAM_TIMES * s->p->around_pages < FETCH_PAGES ? STREAM_TIMES * s->p->around_pages : FETCH_PAGES;
	struct stream *t = NULL;

	for (unsigned k = 0; k < STREAMS && !t; k++)
		if (s->stream[k].next == address)
			t = &s->stream[k];
	if (!t) {
		t = &s->stream[s->stream_turn++ % STREAMS];
		t->pages = 1;
		return t;
	}
	/* what came with the last one was gone through */
	if (space_recording(s))
		where_each_in(&s->where, t->from, address, went_by, s);
	t->pages = 2 * t->pages < most ? 2 * t->pages : most;
	return t;
}

/* the next page that will be away when @f is here, if it is not far */
static uint64_t next_away(const struct space *s, const struct fetch *f, uint64_t address)
{
	unsigned at = 0;

	while (at < f->n && f->address[at] < address)
		at++;
	for (unsigned k = 0; k < s->p->around_pages; k++, address += PAGE_BYTES) {
		if (at < f->n && f->address[at] == address)
			at++;
		else if (entry_state(where_get(&s->where, address)) == PAGE_REMOTE)
			break;
	}
	return address;
}

/*
 * How much of the window, in bytes, counts as beside a page of which nothing was known: a part of it; the whole of one of which others had been asked for, each by itself, or of a stream (@goes_on). Where most windows
 * come to that, it is the whole one at once, but for one in 16, which shows whether it still is so.
 */
static uint64_t part_of(struct space *s, uint64_t start, uint64_t end, bool goes_on)
{
	uint64_t whole = end - start;
	unsigned asked = 0;

	if (whole < BESIDE_PAGES * PAGE_BYTES || (start / whole % 16 && s->windows >= WINDOWS_MIN && 2 * s->dense > s->windows))
		return whole;
	for (uint64_t a = start; a < end; a += PAGE_BYTES)
		asked += (where_get(&s->where, a) & ENTRY_USED) != 0;
	if (goes_on)
		asked = asked < DENSE_PAGES ? DENSE_PAGES : asked;
	s->windows += asked == 0 || goes_on;
	s->dense += asked == DENSE_PAGES;
	return asked >= DENSE_PAGES ? whole : BESIDE_PAGES * PAGE_BYTES;
}

/*
 * With a page that is touched comes what is around it and was used by requests before; where memory is gone through from front to back, what is next: a page, then twice as many each time; and of a page of which nothing
 * was known the neighbours of which nothing is known either. What comes does not fault and cannot be told from what is not used: while a working set is recorded, what a stream has passed is in it, and neighbours count as if
 * they were until they are tried (fetch_try()).
 */
static void choose_around(struct space *s, struct fetch *f)
{
	uint64_t bytes = s->p->around_pages * PAGE_BYTES, start = f->fault & ~(bytes - 1), end = start + bytes, part = 0;
	struct stream *t = stream_at(s, f->fault);
	uint64_t until = f->fault + t->pages * PAGE_BYTES;

	if (space_recording(s) && unknown(where_get(&s->where, f->fault)))
		part = part_of(s, start, end, t->pages > 1);
	for (uint64_t a = start; (a < end || a < until) && f->n < FETCH_PAGES; a += PAGE_BYTES) {
		uint64_t entry = where_get(&s->where, a);
		bool next = a >= f->fault && a < until, known = a < end && (entry & ENTRY_SET), beside = part && a / part == f->fault / part && unknown(entry);

		if (entry_state(entry) == PAGE_REMOTE && (next || known || beside))
			add(f, a, entry);
	}
	t->from = f->fault + PAGE_BYTES;
	t->next = next_away(s, f, until);
}

void fetch_fault(struct space *s, struct worker *w, uint64_t address)
{
	struct fetch *f = buffer(w);

	if (!f) {
		fetch_wake(s, address);
		return;
	}
	f->fault = address;
	f->began_ns = clock_mono_ns();
	choose_around(s, f);
	if (!submit(s, w, f))
		w->fetch = NULL;
}

/* ---- in bulk ---- */

struct choosing {
	struct space *s;
	bool all;
	unsigned sample_bits;
	uint64_t bytes, left, set;
	int error;
};

/* Pages by turns, one in 2^@bits; among those of fewer bits are those of more. */
static bool its_turn(const struct space *s, uint64_t address, unsigned bits)
{
	return (((address / PAGE_BYTES * 0x9e3779b97f4a7c15ull) >> 32 ^ s->sample) & ((1u << bits) - 1)) == 0;
}

void fetch_turn(struct space *s)
{
	s->tries_left = 2 * s->tried_used > s->tried ? TRIES_FEW : TRIES_MAX;
	s->sample++;
}

bool fetch_try(struct space *s, uint64_t address, uint64_t *entry)
{
	if (!(*entry & ENTRY_BESIDE) || !s->tries_left || !its_turn(s, address, TRY_BITS))
		return false;
	s->tries_left--;
	s->tried++;
	*entry = (*entry & ~(uint64_t)ENTRY_BESIDE) | ENTRY_TRIED;
	(void)where_set(&s->where, address, *entry);
	return true;
}

static bool count_one(void *ctx, uint64_t address, uint64_t entry)
{
	struct choosing *c = ctx;

	c->set += entry_state(entry) == PAGE_REMOTE && (entry & ENTRY_SET);
	return true;
}

static bool choose_one(void *ctx, uint64_t address, uint64_t entry)
{
	struct choosing *c = ctx;

	if (entry_state(entry) != PAGE_REMOTE || (!c->all && !(entry & ENTRY_SET)))
		return true;
	if (!c->all && c->set >= SAMPLE_MIN && its_turn(c->s, address, c->sample_bits)) {
		(void)where_set(&c->s->where, address, (entry & ~(uint64_t)ENTRY_SET) | ENTRY_SAMPLE);
		c->s->st->figures.sampled++;
		return true;
	}
	if (!c->all && fetch_try(c->s, address, &entry))
		return true;
	if (c->left < PAGE_BYTES)
		return false;
	c->left -= PAGE_BYTES;
	c->error = pages_add(&c->s->in.pages, address);
	return c->error == 0;
}

int fetch_begin(struct space *s, bool all, uint64_t bytes, uint64_t patience_ns)
{
	struct choosing c = { .s = s, .all = all, .sample_bits = SAMPLE_BITS, .left = bytes };

	share_stop(s);
	s->in.pages.n = s->in.pages.at = 0;
	if (!all)
		where_each(&s->where, count_one, &c);
	while (c.set >> c.sample_bits > SAMPLE_MAX)
		c.sample_bits++;
	fetch_turn(s);
	where_each(&s->where, choose_one, &c);
	for (unsigned k = 0; k < LANES; k++) {
		s->in.lane[k].at = s->in.pages.n * k / LANES;
		s->in.lane[k].end = s->in.pages.n * (k + 1) / LANES;
	}
	s->in.all = all;
	s->in.looked_ns = s->in.waited_ns = 0;
	s->in.until_ns = patience_ns ? clock_mono_ns() + patience_ns : 0;
	s->in.active = true;
	space_bell(s);
	return c.error;
}

static bool any_away(void *ctx, uint64_t address, uint64_t entry)
{
	*(bool *)ctx = entry_state(entry) == PAGE_REMOTE;
	return !*(bool *)ctx;
}

bool fetch_complete(const struct space *s)
{
	bool away = false;

	where_each(&s->where, any_away, &away);
	return !away;
}

/* by several, each of whom looks at the faults that are its own in between; the one whose the space is takes longer to read one, as it waits for the others' copies */
static unsigned batch_of(const struct space *s, const struct worker *w)
{
	return s->shared && (w != s->home || s->fetches) ? SHARED_PAGES : FETCH_PAGES;
}

/* the next of the list that nobody has taken, of a lane or of those after it; NULL: there is none */
static const uint64_t *next_of(struct job *j, unsigned *lane)
{
	if (j->pages.at == j->pages.n)
		return NULL;
	while (j->lane[*lane].at == j->lane[*lane].end)
		*lane = (*lane + 1) % LANES;
	j->pages.at++;
	return &j->pages.v[j->lane[*lane].at++];
}

bool fetch_waits(struct space *s)
{
	struct job *j = &s->in;
	uint64_t now_ns;

	if (!j->active || !j->until_ns)
		return false;
	now_ns = clock_mono_ns();
	if (now_ns < j->looked_ns + YIELD_LOOK_MS * NS_PER_MS && now_ns < j->until_ns)
		return s->waits;
	/* not looked at yet: what it waits for, it does for the one before */
	j->waited_ns += s->waits && j->looked_ns ? now_ns - j->looked_ns : 0;
	j->looked_ns = now_ns;
	return now_ns < j->until_ns && look_crowded();
}

void fetch_hurry(struct space *s)
{
	if (!s->in.active || !s->in.until_ns)
		return;
	s->in.until_ns = 0;
	space_bell(s);
}

bool fetch_step(struct space *s, struct worker *w)
{
	struct pages *p = &s->in.pages;
	unsigned most, lane = (unsigned)(w - s->p->workers) % LANES;
	const uint64_t *next;
	struct fetch *f;

	if (!s->in.active || s->held || s->waits || (s->fetches >= FETCHES_MAX && !depot_here(s->p->depot)))
		return false;
	if (w == s->home)
		share_ask(s);
	most = batch_of(s, w);
	f = buffer(w);
	while (f && f->n < most && (next = next_of(&s->in, &lane))) {
		uint64_t address = *next, entry = where_get(&s->where, address);

		if (entry_state(entry) == PAGE_REMOTE)
			add(f, address, entry);
	}
	if (f && f->n && !submit(s, w, f))
		w->fetch = NULL;
	if (p->at < p->n && f)
		return true;
	if (s->fetches)
		return false;
	/* what an event kept from coming is tried again */
	if (f && s->in.all && !s->gone && !fetch_complete(s))
		return fetch_begin(s, true, UINT64_MAX, 0) == 0;
	s->in.active = false;
	s->in.ended = true;
	space_bell(s);
	return false;
}
