/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "private.h"

/* Everything here happens under the store's lock, exclusive: no image comes or goes meanwhile. Packs in use are left alone (docs/adr/0016-store.md). */

/* ---- packs that no image names ---- */

struct named {
	struct store *s;
	uint32_t *packs;
	size_t n, cap;
	int removed;
};

static int add_named(void *ctx, const char *name)
{
	struct named *x = ctx;
	struct manifest m;
	int r = manifest_load(x->s, name, false, &m, NULL);

	/* a folder without a manifest names nothing */
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (size_t k = 0; k < m.packs_n && r == 0; k++) {
		r = array_grow((void **)&x->packs, &x->cap, x->n + 1, sizeof(*x->packs));
		if (r == 0)
			x->packs[x->n++] = m.packs[k];
	}
	manifest_done(&m);
	return r;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int remove_unnamed(void *ctx, uint32_t id)
{
	struct named *x = ctx;
	char path[PATH_MAX];
	int r = 0;

	if ((x->n && bsearch(&id, x->packs, x->n, sizeof(id), by_number)) || !use_nobody(x->s, LOCK_PACK, id))
		return 0;
	pack_path(x->s, id, "bad", path);
	(void)unlink(path);
	pack_path(x->s, id, "pack", path);
	if (unlink(path) < 0 && errno != ENOENT)
		r = -errno;
	else
		x->removed++;
	use_nobody_drop(x->s, LOCK_PACK, id);
	return r;
}

int store_reap(struct store *s)
{
	struct named x = { .s = s };
	int r = images_each(s, false, add_named, &x);

	/* what a damaged manifest named is not known, so nothing is nobody's */
	if (r == -EPROTO)
		r = -EBADMSG;
	if (r == 0) {
		if (x.n)
			qsort(x.packs, x.n, sizeof(*x.packs), by_number);
		r = packs_each(s, remove_unnamed, &x);
	}
	free(x.packs);
	return r < 0 ? r : x.removed;
}

/* ---- space inside packs that others still use ---- */

struct holes {
	struct store *s;
	uint32_t *packs;                /* ascending: to be looked at */
	uint64_t **live;                /* of each a bit a page; NULL: leave it alone */
	size_t *pages;
	size_t n;
};

static void spare_pack(struct holes *h, size_t k)
{
	free(h->live[k]);
	h->live[k] = NULL;
}

static size_t hole_index(const struct holes *h, uint32_t id)
{
	const uint32_t *found = h->n ? bsearch(&id, h->packs, h->n, sizeof(id), by_number) : NULL;

	return found ? (size_t)(found - h->packs) : SIZE_MAX;
}

static void mark_live(struct holes *h, const struct store_chunk *c)
{
	size_t k = c->pack ? hole_index(h, c->pack) : SIZE_MAX;

	if (k == SIZE_MAX || !h->live[k])
		return;
	for (uint64_t p = c->at / STORE_PAGE, end = p + pages_of(c->stored); p < end && p < h->pages[k]; p++)
		h->live[k][p / 64] |= 1ull << (p % 64);
}

static int mark_image(void *ctx, const char *name)
{
	struct holes *h = ctx;
	struct manifest m;
	bool any = false;
	int r = manifest_load(h->s, name, false, &m, NULL);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (size_t k = 0; k < h->n && !any; k++)
		any = manifest_uses(&m, h->packs[k]);
	manifest_done(&m);
	if (!any)
		return 0;
	r = manifest_load(h->s, name, true, &m, NULL);
	if (r < 0)
		return r;
	for (size_t k = 0; k < m.chunks_n; k++)
		mark_live(h, &m.chunks[k]);
	manifest_done(&m);
	return 0;
}

static int prepare_pack(struct holes *h, size_t k)
{
	char path[PATH_MAX];
	struct stat st;

	pack_path(h->s, h->packs[k], "pack", path);
	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	h->pages[k] = (size_t)st.st_size / STORE_PAGE;
	h->live[k] = calloc(h->pages[k] / 64 + 1, sizeof(**h->live));
	return h->live[k] ? 0 : -ENOMEM;
}

static bool is_live(const struct holes *h, size_t k, size_t page)
{
	return h->live[k][page / 64] >> (page % 64) & 1;
}

/* a file system that cannot punch keeps the space until the pack goes */
static void punch_pack(struct holes *h, size_t k)
{
	char path[PATH_MAX];
	FD_AUTO int fd = -1;

	pack_path(h->s, h->packs[k], "pack", path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	for (size_t from = 0, to; fd >= 0 && from < h->pages[k]; from = to + 1) {
		for (to = from; to < h->pages[k] && !is_live(h, k, to);)
			to++;
		if (to > from && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from * STORE_PAGE, (off_t)(to - from) * STORE_PAGE) < 0)
			return;
	}
}

/* @packs: sorted. A failure costs space, nothing else; the next removal tries again. */
static void punch(struct store *s, uint32_t *packs, size_t n)
{
	struct holes h = { .s = s, .packs = packs, .n = n };
	int r;

	h.live = calloc(n + 1, sizeof(*h.live));
	h.pages = calloc(n + 1, sizeof(*h.pages));
	r = h.live && h.pages ? 0 : -ENOMEM;
	for (size_t k = 0; k < n && r == 0; k++)
		r = prepare_pack(&h, k);
	/* damaged tables may name any place in any pack */
	if (r == 0)
		r = images_each(s, false, mark_image, &h);
	for (size_t k = 0; k < n && r == 0; k++)
		if (h.live[k] && use_nobody(s, LOCK_PACK, packs[k])) {
			punch_pack(&h, k);
			use_nobody_drop(s, LOCK_PACK, packs[k]);
		}
	for (size_t k = 0; k < n && h.live; k++)
		spare_pack(&h, k);
	free(h.live);
	free(h.pages);
}

static int add_pack(void *ctx, uint32_t id)
{
	struct named *x = ctx;
	int r = array_grow((void **)&x->packs, &x->cap, x->n + 1, sizeof(*x->packs));

	if (r == 0)
		x->packs[x->n++] = id;
	return r;
}

/* the packs that the image may have used: all, when it cannot be read */
static int packs_of(struct store *s, const char *name, struct named *x)
{
	struct manifest m;
	int r = manifest_load(s, name, false, &m, NULL);

	if (r == 0) {
		x->packs = m.packs;
		x->n = m.packs_n;
		m.packs = NULL;
		manifest_done(&m);
	} else if (r != -ENOMEM) {
		r = packs_each(s, add_pack, x);
		if (r == 0 && x->n)
			qsort(x->packs, x->n, sizeof(*x->packs), by_number);
	}
	return r;
}

/* ---- the operations ---- */

/* out of sight, in one step. @ret: where it is now */
static int hide(struct store *s, const char *name, char ret[PATH_MAX])
{
	char path[PATH_MAX], tmp[32];

	store_path(s, path, "images", name);
	for (;;) {
		snprintf(tmp, sizeof(tmp), ".tmp-%08x", atomic_fetch_add(&s->state->next_draft, 1));
		store_path(s, ret, "images", tmp);
		if (renameat2(AT_FDCWD, path, AT_FDCWD, ret, RENAME_NOREPLACE) == 0)
			break;
		if (errno != EEXIST)
			return -errno;
	}
	/* before anything is given back */
	atomic_fetch_add(&s->state->generation, 1);
	store_path(s, path, "images", NULL);
	return s->memory ? 0 : dir_fsync(path);
}

int store_rm(struct store *s, const char *name, struct hearth_err *err)
{
	struct named x = { .s = s };
	char gone[PATH_MAX];
	int r;

	if (!store_name_ok(name))
		return err_set(err, -EINVAL, "'%.250s' is no name of an image", name);
	r = lock_all(s, true);
	if (r < 0)
		return err_set(err, r, "store %s: cannot lock it: %s", s->dir, strerror(-r));
	r = packs_of(s, name, &x);
	if (r == 0)
		r = hide(s, name, gone);
	if (r == 0) {
		/* it is gone; what follows gives space back, and what fails of it is swept another time */
		if (store_reap(s) >= 0)
			punch(s, x.packs, x.n);
		r = dir_remove(gone);
	}
	unlock_all(s);
	free(x.packs);
	return r < 0 ? err_set(err, r, r == -ENOENT ? "store %s: there is no image %s" : "store %s: cannot remove image %s", s->dir, name) : 0;
}

/* ---- sweeping ---- */

static int sweep_folder(void *ctx, const char *name)
{
	struct named *x = ctx;
	char path[PATH_MAX], tail;
	unsigned id;
	int r;

	if (sscanf(name, ".tmp-%8x%c", &id, &tail) != 1 || !use_nobody(x->s, LOCK_DRAFT, id))
		return 0;
	store_path(x->s, path, "images", name);
	r = dir_remove(path);
	use_nobody_drop(x->s, LOCK_DRAFT, id);
	if (r == 0)
		x->removed++;
	return r;
}

/* a folder without a manifest was never an image: names are given by rename only, so somebody made it by hand; it is left alone */
int store_sweep(struct store *s, struct hearth_err *err)
{
	struct named x = { .s = s };
	int r = lock_all(s, true), packs = 0;

	if (r == 0) {
		r = images_each(s, true, sweep_folder, &x);
		if (r == 0)
			packs = store_reap(s);
		unlock_all(s);
	}
	if (r < 0 || packs < 0)
		return err_set(err, r < 0 ? r : packs, "store %s: %s", s->dir,
			       packs == -EBADMSG ? "an image's manifest is damaged, so what belongs to nobody cannot be told; remove it (hearth images ls)" : strerror(r < 0 ? -r : -packs));
	return x.removed + packs;
}
