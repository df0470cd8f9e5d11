// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/thread.h"
#include "lru.h"
#include "reclaim.h"

/*
 * Two lists and one lock: jobs from the caller to the thread, events back. The thread alone knows what the kernel does with a target (struct work); the caller alone frees handles, when it takes DETACHED or
 * REFUSED off the list. A target's jobs run in order, and none is waited for by the caller.
 */

enum job_kind { JOB_ATTACH, JOB_BARRIER, JOB_OFFLOAD, JOB_PREFETCH, JOB_REQUEST_END, JOB_REFRESH, JOB_DETACH };

struct job {
	STAILQ_ENTRY(job) entry;
	struct farmem_target *target;
	enum job_kind kind;
	unsigned segments;
	uint64_t bytes;
	unsigned long number;           /* offloads up to target.cancelled end */
	enum farmem_detach_how how;
};

struct event {
	STAILQ_ENTRY(event) entry;
	struct farmem_event e;
	struct farmem_stat stat;
};

STAILQ_HEAD(jobs, job);
STAILQ_HEAD(events, event);

struct farmem_engine {
	struct reclaim_ways ways;
	pthread_t thread;
	pthread_mutex_t lock;           /* jobs, events, stopping */
	pthread_cond_t work;
	struct jobs jobs;
	struct events events;
	struct event *shown;            /* whose stat the caller may still read */
	bool stopping;
	int fd;
};

struct farmem_target {
	struct farmem_engine *engine;
	void *ctx;
	char *group;
	pid_t pid;
	uint64_t limit_bytes;
	unsigned long numbered;         /* the caller's */
	_Atomic unsigned long cancelled;
	bool detaching;                 /* the caller's */
	struct job *detach;             /* made with the target, so that it cannot fail */

	/* the thread's */
	bool has_end[FARMEM_SEGMENTS];
	uint64_t end[FARMEM_SEGMENTS];  /* the youngest generation of a segment that has ended */
	struct away away;
	struct reclaim_seen seen;
	struct farmem_stat stat;
};

/* ---- events ---- */

static void tell(struct farmem_target *t, struct farmem_event e)
{
	struct farmem_engine *engine = t->engine;
	struct event *event = calloc(1, sizeof(*event));
	uint64_t one = 1;

	if (!event)
		return;                 /* figures are late, or the policy waits for a report: until the next one */
	e.target = t;
	e.ctx = t->ctx;
	event->e = e;
	event->stat = t->stat;
	pthread_mutex_lock(&engine->lock);
	STAILQ_INSERT_TAIL(&engine->events, event, entry);
	pthread_mutex_unlock(&engine->lock);
	if (write(engine->fd, &one, sizeof(one)) < 0)
		return;                 /* full: it is readable */
}

/* ---- the thread: what it sees ---- */

static bool has_lru(const struct farmem_target *t, struct lru_group *ret)
{
	return t->engine->ways.lru[0] && t->group && lru_read(t->engine->ways.lru, t->group, ret) == 0;
}

/* what lies in generations up to a segment's end, and not in an earlier segment's; what nothing is known of is execution's */
static void split_resident(struct farmem_target *t)
{
	uint64_t *resident = t->stat.resident_bytes, from = 0, left = t->seen.resident_bytes;
	struct lru_group g;
	bool known = has_lru(t, &g);

	for (int s = 0; s < FARMEM_EXECUTION; s++) {
		resident[s] = 0;
		if (!known || !t->has_end[s])
			continue;
		resident[s] = lru_anon_pages(&g, from, t->end[s]) * PAGE_BYTES;
		if (resident[s] > left)
			resident[s] = left;
		left -= resident[s];
		from = t->end[s] + 1;
	}
	resident[FARMEM_EXECUTION] = left;
}

/* what came back is taken off the youngest segment first: that is what requests use */
static void split_remote(struct farmem_target *t, uint64_t moved, enum farmem_segment of)
{
	uint64_t *remote = t->stat.remote_bytes, sum = 0, back;

	remote[of] += moved;
	for (int s = 0; s < FARMEM_SEGMENTS; s++)
		sum += remote[s];
	if (sum < t->seen.swapped_bytes)
		remote[FARMEM_EXECUTION] += t->seen.swapped_bytes - sum;
	back = sum > t->seen.swapped_bytes ? sum - t->seen.swapped_bytes : 0;
	for (int s = FARMEM_EXECUTION; s >= 0; s--) {
		uint64_t less = back < remote[s] ? back : remote[s];

		remote[s] -= less;
		back -= less;
	}
}

/* Return: how much more is away than when it was looked at before; counts what came back */
static uint64_t look(struct farmem_target *t, enum farmem_segment of)
{
	struct reclaim_seen now;
	uint64_t before = t->seen.swapped_bytes, moved;

	if (reclaim_see(&t->engine->ways, t->group, t->pid, &now) < 0)
		return 0;               /* it has ended: its end is told by others */
	t->seen = now;
	moved = now.swapped_bytes > before ? now.swapped_bytes - before : 0;
	t->stat.offloaded_bytes += moved;
	t->stat.recalled_bytes += before > now.swapped_bytes ? before - now.swapped_bytes : 0;
	split_remote(t, moved, of);
	split_resident(t);
	t->stat.ws_remote_bytes = away_working_set(&t->away) * PAGE_BYTES;
	return moved;
}

/* ---- the thread: what it does ---- */

static int swap_max(struct farmem_target *t, const char *text)
{
	char path[PATH_MAX];
	FD_AUTO int fd = -1;

	snprintf(path, sizeof(path), "%s/memory.swap.max", t->group);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* v2: instances have no swap, so that their limit is their limit; what this engine moves may go there. v1 limits the sum of both already. */
static int allow_swap(struct farmem_target *t)
{
	char text[32] = "max";

	if (!t->engine->ways.v2 || !t->group)
		return 0;
	if (t->limit_bytes)
		snprintf(text, sizeof(text), "%llu", (unsigned long long)t->limit_bytes);
	return swap_max(t, text);
}

static void do_attach(struct farmem_target *t)
{
	struct farmem_event e = { .kind = FARMEM_ATTACHED };
	int r = reclaim_see(&t->engine->ways, t->group, t->pid, &t->seen);

	if (r == 0)
		r = allow_swap(t);
	if (r < 0) {
		e = (struct farmem_event){ .kind = FARMEM_REFUSED, .error = r };
		snprintf(e.why, sizeof(e.why), "%s: %s", t->group ? t->group : "its processes", strerror(-r));
	} else {
		e.flag = t->seen.swapped_bytes > 0;
		split_remote(t, 0, FARMEM_EXECUTION);
		split_resident(t);
	}
	tell(t, e);
}

/* a new generation, and the number read back: the kernel may have aged on its own meanwhile */
static void do_barrier(struct farmem_target *t, enum farmem_segment segment)
{
	struct farmem_event e = { .kind = FARMEM_BARRIER, .segment = segment };
	const char *file = t->engine->ways.lru;
	struct lru_group before, after;

	if (has_lru(t, &before) && lru_age(file, &before) == 0 && has_lru(t, &after) && lru_youngest(&after) > lru_youngest(&before)) {
		t->end[segment] = lru_youngest(&after) - 1;
		t->has_end[segment] = true;
	}
	look(t, FARMEM_EXECUTION);
	e.bytes = t->stat.resident_bytes[segment];
	tell(t, e);
}

/*
 * The generations that may go: those of the youngest of the @segments, or the oldest if it is all memory. The two youngest cannot be evicted, so time goes on until what is wanted is older; what is used meanwhile
 * becomes younger, and stays. Return: 0, -ENODATA nothing of it is here, -EOPNOTSUPP no such generations are known.
 */
static int gens_to_evict(struct farmem_target *t, unsigned segments, struct lru_group *g, uint64_t *ret_up_to)
{
	const char *file = t->engine->ways.lru;
	int segment = segments & FARMEM_SEGMENT_BIT(FARMEM_INIT) ? FARMEM_INIT : FARMEM_RUNTIME;
	bool all = segments & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION);

	if (!has_lru(t, g) || (!all && !t->has_end[segment]))
		return -EOPNOTSUPP;
	for (int k = 0; k < LRU_KEPT + 1; k++) {
		uint64_t up_to = all ? lru_oldest(g) : t->end[segment];

		if (up_to + LRU_KEPT <= lru_youngest(g)) {
			*ret_up_to = up_to;
			return up_to < lru_oldest(g) ? -ENODATA : 0;
		}
		if (lru_age(file, g) < 0 || !has_lru(t, g))
			return -EOPNOTSUPP;
	}
	return -ENODATA;
}

/* one step: by generation, by group, by page, whatever there is. Return: bytes that left */
static uint64_t step(struct farmem_target *t, unsigned segments, uint64_t bytes)
{
	const struct reclaim_ways *w = &t->engine->ways;
	enum farmem_segment of = segments & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION) ? FARMEM_EXECUTION : segments & FARMEM_SEGMENT_BIT(FARMEM_INIT) ? FARMEM_INIT : FARMEM_RUNTIME;
	struct lru_group g;
	uint64_t up_to, moved = 0;

	if (gens_to_evict(t, segments, &g, &up_to) == 0 && lru_evict(w->lru, &g, up_to, bytes / PAGE_BYTES) == 0)
		moved = look(t, of);
	else if (w->lru[0] && t->group && of != FARMEM_EXECUTION)
		return 0;               /* nothing of these segments is left here */
	if (moved == 0 && w->groups && t->group) {
		(void)reclaim_by_group(w, t->group, bytes, t->limit_bytes);
		moved = look(t, of);
	}
	if (moved == 0 && w->madvise) {
		(void)reclaim_by_pages(t->pid, bytes);
		moved = look(t, of);
	}
	return moved;
}

/* which pages are away now, for whoever asks what of the working set is; without memory for it: as before */
static void note_away(struct farmem_target *t)
{
	struct away now;

	if (away_look(t->pid, &t->away, &now) < 0)
		return;
	away_done(&t->away);
	t->away = now;
	t->stat.ws_remote_bytes = away_working_set(&t->away) * PAGE_BYTES;
}

static void do_offload(struct farmem_target *t, const struct job *j)
{
	uint64_t left = j->bytes, moved = j->bytes;

	while (left > 0 && moved > 0 && j->number > atomic_load(&t->cancelled)) {
		moved = step(t, j->segments, left < STEP_BYTES ? left : STEP_BYTES);
		left -= moved < left ? moved : left;
		note_away(t);
		if (left == 0 || moved == 0)
			break;
		tell(t, (struct farmem_event){ .kind = FARMEM_OFFLOADED, .bytes = moved });
		tell(t, (struct farmem_event){ .kind = FARMEM_STAT });
	}
	tell(t, (struct farmem_event){ .kind = FARMEM_OFFLOADED, .bytes = left == 0 ? moved : 0, .flag = true });
}

static void do_prefetch(struct farmem_target *t, uint64_t bytes)
{
	ssize_t pages = away_fetch(&t->away, false, bytes);

	t->stat.prefetched_pages += (uint64_t)pages;
	look(t, FARMEM_EXECUTION);
	tell(t, (struct farmem_event){ .kind = FARMEM_PREFETCHED, .bytes = (uint64_t)pages * PAGE_BYTES });
}

static void settle(struct farmem_target *t)
{
	uint64_t used, hits;

	away_settle(&t->away, &used, &hits);
	t->stat.faults += used - hits;
	t->stat.prefetch_hits += hits;
}

static void do_detach(struct farmem_target *t, enum farmem_detach_how how)
{
	/* what is away comes back as it is touched, by whoever reads it; no more leaves */
	if (how == FARMEM_RECALL && t->engine->ways.v2 && t->group)
		(void)swap_max(t, "0");
	tell(t, (struct farmem_event){ .kind = FARMEM_DETACHED });
}

static void run(struct job *j)
{
	struct farmem_target *t = j->target;

	switch (j->kind) {
	case JOB_ATTACH:
		do_attach(t);
		break;
	case JOB_BARRIER:
		do_barrier(t, (enum farmem_segment)j->segments);
		break;
	case JOB_OFFLOAD:
		do_offload(t, j);
		break;
	case JOB_PREFETCH:
		do_prefetch(t, j->bytes);
		break;
	case JOB_REQUEST_END:
		settle(t);
		look(t, FARMEM_EXECUTION);
		tell(t, (struct farmem_event){ .kind = FARMEM_STAT });
		break;
	case JOB_REFRESH:
		look(t, FARMEM_EXECUTION);
		tell(t, (struct farmem_event){ .kind = FARMEM_STAT });
		break;
	case JOB_DETACH:
		do_detach(t, j->how);
		break;
	}
}

static void *thread(void *arg)
{
	struct farmem_engine *e = arg;
	struct job *j;
	bool mine;

	pthread_mutex_lock(&e->lock);
	for (;;) {
		while (!e->stopping && STAILQ_EMPTY(&e->jobs))
			pthread_cond_wait(&e->work, &e->lock);
		if (e->stopping)
			break;
		j = STAILQ_FIRST(&e->jobs);
		STAILQ_REMOVE_HEAD(&e->jobs, entry);
		pthread_mutex_unlock(&e->lock);
		mine = j->kind != JOB_DETACH;   /* that is the target's, which may be gone as soon as it is told so */
		run(j);
		if (mine)
			free(j);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* ---- the caller's side ---- */

static void give(struct farmem_engine *e, struct job *j)
{
	pthread_mutex_lock(&e->lock);
	STAILQ_INSERT_TAIL(&e->jobs, j, entry);
	pthread_cond_signal(&e->work);
	pthread_mutex_unlock(&e->lock);
}

/* Return: false without memory: what was asked for is left undone */
static bool ask(struct farmem_target *t, struct job what)
{
	struct job *j = t->detaching ? NULL : malloc(sizeof(*j));

	if (!j)
		return false;
	*j = what;
	j->target = t;
	give(t->engine, j);
	return true;
}

static struct farmem_target *target_free(struct farmem_target *t)
{
	if (!t)
		return NULL;
	away_done(&t->away);
	free(t->detach);
	free(t->group);
	free(t);
	return NULL;
}

static void op_probe(const struct farmem_options *options, struct farmem_probe *ret)
{
	reclaim_probe(options, NULL, ret);
}

static struct farmem_engine *op_close(struct farmem_engine *e)
{
	struct event *event;
	struct job *j;

	if (!e)
		return NULL;
	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	pthread_cond_signal(&e->work);
	pthread_mutex_unlock(&e->lock);
	pthread_join(e->thread, NULL);
	/* a target that was refused and detached is freed once: with its detach */
	while ((event = STAILQ_FIRST(&e->events))) {
		STAILQ_REMOVE_HEAD(&e->events, entry);
		if (event->e.kind == FARMEM_DETACHED || (event->e.kind == FARMEM_REFUSED && !event->e.target->detaching))
			target_free(event->e.target);
		free(event);
	}
	while ((j = STAILQ_FIRST(&e->jobs))) {
		STAILQ_REMOVE_HEAD(&e->jobs, entry);
		if (j->kind == JOB_DETACH)
			target_free(j->target);
		else
			free(j);
	}
	free(e->shown);
	fd_close(&e->fd);
	pthread_cond_destroy(&e->work);
	pthread_mutex_destroy(&e->lock);
	free(e);
	return NULL;
}

int reclaim_open(const struct reclaim_ways *ways, struct farmem_engine **ret, struct hearth_err *err)
{
	struct farmem_engine *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return err_set(err, -ENOMEM, "reclaim engine: out of memory");
	e->ways = *ways;
	STAILQ_INIT(&e->jobs);
	STAILQ_INIT(&e->events);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->work, NULL);
	e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = e->fd < 0 ? -errno : thread_spawn(&e->thread, thread, e);
	if (r < 0) {
		fd_close(&e->fd);
		pthread_cond_destroy(&e->work);
		pthread_mutex_destroy(&e->lock);
		free(e);
		return err_set(err, r, "reclaim engine: cannot start its thread: %s", strerror(-r));
	}
	*ret = e;
	return 0;
}

static int op_open(const struct farmem_options *options, struct farmem_engine **ret, struct hearth_err *err)
{
	struct farmem_probe probe;
	struct reclaim_ways ways;

	reclaim_probe(options, &ways, &probe);
	return probe.error ? err_set(err, probe.error, "%s", probe.why) : reclaim_open(&ways, ret, err);
}

static int op_fd(const struct farmem_engine *e)
{
	return e->fd;
}

/* the lock is held. A refusal of one that is to be detached: DETACHED is what its owner waits for */
static void drop_stale(struct farmem_engine *e)
{
	struct event *event;

	while ((event = STAILQ_FIRST(&e->events)) && event->e.kind == FARMEM_REFUSED && event->e.target->detaching) {
		STAILQ_REMOVE_HEAD(&e->events, entry);
		free(event);
	}
}

static int op_next(struct farmem_engine *e, struct farmem_event *ret)
{
	struct event *event;
	uint64_t count;

	free(e->shown);
	pthread_mutex_lock(&e->lock);
	drop_stale(e);
	e->shown = event = STAILQ_FIRST(&e->events);
	if (event)
		STAILQ_REMOVE_HEAD(&e->events, entry);
	else if (read(e->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		count = 0;              /* it stays readable, and is read again */
	pthread_mutex_unlock(&e->lock);
	if (!event)
		return 0;
	*ret = event->e;
	ret->stat = &event->stat;
	if (ret->kind == FARMEM_DETACHED || ret->kind == FARMEM_REFUSED)
		target_free(ret->target);       /* the caller gets its address, to compare */
	return 1;
}

static int op_attach(struct farmem_engine *e, const struct farmem_attach *what, struct farmem_target **ret, struct hearth_err *err)
{
	struct farmem_target *t = calloc(1, sizeof(*t));

	if (!t)
		goto err;
	t->engine = e;
	t->ctx = what->ctx;
	t->pid = what->pid;
	t->limit_bytes = what->memory_bytes;
	t->group = what->cgroup && e->ways.groups ? strdup(what->cgroup) : NULL;
	t->detach = calloc(1, sizeof(*t->detach));
	if ((what->cgroup && e->ways.groups && !t->group) || !t->detach || !ask(t, (struct job){ .kind = JOB_ATTACH }))
		goto err;
	*ret = t;
	return 0;
err:
	target_free(t);
	return err_set(err, -ENOMEM, "reclaim engine: %s: out of memory", what->name);
}

static void op_barrier(struct farmem_target *t, enum farmem_segment segment)
{
	ask(t, (struct job){ .kind = JOB_BARRIER, .segments = segment });
}

static void op_offload(struct farmem_target *t, unsigned segments, uint64_t bytes)
{
	ask(t, (struct job){ .kind = JOB_OFFLOAD, .segments = segments, .bytes = bytes, .number = ++t->numbered });
}

static void op_cancel(struct farmem_target *t)
{
	atomic_store(&t->cancelled, t->numbered);
}

static void op_prefetch(struct farmem_target *t, uint64_t bytes, uint64_t patience_ns)
{
	(void)patience_ns;
	ask(t, (struct job){ .kind = JOB_PREFETCH, .bytes = bytes });
}

/* generations are made anew by use: what was used is younger already */
static void op_rollback(struct farmem_target *t)
{
	ask(t, (struct job){ .kind = JOB_REFRESH });
}

static void op_request_begin(struct farmem_target *t)
{
	op_cancel(t);
}

static void op_request_end(struct farmem_target *t)
{
	ask(t, (struct job){ .kind = JOB_REQUEST_END });
}

static void op_refresh(struct farmem_target *t)
{
	ask(t, (struct job){ .kind = JOB_REFRESH });
}

static void op_detach(struct farmem_target *t, enum farmem_detach_how how)
{
	if (t->detaching)
		return;                 /* a RECALL is under way, and needs nothing of the process */
	op_cancel(t);
	t->detaching = true;
	*t->detach = (struct job){ .target = t, .kind = JOB_DETACH, .how = how };
	give(t->engine, t->detach);
}

const struct farmem_ops farmem_reclaim_engine = {
	.name = "reclaim",
	.probe = op_probe,
	.open = op_open,
	.close = op_close,
	.fd = op_fd,
	.next = op_next,
	.attach = op_attach,
	.barrier = op_barrier,
	.offload = op_offload,
	.cancel = op_cancel,
	.prefetch = op_prefetch,
	.rollback = op_rollback,
	.request_begin = op_request_begin,
	.request_end = op_request_end,
	.refresh = op_refresh,
	.detach = op_detach,
};
