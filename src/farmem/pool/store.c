/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/fault.h"
#include "base/fd.h"
#include "hash.h"
#include "index.h"
#include "slots.h"
#include "squeeze.h"

/* of a tenant's contents, by their digest: where a page was put last. A hint, checked before it is used. */
struct like {
	uint32_t tag, entry;
};
#define LIKE_WAYS 8u

struct store {
	struct index *x;
	struct slots *slots;
	int fds[2];
	struct like *like;
	uint64_t like_mask;
	uint64_t memory_bytes, quota_bytes;
	struct squeeze *squeeze;
	bool lent;
};

/* What a digest is made of besides the contents: a page at another place, or of another time, has another one. */
struct identity {
	struct farmem_object object;
	uint64_t page;
	uint64_t epoch_kind;
	uint64_t lo, hi;
};

static uint64_t bound(const struct farmem_object *o, struct pool_ref ref, bool sealed, struct hash content)
{
	struct identity id = { .object = *o, .page = ref.page, .epoch_kind = (uint64_t)ref.epoch << 1 | sealed, .lo = content.lo, .hi = content.hi };

	return XXH3_64bits(&id, sizeof(id));
}

uint64_t pool_store_digest(const struct farmem_object *o, struct pool_ref ref, bool sealed, const void *data, uint32_t len)
{
	return bound(o, ref, sealed, pool_hash(data, len));
}

/* of contents that are sealed, or not */
static uint64_t digest(const struct pool_store_object *o, struct pool_ref ref, bool sealed, const void *data, uint32_t len)
{
	struct farmem_object id = pool_index_object_id(o);

	return pool_store_digest(&id, ref, sealed, data, len);
}

/* ---- making one ---- */

static int make_fds(struct store *s, uint64_t bytes, struct hearth_err *err)
{
	s->fds[0] = memfd_create("hearth-pool-index", MFD_CLOEXEC);
	s->fds[1] = memfd_create("hearth-pool-pages", MFD_CLOEXEC);
	if (s->fds[0] < 0 || s->fds[1] < 0 || ftruncate(s->fds[1], (off_t)bytes) < 0 || ftruncate(s->fds[0], (off_t)pool_index_bytes(bytes)) < 0)
		return err_set(err, -errno, "memory for a pool: %s", strerror(errno));
	return 0;
}

static int take_fds(struct store *s, const int fds[2], uint64_t *bytes, struct hearth_err *err)
{
	struct stat index, pages;

	s->fds[0] = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
	s->fds[1] = fcntl(fds[1], F_DUPFD_CLOEXEC, 3);
	if (s->fds[0] < 0 || s->fds[1] < 0 || fstat(s->fds[0], &index) < 0 || fstat(s->fds[1], &pages) < 0)
		return err_set(err, -errno, "descriptors of a pool: %s", strerror(errno));
	*bytes = (uint64_t)pages.st_size;
	if (!pages.st_size || pages.st_size % SLOTS_CHUNK_BYTES || (uint64_t)index.st_size != pool_index_bytes(*bytes))
		return err_set(err, -EUCLEAN, "these descriptors are not of a pool");
	return 0;
}

static bool zero(const struct value *v)
{
	return v->where == VALUE_ZERO;
}

/* what its slot takes */
static uint32_t page_bytes(const struct value *v)
{
	return zero(v) ? 0 : pool_slots_size(value_len(v));
}

/* An entry of an index that is adopted. */
static int adopt(void *ctx, struct index *x, struct pool_store_object *o, const struct value *v)
{
	struct store *s = ctx;
	int r;

	if (!zero(v)) {
		if (value_len(v) > SLOTS_MAX_BYTES)
			return -EUCLEAN;
		r = pool_slots_keep(s->slots, v->where, value_len(v));
		if (r < 0)
			return r;
	}
	pool_index_count(x, o, 1, v, page_bytes(v));
	if (!zero(v) && pool_slots_refs(s->slots, v->where) == 1)
		pool_index_charge(x, o, 1, pool_slots_size(value_len(v)));
	return 0;
}

static uint64_t memory_of(const struct pool_options *options)
{
	struct sysinfo i;
	uint64_t bytes = options->memory_bytes;

	if (!bytes && !sysinfo(&i))
		bytes = (uint64_t)i.totalram * i.mem_unit / 2;
	bytes = bytes / SLOTS_CHUNK_BYTES * SLOTS_CHUNK_BYTES;
	return bytes < INDEX_LEAST_BYTES ? INDEX_LEAST_BYTES : bytes;
}

static int store_map(struct store *s, const struct pool_options *options, struct hearth_err *err)
{
	uint64_t bytes = memory_of(options);
	int r = options->adopt ? take_fds(s, options->fds, &bytes, err) : make_fds(s, bytes, err);

	if (r < 0)
		return r;
	s->memory_bytes = bytes;
	s->quota_bytes = options->quota_bytes ? options->quota_bytes : bytes;
	s->slots = pool_slots_new(s->fds[1], bytes);
	s->squeeze = squeeze_new();
	/* one for each page that is not compressed */
	s->like_mask = pool_index_entries(bytes) / 4 - 1;
	s->like = mmap(NULL, (s->like_mask + 1) * sizeof(*s->like), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	r = !s->slots || !s->squeeze || s->like == MAP_FAILED ? -ENOMEM : pool_index_new(s->fds[0], bytes, options->adopt, adopt, s, &s->x);
	if (r < 0)
		return err_set(err, r, "%s: %s", r == -EUCLEAN ? "the index of the pool is damaged" : "memory for a pool", strerror(-r));
	pool_slots_settle(s->slots);
	return 0;
}

int pool_store_new(const struct pool_options *options, struct store **ret, struct hearth_err *err)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->fds[0] = s->fds[1] = -1;
	r = store_map(s, options, err);
	if (r < 0) {
		pool_store_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct store *pool_store_free(struct store *s)
{
	if (!s)
		return NULL;
	pool_index_free(s->x);
	pool_slots_free(s->slots);
	squeeze_free(s->squeeze);
	if (s->like && s->like != MAP_FAILED)
		munmap(s->like, (s->like_mask + 1) * sizeof(*s->like));
	fd_close(&s->fds[0]);
	fd_close(&s->fds[1]);
	free(s);
	return NULL;
}

void pool_store_fds(const struct store *s, int ret[2])
{
	ret[0] = s->fds[0];
	ret[1] = s->fds[1];
}

struct pool_store_object *pool_store_object(struct store *s, const struct farmem_object *id, bool make)
{
	return pool_index_object(s->x, id, make);
}

/* ---- contents ---- */

/* Return: 0 with the page in @out, -EBADMSG. */
static int unfold(const struct store *s, const struct value *v, void *out)
{
	if (zero(v))
		memset(out, 0, POOL_PAGE_BYTES);
	else if (v->form == FORM_LZ4)
		return squeeze_open(pool_slots_at(s->slots, v->where), value_len(v), out, POOL_PAGE_BYTES) ? 0 : -EBADMSG;
	else
		memcpy(out, pool_slots_at(s->slots, v->where), POOL_PAGE_BYTES);
	return 0;
}

/* Who reads it where it was does not take it for what is there: no seal opens without its beginning. */
static void spoil(struct store *s, const struct value *v)
{
	memset(pool_slots_at(s->slots, v->where), 0, value_len(v) < 64 ? value_len(v) : 64);
}

static void drop_value(struct store *s, struct pool_store_object *o, const struct value *v)
{
	if (s->lent && v->form == FORM_SEALED)
		spoil(s, v);
	pool_index_count(s->x, o, -1, v, page_bytes(v));
	if (!zero(v) && pool_slots_drop(s->slots, v->where) == 0)
		pool_index_charge(s->x, o, -1, -(int64_t)pool_slots_size(value_len(v)));
}

/* Memory for contents. @paid: what the tenant gets back for it. */
static int take(struct store *s, struct pool_store_object *o, uint32_t len, const struct value *instead, uint64_t *where)
{
	uint64_t back = instead && !zero(instead) && pool_slots_refs(s->slots, instead->where) == 1 ? pool_slots_size(value_len(instead)) : 0;

	if (fault_point("pool-full"))
		return -ENOSPC;
	if (pool_index_tenant_bytes(o) + pool_slots_size(len) > s->quota_bytes + back)
		return -EDQUOT;
	*where = pool_slots_take(s->slots, len);
	return *where == SLOTS_NONE ? -ENOSPC : 0;
}

static bool all_zero(const void *page)
{
	const uint64_t *w = page;

	return !w[0] && !memcmp(page, (const uint8_t *)page + sizeof(*w), POOL_PAGE_BYTES - sizeof(*w));
}

static uint64_t like_hash(const struct pool_store_object *o, struct hash content)
{
	return content.lo ^ pool_index_object_id(o).tenant * 0x9e3779b97f4a7c15ull;
}

/* A hash may be in any of a line's places. */
static struct like *like_line(const struct store *s, uint64_t hash)
{
	return &s->like[hash & s->like_mask & ~(uint64_t)(LIKE_WAYS - 1)];
}

/* In the place of one that is gone, or of another tenant, if there is one. */
static void like_note(struct store *s, struct pool_store_object *o, uint64_t hash, uint32_t entry)
{
	struct like *line = like_line(s, hash), *at = &line[(hash >> 29) % LIKE_WAYS];

	for (unsigned k = 0; k < LIKE_WAYS; k++)
		if (!line[k].tag || !pool_index_value(s->x, line[k].entry, pool_index_object_id(o).tenant)) {
			at = &line[k];
			break;
		}
	*at = (struct like){ (uint32_t)(hash >> 32), entry };
}

static const struct like *like_find(const struct store *s, uint64_t hash)
{
	const struct like *line = like_line(s, hash);

	for (unsigned k = 0; k < LIKE_WAYS; k++)
		if (line[k].tag == (uint32_t)(hash >> 32))
			return &line[k];
	return NULL;
}

/* The same contents elsewhere in the tenant. Return: with one reference more; NULL: none. */
static const struct value *find_like(struct store *s, struct pool_store_object *o, uint64_t hash, const void *page)
{
	const struct like *l = like_find(s, hash);
	uint8_t other[POOL_PAGE_BYTES];
	const struct value *v;

	if (!l)
		return NULL;
	v = pool_index_value(s->x, l->entry, pool_index_object_id(o).tenant);
	if (!v || zero(v) || v->form == FORM_SEALED || unfold(s, v, other) < 0 || memcmp(other, page, POOL_PAGE_BYTES))
		return NULL;
	return pool_slots_keep(s->slots, v->where, value_len(v)) < 0 ? NULL : v;
}

/* Contents of a page that is put: nothing, another page's, as it is, or, where there is no more memory, compressed. */
static int place(struct store *s, struct pool_store_object *o, const void *page, uint64_t hash, const struct value *instead, struct value *v)
{
	uint8_t small[SQUEEZE_PAYS];
	const struct value *same;
	uint32_t len;
	int r;

	v->where = VALUE_ZERO;
	v->form = FORM_ZERO;
	v->len = 0;
	if (all_zero(page))
		return 0;
	same = find_like(s, o, hash, page);
	if (same) {
		v->where = same->where;
		v->form = same->form;
		v->len = same->len;
		v->like = 1;
		return 0;
	}
	r = take(s, o, POOL_PAGE_BYTES, instead, &v->where);
	v->form = FORM_RAW;
	v->len = POOL_PAGE_BYTES;
	if (!r) {
		memcpy(pool_slots_at(s->slots, v->where), page, POOL_PAGE_BYTES);
		return 0;
	}
	len = squeeze_close(s->squeeze, page, POOL_PAGE_BYTES, small, sizeof(small));
	if (!len)
		return r;
	r = take(s, o, len, instead, &v->where);
	if (r < 0)
		return r;
	v->form = FORM_LZ4;
	v->len = (uint16_t)len;
	memcpy(pool_slots_at(s->slots, v->where), small, len);
	return 0;
}

/* Publishes a value in place of the one before it, if there is one. */
static int publish(struct store *s, struct pool_store_object *o, struct pool_ref ref, const struct value *v, bool alone, uint32_t *ret_entry)
{
	struct value old;
	int r;

	if (fault_point("pool-publish"))
		r = -ENOSPC;
	else
		r = pool_index_set(s->x, o, ref.page, v, &old, ret_entry);
	if (r < 0) {
		if (!zero(v))
			pool_slots_drop(s->slots, v->where);
		return r;
	}
	pool_index_count(s->x, o, 1, v, page_bytes(v));
	if (alone)
		pool_index_charge(s->x, o, 1, pool_slots_size(value_len(v)));
	if (r)
		drop_value(s, o, &old);
	return 0;
}

/* What is there already. Return: 1: nothing is to be done, 0: go on, *now is what will be replaced; -ESTALE. */
static int before_put(struct store *s, struct pool_store_object *o, struct pool_ref ref, uint64_t digest, const struct value **now)
{
	*now = pool_index_get(s->x, o, ref.page);
	if (!*now)
		return 0;
	if ((*now)->epoch > ref.epoch)
		return -ESTALE;
	return (*now)->epoch == ref.epoch && (*now)->digest == digest;
}

int pool_store_put(struct store *s, struct pool_store_object *o, struct pool_ref ref, const void *page)
{
	struct hash content = pool_hash(page, POOL_PAGE_BYTES);
	uint64_t hash = like_hash(o, content);
	struct farmem_object id = pool_index_object_id(o);
	struct value v = { .epoch = ref.epoch, .digest = bound(&id, ref, false, content) };
	const struct value *now;
	uint32_t entry;
	bool alone;
	int r;

	/* anywhere in a large table: on its way while the index is looked at */
	__builtin_prefetch(like_line(s, hash));
	r = before_put(s, o, ref, v.digest, &now);
	if (r)
		return r < 0 ? r : 0;
	r = place(s, o, page, hash, now, &v);
	if (r < 0)
		return r;
	alone = !zero(&v) && pool_slots_refs(s->slots, v.where) == 1;
	r = publish(s, o, ref, &v, alone, &entry);
	if (!r && alone)
		like_note(s, o, hash, entry);
	return r;
}

int pool_store_get(struct store *s, struct pool_store_object *o, struct pool_ref ref, void *page, uint64_t *ret_digest)
{
	const struct value *v = pool_index_get(s->x, o, ref.page);
	int r;

	if (!v || v->form == FORM_SEALED)
		return -ENOENT;
	if (v->epoch != ref.epoch && !fault_point("pool-old"))
		return -ESTALE;
	ref.epoch = v->epoch;
	r = unfold(s, v, page);
	if (r < 0)
		return r;
	if (fault_point("pool-rot"))
		((uint8_t *)page)[ref.page % POOL_PAGE_BYTES] ^= 1;
	*ret_digest = v->digest;
	return digest(o, ref, false, page, POOL_PAGE_BYTES) == v->digest ? 0 : -EBADMSG;
}

int pool_store_put_sealed(struct store *s, struct pool_store_object *o, struct pool_ref ref, const void *data, uint32_t len)
{
	struct value v = { .epoch = ref.epoch, .form = FORM_SEALED, .len = (uint16_t)len, .digest = digest(o, ref, true, data, len) };
	const struct value *now;
	uint32_t entry;
	int r = before_put(s, o, ref, v.digest, &now);

	if (r)
		return r < 0 ? r : 0;
	r = take(s, o, len, now, &v.where);
	if (r < 0)
		return r;
	memcpy(pool_slots_at(s->slots, v.where), data, len);
	if (fault_point("pool-rot"))
		((uint8_t *)pool_slots_at(s->slots, v.where))[len / 2] ^= 1;
	return publish(s, o, ref, &v, true, &entry);
}

int pool_store_get_sealed(struct store *s, struct pool_store_object *o, struct pool_ref ref, void *data, uint64_t *ret_digest)
{
	const struct value *v = pool_index_get(s->x, o, ref.page);

	if (!v || v->form != FORM_SEALED)
		return -ENOENT;
	if (v->epoch != ref.epoch && !fault_point("pool-old"))
		return -ESTALE;
	ref.epoch = v->epoch;
	*ret_digest = v->digest;
	memcpy(data, pool_slots_at(s->slots, v->where), value_len(v));
	return digest(o, ref, true, data, value_len(v)) == v->digest ? (int)value_len(v) : -EBADMSG;
}

int pool_store_del(struct store *s, struct pool_store_object *o, struct pool_ref ref)
{
	const struct value *now = pool_index_get(s->x, o, ref.page);
	struct value old;

	if (!now)
		return -ENOENT;
	if (now->epoch > ref.epoch)
		return -ESTALE;
	pool_index_remove(s->x, o, ref.page, &old);
	drop_value(s, o, &old);
	pool_index_object_done(s->x, o);
	return 0;
}

void pool_store_del_object(struct store *s, struct pool_store_object *o)
{
	struct value old;

	pool_index_object_dies(s->x, o);
	while (pool_index_remove_any(s->x, o, &old))
		drop_value(s, o, &old);
	pool_index_object_done(s->x, o);
}

void pool_store_stat(const struct store *s, const struct pool_store_object *o, struct pool_stat *ret)
{
	pool_index_stat(s->x, o, ret);
	ret->quota_bytes = o ? s->quota_bytes : s->memory_bytes;
}

void *pool_store_lend(struct store *s, bool on, uint64_t *ret_bytes)
{
	s->lent = on;
	pool_slots_pin(s->slots, on);
	*ret_bytes = s->memory_bytes;
	return pool_slots_at(s->slots, 0);
}

uint32_t pool_store_where(const struct store *s, const struct pool_store_object *o, uint64_t page, uint64_t *ret_where)
{
	const struct value *v = pool_index_get(s->x, o, page);

	if (!v || v->form != FORM_SEALED)
		return 0;
	*ret_where = v->where;
	return value_len(v);
}

/* ---- compressing what was put as it is ---- */

/* Return: false: there is no memory to compress into */
static bool tidy_one(struct store *s, uint32_t entry, struct pool_store_object *o, const struct value *v)
{
	uint8_t small[SQUEEZE_PAYS];
	struct value next = *v;
	uint64_t where = v->where;
	uint32_t len = 0;

	/* others use it too: it has paid already */
	if (pool_slots_refs(s->slots, where) == 1)
		len = squeeze_close(s->squeeze, pool_slots_at(s->slots, where), POOL_PAGE_BYTES, small, sizeof(small));
	if (len)
		next.where = pool_slots_take(s->slots, len);
	if (len && next.where == SLOTS_NONE)
		return false;
	next.form = FORM_KEPT;
	if (!len) {
		pool_index_replace(s->x, entry, &next);
		return true;
	}
	next.form = FORM_LZ4;
	next.len = (uint16_t)len;
	memcpy(pool_slots_at(s->slots, next.where), small, len);
	pool_index_count(s->x, o, -1, v, POOL_PAGE_BYTES);
	pool_index_replace(s->x, entry, &next);
	pool_index_count(s->x, o, 1, &next, pool_slots_size(len));
	pool_slots_drop(s->slots, where);
	pool_index_charge(s->x, o, 0, (int64_t)pool_slots_size(len) - POOL_PAGE_BYTES);
	return true;
}

unsigned pool_store_tidy(struct store *s, unsigned pages)
{
	struct pool_store_object *o;
	const struct value *v;
	unsigned looked = 0;
	uint32_t entry;

	while (looked < pages && (v = pool_index_raw(s->x, &entry, &o)) && tidy_one(s, entry, o, v))
		looked++;
	return looked;
}

bool pool_store_ease(struct store *s)
{
	return pool_slots_ease(s->slots) > 0;
}
