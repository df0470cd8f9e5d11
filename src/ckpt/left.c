/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "ckpt/pagemap.h"
#include "criu/leave.h"
#include "img.h"

#define MAGIC_PAGEMAP 0x56084025u
#define PE_LAZY (1u << 1)
#define PAGE 4096ull
#define FILE_MAX (256u << 20)

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

/* where an entry begins and ends. Return: 0, -EBADMSG. */
static int extent(struct img_span rec, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t start = 0, pages = 0, compat = 0;
	struct img_field f;
	int got;

	while ((got = img_field(&rec, &f)) > 0) {
		if (f.wire == 0 && f.number == 1)
			start = f.value;
		else if (f.wire == 0 && f.number == 2)
			compat = f.value;
		else if (f.wire == 0 && f.number == 5)
			pages = f.value;
	}
	pages = pages ? pages : compat;
	if (got < 0 || start % PAGE || start > UINT64_MAX / 2 || pages > UINT64_MAX / 4 / PAGE)
		return -EBADMSG;
	*ret_start = start;
	*ret_end = start + pages * PAGE;
	return 0;
}

int pagemap_merge(const void *map, size_t map_len, struct pagemap_left *left, size_t n, struct buf *ret)
{
	struct img_span s = { map, (const uint8_t *)map + map_len }, rec;
	uint64_t start, end;
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
		r = got < 0 ? -EBADMSG : extent(rec, &start, &end);
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
	r = file_read(notes, FILE_MAX, &left, &left_len);
	if (r == 0)
		r = file_read(path, FILE_MAX, &map, &map_len);
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
