/* SPDX-License-Identifier: Apache-2.0 */
#include "farmem/policy.h"

#define RECORDED_MAX 8
/* requests recorded before a page that only one of them touched counts as chance */
#define CHANCE_FROM 3

static unsigned heat_of(const struct farmem_ws_range *r, unsigned recorded)
{
	return (unsigned)__builtin_popcount(r->seen & ((1u << recorded) - 1));
}

/* The least heat that is brought back, as the hotter ones leave room for it. @ret_room: pages of that heat that fit. */
static unsigned least_heat(const struct farmem_ws_range *ws, size_t n, unsigned recorded, uint64_t budget_pages, uint64_t *ret_room)
{
	uint64_t pages[RECORDED_MAX + 1] = { 0 }, left = budget_pages;
	unsigned heat, least = recorded >= CHANCE_FROM ? 2 : 1;

	for (size_t i = 0; i < n; i++)
		pages[heat_of(&ws[i], recorded)] += ws[i].pages;
	for (heat = recorded; heat > least && pages[heat] < left; heat--)
		left -= pages[heat];
	*ret_room = left;
	return heat;
}

size_t farmem_prefetch_set(struct farmem_ws_range *ws, size_t n, unsigned recorded, uint64_t budget_pages)
{
	uint64_t room;
	unsigned least;
	size_t kept = 0;

	recorded = recorded < RECORDED_MAX ? recorded : RECORDED_MAX;
	if (recorded == 0)
		return 0;
	least = least_heat(ws, n, recorded, budget_pages, &room);
	for (size_t i = 0; i < n; i++) {
		struct farmem_ws_range r = ws[i];
		unsigned heat = heat_of(&r, recorded);

		if (heat < least)
			continue;
		if (heat == least) {
			r.pages = r.pages < room ? r.pages : (uint32_t)room;
			room -= r.pages;
		}
		if (r.pages > 0)
			ws[kept++] = r;
	}
	return kept;
}
