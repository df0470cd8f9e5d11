/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a process out of an image. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

struct memory_source {
	struct store_image *img;
	struct memory_run *runs;
	size_t n;
	int pid;
	int segment[MEMORY_SEGMENTS_MAX];               /* object numbers, -ENOENT */
};

static bool sound(const struct memory_source *s, size_t k)
{
	const struct memory_run *r = &s->runs[k];

	if (r->segment >= MEMORY_SEGMENTS_MAX || s->segment[r->segment] < 0 || r->start % MEMORY_WINDOW || !r->windows ||
	    r->start > (1ull << 56) || (k && r->start < r[-1].start + r[-1].windows * MEMORY_WINDOW))
		return false;
	return (r->chunk + r->windows) * MEMORY_WINDOW <= store_image_object_bytes(s->img, s->segment[r->segment]);
}

int memory_source_open(struct store_image *img, int pid, struct memory_source **ret, struct hearth_err *err)
{
	struct memory_source *s;
	char name[64];
	uint64_t bytes;
	int object, r;

	snprintf(name, sizeof(name), "mem/%d", pid);
	object = store_image_object(img, name);
	if (object < 0)
		return err_set(err, -ENOENT, "the image has no memory of process %d", pid);
	bytes = store_image_object_bytes(img, object);
	s = calloc(1, sizeof(*s));
	if (!s || !(s->runs = malloc(bytes ? bytes : 1))) {
		free(s);
		return err_set(err, -ENOMEM, "out of memory");
	}
	s->img = img;
	s->pid = pid;
	s->n = bytes / sizeof(*s->runs);
	for (unsigned k = 0; k < MEMORY_SEGMENTS_MAX; k++) {
		snprintf(name, sizeof(name), "mem/%d.%u", pid, k);
		s->segment[k] = store_image_object(img, name);
	}
	r = store_read(img, object, 0, s->runs, bytes, err);
	for (size_t k = 0; k < s->n && r == 0; k++)
		if (!sound(s, k))
			r = err_set(err, -EBADMSG, "the list of the memory of process %d in the image is damaged", pid);
	if (r < 0) {
		memory_source_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct memory_source *memory_source_close(struct memory_source *s)
{
	if (s)
		free(s->runs);
	free(s);
	return NULL;
}

/* index of the first run that ends behind @address */
static size_t find(const struct memory_source *s, uint64_t address)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->runs[mid].start + s->runs[mid].windows * MEMORY_WINDOW <= address)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int memory_source_read(struct memory_source *s, uint64_t address, void *buf, size_t bytes, struct hearth_err *err)
{
	uint8_t *to = buf;

	for (size_t k = find(s, address); bytes; k++) {
		const struct memory_run *run = &s->runs[k];
		uint64_t end, n;
		int r;

		if (k == s->n || run->start > address)
			return err_set(err, -EBADMSG, "the image lacks memory of process %d at %#llx", s->pid, (unsigned long long)address);
		end = run->start + run->windows * MEMORY_WINDOW;
		n = end - address < bytes ? end - address : bytes;
		r = store_read(s->img, s->segment[run->segment], run->chunk * MEMORY_WINDOW + (address - run->start), to, n, err);
		if (r < 0)
			return r;
		address += n;
		to += n;
		bytes -= n;
	}
	return 0;
}
