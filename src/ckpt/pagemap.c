/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/pagemap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "criu/leave.h"
#include "img.h"

#define MAGIC_PAGEMAP 0x56084025u
#define MAGIC_MM      0x57492820u
#define PE_LAZY    (1u << 1)
#define PE_PRESENT (1u << 2)
#define PAGE 4096ull
#define BULK_BYTES (8ull << 20)
#define MADV_HUGEPAGE_BIT (1ull << 14)
#define IMG_MAX (256u << 20)

struct vma_cursor {
	struct img_span mm;
	uint64_t start, end;
	bool bulk;
};

/* move on to the next VMA entry (field 14 of mm_entry). Return: 1, 0 end, -1 malformed */
static int next_vma(struct vma_cursor *c)
{
	struct img_field f;
	int r;

	while ((r = img_field(&c->mm, &f)) > 0) {
		if (f.number != 14 || f.wire != 2)
			continue;
		struct img_span vma = f.bytes;
		uint64_t advice = 0;

		c->start = c->end = 0;
		while ((r = img_field(&vma, &f)) > 0) {
			if (f.number == 1 && f.wire == 0)
				c->start = f.value;
			else if (f.number == 2 && f.wire == 0)
				c->end = f.value;
			else if (f.number == 9 && f.wire == 0)
				advice = f.value;
		}
		c->bulk = (advice & MADV_HUGEPAGE_BIT) || c->end - c->start >= BULK_BYTES;
		return r < 0 || c->start >= c->end ? -1 : 1;
	}
	return r;
}

static int add(struct pagemap *map, size_t *cap, struct pagemap_range r)
{
	struct pagemap_range *last = map->n ? &map->ranges[map->n - 1] : NULL;

	if (map->n == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		struct pagemap_range *p = realloc(map->ranges, more * sizeof(*p));

		if (!p)
			return -ENOMEM;
		map->ranges = p;
		*cap = more;
		last = map->n ? &p[map->n - 1] : NULL;
	}
	if (last && r.start < last->end)
		return -EBADMSG;
	map->ranges[map->n++] = r;
	return 0;
}

struct entry { uint64_t start, pages, flags; };

static int parse_entry(struct img_span rec, struct entry *e)
{
	struct img_field f;
	uint64_t compat = 0;
	int r;

	*e = (struct entry){ 0 };
	while ((r = img_field(&rec, &f)) > 0) {
		if (f.wire != 0)
			continue;
		if (f.number == 1)
			e->start = f.value;
		else if (f.number == 2)
			compat = f.value;
		else if (f.number == 3 && f.value)
			return -EBADMSG;        /* in_parent: incremental images are never made here */
		else if (f.number == 4)
			e->flags = f.value;
		else if (f.number == 5)
			e->pages = f.value;
	}
	if (!e->pages)
		e->pages = compat;
	if (r < 0 || e->start % PAGE || e->pages > (1ull << 40) || e->start > UINT64_MAX / 2)
		return -EBADMSG;
	return 0;
}

int pagemap_parse(const void *map_data, size_t map_len, const void *mm_data, size_t mm_len, struct pagemap *ret)
{
	struct img_span s = { map_data, (const uint8_t *)map_data + map_len }, mm = { mm_data, (const uint8_t *)mm_data + mm_len }, rec;
	struct pagemap out = { 0 };
	struct vma_cursor vma = { 0 };
	struct img_field f;
	size_t cap = 0;
	uint64_t offset = 0;
	int r = -EBADMSG, got;

	if (!img_open(&s, MAGIC_PAGEMAP) || !img_open(&mm, MAGIC_MM) || img_record(&mm, &vma.mm) != 1 || img_record(&s, &rec) != 1)
		goto err;
	while ((got = img_field(&rec, &f)) > 0)
		if (f.number == 1 && f.wire == 0)
			out.pages_id = (uint32_t)f.value;
	if (got < 0)
		goto err;
	while ((got = img_record(&s, &rec)) > 0) {
		struct entry e;

		r = parse_entry(rec, &e);
		if (r < 0)
			goto err;
		uint64_t at = e.start, end = e.start + e.pages * PAGE;

		while ((e.flags & PE_LAZY) && at < end) {
			r = -EBADMSG;
			while (vma.end <= at)
				if (next_vma(&vma) != 1)
					goto err;
			if (at < vma.start)
				goto err;
			uint64_t stop = end < vma.end ? end : vma.end;

			r = add(&out, &cap, (struct pagemap_range){ at, stop, e.flags & PE_PRESENT ? offset + (at - e.start) : at, vma.bulk });
			out.elsewhere |= !(e.flags & PE_PRESENT);
			if (r < 0)
				goto err;
			at = stop;
		}
		if (e.flags & PE_PRESENT)
			offset += e.pages * PAGE;
	}
	r = got < 0 ? -EBADMSG : 0;
	if (r < 0)
		goto err;
	out.file_bytes = offset;
	*ret = out;
	return 0;
err:
	pagemap_done(&out);
	return r;
}

int pagemap_walk(void *map_data, size_t map_len, pagemap_entry_fn fn, void *ctx, uint32_t *ret_pages_id)
{
	struct img_span s = { map_data, (const uint8_t *)map_data + map_len }, rec;
	struct img_field f;
	struct entry e;
	int r, got;

	if (!img_open(&s, MAGIC_PAGEMAP) || img_record(&s, &rec) != 1)
		return -EBADMSG;
	while ((got = img_field(&rec, &f)) > 0)
		if (f.number == 1 && f.wire == 0)
			*ret_pages_id = (uint32_t)f.value;
	while (got == 0 && (got = img_record(&s, &rec)) > 0) {
		r = parse_entry(rec, &e);
		if (r == 0)
			r = fn(ctx, e.start, e.pages * PAGE, e.flags & PE_PRESENT, e.flags & PE_LAZY);
		if (r < 0)
			return r;
		/* now it is there: flags are below 128 and take one byte, before and after */
		while ((got = img_field(&rec, &f)) > 0)
			if (f.number == 4 && f.wire == 0 && (f.value & PE_LAZY) && f.value < 128)
				*(uint8_t *)f.at = (uint8_t)(f.value | PE_PRESENT);
	}
	return got < 0 ? -EBADMSG : 0;
}

int pagemap_load(const char *dir, int pid, struct pagemap *ret, struct hearth_err *err)
{
	char path[PATH_MAX], *map = NULL, *mm = NULL;
	size_t map_len, mm_len;
	int r;

	snprintf(path, sizeof(path), "%s/pagemap-%d.img", dir, pid);
	r = file_read(path, IMG_MAX, &map, &map_len);
	if (r == 0) {
		snprintf(path, sizeof(path), "%s/mm-%d.img", dir, pid);
		r = file_read(path, IMG_MAX, &mm, &mm_len);
	}
	if (r == 0)
		r = pagemap_parse(map, map_len, mm, mm_len, ret);
	free(map);
	free(mm);
	if (r < 0)
		return err_set(err, r, "cannot use the memory map of process %d in image %s: %s", pid, dir, strerror(-r));
	return 0;
}

void pagemap_done(struct pagemap *map)
{
	free(map->ranges);
	*map = (struct pagemap){ 0 };
}

/* ---- what CRIU was not told of (criu/leave.c) ---- */

static int by_start(const void *a, const void *b)
{
	const struct pagemap_left *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* sorted, none touching another. Return: how many */
static size_t unite(struct pagemap_left *v, size_t n)
{
	size_t out = 0;

	if (n > 1)
		qsort(v, n, sizeof(*v), by_start);
	for (size_t k = 0; k < n; k++) {
		if (out && v[k].start <= v[out - 1].end)
			v[out - 1].end = v[k].end > v[out - 1].end ? v[k].end : v[out - 1].end;
		else
			v[out++] = v[k];
	}
	return out;
}

static int put_record(struct buf *b, const void *data, size_t len)
{
	uint32_t n = (uint32_t)len;

	return buf_append(b, &n, sizeof(n)) < 0 || buf_append(b, data, len) < 0 ? -ENOMEM : 0;
}

static int put_lazy(struct buf *b, uint64_t start, uint64_t end)
{
	struct buf e = { 0 };
	uint64_t pages = (end - start) / PAGE;
	int r;

	/* the second is required, and is what readers before the fifth take */
	r = img_put(&e, 1, start) < 0 || img_put(&e, 2, pages <= UINT32_MAX ? pages : 0) < 0 || img_put(&e, 4, PE_LAZY) < 0 || img_put(&e, 5, pages) < 0 ? -ENOMEM : 0;
	if (r == 0)
		r = put_record(b, buf_head(&e), e.len);
	buf_done(&e);
	return r;
}

int pagemap_merge(const void *map, size_t map_len, struct pagemap_left *left, size_t n, struct buf *ret)
{
	struct img_span s = { map, (const uint8_t *)map + map_len }, rec;
	struct entry e;
	size_t k = 0;
	int got, r;

	for (size_t i = 0; i < n; i++)
		if (left[i].start % PAGE || left[i].end % PAGE || left[i].start >= left[i].end || left[i].end > UINT64_MAX / 2)
			return -EBADMSG;
	n = unite(left, n);
	if (!img_open(&s, MAGIC_PAGEMAP) || img_record(&s, &rec) != 1)
		return -EBADMSG;
	r = buf_append(ret, map, (size_t)(s.p - (const uint8_t *)map));         /* magics and the head */
	while (r == 0 && (got = img_record(&s, &rec)) != 0) {
		uint64_t start, end;

		r = got < 0 ? -EBADMSG : parse_entry(rec, &e);
		start = e.start;
		end = e.start + e.pages * PAGE;
		for (; r == 0 && k < n && left[k].start < start; k++) {
			uint64_t stop = left[k].end < start ? left[k].end : start;

			r = put_lazy(ret, left[k].start, stop);
			if (stop < left[k].end) {
				left[k].start = stop;
				break;
			}
		}
		/* CRIU has these itself */
		for (; r == 0 && k < n && left[k].start < end; k++)
			if (left[k].end > end) {
				left[k].start = end;
				break;
			}
		if (r == 0)
			r = put_record(ret, rec.p, (size_t)(rec.end - rec.p));
	}
	for (; r == 0 && k < n; k++)
		r = put_lazy(ret, left[k].start, left[k].end);
	return r;
}

static int take_one(const char *dir, int pid)
{
	char notes[PATH_MAX], path[PATH_MAX], *map = NULL, *left = NULL;
	struct buf b = { 0 };
	size_t map_len, left_len;
	int r;

	snprintf(notes, sizeof(notes), "%s/" LEAVE_FILE "%d", dir, pid);
	snprintf(path, sizeof(path), "%s/pagemap-%d.img", dir, pid);
	r = file_read(notes, IMG_MAX, &left, &left_len);
	if (r == 0)
		r = file_read(path, IMG_MAX, &map, &map_len);
	if (r == 0)
		r = pagemap_merge(map, map_len, (struct pagemap_left *)left, left_len / sizeof(struct pagemap_left), &b);
	if (r == 0) {
		FD_AUTO int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

		r = fd < 0 ? -errno : fd_write_full(fd, buf_head(&b), b.len);
	}
	if (r == 0 && unlink(notes) < 0)
		r = -errno;
	free(left);
	free(map);
	buf_done(&b);
	return r < 0 ? r : 0;
}

int pagemap_take_left(const char *dir, struct hearth_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = d ? 0 : -errno, pid = 0, len;

	while (r == 0 && (e = readdir(d))) {
		len = 0;
		if (sscanf(e->d_name, LEAVE_FILE "%d%n", &pid, &len) == 1 && len && !e->d_name[len])
			r = take_one(dir, pid);
	}
	if (d)
		closedir(d);
	return r < 0 ? err_set(err, r, "cannot note which memory process %d has in %s: %s", pid, dir, strerror(-r)) : 0;
}
