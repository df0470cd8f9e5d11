/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "ckpt/pagemap.h"
#include "crew.h"
#include "read.h"

#define PAGE 4096ull
#define NOWHERE UINT16_MAX
#define ALL_PAGES 0xffffu

struct process {
	pid_t pid;
	struct window *w;               /* ascending */
	size_t n, cap;
	struct window *early;           /* of memory_early(), which its batches point to; may be w */
	struct store_object *segment[MEMORY_SEGMENTS_MAX];
	uint64_t chunks[MEMORY_SEGMENTS_MAX];           /* of each segment */
	int mem;                        /* /proc/PID/mem, for the time of a round */
};

/* a run of windows of one process that are read together */
struct batch {
	struct process *p;
	size_t n;
	struct window *w[READ_BATCH];
	uint8_t *held;                  /* read and not stored yet */
};

struct memory {
	struct store_draft *draft;
	memory_progress progress;
	void *ctx;
	struct process **v;
	size_t n, cap;
	unsigned round;
	struct batch *batches;
	size_t batches_n, batches_cap;
	struct batch *early;            /* of memory_early(), until they are stored */
	size_t early_n;
	uint8_t *room;
	size_t room_bytes, room_used;
	/* of the round in progress */
	bool at_stop, hold, direct;
	atomic_uint_least64_t done;
	uint64_t total;
	atomic_bool lost;               /* a process ended */
};

struct memory *memory_new(struct store_draft *draft, memory_progress progress, void *ctx)
{
	struct memory *m = calloc(1, sizeof(*m));

	if (m) {
		m->draft = draft;
		m->progress = progress;
		m->ctx = ctx;
	}
	return m;
}

struct memory *memory_free(struct memory *m)
{
	if (!m)
		return NULL;
	for (size_t k = 0; k < m->n; k++) {
		if (m->v[k]->early != m->v[k]->w)
			free(m->v[k]->early);
		free(m->v[k]->w);
		free(m->v[k]);
	}
	free(m->v);
	free(m->batches);
	free(m->early);
	if (m->room)
		munmap(m->room, m->room_bytes);
	free(m);
	return NULL;
}

static struct process *process_of(struct memory *m, pid_t pid)
{
	struct process *p;

	for (size_t k = 0; k < m->n; k++)
		if (m->v[k]->pid == pid)
			return m->v[k];
	if (array_grow((void **)&m->v, &m->cap, m->n + 1, sizeof(*m->v)) < 0 || !(p = calloc(1, sizeof(*p))))
		return NULL;
	p->pid = pid;
	p->mem = -1;
	return m->v[m->n++] = p;
}

/* ---- which windows ---- */

static uint16_t pages_in(uint64_t base, uint64_t start, uint64_t end)
{
	uint64_t from = start > base ? start - base : 0, to = end - base < MEMORY_WINDOW ? end - base : MEMORY_WINDOW;

	return (uint16_t)((ALL_PAGES >> (16 - (to - from) / PAGE)) << (from / PAGE));
}

/* windows of ascending ranges, each once */
struct cover { struct window *v; size_t n, cap; };

static int cover_add(struct cover *c, uint64_t start, uint64_t end, bool take)
{
	for (uint64_t base = start & ~(MEMORY_WINDOW - 1); base < end; base += MEMORY_WINDOW) {
		struct window *last = c->n ? &c->v[c->n - 1] : NULL;

		if (!last || last->base != base) {
			if (array_grow((void **)&c->v, &c->cap, c->n + 1, sizeof(*c->v)) < 0)
				return -ENOMEM;
			last = &c->v[c->n++];
			*last = (struct window){ .base = base, .segment = NOWHERE };
		}
		last->mask |= pages_in(base, start, end);
		last->take |= take;
	}
	return 0;
}

/*
 * The new list of a process: what there is now, with the places of what there was. Windows that are gone stay, unwanted, as their chunks must be given something.
 * New ones become a segment of their own.
 */
static int merge(struct memory *m, struct process *p, struct cover *now, struct hearth_err *err)
{
	struct window *out = malloc((p->n + now->n + 1) * sizeof(*out));
	char name[64];
	size_t a = 0, b = 0, n = 0;
	uint32_t fresh = 0;
	int r = 0;

	if (!out)
		return err_set(err, -ENOMEM, "out of memory");
	while (a < p->n || b < now->n) {
		if (b == now->n || (a < p->n && p->w[a].base < now->v[b].base)) {
			out[n] = p->w[a++];
			out[n].take = out[n].wanted = 0;
		} else {
			out[n] = now->v[b];
			out[n].wanted = 1;
			if (a < p->n && p->w[a].base == now->v[b].base) {
				/* a page that was not there when it was read */
				out[n].take |= (now->v[b].mask & ~p->w[a].mask) != 0;
				if (!out[n].take)
					out[n].mask = p->w[a].mask;
				p->w[a].again = out[n].take;
				out[n].segment = p->w[a].segment;
				out[n].chunk = p->w[a++].chunk;
			} else {
				out[n].segment = (uint16_t)m->round;
				out[n].chunk = fresh++;
				out[n].take = 1;
			}
			b++;
		}
		n++;
	}
	if (p->w != p->early)
		free(p->w);
	p->w = out;
	p->n = n;
	if (fresh) {
		snprintf(name, sizeof(name), "mem/%d.%u", (int)p->pid, m->round);
		p->chunks[m->round] = fresh;
		r = store_object_begin(m->draft, name, fresh * MEMORY_WINDOW, NULL, &p->segment[m->round], err);
	}
	return r;
}

/* ---- reading and storing ---- */

static int store_window(const struct process *p, const struct window *w, const uint8_t *data, struct hearth_err *err)
{
	return store_put(p->segment[w->segment], w->chunk * MEMORY_WINDOW, data, MEMORY_WINDOW, NULL, err);
}

static int store_batch(const struct batch *b, const uint8_t *data, struct hearth_err *err)
{
	int r = 0;

	for (size_t k = 0; k < b->n && r == 0; ) {
		size_t q = k + 1;

		if (b->w[k]->again) {
			k = q;
			continue;
		}
		/* chunks that follow one another go at once */
		while (q < b->n && !b->w[q]->again && b->w[q]->segment == b->w[k]->segment && b->w[q]->chunk == b->w[k]->chunk + (q - k))
			q++;
		r = store_put(b->p->segment[b->w[k]->segment], b->w[k]->chunk * MEMORY_WINDOW, data + k * MEMORY_WINDOW, (q - k) * MEMORY_WINDOW, NULL, err);
		k = q;
	}
	return r;
}

static void tell(struct memory *m, uint64_t bytes)
{
	uint64_t done = atomic_fetch_add(&m->done, bytes) + bytes;

	if (m->progress)
		m->progress(m->ctx, done, m->total);
}

static int read_batch(void *ctx, size_t piece, struct hearth_err *err)
{
	static _Thread_local uint8_t buf[READ_BATCH * MEMORY_WINDOW] __attribute__((aligned(4096)));
	struct memory *m = ctx;
	struct batch *b = &m->batches[piece];
	uint8_t *to = b->held ? b->held : buf;
	size_t bad = 0;
	int r = read_windows(b->p->pid, b->p->mem, (const struct window *const *)b->w, b->n, to, &bad);

	if (r == -ESRCH && !m->at_stop) {
		atomic_store(&m->lost, true);
		memset(to, 0, b->n * MEMORY_WINDOW);
		r = 0;
	}
	if (r != 0 && m->at_stop)
		return err_set(err, -EIO, "cannot read the memory of process %d at %#llx", (int)b->p->pid, (unsigned long long)b->w[r > 0 ? bad : 0]->base);
	/* while it runs, pages come and go: what could not be read is not there any more, or is found dirty when it is again */
	for (size_t k = 0; k < b->n && r != 0 && m->hold; k++)
		b->w[k]->mask = 0;      /* not known: to be read again */
	r = b->held ? 0 : store_batch(b, to, err);
	tell(m, b->n * MEMORY_WINDOW);
	return r;
}

static int add_batch(struct memory *m, struct process *p, struct window *w)
{
	struct batch *last = m->batches_n ? &m->batches[m->batches_n - 1] : NULL;

	if (!last || last->p != p || last->n == READ_BATCH) {
		if (array_grow((void **)&m->batches, &m->batches_cap, m->batches_n + 1, sizeof(*m->batches)) < 0)
			return -ENOMEM;
		last = &m->batches[m->batches_n++];
		last->p = p;
		last->n = 0;
		last->held = NULL;
	}
	last->w[last->n++] = w;
	return 0;
}

static void assign_room(struct memory *m)
{
	for (size_t k = 0; k < m->batches_n && !m->direct; k++) {
		size_t bytes = m->batches[k].n * MEMORY_WINDOW;

		if (bytes > m->room_bytes - m->room_used)
			return;
		m->batches[k].held = m->room + m->room_used;
		m->room_used += bytes;
	}
}

/* read everything that is marked */
static int run_round(struct memory *m, struct memory_round *ret, struct hearth_err *err)
{
	char path[64];
	uint64_t bytes = 0, used = m->room_used;
	int r = 0;

	m->batches_n = 0;
	for (size_t k = 0; k < m->n && r == 0; k++) {
		struct process *p = m->v[k];

		for (size_t i = 0; i < p->n && r == 0; i++)
			if (p->w[i].take) {
				r = add_batch(m, p, &p->w[i]);
				bytes += MEMORY_WINDOW;
			}
		snprintf(path, sizeof(path), "/proc/%d/mem", (int)p->pid);
		p->mem = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (r < 0)
		err_set(err, r, "out of memory");
	if (m->hold)
		assign_room(m);
	atomic_store(&m->done, 0);
	m->total = bytes;
	if (r == 0)
		r = crew_run(m->batches_n, read_batch, m, err);
	for (size_t k = 0; k < m->n; k++)
		fd_close(&m->v[k]->mem);
	for (size_t k = 0; k < m->batches_n; k++)
		for (size_t i = 0; i < m->batches[k].n; i++)
			m->batches[k].w[i]->take = 0;
	if (ret)
		*ret = (struct memory_round){ .read_bytes = bytes, .held_bytes = m->room_used - used, .windows = bytes / MEMORY_WINDOW };
	return r;
}

/* ---- rounds ---- */

static int look(struct memory *m, struct track *track, pid_t pid, struct track_spans *spans, struct hearth_err *err)
{
	struct process *p = process_of(m, pid);
	struct cover now = { 0 };
	int r = p ? track_scan(track, pid, true, spans, err) : -ENOMEM;

	for (size_t k = 0; k < spans->n && r == 0; k++)
		r = cover_add(&now, spans->v[k].start, spans->v[k].end, spans->v[k].dirty);
	if (r == 0)
		r = merge(m, p, &now, err);
	else if (r == -ENOMEM)
		err_set(err, r, "out of memory");
	free(now.v);
	return r;
}

static int round_while_running(struct memory *m, struct track *track, const pid_t *pids, size_t n, struct memory_round *ret, struct hearth_err *err)
{
	struct track_spans spans = { 0 };
	int r = 0;

	if (m->round + 1 >= MEMORY_SEGMENTS_MAX)
		return err_set(err, -E2BIG, "too many rounds of pre-copy");
	for (size_t k = 0; k < n && r == 0; k++) {
		if (!track_armed(track, pids[k]))
			continue;       /* all of it is read at the stop */
		spans.n = 0;
		r = look(m, track, pids[k], &spans, err);
		if (r == -ESRCH)
			r = 0;
	}
	track_spans_done(&spans);
	m->at_stop = false;
	if (r == 0)
		r = run_round(m, ret, err);
	m->round++;
	return r;
}

int memory_precopy(struct memory *m, struct track *track, const pid_t *pids, size_t n, struct memory_round *ret, struct hearth_err *err)
{
	m->hold = false;
	return round_while_running(m, track, pids, n, ret, err);
}

int memory_early(struct memory *m, struct track *track, const pid_t *pids, size_t n, struct memory_round *ret, struct hearth_err *err)
{
	int r;

	m->hold = true;
	r = round_while_running(m, track, pids, n, ret, err);
	for (size_t k = 0; k < m->n; k++)
		m->v[k]->early = m->v[k]->w;
	m->early = m->batches;
	m->early_n = m->batches_n;
	m->batches = NULL;
	m->batches_n = m->batches_cap = 0;
	return r;
}

static uint64_t free_bytes(void)
{
	unsigned long long kib = 0;
	char line[256];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

int memory_reserve(struct memory *m, uint64_t bytes, uint64_t more, struct hearth_err *err)
{
	uint64_t most = free_bytes() / 2, populated;
	void *at;

	populated = bytes < most ? bytes : most;
	bytes = ((bytes + more < most ? bytes + more : most) + MEMORY_WINDOW - 1) & ~(MEMORY_WINDOW - 1);
	if (m->room)
		munmap(m->room, m->room_bytes);
	m->room = NULL;
	m->room_bytes = m->room_used = 0;
	if (!bytes)
		return 0;
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return err_set(err, -errno, "cannot get %llu bytes of memory: %s", (unsigned long long)bytes, strerror(errno));
	/* CRIU is started after this: a fork would write-protect it, and each page would be faulted in again while the tree stands still */
	(void)madvise(at, bytes, MADV_DONTFORK);
	(void)madvise(at, bytes, MADV_HUGEPAGE);
	(void)madvise(at, (populated + PAGE - 1) & ~(PAGE - 1), MADV_POPULATE_WRITE);   /* else the first touch costs time while the tree stands still */
	m->room = at;
	m->room_bytes = bytes;
	return 0;
}

/* what CRIU wants of one process, and which of that is known to be stored already */
static int want(struct memory *m, struct track *track, const char *dump, pid_t pid, struct hearth_err *err)
{
	struct process *p = process_of(m, pid);
	struct track_spans spans = { 0 };
	struct pagemap map = { 0 };
	struct cover now = { 0 };
	int r = p ? pagemap_load(dump, pid, &map, err) : err_set(err, -ENOMEM, "out of memory");

	for (size_t k = 0; k < map.n && r == 0; k++)
		r = cover_add(&now, map.ranges[k].start, map.ranges[k].end, !track_armed(track, pid));
	if (r == 0 && track_armed(track, pid))
		r = track_scan(track, pid, false, &spans, err);
	for (size_t k = 0, at = 0; k < spans.n && r == 0; k++) {
		if (!spans.v[k].dirty)
			continue;
		while (at < now.n && now.v[at].base + MEMORY_WINDOW <= spans.v[k].start)
			at++;
		for (size_t w = at; w < now.n && now.v[w].base < spans.v[k].end; w++)
			now.v[w].take = 1;
	}
	if (r == 0)
		r = merge(m, p, &now, err);
	free(now.v);
	track_spans_done(&spans);
	pagemap_done(&map);
	return r;
}

int memory_stop(struct memory *m, struct track *track, const char *dump, bool direct, struct memory_round *ret, struct hearth_err *err)
{
	struct dirent *e;
	DIR *d = opendir(dump);
	int r = 0;

	if (!d)
		return err_set(err, -errno, "cannot read %s: %s", dump, strerror(errno));
	/* those that ended keep their windows for now, which nobody wants any more */
	for (size_t k = 0; k < m->n; k++)
		for (size_t i = 0; i < m->v[k]->n; i++)
			m->v[k]->w[i].take = m->v[k]->w[i].wanted = 0;
	while (r == 0 && (e = readdir(d))) {
		int pid, len = 0;

		if (sscanf(e->d_name, "pagemap-%d.img%n", &pid, &len) == 1 && len && !e->d_name[len])
			r = want(m, track, dump, pid, err);
	}
	closedir(d);
	m->at_stop = m->hold = true;
	m->direct = direct;
	if (r == 0)
		r = run_round(m, ret, err);
	return r;
}

static int drain_batch(void *ctx, size_t piece, struct hearth_err *err)
{
	struct memory *m = ctx;
	const struct batch *b = &m->batches[piece];
	int r = b->held ? store_batch(b, b->held, err) : 0;

	tell(m, b->n * MEMORY_WINDOW);
	return r;
}

/* the list of windows of a process; chunks of windows that are gone become zeros, which cost nothing */
static int put_list(struct memory *m, const struct process *p, struct hearth_err *err)
{
	static const uint8_t zeros[MEMORY_WINDOW];
	struct memory_run *runs = NULL;
	struct store_object *o;
	size_t n = 0, cap = 0;
	char name[64];
	int r = 0;

	for (size_t k = 0; k < p->n && r == 0; k++) {
		const struct window *w = &p->w[k];
		struct memory_run *last = n ? &runs[n - 1] : NULL;

		if (!w->wanted) {
			r = store_window(p, w, zeros, err);
			continue;
		}
		if (last && last->segment == w->segment && last->start + last->windows * MEMORY_WINDOW == w->base && last->chunk + last->windows == w->chunk) {
			last->windows++;
			continue;
		}
		if (array_grow((void **)&runs, &cap, n + 1, sizeof(*runs)) < 0)
			r = err_set(err, -ENOMEM, "out of memory");
		else
			runs[n++] = (struct memory_run){ w->base, 1, w->segment, w->chunk };
	}
	snprintf(name, sizeof(name), "mem/%d", (int)p->pid);
	if (r == 0 && n)
		r = store_object_begin(m->draft, name, n * sizeof(*runs), NULL, &o, err);
	if (r == 0 && n)
		r = store_put(o, 0, runs, n * sizeof(*runs), NULL, err);
	free(runs);
	return r;
}

/* what was read early is stored with the rest */
static int add_early(struct memory *m, struct hearth_err *err)
{
	for (size_t k = 0; k < m->early_n; k++) {
		if (array_grow((void **)&m->batches, &m->batches_cap, m->batches_n + 1, sizeof(*m->batches)) < 0)
			return err_set(err, -ENOMEM, "out of memory");
		m->batches[m->batches_n++] = m->early[k];
		m->total += m->early[k].n * MEMORY_WINDOW;
	}
	m->early_n = 0;
	return 0;
}

int memory_drain(struct memory *m, struct hearth_err *err)
{
	int r = add_early(m, err);

	atomic_store(&m->done, 0);
	if (r == 0)
		r = crew_run(m->batches_n, drain_batch, m, err);
	if (m->room)
		munmap(m->room, m->room_bytes);
	m->room = NULL;
	m->room_bytes = m->room_used = 0;
	m->batches_n = 0;
	for (size_t k = 0; k < m->n && r == 0; k++)
		r = put_list(m, m->v[k], err);
	return r;
}
