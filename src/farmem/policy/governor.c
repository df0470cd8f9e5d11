/* SPDX-License-Identifier: Apache-2.0 */
#include "farmem/policy.h"

#define EVICT_SURE_PRESSURE 0.5
#define EVICT_SURE_SHARE 8
/* some is always tried, or it would never be seen that there is room again */
#define CUT_MAX 0.99
/* seconds that evictions are averaged over */
#define EVICT_MEMORY 16

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void farmem_governor(const struct farmem_flows *want, uint64_t link, double pressure, struct farmem_flows *ret_grant)
{
	uint64_t left = link, sure = pressure >= EVICT_SURE_PRESSURE ? least(want->evict, link / EVICT_SURE_SHARE) : 0;

	if (link == 0) {
		*ret_grant = *want;
		return;
	}
	left -= sure;
	ret_grant->fault = least(want->fault, left);
	left -= ret_grant->fault;
	ret_grant->prefetch = least(want->prefetch, left);
	left -= ret_grant->prefetch;
	ret_grant->evict = least(want->evict, sure + left);
}

struct farmem_flows farmem_node_update(struct farmem_node *node, const struct farmem_knobs *k, const struct farmem_flows *want, uint64_t link, double psi)
{
	struct farmem_flows uncut = *want, grant;

	/* what there was had been cut already */
	node->evict_want += ((double)want->evict / (1 - node->evict_cut) - node->evict_want) / EVICT_MEMORY;
	uncut.evict = (uint64_t)node->evict_want;
	farmem_governor(&uncut, link, farmem_pressure(k, psi), &grant);
	node->psi = psi;
	node->evict_cut = uncut.evict > grant.evict ? 1 - (double)grant.evict / (double)uncut.evict : 0;
	node->evict_cut = node->evict_cut < CUT_MAX ? node->evict_cut : CUT_MAX;
	return grant;
}
