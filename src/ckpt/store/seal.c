/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "private.h"

/*
 * What is passed on: a memfd with a head, the manifest's text, the chunks. Its digest covers all of it behind the head, so that a wrong descriptor is an error
 * and not an image. It is of one machine and one moment: no version but the manifest's.
 */
struct sealed_head {
	char magic[8];
	uint64_t text_bytes, chunks_bytes;
	uint64_t new_bytes, stored_bytes, new_chunks;
	struct digest digest;
};

static const char magic[8] = "hearthS1";

static int write_memfd(const struct sealed_head *head, const char *body, size_t n, int *ret)
{
	int fd = memfd_create("hearth-sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_full(fd, head, sizeof(*head));
	if (r == 0)
		r = fd_write_full(fd, body, n);
	if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r < 0)
		fd_close(&fd);
	else
		*ret = fd;
	return r;
}

/* text, then chunks */
static int describe(struct store_draft *d, struct manifest *m, int *ret)
{
	struct sealed_head head = { .new_bytes = d->stats.new_bytes, .stored_bytes = d->stats.stored_bytes, .new_chunks = d->stats.new_chunks };
	char *text = manifest_text(m, draft_name(d), d->store->seed), *body = NULL;
	int r = -ENOMEM;

	memcpy(head.magic, magic, sizeof(magic));
	head.text_bytes = text ? strlen(text) : 0;
	head.chunks_bytes = m->chunks_n * sizeof(*m->chunks);
	if (text)
		body = malloc(head.text_bytes + head.chunks_bytes + 1);
	if (body) {
		memcpy(body, text, head.text_bytes);
		memcpy(body + head.text_bytes, m->chunks, head.chunks_bytes);
		head.digest = digest_mem(body, head.text_bytes + head.chunks_bytes);
		r = write_memfd(&head, body, head.text_bytes + head.chunks_bytes, ret);
	}
	free(body);
	free(text);
	return r;
}

int store_seal(struct store_draft *d, int *ret_fd, struct hearth_err *err)
{
	struct manifest m;
	int r = draft_finish(d, err);

	if (r < 0)
		return r;
	r = draft_manifest(d, &m);
	if (r == 0) {
		r = describe(d, &m, ret_fd);
		draft_manifest_done(&m);
	}
	if (r < 0)
		return err_set(err, r, "image %s: cannot describe its objects: %s", draft_name(d), strerror(-r));
	d->shared = true;
	return 0;
}

/* ---- the other side ---- */

static int read_memfd(int fd, struct sealed_head *head, char **ret)
{
	struct stat st;
	uint64_t n;
	char *body;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || fd_pread_full(fd, head, sizeof(*head), 0) != (ssize_t)sizeof(*head) || memcmp(head->magic, magic, sizeof(magic)))
		return -EBADMSG;
	if (head->text_bytes > STORE_MANIFEST_MAX || head->chunks_bytes > STORE_CHUNKS_MAX)
		return -EBADMSG;
	n = head->text_bytes + head->chunks_bytes;
	if ((uint64_t)st.st_size != sizeof(*head) + n)
		return -EBADMSG;
	body = malloc(n + 1);
	if (!body)
		return -ENOMEM;
	if (fd_pread_full(fd, body, n, sizeof(*head)) != (ssize_t)n || !digest_equal(digest_mem(body, n), head->digest)) {
		free(body);
		return -EBADMSG;
	}
	*ret = body;
	return 0;
}

/* Return: 0, -ENOENT (a pack has gone: the draft that was sealed is no more) */
static int hold_packs(struct store_draft *d, const struct manifest *m)
{
	struct pack *p;
	int r = 0;

	for (size_t k = 0; k < m->packs_n && r == 0; k++) {
		if (packset_find(&d->holds, m->packs[k]))
			continue;
		r = pack_hold(d->store, m->packs[k], &p);
		if (r < 0)
			break;
		r = packset_add(&d->holds, p);
		if (r < 0)
			pack_release(d->store, p);
	}
	return r;
}

static int take_objects(struct store_draft *d, const struct manifest *m, const struct store_chunk *chunks, struct hearth_err *err)
{
	size_t before = d->objects_n;
	int r = 0;

	for (size_t k = 0; k < m->objects_n && r == 0; k++) {
		const struct manifest_object *mo = &m->objects[k];
		struct store_object *o;

		r = draft_add(d, mo->name, mo->bytes, json_incref(mo->meta), &o, err);
		if (r == 0)
			memcpy(o->chunks, &chunks[mo->first], mo->n * sizeof(*chunks));
	}
	/* all of them or none */
	if (r < 0)
		draft_truncate(d, before);
	return r;
}

int store_adopt(struct store_draft *d, int fd, struct hearth_err *err)
{
	struct hearth_err why = { .msg = "" };
	struct sealed_head head = { .text_bytes = 0 };
	struct manifest m = { 0 };
	struct store_chunk *chunks = NULL;
	char *body = NULL;
	int r = read_memfd(fd, &head, &body);

	if (r < 0 || !body)
		return err_set(err, r, "image %s: what is to be adopted: %s", draft_name(d), r == -EBADMSG ? "not a sealed draft" : strerror(-r));
	r = manifest_parse(body, head.text_bytes, d->store->seed, &m, &why);
	/* aligned, unlike in the body */
	if (r == 0) {
		chunks = malloc(head.chunks_bytes + 1);
		r = chunks ? 0 : -ENOMEM;
		if (r < 0)
			err_set(&why, r, "out of memory");
	}
	if (r == 0) {
		memcpy(chunks, body + head.text_bytes, head.chunks_bytes);
		r = manifest_check_chunks(&m, chunks, head.chunks_bytes, &why);
	}
	if (r == 0) {
		r = hold_packs(d, &m);
		if (r == -ENOENT || r == -EAGAIN)
			r = err_set(&why, -EBADMSG, "its packs are not in %s: the sealed draft was aborted", d->store->dir);
		else if (r < 0)
			err_set(&why, r, "%s", strerror(-r));
	}
	if (r < 0)
		err_set(err, r, "image %s: what is to be adopted: %s", draft_name(d), why.msg);
	else
		r = take_objects(d, &m, chunks, err);
	if (r == 0) {
		d->stats.new_bytes += head.new_bytes;
		d->stats.stored_bytes += head.stored_bytes;
		d->stats.new_chunks += head.new_chunks;
	}
	manifest_done(&m);
	free(chunks);
	free(body);
	return r;
}
