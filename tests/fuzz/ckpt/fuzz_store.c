/* SPDX-License-Identifier: Apache-2.0 */
/* An image's manifest (up to the first NUL) and its table of chunks. What is accepted is consistent: it can be written again, and reading by it stays within bounds. */
#include <stdlib.h>
#include <string.h>

#include "private.h"

#define SEED 0x0123456789abcdefull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void again(const struct manifest *m)
{
	char *text = manifest_text(m, "x", SEED);
	struct manifest n;

	must(text && manifest_parse(text, strlen(text), SEED, &n, NULL) == 0);
	must(n.objects_n == m->objects_n && n.chunks_n == m->chunks_n && n.packs_n == m->packs_n && n.created_ns == m->created_ns);
	must(digest_equal(n.chunks_digest, m->chunks_digest) && !memcmp(n.packs, m->packs, m->packs_n * sizeof(*m->packs)));
	for (size_t k = 0; k < m->objects_n; k++)
		must(!strcmp(n.objects[k].name, m->objects[k].name) && n.objects[k].bytes == m->objects[k].bytes && n.objects[k].first == m->objects[k].first);
	manifest_done(&n);
	free(text);
}

/* what the readers rely on */
static void consistent(const struct manifest *m, const struct store_chunk *chunks)
{
	size_t total = 0;

	for (size_t k = 0; k < m->objects_n; k++) {
		const struct manifest_object *o = &m->objects[k];

		must(o->first == total && o->n == chunks_of(o->bytes));
		total += o->n;
		for (size_t i = 0; i < o->n; i++) {
			const struct store_chunk *c = &chunks[o->first + i];
			size_t length = chunk_len(o->bytes, i);

			must(length > 0 && length <= STORE_CHUNK_BYTES && c->stored <= length);
			must(c->pack == 0 ? c->stored == 0 : c->stored > 0 && manifest_uses(m, c->pack) && c->at + c->stored < 2 * STORE_AT_MAX);
		}
	}
	must(total == m->chunks_n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *end = memchr(data, 0, len);
	size_t text = end ? (size_t)(end - data) : len, rest = end ? len - text - 1 : 0;
	struct store_chunk *chunks;
	struct hearth_err err;
	struct manifest m;

	if (manifest_parse((const char *)data, text, SEED, &m, &err) < 0)
		return 0;
	again(&m);
	chunks = malloc(rest + 1);
	if (chunks) {
		memcpy(chunks, end ? end + 1 : data, rest);
		if (manifest_check_chunks(&m, chunks, rest, &err) == 0)
			consistent(&m, chunks);
	}
	free(chunks);
	manifest_done(&m);
	return 0;
}
