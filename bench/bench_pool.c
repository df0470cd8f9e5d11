/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pool costs. usage: bench_pool [PAGES [WHERE]]
 *
 *   WHERE CONTENTS get_us=X getv_us=Y getv_cpu_us=C+P put_gb_s=Z core_gb_s=W
 *
 * get: a page at a time, the median, as a fault does; getv: 256 pages an operation, 4 operations under way, a page; its processor time in this process and in the pool's; put: the same way, pages of 4096 bytes a
 * second; core: a second of this process's processor time. On a machine with other work only processor times mean much.
 * The pool of the remote ones is a process of its own on this machine. Contents: noise, or text that compresses to about a third; sealed: with keys. The embedded one's tidy_us is what compressing a page takes.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hist.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/spin.h"
#include "farmem/pool.h"
#include "farmem/pool_server.h"

#define BATCH  256u
#define FLIGHT 4u
/* as a worker of the pager does */
#define LOOK_NS (200 * NS_PER_US)

static uint8_t *memory, *back;
static unsigned pages;
static char folder[] = "/tmp/bench-pool-XXXXXX";

static int die(const char *what)
{
	fprintf(stderr, "bench_pool: %s\n", what);
	exit(1);
}

static void fill(bool noise)
{
	struct rng g;

	rng_seed(&g, 1);
	for (size_t k = 0; k < (size_t)pages * POOL_PAGE_BYTES; k += 8) {
		uint64_t v = noise || k % 24 == 0 ? rng_next(&g) : 0x2065687420666f20ull;

		memcpy(memory + k, &v, sizeof(v));
	}
}

/* ---- operations ---- */

struct batch {
	struct pool_op op;
	struct pool_ref ref[BATCH];
	void *page[BATCH];
	int status[BATCH];
	bool done;
};

static void ended(struct pool_op *op)
{
	((struct batch *)op->ctx)->done = true;
}

static void begin(struct pool *p, struct batch *b, enum pool_kind kind, unsigned first, unsigned n, uint32_t epoch)
{
	for (unsigned k = 0; k < n; k++) {
		b->ref[k] = (struct pool_ref){ first + k, epoch };
		b->page[k] = (kind == POOL_PUT ? memory : back) + (size_t)(first + k) * POOL_PAGE_BYTES;
	}
	b->done = false;
	b->op = (struct pool_op){ .kind = kind, .object = { 7, 1, 1 }, .refs = b->ref, .pages = b->page, .status = b->status, .n = n, .done = ended, .ctx = b };
	pool_submit(p, &b->op);
}

static void wait_for(struct pool *p, struct batch *b)
{
	static struct spin spin = { .most_ns = LOOK_NS, .now_ns = LOOK_NS };
	uint64_t began = clock_mono_ns(), now = began;

	for (; !b->done && now - began < spin.now_ns; now = clock_mono_ns()) {
		spin_pause(now);
		pool_look(p);
	}
	while (!b->done) {
		struct pollfd fd = { .fd = pool_fd(p), .events = POLLIN };

		(void)poll(&fd, 1, -1);
		pool_work(p);
	}
	spin_saw(&spin, clock_mono_ns() - began);
	if (b->op.result)
		die(strerror(-b->op.result));
}

/* of all pages: ns a page, and of processor time here and in the pool's process */
struct cost {
	double ns, cpu, pool_cpu;
};

static clockid_t pool_clock;            /* of the pool's process; this one's while there is none */

static struct cost move(struct pool *p, enum pool_kind kind, uint32_t epoch)
{
	static struct batch b[FLIGHT];
	uint64_t t = clock_mono_ns(), c = clock_ns(CLOCK_PROCESS_CPUTIME_ID), pc = clock_ns(pool_clock);
	unsigned n = pages / BATCH;

	for (unsigned k = 0; k < n; k++) {
		if (k >= FLIGHT)
			wait_for(p, &b[k % FLIGHT]);
		begin(p, &b[k % FLIGHT], kind, k * BATCH, BATCH, epoch);
	}
	for (unsigned k = 0; k < FLIGHT; k++)
		wait_for(p, &b[k]);
	return (struct cost){ (double)(clock_mono_ns() - t) / pages, (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - c) / pages,
			      pool_clock == CLOCK_PROCESS_CPUTIME_ID ? 0 : (double)(clock_ns(pool_clock) - pc) / pages };
}

static void least(struct cost *best, struct cost c)
{
	best->ns = c.ns < best->ns ? c.ns : best->ns;
	best->cpu = c.cpu < best->cpu ? c.cpu : best->cpu;
	best->pool_cpu = c.pool_cpu < best->pool_cpu ? c.pool_cpu : best->pool_cpu;
}

static void measure(struct pool *p, const char *where, const char *contents)
{
	static struct hist h;
	static struct batch b;
	struct cost put = { 1e18, 1e18, 1e18 }, get = put;
	struct rng g;

	for (uint32_t round = 1; round <= 3; round++) {
		least(&put, move(p, POOL_PUT, round));
		memset(back, 0, (size_t)pages * POOL_PAGE_BYTES);
		least(&get, move(p, POOL_GETV, round));
		if (memcmp(memory, back, (size_t)pages * POOL_PAGE_BYTES))
			die("wrong bytes");
	}
	hist_reset(&h);
	rng_seed(&g, 2);
	for (unsigned k = 0; k < 20000; k++) {
		uint64_t t = clock_mono_ns();

		begin(p, &b, POOL_GETV, (unsigned)rng_below(&g, pages), 1, 3);
		wait_for(p, &b);
		hist_record(&h, clock_mono_ns() - t);
	}
	printf("%-8s %-10s get_us=%.2f getv_us=%.2f getv_cpu_us=%.2f+%.2f put_gb_s=%.2f core_gb_s=%.2f", where, contents, (double)hist_quantile(&h, 0.5) / 1e3, get.ns / 1e3, get.cpu / 1e3, get.pool_cpu / 1e3,
	       POOL_PAGE_BYTES / put.ns, POOL_PAGE_BYTES / put.cpu);
}

static void tidy(struct pool *p)
{
	uint64_t t = clock_mono_ns();
	struct pool_stat st;
	struct batch b = { .op = { .kind = POOL_STAT, .stat = &st, .done = ended, .ctx = &b } };

	while (pool_tidy(p, 1000))
		;
	t = clock_mono_ns() - t;
	pool_submit(p, &b.op);
	printf(" tidy_us=%.2f kept=%.2f", (double)t / pages / 1e3, (double)st.stored_bytes / ((double)pages * POOL_PAGE_BYTES));
}

/* ---- a pool in another process ---- */

static pid_t serve(const char *place, const char *keys, uint16_t *port)
{
	struct pool_server_options o = { .listen = { place }, .n_listen = 1, .memory_bytes = (uint64_t)pages * POOL_PAGE_BYTES * 3, .key_file = keys };
	struct pool_server *s;
	struct hearth_err err;
	int ready[2];
	pid_t pid = -1;

	if (pipe(ready) < 0 || (pid = fork()) < 0)
		die("cannot begin a process");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pool_server_open(&o, &s, &err) < 0)
			die(err.msg);
		*port = pool_server_port(s, 0);
		if (write(ready[1], port, sizeof(*port)) != sizeof(*port))
			_exit(1);
		for (;;) {
			struct pollfd fd = { .fd = pool_server_fd(s), .events = POLLIN };

			(void)poll(&fd, 1, -1);
			pool_server_work(s);
		}
	}
	close(ready[1]);
	if (read(ready[0], port, sizeof(*port)) != sizeof(*port))
		die("the pool did not begin");
	close(ready[0]);
	return pid;
}

static void one(const char *where, bool noise, bool sealed)
{
	struct pool_options o = { .memory_bytes = (uint64_t)pages * POOL_PAGE_BYTES * 3, .timeout_ns = 30 * NS_PER_S };
	char place[128], access[64], secret[64], what[32];
	struct hearth_err err;
	struct pool *p;
	uint16_t port = 0;
	pid_t pid = 0;

	snprintf(access, sizeof(access), "%s/access", folder);
	snprintf(secret, sizeof(secret), "%s/secret", folder);
	snprintf(place, sizeof(place), !strcmp(where, "embedded") ? "embedded:" : !strcmp(where, "tcp") ? "tcp:127.0.0.1:0" : "%s:%s/sock", where, folder);
	o.key_file = sealed ? secret : NULL;
	pool_clock = CLOCK_PROCESS_CPUTIME_ID;
	if (strcmp(where, "embedded"))
		pid = serve(place, sealed ? access : NULL, &port);
	if (pid && clock_getcpuclockid(pid, &pool_clock))
		die("no clock of the pool's");
	if (port)
		snprintf(place, sizeof(place), "tcp:127.0.0.1:%u", (unsigned)port);
	if (pool_open(place, &o, &p, &err) < 0)
		die(err.msg);
	snprintf(what, sizeof(what), "%s%s", noise ? "noise" : "text", sealed ? "+seal" : "");
	fill(noise);
	measure(p, where, what);
	if (!pid)
		tidy(p);
	printf("\n");
	fflush(stdout);
	pool_close(p);
	if (pid) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void make_keys(void)
{
	char path[64];
	struct hearth_err err;
	FILE *f;

	umask(077);
	snprintf(path, sizeof(path), "%s/secret", folder);
	f = fopen(path, "w");
	if (!f || pool_key_new(f, "7") < 0 || fclose(f))
		die("no keys");
	char access[64];

	snprintf(access, sizeof(access), "%s/access", folder);
	f = fopen(access, "w");
	if (!f || pool_key_access(f, path, &err) < 0 || fclose(f))
		die("no keys");
}

int main(int argc, char **argv)
{
	static const char *const wheres[] = { "embedded", "shm", "unix", "tcp" };
	static const char *const files[] = { "secret", "access", "sock" };
	char path[64];

	pages = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) / BATCH * BATCH : 16384;
	memory = pages >= FLIGHT * BATCH ? malloc((size_t)pages * POOL_PAGE_BYTES) : NULL;
	back = malloc((size_t)pages * POOL_PAGE_BYTES);
	log_set_level(LOG_LEVEL_ERROR);
	if (!memory || !back || !mkdtemp(folder))
		return die("usage: bench_pool [PAGES, at least 1024 [embedded|shm|unix|tcp]]");
	make_keys();
	for (unsigned w = 0; w < 4; w++)
		for (unsigned k = 0; k < (w ? 4u : 2u) && (argc < 3 || !strcmp(argv[2], wheres[w])); k++)
			one(wheres[w], !(k & 1), k >> 1);
	for (unsigned k = 0; k < 3; k++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[k]);
		unlink(path);
	}
	rmdir(folder);
	free(memory);
	free(back);
	return 0;
}
