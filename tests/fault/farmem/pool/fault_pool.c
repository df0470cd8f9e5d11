/* SPDX-License-Identifier: Apache-2.0 */
/* A pool that dies, hangs, is full, comes back empty, lies, or is spoken to by strangers: an error by name, or the replica's page; never wrong bytes. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "farmem/pool.h"
#include "farmem/pool_server.h"
#include "place.h"

#define PAGES 64u

struct server {
	pid_t pid;
	uint16_t port;
	char uri[64];
};

static char folder[] = "/tmp/fault-pool-XXXXXX";
static const char *transport = "tcp";   /* or unix, shm: then a port is a number in the path; or rdma: in a guest that has it (tests/vm/pool) */
static const char *address = "127.0.0.1";

static const char *in_folder(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

/* ---- a server in a process of its own ---- */

static int server_log = -1;             /* where the next one writes what it does */

static bool is(const char *name)
{
	return !strcmp(transport, name);
}

static bool on_path(void)
{
	return is("unix") || is("shm");
}

/* In a program of its own: libraries of RDMA are not used by a fork of who used them. argv: serve, fault, log, ready, place, memory, quota, lease, keys. */
static int serve(char **argv)
{
	struct pool_server_options o = { .listen = { argv[5] }, .n_listen = 1, .memory_bytes = strtoull(argv[6], NULL, 0), .quota_bytes = strtoull(argv[7], NULL, 0),
		.lease_s = strtoull(argv[8], NULL, 0), .key_file = *argv[9] ? argv[9] : NULL };
	int log = atoi(argv[3]), ready = atoi(argv[4]);
	struct pool_server *s;
	struct hearth_err err;
	uint16_t port;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	umask(077);
	log_set_level(log < 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO);
	if (log >= 0)
		dup2(log, STDERR_FILENO);
	if (pool_server_open(&o, &s, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	port = pool_server_port(s, 0);
	if (write(ready, &port, sizeof(port)) != sizeof(port))
		return 1;
	close(ready);
	for (;;) {
		struct pollfd fd = { .fd = pool_server_fd(s), .events = POLLIN };

		(void)poll(&fd, 1, -1);
		pool_server_work(s);
	}
}

static _Noreturn void begin_serving(const struct pool_server_options *o, const char *place, const char *fault, int ready)
{
	char numbers[5][24];

	snprintf(numbers[0], sizeof(numbers[0]), "%d", server_log);
	snprintf(numbers[1], sizeof(numbers[1]), "%d", ready);
	snprintf(numbers[2], sizeof(numbers[2]), "%llu", (unsigned long long)o->memory_bytes);
	snprintf(numbers[3], sizeof(numbers[3]), "%llu", (unsigned long long)o->quota_bytes);
	snprintf(numbers[4], sizeof(numbers[4]), "%llu", (unsigned long long)o->lease_s);
	if (fault)
		setenv("HEARTH_FAULT", fault, 1);
	execl("/proc/self/exe", "fault-pool", "serve", "", numbers[0], numbers[1], place, numbers[2], numbers[3], numbers[4], o->key_file ? o->key_file : "", (char *)NULL);
	_exit(1);
}

static void name_place(char *place, size_t n, uint16_t port)
{
	if (on_path())
		snprintf(place, n, "%s:%s/%u", transport, folder, (unsigned)port);
	else
		snprintf(place, n, "%s:%s:%u", transport, address, (unsigned)port);
}

/* @port: 0 picks one */
static struct server start(uint16_t port, struct pool_server_options o, const char *fault)
{
	static uint16_t paths;
	struct server s;
	char place[64];
	int ready[2];

	if (!port && on_path())
		port = ++paths;
	name_place(place, sizeof(place), port);
	o.memory_bytes = o.memory_bytes ? o.memory_bytes : 16u << 20;
	/* which it never goes without */
	if (is("rdma") && !o.key_file)
		o.key_file = in_folder("access");
	assert_int_equal(pipe(ready), 0);
	s.pid = fork();
	if (!s.pid)
		begin_serving(&o, place, fault, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &s.port, sizeof(s.port)), sizeof(s.port));
	close(ready[0]);
	s.port = s.port ? s.port : port;
	name_place(s.uri, sizeof(s.uri), s.port);
	return s;
}

static void stop(struct server *s)
{
	kill(s->pid, SIGKILL);
	assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
	if (on_path())
		unlink(strchr(s->uri, ':') + 1);
}

/* ---- a client ---- */

struct batch {
	struct pool_op op;
	struct pool_ref ref[PAGES];
	void *page[PAGES];
	int status[PAGES];
	uint8_t mem[PAGES][POOL_PAGE_BYTES];
	bool done;
};

static struct pool *client(const char *uri, struct pool_options o)
{
	struct hearth_err err;
	struct pool *p = NULL;

	if (is("rdma")) {
		o.key_file = o.key_file ? o.key_file : in_folder("secret");
		o.timeout_ns = (o.timeout_ns ? o.timeout_ns : 2 * NS_PER_S) * 4;        /* an emulated processor */
	}
	assert_int_equal(pool_open(uri, &o, &p, &err), 0);
	return p;
}

static void fill(uint8_t *page, uint64_t k, uint32_t epoch, uint64_t salt)
{
	uint64_t x = (k << 32 | epoch) * 0x9e3779b97f4a7c15ull ^ salt;

	for (unsigned i = 0; i < POOL_PAGE_BYTES; i += 8) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(page + i, &x, 8);
	}
}

static void done(struct pool_op *op)
{
	struct batch *b = op->ctx;

	assert_false(b->done);
	b->done = true;
}

static void begin(struct pool *p, struct batch *b, enum pool_kind kind, struct farmem_object object, uint32_t epoch)
{
	for (unsigned k = 0; k < PAGES; k++) {
		b->ref[k] = (struct pool_ref){ 100 + k, epoch };
		b->page[k] = b->mem[k];
		b->status[k] = 1;
		if (kind == POOL_PUT)
			fill(b->mem[k], 100 + k, epoch, object.tenant);
		else
			memset(b->mem[k], 0xee, POOL_PAGE_BYTES);
	}
	b->done = false;
	b->op = (struct pool_op){ .kind = kind, .object = object, .refs = b->ref, .pages = b->page, .status = b->status, .n = PAGES, .done = done, .ctx = b };
	pool_submit(p, &b->op);
}

static void finish(struct pool *p, struct batch *b)
{
	while (!b->done) {
		struct pollfd fd = { .fd = pool_fd(p), .events = POLLIN };

		assert_int_not_equal(poll(&fd, 1, 20000), 0);
		pool_work(p);
	}
}

/* All that is said to be there is right. Return: the result. */
static int get(struct pool *p, struct farmem_object object, uint32_t epoch)
{
	static struct batch b;
	uint8_t want[POOL_PAGE_BYTES];

	begin(p, &b, POOL_GETV, object, epoch);
	finish(p, &b);
	for (unsigned k = 0; k < PAGES; k++) {
		assert_int_not_equal(b.status[k], 1);
		if (b.status[k])
			continue;
		fill(want, 100 + k, epoch, object.tenant);
		assert_memory_equal(b.mem[k], want, POOL_PAGE_BYTES);
	}
	return b.op.result;
}

static int put(struct pool *p, struct farmem_object object, uint32_t epoch)
{
	static struct batch b;

	begin(p, &b, POOL_PUT, object, epoch);
	finish(p, &b);
	return b.op.result;
}

static const struct farmem_object mine = { 7, 1, 1 }, theirs = { 8, 1, 1 };

/* ---- the pool dies ---- */

static void until_dead(pid_t pid, struct pool *p)
{
	while (waitpid(pid, NULL, WNOHANG) != pid) {
		struct pollfd fd = { .fd = pool_fd(p), .events = POLLIN };

		(void)poll(&fd, 1, 10);
		pool_work(p);
	}
}

static void test_killed_in_put(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, "pool-in-put");
	struct pool *p = client(a.uri, (struct pool_options){ .timeout_ns = 10 * NS_PER_S });
	static struct batch b;
	struct server next;

	begin(p, &b, POOL_PUT, mine, 1);
	until_dead(a.pid, p);
	/* what was not answered is sent again */
	next = start(a.port, (struct pool_server_options){ 0 }, NULL);
	finish(p, &b);
	assert_int_equal(b.op.result, 0);
	assert_int_equal(get(p, mine, 1), 0);
	pool_close(p);
	stop(&next);
}

static void test_killed_in_get(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, "pool-in-get");
	struct pool *p = client(a.uri, (struct pool_options){ .timeout_ns = 10 * NS_PER_S });
	static struct batch b;
	struct server next;

	assert_int_equal(put(p, mine, 1), 0);
	/* one that has to ask for them */
	pool_close(p);
	p = client(a.uri, (struct pool_options){ .timeout_ns = 10 * NS_PER_S });
	begin(p, &b, POOL_GETV, mine, 1);
	until_dead(a.pid, p);
	/* it comes back empty: its pages are lost, by name, and not zeros */
	next = start(a.port, (struct pool_server_options){ 0 }, NULL);
	finish(p, &b);
	for (unsigned k = 0; k < PAGES; k++)
		assert_int_equal(b.status[k], -ENOENT);
	pool_close(p);
	stop(&next);
}

static void test_never_there(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ .timeout_ns = 200 * NS_PER_MS });

	stop(&a);
	assert_int_equal(get(p, mine, 1), -ECONNREFUSED);
	assert_int_equal(put(p, mine, 1), -ECONNREFUSED);
	pool_close(p);
}

/* ---- who looks rather than sleeps ---- */

static void look_until_done(struct pool *p, const struct batch *b)
{
	while (!b->done) {
		pool_look(p);
		(void)sched_yield();
	}
}

static void test_looks(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ .timeout_ns = 10 * NS_PER_S });
	static struct batch b;

	/* before there is a connection there is nothing to look at */
	pool_look(p);
	assert_int_equal(put(p, mine, 1), 0);
	for (unsigned k = 0; k < 100; k++) {
		begin(p, &b, k % 2 ? POOL_GETV : POOL_PUT, mine, 1 + k / 2);
		look_until_done(p, &b);
		assert_int_equal(b.op.result, 0);
		if (k % 2)
			assert_int_equal(get(p, mine, 1 + k / 2), 0);
	}
	pool_close(p);
	stop(&a);
}

/* A look finds the end of the connection, but makes no other one. */
static void test_killed_while_looked_at(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ .timeout_ns = 10 * NS_PER_S });
	static struct batch b;
	struct server next;

	assert_int_equal(put(p, mine, 1), 0);
	kill(a.pid, SIGSTOP);
	begin(p, &b, POOL_PUT, mine, 2);
	stop(&a);
	for (unsigned k = 0; k < 1000; k++)
		pool_look(p);
	assert_false(b.done);
	next = start(a.port, (struct pool_server_options){ 0 }, NULL);
	finish(p, &b);
	assert_int_equal(b.op.result, 0);
	assert_int_equal(get(p, mine, 2), 0);
	pool_close(p);
	stop(&next);
}

/* ---- it hangs ---- */

static void test_hangs(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ .timeout_ns = 2 * NS_PER_S });
	static struct batch b[100];
	unsigned given = 0;

	assert_int_equal(put(p, mine, 1), 0);
	kill(a.pid, SIGSTOP);
	for (unsigned k = 0; k < 100; k++)
		begin(p, &b[k], k % 2 ? POOL_GETV : POOL_PUT, k % 2 ? mine : theirs, 1);
	for (unsigned k = 0; k < 100; k++) {
		finish(p, &b[k]);
		/* of one that is read by RDMA the pool has to do nothing */
		if (is("rdma") && k % 2 && !b[k].op.result)
			given++;
		else
			assert_int_equal(b[k].op.result, -ECONNREFUSED);
	}
	assert_int_equal(given > 0, is("rdma"));
	kill(a.pid, SIGCONT);
	while (get(p, mine, 1) == -ECONNREFUSED)
		;
	assert_int_equal(get(p, mine, 1), 0);
	pool_close(p);
	stop(&a);
}

static void test_closed_with_work(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ 0 });
	static struct batch b;

	kill(a.pid, SIGSTOP);
	begin(p, &b, POOL_PUT, mine, 1);
	pool_close(p);
	assert_true(b.done);
	assert_int_equal(b.op.result, -ECANCELED);
	stop(&a);
}

/* ---- it is full ---- */

static void test_full(void **state)
{
	struct server a = start(0, (struct pool_server_options){ .memory_bytes = 1u << 20 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ 0 });
	struct farmem_object o = mine;
	uint64_t kept;
	int r = 0;

	for (o.instance = 1; !r; o.instance++)
		r = put(p, o, 1);
	/* sealed pages fill the tenant's share, which is all of it, before the slots of their size are too few */
	assert_int_equal(r, is("rdma") ? -EDQUOT : -ENOSPC);
	kept = o.instance - 2;
	for (o.instance = 1; o.instance <= kept; o.instance++)
		assert_int_equal(get(p, o, 1), 0);
	pool_close(p);
	stop(&a);
}

static void test_quota(void **state)
{
	struct server a = start(0, (struct pool_server_options){ .quota_bytes = PAGES * POOL_PAGE_BYTES }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ 0 });
	struct farmem_object second = mine;

	if (is("rdma")) {               /* sealed: no two are alike */
		pool_close(p);
		stop(&a);
		skip();
	}
	second.instance++;
	assert_int_equal(put(p, mine, 1), 0);
	assert_int_equal(put(p, mine, 2), 0);
	/* alike within the tenant: costs nothing */
	assert_int_equal(put(p, second, 2), 0);
	assert_int_equal(put(p, second, 3), -EDQUOT);
	assert_int_equal(put(p, theirs, 1), 0);
	assert_int_equal(get(p, mine, 2), 0);
	assert_int_equal(get(p, second, 3), -ESTALE);
	pool_close(p);
	stop(&a);
}

/* ---- it lies ---- */

static int make_keys(void **state)
{
	struct hearth_err err;
	FILE *f;

	f = fopen(in_folder("secret"), "w");
	assert_int_equal(pool_key_new(f, "7"), 0);
	assert_int_equal(pool_key_new(f, "8"), 0);
	fclose(f);
	f = fopen(in_folder("access"), "w");
	assert_int_equal(pool_key_access(f, in_folder("secret"), &err), 0);
	fclose(f);
	f = fopen(in_folder("stranger"), "w");
	assert_int_equal(pool_key_new(f, "7"), 0);
	fclose(f);
	f = fopen(in_folder("nobody"), "w");
	assert_int_equal(pool_key_new(f, "99"), 0);
	fclose(f);
	f = fopen(in_folder("others"), "w");
	assert_int_equal(pool_key_access(f, in_folder("stranger"), &err), 0);
	fclose(f);
	return 0;
}

/* @again: to who has to ask for its pages; otherwise it may know where they are */
static void lie(const char *fault, bool sealed, bool again)
{
	struct server a = start(0, (struct pool_server_options){ .key_file = sealed ? in_folder("access") : NULL }, fault);
	struct pool *p = client(a.uri, (struct pool_options){ .key_file = sealed ? in_folder("secret") : NULL });
	bool old = !strcmp(fault, "fail:pool-old");
	static struct batch b;

	assert_int_equal(put(p, mine, 1), 0);
	assert_int_equal(put(p, theirs, 1), 0);
	if (again) {
		pool_close(p);
		p = client(a.uri, (struct pool_options){ .key_file = sealed ? in_folder("secret") : NULL });
	}
	begin(p, &b, POOL_GETV, mine, old ? 2 : 1);
	finish(p, &b);
	for (unsigned k = 0; k < PAGES; k++)
		assert_int_equal(b.status[k], -EBADMSG);
	pool_close(p);
	stop(&a);
}

static void test_flipped_bit(void **state) { lie("fail:pool-flip", false, true); lie("fail:pool-flip", true, true); }
static void test_rotten_memory(void **state) { lie("fail:pool-rot", false, false); lie("fail:pool-rot", true, false); }
static void test_old_epoch(void **state) { lie("fail:pool-old", false, false); lie("fail:pool-old", true, false); }
static void test_foreign_page(void **state) { lie("fail:pool-foreign", false, true); lie("fail:pool-foreign", true, true); }

/* Who knows where a page was does not get what is there now. */
static void test_place_used_again(void **state)
{
	struct server a = start(0, (struct pool_server_options){ .key_file = in_folder("access") }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ .key_file = in_folder("secret") }), *q = client(a.uri, (struct pool_options){ .key_file = in_folder("secret") });
	static struct batch del;

	assert_int_equal(put(p, mine, 1), 0);
	assert_int_equal(get(q, mine, 1), 0);
	assert_int_equal(get(q, mine, 1), 0);
	assert_int_equal(put(p, mine, 2), 0);
	assert_int_equal(get(q, mine, 1), -ESTALE);
	assert_int_equal(get(q, mine, 2), 0);
	for (uint32_t epoch = 3; epoch < 10; epoch++) {
		assert_int_equal(put(p, mine, epoch), 0);
		assert_int_equal(get(q, mine, epoch - 1), -ESTALE);
		assert_int_equal(get(q, mine, epoch), 0);
		assert_int_equal(get(p, mine, epoch), 0);
	}
	del.op = (struct pool_op){ .kind = POOL_DEL, .object = mine, .done = done, .ctx = &del };
	pool_submit(p, &del.op);
	finish(p, &del);
	assert_int_equal(get(q, mine, 9), -ENOENT);
	assert_int_equal(put(p, theirs, 9), 0);
	assert_int_equal(get(q, mine, 9), -ENOENT);
	assert_int_equal(get(p, mine, 9), -ENOENT);
	assert_int_equal(get(q, theirs, 9), 0);
	pool_close(p);
	pool_close(q);
	stop(&a);
}

/* More than fits into what a connection takes in at once, all of it under way. */
static void test_thousands(void **state)
{
	struct server a = start(0, (struct pool_server_options){ .memory_bytes = 64u << 20 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ .timeout_ns = 30 * NS_PER_S });
	static struct batch b[64];
	struct farmem_object o = mine;

	for (unsigned round = 0; round < (is("rdma") ? 1 : 3); round++)
		for (enum pool_kind kind = POOL_PUT; kind <= POOL_GETV; kind++) {
			for (unsigned k = 0; k < 64; k++) {
				o.instance = k + 1;
				begin(p, &b[k], kind, o, round + 1);
			}
			for (unsigned k = 0; k < 64; k++) {
				finish(p, &b[k]);
				assert_int_equal(b[k].op.result, 0);
			}
			for (unsigned k = 0; kind == POOL_GETV && k < 64 * PAGES; k++) {
				uint8_t want[POOL_PAGE_BYTES];

				fill(want, 100 + k % PAGES, round + 1, 7);
				assert_memory_equal(b[k / PAGES].mem[k % PAGES], want, POOL_PAGE_BYTES);
			}
		}
	pool_close(p);
	stop(&a);
}

/* ---- two pools ---- */

static void test_replica(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL), b = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p;
	char both[160];

	snprintf(both, sizeof(both), "%s,%s", a.uri, b.uri);
	p = client(both, (struct pool_options){ .timeout_ns = 2 * NS_PER_S });
	assert_int_equal(put(p, mine, 1), 0);
	stop(&a);
	assert_int_equal(get(p, mine, 1), 0);
	/* what is put meanwhile is at the second only, what the first has of it, if it has, is older */
	assert_int_equal(put(p, mine, 2), 0);
	a = start(a.port, (struct pool_server_options){ 0 }, NULL);
	assert_int_equal(get(p, mine, 2), 0);
	assert_int_equal(put(p, theirs, 1), 0);
	assert_int_equal(get(p, theirs, 1), 0);
	assert_int_equal(get(p, mine, 1), -ESTALE);
	stop(&a);
	stop(&b);
	assert_int_equal(get(p, mine, 2), -ECONNREFUSED);
	pool_close(p);
}

static void test_replica_hangs(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL), b = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p;
	char both[160];

	snprintf(both, sizeof(both), "%s,%s", a.uri, b.uri);
	p = client(both, (struct pool_options){ .timeout_ns = 2 * NS_PER_S });
	assert_int_equal(put(p, mine, 1), 0);
	kill(a.pid, SIGSTOP);
	for (unsigned k = 2; k < 20; k++) {
		assert_int_equal(put(p, mine, k), 0);
		assert_int_equal(get(p, mine, k), 0);
	}
	kill(a.pid, SIGCONT);
	assert_int_equal(get(p, mine, 19), 0);
	pool_close(p);
	stop(&a);
	stop(&b);
}

/* A flipped bit at the first is the second's page. */
static void test_replica_lies(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, "fail:pool-flip"), b = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p;
	char both[160];

	snprintf(both, sizeof(both), "%s,%s", a.uri, b.uri);
	p = client(both, (struct pool_options){ 0 });
	assert_int_equal(put(p, mine, 1), 0);
	assert_int_equal(get(p, mine, 1), 0);
	pool_close(p);
	stop(&a);
	stop(&b);
}

/* ---- who is there ---- */

static void test_strangers(void **state)
{
	struct server a = start(0, (struct pool_server_options){ .key_file = in_folder("access") }, NULL), open = start(0, (struct pool_server_options){ 0 }, NULL);
	const char *bad[] = { NULL, in_folder("stranger"), in_folder("nobody") };
	struct pool *p = client(a.uri, (struct pool_options){ .key_file = in_folder("secret") });
	struct farmem_object other = { 99, 1, 1 };

	assert_int_equal(put(p, mine, 1), 0);
	assert_int_equal(put(p, other, 1), -EACCES);
	for (unsigned k = is("rdma"); k < 3; k++) {
		struct pool *q = client(a.uri, (struct pool_options){ .key_file = bad[k] });

		assert_int_equal(get(q, k == 2 ? other : mine, 1), -EACCES);
		pool_close(q);
	}
	assert_int_equal(get(p, mine, 1), 0);
	pool_close(p);
	/* and a pool that does not prove that it knows the keys gets nothing */
	if (is("rdma")) {
		stop(&open);
		open = start(0, (struct pool_server_options){ .key_file = in_folder("others") }, NULL);
	}
	p = client(open.uri, (struct pool_options){ .key_file = in_folder("secret") });
	assert_int_equal(put(p, mine, 1), -EACCES);
	pool_close(p);
	stop(&a);
	stop(&open);
}

static void test_refused_at_open(void **state)
{
	struct pool_server_options all = { .listen = { "tcp:0.0.0.0:0" }, .n_listen = 1, .memory_bytes = 1u << 20 }, secret = { .key_file = in_folder("secret"), .memory_bytes = 1u << 20 };
	struct pool_options none = { 0 };
	struct pool_server *s;
	struct hearth_err err;
	struct pool *p;

	assert_int_equal(pool_server_open(&all, &s, &err), -EPERM);
	assert_non_null(strstr(err.msg, "--key-file"));
	assert_int_equal(pool_server_open(&secret, &s, &err), -EINVAL);
	assert_int_equal(pool_open("tcp:192.0.2.1:4000", &none, &p, &err), -EINVAL);
	assert_int_equal(pool_open("tcp:localhost:1", &none, &p, &err), -EINVAL);
	/* also on loopback */
	assert_int_equal(pool_open("rdma:127.0.0.1:1", &none, &p, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "a file of keys"));
	all.listen[0] = "rdma:127.0.0.1:0";
	assert_int_equal(pool_server_open(&all, &s, &err), -EPERM);
	assert_int_equal(pool_open("", &none, &p, &err), -EINVAL);
}

/* Two nodes on one pool: each has its own, and an object that ends takes nothing of the other's along. */
static void test_two_nodes(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ 0 }), *q = client(a.uri, (struct pool_options){ 0 });
	static struct batch b[2], del;

	for (uint32_t epoch = 1; epoch < 30; epoch++) {
		begin(p, &b[0], POOL_PUT, mine, epoch);
		begin(q, &b[1], POOL_PUT, theirs, epoch);
		finish(p, &b[0]);
		finish(q, &b[1]);
		assert_int_equal(b[0].op.result | b[1].op.result, 0);
		assert_int_equal(get(q, mine, epoch), 0);
		assert_int_equal(get(p, theirs, epoch), 0);
	}
	del.op = (struct pool_op){ .kind = POOL_DEL, .object = mine, .done = done, .ctx = &del };
	pool_submit(p, &del.op);
	finish(p, &del);
	assert_int_equal(get(p, mine, 29), -ENOENT);
	assert_int_equal(get(q, theirs, 29), 0);
	pool_close(p);
	pool_close(q);
	stop(&a);
}

/* A node that is gone for as long as its lease is forgotten with its pages. */
static void test_lease(void **state)
{
	char text[4096] = "";
	size_t n = 0;
	struct server a;
	struct pool *p;
	int log[2];

	assert_int_equal(pipe(log), 0);
	server_log = log[1];
	a = start(0, (struct pool_server_options){ .lease_s = 1 }, NULL);
	server_log = -1;
	close(log[1]);
	p = client(a.uri, (struct pool_options){ 0 });
	assert_int_equal(put(p, mine, 1), 0);
	pool_close(p);
	while (n + 1 < sizeof(text) && !strstr(text, "1 objects of nodes that have vanished are forgotten")) {
		ssize_t got = read(log[0], text + n, sizeof(text) - 1 - n);

		assert_true(got > 0);
		n += (size_t)got;
	}
	p = client(a.uri, (struct pool_options){ 0 });
	assert_int_equal(get(p, mine, 1), -ENOENT);
	pool_close(p);
	close(log[0]);
	stop(&a);
}

static int connect_to(const struct server *s)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd;

	if (on_path())
		return sock_unix_connect(strchr(s->uri, ':') + 1);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* Until it is turned out, or (@half: not all that a frame needs) all has arrived. */
static void say_by_rdma(const struct server *s, const uint8_t *noise, size_t n, bool half)
{
	const struct transport *t;
	struct hearth_err err;
	struct place place;
	struct conn c;
	int r;

	assert_int_equal(place_parse(s->uri, strlen(s->uri), &place, &err) | place_transport(&place, &t, &err) | t->connect(&place, &c), 0);
	while ((r = conn_reached(&c)) == 0)
		assert_int_not_equal(poll(&(struct pollfd){ .fd = c.fd, .events = POLLIN }, 1, 20000), 0);
	assert_int_equal(r, 1);
	assert_int_equal(buf_append(&c.out, noise, n), 0);
	while (conn_flush(&c) >= 0 && !(half && conn_idle(&c))) {
		assert_int_not_equal(poll(&(struct pollfd){ .fd = c.fd, .events = POLLIN }, 1, 20000), 0);
		if (conn_fill(&c) < 0 || c.more)
			break;
	}
	conn_done(&c);
}

static void say_by_socket(const struct server *s, const uint8_t *noise, size_t n)
{
	int FD_AUTO fd = connect_to(s);
	uint8_t reply[4096];

	(void)!send(fd, noise, n, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	while (recv(fd, reply, sizeof(reply), 0) > 0)
		;
}

static void test_garbage(void **state)
{
	struct server a = start(0, (struct pool_server_options){ 0 }, NULL);
	struct pool *p = client(a.uri, (struct pool_options){ 0 });
	uint8_t noise[4096];
	uint64_t x = 1;

	assert_int_equal(put(p, mine, 1), 0);
	for (unsigned round = 0; round < 50; round++) {
		size_t n = round % 3 ? sizeof(noise) : 20;

		for (unsigned k = 0; k < sizeof(noise); k++)
			noise[k] = (uint8_t)((x = x * 6364136223846793005ull + 1) >> 56);
		/* some begin as a frame does, some end in the middle of one */
		if (round % 2)
			memcpy(noise, "HPL2", 4);
		noise[4] = round % 4 == 3 ? 2 : noise[4];
		if (is("rdma"))
			say_by_rdma(&a, noise, n, n < sizeof(noise));
		else
			say_by_socket(&a, noise, n);
	}
	assert_int_equal(get(p, mine, 1), 0);
	pool_close(p);
	stop(&a);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_in_put), cmocka_unit_test(test_killed_in_get), cmocka_unit_test(test_never_there), cmocka_unit_test(test_looks), cmocka_unit_test(test_killed_while_looked_at), cmocka_unit_test(test_hangs), cmocka_unit_test(test_closed_with_work),
		cmocka_unit_test(test_full), cmocka_unit_test(test_quota), cmocka_unit_test(test_flipped_bit), cmocka_unit_test(test_rotten_memory), cmocka_unit_test(test_old_epoch),
		cmocka_unit_test(test_foreign_page), cmocka_unit_test(test_replica), cmocka_unit_test(test_replica_hangs), cmocka_unit_test(test_replica_lies), cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_refused_at_open), cmocka_unit_test(test_two_nodes), cmocka_unit_test(test_lease), cmocka_unit_test(test_garbage), cmocka_unit_test(test_place_used_again), cmocka_unit_test(test_thousands),
	};
	int r;

	if (argc == 10)
		return serve(argv);
	transport = argc > 1 ? argv[1] : transport;
	address = argc > 2 ? argv[2] : address;
	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(folder))
		return 1;
	umask(077);
	r = cmocka_run_group_tests(tests, make_keys, NULL);
	unlink(in_folder("secret"));
	unlink(in_folder("access"));
	unlink(in_folder("stranger"));
	unlink(in_folder("nobody"));
	unlink(in_folder("others"));
	rmdir(folder);
	return r;
}
