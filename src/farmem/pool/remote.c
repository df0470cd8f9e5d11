/* SPDX-License-Identifier: Apache-2.0 */
#include "remote.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "hints.h"
#include "place.h"
#include "seal.h"
#include "store.h"

#define TIMEOUT_NS (2 * NS_PER_S)
/* between attempts to connect: doubled each time */
#define RETRY_LEAST_NS (20 * NS_PER_MS)
#define RETRY_MOST_NS  (500 * NS_PER_MS)
/* operations that are sent and not answered: more wait here, where they cost nothing */
#define WINDOW 32u
/* of remote_work(), before its caller's others have theirs */
#define TURNS  16u

enum state { AWAY, CONNECTING, GREETING, JOINING, JOINED };

/* of a page, in its status until that is known, of an operation whose pages are read where they are as far as that place is known */
enum { TO_READ = 1, READING, TO_ASK };

/* next: in the order in which they were submitted, which is that of their deadlines. reads: it is such an operation; page: the first that may be TO_READ; reading: how many are READING */
struct flight {
	struct pool_op *op;
	struct flight *next;
	uint64_t deadline_ns;
	uint32_t id;
	bool sent, reads;
	unsigned page, reading;
};

struct remote {
	struct place place;
	const struct transport *transport;
	struct hints *hints;            /* where the pool's memory can be read */
	struct keys keys;
	struct sealer sealer;
	struct conn conn;
	enum state state;
	uint32_t events;
	int epoll, timer;
	struct flight *first, **end;
	unsigned in_flight;
	uint32_t last_id;
	uint64_t timeout_ns, retry_ns, connect_at_ns, node;
	uint64_t timer_ns;              /* what it is set to; 0: to nothing */
	uint64_t heard_ns;              /* when something came last */
	uint8_t challenge[WIRE_KEY_BYTES];
	uint8_t pool_challenge[WIRE_KEY_BYTES];
	bool working;                   /* in remote_work(): what is submitted now is sent at its end */
	bool said;                      /* that it is not there */
	char name[128];
};

/* ---- operations that end ---- */

static void finish(struct pool_op *op)
{
	op->result = 0;
	for (unsigned k = 0; k < op->n && op->status && !op->result; k++)
		op->result = op->status[k];
	op->done(op);
}

static void finish_all(struct pool_op *op, int status)
{
	for (unsigned k = 0; k < op->n && op->status; k++)
		op->status[k] = status;
	op->result = status;
	op->done(op);
}

static struct pool_op *take_out(struct remote *r, struct flight **at)
{
	struct flight *f = *at;
	struct pool_op *op = f->op;

	*at = f->next;
	if (!f->next)
		r->end = at;
	r->in_flight -= f->sent;
	free(f);
	return op;
}

/* Those that have waited until @now_ns, or all of them. What done() submits comes after them. */
static void finish_late(struct remote *r, uint64_t now_ns, int status)
{
	struct pool_op *late = NULL, **last = &late;

	for (struct flight **at = &r->first; *at;) {
		if ((*at)->deadline_ns > now_ns) {
			at = &(*at)->next;
			continue;
		}
		*last = take_out(r, at);
		(*last)->next = NULL;
		last = &(*last)->next;
	}
	while (late) {
		struct pool_op *op = late;

		late = op->next;
		finish_all(op, status);
	}
}

/* ---- the connection ---- */

/* One that is set to an earlier time than is needed goes off for nothing, once; to set it costs each operation more than that. */
static void set_timer(struct remote *r)
{
	struct itimerspec t = { 0 };
	uint64_t at;

	/* nobody waits: it connects when somebody does */
	if (!r->first)
		return;
	at = r->first->deadline_ns;
	if (r->state == AWAY && r->connect_at_ns < at)
		at = r->connect_at_ns ? r->connect_at_ns : 1;
	if (r->timer_ns && r->timer_ns <= at)
		return;
	r->timer_ns = at;
	t.it_value = (struct timespec){ .tv_sec = (time_t)(r->timer_ns / NS_PER_S), .tv_nsec = (long)(r->timer_ns % NS_PER_S) };
	(void)timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static void timer_went_off(struct remote *r)
{
	uint64_t times;

	if (read(r->timer, &times, sizeof(times)) < 0)
		return;
	r->timer_ns = 0;
	finish_late(r, clock_mono_ns(), -ECONNREFUSED);
}

static void set_events(struct remote *r)
{
	struct epoll_event e = { .events = EPOLLIN | (r->state == CONNECTING || conn_blocked(&r->conn) ? EPOLLOUT : 0) };

	if (r->state == AWAY || e.events == r->events)
		return;
	if (epoll_ctl(r->epoll, r->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, r->conn.fd, &e) == 0)
		r->events = e.events;
}

static void disconnect(struct remote *r, int why)
{
	uint64_t now = clock_mono_ns();
	/* perhaps it was lost long ago, when nobody looked */
	bool unused = now - r->heard_ns > RETRY_MOST_NS && r->state == JOINED;

	conn_done(&r->conn);
	r->state = AWAY;
	r->events = 0;
	r->in_flight = 0;
	for (struct flight *f = r->first; f; f = f->next)
		f->sent = f->reads = false;
	if (r->hints)
		hints_reset(r->hints);
	r->retry_ns = r->retry_ns ? r->retry_ns * 2 : RETRY_LEAST_NS;
	if (r->retry_ns > RETRY_MOST_NS)
		r->retry_ns = RETRY_MOST_NS;
	r->connect_at_ns = unused ? now : now + r->retry_ns;
	if (!r->said)
		log_warn("pool %s: %s", r->name, why == -EACCES ? "it does not take us, or is not who it says: are the keys right?" : strerror(-why));
	r->said = true;
	/* a pool that does not want us is not going to */
	if (why == -EACCES)
		finish_late(r, UINT64_MAX, -EACCES);
}

static void connect_now(struct remote *r)
{
	int e = r->transport->connect(&r->place, &r->conn);

	if (e < 0) {
		disconnect(r, e);
		return;
	}
	r->state = CONNECTING;
}

static int connected(struct remote *r)
{
	int e = conn_reached(&r->conn);

	if (e == 1)
		r->state = GREETING;
	return e < 0 ? e : 0;
}

/* ---- joining ---- */

static int greet(struct remote *r, const struct wire_frame *f)
{
	uint8_t data[sizeof(struct wire_join) + KEYS_MAX * sizeof(struct wire_proof)];
	const struct key *keys[KEYS_MAX];
	struct wire_join j = { .node = r->node };

	if (f->head.kind != WIRE_HELLO || f->head.data_bytes != WIRE_KEY_BYTES)
		return -EPROTO;
	/* with keys, a pool that does not ask for a proof cannot give one */
	if (!(f->head.flags & WIRE_KEYS) != !r->keys.n)
		return -EACCES;
	memcpy(r->pool_challenge, f->data, WIRE_KEY_BYTES);
	randombytes_buf(r->challenge, sizeof(r->challenge));
	memcpy(j.challenge, r->challenge, sizeof(j.challenge));
	memcpy(data, &j, sizeof(j));
	for (unsigned k = 0; k < r->keys.n; k++) {
		struct wire_proof p = { .tenant = r->keys.key[k].tenant };

		keys[k] = &r->keys.key[k];
		keys_prove(keys[k], PROOF_CLIENT, r->pool_challenge, r->challenge, r->node, p.proof);
		memcpy(data + sizeof(j) + k * sizeof(p), &p, sizeof(p));
	}
	if (wire_small(&r->conn.session, &r->conn.out, WIRE_JOIN, 0, data, (uint32_t)(sizeof(j) + r->keys.n * sizeof(struct wire_proof))) < 0)
		return -ENOMEM;
	keys_session(keys, r->keys.n, false, r->pool_challenge, r->challenge, &r->conn.session);
	r->state = JOINING;
	return 0;
}

static int welcomed(struct remote *r, const struct wire_frame *f)
{
	uint8_t want[WIRE_PROOF_BYTES];

	if (f->head.kind != WIRE_WELCOME || f->head.data_bytes != sizeof(want))
		return -EACCES;
	if (r->keys.n) {
		keys_prove(&r->keys.key[0], PROOF_POOL, r->pool_challenge, r->challenge, r->node, want);
		if (sodium_memcmp(want, f->data, sizeof(want)))
			return -EACCES;
	}
	r->state = JOINED;
	r->retry_ns = 0;
	if (r->said)
		log_info("pool %s: connected", r->name);
	r->said = false;
	return 0;
}

/* ---- sending ---- */

/* @n: its place in the frame */
static int add_page(struct remote *r, const struct key *key, const struct pool_op *op, unsigned k, size_t at, unsigned n)
{
	struct wire_item i = { .page = op->refs[k].page, .epoch = op->refs[k].epoch };
	uint8_t *data;

	if (op->kind == POOL_PUT) {
		if (buf_reserve(&r->conn.out, STORE_SEALED_BYTES, &data) < 0)
			return -ENOMEM;
		if (key)
			i.len = (uint16_t)seal_page(&r->sealer, key, &op->object, op->refs[k], op->pages[k], data);
		else
			memcpy(data, op->pages[k], i.len = POOL_PAGE_BYTES);
		i.digest = pool_store_digest(&op->object, op->refs[k], key, data, i.len);
		buf_commit(&r->conn.out, i.len);
	}
	wire_set_item(&r->conn.out, at, n, &i);
	return 0;
}

/* Whether a frame is to have it: all pages, or those that cannot be read where they are. */
static bool asked(const struct flight *f, unsigned k)
{
	return !f->reads || f->op->status[k] == TO_ASK;
}

static int send_op(struct remote *r, struct flight *f)
{
	static const uint8_t kinds[] = { [POOL_PUT] = WIRE_PUT, [POOL_GETV] = WIRE_GETV, [POOL_DEL] = WIRE_DEL, [POOL_STAT] = WIRE_STAT };
	const struct key *key = keys_find(&r->keys, f->op->object.tenant);
	struct wire_head head = { .kind = kinds[f->op->kind], .flags = key ? WIRE_SEALED : 0, .id = f->id, .object = f->op->object };
	unsigned n = 0;
	size_t at;
	int e = 0;

	for (unsigned k = 0; k < f->op->n; k++)
		head.n = (uint16_t)(head.n + asked(f, k));
	if (wire_begin(&r->conn.out, &head, &at) < 0)
		return -ENOMEM;
	for (unsigned k = 0; k < f->op->n && !e; k++)
		if (asked(f, k))
			e = add_page(r, key, f->op, k, at, n++);
	/* half a frame is of no use: the connection begins anew */
	if (e < 0)
		return e;
	wire_end(&r->conn.session, &r->conn.out, at);
	return 0;
}

/* Those of its pages whose place is known, as far as there is room for what comes. Return: 0, -errno. */
static int read_more(struct remote *r, struct flight *f)
{
	struct pool_op *op = f->op;
	struct hint h;
	int e = 1;

	for (; f->page < op->n; f->page++) {
		if (op->status[f->page] != TO_READ)
			continue;
		if (!hints_find(r->hints, &op->object, op->refs[f->page], &h)) {
			op->status[f->page] = TO_ASK;
			continue;
		}
		e = r->conn.way->reads->begin(&r->conn, &h.memory, h.at, h.len, (uint64_t)f->id << 32 | f->page << 16 | h.len);
		if (e <= 0)
			return e;
		op->status[f->page] = READING;
		f->reading++;
	}
	/* none was there: it is asked for as if there were no reading */
	return f->reading ? 0 : send_op(r, f);
}

/* Begin an operation, or begin it anew. */
static int begin_op(struct remote *r, struct flight *f)
{
	struct pool_op *op = f->op;

	f->id = ++r->last_id;
	f->sent = true;
	f->reads = r->conn.way->reads && op->kind == POOL_GETV && op->n;
	f->page = f->reading = 0;
	r->in_flight++;
	for (unsigned k = 0; r->hints && k < op->n; k++) {
		if (f->reads)
			op->status[k] = TO_READ;
		else
			hints_forget(r->hints, &op->object, op->refs[k].page);
	}
	return f->reads ? read_more(r, f) : send_op(r, f);
}

static int send_more(struct remote *r)
{
	int e = 0;

	if (r->state == JOINED)
		for (struct flight *f = r->first; f && !e && r->conn.out.len < CONN_OUT_BYTES; f = f->next) {
			if (f->sent && f->reads && f->page < f->op->n)
				e = read_more(r, f);
			else if (!f->sent && r->in_flight < WINDOW)
				e = begin_op(r, f);
		}
	return e || r->state <= CONNECTING ? e : conn_flush(&r->conn);
}

/* ---- results ---- */

static int open_page(struct remote *r, const struct key *key, const struct pool_op *op, unsigned k, const struct wire_item *i, const uint8_t *data)
{
	struct pool_ref ref = op->refs[k];

	if (i->status || op->kind != POOL_GETV)
		return i->status;
	/* a seal says more than the digest does */
	if (key)
		return seal_open(&r->sealer, key, &op->object, ref, data, i->len, op->pages[k]);
	if (i->len != POOL_PAGE_BYTES || pool_store_digest(&op->object, ref, false, data, i->len) != i->digest)
		return -EBADMSG;
	memcpy(op->pages[k], data, POOL_PAGE_BYTES);
	return 0;
}

/* Return: 0, -EPROTO: it is not the answer to this */
static int take_result(struct remote *r, const struct flight *fl, const struct wire_frame *f)
{
	struct pool_op *op = fl->op;
	const struct key *key = keys_find(&r->keys, op->object.tenant);
	const uint8_t *data = f->data;
	unsigned n = 0;

	for (unsigned k = 0; k < op->n; k++)
		n += asked(fl, k);
	if (f->head.n != n || (fl->reads && (fl->reading || fl->page < op->n)) || memcmp(&f->head.object, &op->object, sizeof(op->object)))
		return -EPROTO;
	if (op->kind == POOL_STAT) {
		if (f->head.data_bytes && f->head.data_bytes != sizeof(*op->stat))
			return -EPROTO;
		memcpy(op->stat, f->data, f->head.data_bytes);
		return 0;
	}
	n = 0;
	for (unsigned k = 0; k < op->n; k++) {
		struct wire_item i;
		int e;

		if (!asked(fl, k))
			continue;
		i = wire_item(f, n++);
		e = i.page == op->refs[k].page && i.epoch == op->refs[k].epoch ? open_page(r, key, op, k, &i, data) : -EBADMSG;
		if (op->status)
			op->status[k] = e;
		if (r->hints && !e && op->kind != POOL_DEL)
			hints_note(r->hints, &op->object, &i);
		data += i.len;
	}
	return 0;
}

/* Where the pool's memory can be read. */
static int memory(struct remote *r, const struct wire_frame *f)
{
	struct wire_memory m;

	if (!r->hints || f->head.data_bytes != sizeof(m))
		return -EPROTO;
	memcpy(&m, f->data, sizeof(m));
	return hints_memory(r->hints, &m);
}

static int result(struct remote *r, const struct wire_frame *f)
{
	struct flight **at = &r->first;
	bool none = f->head.data_bytes == 0;
	struct pool_op *op;
	int e;

	if (f->head.kind == WIRE_MEMORY)
		return memory(r, f);
	if (f->head.kind != WIRE_RESULT)
		return f->head.kind == WIRE_REFUSED ? -EACCES : -EPROTO;
	while (*at && !((*at)->sent && (*at)->id == f->head.id))
		at = &(*at)->next;
	/* of one that has waited long enough */
	if (!*at)
		return 0;
	e = take_result(r, *at, f);
	if (e < 0)
		return e;
	op = take_out(r, at);
	if (op->kind == POOL_STAT && none)
		finish_all(op, -ENOENT);
	else
		finish(op);
	return 0;
}

/* What was read: the page, or what was there instead, for which it is to be asked. */
static void read_page(struct remote *r, struct flight *f, unsigned k, const uint8_t *data, uint32_t len)
{
	struct pool_op *op = f->op;
	const struct key *key = keys_find(&r->keys, op->object.tenant);

	f->reading--;
	op->status[k] = seal_open(&r->sealer, key, &op->object, op->refs[k], data, len, op->pages[k]);
	if (!op->status[k])
		return;
	hints_forget(r->hints, &op->object, op->refs[k].page);
	op->status[k] = TO_ASK;
}

/* All was read that could be. Return: 0, -errno. */
static int read_all(struct remote *r, struct flight **at)
{
	for (unsigned k = 0; k < (*at)->op->n; k++)
		if ((*at)->op->status[k] == TO_ASK)
			return send_op(r, *at);
	finish(take_out(r, at));
	return 0;
}

static int read_pages(struct remote *r)
{
	const uint8_t *data;
	uint64_t tag;
	int e = 0;

	while (!e && r->conn.way->reads->next(&r->conn, &tag, &data)) {
		struct flight **at = &r->first;

		while (*at && !((*at)->sent && (*at)->id == tag >> 32))
			at = &(*at)->next;
		/* of one that has waited long enough */
		if (!*at)
			continue;
		read_page(r, *at, tag >> 16 & 0xffff, data, tag & 0xffff);
		if (!(*at)->reading && (*at)->page == (*at)->op->n)
			e = read_all(r, at);
	}
	return e;
}

static int receive_some(struct remote *r)
{
	struct wire_frame f;
	int e = conn_fill(&r->conn), more;

	if (e < 0)
		return e;
	if (e)
		r->heard_ns = clock_mono_ns();
	while ((more = conn_next(&r->conn, &f)) == 1) {
		e = r->state == GREETING ? greet(r, &f) : r->state == JOINING ? welcomed(r, &f) : result(r, &f);
		if (e < 0)
			return e;
		conn_drop(&r->conn, &f);
	}
	if (more >= 0 && r->conn.way->reads)
		more = read_pages(r);
	return more;
}

static int receive(struct remote *r)
{
	int e;

	do {
		e = receive_some(r);
	} while (e >= 0 && r->conn.more);
	return e;
}

/* ---- all of it ---- */

static void go_on(struct remote *r, int e)
{
	if (e < 0)
		disconnect(r, e);
	if (r->state == AWAY && r->first && clock_mono_ns() >= r->connect_at_ns)
		connect_now(r);
	e = r->state == AWAY ? 0 : send_more(r);
	if (e < 0)
		disconnect(r, e);
	set_events(r);
	set_timer(r);
}

void remote_submit(struct remote *r, struct pool_op *op)
{
	static const struct farmem_object all;
	bool whole = op->kind == POOL_STAT && !memcmp(&op->object, &all, sizeof(all));
	struct flight *f;

	if (r->keys.n && !whole && !keys_find(&r->keys, op->object.tenant)) {
		finish_all(op, -EACCES);
		return;
	}
	f = op->n <= POOL_OP_PAGES ? calloc(1, sizeof(*f)) : NULL;
	if (!f) {
		finish_all(op, op->n <= POOL_OP_PAGES ? -ENOMEM : -EINVAL);
		return;
	}
	f->op = op;
	f->deadline_ns = clock_mono_ns() + r->timeout_ns;
	*r->end = f;
	r->end = &f->next;
	if (!r->working) {
		r->working = true;
		go_on(r, 0);
		r->working = false;
	}
}

int remote_fd(const struct remote *r)
{
	return r->epoll;
}

void remote_work(struct remote *r)
{
	struct epoll_event e;
	int got = 0;

	r->working = true;
	for (unsigned k = 0; k < TURNS && !got && epoll_wait(r->epoll, &e, 1, 0) == 1; k++) {
		if (e.data.ptr == &r->timer) {
			timer_went_off(r);
			continue;
		}
		got = r->state == CONNECTING ? connected(r) : receive(r);
		if (got >= 0)
			got = send_more(r);
		if (got >= 0)
			set_events(r);
	}
	go_on(r, got);
	r->working = false;
}

void remote_look(struct remote *r)
{
	if (r->state != JOINED || r->working)
		return;
	r->working = true;
	go_on(r, receive(r));
	r->working = false;
}

/* The same for all processes of a machine until it is booted anew: then its pages mean nothing. */
static uint64_t this_node(void)
{
	char *id;
	uint64_t node = 0;

	if (file_read("/proc/sys/kernel/random/boot_id", 4096, &id, NULL) == 0) {
		node = digest_mem(id, strlen(id)).lo;
		free(id);
	}
	return node;
}

static int remote_begin(struct remote *r, const char *uri, size_t n, const struct pool_options *o, struct hearth_err *err)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = &r->timer };
	int x = place_parse(uri, n, &r->place, err);

	if (x == 0 && !o->key_file && !r->place.loopback)
		x = err_set(err, -EINVAL, "%s is on another machine: pages go there sealed, so it needs a file of keys", r->name);
	if (x == 0 && o->key_file)
		x = keys_read(o->key_file, false, &r->keys, err);
	if (x == 0)
		x = place_transport(&r->place, &r->transport, err);
	if (x < 0)
		return x;
	if (r->place.kind == PLACE_RDMA) {
		r->hints = hints_new();
		if (!r->hints)
			return err_set(err, -ENOMEM, "out of memory");
	}
	x = sealer_init(&r->sealer);
	if (x < 0)
		return err_set(err, x, "pool %s: %s", r->name, strerror(-x));
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (r->epoll < 0 || r->timer < 0 || epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->timer, &e) < 0)
		return err_set(err, -errno, "pool %s: %s", r->name, strerror(errno));
	r->node = this_node();
	r->timeout_ns = o->timeout_ns ? o->timeout_ns : TIMEOUT_NS;
	return 0;
}

int remote_new(const char *uri, size_t n, const struct pool_options *options, struct remote **ret, struct hearth_err *err)
{
	struct remote *r = calloc(1, sizeof(*r));
	int x;

	if (!r)
		return err_set(err, -ENOMEM, "out of memory");
	r->end = &r->first;
	r->conn.fd = r->epoll = r->timer = -1;
	snprintf(r->name, sizeof(r->name), "%.*s", (int)(n < 100 ? n : 100), uri);
	x = remote_begin(r, uri, n, options, err);
	if (x < 0) {
		remote_free(r);
		return x;
	}
	*ret = r;
	return 0;
}

struct remote *remote_free(struct remote *r)
{
	if (!r)
		return NULL;
	r->working = true;
	finish_late(r, UINT64_MAX, -ECANCELED);
	conn_done(&r->conn);
	fd_close(&r->timer);
	fd_close(&r->epoll);
	sealer_done(&r->sealer);
	keys_done(&r->keys);
	hints_free(r->hints);
	free(r);
	return NULL;
}
