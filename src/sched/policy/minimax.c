/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minimax: nothing is reserved. To start a request now takes a worker from the shorter types for a while: that costs them some tail slowdown, which is
 * predicted (G). To hold it costs its own type: it has suffered a slowdown already (U). It starts when G is not more than U's share, else it is looked at again when that
 * may have changed. docs/adr/0010-minimax.md says why this works.
 */
#include <math.h>
#include <string.h>

#include "fcfs.h"
#include "fp.h"

#define K 1.4f                  /* how much of its own slowdown a request may pass on */
#define Z 2.0f                  /* standard deviations of the arriving work that are prepared for */
#define SIMILAR 1.6f            /* what any may cost a group, times how short that group's are against its own time */
#define OVERTAKE 1.5f           /* a longer type goes first when its head suffers that much more than the shorter's */
#define GROUP_DELTA .2
#define RARE 8e-4               /* share of all requests that meet a crowd, below which nothing is held for them: the tail is elsewhere; */
#define COMMON 1e-2             /* and from which on they are prepared for Z standard deviations more; between, for fewer: a crowd is a rare start already */
#define CROWD .02               /* probability of a crowd from which on that is so for rare types, too */
#define TOLERANCE 1.001f        /* a prediction is not that exact */
#define OVERDUE .1f             /* of its mean: what is left at least of one that takes longer than that */
#define EARLY .02f              /* of its mean: an end that much sooner than predicted is news */
#define NOISE .4f               /* how far ends of requests that vary are taken for memoryless, for each worker's coefficient of variation; */
#define SPACING 1.5f            /* mean distances between ends of memoryless requests that are prepared for */
#define NOISE_MIN .02f          /* less is not looked at */
#define LOOK_AGAIN .1f          /* of the shortest mean that matters: not sooner than that */

/* ---- what runs ---- */

static void busy_insert(struct sched *s, uint32_t worker, uint64_t end_ns)
{
	struct minimax *m = &s->minimax;
	uint32_t k = m->busy_n++;

	m->end_ns[worker] = end_ns;
	for (; k > 0 && m->end_ns[m->busy[k - 1]] > end_ns; k--)
		m->busy[k] = m->busy[k - 1];
	m->busy[k] = (uint8_t)worker;
}

static void busy_remove(struct minimax *m, uint32_t worker)
{
	uint32_t k = 0;

	while (m->busy[k] != worker)
		k++;
	m->busy_n--;
	for (; k < m->busy_n; k++)
		m->busy[k] = m->busy[k + 1];
}

static void runs(struct sched *s, uint32_t type, uint32_t worker, uint64_t start_ns)
{
	if (s->types[type].queue == 0)
		bit_set(s->minimax.shortest, worker);
	else
		busy_insert(s, worker, start_ns + (uint64_t)s->minimax.type[type].mean);
}

static void busy_all(struct sched *s)
{
	s->minimax.busy_n = 0;
	memset(s->minimax.shortest, 0, sizeof(s->minimax.shortest));
	for (uint32_t w = 0; w < s->workers_n; w++) {
		if (s->workers[w].type != NONE)
			runs(s, s->workers[w].type, w, s->workers[w].start_ns);
	}
}

/* ---- the model ---- */

static double erlang_c(uint32_t servers, double load)
{
	double b = 1;

	if (load >= servers)
		return 1;
	for (uint32_t i = 1; i <= servers; i++)
		b = load * b / (i + load * b);
	return b / (1 - load / servers * (1 - b));
}

/* Groups by mean, wider ones if there would be too many. Return: how many; those of no known mean are with the unknown ones in one more. */
static uint32_t group_types(const struct sched *s, const uint16_t *order, uint16_t *of)
{
	uint32_t n = MINIMAX_GROUPS;

	for (double delta = GROUP_DELTA; n >= MINIMAX_GROUPS; delta *= 1.4) {
		double shortest = 0;

		n = 0;
		for (uint32_t i = 0; i < s->types_n; i++) {
			double mean = s->est.of[order[i]].mean_ns;

			if (mean <= 0)
				continue;
			if (n == 0 || mean - shortest >= delta * shortest) {
				n++;
				shortest = mean;
			}
			of[order[i]] = (uint16_t)(n - 1);
		}
	}
	for (uint32_t t = 0; t < s->types_n; t++) {
		if (s->est.of[t].mean_ns <= 0)
			of[t] = (uint16_t)n;
	}
	of[s->types_n] = (uint16_t)n;
	return n;
}

static void model_type(struct minimax_type *m, double mean, double pe)
{
	double c2 = fmin(1, pe / (mean * mean));

	*m = (struct minimax_type){
		.mean = (float)mean, .inv_mean = (float)(1 / mean), .slope = (float)(1 - c2), .floor = (float)(c2 * mean), .overdue = (float)(1.001 * mean),
		.overdue_floor = (float)(fmax(c2, OVERDUE) * mean), .cv = (float)sqrt(c2),
	};
}

/* @rho, @v: of the group and the shorter ones; @crowded: share of all requests that are of those, and meet a crowd */
static void model_group(struct sched *s, struct minimax_group *g, double rho, double v, double crowded)
{
	struct minimax *m = &s->minimax;
	uint32_t i = (uint32_t)(g - m->group);

	g->rho = (float)rho;
	g->matters = rho > 0 && crowded >= RARE;
	g->zv = Z * (float)(sqrt(v) * fmin(1, fmax(0, log(crowded / RARE) / log(COMMON / RARE))));
	g->bunch = rho > 0 ? (float)(.5 * v / rho) : 0;
	for (uint32_t k = 1; k <= s->workers_n; k++) {
		float root = k > rho ? g->zv / (2 * ((float)k - g->rho)) : INFINITY;

		m->peak_root[i][k] = root;
		m->peak[i][k] = root * root;
	}
}

/* How much of the rate that was measured may be chance: a standard deviation of the number of requests that are remembered. */
static double rate_of(const struct estimate *e)
{
	return e->samples > 0 ? e->rate * (1 + 1 / sqrt(e->samples + 1)) : e->rate;
}

static void list_types(struct sched *s, const uint16_t *of)
{
	struct minimax *m = &s->minimax;
	uint16_t n = 0;

	for (uint32_t g = 0; g < MINIMAX_GROUPS; g++) {
		m->group[g].first = n;
		for (uint32_t t = 0; t <= s->types_n; t++) {
			if (of[t] == g)
				m->by_group[n++] = (uint16_t)t;
		}
	}
	m->group[MINIMAX_GROUPS].first = n;
}

static float least_slowdown(const struct minimax *m, uint32_t g, float rest, uint32_t workers);

/* what each group brings. @ret_rho, @ret_v, @ret_rate: of it and the shorter ones */
static void model_work(struct sched *s, const uint16_t *of, double longest, double *ret_rho, double *ret_v, double *ret_rate)
{
	struct minimax *m = &s->minimax;
	double rho = 0, v = 0, rate = 0;

	for (uint32_t g = 0; g <= m->groups_n; g++) {
		double shortest = longest, before = rho;

		for (uint32_t t = 0; t <= s->types_n; t++) {
			const struct estimate *e = &s->est.of[t];

			if (of[t] != g)
				continue;
			rho += rate_of(e) * e->mean_ns;
			v += rate_of(e) * e->m2;
			rate += e->rate;
			shortest = fmin(shortest, m->type[t].mean);
		}
		m->group[g].mean = (float)shortest;
		m->group[g].inv_mean = (float)(1 / shortest);
		m->group[g].own_rho = rho - before;
		ret_rho[g] = rho;
		ret_v[g] = v;
		ret_rate[g] = rate;
	}
}

static void model_groups(struct sched *s, const uint16_t *of, double longest)
{
	struct minimax *m = &s->minimax;
	double rho[MINIMAX_GROUPS], v[MINIMAX_GROUPS], rate[MINIMAX_GROUPS], crowd;
	uint32_t last = m->groups_n;

	model_work(s, of, longest, rho, v, rate);
	crowd = erlang_c(s->workers_n, rho[last]);
	m->plain = crowd < RARE;
	for (uint32_t g = 0; g <= last; g++) {
		double share = rate[last] > 0 ? rate[g] / rate[last] : 1;

		model_group(s, &m->group[g], rho[g], v[g], crowd * fmax(share, fmin(1, crowd / CROWD)));
		m->group[g].binding = 0;
	}
	for (uint32_t g = 1; g <= last; g++) {
		for (uint32_t k = 0; k < g; k++)
			m->group[g].least[k] = least_slowdown(m, k, m->group[g].mean, s->workers_n);
	}
}

static void model(struct sched *s)
{
	struct minimax *m = &s->minimax;
	uint16_t order[TYPES], of[TYPES] = { 0 };
	uint32_t n, u = s->types_n;
	double longest = 1;
	float noise = 0;

	types_by_mean(s, order);
	m->groups_n = n = group_types(s, order, of);
	for (uint32_t t = 0; t <= u; t++)
		longest = fmax(longest, s->est.of[t].mean_ns);
	for (uint32_t t = 0; t <= u; t++) {
		const struct estimate *e = &s->est.of[t];

		/* what is not known is taken for long */
		model_type(&m->type[t], of[t] < n ? e->mean_ns : longest, of[t] < n ? e->pe : 0);
		noise = fmaxf(noise, m->type[t].cv);
	}
	m->noisy = noise * (float)s->workers_n > NOISE_MIN / NOISE;
	model_groups(s, of, longest);
	list_types(s, of);
	if (sched_map(s, n + 1, of) || !m->ready)
		busy_all(s);
	m->held = 0;
	m->ready = n > 0;
	m->updates++;
}

/* ---- the decision ---- */

/* what is left of a request: the more service times vary, the less its age says */
static inline float rest_of(const struct minimax_type *t, float age)
{
	float r = t->mean - age * t->slope, low = age > t->overdue ? t->overdue_floor : t->floor;

	return r > low ? r : low;
}

static void view_queued(const struct sched *s, struct minimax_view *v)
{
	const struct minimax *m = &s->minimax;
	float queued = 0;

	for (uint32_t g = 0; g < m->groups_n; g++) {
		for (uint32_t i = m->group[g].first; waits(s, g) && i < m->group[g + 1].first; i++)
			queued += (float)(int32_t)s->types[m->by_group[i]].depth * m->type[m->by_group[i]].mean;
		v->queued[g] = queued;
	}
}

static void view_make(const struct sched *s, uint64_t now_ns, struct minimax_view *v)
{
	const struct minimax *m = &s->minimax;

	v->made = true;
	v->shortest_n = 0;
	v->shortest = 0;
	for (uint32_t i = 0; i < s->words; i++) {
		for (uint64_t some = m->shortest[i]; some; some &= some - 1) {
			const struct worker *w = &s->workers[i * 64 + (uint32_t)__builtin_ctzll(some)];

			v->shortest += rest_of(&m->type[w->type], (float)(int64_t)(now_ns - w->start_ns));
			v->shortest_n++;
		}
	}
	for (uint32_t i = 0; i < m->busy_n; i++) {
		const struct worker *w = &s->workers[m->busy[i]];
		float rest = rest_of(&m->type[w->type], (float)(int64_t)(now_ns - w->start_ns));
		uint32_t k = i;

		/* almost in order already */
		for (; k > 0 && v->run[k - 1].rest > rest; k--)
			v->run[k] = v->run[k - 1];
		v->run[k] = (struct minimax_run){ rest, (uint16_t)s->types[w->type].queue, (uint16_t)w->type };
	}
	v->n = m->busy_n;
	v->idle = sched_idle(s);
	v->workers = v->idle + v->shortest_n + v->n;
	view_queued(s, v);
}

/* What one group sees of that when a longer request starts now. */
struct part {
	uint32_t n, shorter_n, mine;            /* mine: the place of the one that starts */
	float work;                             /* of this group and shorter ones, running and waiting */
	float rest[SCHED_WORKERS_MAX + 1];      /* of longer ones */
	uint16_t type[SCHED_WORKERS_MAX + 1];   /* only when service times are noisy */
};

static void part_make(const struct minimax *m, const struct minimax_view *v, uint32_t g, uint32_t type, struct part *p)
{
	uint32_t n = 0, k;
	float work = v->queued[g] + v->shortest, mine = m->type[type].mean;

	for (k = 0; k < v->n; k++) {
		bool longer = v->run[k].group > g;

		p->rest[n] = v->run[k].rest;
		p->type[n] = v->run[k].type;
		work += longer ? 0 : v->run[k].rest;
		n += longer;
	}
	p->shorter_n = v->shortest_n + v->n - n;
	for (k = n; k > 0 && p->rest[k - 1] > mine; k--) {
		p->rest[k] = p->rest[k - 1];
		p->type[k] = p->type[k - 1];
	}
	p->rest[k] = mine;
	p->type[k] = (uint16_t)type;
	p->mine = k;
	p->n = n + 1;
	p->work = work;
}

/* Requests that are hard to predict end at the rate of memoryless ones, to a degree. */
static void part_spread(const struct minimax *m, struct part *p)
{
	float rate = 0, c = 0, h = 0;

	for (uint32_t k = 0; k < p->n; k++) {
		rate += m->type[p->type[k]].inv_mean;
		c += m->type[p->type[k]].cv;
	}
	c *= NOISE;
	c = c < 1 ? c : 1;
	if (c <= NOISE_MIN)
		return;
	for (uint32_t k = 0; k < p->n; k++) {
		h += SPACING / rate;
		rate -= m->type[p->type[k]].inv_mean;
		rate = rate > 1e-12f ? rate : 1e-12f;
		p->rest[k] = (1 - c) * p->rest[k] + c * h;
	}
}

/* a wait, how much of it passes with time while the request is held, and for how long that is so */
struct wait { float ns, slope, kink_ns; };

/*
 * How long a request of group @g may have to wait: the largest excess of work over what the workers have done by then, shared among them. There are `free` workers for it,
 * and one more at each rest; the excess is largest at one of the rests, or where the arriving work's deviation stops to outgrow what the workers do (peak).
 */
static struct wait wait_of(const struct minimax *m, uint32_t g, const struct part *p, uint32_t workers)
{
	const struct minimax_group *x = &m->group[g];
	uint32_t n = p->n, free = workers - n;
	struct wait worst = { 0, 1, INFINITY };
	float done = 0, from = 0;

	if (free == 0)
		worst.ns = p->rest[0];
	for (uint32_t k = 0; k <= n; k++, free++) {
		float to = k < n ? p->rest[k] : INFINITY, t, root, excess;
		bool peaks;

		if (free == 0) {
			from = to;
			continue;
		}
		t = m->peak[g][free];
		peaks = t < to;
		root = m->peak_root[g][free];
		if (!peaks || t < from) {
			t = peaks || k == n ? from : to;
			root = sqrtf(t);
		}
		excess = p->work + x->rho * t + x->zv * root - done - (float)free * (t - from) - (float)(free - 1) * x->bunch;
		excess *= m->inv[free];
		if (excess > worst.ns) {
			/* Those that will have ended by then end sooner when this one is held; it does not itself. One that ends a little later will have, too. */
			uint32_t ended = k + (t >= to), next = ended + (ended == p->mine);

			worst.ns = excess;
			worst.slope = (float)(p->shorter_n + ended - (p->mine < ended)) * m->inv[free];
			worst.kink_ns = next < n ? p->rest[next] - t : INFINITY;
		}
		if (peaks)
			break;
		done += (float)free * (to - from);
		from = to;
	}
	return worst;
}

/* of group @g, when nothing runs but one longer request */
static float least_slowdown(const struct minimax *m, uint32_t g, float rest, uint32_t workers)
{
	struct part p = { .n = 1, .rest = { rest } };

	return 1 + wait_of(m, g, &p, workers).ns * m->group[g].inv_mean;
}

struct candidate { uint32_t group, type; float slowdown; };

/* what a start now may cost group @g; @ret_ns: how long it has to be held at least until that is not over the limit any more, if it is */
static float slowdown_of(const struct sched *s, uint64_t now_ns, const struct minimax_view *v, uint32_t g, const struct candidate *c, float limit,
	float *ret_ns)
{
	const struct minimax *m = &s->minimax;
	struct part p;
	struct wait wait;
	float x;

	part_make(m, v, g, c->type, &p);
	if (m->noisy)
		part_spread(m, &p);
	wait = wait_of(m, g, &p, v->workers);
	x = 1 + wait.ns * m->group[g].inv_mean;
	*ret_ns = fminf((x - limit) / (wait.slope * m->group[g].inv_mean + K * m->type[c->type].inv_mean), wait.kink_ns);
	if (v->idle == 1 && waits(s, g)) {
		/* it would take the last idle worker from one that waits already */
		const struct node *y = head_of(s, g);
		float first = v->n > 0 && v->run[0].rest < m->type[c->type].mean ? v->run[0].rest : m->type[c->type].mean;
		float suffered = 1 + ((float)(int64_t)(now_ns - y->arrival_ns) + first) * m->type[y->type].inv_mean;

		if (suffered > x) {
			x = suffered;
			*ret_ns = (x - limit) * .5f * m->group[g].mean;
		}
	}
	*ret_ns = fmaxf(*ret_ns, LOOK_AGAIN * m->group[g].mean);
	return x;
}

/* Does a start now cost no shorter group more than what this one's own slowdown allows? If it does: how much, and how long to hold it at least. */
static bool affordable(struct sched *s, uint64_t now_ns, const struct candidate *c, float *ret_slowdown, float *ret_ns)
{
	struct minimax *m = &s->minimax;
	uint32_t first = m->group[c->group].binding;
	float limit;

	m->evaluations++;
	if (!m->view.made)
		view_make(s, now_ns, &m->view);
	for (uint32_t i = 0; i < c->group; i++) {
		/* the one that mattered last is likely to matter again */
		uint32_t g = i == 0 ? first : i <= first ? i - 1 : i;

		if (!m->group[g].matters)
			continue;
		/* The less a request differs from the shorter ones, the less it can cost them, and the less is gained by idling; and what it costs anyhow is no reason to hold it. */
		limit = fmaxf(1 + K * (c->slowdown - 1), 1 + SIMILAR * m->group[g].mean * m->type[c->type].inv_mean);
		limit = fmaxf(limit, m->group[c->group].least[g]);
		*ret_slowdown = slowdown_of(s, now_ns, &m->view, g, c, limit, ret_ns);
		if (*ret_slowdown > limit * TOLERANCE) {
			m->group[c->group].binding = (uint16_t)g;
			m->group[c->group].held_limit = limit;
			return false;
		}
	}
	return true;
}

/* The heads of these groups: shorter ones first, but not those that suffer much less. */
static uint32_t candidates(const struct sched *s, uint64_t now_ns, uint64_t groups, struct candidate *ret)
{
	uint32_t n = 0;

	for (; groups; groups &= groups - 1) {
		uint32_t g = (uint32_t)__builtin_ctzll(groups), k = n++;
		const struct node *y = head_of(s, g);
		float wait = (float)(int64_t)(now_ns - y->arrival_ns) * s->minimax.type[y->type].inv_mean;
		struct candidate c = { g, y->type, 1 + wait };

		for (; k > 0 && ret[k - 1].slowdown * OVERTAKE < c.slowdown; k--)
			ret[k] = ret[k - 1];
		ret[k] = c;
	}
	return n;
}

static void hold(struct sched *s, const struct candidate *c, uint64_t until_ns)
{
	struct minimax *m = &s->minimax;
	uint16_t bit = (uint16_t)(1u << c->group);

	s->counts[c->type].held += !(m->counted & bit);
	m->counted |= bit;
	m->held_until_ns = m->held && m->held_until_ns < until_ns ? m->held_until_ns : until_ns;
	m->held |= bit;
	m->group[c->group].hold_until_ns = until_ns;
}

/* holds that have ended, end */
static void release(struct minimax *m, uint64_t now_ns)
{
	m->held_until_ns = SCHED_NEVER;
	for (uint32_t some = m->held; some; some &= some - 1) {
		uint32_t g = (uint32_t)__builtin_ctz(some);
		uint64_t until = m->group[g].hold_until_ns;

		if (until <= now_ns)
			m->held &= (uint16_t)~(1u << g);
		else
			m->held_until_ns = until < m->held_until_ns ? until : m->held_until_ns;
	}
}

/* May it start? If not, it is held. */
static bool may_start(struct sched *s, uint64_t now_ns, const struct candidate *c)
{
	struct minimax_group *g = &s->minimax.group[c->group];
	float most = (float)s->cfg.hold_max, again;

	if (c->group == 0 || s->minimax.plain || (most > 0 && c->slowdown >= most) || affordable(s, now_ns, c, &g->held_g, &again))
		return true;
	if (most > 0)
		again = fminf(again, (most - c->slowdown) * s->minimax.type[c->type].mean);
	hold(s, c, now_ns + (uint64_t)again + 1);
	return false;
}

static uint64_t pick_of_several(struct sched *s, uint64_t now_ns, uint64_t groups, uint32_t worker)
{
	struct minimax *m = &s->minimax;
	struct candidate c[MINIMAX_GROUPS];
	uint32_t n = candidates(s, now_ns, groups, c);

	m->view.made = false;
	for (uint32_t i = 0; i < n; i++) {
		if (may_start(s, now_ns, &c[i])) {
			m->counted &= (uint16_t)~(1u << c[i].group);
			return pick_of(c[i].group, worker);
		}
	}
	s->timer_ns = m->held_until_ns;
	return PICK_NONE;
}

static uint64_t pick(struct sched *s, uint64_t now_ns)
{
	struct minimax *m = &s->minimax;
	uint64_t groups;
	uint32_t w;

	if (!m->ready)
		return fcfs_pick(s, now_ns);
	w = bit_first(s->idle, s->words);
	if (w == NONE)
		return PICK_NONE;
	if (m->held && now_ns >= m->held_until_ns)
		release(m, now_ns);
	groups = s->queues.nonempty[0] & ~(uint64_t)m->held;
	if (groups == 1)
		return pick_of(0, w);
	if (groups != 0)
		return pick_of_several(s, now_ns, groups, w);
	s->timer_ns = m->held_until_ns;
	return PICK_NONE;
}

/* ---- events ---- */

static void started(struct sched *s, uint64_t now_ns, uint32_t queue, uint32_t type, uint32_t worker)
{
	runs(s, type, worker, now_ns);
}

/* One that ends sooner than was thought may make room for those that are held; one that ends when it should does not. */
static void done(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t worker)
{
	struct minimax *m = &s->minimax;
	const struct minimax_type *t = &m->type[type];

	if (s->types[type].queue == 0) {
		bit_clear(m->shortest, worker);
		return;
	}
	busy_remove(m, worker);
	if (rest_of(t, (float)(int64_t)(now_ns - s->workers[worker].start_ns)) > EARLY * t->mean)
		m->held = 0;
}

static void learnt(struct sched *s, uint64_t now_ns)
{
	model(s);
}

static void workers(struct sched *s, uint64_t now_ns)
{
	busy_all(s);
	s->minimax.held = 0;
}

static void attach(struct sched *s, uint64_t now_ns)
{
	struct minimax *m = &s->minimax;
	uint64_t updates = m->updates;

	memset(m, 0, sizeof(*m));
	m->updates = updates;
	for (uint32_t k = 1; k <= SCHED_WORKERS_MAX; k++)
		m->inv[k] = 1.0f / (float)k;
	fcfs_attach(s, now_ns);
	busy_all(s);
	if (s->est.closed > 0)
		model(s);
}

/* ---- saying so ---- */

static size_t groups(const struct sched *s, struct sched_group *ret, size_t max)
{
	const struct minimax *m = &s->minimax;
	size_t n = 0;

	for (; m->ready && n < m->groups_n && n < max; n++) {
		ret[n] = (struct sched_group){ .demand = m->group[n].own_rho };
		for (uint32_t t = 0; t < s->types_n; t++) {
			if (s->types[t].queue == n)
				ret[n].types[ret[n].types_n++] = (uint16_t)t;
		}
	}
	return n;
}

static uint64_t updates(const struct sched *s) { return s->minimax.updates; }

static void explain_group(const struct sched *s, uint64_t now_ns, uint32_t g, struct text *out)
{
	const struct minimax_group *x = &s->minimax.group[g];

	text_add(out, "group %u:", g);
	for (uint32_t t = 0; t < s->types_n; t++) {
		if (s->types[t].queue != g || type_is_spare(s, t))
			continue;
		text_add(out, " ");
		text_type(out, s, t);
	}
	text_add(out, g == s->minimax.groups_n ? " unknown requests" : "");
	text_add(out, ": brings %.2f workers' worth of work", x->own_rho);
	if (s->minimax.held >> g & 1 && waits(s, g) && x->hold_until_ns > now_ns) {
		text_add(out, "; held for ");
		text_ns(out, (double)(x->hold_until_ns - now_ns));
		text_add(out, " at least: to start one now may slow shorter ones down %.2f times, its own slowdown allows %.2f", (double)x->held_g,
			(double)x->held_limit);
	}
	text_add(out, "\n");
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	const struct minimax *m = &s->minimax;

	if (!m->ready) {
		text_add(out, "nothing is known yet: in order of arrival until %llu requests are done\n", (unsigned long long)(s->look_at - s->est.begin));
		return;
	}
	if (m->plain)
		text_add(out, "there is so little work that nothing is held back\n");
	for (uint32_t g = 0; g <= m->groups_n; g++)
		explain_group(s, now_ns, g, out);
	text_add(out, "estimates taken %llu times, %llu predictions made\n", (unsigned long long)m->updates, (unsigned long long)m->evaluations);
}

const struct policy policy_minimax = {
	.attach = attach, .pick = pick, .started = started, .done = done, .learnt = learnt, .workers = workers, .groups = groups, .updates = updates,
	.explain = explain,
};
