/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fake.h"

/*
 * What cuMemAlloc hands out: small pieces (to 1 MiB) out of slabs of 2 MiB in units of 512 bytes, larger ones with physical memory of their own. Here and in mem.c fake.lock is held.
 */
#define UNIT 512ull
#define UNITS (GRANULARITY / UNIT)
#define SMALL_MAX (1ull << 20)

static CUresult block_new(struct ctx *c, unsigned device, uint64_t bytes, bool slab, struct block **ret)
{
	CUmemAllocationProp prop = { .type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = { CU_MEM_LOCATION_TYPE_DEVICE, (int)device } };
	struct block *b = calloc(1, sizeof(*b));
	struct phys *p;
	CUresult r = b ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

	if (r)
		return r;
	*b = (struct block){ .bytes = (bytes + GRANULARITY - 1) / GRANULARITY * GRANULARITY, .ctx = c, .device = device, .slab = slab };
	r = phys_new(&prop, b->bytes, false, &p);
	if (r)
		goto err;
	r = va_reserve(b->bytes, GRANULARITY, 0, &b->va);
	if (r)
		goto err_phys;
	r = map_new(b->va, p, 0, b->bytes, &b->map);
	if (r)
		goto err_va;
	memset(b->map->access, CU_MEM_ACCESS_FLAGS_PROT_READWRITE, sizeof(b->map->access));     /* cuMemAlloc's memory: by whom peer access was enabled for; not told apart here */
	map_protect(b->map);
	b->next = fake.blocks;
	fake.blocks = b;
	*ret = b;
	return CUDA_SUCCESS;
err_va:
	munmap((void *)b->va, b->bytes);
err_phys:
	phys_put(p);
err:
	free(b);
	return r;
}

static void block_free(struct block *b)
{
	for (struct block **at = &fake.blocks; *at; at = &(*at)->next) {
		if (*at != b)
			continue;
		*at = b->next;
		break;
	}
	map_free(b->map);
	munmap((void *)b->va, b->bytes);
	free(b);
}

static bool unit_used(const struct block *b, size_t k)
{
	return b->used[k / 64] >> (k % 64) & 1;
}

static void units_mark(struct block *b, size_t from, size_t n, bool used)
{
	for (size_t k = from; k < from + n; k++) {
		b->used[k / 64] &= ~(1ull << (k % 64));
		b->used[k / 64] |= (uint64_t)used << (k % 64);
	}
}

/* Return: the first of @n free units in a row; UNITS: none */
static size_t units_find(const struct block *b, size_t n)
{
	for (size_t k = 0, run = 0; k < UNITS; k++) {
		run = unit_used(b, k) ? 0 : run + 1;
		if (run == n)
			return k + 1 - n;
	}
	return UNITS;
}

static CUresult place_small(struct ctx *c, unsigned device, uint64_t bytes, struct block **ret, uint64_t *ret_va)
{
	size_t n = (bytes + UNIT - 1) / UNIT, at = UNITS;
	struct block *b;

	for (b = fake.blocks; b; b = b->next) {
		if (!b->slab || b->ctx != c || b->device != device)
			continue;
		at = units_find(b, n);
		if (at < UNITS)
			break;
	}
	if (!b) {
		CUresult r = block_new(c, device, GRANULARITY, true, &b);

		if (r)
			return r;
		at = 0;
	}
	units_mark(b, at, n, true);
	*ret = b;
	*ret_va = b->va + at * UNIT;
	return CUDA_SUCCESS;
}

CUresult alloc_new(struct ctx *c, unsigned device, uint64_t bytes, enum alloc_kind kind, struct pool *pool, uint64_t *ret)
{
	struct alloc *a = calloc(1, sizeof(*a));
	struct block *b;
	uint64_t va = 0;
	CUresult r;

	if (!a)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (bytes <= SMALL_MAX)
		r = place_small(c, device, bytes, &b, &va);
	else
		r = block_new(c, device, bytes, false, &b);
	if (r) {
		free(a);
		return r;
	}
	if (!b->slab)
		va = b->va;
	*a = (struct alloc){ .at = { va, bytes }, .kind = kind, .ctx = c, .device = device, .id = ++fake.next_id, .pool = pool, .block = b };
	b->users++;
	if (!table_add(&fake.allocs, &a->at)) {
		alloc_free(a);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (pool) {
		pool->used += bytes;
		pool->used_high = pool->used > pool->used_high ? pool->used : pool->used_high;
	}
	*ret = va;
	return CUDA_SUCCESS;
}

void alloc_free(struct alloc *a)
{
	struct block *b = a->block;

	table_remove(&fake.allocs, &a->at);
	if (a->pool)
		a->pool->used -= a->at.bytes;
	if (b->slab)
		units_mark(b, (a->at.va - b->va) / UNIT, (a->at.bytes + UNIT - 1) / UNIT, false);
	if (--b->users == 0)
		block_free(b);
	free(a);
}

void alloc_free_of(struct ctx *c)
{
	for (size_t k = fake.allocs.n; k-- > 0;) {
		struct alloc *a = (struct alloc *)fake.allocs.v[k];

		if (a->ctx == c)
			alloc_free(a);
	}
}

struct pool *pool_default(unsigned device)
{
	if (!fake.default_pool[device]) {
		struct pool *p = calloc(1, sizeof(*p));

		if (!p)
			return NULL;
		p->device = device;
		p->next = fake.pools;
		fake.pools = fake.default_pool[device] = p;
	}
	return fake.default_pool[device];
}

bool memory_is_device(uint64_t va)
{
	return table_find(&fake.mappings, va) || table_find(&fake.reservations, va);
}

bool memory_is_pinned(uint64_t va)
{
	return table_find(&fake.hosts, va) != NULL;
}

CUresult memory_check(uint64_t va, uint64_t bytes, unsigned device, bool write)
{
	struct alloc *a = table_find(&fake.allocs, va);
	uint64_t end = va + bytes;

	if (end < va)
		return CUDA_ERROR_INVALID_VALUE;
	if (a)
		return end <= a->at.va + a->at.bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	while (va < end) {
		struct mapping *m = table_find(&fake.mappings, va);
		uint8_t need = write ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_READ;

		if (!m || (m->access[device] & need) != need)
			return CUDA_ERROR_INVALID_VALUE;
		va = m->at.va + m->at.bytes;
	}
	return CUDA_SUCCESS;
}
