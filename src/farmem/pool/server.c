/* SPDX-License-Identifier: Apache-2.0 */
#include "farmem/pool_server.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/spin.h"
#include "keys.h"
#include "owner.h"
#include "place.h"
#include "store.h"

#define CLIENTS      512u
#define JOIN_NS      (5 * NS_PER_S)
#define TURN_FRAMES  16u
/* events of one call, and for how long the next one is looked for */
#define TURN_EVENTS  64u
#define LOOK_NS      (200 * NS_PER_US)

struct client {
	struct conn conn;
	struct client *next;
	uint8_t challenge[WIRE_KEY_BYTES];
	uint64_t since_ns, node;
	uint64_t tenant[KEYS_MAX];
	unsigned tenants;
	bool joined;
	bool closing;                   /* as soon as what is to go is gone */
	uint8_t *told;                  /* of the regions of our memory; enum told */
	uint32_t to_tell;
	uint32_t events;
	char who[80];
};

/* Whether a client knows where a region can be read. */
enum told { UNTOLD, TO_TELL, TOLD, NO_REGION };

struct pool_server {
	struct store *store;
	struct owners *owners;
	struct keys keys;
	int epoll, tick;
	struct listener place[POOL_SERVER_PLACES];
	unsigned places;
	struct client *clients;
	uint64_t lease_ns;
	uint64_t readers;               /* clients of a kind that reads our memory by itself */
	uint8_t *memory;                /* while there are any */
	uint64_t memory_bytes;
	struct spin spin;
	uint64_t served_ns;             /* when a client last had what it asked for */
	struct pool_server_stat stat;
};

/* ---- clients ---- */

static void client_close(struct pool_server *s, struct client *c)
{
	struct client **at = &s->clients;
	bool last_reader = c->conn.way->reads && !--s->readers;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (c->joined)
		owners_leave(s->owners, c->node, clock_mono_ns());
	s->stat.connections--;
	conn_done(&c->conn);
	/* no device has it any more */
	if (last_reader)
		(void)pool_store_lend(s->store, false, &s->memory_bytes);
	free(c->told);
	free(c);
}

static void refuse(struct pool_server *s, struct client *c, const char *why)
{
	s->stat.refused++;
	log_warn("pool: %s is refused: %s", c->who, why);
	c->closing = true;
	/* without memory it goes without a word */
	(void)wire_small(&c->conn.session, &c->conn.out, WIRE_REFUSED, 0, NULL, 0);
}

static void accept_one(struct pool_server *s, struct listener *l)
{
	struct epoll_event e = { .events = EPOLLIN };
	struct conn conn;
	struct client *c;

	if (l->transport->accept(l, &conn) <= 0)
		return;
	c = s->stat.connections < CLIENTS ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		log_warn("pool: a connection is closed: %s", s->stat.connections < CLIENTS ? "out of memory" : "there are too many");
		conn_done(&conn);
		return;
	}
	c->conn = conn;
	conn.way->name(&conn, c->who, sizeof(c->who));
	c->since_ns = clock_mono_ns();
	c->events = EPOLLIN;
	c->next = s->clients;
	s->clients = c;
	s->stat.connections++;
	s->stat.accepted++;
	if (conn.way->reads && !s->readers++)
		s->memory = pool_store_lend(s->store, true, &s->memory_bytes);
	randombytes_buf(c->challenge, sizeof(c->challenge));
	e.data.ptr = c;
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, c->conn.fd, &e) < 0 || wire_small(&c->conn.session, &c->conn.out, WIRE_HELLO, s->keys.n ? WIRE_KEYS : 0, c->challenge, sizeof(c->challenge)) < 0 ||
	    conn_flush(&c->conn) < 0)
		client_close(s, c);
}

/* ---- joining ---- */

/* Return: NULL, or why not. */
static const char *check_proofs(struct pool_server *s, struct client *c, const struct wire_join *j, const uint8_t *proofs, unsigned n, const struct key **keys)
{
	for (unsigned k = 0; k < n; k++) {
		uint8_t want[WIRE_PROOF_BYTES];
		struct wire_proof p;

		memcpy(&p, proofs + k * sizeof(p), sizeof(p));
		keys[k] = keys_find(&s->keys, p.tenant);
		if (!keys[k])
			return "no key for a tenant of it";
		keys_prove(keys[k], PROOF_CLIENT, c->challenge, j->challenge, j->node, want);
		if (sodium_memcmp(want, p.proof, sizeof(want)))
			return "it does not know the key of a tenant";
		c->tenant[k] = p.tenant;
	}
	c->tenants = n;
	return NULL;
}

static void welcome(struct pool_server *s, struct client *c, const struct wire_join *j, const struct key *const *keys, unsigned n)
{
	uint8_t proof[WIRE_PROOF_BYTES] = { 0 };

	if (owners_join(s->owners, j->node) < 0) {
		c->closing = true;
		return;
	}
	c->node = j->node;
	c->joined = true;
	if (n)
		keys_prove(keys[0], PROOF_POOL, c->challenge, j->challenge, j->node, proof);
	keys_session(keys, n, true, c->challenge, j->challenge, &c->conn.session);
	if (wire_small(&c->conn.session, &c->conn.out, WIRE_WELCOME, 0, proof, sizeof(proof)) < 0 || (c->conn.way->reads && c->conn.way->reads->admit(&c->conn) < 0))
		c->closing = true;
}

static void join(struct pool_server *s, struct client *c, const struct wire_frame *f)
{
	const struct key *keys[KEYS_MAX];
	const char *why;
	struct wire_join j;
	size_t proofs = f->head.data_bytes - sizeof(j);
	unsigned n = (unsigned)(proofs / sizeof(struct wire_proof));

	if (f->head.kind != WIRE_JOIN || f->head.data_bytes < sizeof(j) || proofs % sizeof(struct wire_proof) || n > KEYS_MAX) {
		refuse(s, c, "it does not join");
		return;
	}
	memcpy(&j, f->data, sizeof(j));
	why = s->keys.n && !n ? "it has no keys" : !s->keys.n && n ? "it wants keys, and this pool has none" : check_proofs(s, c, &j, f->data + sizeof(j), n, keys);
	if (why)
		refuse(s, c, why);
	else
		welcome(s, c, &j, keys, n);
}

static bool may(const struct pool_server *s, const struct client *c, const struct wire_frame *f)
{
	bool sealed = f->head.flags & WIRE_SEALED;

	if (!s->keys.n)
		return true;
	if ((f->head.kind == WIRE_PUT || f->head.kind == WIRE_GETV) && !sealed)
		return false;
	for (unsigned k = 0; k < c->tenants; k++)
		if (c->tenant[k] == f->head.object.tenant)
			return true;
	return false;
}

/* ---- memory that clients read by themselves ---- */

static uint64_t regions(const struct pool_server *s)
{
	return (s->memory_bytes + WIRE_REGION_BYTES - 1) / WIRE_REGION_BYTES;
}

/* Where contents are, for the next time. */
static void say_where(struct pool_server *s, struct client *c, const struct pool_store_object *o, struct wire_item *out)
{
	uint64_t where, region;
	uint32_t len;

	if (!c->conn.way->reads || !o || out->status)
		return;
	if (!c->told)
		c->told = calloc(1, regions(s));
	len = c->told ? pool_store_where(s->store, o, out->page, &where) : 0;
	if (!len || where / WIRE_AT_BYTES > UINT32_MAX)
		return;
	region = where / WIRE_REGION_BYTES;
	if (c->told[region] == UNTOLD) {
		c->told[region] = TO_TELL;
		c->to_tell++;
	}
	if (c->told[region] == NO_REGION)
		return;
	out->at = (uint32_t)(where / WIRE_AT_BYTES);
	out->held = (uint16_t)len;
}

static int lend_region(struct pool_server *s, struct client *c, uint64_t region)
{
	uint64_t at = region * WIRE_REGION_BYTES, left = s->memory_bytes - at;
	struct wire_memory m = { .region = (uint32_t)region };
	int r = c->conn.way->reads->lend(&c->conn, s->memory + at, left < WIRE_REGION_BYTES ? left : WIRE_REGION_BYTES, &m);

	c->told[region] = r < 0 ? NO_REGION : TOLD;
	if (r < 0) {
		log_warn("pool: %s has to ask for pages: their memory cannot be locked: %s; see ulimit -l", c->who, strerror(-r));
		return 0;
	}
	return wire_small(&c->conn.session, &c->conn.out, WIRE_MEMORY, 0, &m, sizeof(m));
}

/* After the result that spoke of them. Return: 0, -ENOMEM. */
static int lend_regions(struct pool_server *s, struct client *c)
{
	int r = 0;

	for (uint64_t k = 0; c->to_tell && !r && k < regions(s); k++) {
		if (c->told[k] != TO_TELL)
			continue;
		c->to_tell--;
		r = lend_region(s, c, k);
	}
	return r;
}

/* ---- operations ---- */

static int put_one(struct pool_server *s, struct pool_store_object *o, const struct wire_frame *f, const struct wire_item *i, const uint8_t *data)
{
	bool sealed = f->head.flags & WIRE_SEALED;
	struct pool_ref ref = { i->page, i->epoch };

	if (sealed ? !i->len : i->len != POOL_PAGE_BYTES)
		return -EINVAL;
	if (pool_store_digest(&f->head.object, ref, sealed, data, i->len) != i->digest)
		return -EBADMSG;
	s->stat.put_pages++;
	return sealed ? pool_store_put_sealed(s->store, o, ref, data, i->len) : pool_store_put(s->store, o, ref, data);
}

static void put(struct pool_server *s, struct client *c, const struct wire_frame *f, size_t at)
{
	struct pool_store_object *o = pool_store_object(s->store, &f->head.object, true);
	struct wire_item out;
	const uint8_t *data = f->data;

	/* without memory for it the object is nobody's, and ends with DEL only */
	(void)owners_own(s->owners, &f->head.object, c->node);
	for (unsigned k = 0; k < f->head.n; k++) {
		struct wire_item i = wire_item(f, k);

		if (k == f->head.n / 2)
			(void)fault_point("pool-in-put");
		out = (struct wire_item){ .page = i.page, .epoch = i.epoch, .status = o ? put_one(s, o, f, &i, data) : -ENOSPC };
		say_where(s, c, o, &out);
		wire_set_item(&c->conn.out, at, k, &out);
		data += i.len;
	}
}

/* Return: 0, -ENOMEM */
static int get_one(struct pool_server *s, struct client *c, struct pool_store_object *o, const struct wire_frame *f, const struct wire_item *i, size_t at, unsigned k)
{
	struct pool_ref ref = { i->page, i->epoch };
	struct wire_item out = { .page = i->page, .epoch = i->epoch };
	uint8_t *data;
	int r;

	if (buf_reserve(&c->conn.out, STORE_SEALED_BYTES, &data) < 0)
		return -ENOMEM;
	if (!o)
		r = -ENOENT;
	else if (f->head.flags & WIRE_SEALED)
		r = pool_store_get_sealed(s->store, o, ref, data, &out.digest);
	else
		r = pool_store_get(s->store, o, ref, data, &out.digest);
	out.status = r < 0 ? r : 0;
	if (r >= 0) {
		out.len = (uint16_t)(r ? (uint32_t)r : POOL_PAGE_BYTES);
		if (fault_point("pool-flip"))
			data[out.len / 2] ^= 1;
		buf_commit(&c->conn.out, out.len);
		s->stat.got_pages++;
		say_where(s, c, o, &out);
	}
	s->stat.bad_pages += r == -EBADMSG;
	wire_set_item(&c->conn.out, at, k, &out);
	return 0;
}

static int get(struct pool_server *s, struct client *c, const struct wire_frame *f, size_t at)
{
	struct farmem_object object = f->head.object;
	struct pool_store_object *o;

	if (fault_point("pool-foreign"))
		object.tenant++;
	o = pool_store_object(s->store, &object, false);
	if (o)
		(void)owners_own(s->owners, &object, c->node);
	for (unsigned k = 0; k < f->head.n; k++) {
		struct wire_item i = wire_item(f, k);

		if (k == f->head.n / 2)
			(void)fault_point("pool-in-get");
		if (get_one(s, c, o, f, &i, at, k) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void del(struct pool_server *s, struct client *c, const struct wire_frame *f, size_t at)
{
	struct wire_item out;
	struct pool_store_object *o = pool_store_object(s->store, &f->head.object, false);

	if (!f->head.n && o) {
		pool_store_del_object(s->store, o);
		o = NULL;
	}
	for (unsigned k = 0; k < f->head.n; k++) {
		struct wire_item i = wire_item(f, k);

		out = (struct wire_item){ .page = i.page, .epoch = i.epoch, .status = o ? pool_store_del(s->store, o, (struct pool_ref){ i.page, i.epoch }) : -ENOENT };
		wire_set_item(&c->conn.out, at, k, &out);
		o = pool_store_object(s->store, &f->head.object, false);
	}
	if (!o)
		owners_forget(s->owners, &f->head.object);
}

static void refuse_pages(struct client *c, const struct wire_frame *f, size_t at)
{
	for (unsigned k = 0; k < f->head.n; k++) {
		struct wire_item i = wire_item(f, k), out = { .page = i.page, .epoch = i.epoch, .status = -EACCES };

		wire_set_item(&c->conn.out, at, k, &out);
	}
}

static int stat_result(struct pool_server *s, struct client *c, const struct wire_frame *f, const struct pool_store_object *o)
{
	struct pool_stat st = { 0 };

	pool_store_stat(s->store, o, &st);
	return buf_append(&c->conn.out, &st, sizeof(st));
}

/* Return: 0, -ENOMEM: there is half a frame to go, so the connection cannot go on */
static int operate(struct pool_server *s, struct client *c, const struct wire_frame *f)
{
	static const struct farmem_object all;
	bool whole = f->head.kind == WIRE_STAT && !memcmp(&f->head.object, &all, sizeof(all));
	struct wire_head head = { .kind = WIRE_RESULT, .flags = f->head.flags, .n = f->head.n, .id = f->head.id, .object = f->head.object };
	struct pool_store_object *o;
	size_t at;
	int r = 0;

	if (wire_begin(&c->conn.out, &head, &at) < 0)
		return -ENOMEM;
	if (!whole && !may(s, c, f)) {
		refuse_pages(c, f, at);
	} else if (f->head.kind == WIRE_PUT) {
		put(s, c, f, at);
	} else if (f->head.kind == WIRE_GETV) {
		r = get(s, c, f, at);
	} else if (f->head.kind == WIRE_DEL) {
		del(s, c, f, at);
	} else {
		o = whole ? NULL : pool_store_object(s->store, &f->head.object, false);
		r = whole || o ? stat_result(s, c, f, o) : 0;
	}
	wire_end(&c->conn.session, &c->conn.out, at);
	return r < 0 ? r : lend_regions(s, c);
}

/* A turn of a client's: some frames, so that others have theirs. */
static int client_turn(struct pool_server *s, struct client *c)
{
	struct wire_frame f;
	int r = 0;

	for (unsigned k = 0; k < TURN_FRAMES && !c->closing && c->conn.out.len < CONN_OUT_BYTES; k++) {
		r = conn_next(&c->conn, &f);
		if (r < 0) {
			refuse(s, c, r == -EACCES ? "a frame is not from who joined" : "it speaks something else");
			return 0;
		}
		if (!r)
			return 0;
		if (!c->joined)
			join(s, c, &f);
		else if (f.head.kind < WIRE_PUT || f.head.kind > WIRE_STAT)
			refuse(s, c, "it says something that makes no sense here");
		else if (operate(s, c, &f) < 0)
			return -ENOMEM;
		conn_drop(&c->conn, &f);
	}
	return 0;
}

/* What is to bring it back. Frames that have come and were not this turn's: EPOLLOUT does, at once; or the way's again(). */
static uint32_t client_events(const struct client *c)
{
	const struct conn *n = &c->conn;
	bool full = n->out.len >= CONN_OUT_BYTES;
	struct wire_frame f;
	uint32_t out = conn_blocked(n) || (!full && !c->closing && (n->more || wire_decode(buf_head(&n->in), n->in.len, &f))) ? EPOLLOUT : 0;

	return out | ((full || c->closing) && !n->way->only_in ? 0 : EPOLLIN);
}

static void client_work(struct pool_server *s, struct client *c, uint32_t events)
{
	struct epoll_event e = { .data.ptr = c };
	int r = 0;

	if ((events & EPOLLIN || c->conn.more) && (c->conn.way->only_in || c->conn.in.len < CONN_OUT_BYTES))
		r = conn_fill(&c->conn);
	else if (events & (EPOLLERR | EPOLLHUP))
		r = -ECONNRESET;
	if (r >= 0)
		r = client_turn(s, c);
	if (r >= 0)
		r = conn_flush(&c->conn);
	if (r < 0 || (c->closing && conn_idle(&c->conn))) {
		client_close(s, c);
		return;
	}
	e.events = client_events(c);
	if (e.events & EPOLLOUT && c->conn.way->again) {
		c->conn.way->again(&c->conn);
		e.events = EPOLLIN;
	}
	if (e.events != c->events && epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->conn.fd, &e) < 0) {
		client_close(s, c);
		return;
	}
	c->events = e.events;
}

/* ---- time ---- */

static void gone(void *ctx, const struct farmem_object *object)
{
	struct pool_server *s = ctx;
	struct pool_store_object *o = pool_store_object(s->store, object, false);

	if (o)
		pool_store_del_object(s->store, o);
}

static void tick(struct pool_server *s)
{
	uint64_t times, now = clock_mono_ns(), n;
	struct client *c, *next;

	if (read(s->tick, &times, sizeof(times)) < 0)
		return;
	for (c = s->clients; c; c = next) {
		next = c->next;
		if (c->joined || now - c->since_ns < JOIN_NS)
			continue;
		s->stat.refused++;
		log_warn("pool: %s is refused: it does not join", c->who);
		client_close(s, c);
	}
	if (!s->lease_ns || now < s->lease_ns)
		return;
	n = owners_expire(s->owners, now - s->lease_ns, gone, s);
	s->stat.forgotten_objects += n;
	if (n)
		log_info("pool: %llu objects of nodes that have vanished are forgotten", (unsigned long long)n);
}

/* ---- all of it ---- */

static int watch(struct pool_server *s, int fd, void *what, struct hearth_err *err)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = what };

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? err_set(err, -errno, "epoll: %s", strerror(errno)) : 0;
}

static int open_place(struct pool_server *s, const char *uri, struct hearth_err *err)
{
	struct listener *l = &s->place[s->places];
	const struct transport *t;
	struct place p;
	int r = place_parse(uri, strlen(uri), &p, err);

	if (r < 0)
		return r;
	if (!p.loopback && !s->keys.n)
		return err_set(err, -EPERM, "%s can be reached from other machines: the pool needs the keys of its tenants (--key-file)", uri);
	r = place_transport(&p, &t, err);
	if (r < 0)
		return r;
	r = listener_open(&p, t, l);
	if (r < 0)
		return err_set(err, r, "%s: %s", uri, strerror(-r));
	s->places++;
	return watch(s, l->fd, l, err);
}

static int server_begin(struct pool_server *s, const struct pool_server_options *o, struct hearth_err *err)
{
	struct pool_options store = { .memory_bytes = o->memory_bytes, .quota_bytes = o->quota_bytes };
	struct itimerspec second = { { 1, 0 }, { 1, 0 } };
	int r;

	if (sodium_init() < 0)
		return err_set(err, -EIO, "no random numbers");
	r = o->key_file ? keys_read(o->key_file, true, &s->keys, err) : 0;
	if (r == 0)
		r = pool_store_new(&store, &s->store, err);
	if (r < 0)
		return r;
	s->owners = owners_new();
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!s->owners || s->epoll < 0 || s->tick < 0 || timerfd_settime(s->tick, 0, &second, NULL) < 0)
		return err_set(err, s->owners ? -errno : -ENOMEM, "a pool cannot begin: %s", strerror(s->owners ? errno : ENOMEM));
	s->lease_ns = o->lease_s * NS_PER_S;
	spin_init(&s->spin, LOOK_NS);
	r = watch(s, s->tick, &s->tick, err);
	for (unsigned k = 0; k < o->n_listen && r == 0; k++)
		r = open_place(s, o->listen[k], err);
	return r;
}

int pool_server_open(const struct pool_server_options *options, struct pool_server **ret, struct hearth_err *err)
{
	struct pool_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->epoll = s->tick = -1;
	r = server_begin(s, options, err);
	if (r < 0) {
		pool_server_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct pool_server *pool_server_close(struct pool_server *s)
{
	if (!s)
		return NULL;
	while (s->clients)
		client_close(s, s->clients);
	for (unsigned k = 0; k < s->places; k++)
		listener_close(&s->place[k]);
	fd_close(&s->tick);
	fd_close(&s->epoll);
	owners_free(s->owners);
	pool_store_free(s->store);
	keys_done(&s->keys);
	free(s);
	return NULL;
}

uint16_t pool_server_port(const struct pool_server *s, unsigned place)
{
	return s->place[place].port;
}

int pool_server_fd(const struct pool_server *s)
{
	return s->epoll;
}

static void on_event(struct pool_server *s, const struct epoll_event *e)
{
	for (unsigned p = 0; p < s->places; p++)
		if (e->data.ptr == &s->place[p]) {
			accept_one(s, &s->place[p]);
			return;
		}
	if (e->data.ptr == &s->tick)
		tick(s);
	else
		client_work(s, e->data.ptr, e->events);
}

/* Return: there is one */
static bool next_event(struct pool_server *s, struct epoll_event *ret)
{
	uint64_t now, until = s->served_ns + s->spin.now_ns;

	while (epoll_wait(s->epoll, ret, 1, 0) != 1) {
		now = clock_mono_ns();
		if (now >= until)
			return false;
		spin_pause(now);
	}
	return true;
}

/* One event at a time: what it is about may be gone after another one. */
void pool_server_work(struct pool_server *s)
{
	struct epoll_event e;

	for (unsigned k = 0; k < TURN_EVENTS && next_event(s, &e); k++) {
		bool client = e.data.ptr != &s->tick;

		if (client)
			spin_saw(&s->spin, clock_mono_ns() - s->served_ns);
		on_event(s, &e);
		if (client)
			s->served_ns = clock_mono_ns();
	}
}

unsigned pool_server_tidy(struct pool_server *s, unsigned pages)
{
	return pool_store_tidy(s->store, pages);
}

bool pool_server_ease(struct pool_server *s)
{
	return pool_store_ease(s->store);
}

void pool_server_stat(const struct pool_server *s, struct pool_server_stat *ret)
{
	*ret = s->stat;
	ret->nodes = owners_nodes(s->owners);
	pool_store_stat(s->store, NULL, &ret->store);
}

int pool_key_new(FILE *out, const char *tenant)
{
	return keys_print_new(out, tenant);
}

int pool_key_access(FILE *out, const char *path, struct hearth_err *err)
{
	struct keys k;
	int r = keys_read(path, false, &k, err);

	if (r == 0)
		keys_print_access(out, &k);
	keys_done(&k);
	return r;
}
