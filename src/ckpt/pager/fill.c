/* SPDX-License-Identifier: Apache-2.0 */
#include "fill.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define PAGE 4096ull

static struct pagemap_range cut(struct pagemap_range r, uint64_t start, uint64_t end)
{
	return (struct pagemap_range){ start, end, r.offset + (start - r.start), r.bulk };
}

/* index of the first range that ends behind @address */
static size_t find(const struct fill_space *s, uint64_t address)
{
	size_t lo = s->first, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->ranges[mid].end <= address)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int insert(struct fill_space *s, size_t at, struct pagemap_range r)
{
	if (at == s->first && at > 0) {
		s->ranges[--s->first] = r;
		return 0;
	}
	if (s->n == s->cap) {
		size_t more = s->cap ? s->cap * 2 : 64;
		struct pagemap_range *p = realloc(s->ranges, more * sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->ranges = p;
		s->cap = more;
	}
	memmove(s->ranges + at + 1, s->ranges + at, (s->n - at) * sizeof(*s->ranges));
	s->ranges[at] = r;
	s->n++;
	return 0;
}

static void delete(struct fill_space *s, size_t at)
{
	if (at == s->first) {
		s->first++;
		return;
	}
	memmove(s->ranges + at, s->ranges + at + 1, (s->n - at - 1) * sizeof(*s->ranges));
	s->n--;
}

bool fill_take(struct fill_space *s, uint64_t max_bytes, struct pagemap_range *ret)
{
	struct pagemap_range *r;

	if (fill_empty(s))
		return false;
	r = &s->ranges[s->first];
	if (r->end - r->start <= max_bytes) {
		*ret = *r;
		s->first++;
		return true;
	}
	*ret = cut(*r, r->start, r->start + max_bytes);
	*r = cut(*r, r->start + max_bytes, r->end);
	return true;
}

int fill_drop(struct fill_space *s, uint64_t start, uint64_t end)
{
	for (size_t k = find(s, start); k < s->n && s->ranges[k].start < end; ) {
		struct pagemap_range r = s->ranges[k];

		if (r.start < start && end < r.end) {
			int err = insert(s, k + 1, cut(r, end, r.end));

			if (err < 0)
				return err;
			/* inserting may have moved the array, or this range to the place before */
			s->ranges[find(s, r.start)] = cut(r, r.start, start);
			return 0;
		}
		if (r.start < start) {
			s->ranges[k++].end = start;
		} else if (end < r.end) {
			s->ranges[k] = cut(r, end, r.end);
			return 0;
		} else {
			size_t first = s->first;

			delete(s, k);
			k += s->first - first;  /* deleting at the front shifts nothing */
		}
	}
	return 0;
}

/* remove @piece, which is part of range @k. Without memory for the split the rest of the range comes along. */
static struct pagemap_range take_piece(struct fill_space *s, size_t k, struct pagemap_range piece)
{
	if (fill_drop(s, piece.start, piece.end) < 0) {
		piece = s->ranges[k];
		delete(s, k);
	}
	return piece;
}

bool fill_take_soon(struct fill_space *s, uint64_t max_bytes, struct pagemap_range *ret)
{
	size_t k = find(s, s->soon_at);
	struct pagemap_range r;

	while (k < s->n && s->ranges[k].bulk)
		k++;
	if (k == s->n) {
		s->soon_at = UINT64_MAX;
		return false;
	}
	r = s->ranges[k];
	*ret = take_piece(s, k, r.end - r.start > max_bytes ? cut(r, r.start, r.start + max_bytes) : r);
	s->soon_at = ret->end;
	return true;
}

bool fill_take_from(struct fill_space *s, uint64_t address, uint64_t max_bytes, struct pagemap_range *ret)
{
	size_t k = find(s, address);
	struct pagemap_range r;

	if (k == s->n)
		return false;
	r = s->ranges[k];
	if (r.start < address)
		r = cut(r, address, r.end);
	if (r.end - r.start > max_bytes)
		r = cut(r, r.start, r.start + max_bytes);
	*ret = take_piece(s, k, r);
	return true;
}

uint64_t fill_next(const struct fill_space *s, uint64_t address)
{
	size_t k = find(s, address);

	return k == s->n ? UINT64_MAX : s->ranges[k].start > address ? s->ranges[k].start : address;
}

bool fill_take_below(struct fill_space *s, uint64_t address, uint64_t max_bytes, struct pagemap_range *ret)
{
	size_t k = find(s, address);
	struct pagemap_range r;

	if (k < s->n && s->ranges[k].start < address) {
		r = cut(s->ranges[k], s->ranges[k].start, address);
	} else if (k > s->first) {
		r = s->ranges[--k];
	} else {
		return false;
	}
	if (r.end - r.start > max_bytes)
		r = cut(r, r.end - max_bytes, r.end);
	*ret = take_piece(s, k, r);
	return true;
}

bool fill_take_around(struct fill_space *s, uint64_t address, uint64_t window_bytes, struct pagemap_range *ret)
{
	uint64_t lo = address & ~(window_bytes - 1), hi = lo + window_bytes;
	size_t k = find(s, address);
	struct pagemap_range r;

	if (k == s->n || s->ranges[k].start > address)
		return false;
	r = s->ranges[k];
	*ret = take_piece(s, k, cut(r, r.start > lo ? r.start : lo, r.end < hi ? r.end : hi));
	return true;
}

int fill_put(struct fill_space *s, struct pagemap_range r)
{
	return r.start < r.end ? insert(s, find(s, r.start), r) : 0;
}

int fill_move(struct fill_space *s, uint64_t from, uint64_t to, uint64_t len)
{
	struct pagemap_range *moved = NULL;
	size_t n = 0;
	int err;

	for (size_t k = find(s, from); k < s->n && s->ranges[k].start < from + len; k++) {
		struct pagemap_range r = s->ranges[k], *p = realloc(moved, (n + 1) * sizeof(*moved));
		uint64_t start = r.start > from ? r.start : from, end = r.end < from + len ? r.end : from + len;

		if (!p) {
			free(moved);
			return -ENOMEM;
		}
		moved = p;
		moved[n] = cut(r, start, end);
		moved[n].start = start - from + to;
		moved[n++].end = end - from + to;
	}
	err = fill_drop(s, from, from + len);
	/* whatever was mapped at the new place is gone */
	if (err == 0)
		err = fill_drop(s, to, to + len);
	for (size_t k = 0; k < n && err == 0; k++)
		err = fill_put(s, moved[k]);
	free(moved);
	return err;
}

int fill_copy(const struct fill_space *from, struct fill_space *to)
{
	size_t n = from->n - from->first;
	struct pagemap_range *p = malloc((n ? n : 1) * sizeof(*p));

	if (!p)
		return -ENOMEM;
	if (n)
		memcpy(p, from->ranges + from->first, n * sizeof(*p));
	*to = (struct fill_space){ .uffd = -1, .ranges = p, .n = n, .cap = n ? n : 1, .pages = from->pages, .process = from->process, .soon_at = from->soon_at,
				    .open = from->open, .settled = from->settled };
	return 0;
}

void fill_clear(struct fill_space *s)
{
	free(s->ranges);
	s->ranges = NULL;
	s->first = s->n = s->cap = 0;
}

/* one ioctl. Return: bytes copied (> 0), -errno */
static int64_t copy(const struct fill_space *s, const uint8_t *pages, struct pagemap_range r)
{
	struct uffdio_copy c = { .dst = r.start, .src = (uintptr_t)pages + r.offset, .len = r.end - r.start };

	if (ioctl(s->uffd, UFFDIO_COPY, &c) == 0)
		return c.copy;
	if (c.copy > 0)
		return c.copy;                  /* as far as it went; the rest tells its own error */
	return c.copy < 0 && errno == EAGAIN ? c.copy : -errno;
}

int fill_range(const struct fill_space *s, const uint8_t *pages, struct pagemap_range r, struct pagemap_range *ret_rest)
{
	while (r.start < r.end) {
		int64_t n = copy(s, pages, r);
		uint64_t half = ((r.end - r.start) / 2 + PAGE - 1) & ~(PAGE - 1);

		if (n > 0) {
			r = cut(r, r.start + (uint64_t)n, r.end);
			continue;
		}
		if (n == -EEXIST) {
			struct uffdio_range wake = { .start = r.start, .len = PAGE };

			(void)ioctl(s->uffd, UFFDIO_WAKE, &wake);
			r = cut(r, r.start + PAGE, r.end);
		} else if (n == -ENOENT && !s->settled) {
			*ret_rest = r;
			return -EAGAIN;
		} else if ((n == -ENOENT || n == -ENOMEM || n == -EINVAL) && r.end - r.start > PAGE) {
			/* the mapping was split meanwhile, or memory is tight: in smaller pieces */
			struct pagemap_range rest;
			int err = fill_range(s, pages, cut(r, r.start, r.start + half), &rest);

			if (err < 0) {
				if (err == -EAGAIN)
					*ret_rest = cut(r, rest.start, r.end);
				return err;
			}
			r = cut(r, r.start + half, r.end);
		} else if (n == -ENOENT) {
			r = cut(r, r.start + PAGE, r.end);      /* nobody can touch it any more */
		} else if (n == -EAGAIN) {
			*ret_rest = r;
			return -EAGAIN;
		} else {
			return n == -ENOSPC ? -ESRCH : n ? (int)n : -EIO;
		}
	}
	return 0;
}

int fill_zero(const struct fill_space *s, uint64_t address)
{
	struct uffdio_zeropage z = { .range = { .start = address, .len = PAGE } };

	if (ioctl(s->uffd, UFFDIO_ZEROPAGE, &z) == 0)
		return 0;
	if (errno == EEXIST) {
		struct uffdio_range wake = { .start = address, .len = PAGE };

		(void)ioctl(s->uffd, UFFDIO_WAKE, &wake);
		return 0;
	}
	return errno == ENOENT ? 0 : errno == ENOSPC ? -ESRCH : -errno;
}
