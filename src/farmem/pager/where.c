/* SPDX-License-Identifier: Apache-2.0 */
#include "where.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK_SHIFT 21          /* bytes of addresses that a chunk has the entries of */
#define CHUNK_PAGES 512
#define CHUNKS 32768u           /* 64 GiB of addresses */
#define SLOTS 65536u            /* of the table that finds them; a power of two */

/* sparse: only what is touched takes memory. A chunk is found by its key (address >> CHUNK_SHIFT, + 1), which is stored last. */
struct where_file {
	uint32_t n;
	uint32_t pad[1023];
	struct { uint64_t key; uint32_t chunk, pad; } slot[SLOTS];
	uint64_t key_of[CHUNKS];
	uint64_t entry[CHUNKS][CHUNK_PAGES];
};

int where_create(void)
{
	int fd = memfd_create("hearth-pager-index", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, sizeof(struct where_file)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd < 0 ? -errno : fd;
}

int where_open(struct where *ix, int fd)
{
	void *p = mmap(NULL, sizeof(struct where_file), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	ix->file = p;
	return 0;
}

void where_close(struct where *ix)
{
	if (ix->file)
		munmap(ix->file, sizeof(*ix->file));
	ix->file = NULL;
}

/* Return: the slot that has the key, or the empty one where it would be */
static uint32_t find_slot(const struct where_file *f, uint64_t key)
{
	uint32_t at = (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 48) & (SLOTS - 1);

	while (f->slot[at].key && f->slot[at].key != key)
		at = (at + 1) & (SLOTS - 1);
	return at;
}

static uint64_t *find(const struct where_file *f, uint64_t address)
{
	uint32_t at = find_slot(f, (address >> CHUNK_SHIFT) + 1);

	if (!f->slot[at].key)
		return NULL;
	return (uint64_t *)&f->entry[f->slot[at].chunk][address / PAGE_BYTES % CHUNK_PAGES];
}

uint64_t where_get(const struct where *ix, uint64_t address)
{
	const uint64_t *e = find(ix->file, address);

	return e ? *e : 0;
}

int where_set(struct where *ix, uint64_t address, uint64_t entry)
{
	struct where_file *f = ix->file;
	uint64_t *e = find(f, address), key = (address >> CHUNK_SHIFT) + 1;

	if (!e && entry == 0)
		return 0;
	if (!e) {
		uint32_t at = find_slot(f, key);

		if (f->n == CHUNKS)
			return -ENOSPC;
		f->slot[at].chunk = f->n;
		f->key_of[f->n] = key;
		f->n++;
		__atomic_store_n(&f->slot[at].key, key, __ATOMIC_RELEASE);
		e = find(f, address);
	}
	__atomic_store_n(e, entry, __ATOMIC_RELEASE);
	return 0;
}

/* entries [first, end) of a chunk. Return: go on */
static bool each_of(const struct where_file *f, uint32_t chunk, uint64_t key, unsigned first, unsigned end, bool (*each)(void *ctx, uint64_t address, uint64_t entry), void *ctx)
{
	for (unsigned k = first; k < end; k++)
		if (f->entry[chunk][k] && !each(ctx, ((key - 1) << CHUNK_SHIFT) + k * PAGE_BYTES, f->entry[chunk][k]))
			return false;
	return true;
}

void where_each(const struct where *ix, bool (*each)(void *ctx, uint64_t address, uint64_t entry), void *ctx)
{
	const struct where_file *f = ix->file;

	for (uint32_t c = 0; c < f->n; c++) {
		uint64_t key = f->key_of[c];
		uint32_t at = find_slot(f, key);

		/* a pager that was killed while it made a chunk has left one that nothing leads to */
		if (f->slot[at].key == key && f->slot[at].chunk == c && !each_of(f, c, key, 0, CHUNK_PAGES, each, ctx))
			return;
	}
}

void where_each_in(const struct where *ix, uint64_t start, uint64_t end, bool (*each)(void *ctx, uint64_t address, uint64_t entry), void *ctx)
{
	const struct where_file *f = ix->file;
	uint64_t first = (start >> CHUNK_SHIFT) + 1, last = ((end - 1) >> CHUNK_SHIFT) + 1;

	if (start >= end)
		return;
	for (uint64_t key = first; key <= last; key++) {
		uint32_t at = find_slot(f, key);
		unsigned from = key == first ? (unsigned)(start / PAGE_BYTES % CHUNK_PAGES) : 0;
		unsigned to = key == last ? (unsigned)((end - 1) / PAGE_BYTES % CHUNK_PAGES) + 1 : CHUNK_PAGES;

		if (f->slot[at].key && !each_of(f, f->slot[at].chunk, key, from, to, each, ctx))
			return;
	}
}

struct moving {
	struct where *ix;
	uint64_t offset;
	int error;
};

static bool move_one(void *ctx, uint64_t address, uint64_t entry)
{
	struct moving *m = ctx;

	m->error = where_set(m->ix, address + m->offset, entry);
	if (m->error == 0)
		(void)where_set(m->ix, address, 0);
	return m->error == 0;
}

int where_move(struct where *ix, uint64_t from, uint64_t to, uint64_t len)
{
	struct moving m = { .ix = ix, .offset = to - from };

	where_each_in(ix, from, from + len, move_one, &m);
	return m.error;
}

static bool copy_one(void *ctx, uint64_t address, uint64_t entry)
{
	struct moving *m = ctx;

	m->error = where_set(m->ix, address, entry);
	return m->error == 0;
}

int where_copy(const struct where *from, struct where *to)
{
	struct moving m = { .ix = to };

	where_each(from, copy_one, &m);
	return m.error;
}
