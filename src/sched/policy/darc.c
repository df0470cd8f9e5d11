/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DARC (Demoulin et al., "When Idling is Ideal", SOSP'21), and its static variant. Types of similar mean form groups; each group gets as many workers for
 * its own as its share of the work is worth, the shortest first; it may also take idle workers of longer groups, never of shorter ones. Within a group: first come,
 * first served. Unknown requests use the spillway, the last worker, alone.
 */
#include <math.h>
#include <string.h>

#include "fcfs.h"
#include "fp.h"

#define GROUP_DELTA .2          /* a group's means are within that of its shortest */
#define DEMAND_CHANGE .1

/* ---- reserving ---- */

/* Types by groups, ascending. What has no known mean is put with the unknown ones, last; a known type that does not come now, with the next longer one that does. */
static uint32_t group_types(struct sched *s, uint16_t *of)
{
	struct darc *d = &s->darc;
	uint16_t order[TYPES];
	uint32_t n = 0, last = NONE;
	double shortest = 0;

	types_sort(s->types_n, d->mean_ns, order);
	for (uint32_t i = 0; i < s->types_n; i++) {
		double mean = d->mean_ns[order[i]];

		if (mean <= 0 || d->ratio[order[i]] <= 0)
			continue;
		if (last == NONE || mean - shortest >= GROUP_DELTA * shortest) {
			n++;
			shortest = mean;
		}
		of[order[i]] = (uint16_t)(n - 1);
		last = i;
	}
	for (uint32_t i = s->types_n, next = n - 1; i-- > 0;) {
		uint32_t t = order[i];

		if (d->mean_ns[t] > 0 && d->ratio[t] > 0)
			next = of[t];
		else
			of[t] = (uint16_t)(d->mean_ns[t] > 0 && n > 0 ? next : n);
	}
	of[s->types_n] = (uint16_t)n;
	return n;
}

/* How many workers a demand is worth. */
static uint32_t whole_workers(double demand)
{
	double whole = floor(demand);

	if (whole < 1)
		return 1;
	return (uint32_t)(demand - whole <= .5 ? whole : whole + 1);
}

static uint32_t workers_up(const struct sched *s, uint16_t *ret)
{
	uint32_t n = 0;

	for (uint32_t w = 0; w < s->workers_n; w++) {
		if (!bit_get(s->down, w))
			ret[n++] = (uint16_t)w;
	}
	return n;
}

/* Reserve for one group, of the workers from *used on. */
static void reserve_group(struct sched *s, uint32_t g, const uint16_t *up, uint32_t up_n, uint32_t *used)
{
	struct darc *d = &s->darc;
	struct darc_group *group = &d->group[g];
	bool fixed = s->cfg.policy == SCHED_DARC_STATIC;
	uint32_t want = fixed ? s->cfg.reserved : whole_workers(group->demand), left = up_n - *used;

	if (fixed && g > 0) {
		/* all the others share what is left, and nothing is stolen among them */
		for (uint32_t i = s->cfg.reserved < up_n ? s->cfg.reserved : up_n - 1; i < up_n; i++)
			bit_set(group->reserved, up[i]);
		return;
	}
	for (uint32_t i = 0; i < want && i < left; i++)
		bit_set(group->reserved, up[(*used)++]);
	if (want > left)
		bit_set(group->reserved, d->spillway);
	for (uint32_t i = *used; i < up_n; i++)
		bit_set(group->stealable, up[i]);
}

static void reserve(struct sched *s)
{
	struct darc *d = &s->darc;
	uint16_t of[TYPES] = { 0 }, up[SCHED_WORKERS_MAX];
	uint32_t up_n = workers_up(s, up), used = 0;
	double work = 0;

	d->groups_n = group_types(s, of);
	memset(d->group, 0, sizeof(d->group[0]) * (d->groups_n + 1));
	d->spillway = up_n > 0 ? up[up_n - 1] : s->workers_n - 1;
	for (uint32_t t = 0; t <= s->types_n; t++)
		work += d->mean_ns[t] * d->ratio[t];
	for (uint32_t t = 0; t <= s->types_n; t++) {
		double share = work > 0 ? d->mean_ns[t] * d->ratio[t] / work : 0;

		d->share[t] = d->ratio[t] > 0 ? share : -1;
		d->group[of[t]].demand += share * up_n;
	}
	for (uint32_t g = 0; g < d->groups_n; g++)
		reserve_group(s, g, up, up_n, &used);
	bit_set(d->group[d->groups_n].reserved, d->spillway);
	sched_map(s, d->groups_n + 1, of);
	d->reserved = true;
	d->narrow = s->words == 1 && s->queues.words == 1;
	d->last = 1ull << d->groups_n % 64;
	d->updates++;
}

/* ---- learning ---- */

static void window_begin(struct sched *s)
{
	struct darc *d = &s->darc;

	for (uint32_t t = 0; t <= s->types_n; t++) {
		d->begin[t].completed = s->types[t].completed;
		d->begin[t].sum_ns = s->types[t].sum_ns;
	}
	d->window = s->completed;
	d->delayed = false;
	s->look_at_policy = s->completed + s->cfg.window_requests;
}

static double seen_n(const struct sched *s, uint32_t t) { return (double)(s->types[t].completed - s->darc.begin[t].completed); }
static double seen_ns(const struct sched *s, uint32_t t) { return (double)(s->types[t].sum_ns - s->darc.begin[t].sum_ns); }

/* means and ratios of the window; a type's mean is kept when it did not come */
static void window_take(struct sched *s)
{
	struct darc *d = &s->darc;
	double n = 0;

	/* the unknown ones are in no group and have no demand */
	for (uint32_t t = 0; t < s->types_n; t++)
		n += seen_n(s, t);
	for (uint32_t t = 0; t < s->types_n; t++) {
		if (seen_n(s, t) > 0)
			d->mean_ns[t] = fmax(1, seen_ns(s, t) / seen_n(s, t));
		d->ratio[t] = n > 0 ? seen_n(s, t) / n : 0;
	}
}

/* the set of types that come is another one, or one of them brings a tenth more or less of the work than when workers were reserved */
static bool demand_changed(const struct sched *s)
{
	const struct darc *d = &s->darc;
	double work = 0;

	for (uint32_t t = 0; t < s->types_n; t++)
		work += seen_ns(s, t);
	if (work <= 0)
		return false;
	for (uint32_t t = 0; t < s->types_n; t++) {
		double share = seen_ns(s, t) / work;

		if ((d->share[t] >= 0) != (seen_n(s, t) > 0))
			return true;
		if (d->share[t] >= 0 && fabs(share - d->share[t]) > DEMAND_CHANGE * d->share[t])
			return true;
	}
	return false;
}

/* The window is over; but while nobody waits for long, it goes on. */
static uint64_t look(struct sched *s, uint64_t now_ns)
{
	struct darc *d = &s->darc;

	if (d->reserved && !d->delayed)
		return SCHED_NEVER;
	if (!d->reserved || demand_changed(s)) {
		window_take(s);
		reserve(s);
	}
	window_begin(s);
	return s->look_at_policy;
}

static void darc_static_learn(struct sched *s)
{
	struct darc *d = &s->darc;
	bool changed = !d->reserved;

	/* what is reserved is given; only who is shortest is learnt */
	for (uint32_t t = 0; t < s->types_n; t++) {
		double mean = s->est.of[t].mean_ns;

		changed |= fabs(mean - d->mean_ns[t]) > DEMAND_CHANGE * d->mean_ns[t];
	}
	if (!changed)
		return;
	for (uint32_t t = 0; t < s->types_n; t++) {
		d->mean_ns[t] = s->est.of[t].mean_ns;
		d->ratio[t] = d->mean_ns[t] > 0 ? 1.0 / s->types_n : 0;
	}
	reserve(s);
}

static void learnt(struct sched *s, uint64_t now_ns)
{
	if (s->cfg.policy == SCHED_DARC_STATIC)
		darc_static_learn(s);
}

/* all means given, and for DARC all ratios too: nothing has to be learnt before workers are reserved */
static bool all_given(const struct sched *s)
{
	bool some = false;

	for (uint32_t t = 0; t < s->types_n; t++) {
		if (type_is_spare(s, t))
			continue;
		if (s->cfg.types[t].mean_ns == 0 || (s->cfg.types[t].ratio <= 0 && s->cfg.policy == SCHED_DARC))
			return false;
		some = true;
	}
	return some;
}

static bool all_learnt(const struct sched *s)
{
	return s->est.closed >= 8;
}

static void attach(struct sched *s, uint64_t now_ns)
{
	struct darc *d = &s->darc;
	uint64_t updates = d->updates;
	double rate = 0;

	memset(d, 0, sizeof(*d));
	d->updates = updates;
	fcfs_attach(s, now_ns);
	window_begin(s);
	if (s->cfg.policy == SCHED_DARC_STATIC)
		s->look_at_policy = SCHED_NEVER;
	for (uint32_t t = 0; t < s->types_n; t++)
		rate += s->est.of[t].rate;
	if (s->cfg.policy == SCHED_DARC_STATIC) {
		if (all_given(s) || all_learnt(s))
			darc_static_learn(s);
	} else if (all_learnt(s) && rate > 0) {
		for (uint32_t t = 0; t < s->types_n; t++) {
			d->mean_ns[t] = s->est.of[t].mean_ns;
			d->ratio[t] = s->est.of[t].rate / rate;
		}
		reserve(s);
	} else if (all_given(s)) {
		for (uint32_t t = 0; t < s->types_n; t++) {
			d->mean_ns[t] = (double)s->cfg.types[t].mean_ns;
			d->ratio[t] = s->cfg.types[t].ratio;
		}
		reserve(s);
	}
}

/* ---- deciding ---- */

/*
 * The head of that queue starts now. Has the request behind it waited for longer than one of its kind takes? Then the reservation is worth a look.
 */
static __attribute__((noinline)) void watch(struct sched *s, uint64_t now_ns, uint32_t g)
{
	struct darc *d = &s->darc;
	uint32_t next = head_of(s, g)->next;
	const struct node *second = &s->slab.nodes[next];

	if (next == NONE || (double)(int64_t)(now_ns - second->arrival_ns) <= s->est.of[second->type].mean_ns)
		return;
	d->delayed = true;
	s->look_at_policy = d->window + s->cfg.window_requests;
	sched_look_again(s);
}

static void count_steal(struct sched *s, uint32_t g) { s->counts[head_of(s, g)->type].steals++; }

static uint64_t pick_wide(struct sched *s)
{
	struct darc *d = &s->darc;

	for (uint32_t i = 0; i < s->queues.words; i++) {
		for (uint64_t some = s->queues.nonempty[i]; some; some &= some - 1) {
			uint32_t g = i * 64 + (uint32_t)__builtin_ctzll(some), w = bit_first_and(d->group[g].reserved, s->idle, s->words);

			if (w != NONE)
				return pick_of(g, w);
			w = bit_first_and(d->group[g].stealable, s->idle, s->words);
			if (w == NONE)
				continue;
			count_steal(s, g);
			return pick_of(g, w);
		}
	}
	return PICK_NONE;
}

/* at most 64 workers and 64 groups: no loops over words */
static inline uint64_t pick_narrow(struct sched *s)
{
	const struct darc_group *group = s->darc.group;
	uint64_t idle = s->idle[0];

	for (uint64_t some = s->queues.nonempty[0]; some; some &= some - 1) {
		uint32_t g = (uint32_t)__builtin_ctzll(some);
		uint64_t mine = group[g].reserved[0] & idle, any = mine ? mine : group[g].stealable[0] & idle;

		if (any == 0)
			continue;
		/* whether it steals is like the toss of a coin: no branch for that */
		s->counts[head_of(s, g)->type].steals += mine == 0;
		return pick_of(g, (uint32_t)__builtin_ctzll(any));
	}
	return PICK_NONE;
}

/* with the spillway's own queue, and with a look at what waits behind the head: both not for every request */
static __attribute__((noinline)) uint64_t pick_slowly(struct sched *s, uint64_t now_ns)
{
	uint32_t last = s->queues.n - 1, spillway = s->darc.spillway;
	uint64_t pick;

	if (waits(s, last) && bit_get(s->idle, spillway) && sched_last_due(s, now_ns)) {
		s->last_ns = now_ns;
		return pick_of(last, spillway);
	}
	pick = s->darc.narrow ? pick_narrow(s) : pick_wide(s);
	if (pick >> 32 == last)
		s->last_ns = now_ns;
	if (pick != PICK_NONE && !s->darc.delayed && s->cfg.policy == SCHED_DARC)
		watch(s, now_ns, (uint32_t)(pick >> 32));
	return pick;
}

static uint64_t pick(struct sched *s, uint64_t now_ns)
{
	const struct darc *d = &s->darc;

	if (__builtin_expect(d->narrow, 1) && (s->waiting == 1 || d->delayed) && !(s->queues.nonempty[0] & d->last))
		return pick_narrow(s);
	return d->reserved ? pick_slowly(s, now_ns) : fcfs_pick(s, now_ns);
}

static void workers(struct sched *s, uint64_t now_ns)
{
	if (s->darc.reserved)
		reserve(s);
}

/* ---- saying so ---- */

static size_t groups(const struct sched *s, struct sched_group *ret, size_t max)
{
	const struct darc *d = &s->darc;
	size_t n = 0;

	for (; d->reserved && n < d->groups_n && n < max; n++) {
		ret[n] = (struct sched_group){ .demand = d->group[n].demand };
		memcpy(ret[n].reserved, d->group[n].reserved, sizeof(ret[n].reserved));
		memcpy(ret[n].stealable, d->group[n].stealable, sizeof(ret[n].stealable));
		for (uint32_t t = 0; t < s->types_n; t++) {
			if (s->types[t].queue == n)
				ret[n].types[ret[n].types_n++] = (uint16_t)t;
		}
	}
	return n;
}

static uint64_t updates(const struct sched *s) { return s->darc.updates; }

static void explain_group(const struct sched *s, uint32_t g, struct text *out)
{
	const struct darc *d = &s->darc;

	text_add(out, "group %u:", g);
	for (uint32_t t = 0; t < s->types_n; t++) {
		if (s->types[t].queue != g || type_is_spare(s, t))
			continue;
		text_add(out, " ");
		text_type(out, s, t);
		text_add(out, " (mean ");
		text_ns(out, d->mean_ns[t]);
		text_add(out, ", %.3g%% of requests, %llu steals)", 100 * d->ratio[t], (unsigned long long)s->counts[t].steals);
	}
	if (s->cfg.policy == SCHED_DARC)
		text_add(out, ": demand %.2f workers", d->group[g].demand);
	text_add(out, "; reserved ");
	text_workers(out, d->group[g].reserved);
	text_add(out, ", may also take ");
	text_workers(out, d->group[g].stealable);
	text_add(out, "\n");
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	const struct darc *d = &s->darc;

	if (!d->reserved) {
		text_add(out, "nothing is reserved yet: in order of arrival until %u requests are done (%llu are)\n", s->cfg.window_requests,
			(unsigned long long)(s->completed - d->window));
		return;
	}
	for (uint32_t g = 0; g < d->groups_n; g++)
		explain_group(s, g, out);
	text_add(out, "worker %u is the spillway: unknown requests run there only\n", d->spillway);
	if (s->cfg.policy == SCHED_DARC)
		text_add(out, "reserved %llu times; %llu requests since the last look, the next one at %u%s\n", (unsigned long long)d->updates,
			(unsigned long long)(s->completed - d->window), s->cfg.window_requests, d->delayed ? "" : ", if a request waits for longer than its mean by then");
}

const struct policy policy_darc = {
	.attach = attach, .pick = pick, .learnt = learnt, .look = look, .workers = workers, .groups = groups, .updates = updates,
	.explain = explain,
};
