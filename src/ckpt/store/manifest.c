/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

#define OBJECT_BYTES_MAX (1ull << 50)

bool store_name_ok(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return n > 0 && n <= STORE_NAME_MAX && name[n] == '\0' && name[0] != '.';
}

void manifest_done(struct manifest *m)
{
	for (size_t k = 0; k < m->objects_n; k++) {
		free(m->objects[k].name);
		json_decref(m->objects[k].meta);
	}
	free(m->objects);
	json_decref(m->meta);
	free(m->packs);
	free(m->chunks);
	*m = (struct manifest){ 0 };
}

/* ---- text to struct ---- */

static int get_u64(const json_t *o, const char *key, uint64_t max, uint64_t *ret)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
		return -EBADMSG;
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

static int get_digest(const json_t *o, const char *key, struct digest *ret)
{
	const char *hex = json_string_value(json_object_get(o, key));

	return hex && digest_from_hex(hex, ret) == 0 ? 0 : -EBADMSG;
}

/* numbers of 64 bits do not fit json's integers: in hexadecimal */
static bool seed_is(const json_t *o, uint64_t seed)
{
	const char *have = json_string_value(json_object_get(o, "seed"));
	char want[17];

	snprintf(want, sizeof(want), "%016llx", (unsigned long long)seed);
	return have && !strcmp(have, want);
}

static int parse_packs(const json_t *list, struct manifest *m)
{
	if (!json_is_array(list))
		return -EBADMSG;
	m->packs = calloc(json_array_size(list) + 1, sizeof(*m->packs));
	if (!m->packs)
		return -ENOMEM;
	for (size_t k = 0; k < json_array_size(list); k++) {
		const json_t *v = json_array_get(list, k);

		if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) >= UINT32_MAX)
			return -EBADMSG;
		m->packs[k] = (uint32_t)json_integer_value(v);
		if (k > 0 && m->packs[k] <= m->packs[k - 1])
			return -EBADMSG;
		m->packs_n++;
	}
	return 0;
}

static int parse_objects(json_t *list, struct manifest *m)
{
	if (!json_is_array(list))
		return -EBADMSG;
	m->objects = calloc(json_array_size(list) + 1, sizeof(*m->objects));
	if (!m->objects)
		return -ENOMEM;
	for (size_t k = 0; k < json_array_size(list); k++) {
		struct manifest_object *o = &m->objects[k];
		json_t *v = json_array_get(list, k);
		const char *name = json_string_value(json_object_get(v, "name"));

		if (!name || get_u64(v, "bytes", OBJECT_BYTES_MAX, &o->bytes) < 0)
			return -EBADMSG;
		o->first = m->chunks_n;
		o->n = chunks_of(o->bytes);
		m->chunks_n += o->n;
		if (m->chunks_n > STORE_CHUNKS_MAX / sizeof(struct store_chunk))
			return -EBADMSG;
		o->name = strdup(name);
		if (!o->name)
			return -ENOMEM;
		m->objects_n++;
		o->meta = json_incref(json_object_get(v, "meta"));
	}
	return 0;
}

static int from_json(json_t *root, uint64_t seed, struct manifest *m)
{
	uint64_t version, n;
	int r;

	if (!json_is_object(root) || get_u64(root, "version", UINT32_MAX, &version) < 0)
		return -EBADMSG;
	if (version != STORE_VERSION)
		return -EPROTO;
	if (!seed_is(root, seed) || get_u64(root, "created_ns", INT64_MAX, &m->created_ns) < 0 || get_digest(root, "chunks_xxh3", &m->chunks_digest) < 0)
		return -EBADMSG;
	r = parse_packs(json_object_get(root, "packs"), m);
	if (r == 0)
		r = parse_objects(json_object_get(root, "objects"), m);
	if (r == 0 && (get_u64(root, "chunks", UINT64_MAX >> 1, &n) < 0 || n != m->chunks_n))
		r = -EBADMSG;
	m->meta = json_incref(json_object_get(root, "meta"));
	return r;
}

int manifest_parse(const char *text, size_t len, uint64_t seed, struct manifest *ret, struct hearth_err *err)
{
	struct manifest m = { .id = digest_mem(text, len) };
	json_error_t why;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	/* jansson has words for every fault but for most of its failed allocations */
	int r = root ? from_json(root, seed, &m) : json_error_code(&why) == json_error_out_of_memory || !*why.text ? -ENOMEM : -EBADMSG;

	json_decref(root);
	if (r == 0) {
		*ret = m;
		return 0;
	}
	manifest_done(&m);
	return err_set(err, r, "%s", r == -EPROTO ? "written by another version of Hearth" : r == -EBADMSG ? "malformed, or of another store" : strerror(-r));
}

bool manifest_uses(const struct manifest *m, uint32_t pack)
{
	size_t low = 0, high = m->packs_n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (m->packs[mid] < pack)
			low = mid + 1;
		else
			high = mid;
	}
	return low < m->packs_n && m->packs[low] == pack;
}

static bool chunk_ok(const struct manifest *m, const struct store_chunk *c, size_t len)
{
	if (c->pack == 0)
		return c->at == 0 && c->stored == 0;
	return c->at % STORE_PAGE == 0 && c->at < STORE_AT_MAX && c->stored > 0 && c->stored <= len && manifest_uses(m, c->pack);
}

int manifest_check_chunks(const struct manifest *m, const struct store_chunk *chunks, size_t bytes, struct hearth_err *err)
{
	if (bytes != m->chunks_n * sizeof(*chunks))
		return err_set(err, -EBADMSG, "%zu bytes, the manifest says %zu", bytes, m->chunks_n * sizeof(*chunks));
	for (size_t k = 0; k < m->objects_n; k++) {
		const struct manifest_object *o = &m->objects[k];

		for (size_t i = 0; i < o->n; i++)
			if (!chunk_ok(m, &chunks[o->first + i], chunk_len(o->bytes, i)))
				return err_set(err, -EBADMSG, "chunk %zu of %s lies where none can", i, o->name);
	}
	return 0;
}

/* ---- files ---- */

static int load_chunks(const struct store *s, const char *name, struct manifest *m, struct hearth_err *err)
{
	struct hearth_err why = { .msg = "" };
	char dir[PATH_MAX], path[PATH_MAX + 16], *data;
	size_t len;
	int r;

	store_path(s, dir, "images", name);
	snprintf(path, sizeof(path), "%s/chunks.bin", dir);
	r = file_read(path, STORE_CHUNKS_MAX, &data, &len);
	if (r < 0)
		return err_set(err, r == -ENOENT || r == -EFBIG ? -EBADMSG : r, "image %s: chunks.bin: %s; remove the image", name, r == -ENOENT ? "missing" : strerror(-r));
	if (!digest_equal(digest_mem(data, len), m->chunks_digest))
		r = err_set(&why, -EBADMSG, "its digest differs from the manifest's");
	else
		r = manifest_check_chunks(m, (const struct store_chunk *)data, len, &why);
	if (r < 0) {
		free(data);
		return err_set(err, r, "image %s: chunks.bin is damaged: %s; remove the image", name, why.msg);
	}
	m->chunks = (struct store_chunk *)data;
	return 0;
}

int manifest_load(const struct store *s, const char *name, bool chunks, struct manifest *ret, struct hearth_err *err)
{
	struct hearth_err why = { .msg = "" };
	char dir[PATH_MAX], path[PATH_MAX + 16], *text;
	struct manifest m = { 0 };
	size_t len;
	int r;

	store_path(s, dir, "images", name);
	snprintf(path, sizeof(path), "%s/manifest.json", dir);
	r = file_read_sealed(path, STORE_MANIFEST_MAX, &text, &len, NULL);
	if (r == -ENOENT)
		return err_set(err, r, "store %s: there is no image %s", s->dir, name);
	if (r == -EFBIG)
		r = -EBADMSG;
	if (r < 0)
		return err_set(err, r, "image %s: manifest.json: %s; remove the image", name, r == -EBADMSG ? "damaged" : strerror(-r));
	r = manifest_parse(text, len, s->seed, &m, &why);
	free(text);
	if (r < 0)
		return err_set(err, r, "image %s: manifest.json: %s; remove the image", name, why.msg);
	if (chunks)
		r = load_chunks(s, name, &m, err);
	if (r < 0) {
		manifest_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

/* ---- struct to text ---- */

static json_t *objects_json(const struct manifest *m)
{
	json_t *list = json_array(), *o;

	for (size_t k = 0; list && k < m->objects_n; k++) {
		o = json_pack("{s:s, s:I, s:O?}", "name", m->objects[k].name, "bytes", (json_int_t)m->objects[k].bytes, "meta", m->objects[k].meta);
		if (!o || json_array_append_new(list, o) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *packs_json(const struct manifest *m)
{
	json_t *list = json_array();

	for (size_t k = 0; list && k < m->packs_n; k++)
		if (json_array_append_new(list, json_integer(m->packs[k])) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

char *manifest_text(const struct manifest *m, const char *name, uint64_t seed)
{
	json_t *objects = objects_json(m), *packs = packs_json(m), *root = NULL;
	char hex[DIGEST_HEX_LEN + 1], seed_hex[17], *text = NULL;

	digest_to_hex(m->chunks_digest, hex);
	snprintf(seed_hex, sizeof(seed_hex), "%016llx", (unsigned long long)seed);
	if (objects && packs)
		root = json_pack("{s:i, s:s, s:s, s:I, s:I, s:s, s:O?, s:O, s:O}", "version", STORE_VERSION, "name", name, "seed", seed_hex, "created_ns", (json_int_t)m->created_ns,
				 "chunks", (json_int_t)m->chunks_n, "chunks_xxh3", hex, "meta", m->meta, "packs", packs, "objects", objects);
	if (root)
		text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	json_decref(objects);
	json_decref(packs);
	return text;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* chunks of one pack mostly stand together: only where it changes is a number noted, then the numbers are sorted and their doubles dropped */
int manifest_collect_packs(struct manifest *m)
{
	size_t n = 0, kept = 0;
	uint32_t last = 0;

	for (size_t k = 0; k < m->chunks_n; k++)
		if (m->chunks[k].pack != 0 && m->chunks[k].pack != last) {
			last = m->chunks[k].pack;
			n++;
		}
	m->packs = calloc(n + 1, sizeof(*m->packs));
	if (!m->packs)
		return -ENOMEM;
	last = 0;
	n = 0;
	for (size_t k = 0; k < m->chunks_n; k++)
		if (m->chunks[k].pack != 0 && m->chunks[k].pack != last)
			m->packs[n++] = last = m->chunks[k].pack;
	qsort(m->packs, n, sizeof(*m->packs), by_number);
	for (size_t k = 0; k < n; k++)
		if (kept == 0 || m->packs[kept - 1] != m->packs[k])
			m->packs[kept++] = m->packs[k];
	m->packs_n = kept;
	return 0;
}

/* ---- folders ---- */

int images_each(const struct store *s, bool hidden, int (*fn)(void *ctx, const char *name), void *ctx)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *dir;
	int r = 0;

	store_path(s, path, "images", NULL);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r >= 0 && (e = readdir(dir)))
		if (hidden ? !strncmp(e->d_name, ".tmp-", 5) : store_name_ok(e->d_name))
			r = fn(ctx, e->d_name);
	closedir(dir);
	return r < 0 ? r : 0;
}

int packs_each(const struct store *s, int (*fn)(void *ctx, uint32_t id), void *ctx)
{
	char path[PATH_MAX], tail[8];
	struct dirent *e;
	unsigned id;
	DIR *dir;
	int r = 0;

	store_path(s, path, "packs", NULL);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r >= 0 && (e = readdir(dir)))
		if (strlen(e->d_name) == 13 && sscanf(e->d_name, "%8x%7s", &id, tail) == 2 && !strcmp(tail, ".pack"))
			r = fn(ctx, id);
	closedir(dir);
	return r < 0 ? r : 0;
}
