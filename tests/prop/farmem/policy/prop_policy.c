/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy against an engine that is a few counters: events in any order, answers late, offloads that come to less than was asked for. Whatever happens, what the header guarantees
 * holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "farmem/policy.h"
#include "seed.h"

#define INSTANCES 3
#define STEPS 200000
#define RUNS 12
#define MIB (1ull << 20)

struct engine {
	struct farmem_instance policy;
	uint64_t resident[FARMEM_SEGMENTS], remote[FARMEM_SEGMENTS];
	uint64_t ask, unsaid;           /* bytes to move; moved and not reported */
	unsigned segments;
	uint32_t calls_off;             /* offloads called off whose end was not reported */
	uint32_t running;
	uint64_t begun_ns, timer_ns;
	bool under_way;
};

struct world {
	struct rng g;
	struct farmem_node node;
	struct farmem_function f;
	struct engine e[INSTANCES];
	uint64_t now;
};

static struct world w;
/* that things happened at all, in any run */
static struct { uint64_t offloads, cancels, prefetches, rollbacks, at_once, patient, ahead; } happened;

static double share(uint64_t of) { return (double)rng_below(&w.g, of + 1) / (double)of; }

static void random_knobs(struct farmem_knobs *k)
{
	struct hearth_err err = { 0 };

	farmem_knobs_default(k);
	k->segments = rng_below(&w.g, 4) > 0;
	k->semiwarm = rng_below(&w.g, 4) > 0;
	k->prefetch = rng_below(&w.g, 4) > 0;
	k->reuse_quantile = 0.5 + 0.5 * share(100);
	k->offload_per_s = 0.0001 + 0.9 * share(1000) * share(10);
	k->return_max = share(10);
	k->wake_share = rng_below(&w.g, 3) ? share(10) : 0;
	k->prewarm_share = rng_below(&w.g, 3) ? share(10) : 0;
	k->semiwarm_min_ns = rng_below(&w.g, 30) * NS_PER_S;
	k->semiwarm_max_ns = k->semiwarm_min_ns + rng_below(&w.g, 600) * NS_PER_S;
	k->pace_ns = (1 + rng_below(&w.g, 200)) * 100 * NS_PER_MS;
	k->floor_bytes = rng_below(&w.g, 20) * MIB;
	k->long_request_ns = rng_below(&w.g, 3) * 20 * NS_PER_S;
	k->keepalive_ns = rng_below(&w.g, 4) * 200 * NS_PER_S;
	k->init_requests = 1 + (uint32_t)rng_below(&w.g, 4);
	k->rollback_requests = 1 + (uint32_t)rng_below(&w.g, 4);
	if (farmem_knobs_check(k, &err) < 0)
		fail_msg("%s", err.msg);
}

static struct engine fresh(void)
{
	struct engine e = { .timer_ns = FARMEM_NEVER };

	for (unsigned s = 0; s < FARMEM_SEGMENTS; s++)
		e.resident[s] = rng_below(&w.g, 200 * MIB) & ~4095ull;
	return e;
}

static uint64_t sum(const uint64_t *v) { return v[0] + v[1] + v[2]; }

/* what an offload may be, now that it was asked for */
static void check_offload(const struct engine *e, const struct farmem_action *a)
{
	const struct farmem_knobs *k = &w.f.knobs;

	assert_true(a->bytes > 0 && a->segments != 0 && a->segments <= FARMEM_ALL_SEGMENTS);
	assert_true(e->policy.asked_bytes + k->floor_bytes <= sum(e->resident));
	assert_true(a->bytes <= e->policy.asked_bytes);
	if (e->running > 0) {
		assert_true(k->long_request_ns > 0 && w.now >= e->begun_ns + k->long_request_ns);
		assert_false(a->segments & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION));
	}
	if (a->segments & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION)) {
		/* semi-warm: in its time, and no faster than it may */
		assert_true(k->semiwarm && w.now >= e->policy.semiwarm_ns);
		assert_true(k->keepalive_ns == 0 || w.now < e->policy.idle_since_ns + k->keepalive_ns);
		if (e->policy.at_once) {
			assert_true(k->wake_share > 0 && k->prefetch && w.now - e->policy.idle_since_ns >= k->semiwarm_min_ns);
			happened.at_once++;
			happened.offloads++;
			return;
		}
		assert_true((double)a->bytes <= (double)e->policy.base_bytes * k->offload_per_s * (1 - w.node.evict_cut) * 10 * 2 * (double)k->pace_ns / 1e9 + 8192);
	} else {
		assert_true(k->segments);
	}
	happened.offloads++;
}

static void tell(struct engine *e, struct farmem_policy_event event)
{
	uint64_t ws_remote = rng_below(&w.g, 2) ? sum(e->remote) / 2 : 0;
	struct farmem_seen seen = { .ws_remote_bytes = ws_remote, .ws_bytes = ws_remote + (rng_below(&w.g, 4) ? sum(e->resident) / (1 + rng_below(&w.g, 3)) : 0) };
	struct farmem_actions did;
	bool was_under_way = e->under_way;

	memcpy(seen.resident_bytes, e->resident, sizeof(seen.resident_bytes));
	memcpy(seen.remote_bytes, e->remote, sizeof(seen.remote_bytes));
	farmem_step(&w.node, &w.f, &e->policy, &event, w.now, &seen, &did);
	assert_true(did.n <= FARMEM_ACTIONS_MAX);
	for (size_t a = 0; a < did.n; a++) {
		const struct farmem_action *x = &did.action[a];

		switch (x->kind) {
		case FARMEM_DO_OFFLOAD:
			check_offload(e, x);
			e->ask += x->bytes;
			e->segments |= x->segments;
			e->under_way = true;
			break;
		case FARMEM_DO_CANCEL:
			assert_true((event.kind == FARMEM_ON_REQUEST_BEGIN || did.action[did.n - 1].kind == FARMEM_DO_PREFETCH) && was_under_way);
			e->calls_off++;
			e->ask = e->unsaid = 0;
			e->segments = 0;
			e->under_way = false;
			happened.cancels++;
			break;
		case FARMEM_DO_PREFETCH:
			assert_true(w.f.knobs.prefetch && x->bytes <= seen.ws_remote_bytes && x->bytes <= w.f.knobs.prefetch_max_bytes);
			happened.prefetches++;
			if (event.kind == FARMEM_ON_TIMER) {
				/* nothing leaves in the same breath */
				assert_true(w.f.knobs.prewarm_share > 0 && e->running == 0 && a == did.n - 1 && w.node.psi <= w.f.knobs.pressure_low);
				happened.ahead++;
				break;
			}
			assert_int_equal(event.kind, FARMEM_ON_REQUEST_BEGIN);
			/* only who has something to hide behind */
			assert_true(x->patience_ns == 0 || (w.f.tail.n >= 8 && x->patience_ns < 200 * NS_PER_S));
			happened.patient += x->patience_ns > 0;
			break;
		case FARMEM_DO_ROLLBACK:
			assert_true(event.kind == FARMEM_ON_REQUEST_END && e->running == 0);
			happened.rollbacks++;
			break;
		case FARMEM_DO_BARRIER:
			assert_true(x->segments == FARMEM_SEGMENT_BIT(FARMEM_RUNTIME) || x->segments == FARMEM_SEGMENT_BIT(FARMEM_INIT));
			break;
		}
	}
	e->timer_ns = did.timer_ns;
	if (event.kind == FARMEM_ON_REQUEST_BEGIN)
		assert_false(e->under_way && e->running == 1);          /* all that was under way is called off */
	if (event.kind == FARMEM_ON_EXIT || e->policy.ended)
		assert_true(did.n == 0 && did.timer_ns == FARMEM_NEVER);
	if (did.timer_ns != FARMEM_NEVER && event.kind == FARMEM_ON_TIMER)
		assert_true(did.timer_ns > w.now);                      /* no spinning */
}

/* Some of what was asked for leaves, or all that there is. */
static void move(struct engine *e)
{
	for (unsigned s = 0; s < FARMEM_SEGMENTS && e->ask > 0; s++) {
		uint64_t most = e->segments >> s & 1 ? e->resident[s] : 0, bytes = rng_below(&w.g, (most < e->ask ? most : e->ask) + 1);

		e->resident[s] -= bytes;
		e->remote[s] += bytes;
		e->ask -= bytes;
		e->unsaid += bytes;
	}
}

static void report(struct engine *e)
{
	struct farmem_policy_event event = { .kind = FARMEM_ON_OFFLOADED };

	if (e->calls_off > 0) {         /* in order: what was called off first */
		event.done = true;
		event.bytes = rng_below(&w.g, 50 * MIB);
		e->calls_off--;
	} else if (e->under_way) {
		event.bytes = e->unsaid;
		e->unsaid = 0;
		event.done = e->ask == 0 || rng_below(&w.g, 4) == 0;
		if (event.done) {
			event.cut = rng_below(&w.g, 3) == 0;
			e->ask = 0;
			e->segments = 0;
			e->under_way = false;
		}
	} else {
		return;
	}
	tell(e, event);
}

static void request(struct engine *e)
{
	if (e->running == 0 || rng_below(&w.g, 3) == 0) {
		e->begun_ns = e->running == 0 ? w.now : e->begun_ns;
		e->running++;
		tell(e, (struct farmem_policy_event){ .kind = FARMEM_ON_REQUEST_BEGIN, .waited_ns = rng_below(&w.g, 3) ? 0 : rng_below(&w.g, 200 * NS_PER_S) });
		return;
	}
	/* some came back, as execution segment */
	for (unsigned s = 0; s < FARMEM_SEGMENTS; s++) {
		uint64_t bytes = rng_below(&w.g, e->remote[s] + 1);

		e->remote[s] -= bytes;
		e->resident[FARMEM_EXECUTION] += bytes;
	}
	e->running--;
	tell(e, (struct farmem_policy_event){ .kind = FARMEM_ON_REQUEST_END });
}

static void something_happens(struct engine *e)
{
	switch (rng_below(&w.g, 16)) {
	case 0: tell(e, (struct farmem_policy_event){ .kind = FARMEM_ON_RUNTIME_READY }); break;
	case 1: tell(e, (struct farmem_policy_event){ .kind = FARMEM_ON_INIT_DONE }); break;
	case 2: case 3: case 4: case 5: request(e); break;
	case 6: case 7: move(e); break;
	case 8: report(e); break;
	case 9:
		tell(e, (struct farmem_policy_event){ .kind = rng_below(&w.g, 2) ? FARMEM_ON_PRESSURE : FARMEM_ON_SEEN });
		farmem_measured_wake(&w.node, &w.f, rng_below(&w.g, 100 * MIB), rng_below(&w.g, 100 * MIB), rng_below(&w.g, NS_PER_MS << rng_below(&w.g, 15)));
		assert_true(w.f.returned[FARMEM_RUNTIME] >= 0 && w.f.returned[FARMEM_RUNTIME] <= 1 && w.f.returned[FARMEM_INIT] >= 0 && w.f.returned[FARMEM_INIT] <= 1);
		break;
	case 10:
		if (rng_below(&w.g, 200) == 0) {
			tell(e, (struct farmem_policy_event){ .kind = FARMEM_ON_EXIT });
			*e = fresh();
		}
		break;
	default:
		if (e->timer_ns != FARMEM_NEVER) {
			w.now = w.now > e->timer_ns ? w.now : e->timer_ns;
			tell(e, (struct farmem_policy_event){ .kind = FARMEM_ON_TIMER });
		}
	}
}

static void guarantees_hold(void **state)
{
	uint64_t seed = prop_seed();

	for (unsigned run = 0; run < RUNS; run++) {
		w = (struct world){ .g = { seed + run }, .now = NS_PER_S };
		random_knobs(&w.f.knobs);
		/* some in which wakes may be cheap, and hide */
		if (run % 4 == 1) {
			w.f.knobs.semiwarm = w.f.knobs.prefetch = true;
			w.f.knobs.wake_share = 0.1;
		}
		for (unsigned k = 0; k < INSTANCES; k++)
			w.e[k] = fresh();
		if (run % 2)
			farmem_costs_default(&w.node.costs);
		for (unsigned step = 0; step < STEPS; step++) {
			/* now and then a time that goes back */
			w.now += rng_below(&w.g, 5) == 0 ? rng_below(&w.g, 20 * NS_PER_S) : 0;
			if (rng_below(&w.g, 50) == 0) {
				struct farmem_flows want = { rng_below(&w.g, 1000), rng_below(&w.g, 1000), rng_below(&w.g, 1000) };

				farmem_node_update(&w.node, &w.f.knobs, &want, rng_below(&w.g, 2000), share(100));
				assert_true(w.node.evict_cut >= 0 && w.node.evict_cut < 1);
			}
			something_happens(&w.e[rng_below(&w.g, INSTANCES)]);
		}
	}
	assert_true(happened.offloads && happened.cancels && happened.prefetches && happened.rollbacks && happened.at_once && happened.patient && happened.ahead);
}

/* Grants are never more than was asked for, nor in sum more than there is, and nobody waits while there is room. */
static void governor_is_fair(void **state)
{
	w.g.state = prop_seed();
	for (unsigned k = 0; k < 500000; k++) {
		uint64_t scale = 1ull << rng_below(&w.g, 40), link = rng_below(&w.g, scale) + 1;
		struct farmem_flows want = { rng_below(&w.g, scale), rng_below(&w.g, scale), rng_below(&w.g, scale) }, got;
		double pressure = share(10);
		uint64_t sure = pressure >= 0.5 ? link / 8 : 0, all;

		farmem_governor(&want, link, pressure, &got);
		all = got.fault + got.prefetch + got.evict;
		assert_true(got.fault <= want.fault && got.prefetch <= want.prefetch && got.evict <= want.evict && all <= link);
		assert_true(all == link || (got.fault == want.fault && got.prefetch == want.prefetch && got.evict == want.evict));
		/* what is less important has something only if what is more important has all, but for the sure part */
		assert_true(got.prefetch == 0 || got.fault == want.fault);
		assert_true(got.evict <= sure || (got.fault == want.fault && got.prefetch == want.prefetch));
	}
}

/* The delay covers what it says of the samples, and is no longer than a bucket more than it must be. */
static void delay_is_a_quantile(void **state)
{
	w.g.state = prop_seed();
	for (unsigned run = 0; run < 300; run++) {
		struct farmem_reuse h = { 0 };
		static uint64_t v[2000];
		unsigned n = 1 + (unsigned)rng_below(&w.g, 2000), covered = 0, well_covered = 0;
		double q = 0.5 + 0.5 * share(1000);
		uint64_t delay;

		for (unsigned k = 0; k < n; k++) {
			v[k] = rng_below(&w.g, NS_PER_S << rng_below(&w.g, 10)) + 1;
			farmem_reuse_add(&h, NS_PER_S, v[k], 1);
		}
		delay = farmem_semiwarm_start(&h, NULL, NS_PER_S, q, 0, 0);
		for (unsigned k = 0; k < n; k++) {
			covered += v[k] <= delay;
			well_covered += (double)v[k] < (double)delay / 1.0906;
		}
		assert_true(covered >= q * n - 1e-6 * n);
		assert_true(well_covered <= q * n + 1e-6 * n || delay <= FARMEM_REUSE_FIRST_NS * 1.0906);
	}
}

/* Ranges keep their order, budgets hold, and nothing colder is taken while something hotter is left. */
static void prefetch_takes_the_hottest(void **state)
{
	w.g.state = prop_seed();
	for (unsigned run = 0; run < 3000; run++) {
		static struct farmem_ws_range all[200], chosen[200];
		size_t n = rng_below(&w.g, 200), k, at = 0;
		unsigned recorded = 1 + (unsigned)rng_below(&w.g, 8), coldest = 9, cut = 0;
		uint64_t budget = rng_below(&w.g, 2000), pages = 0;

		for (size_t i = 0; i < n; i++)
			all[i] = (struct farmem_ws_range){ i * 1000, 1 + (uint32_t)rng_below(&w.g, 30), (uint8_t)rng_next(&w.g) };
		memcpy(chosen, all, sizeof(all));
		k = farmem_prefetch_set(chosen, n, recorded, budget);
		for (size_t c = 0; c < k; c++) {
			unsigned heat = (unsigned)__builtin_popcount(chosen[c].seen & ((1u << recorded) - 1));

			while (at < n && all[at].page != chosen[c].page)
				at++;
			assert_true(at < n && chosen[c].pages > 0 && chosen[c].pages <= all[at].pages);
			cut += chosen[c].pages < all[at].pages;
			coldest = heat < coldest ? heat : coldest;
			pages += chosen[c].pages;
			at++;
		}
		assert_true(pages <= budget && cut <= 1 && (k == 0 || coldest >= 1));
		/* all hotter ones are among them */
		for (size_t i = 0, c = 0; i < n && k > 0; i++) {
			while (c < k && chosen[c].page < all[i].page)
				c++;
			if ((unsigned)__builtin_popcount(all[i].seen & ((1u << recorded) - 1)) > coldest)
				assert_true(c < k && chosen[c].page == all[i].page && chosen[c].pages == all[i].pages);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(guarantees_hold), cmocka_unit_test(governor_is_fair), cmocka_unit_test(delay_is_a_quantile),
		cmocka_unit_test(prefetch_takes_the_hottest) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
