/* SPDX-License-Identifier: Apache-2.0 */
#include "hints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* entries: of 16 GiB of pages; those of 64 pages that follow each other are beside each other */
#define ENTRIES (1u << 22)
#define GROUP   64u
/* a pool of 512 GiB, which is what an item's @at reaches */
#define REGIONS ((uint32_t)(((uint64_t)UINT32_MAX + 1) * WIRE_AT_BYTES / WIRE_REGION_BYTES))

/* tag: of which page and epoch; len 0: empty */
struct entry {
	uint64_t tag;
	uint32_t at;
	uint32_t len;
};

/* region: address 0: not known. turn: what was noted before a reset has another one in its tag. */
struct hints {
	struct entry *entry;
	struct wire_memory *region;
	size_t regions;
	uint64_t turn;
};

struct hints *hints_new(void)
{
	struct hints *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->entry = mmap(NULL, ENTRIES * sizeof(*h->entry), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return h->entry == MAP_FAILED ? hints_free(h) : h;
}

struct hints *hints_free(struct hints *h)
{
	if (!h)
		return NULL;
	if (h->entry != MAP_FAILED)
		munmap(h->entry, ENTRIES * sizeof(*h->entry));
	free(h->region);
	free(h);
	return NULL;
}

void hints_reset(struct hints *h)
{
	h->turn++;
	for (size_t k = 0; k < h->regions; k++)
		h->region[k] = (struct wire_memory){ 0 };
}

int hints_memory(struct hints *h, const struct wire_memory *m)
{
	size_t before = h->regions;

	if (m->region >= REGIONS)
		return -EPROTO;
	if (array_grow((void **)&h->region, &h->regions, m->region + 1, sizeof(*h->region)) < 0)
		return -ENOMEM;
	memset(h->region + before, 0, (h->regions - before) * sizeof(*h->region));
	h->region[m->region] = *m;
	return 0;
}

static struct entry *entry_of(const struct hints *h, const struct farmem_object *o, uint64_t page)
{
	uint64_t group = XXH3_64bits_withSeed(o, sizeof(*o), page / GROUP) % (ENTRIES / GROUP);

	return &h->entry[group * GROUP + page % GROUP];
}

static uint64_t tag_of(const struct hints *h, const struct farmem_object *o, uint64_t page, uint32_t epoch)
{
	struct { struct farmem_object object; uint64_t page, epoch; } id = { *o, page, epoch };

	return XXH3_64bits_withSeed(&id, sizeof(id), h->turn);
}

void hints_note(struct hints *h, const struct farmem_object *o, const struct wire_item *i)
{
	if (i->held)
		*entry_of(h, o, i->page) = (struct entry){ .tag = tag_of(h, o, i->page, i->epoch), .at = i->at, .len = i->held };
}

void hints_forget(struct hints *h, const struct farmem_object *o, uint64_t page)
{
	entry_of(h, o, page)->len = 0;
}

bool hints_find(const struct hints *h, const struct farmem_object *o, struct pool_ref ref, struct hint *ret)
{
	const struct entry *e = entry_of(h, o, ref.page);
	uint64_t at = (uint64_t)e->at * WIRE_AT_BYTES, region = at / WIRE_REGION_BYTES;

	if (!e->len || e->tag != tag_of(h, o, ref.page, ref.epoch) || region >= h->regions || !h->region[region].address || at % WIRE_REGION_BYTES + e->len > WIRE_REGION_BYTES)
		return false;
	*ret = (struct hint){ .memory = h->region[region], .at = at % WIRE_REGION_BYTES, .len = e->len };
	return true;
}
