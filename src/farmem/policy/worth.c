/* SPDX-License-Identifier: Apache-2.0 */
/* Whether it is worth a processor's time that memory leaves: it has to stay away for long enough. docs/adr/0023-warm.md */
#include <math.h>

#include "base/clock.h"
#include "private.h"

/* what is measured fades: so much of it counts as much as what comes next */
#define MOVED_MEMORY (256.0 * (1 << 20))
#define MEETINGS_MEMORY 64
#define IDLES_MEMORY 64
#define PARKS_MEMORY 8
#define HALF_LIFE_NS (3600.0 * NS_PER_S)
/* of what leaves, at least so much of this machine's memory is taken to be free then: what is new in a pool has not been made smaller yet */
#define SAVED_MIN 0.25

void rate_add(struct farmem_rate *r, double n, uint64_t ns, double memory)
{
	r->n += n;
	r->ns += (double)ns;
	if (r->n > memory) {
		r->n /= 2;
		r->ns /= 2;
	}
}

void farmem_costs_default(struct farmem_costs *ret)
{
	*ret = (struct farmem_costs){ .out = { 64 << 20, 37e6 }, .back = { 64 << 20, 37e6 }, .wake = { 64 << 20, 37e6 }, .meet = { 4, 4 * 5e6 }, .kept = 0.33 };
}

static void fade(struct farmem_rate *r, const struct farmem_rate *to, double share)
{
	r->ns += share * (rate_each(to) * r->n - r->ns);
}

void farmem_costs_fade(struct farmem_costs *c, uint64_t ns)
{
	double share = 1 - exp2(-(double)ns / HALF_LIFE_NS);
	struct farmem_costs d;

	farmem_costs_default(&d);
	fade(&c->out, &d.out, share);
	fade(&c->back, &d.back, share);
	fade(&c->wake, &d.wake, share);
	fade(&c->meet, &d.meet, share);
	c->kept += share * (d.kept - c->kept);
}

void farmem_measured_out(struct farmem_costs *c, uint64_t bytes, uint64_t ns)
{
	rate_add(&c->out, (double)bytes, ns, MOVED_MEMORY);
}

void farmem_measured_back(struct farmem_costs *c, uint64_t bytes, uint64_t ns)
{
	rate_add(&c->back, (double)bytes, ns, MOVED_MEMORY);
}

void farmem_measured_meeting(struct farmem_costs *c, unsigned instances, uint64_t ns)
{
	rate_add(&c->meet, instances, ns, MEETINGS_MEMORY);
}

double rate_each(const struct farmem_rate *r)
{
	return r->n > 0 ? r->ns / r->n : 0;
}

uint64_t farmem_break_even_ns(const struct farmem_node *node, const struct farmem_knobs *k, uint64_t bytes)
{
	const struct farmem_costs *c = &node->costs;
	double saved = c->kept < 1 - SAVED_MIN ? 1 - c->kept : SAVED_MIN, calm = 1 - farmem_pressure(k, node->psi);
	double of_a_byte = rate_each(&c->out) + rate_each(&c->back) + (bytes ? rate_each(&c->meet) / (double)bytes : 0);
	double ns = (double)k->processor_bytes * calm * of_a_byte / saved;

	return ns < 1e18 ? (uint64_t)ns : FARMEM_NEVER;
}

void farmem_measured_park(struct farmem_function *f, uint64_t ns)
{
	rate_add(&f->park, 1, ns, PARKS_MEMORY);
}

void farmem_measured_unpark(struct farmem_function *f, uint64_t ns)
{
	rate_add(&f->unpark, 1, ns, PARKS_MEMORY);
}

uint64_t farmem_park_even_ns(const struct farmem_node *node, const struct farmem_function *f, uint64_t here_bytes, uint64_t away_bytes)
{
	double freed = (double)here_bytes + node->costs.kept * (double)away_bytes, calm = 1 - farmem_pressure(&f->knobs, node->psi);
	double takes_ns = rate_each(&f->park) + rate_each(&f->unpark) + rate_each(&node->costs.back) * (double)away_bytes, ns;

	if (f->park.n == 0 || f->unpark.n == 0 || freed < 1)
		return FARMEM_NEVER;
	ns = (double)f->knobs.processor_bytes * calm * takes_ns / freed;
	return ns < 1e18 ? (uint64_t)ns : FARMEM_NEVER;
}

void farmem_idle_over(struct farmem_node *node, struct farmem_function *f, uint64_t now_ns, uint64_t idle_ns, bool called)
{
	if (called) {
		/* of the node's, the busiest function would be nearly all; so each sample of a function weighs less than the one before */
		farmem_reuse_add(&node->reuse, now_ns, idle_ns, 1 / (1 + farmem_reuse_weight(&f->reuse, now_ns)));
		farmem_reuse_add(&f->reuse, now_ns, idle_ns, 1);
		f->called++;
		f->called_ns += (double)idle_ns;
	}
	f->idles++;
	if (f->idles > IDLES_MEMORY) {
		f->idles /= 2;
		f->called /= 2;
		f->called_ns /= 2;
	}
}

/* Whether it is called in time is a coin with two sides that were each seen once more than they were (Laplace): after so many times that it was called, it will be for about as many. */
uint64_t farmem_life_ns(const struct farmem_function *f)
{
	double ended = f->idles - f->called, again = (f->called + 1) / (ended + 1), ns = (double)f->knobs.keepalive_ns;

	if (f->knobs.keepalive_ns == 0)
		return FARMEM_NEVER;
	if (f->called > 0)
		ns += again * f->called_ns / f->called;
	return ns < 1e18 ? (uint64_t)ns : FARMEM_NEVER;
}

bool farmem_pays(const struct farmem_node *node, const struct farmem_function *f, uint64_t bytes)
{
	return farmem_life_ns(f) >= farmem_break_even_ns(node, &f->knobs, bytes);
}
