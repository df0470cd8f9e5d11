/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "private.h"

/*
 * Order, each step on the disk before the next: contents of the packs, names of the packs, table and manifest in a hidden folder, its name. A crash between any two leaves no image and no doubt.
 * In memory nothing is synced: what a crash of the machine does to a tmpfs is known.
 */

static int write_folder(struct store_draft *d, struct manifest *m, const char *dir, struct hearth_err *err)
{
	char path[PATH_MAX + 16], *text;
	int r;

	snprintf(path, sizeof(path), "%s/chunks.bin", dir);
	r = file_replace(path, m->chunks, m->chunks_n * sizeof(*m->chunks), 0600, err);
	if (r < 0)
		return r;
	text = manifest_text(m, d->name, d->store->seed);
	if (!text)
		return err_set(err, -ENOMEM, "image %s: out of memory writing the manifest", d->name);
	snprintf(path, sizeof(path), "%s/manifest.json", dir);
	r = file_replace_sealed(path, text, strlen(text), 0600, err);
	free(text);
	return r;
}

/* Under a number that is this draft's alone; what has it already was left by somebody else, long ago. */
static int make_folder(struct store_draft *d, char dir[PATH_MAX], struct hearth_err *err)
{
	char name[32];
	int r;

	snprintf(name, sizeof(name), ".tmp-%08x", d->id);
	store_path(d->store, dir, "images", name);
	r = mkdir(dir, 0700) < 0 ? -errno : 0;
	if (r == -EEXIST) {
		r = dir_remove(dir);
		if (r == 0)
			r = mkdir(dir, 0700) < 0 ? -errno : 0;
	}
	return r < 0 ? err_set(err, r, "image %s: cannot make %s: %s", d->name, dir, strerror(-r)) : 0;
}

static int show(struct store_draft *d, const char *tmp, struct hearth_err *err)
{
	struct store *s = d->store;
	char path[PATH_MAX];
	int r = lock_all(s, true);

	store_path(s, path, "images", d->name);
	if (r == 0) {
		r = renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE) < 0 ? -errno : 0;
		if (r == 0) {
			d->shared = true;
			atomic_fetch_add(&s->state->generation, 1);
		}
		unlock_all(s);
	}
	if (r < 0)
		return err_set(err, r, "cannot make image %s visible: %s", d->name, r == -EEXIST ? "there is one of that name by now" : strerror(-r));
	if (s->memory)
		return 0;
	store_path(s, path, "images", NULL);
	r = dir_fsync(path);
	if (r < 0) {
		/* visible, but perhaps not after a power failure: better none than a doubtful one */
		(void)store_rm(s, d->name, NULL);
		return err_set(err, r, "cannot make image %s durable: %s", d->name, strerror(-r));
	}
	return 0;
}

static void count(const struct store_draft *d, struct store_stats *ret)
{
	*ret = d->stats;
	for (size_t k = 0; k < d->objects_n; k++) {
		const struct store_object *o = d->objects[k];

		ret->bytes += o->bytes;
		ret->chunks += o->n;
		for (size_t i = 0; i < o->n; i++)
			if (chunk_zero(&o->chunks[i]))
				ret->zero_bytes += chunk_len(o->bytes, i);
	}
}

int store_commit(struct store_draft *d, const json_t *meta, struct store_stats *ret, struct hearth_err *err)
{
	struct store_stats stats;
	struct manifest m;
	char dir[PATH_MAX];
	int r;

	if (!*d->name)
		return err_set(err, -EINVAL, "a draft without a name can be sealed, not committed");
	r = draft_finish(d, err);
	if (r < 0)
		return r;
	r = draft_manifest(d, &m);
	if (r < 0)
		return err_set(err, r, "image %s: out of memory", d->name);
	m.meta = (json_t *)meta;
	r = make_folder(d, dir, err);
	if (r == 0) {
		r = write_folder(d, &m, dir, err);
		if (r == 0)
			r = show(d, dir, err);
		if (r < 0)
			(void)dir_remove(dir);
	}
	draft_manifest_done(&m);
	if (r < 0) {
		d->failed = r;
		return r;
	}
	count(d, &stats);
	if (ret)
		*ret = stats;
	draft_free(d, false);
	return 0;
}
