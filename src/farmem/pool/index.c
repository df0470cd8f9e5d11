/* SPDX-License-Identifier: Apache-2.0 */
#include "index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uthash.h>

#define MAGIC   0x31785f6c6f6f7068ull   /* "hpool_x1" */
#define OBJECTS 65536u
#define GROUP   64u
#define NONE    UINT32_MAX
/* groups whose links are a page of memory */
#define LINKED  (4096u / (GROUP * sizeof(struct link)))

/* of an entry: which of its two values counts */
enum state { EMPTY, REMOVED, FIRST, SECOND };

struct entry {
	uint32_t object;
	uint32_t state;
	uint64_t page;
	struct value value[2];
};
_Static_assert(sizeof(struct entry) == 64 && GROUP * sizeof(struct entry) == 4096, "an entry is a cache line, a group a page");

enum object_state { FREE, LIVE, DYING };

struct record {
	struct farmem_object id;
	uint64_t state;
};

struct header {
	uint64_t magic, memory_bytes;
	uint8_t pad[4080];
	struct record record[OBJECTS];
	struct entry entry[];
};
_Static_assert(offsetof(struct header, entry) % 4096 == 0, "groups are pages");

/* what a tenant has */
struct tenant {
	uint64_t id, objects, bytes;
	UT_hash_handle hh;
};

/* record's other half. head: its entries, through link. next_free: records that are free. */
struct pool_store_object {
	struct farmem_object id;
	struct tenant *tenant;
	uint64_t pages, zero_pages, like_pages, bytes;
	uint32_t number, head, next_free;
	UT_hash_handle hh;
};

/* among those of its object; and, while it is FORM_RAW, among those that are */
struct link {
	uint32_t prev, next, raw_prev, raw_next;
};

struct index {
	struct header *h;
	uint64_t bytes, entries, used;  /* used: entries that are not EMPTY */
	struct link *link;
	uint8_t *filled;                /* of each group, entries that are not EMPTY: where there is none, there is no memory */
	struct pool_store_object *object, *by_id;
	struct tenant *tenants;
	uint32_t free_record, raw_first, raw_last;
	uint64_t pages, zero_pages, stored_bytes, slots;
};

uint64_t pool_index_entries(uint64_t memory)
{
	uint64_t n = GROUP;

	while (n < memory / POOL_PAGE_BYTES * 4)
		n *= 2;
	return n;
}

uint64_t pool_index_bytes(uint64_t memory)
{
	return sizeof(struct header) + pool_index_entries(memory) * sizeof(struct entry);
}

static uint32_t state_of(const struct entry *e)
{
	return __atomic_load_n(&e->state, __ATOMIC_ACQUIRE);
}

/* All that was written before is there for whoever sees this, should the process be killed right after it. */
static void set_state(struct entry *e, enum state state)
{
	__atomic_store_n(&e->state, state, __ATOMIC_RELEASE);
}

static void set_record(struct index *x, uint32_t number, enum object_state state)
{
	__atomic_store_n(&x->h->record[number].state, state, __ATOMIC_RELEASE);
}

static const struct value *value_of(const struct entry *e)
{
	return &e->value[e->state == SECOND];
}

static bool there(const struct entry *e)
{
	return e->state >= FIRST;
}

/* ---- objects ---- */

static struct tenant *tenant_of(struct index *x, uint64_t id)
{
	struct tenant *t;

	HASH_FIND(hh, x->tenants, &id, sizeof(id), t);
	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->id = id;
	HASH_ADD(hh, x->tenants, id, sizeof(t->id), t);
	return t;
}

/* The other half of a record that is live. */
static struct pool_store_object *object_begin(struct index *x, uint32_t number, const struct farmem_object *id)
{
	struct pool_store_object *o = &x->object[number];
	struct tenant *t = tenant_of(x, id->tenant);

	if (!t)
		return NULL;
	*o = (struct pool_store_object){ .id = *id, .tenant = t, .number = number, .head = NONE };
	t->objects++;
	HASH_ADD(hh, x->by_id, id, sizeof(o->id), o);
	return o;
}

struct pool_store_object *pool_index_object(struct index *x, const struct farmem_object *id, bool make)
{
	struct pool_store_object *o;
	uint32_t number = x->free_record, next;

	HASH_FIND(hh, x->by_id, id, sizeof(*id), o);
	if (o || !make || number == NONE)
		return o;
	next = x->object[number].next_free;
	o = object_begin(x, number, id);
	if (!o)
		return NULL;
	x->free_record = next;
	x->h->record[number].id = *id;
	set_record(x, number, LIVE);
	return o;
}

struct farmem_object pool_index_object_id(const struct pool_store_object *o)
{
	return o->id;
}

void pool_index_object_dies(struct index *x, struct pool_store_object *o)
{
	set_record(x, o->number, DYING);
}

void pool_index_object_done(struct index *x, struct pool_store_object *o)
{
	struct tenant *t = o->tenant;

	if (o->pages)
		return;
	set_record(x, o->number, FREE);
	HASH_DELETE(hh, x->by_id, o);
	if (!--t->objects) {
		HASH_DELETE(hh, x->tenants, t);
		free(t);
	}
	o->next_free = x->free_record;
	x->free_record = o->number;
}

/* ---- entries ---- */

static uint64_t first_group(const struct index *x, uint32_t object, uint64_t page)
{
	uint64_t h = (page / GROUP + 1) * 0x9e3779b97f4a7c15ull ^ (object + 1) * 0xc2b2ae3d27d4eb4full;

	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ull;
	return (h >> 29) % (x->entries / GROUP);
}

static struct entry *entry_at(const struct index *x, uint64_t group, uint64_t page)
{
	return &x->h->entry[group % (x->entries / GROUP) * GROUP + page % GROUP];
}

/* looking into a group without memory would give it some */
static bool vacant(const struct index *x, uint64_t group, uint64_t page)
{
	return !x->filled[group % (x->entries / GROUP)] || entry_at(x, group, page)->state == EMPTY;
}

/* @ret_room: an entry that the page can have if it has none yet */
static struct entry *find(const struct index *x, uint32_t object, uint64_t page, struct entry **ret_room)
{
	uint64_t group = first_group(x, object, page);

	*ret_room = NULL;
	for (uint64_t k = 0; k < x->entries / GROUP; k++) {
		struct entry *e = entry_at(x, group + k, page);

		if (vacant(x, group + k, page)) {
			*ret_room = *ret_room ? *ret_room : e;
			break;
		}
		if (there(e) && e->object == object && e->page == page)
			return e;
		if (!there(e) && !*ret_room)
			*ret_room = e;
	}
	return NULL;
}

static uint32_t number_of(const struct index *x, const struct entry *e)
{
	return (uint32_t)(e - x->h->entry);
}

static void fill(struct index *x, const struct entry *e)
{
	x->used++;
	x->filled[number_of(x, e) / GROUP]++;
}

/* The memory of a group goes back with its last entry, its part of link with that of its neighbours. Numbers of pages are mostly used once: it would grow for ever. */
static void empty(struct index *x, struct entry *e)
{
	uint64_t group = number_of(x, e) / GROUP, first = group / LINKED * LINKED;

	set_state(e, EMPTY);
	x->used--;
	if (--x->filled[group])
		return;
	(void)madvise(&x->h->entry[group * GROUP], GROUP * sizeof(struct entry), MADV_REMOVE);
	for (uint64_t k = first; k < first + LINKED; k++)
		if (k >= x->entries / GROUP || x->filled[k])
			return;
	(void)madvise(&x->link[first * GROUP], LINKED * GROUP * sizeof(*x->link), MADV_DONTNEED);
}

static void link_in(struct index *x, struct pool_store_object *o, uint32_t n)
{
	x->link[n].prev = NONE;
	x->link[n].next = o->head;
	if (o->head != NONE)
		x->link[o->head].prev = n;
	o->head = n;
}

static void link_out(struct index *x, struct pool_store_object *o, uint32_t n)
{
	struct link l = x->link[n];

	if (l.prev == NONE)
		o->head = l.next;
	else
		x->link[l.prev].next = l.next;
	if (l.next != NONE)
		x->link[l.next].prev = l.prev;
}

static void raw_in(struct index *x, uint32_t n)
{
	x->link[n].raw_prev = x->raw_last;
	x->link[n].raw_next = NONE;
	if (x->raw_last != NONE)
		x->link[x->raw_last].raw_next = n;
	else
		x->raw_first = n;
	x->raw_last = n;
}

static void raw_out(struct index *x, uint32_t n)
{
	struct link l = x->link[n];

	if (l.raw_prev != NONE)
		x->link[l.raw_prev].raw_next = l.raw_next;
	else
		x->raw_first = l.raw_next;
	if (l.raw_next != NONE)
		x->link[l.raw_next].raw_prev = l.raw_prev;
	else
		x->raw_last = l.raw_prev;
}

const struct value *pool_index_get(const struct index *x, const struct pool_store_object *o, uint64_t page)
{
	struct entry *room;
	const struct entry *e = find(x, o->number, page, &room);

	return e ? value_of(e) : NULL;
}

static void replace(struct index *x, struct entry *e, const struct value *v)
{
	bool second = e->state == FIRST;

	if (value_of(e)->form == FORM_RAW)
		raw_out(x, number_of(x, e));
	e->value[second] = *v;
	set_state(e, second ? SECOND : FIRST);
	if (v->form == FORM_RAW)
		raw_in(x, number_of(x, e));
}

int pool_index_set(struct index *x, struct pool_store_object *o, uint64_t page, const struct value *v, struct value *ret_old, uint32_t *ret_entry)
{
	struct entry *room, *e = find(x, o->number, page, &room);

	if (e) {
		*ret_old = *value_of(e);
		*ret_entry = number_of(x, e);
		replace(x, e, v);
		return 1;
	}
	/* look-ups end at entries that are EMPTY: there have to be some */
	if (!room || (room->state == EMPTY && x->used >= x->entries / 8 * 7))
		return -ENOSPC;
	if (room->state == EMPTY)
		fill(x, room);
	room->object = o->number;
	room->page = page;
	room->value[0] = *v;
	set_state(room, FIRST);
	*ret_entry = number_of(x, room);
	link_in(x, o, *ret_entry);
	if (v->form == FORM_RAW)
		raw_in(x, *ret_entry);
	return 0;
}

/* No look-up that passed here needs to any more, if it would end at the next one. */
static void clear(struct index *x, struct entry *e)
{
	uint64_t group = number_of(x, e) / GROUP, page = number_of(x, e) % GROUP, groups = x->entries / GROUP;

	set_state(e, REMOVED);
	if (!vacant(x, group + 1, page))
		return;
	for (uint64_t k = 0; k < groups && !vacant(x, group + groups - k, page) && entry_at(x, group + groups - k, page)->state == REMOVED; k++)
		empty(x, entry_at(x, group + groups - k, page));
}

static void remove_entry(struct index *x, struct pool_store_object *o, struct entry *e, struct value *ret_old)
{
	*ret_old = *value_of(e);
	if (ret_old->form == FORM_RAW)
		raw_out(x, number_of(x, e));
	link_out(x, o, number_of(x, e));
	clear(x, e);
}

void pool_index_remove(struct index *x, struct pool_store_object *o, uint64_t page, struct value *ret_old)
{
	struct entry *room;

	remove_entry(x, o, find(x, o->number, page, &room), ret_old);
}

bool pool_index_remove_any(struct index *x, struct pool_store_object *o, struct value *ret_old)
{
	if (o->head == NONE)
		return false;
	remove_entry(x, o, &x->h->entry[o->head], ret_old);
	return true;
}

static const struct value *value_at(struct index *x, uint32_t entry, struct pool_store_object **ret_o)
{
	const struct entry *e = &x->h->entry[entry];

	if (!x->filled[entry / GROUP] || !there(e))
		return NULL;
	*ret_o = &x->object[e->object];
	return value_of(e);
}

const struct value *pool_index_raw(struct index *x, uint32_t *ret_entry, struct pool_store_object **ret_o)
{
	*ret_entry = x->raw_first;
	return x->raw_first == NONE ? NULL : value_at(x, x->raw_first, ret_o);
}

const struct value *pool_index_value(struct index *x, uint32_t entry, uint64_t tenant)
{
	struct pool_store_object *o;
	const struct value *v = value_at(x, entry, &o);

	return v && o->id.tenant == tenant ? v : NULL;
}

void pool_index_replace(struct index *x, uint32_t entry, const struct value *v)
{
	replace(x, &x->h->entry[entry], v);
}

/* ---- counts ---- */

void pool_index_count(struct index *x, struct pool_store_object *o, int n, const struct value *v, uint32_t bytes)
{
	uint64_t add = (uint64_t)(int64_t)n;
	bool zero = v->where == VALUE_ZERO;

	o->pages += add;
	o->zero_pages += zero ? add : 0;
	o->like_pages += v->like ? add : 0;
	o->bytes += add * bytes;
	x->pages += add;
	x->zero_pages += zero ? add : 0;
}

void pool_index_charge(struct index *x, struct pool_store_object *o, int slots, int64_t bytes)
{
	o->tenant->bytes += (uint64_t)bytes;
	x->stored_bytes += (uint64_t)bytes;
	x->slots += (uint64_t)(int64_t)slots;
}

uint64_t pool_index_tenant_bytes(const struct pool_store_object *o)
{
	return o->tenant->bytes;
}

void pool_index_stat(const struct index *x, const struct pool_store_object *o, struct pool_stat *ret)
{
	*ret = (struct pool_stat){ .pages = x->pages, .zero_pages = x->zero_pages, .shared_pages = x->pages - x->zero_pages - x->slots, .stored_bytes = x->stored_bytes };
	if (o)
		*ret = (struct pool_stat){ .pages = o->pages, .zero_pages = o->zero_pages, .shared_pages = o->like_pages, .stored_bytes = o->bytes };
}

/* ---- making and adopting ---- */

static int adopt_records(struct index *x)
{
	for (uint32_t n = OBJECTS; n-- > 0;) {
		struct record *r = &x->h->record[n];

		if (r->state == LIVE) {
			if (!object_begin(x, n, &r->id))
				return -ENOMEM;
		} else if (r->state > DYING) {
			return -EUCLEAN;
		} else {
			x->object[n].next_free = x->free_record;
			x->free_record = n;
		}
	}
	return 0;
}

static int adopt_entry(struct index *x, struct entry *e, int (*each)(void *ctx, struct index *x, struct pool_store_object *o, const struct value *v), void *ctx)
{
	if (state_of(e) == EMPTY)
		return 0;
	fill(x, e);
	if (e->state == REMOVED)
		return 0;
	if (e->state > SECOND || e->object >= OBJECTS)
		return -EUCLEAN;
	if (x->h->record[e->object].state != LIVE) {
		set_state(e, REMOVED);
		return 0;
	}
	link_in(x, &x->object[e->object], number_of(x, e));
	if (value_of(e)->form == FORM_RAW)
		raw_in(x, number_of(x, e));
	return each(ctx, x, &x->object[e->object], value_of(e));
}

/* Only what was ever written: the rest of the memfd has no memory, and gets none by this. */
static int adopt_entries(struct index *x, int fd, int (*each)(void *ctx, struct index *x, struct pool_store_object *o, const struct value *v), void *ctx)
{
	off_t end = (off_t)x->bytes, at = (off_t)sizeof(struct header);

	while (at < end && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		off_t hole = lseek(fd, at, SEEK_HOLE);

		for (; at < hole; at += (off_t)sizeof(struct entry)) {
			int r = adopt_entry(x, &x->h->entry[((size_t)at - sizeof(struct header)) / sizeof(struct entry)], each, ctx);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* An object that is dying, or never had a page, is gone now. */
static void adopt_end(struct index *x)
{
	for (uint32_t n = 0; n < OBJECTS; n++) {
		if (x->h->record[n].state == LIVE)
			pool_index_object_done(x, &x->object[n]);
		else
			set_record(x, n, FREE);
	}
}

static int index_adopt(struct index *x, int fd, int (*each)(void *ctx, struct index *x, struct pool_store_object *o, const struct value *v), void *ctx)
{
	int r = x->h->magic == MAGIC && x->h->memory_bytes ? adopt_records(x) : -EUCLEAN;

	if (r == 0)
		r = adopt_entries(x, fd, each, ctx);
	if (r == 0)
		adopt_end(x);
	return r;
}

static void index_begin(struct index *x, uint64_t memory)
{
	for (uint32_t n = OBJECTS; n-- > 0;) {
		x->object[n].next_free = x->free_record;
		x->object[n].number = n;
		x->free_record = n;
	}
	x->h->memory_bytes = memory;
	__atomic_store_n(&x->h->magic, MAGIC, __ATOMIC_RELEASE);
}

int pool_index_new(int fd, uint64_t memory, bool adopt, int (*each)(void *ctx, struct index *x, struct pool_store_object *o, const struct value *v), void *ctx, struct index **ret)
{
	struct index *x = calloc(1, sizeof(*x));
	int r = -ENOMEM;

	if (!x)
		return -ENOMEM;
	x->bytes = pool_index_bytes(memory);
	x->entries = pool_index_entries(memory);
	x->free_record = x->raw_first = x->raw_last = NONE;
	x->object = calloc(OBJECTS, sizeof(*x->object));
	x->h = mmap(NULL, x->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	x->link = mmap(NULL, x->entries * sizeof(*x->link), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	x->filled = calloc(x->entries / GROUP, sizeof(*x->filled));
	if (!x->object || !x->filled || x->h == MAP_FAILED || x->link == MAP_FAILED)
		goto err;
	if (!adopt)
		index_begin(x, memory);
	r = adopt ? index_adopt(x, fd, each, ctx) : 0;
	if (r < 0)
		goto err;
	*ret = x;
	return 0;
err:
	pool_index_free(x);
	return r;
}

struct index *pool_index_free(struct index *x)
{
	struct tenant *t, *next;

	if (!x)
		return NULL;
	HASH_CLEAR(hh, x->by_id);
	HASH_ITER(hh, x->tenants, t, next) {
		HASH_DELETE(hh, x->tenants, t);
		free(t);
	}
	free(x->object);
	free(x->filled);
	if (x->link && x->link != MAP_FAILED)
		munmap(x->link, x->entries * sizeof(*x->link));
	if (x->h && x->h != MAP_FAILED)
		munmap(x->h, x->bytes);
	free(x);
	return NULL;
}
