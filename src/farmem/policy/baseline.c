/* SPDX-License-Identifier: Apache-2.0 */
/* What ours is compared with, live: each as its authors have it, after the published repository of FaaSMem (ASPLOS'24). */
#include <math.h>

#include "private.h"

#define FIRST_SEGMENTS (FARMEM_SEGMENT_BIT(FARMEM_RUNTIME) | FARMEM_SEGMENT_BIT(FARMEM_INIT))

double farmem_tmo_bytes(double current, double psi)
{
	return current * FARMEM_TMO_SHARE * fmax(0, 1 - psi / FARMEM_TMO_PSI_MAX);
}

uint64_t rule_due_ns(const struct farmem_knobs *k, const struct farmem_instance *i)
{
	if (i->ready_ns == 0)
		return FARMEM_NEVER;
	if (k->rule == FARMEM_RULE_TMO)
		return i->rule_ns ? i->rule_ns : i->ready_ns + k->pace_ns;
	if (k->rule == FARMEM_RULE_COLD && !(i->offloaded & FIRST_SEGMENTS))
		return i->ready_ns + k->semiwarm_min_ns;
	return FARMEM_NEVER;
}

unsigned rule_turn(const struct farmem_node *node, const struct farmem_knobs *k, struct farmem_instance *i, uint64_t now_ns, const struct farmem_seen *seen, uint64_t *ret_bytes)
{
	if (k->rule == FARMEM_RULE_TMO) {
		i->rule_ns = now_ns + k->pace_ns;
		*ret_bytes = (uint64_t)farmem_tmo_bytes((double)resident_bytes(seen), node->psi);
		return FARMEM_ALL_SEGMENTS;
	}
	i->offloaded |= FIRST_SEGMENTS;
	*ret_bytes = seen->resident_bytes[FARMEM_RUNTIME] + seen->resident_bytes[FARMEM_INIT];
	return FIRST_SEGMENTS;
}
