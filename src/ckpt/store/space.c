/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "private.h"

/*
 * Blocks are had in steps: the first of this size, so that a small image needs little of a full disk, then as many as there are already, as file systems wait for all direct writes to a file
 * before they give it more.
 */
#define STEP_BYTES (16ull << 20)

static bool used(const struct space *sp, uint32_t page)
{
	return sp->used[page / 64] >> (page % 64) & 1;
}

static void mark(struct space *sp, uint32_t page, uint32_t pages, bool on)
{
	for (uint32_t p = page; p < page + pages; p++) {
		if (on)
			sp->used[p / 64] |= 1ull << (p % 64);
		else
			sp->used[p / 64] &= ~(1ull << (p % 64));
	}
}

/* a free run at or after @from, of at most @max pages; 0: none of @min or more */
static uint32_t run_after(const struct space *sp, uint32_t from, uint32_t end, uint32_t min, uint32_t max, uint32_t *ret_page)
{
	uint32_t n = 0;

	for (uint32_t p = from; p < end; p++) {
		if (n == 0 && p % 64 == 0 && sp->used[p / 64] == UINT64_MAX) {
			p += 63;
			continue;
		}
		n = used(sp, p) ? 0 : n + 1;
		/* the last page that it can have: the next one is used, or enough */
		if (n >= min && (n == max || p + 1 == end || used(sp, p + 1))) {
			*ret_page = p + 1 - n;
			return n;
		}
	}
	return 0;
}

/* the same downwards: one that ends at or before @from */
static uint32_t run_before(const struct space *sp, uint32_t from, uint32_t min, uint32_t max, uint32_t *ret_page)
{
	uint32_t n = 0;

	for (uint32_t p = from; p-- > 0; ) {
		if (n == 0 && p % 64 == 63 && sp->used[p / 64] == UINT64_MAX) {
			p -= 63;
			continue;
		}
		n = used(sp, p) ? 0 : n + 1;
		if (n >= min && (n == max || p == 0 || used(sp, p - 1))) {
			*ret_page = p;
			return n;
		}
	}
	return 0;
}

/* Whole chunks are taken from the beginning on, what is smaller from the end: else each would leave a hole that no chunk fits into, and looking for one would take longer and longer. */
uint32_t space_take(struct space *sp, uint32_t min, uint32_t max, uint32_t *ret_page)
{
	bool small = max < STORE_CHUNK_PAGES;
	uint32_t n;

	if (sp->free < min || (sp->no_run && min >= sp->no_run))
		return 0;
	n = small ? run_before(sp, sp->top, min, max, ret_page) : run_after(sp, sp->hint, sp->pages, min, max, ret_page);
	if (n == 0)
		n = small ? run_before(sp, sp->pages, min, max, ret_page) : run_after(sp, 0, sp->pages, min, max, ret_page);
	if (n == 0) {
		sp->no_run = min;
		return 0;
	}
	mark(sp, *ret_page, n, true);
	sp->free -= n;
	if (small)
		sp->top = *ret_page;
	else
		sp->hint = *ret_page + n;
	return n;
}

void space_give(struct space *sp, uint32_t page, uint32_t pages)
{
	mark(sp, page, pages, false);
	sp->free += pages;
	sp->no_run = 0;
	if (page < sp->hint)
		sp->hint = page;
	if (page + pages > sp->top)
		sp->top = page + pages;
}

void space_clear(struct space *sp)
{
	memset(sp->used, 0, (sp->pages + 63) / 64 * sizeof(*sp->used));
	/* bits behind the end are no pages */
	if (sp->pages % 64)
		sp->used[sp->pages / 64] = UINT64_MAX << (sp->pages % 64);
	sp->free = sp->pages;
	sp->hint = sp->no_run = 0;
	sp->top = sp->pages;
}

void space_keep(struct space *sp, uint32_t page, uint32_t pages)
{
	mark(sp, page, pages, true);
}

/* ---- files ---- */

/* A number that was never used, held before its file is there: nobody takes it for something left behind. */
static int new_file(struct store *s, struct space *sp)
{
	char path[PATH_MAX];
	int fd, r;

	for (;;) {
		uint32_t id = atomic_fetch_add(&s->state->next_pack, 1);

		if (id == 0 || id >= UINT32_MAX - 1)
			return -EOVERFLOW;
		r = use_take(s, LOCK_PACK, id);
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		pack_path(s, id, "pack", path);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0)
			fd = -errno;
		if (fd >= 0) {
			r = pack_hold(s, id, &sp->pack);
			if (r < 0)
				unlink(path);
		}
		/* pack_hold() took it again, on the same description: there is one lock */
		if (fd < 0 || r < 0)
			use_drop(s, LOCK_PACK, id);
		if (fd == -EEXIST)
			continue;
		if (r < 0 && fd >= 0)
			close(fd);
		sp->fd = fd >= 0 && r == 0 ? fd : -1;
		return fd < 0 ? fd : r;
	}
}

int space_new(struct store *s, bool whole, struct space **ret, struct hearth_err *err)
{
	struct space *sp = calloc(1, sizeof(*sp));
	int r = -ENOMEM;

	if (!sp)
		goto err;
	sp->fd = -1;
	sp->pages = (uint32_t)(s->segment_bytes / STORE_PAGE);
	sp->used = calloc((sp->pages + 63) / 64, sizeof(*sp->used));
	if (!sp->used)
		goto err;
	space_clear(sp);
	r = new_file(s, sp);
	if (r == 0 && whole) {
		r = fallocate(sp->fd, 0, 0, (off_t)s->segment_bytes) < 0 ? -errno : 0;
		if (r == 0)
			r = pack_map(s, sp->pack, true);
		sp->allocated = s->segment_bytes;
	}
	if (r < 0)
		goto err;
	*ret = sp;
	return 0;
err:
	space_free(s, sp, true);
	return err_set(err, r, "store %s: cannot make a pack: %s%s", s->dir, strerror(-r), r == -ENOSPC ? "; remove images (hearth images du), or use another store" : "");
}

struct space *space_free(struct store *s, struct space *sp, bool drop)
{
	char path[PATH_MAX];

	if (!sp)
		return NULL;
	if (sp->pack && drop) {
		pack_path(s, sp->pack->id, "pack", path);
		unlink(path);
	}
	if (sp->pack)
		pack_release(s, sp->pack);
	hearth_ds_file_close(sp->file);
	fd_close(&sp->fd);
	free(sp->used);
	free(sp);
	return NULL;
}

int space_back(const struct store *s, struct space *sp, uint64_t bytes)
{
	uint64_t step;

	if (s->memory || bytes <= sp->allocated)
		return 0;
	step = (bytes + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
	if (step < 2 * sp->allocated)
		step = 2 * sp->allocated;
	if (step > s->segment_bytes)
		step = s->segment_bytes;
	for (;; step = bytes) {
		if (fallocate(sp->fd, 0, (off_t)sp->allocated, (off_t)(step - sp->allocated)) == 0)
			break;
		/* a file system that cannot: then it shows when it is written */
		if (errno == EOPNOTSUPP || errno == ENOSYS)
			break;
		if (errno != EINTR && (errno != ENOSPC || step == bytes))
			return -errno;
	}
	sp->allocated = step;
	return 0;
}

static uint32_t end_of(const struct space *sp)
{
	uint32_t end = sp->pages;

	while (end > 0 && !used(sp, end - 1))
		end--;
	return end;
}

/* What a file system cannot punch out stays, until the pack goes. */
static void punch_free(const struct space *sp, uint32_t end)
{
	uint32_t page, n;

	for (uint32_t from = 0; (n = run_after(sp, from, end, 1, end, &page)) > 0; from = page + n)
		if (fallocate(sp->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)page * STORE_PAGE, (off_t)n * STORE_PAGE) < 0 && errno != EINTR)
			return;
}

int space_finish(const struct store *s, struct space *sp, bool *ret_empty)
{
	uint32_t end = end_of(sp);

	if (ftruncate(sp->fd, (off_t)end * STORE_PAGE) < 0)
		return -errno;
	punch_free(sp, end);
	if (!s->memory && fsync(sp->fd) < 0)
		return -errno;
	*ret_empty = end == 0;
	return 0;
}
