/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "farmem/policy.h"
#include "private.h"

/* with all the pressure there is, a semi-warm instance gives up its memory so much faster */
#define PRESSURE_HURRY 9
#define PAGE_BYTES 4096

double farmem_pressure(const struct farmem_knobs *k, double psi)
{
	if (!(psi > k->pressure_low))
		return 0;
	return psi < k->pressure_high ? (psi - k->pressure_low) / (k->pressure_high - k->pressure_low) : 1;
}

uint64_t resident_bytes(const struct farmem_seen *seen)
{
	return seen->resident_bytes[FARMEM_RUNTIME] + seen->resident_bytes[FARMEM_INIT] + seen->resident_bytes[FARMEM_EXECUTION];
}

uint64_t may_leave(const struct farmem_knobs *k, const struct farmem_instance *i, const struct farmem_seen *seen)
{
	uint64_t resident = resident_bytes(seen), stays = k->floor_bytes + i->asked_bytes;

	return resident > stays ? resident - stays : 0;
}

uint64_t offload_end_ns(const struct farmem_node *node, const struct farmem_knobs *k, const struct farmem_instance *i)
{
	uint64_t margin_ns = farmem_break_even_ns(node, k, 0);

	if (k->keepalive_ns == 0)
		return FARMEM_NEVER;
	if (margin_ns < k->keepalive_margin_ns)
		margin_ns = k->keepalive_margin_ns;
	return i->idle_since_ns + (k->keepalive_ns > margin_ns ? k->keepalive_ns - margin_ns : 0);
}

/* A daemon that was late hands out what it missed, but no more than one pace of it: the instance's memory is not to leave in one go because the machine slept. */
static uint64_t quota_time(const struct farmem_node *node, const struct farmem_knobs *k, const struct farmem_instance *i, uint64_t now_ns)
{
	uint64_t end_ns = now_ns + k->pace_ns, from_ns = i->quota_ns ? i->quota_ns : now_ns, last_ns = offload_end_ns(node, k, i);

	if (from_ns + k->pace_ns < now_ns)
		from_ns = now_ns - k->pace_ns;
	if (end_ns > last_ns)
		end_ns = last_ns;
	return end_ns > from_ns ? end_ns - from_ns : 0;
}

uint64_t farmem_offload_quota(const struct farmem_node *node, const struct farmem_knobs *k, const struct farmem_instance *i, uint64_t now_ns, const struct farmem_seen *seen)
{
	double rate, bytes;
	uint64_t most = may_leave(k, i, seen);

	if (!k->semiwarm || i->ended || i->running > 0 || i->idle_since_ns == 0 || now_ns < i->semiwarm_ns || now_ns >= offload_end_ns(node, k, i) || now_ns < i->quota_ns)
		return 0;
	rate = (double)i->base_bytes * k->offload_per_s * (1 + PRESSURE_HURRY * farmem_pressure(k, node->psi));
	bytes = i->at_once ? (double)most : rate * (double)quota_time(node, k, i, now_ns) / 1e9;
	bytes = ceil(bytes * (1 - node->evict_cut) / PAGE_BYTES) * PAGE_BYTES;
	return bytes < (double)most ? (uint64_t)bytes : most;
}

bool farmem_rollback_due(const struct farmem_knobs *k, const struct farmem_instance *i, uint64_t now_ns)
{
	return k->segments && i->offloaded != 0 && i->requests_rollback >= k->rollback_requests && now_ns >= i->rollback_ns && now_ns - i->rollback_ns >= k->rollback_ns;
}
