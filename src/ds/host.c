/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that the kernel reaches: one piece, in this thread. What is aligned goes straight between file and memory with O_DIRECT; blocks at the ends, of which only a part is wanted, and
 * memory that does not lie as the file does, go over a slot of the ring.
 */
#include <errno.h>
#include <string.h>

#include "host.h"
#include "ring.h"

/* NULL: no memory */
static struct slot *need_bounce(struct hearth_ds_device *d, struct slot **bounce)
{
	struct ring *ring;

	if (!*bounce && ring_get(d, &ring, NULL) == 0)
		*bounce = ring_take(ring, true);
	return *bounce;
}

/* ---- reading ---- */

static ssize_t read_blocks(struct hearth_ds_file *f, uint8_t *room, size_t n, uint64_t at, uint8_t **ret)
{
	uint64_t low = at - at % f->offset_align, high = at + n + f->offset_align - 1;
	ssize_t got;

	high -= high % f->offset_align;
	got = ds_file_read(f, true, room, high - low, low);
	if (got < 0)
		return got;
	*ret = room + (at - low);
	got -= (ssize_t)(at - low);
	return got < 0 ? 0 : got < (ssize_t)n ? got : (ssize_t)n;
}

ssize_t host_read_around(struct hearth_ds_file *f, uint8_t *room, size_t n, uint64_t at, uint8_t **ret)
{
	if (!cache_serves(f, at, n))
		return read_blocks(f, room, n, at, ret);
	*ret = room;
	return ds_file_read(f, false, room, n, at);
}

/* blocks around what is wanted fit a slot: pieces are cut at its multiples */
static ssize_t read_bounced(struct hearth_ds_file *f, struct hearth_ds_device *d, uint8_t *to, size_t n, uint64_t at, struct slot **bounce)
{
	struct slot *s = need_bounce(d, bounce);
	uint8_t *from;
	ssize_t got;

	if (!s)
		return -ENOMEM;
	got = read_blocks(f, s->at, n, at, &from);
	if (got > 0)
		memcpy(to, from, (size_t)got);
	return got;
}

/* head, middle, tail: the middle's place in memory is aligned. A part of 0 bytes is left out. */
static ssize_t read_parts(struct hearth_ds_file *f, struct hearth_ds_device *d, uint8_t *to, size_t n, uint64_t at, size_t head, struct slot **bounce)
{
	size_t middle = (n - head) - (n - head) % f->offset_align, part[] = { head, middle, n - head - middle }, done = 0;

	for (int k = 0; k < 3; k++) {
		ssize_t r = 0;

		if (part[k])
			r = k == 1 ? ds_file_read(f, true, to + done, part[k], at + done) : read_bounced(f, d, to + done, part[k], at + done, bounce);
		if (r < 0)
			return r;
		done += (size_t)r;
		if ((size_t)r < part[k])
			break;
	}
	return (ssize_t)done;
}

ssize_t host_read(struct hearth_ds_file *f, struct hearth_ds_device *d, uint8_t *to, size_t n, uint64_t at, bool cache, struct slot **bounce)
{
	size_t head;

	if (cache ? cache_serves(f, at, n) : file_direct(f) < 0)
		return ds_file_read(f, false, to, n, at);
	head = (f->offset_align - at % f->offset_align) % f->offset_align;
	if (head + f->offset_align <= n && (uintptr_t)(to + head) % f->memory_align == 0)
		return read_parts(f, d, to, n, at, head, bounce);
	return read_bounced(f, d, to, n, at, bounce);
}

/* ---- writing ---- */

static ssize_t write_middle(struct hearth_ds_file *f, struct hearth_ds_device *d, const uint8_t *from, size_t n, uint64_t at, struct slot **bounce)
{
	struct slot *s;

	if ((uintptr_t)from % f->memory_align == 0)
		return ds_file_write(f, true, from, n, at);
	s = need_bounce(d, bounce);
	if (!s)
		return -ENOMEM;
	memcpy(s->at, from, n);
	return ds_file_write(f, true, s->at, n, at);
}

/* whole pages beside the cache first: what they throw out of it must not be a neighbour that was written just now */
ssize_t host_write(struct hearth_ds_file *f, struct hearth_ds_device *d, const uint8_t *from, size_t n, uint64_t at, struct slot **bounce)
{
	size_t head = (BLOCK_BYTES - at % BLOCK_BYTES) % BLOCK_BYTES, middle;
	ssize_t r;

	if (f->ds->o.cache == HEARTH_DS_CACHE_ALWAYS || head + BLOCK_BYTES > n || file_direct(f) < 0)
		return ds_file_write(f, false, from, n, at);
	middle = (n - head) - (n - head) % BLOCK_BYTES;
	r = write_middle(f, d, from + head, middle, at + head, bounce);
	if (r >= 0 && head)
		r = ds_file_write(f, false, from, head, at);
	if (r >= 0 && head + middle < n)
		r = ds_file_write(f, false, from + head + middle, n - head - middle, at + head + middle);
	return r < 0 ? r : (ssize_t)n;
}

/* ---- whole operations ---- */

ssize_t host_transfer(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes, bool write)
{
	uint8_t *cpu = m->cpu + memory_offset;
	struct slot *bounce = NULL;
	size_t done = 0;
	ssize_t r = 0;

	while (done < bytes) {
		size_t n = piece_at(at + done, bytes - done);

		r = write ? host_write(f, m->device, cpu + done, n, at + done, &bounce) : host_read(f, m->device, cpu + done, n, at + done, m->device->kind == DEVICE_HOST, &bounce);
		if (r < 0)
			break;
		done += (size_t)r;
		if ((size_t)r < n)
			break;
	}
	if (bounce)
		ring_put(atomic_load(&m->device->ring), bounce);
	return r < 0 ? r : (ssize_t)done;
}
