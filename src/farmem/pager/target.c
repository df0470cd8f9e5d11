/* SPDX-License-Identifier: Apache-2.0 */
/* Instances, and what hearthd asks of them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/pagemap.h"
#include "base/proc.h"
#include "server.h"

/* the next one of a target's spaces; @after: NULL begins. Return: NULL: there are no more */
static struct space *next_space(struct pager *p, const struct target *t, struct space *after)
{
	const struct space *end = p->spaces + __atomic_load_n(&p->spaces_top, __ATOMIC_RELAXED);

	for (struct space *s = after ? after + 1 : p->spaces; s < end; s++)
		if (s->st->used == SPACE_LIVE && &p->targets[s->st->target] == t)
			return s;
	return NULL;
}

void target_tell(struct target *t, struct pager_event *e)
{
	e->version = PAGER_VERSION;
	e->tag = t->tag;
	if (t->client)
		client_tell(t->client, e);
}

static void tell(struct target *t, enum farmem_event_kind kind, uint64_t bytes, bool flag)
{
	struct pager_event e = { .kind = kind, .segment = kind == FARMEM_OFFLOADED ? t->offloads : 0, .bytes = bytes, .flag = flag };

	target_tell(t, &e);
}

void target_alone(struct pager *p, struct target *t)
{
	__atomic_store_n(&t->running, NULL, __ATOMIC_RELEASE);
	/* whoever has it yet has the lock */
	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		pthread_mutex_unlock(&s->lock);
	}
}

static void free_target(struct target *t)
{
	t->running = NULL;
	t->client = NULL;
	t->attached = t->known = t->lost_told = t->recalling = false;
	t->came_pages = t->offloads = 0;
	t->st->used = 0;
}

void target_refuse(struct target *t, int error, const char *why)
{
	struct pager_event e = { .kind = FARMEM_REFUSED, .error = error };

	snprintf(e.why, sizeof(e.why), "%s", why);
	target_tell(t, &e);
	free_target(t);
}

/* ---- spaces that end ---- */

static void forgotten(struct depot_op *op)
{
	free(op);
}

static void forget_all(struct space *s)
{
	struct depot_op *op = calloc(1, sizeof(*op));

	if (!op)
		return;
	*op = (struct depot_op){ .kind = DEPOT_DEL_ALL, .object = space_object(s), .done = forgotten };
	if (depot_submit(s->p->depot, op))
		forgotten(op);
}

/* its lock is held. Return: it is put away */
static bool put_away(struct space *s)
{
	if (s->fetches)
		return false;
	worker_leave(s);
	/* the last one that has pages under this object: a child may have its parent's */
	if (!space_children(s))
		forget_all(s);
	if (s->pidfd >= 0)
		(void)epoll_ctl(s->p->epoll_fd, EPOLL_CTL_DEL, s->pidfd, NULL);
	space_close(s);
	return true;
}

/* ---- progress ---- */

struct progress {
	uint64_t left, came, waited_ns;
	bool left_active, left_ended, came_active, came_ended;
};

static void take_progress(struct space *s, struct progress *g)
{
	g->left += s->out.done_pages;
	g->left_ended |= s->out.ended;
	g->left_active |= s->out.active || s->st->batch.phase != BATCH_NONE;
	s->out.done_pages = 0;
	if (s->st->forked)
		return;
	g->came += s->in.done_pages;
	g->came_ended |= s->in.ended;
	g->came_active |= s->in.active;
	g->waited_ns = s->in.waited_ns > g->waited_ns ? s->in.waited_ns : g->waited_ns;
	s->in.done_pages = 0;
}

static void settle_ended(struct pager *p, struct target *t, const struct progress *g)
{
	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		if (!g->left_active)
			s->out.ended = false;
		if (!g->came_active && !s->st->forked)
			s->in.ended = false;
		pthread_mutex_unlock(&s->lock);
	}
}

static void tell_progress(struct pager *p, struct target *t, const struct progress *g)
{
	if (g->left || (g->left_ended && !g->left_active))
		tell(t, FARMEM_OFFLOADED, g->left * PAGE_BYTES, g->left_ended && !g->left_active);
	t->came_pages += g->came;
	if (g->came_ended && !g->came_active && !t->recalling) {
		struct pager_event e = { .kind = FARMEM_PREFETCHED, .bytes = t->came_pages * PAGE_BYTES, .waited_ns = g->waited_ns };

		target_tell(t, &e);
		t->came_pages = 0;
	}
	settle_ended(p, t, g);
}

static void tell_lost(struct target *t)
{
	struct pager_event e = { .kind = FARMEM_LOST, .error = __atomic_load_n(&t->st->lost, __ATOMIC_ACQUIRE) };

	if (!e.error || t->lost_told || !t->client)
		return;
	snprintf(e.why, sizeof(e.why), "%s", t->st->why);
	target_tell(t, &e);
	t->lost_told = true;
}

static void detached(struct target *t, int error, const char *why)
{
	struct pager_event e = { .kind = FARMEM_DETACHED, .error = error };

	snprintf(e.why, sizeof(e.why), "%s", why);
	target_tell(t, &e);
	free_target(t);
}

/* Return: nothing of it is away, and nothing is under way */
static bool at_home(struct space *s)
{
	return s->st->batch.phase == BATCH_NONE && !s->fetches && !s->in.active && !s->held && fetch_complete(s);
}

static void recall(struct pager *p, struct target *t)
{
	bool all = true;

	if (t->st->lost) {
		detached(t, t->st->lost, t->st->why);
		return;
	}
	/* a helper that is being met would have its userfaultfd for nobody: what comes of that is let go then */
	if (greet_pending(p, t))
		return;
	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		if (!at_home(s)) {
			all = false;
			fetch_hurry(s);
			if (!s->in.active && s->st->batch.phase == BATCH_NONE && fetch_begin(s, true, UINT64_MAX, 0) < 0)
				log_warn("instance %s: its memory comes back as it is touched: out of memory", t->st->name);
		}
		pthread_mutex_unlock(&s->lock);
	}
	if (!all)
		return;
	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		space_let_go(s);
		all &= put_away(s);
		pthread_mutex_unlock(&s->lock);
	}
	/* it may have forked on the way */
	if (all && !next_space(p, t, NULL))
		detached(t, 0, "");
}

void target_look(struct pager *p, struct target *t)
{
	struct progress g = { 0 };
	bool any = false;

	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		take_progress(s, &g);
		if (s->gone || (s->st->forked && !s->in.active && !s->fetches && fetch_complete(s)))
			(void)put_away(s);
		pthread_mutex_unlock(&s->lock);
	}
	tell_progress(p, t, &g);
	tell_lost(t);
	any = next_space(p, t, NULL) != NULL;
	/* nobody will ask for it again */
	if (!any && !t->client && !greet_pending(p, t)) {
		free_target(t);
		return;
	}
	if (!t->attached && t->client && !greet_pending(p, t)) {
		t->attached = any;
		if (any)
			tell(t, FARMEM_ATTACHED, 0, t->known);
	}
	if (t->recalling)
		recall(p, t);
}

/* ---- what is asked ---- */

static struct target *find(struct client *c, uint64_t tag)
{
	for (struct target *t = c->p->targets; t < c->p->targets + TARGETS_MAX; t++)
		if (t->st->used && t->client == c && t->tag == tag)
			return t;
	return NULL;
}

static struct target *find_process(struct pager *p, const struct pager_request *r)
{
	for (struct target *t = p->targets; t < p->targets + TARGETS_MAX; t++)
		if (t->st->used && t->st->pid == r->pid && t->st->starttime == r->starttime)
			return t;
	return NULL;
}

static struct target *make(struct client *c, const struct pager_request *r)
{
	for (struct target *t = c->p->targets; t < c->p->targets + TARGETS_MAX; t++) {
		if (t->st->used)
			continue;
		*t->st = (struct target_state){ .used = 1, .generation = t->st->generation + 1, .pid = r->pid, .starttime = r->starttime, .object = r->object };
		snprintf(t->st->name, sizeof(t->st->name), "%.*s", (int)sizeof(r->name) - 1, r->name);
		return t;
	}
	return NULL;
}

static void attach(struct client *c, const struct pager_request *r)
{
	struct target *t = find_process(c->p, r), none = { .client = c, .tag = r->tag, .st = &(struct target_state){ 0 } };
	int found;

	if (t) {
		t->client = c;
		t->tag = r->tag;
		t->known = true;
		t->attached = t->lost_told = t->recalling = false;
		t->st->requests = 0;
	} else {
		t = make(c, r);
		if (!t) {
			target_refuse(&none, -EMFILE, "the pager has as many instances as it can");
			return;
		}
		t->client = c;
		t->tag = r->tag;
	}
	if (c->running && r->arg < PAGER_TARGETS_MAX)
		__atomic_store_n(&t->running, &c->running[r->arg], __ATOMIC_RELEASE);
	found = greet_find(c->p, t);
	if (found < 0)
		target_refuse(t, found, "its network name space cannot be entered, or it ended");
	else if (found == 0)
		target_refuse(t, -EOPNOTSUPP, "none of its processes has libhearth-warm.so: a static or privileged program, or one that was started without it");
	else
		target_look(c->p, t);
}

static bool count_segment(void *ctx, uint64_t address, uint64_t entry)
{
	struct figures *n = ctx;

	if (entry_state(entry) == PAGE_REMOTE || entry_state(entry) == PAGE_LOST)
		n->remote_pages[entry_segment(entry)]++;
	else if (entry_state(entry) != PAGE_UNKNOWN)
		n->resident_pages[entry_segment(entry)]++;
	return true;
}

static void barrier(struct pager *p, struct target *t, enum farmem_segment segment)
{
	struct pager_event e = { .kind = FARMEM_BARRIER, .segment = segment };

	(void)greet_find(p, t);
	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		struct figures n = { 0 };

		pthread_mutex_lock(&s->lock);
		if (!s->st->forked && !s->gone && out_barrier(s, segment) == -ESRCH)
			space_gone(s);
		where_each(&s->where, count_segment, &n);
		e.bytes += (n.resident_pages[segment] + n.remote_pages[segment]) * PAGE_BYTES;
		pthread_mutex_unlock(&s->lock);
	}
	target_tell(t, &e);
}

static void offload(struct pager *p, struct target *t, unsigned segments, uint64_t bytes)
{
	bool any = false;

	(void)greet_find(p, t);
	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		any |= !t->st->lost && out_begin(s, segments, bytes) == 0;
		pthread_mutex_unlock(&s->lock);
	}
	if (!any)
		tell(t, FARMEM_OFFLOADED, 0, true);
}

static void cancel(struct pager *p, struct target *t)
{
	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		out_cancel(s);
		pthread_mutex_unlock(&s->lock);
	}
}

static void prefetch(struct pager *p, struct target *t, uint64_t bytes, uint64_t patience_ns)
{
	bool any = false;

	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		any |= !s->st->forked && fetch_begin(s, false, bytes, patience_ns) == 0;
		pthread_mutex_unlock(&s->lock);
	}
	if (!any)
		tell(t, FARMEM_PREFETCHED, 0, false);
}

static bool roll_one(void *ctx, uint64_t address, uint64_t entry)
{
	struct space *s = ctx;

	if (entry_state(entry) == PAGE_LOCAL && (entry & ENTRY_USED))
		(void)where_set(&s->where, address, entry_with_segment(entry, FARMEM_EXECUTION));
	return true;
}

static void rollback(struct pager *p, struct target *t)
{
	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		where_each(&s->where, roll_one, s);
		pthread_mutex_unlock(&s->lock);
	}
}

static bool count_working_set(void *ctx, uint64_t address, uint64_t entry)
{
	struct farmem_stat *n = ctx;

	if (!(entry & ENTRY_SET) || entry_state(entry) == PAGE_LOST)
		return true;
	n->ws_bytes += PAGE_BYTES;
	n->ws_remote_bytes += entry_state(entry) == PAGE_REMOTE ? PAGE_BYTES : 0;
	return true;
}

#define UNCOVERED_EVERY 16              /* refreshes: every mapping is looked at for it */

static void add_uncovered(struct space *s, struct farmem_stat *n)
{
	static const enum look_reason reasons[FARMEM_UNCOVERED_KINDS] = { [FARMEM_UNCOVERED_FILE] = LOOK_FILE, [FARMEM_UNCOVERED_LIBC] = LOOK_BSS, [FARMEM_UNCOVERED_PROTECTION] = LOOK_PROTECTION,
		[FARMEM_UNCOVERED_HELPER] = LOOK_OWN, [FARMEM_UNCOVERED_SPECIAL] = LOOK_SPECIAL };

	if (!s->st->forked && !s->gone && s->refreshes++ % UNCOVERED_EVERY == 0) {
		FD_AUTO int pagemap = pagemap_open(s->st->pid);

		if (pagemap < 0 || look_uncovered(s->st->pid, pagemap, s->st->own, OWN_MAX, s->uncovered) < 0)
			memset(s->uncovered, 0, sizeof(s->uncovered));
	}
	for (unsigned k = 0; k < FARMEM_UNCOVERED_KINDS; k++)
		n->uncovered[k] += s->uncovered[reasons[k]];
	n->refused_bytes += s->st->figures.fixed_pages * PAGE_BYTES;
	if (s->st->figures.put_error)
		n->pool_error = s->st->figures.put_error;
}

static void add_space(struct space *s, struct farmem_stat *n)
{
	struct figures *f = &s->st->figures, now = { 0 };
	uint64_t mine = 0, all = s->st->forked ? 0 : look_resident(s->st->pid);

	if (!s->st->forked && !s->gone)
		(void)out_scan(s, NULL, NULL);
	where_each(&s->where, count_segment, &now);
	where_each(&s->where, count_working_set, n);
	for (unsigned k = 0; k < FARMEM_SEGMENTS; k++) {
		n->resident_bytes[k] += now.resident_pages[k] * PAGE_BYTES;
		n->remote_bytes[k] += now.remote_pages[k] * PAGE_BYTES;
		mine += now.resident_pages[k] * PAGE_BYTES;
	}
	n->offloaded_bytes += f->offloaded_pages * PAGE_BYTES;
	n->recalled_bytes += f->recalled_pages * PAGE_BYTES;
	n->faults += f->faults;
	n->prefetched_pages += f->prefetched_pages;
	if (f->sampled)
		n->prefetch_hits += f->prefetched_pages * f->sampled_used / f->sampled;
	n->uncovered_bytes += all > mine ? all - mine : 0;
	add_uncovered(s, n);
	n->pool_bytes += depot_bytes(s->p->depot, &(struct farmem_object){ space_object(s).tenant, space_object(s).function, s->st->store_instance });
	farmem_latency_merge(&n->fault_latency, &f->latency);
}

static void refresh(struct pager *p, struct target *t)
{
	struct pager_event e = { .kind = FARMEM_STAT };

	for (struct space *s = next_space(p, t, NULL); s; s = next_space(p, t, s)) {
		pthread_mutex_lock(&s->lock);
		add_space(s, &e.stat);
		pthread_mutex_unlock(&s->lock);
	}
	target_tell(t, &e);
}

static void detach(struct pager *p, struct target *t, enum farmem_detach_how how)
{
	if (how == FARMEM_RECALL) {
		cancel(p, t);
		t->recalling = true;
		recall(p, t);
		return;
	}
	/* ENDED: each of its processes is served until it has ended, then what it has in the pool goes; nothing may read zeros meanwhile */
	t->recalling = false;
	tell(t, FARMEM_DETACHED, 0, false);
	t->client = NULL;
	target_alone(p, t);
	target_look(p, t);
}

void target_request(struct client *c, const struct pager_request *r)
{
	struct target *t = r->op == PAGER_ATTACH ? NULL : find(c, r->tag);

	if (r->op == PAGER_ATTACH)
		attach(c, r);
	if (!t)
		return;                         /* it is gone, as an event says that is on its way */
	switch ((enum pager_op)r->op) {
	case PAGER_BARRIER:
		barrier(c->p, t, r->arg < FARMEM_SEGMENTS ? r->arg : FARMEM_EXECUTION);
		break;
	case PAGER_OFFLOAD:
		t->offloads = r->number;
		offload(c->p, t, r->arg, r->bytes);
		break;
	case PAGER_CANCEL:
		cancel(c->p, t);
		break;
	case PAGER_PREFETCH:
		prefetch(c->p, t, r->bytes, r->patience_ns);
		break;
	case PAGER_ROLLBACK:
		rollback(c->p, t);
		break;
	case PAGER_BEGIN:
		if (__atomic_fetch_add(&t->st->requests, 1, __ATOMIC_RELAXED) == 0)
			cancel(c->p, t);
		break;
	case PAGER_END:
		if (t->st->requests)
			__atomic_fetch_sub(&t->st->requests, 1, __ATOMIC_RELAXED);
		break;
	case PAGER_REFRESH:
		refresh(c->p, t);
		break;
	case PAGER_DETACH:
		detach(c->p, t, r->arg);
		break;
	case PAGER_ATTACH:
	case PAGER_RUNNING:
	case PAGER_STOP:
		break;
	}
}
