/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a call would notice that its instance's memory was away: what bringing it back takes beside what the call takes by itself. docs/adr/0020-reuse-histogram.md */
#include <math.h>

#include "private.h"

/* what is measured fades: so much of it, of a node, and of a function so many wakes, count as much as what comes next */
#define WOKEN_MEMORY (256.0 * (1 << 20))
#define WAKES_MEMORY 8
#define CALLS_MEMORY 32
/* as long as none of the function's was measured: what asking for it takes, however little comes back; and how many processors may bring it, more than brought what the node has measured. The first one tells. */
#define WAKE_LEAST_NS 1e6
#define WAKE_HOPE 4
/* after so many times that it stayed for a wake that was measured as dear, perhaps while the machine was busy, that is forgotten */
#define DEAR_IN_A_ROW 31
/* a page that is touched before anybody brings it back takes so many times as long as one of a batch: 5 to 10 us, not 2 */
#define FAULT_TIMES 4
/* of a call that found so little missing that it cannot have taken longer by more than this share, it is said that it took its own time */
#define OWN_TIME_SHARE 0.1
/* the tail is the slowest 20th of calls; of fewer calls nothing is said of it */
#define TAIL_OF 20
#define TAIL_CALLS_MIN 8
#define TAIL_MAX (2 + FARMEM_TAIL_CALLS / TAIL_OF)

static double fault_ns(const struct farmem_node *node, double bytes)
{
	return bytes * FAULT_TIMES * rate_each(&node->costs.back);
}

void farmem_measured_wake(struct farmem_node *node, struct farmem_function *f, uint64_t bytes, uint64_t others, uint64_t ns)
{
	if (bytes == 0 || others > bytes)
		return;
	rate_add(&node->costs.wake, (double)bytes, ns, WOKEN_MEMORY);
	f->dear = 0;
	rate_add(&f->wake, (double)bytes, ns, WAKES_MEMORY * (double)bytes);
}

static void remember(struct farmem_tail *t, uint64_t waited_ns, uint64_t ns)
{
	t->own_ns[t->next] = ns;
	t->whole_ns[t->next] = waited_ns + ns;
	t->next = (t->next + 1) % FARMEM_TAIL_CALLS;
	t->n += t->n < FARMEM_TAIL_CALLS;
}

/* The mean is of logarithms: a few calls that take a hundred times as long say nothing of what the others would notice. */
void call_took(const struct farmem_node *node, struct farmem_function *f, uint64_t waited_ns, uint64_t ns, uint64_t missing_bytes)
{
	if (ns == 0 || fault_ns(node, (double)missing_bytes) > OWN_TIME_SHARE * (double)ns)
		return;
	f->call_n += f->call_n < CALLS_MEMORY;
	f->call_log_ns += (log((double)ns) - f->call_log_ns) / f->call_n;
	remember(&f->tail, waited_ns, ns);
}

/* @k: 1, the largest of all, to TAIL_MAX */
static uint64_t largest(const uint64_t *v, unsigned n, unsigned k)
{
	uint64_t top[TAIL_MAX] = { 0 };

	for (unsigned i = 0; i < n; i++) {
		unsigned at = k;

		for (; at > 0 && v[i] > top[at - 1]; at--)
			if (at < k)
				top[at] = top[at - 1];
		if (at < k)
			top[at] = v[i];
	}
	return top[k - 1];
}

/*
 * Of a function whose calls come in bursts and wait for one another, those are the slowest 20th. A wake is of a call that waited for nobody: as long as it takes no longer than the slowest, they are who they were, and so is
 * P95. Others may wait behind it, so that it is also no more than wake_share of what those take. P95 is the call after the slowest 20th; to be on the safe side with few of them, for all that calls take it is the one after that.
 * @ret_room_ns: between the slowest and what calls take by themselves
 */
static double hidden_ns(const struct farmem_function *f, double *ret_room_ns)
{
	const struct farmem_tail *t = &f->tail;
	double whole, own;

	*ret_room_ns = 0;
	if (t->n < TAIL_CALLS_MIN)
		return 0;
	whole = (double)largest(t->whole_ns, t->n, 2 + t->n / TAIL_OF);
	own = (double)largest(t->own_ns, t->n, 1 + t->n / TAIL_OF);
	*ret_room_ns = fmax(whole - own, 0);
	return fmin(*ret_room_ns, f->knobs.wake_share * whole);
}

uint64_t farmem_call_ns(const struct farmem_function *f)
{
	return f->call_n > 0 ? (uint64_t)exp(f->call_log_ns) : 0;
}

uint64_t farmem_wake_ns(const struct farmem_node *node, const struct farmem_function *f, uint64_t ws_bytes)
{
	double ns = f->wake.n > 0 ? (double)ws_bytes * rate_each(&f->wake) : WAKE_LEAST_NS + (double)ws_bytes * rate_each(&node->costs.wake) / WAKE_HOPE;

	return ns < 1e18 ? (uint64_t)ns : FARMEM_NEVER;
}

/* What has never been away may be needed as well: it is not recorded yet, and comes back by faults the first time. */
bool farmem_wake_is_cheap(const struct farmem_node *node, const struct farmem_function *f, const struct farmem_seen *seen)
{
	double room_ns, nobody_notices_ns = fmax(f->knobs.wake_share * (double)farmem_call_ns(f), hidden_ns(f, &room_ns));
	uint64_t here = resident_bytes(seen) + seen->ws_remote_bytes, unknown = here > seen->ws_bytes ? here - seen->ws_bytes : 0;

	if (!f->knobs.prefetch || seen->ws_bytes == 0 || seen->ws_bytes > f->knobs.prefetch_max_bytes)
		return false;
	return (double)farmem_wake_ns(node, f, seen->ws_bytes) <= nobody_notices_ns && fault_ns(node, (double)unknown) <= nobody_notices_ns;
}

/*
 * What a wake that hides takes of processors others would notice, in the very moment in which they are called too. Such a call may take as long as the slowest do, so it can let them go first: while they compute, its own
 * computing would not be done any sooner but for their sake, and who waits behind it waits no longer for it. Half of that time, as the slowest may have been slow because of a moment like this.
 */
uint64_t wake_patience_ns(const struct farmem_node *node, const struct farmem_function *f, uint64_t bytes)
{
	double wake_ns = (double)farmem_wake_ns(node, f, bytes), room_ns;

	if (hidden_ns(f, &room_ns) <= 0 || wake_ns <= f->knobs.wake_share * (double)farmem_call_ns(f) || wake_ns >= room_ns)
		return 0;
	return (uint64_t)((room_ns - wake_ns) / 2);
}

bool wake_may_come(const struct farmem_node *node, struct farmem_function *f, const struct farmem_seen *seen)
{
	bool cheap = farmem_wake_is_cheap(node, f, seen);

	f->dear = cheap ? 0 : f->dear + 1;
	if (f->dear < DEAR_IN_A_ROW)
		return cheap;
	f->dear = 0;
	f->wake = (struct farmem_rate){ 0 };
	return false;
}
