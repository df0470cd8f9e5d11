/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minimax: nothing is reserved. To start a request now takes a worker from the shorter types for a while: that costs them some tail slowdown, which is
 * predicted (G). To hold it costs its own type: it has suffered a slowdown already (U). It starts when G is not more than U's share, else it is looked at again when that
 * may have changed. docs/adr/0010-minimax.md says why this works.
 */
#include <math.h>
#include <string.h>

#include "fcfs.h"
#include "priority.h"

#define K 1.4f                  /* how much of its own slowdown a request may pass on */
#define Z 2.25f                 /* standard deviations of the arriving work that are prepared for */
#define OVERTAKE 1.5f           /* a longer type goes first when its head suffers that much more than the shorter's */
#define GROUP_DELTA .2
#define PLAIN 2e-4              /* probability to wait at all, below which nothing is held */
#define LOOK_AGAIN .1f          /* of the shortest mean that matters: not sooner than that */

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
	double c2 = fmin(1, pe / (mean * mean)), sd = fmin(sqrt(pe), mean);

	*m = (struct minimax_type){
		.mean = (float)mean, .inv_mean = (float)(1 / mean), .slope = (float)(1 - c2), .floor = (float)(c2 * mean), .overdue = (float)(1.001 * mean),
		.overdue_floor = (float)(fmax(c2, .1) * mean), .add = (float)sd, .cap = c2 < .9 ? (float)mean : INFINITY, .cv = (float)(sqrt(c2)),
	};
}

static void model_group(struct sched *s, struct minimax_group *g, double rho, double v)
{
	struct minimax *m = &s->minimax;
	uint32_t i = (uint32_t)(g - m->group);

	g->rho = (float)rho;
	g->zv = Z * (float)sqrt(v);
	g->bunch = rho > 0 ? (float)(.5 * v / rho) : 0;
	for (uint32_t k = 1; k <= s->workers_n; k++) {
		float root = k > rho ? g->zv / (2 * ((float)k - g->rho)) : INFINITY;

		m->peak_root[i][k] = root;
		m->peak[i][k] = root * root;
	}
}

/* the work of a type, by what is known of it; how uncertain its rate is makes it more */
static void add_work(const struct estimate *e, double *rho, double *v)
{
	*rho += e->rate * e->mean_ns;
	*v += e->rate * e->m2;
}

static void model(struct sched *s)
{
	struct minimax *m = &s->minimax;
	uint16_t order[TYPES], of[TYPES];
	uint32_t n, u = s->types_n;
	double longest = 1, rho = 0, v = 0, total = 0;

	types_by_mean(s, order);
	n = group_types(s, order, of);
	for (uint32_t t = 0; t <= u; t++)
		longest = fmax(longest, s->est.of[t].mean_ns);
	for (uint32_t t = 0; t <= u; t++) {
		const struct estimate *e = &s->est.of[t];

		/* what is not known is taken for long */
		model_type(&m->type[t], of[t] < n ? e->mean_ns : longest, of[t] < n ? e->pe : 0);
	}
	for (uint32_t g = 0; g <= n; g++) {
		double shortest = longest, before = rho;

		for (uint32_t t = 0; t <= u; t++) {
			if (of[t] != g)
				continue;
			add_work(&s->est.of[t], &rho, &v);
			shortest = fmin(shortest, m->type[t].mean);
		}
		m->group[g].mean = (float)shortest;
		m->group[g].inv_mean = (float)(1 / shortest);
		m->group[g].own_rho = rho - before;
		model_group(s, &m->group[g], rho, v);
	}
	total = rho;
	m->plain = erlang_c(s->workers_n, total) < PLAIN;
	m->groups_n = n;
	if (!m->ready || s->lanes.n != n + 1 || memcmp(of, s->lanes.of, (u + 1) * sizeof(*of)) != 0) {
		lanes_set(s, n + 1, of, NULL);
		for (uint32_t g = 0; g <= n; g++)
			m->group[g].hold_until_ns = 0;
	}
	m->ready = n > 0;
	m->updates++;
}

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

static void busy_all(struct sched *s)
{
	s->minimax.busy_n = 0;
	for (uint32_t w = 0; w < s->workers_n; w++) {
		if (s->workers[w].type != NONE)
			busy_insert(s, w, s->workers[w].start_ns + (uint64_t)s->minimax.type[s->workers[w].type].mean);
	}
}

static inline float rest_of(const struct minimax_type *t, float age)
{
	float r = t->mean - age * t->slope, low = age > t->overdue ? t->overdue_floor : t->floor;

	r = (r > low ? r : low) + t->add;
	return r < t->cap ? r : t->cap;
}

/* The running requests and one more of @type, by their rest. Return: how many. */
static uint32_t gather(const struct sched *s, uint64_t now_ns, uint32_t type, struct minimax_rest *ret)
{
	const struct minimax *m = &s->minimax;
	struct minimax_rest mine = { m->type[type].mean, s->lanes.of[type], (uint16_t)type };
	uint32_t n = 0;

	for (uint32_t i = 0; i <= m->busy_n; i++) {
		struct minimax_rest x = mine;
		uint32_t k = n++;

		if (i < m->busy_n) {
			const struct worker *w = &s->workers[m->busy[i]];

			x = (struct minimax_rest){ rest_of(&m->type[w->type], (float)(now_ns - w->start_ns)), s->lanes.of[w->type], (uint16_t)w->type };
		}
		/* almost in order already */
		for (; k > 0 && ret[k - 1].ns > x.ns; k--)
			ret[k] = ret[k - 1];
		ret[k] = x;
	}
	return n;
}

/* ---- the decision ---- */

/* Requests that are hard to predict end at the rate of memoryless ones, to a degree. */
static void spread(const struct minimax *m, struct minimax_rest *r, uint32_t n)
{
	float rate = 0, c = 0, h = 0;

	for (uint32_t k = 0; k < n; k++) {
		rate += m->type[r[k].type].inv_mean;
		c += m->type[r[k].type].cv;
	}
	c *= .15f;
	c = c < 1 ? c : 1;
	if (c <= .02f)
		return;
	for (uint32_t k = 0; k < n; k++) {
		h += 2 / rate;
		rate -= m->type[r[k].type].inv_mean;
		rate = rate > 1e-12f ? rate : 1e-12f;
		r[k].ns = (1 - c) * r[k].ns + c * h;
	}
}

/*
 * How long a request of group @g may have to wait: the largest excess of work over what the workers have done by then. @r: the @n longer ones that run, by
 * their rest; @work: of the shorter ones, running and waiting. With @free workers now and one more at each rest, the excess is largest at one of the rests, or where
 * the arriving work's deviation stops to outgrow what the workers do (peak).
 */
static float wait_of(const struct minimax *m, uint32_t g, const struct minimax_rest *r, uint32_t n, uint32_t workers, float work)
{
	const struct minimax_group *x = &m->group[g];
	uint32_t free = workers - n;
	float wait = free == 0 ? r[0].ns : 0, done = 0, from = 0;

	for (uint32_t k = 0; k <= n; k++, free++) {
		float to = k < n ? r[k].ns : INFINITY, t, root, excess;
		bool peaks;

		if (free == 0) {
			from = to;
			continue;
		}
		t = m->peak[g][free];
		peaks = t < to;
		if (t >= from && peaks) {
			root = m->peak_root[g][free];
		} else {
			t = !peaks ? (k < n ? to : from) : from;
			root = sqrtf(t);
		}
		excess = work + x->rho * t + x->zv * root - done - (float)free * (t - from) - (float)(free - 1) * x->bunch;
		excess *= m->inv[free];
		wait = excess > wait ? excess : wait;
		if (peaks)
			break;
		done += (float)free * (to - from);
		from = to;
	}
	return wait;
}

/* @ret_mean: of the group whose slowdown it is */
static float predicted(struct sched *s, uint64_t now_ns, uint32_t type, float *ret_mean)
{
	struct minimax *m = &s->minimax;
	struct minimax_rest all[SCHED_WORKERS_MAX + 1], r[SCHED_WORKERS_MAX + 1];
	uint32_t all_n = gather(s, now_ns, type, all), mine = s->lanes.of[type], up = s->idle_n + m->busy_n;
	float worst = 1, queued = 0;

	m->evaluations++;
	*ret_mean = m->group[0].mean;
	for (uint32_t g = 0; g < mine; g++) {
		float work, x;
		uint32_t n = 0;

		/* TODO by group */
		for (uint32_t t = 0; t <= s->types_n; t++)
			queued += s->lanes.of[t] == g ? (float)s->queues.q[t].len * m->type[t].mean : 0;
		if (m->group[g].rho <= 0)
			continue;
		work = queued;
		for (uint32_t k = 0; k < all_n; k++) {
			if (all[k].group > g)
				r[n++] = all[k];
			else
				work += all[k].ns;
		}
		spread(m, r, n);
		x = 1 + wait_of(m, g, r, n, up, work) * m->group[g].inv_mean;
		if (s->idle_n == 1 && bit_get(s->lanes.nonempty, g)) {
			uint32_t y = lane_top(&s->lanes, g);
			float suffered = 1 + ((float)(now_ns - head_of(s, y)->arrival_ns) + all[0].ns) * m->type[y].inv_mean;

			x = suffered > x ? suffered : x;
		}
		if (x > worst) {
			worst = x;
			*ret_mean = m->group[g].mean;
		}
	}
	return worst;
}

struct candidate { uint32_t lane, type; float slowdown; };

/* The head of each lane: shorter ones first, but not those that suffer much less. */
static uint32_t candidates(const struct sched *s, uint64_t now_ns, struct candidate *ret)
{
	uint32_t n = 0;

	for (uint64_t some = s->lanes.nonempty[0]; some; some &= some - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(some), t = lane_top(&s->lanes, lane), k = n++;
		struct candidate c = { lane, t, 1 + (float)(now_ns - head_of(s, t)->arrival_ns) * s->minimax.type[t].inv_mean };

		for (; k > 0 && ret[k - 1].slowdown * OVERTAKE < c.slowdown; k--)
			ret[k] = ret[k - 1];
		ret[k] = c;
	}
	return n;
}

/* May it start? If not, when to ask again. */
static bool may_start(struct sched *s, uint64_t now_ns, const struct candidate *c)
{
	struct minimax_group *g = &s->minimax.group[c->lane];
	float limit, worst, mean, again;

	if (now_ns >= g->hold_until_ns) {
		limit = 1 + K * (c->slowdown - 1);
		worst = predicted(s, now_ns, c->type, &mean);
		if (worst <= limit + 1e-6f)
			return true;
		again = (worst - limit) * mean * .5f;
		again = again > LOOK_AGAIN * mean ? again : LOOK_AGAIN * mean;
		s->types[c->type].held += g->hold_until_ns == 0;
		g->hold_until_ns = now_ns + (uint64_t)again + 1;
		g->held_g = worst;
		g->held_limit = limit;
	}
	if (g->hold_until_ns < s->timer_ns)
		s->timer_ns = g->hold_until_ns;
	return false;
}

static bool pick(struct sched *s, uint64_t now_ns, uint32_t *ret_queue, uint32_t *ret_worker)
{
	struct minimax *m = &s->minimax;
	struct candidate c[MINIMAX_GROUPS];
	uint32_t n;

	if (!m->ready)
		return fcfs_pick(s, now_ns, ret_queue, ret_worker);
	*ret_worker = bit_first(s->idle, s->words);
	if (s->lanes.nonempty[0] == 1) {
		*ret_queue = lane_top(&s->lanes, 0);
		return true;
	}
	n = candidates(s, now_ns, c);
	for (uint32_t i = 0; i < n; i++) {
		if (c[i].lane == 0 || m->plain || may_start(s, now_ns, &c[i])) {
			*ret_queue = c[i].type;
			m->group[c[i].lane].hold_until_ns = 0;
			return true;
		}
	}
	return false;
}

/* ---- events ---- */

static void forget_holds(struct minimax *m)
{
	for (uint32_t g = 0; g <= m->groups_n; g++)
		m->group[g].hold_until_ns = 0;
}

static void started(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t worker)
{
	busy_insert(s, worker, now_ns + (uint64_t)s->minimax.type[type].mean);
}

static void done(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t worker, uint64_t service_ns)
{
	busy_remove(&s->minimax, worker);
	if (s->lanes.of[type] > 0)
		forget_holds(&s->minimax);
}

static void learnt(struct sched *s, uint64_t now_ns)
{
	model(s);
}

static void workers(struct sched *s, uint64_t now_ns)
{
	busy_all(s);
	forget_holds(&s->minimax);
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
	if (s->est.closed > 0)
		model(s);
	busy_all(s);
}

/* ---- saying so ---- */

static size_t groups(const struct sched *s, struct sched_group *ret, size_t max)
{
	const struct minimax *m = &s->minimax;
	size_t n = 0;

	for (; m->ready && n < m->groups_n && n < max; n++) {
		ret[n] = (struct sched_group){ .demand = m->group[n].own_rho };
		for (uint32_t t = 0; t < s->types_n; t++) {
			if (s->lanes.of[t] == n)
				ret[n].types[ret[n].types_n++] = (uint16_t)t;
		}
	}
	return n;
}

static uint64_t updates(const struct sched *s) { return s->minimax.updates; }

static void explain_group(const struct sched *s, uint64_t now_ns, uint32_t lane, struct text *out)
{
	const struct minimax_group *g = &s->minimax.group[lane];

	text_add(out, "group %u:", lane);
	for (uint32_t t = 0; t < s->types_n; t++) {
		if (s->lanes.of[t] != lane || type_is_spare(s, t))
			continue;
		text_add(out, " ");
		text_type(out, s, t);
	}
	text_add(out, lane == s->minimax.groups_n ? " unknown requests" : "");
	text_add(out, ": brings %.2f workers' worth of work", g->own_rho);
	if (g->hold_until_ns > now_ns) {
		text_add(out, "; held for ");
		text_ns(out, (double)(g->hold_until_ns - now_ns));
		text_add(out, " at least: to start one now may slow shorter ones down %.2f times, its own slowdown allows %.2f", (double)g->held_g,
			(double)g->held_limit);
	}
	text_add(out, "\n");
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	const struct minimax *m = &s->minimax;

	if (!m->ready) {
		text_add(out, "nothing is known yet: in order of arrival until %u requests are done\n", s->est.limit);
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
