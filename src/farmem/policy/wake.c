/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a call would notice that its instance's memory was away: what bringing it back takes beside what the call takes by itself. docs/adr/0020-reuse-histogram.md */
#include <math.h>

#include "private.h"

/* what is measured fades: so much of it, of a node, and of a function so many wakes, count as much as what comes next */
#define WOKEN_MEMORY (256.0 * (1 << 20))
#define WAKES_MEMORY 8
#define CALLS_MEMORY 32
/* as long as none of the function's was measured: what asking for it takes, however little comes back */
#define WAKE_LEAST_NS 1e6
/* a page that is touched before anybody brings it back takes so many times as long as one of a batch: 5 to 10 us, not 2 */
#define FAULT_TIMES 4
/* of a call that found so little missing that it cannot have taken longer by more than this share, it is said that it took its own time */
#define OWN_TIME_SHARE 0.1

static double fault_ns(const struct farmem_node *node, double bytes)
{
	return bytes * FAULT_TIMES * rate_each(&node->costs.back);
}

void farmem_measured_wake(struct farmem_node *node, struct farmem_function *f, uint64_t bytes, uint64_t ns)
{
	if (bytes == 0)
		return;
	rate_add(&node->costs.wake, (double)bytes, ns, WOKEN_MEMORY);
	rate_add(&f->wake, (double)bytes, ns, WAKES_MEMORY * (double)bytes);
}

/* The mean is of logarithms: a few calls that take a hundred times as long say nothing of what the others would notice. */
void call_took(const struct farmem_node *node, struct farmem_function *f, uint64_t ns, uint64_t missing_bytes)
{
	if (ns == 0 || fault_ns(node, (double)missing_bytes) > OWN_TIME_SHARE * (double)ns)
		return;
	f->call_n += f->call_n < CALLS_MEMORY;
	f->call_log_ns += (log((double)ns) - f->call_log_ns) / f->call_n;
}

uint64_t farmem_call_ns(const struct farmem_function *f)
{
	return f->call_n > 0 ? (uint64_t)exp(f->call_log_ns) : 0;
}

uint64_t farmem_wake_ns(const struct farmem_node *node, const struct farmem_function *f, uint64_t ws_bytes)
{
	double ns = f->wake.n > 0 ? (double)ws_bytes * rate_each(&f->wake) : WAKE_LEAST_NS + (double)ws_bytes * rate_each(&node->costs.wake);

	return ns < 1e18 ? (uint64_t)ns : FARMEM_NEVER;
}

/* What has never been away may be needed as well: it is not recorded yet, and comes back by faults the first time. */
bool farmem_wake_is_cheap(const struct farmem_node *node, const struct farmem_function *f, const struct farmem_seen *seen)
{
	double nobody_notices_ns = f->knobs.wake_share * (double)farmem_call_ns(f);
	uint64_t here = resident_bytes(seen) + seen->ws_remote_bytes, unknown = here > seen->ws_bytes ? here - seen->ws_bytes : 0;

	if (!f->knobs.prefetch || seen->ws_bytes == 0 || seen->ws_bytes > f->knobs.prefetch_max_bytes)
		return false;
	return (double)farmem_wake_ns(node, f, seen->ws_bytes) <= nobody_notices_ns && fault_ns(node, (double)unknown) <= nobody_notices_ns;
}
