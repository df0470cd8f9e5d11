/* SPDX-License-Identifier: Apache-2.0 */
/* What the reclaim engine reads, and what it does where nothing can be moved; that memory really leaves is seen in a guest (tests/vm). */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "farmem/engine.h"
#include "lru.h"
#include "maps.h"
#include "reclaim.h"

#define MIB (1u << 20)

/* ---- figures ---- */

static void test_latency(void **state)
{
	struct farmem_latency l = { 0 }, other = { 0 };

	assert_int_equal(farmem_latency_quantile(&l, 0.5), 0);
	farmem_latency_add(&l, 0);
	assert_int_equal(farmem_latency_quantile(&l, 1), 512);
	for (uint64_t ns = 512; ns < 40000000; ns += ns / 7 + 1) {
		struct farmem_latency one = { 0 };
		uint64_t q;

		farmem_latency_add(&one, ns);
		q = farmem_latency_quantile(&one, 0.5);
		assert_true(ns >= 25165824 || (q > ns && q <= ns + ns / 4 + 1));
	}
	for (int k = 0; k < 98; k++)
		farmem_latency_add(&other, 5000);
	farmem_latency_add(&other, 1000000000);
	farmem_latency_merge(&l, &other);
	assert_int_equal(l.count, 100);
	assert_int_equal(l.sum_ns, 98 * 5000 + 1000000000);
	assert_in_range(farmem_latency_quantile(&l, 0.5), 5000, 6250);
	assert_true(farmem_latency_quantile(&l, 1) >= 25165824);
}

/* ---- MGLRU's file ---- */

static const char lru_text[] =
	"memcg     1 /\n node     0\n          0     123456         10         20 \n          1         10          1          2 \n"
	"memcg    36 /hearth/hearth-0a/f-1\n node     0\n          4       9000        100          7 \n          5       4000         30          8 \n          6        100          5          9 \n"
	" node     1\n          3       9000         50          0 \n          6        100          0          0 \n"
	"memcg    37 /hearth/hearth-0a/f-10\n node     0\n          1          1          1          1 \n";

static void test_lru_parse(void **state)
{
	struct lru_group g = { 0 };

	assert_int_equal(lru_parse(lru_text, "/sys/fs/cgroup/hearth/hearth-0a/f-1", &g), 0);
	assert_int_equal(g.id, 36);
	assert_int_equal(g.n, 2);
	assert_int_equal(g.node[0].n, 3);
	assert_int_equal(g.node[1].id, 1);
	assert_int_equal(lru_oldest(&g), 3);
	assert_int_equal(lru_youngest(&g), 6);
	assert_int_equal(lru_anon_pages(&g, 0, 4), 150);
	assert_int_equal(lru_anon_pages(&g, 5, 6), 35);
	assert_int_equal(lru_parse(lru_text, "/sys/fs/cgroup/hearth/hearth-0a/f-10", &g), 0);
	assert_int_equal(g.id, 37);
}

static void test_lru_wrong(void **state)
{
	static const char *const wrong[] = {
		"memcg 36 /x/f\n node 0\n what is this\n", "memcg 36 /x/f\n 1 2 3 4\n", "memcg 36 /x/f\n node 0\n", "memcg 36 /x/f\n node 0\n 1 2 3\n",
	};
	struct lru_group g;

	memset(&g, 0x55, sizeof(g));
	for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++)
		assert_int_equal(lru_parse(wrong[k], "/sys/fs/cgroup/x/f", &g), -EPROTO);
	assert_int_equal(lru_parse(lru_text, "/sys/fs/cgroup/x/f-1", &g), -ENOENT);
	assert_int_equal(lru_parse("", "/x", &g), -ENOENT);
	assert_int_equal(lru_parse("memcg 36 /x/f\n", "/x/f", &g), -ENOENT);
	assert_int_equal(g.id, 0x55555555);
}

/* what is said to the kernel, into a file that takes it down */
static void test_lru_commands(void **state)
{
	char path[] = "/tmp/hearth-lru-XXXXXX", *text = NULL;
	int fd = mkstemp(path);
	struct lru_group g;

	assert_true(fd >= 0);
	assert_int_equal(lru_parse(lru_text, "/hearth/hearth-0a/f-10", &g), 0);
	assert_int_equal(lru_age(path, &g), 0);
	assert_int_equal(file_read(path, 4096, &text, NULL), 0);
	assert_string_equal(text, "+37 0 1 1 1");
	free(text);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lru_evict(path, &g, 1, 512), 0);
	assert_int_equal(file_read(path, 4096, &text, NULL), 0);
	assert_string_equal(text, "-37 0 1 200 512");
	free(text);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lru_evict(path, &g, 0, 512), 0);       /* it has no generation that old */
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	close(fd);
	unlink(path);
	assert_int_equal(lru_age(path, &g), -ENOENT);
}

/* ---- how much there is ---- */

static void test_seen(void **state)
{
	static const char v2[] = "anon 1000\nanon_thp 7\nfile 99\nshmem 24\nswapcached 100\n", v1[] = "rss 1\ntotal_cache 5\ntotal_rss 1000\ntotal_rss_huge 9\ntotal_shmem 24\ntotal_swap 300\n";
	struct reclaim_seen s = reclaim_seen_parse(v2, "300\n", true);

	assert_int_equal(s.resident_bytes, 1024);
	assert_int_equal(s.swapped_bytes, 200);         /* what is in both places is here */
	s = reclaim_seen_parse(v2, "50\n", true);
	assert_int_equal(s.swapped_bytes, 0);
	s = reclaim_seen_parse(v1, NULL, false);
	assert_int_equal(s.resident_bytes, 1024);
	assert_int_equal(s.swapped_bytes, 300);
}

static int find(void *ctx, uint64_t start, uint64_t end)
{
	uint64_t *wanted = ctx;

	return *wanted >= start && *wanted < end ? 7 : 0;
}

static void test_maps(void **state)
{
	static uint64_t data = 1;
	uint64_t anonymous = (uintptr_t)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t read_only = (uintptr_t)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t shared = (uintptr_t)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), code = (uintptr_t)test_maps;

	assert_int_equal(maps_anonymous(getpid(), find, &anonymous), 7);
	assert_int_equal(maps_anonymous(getpid(), find, &read_only), 0);
	assert_int_equal(maps_anonymous(getpid(), find, &shared), 0);
	assert_int_equal(maps_anonymous(getpid(), find, &code), 0);
	assert_int_equal(data, 1);
	assert_int_equal(maps_anonymous(0x3fffffff, find, &data), -ESRCH);
}

/* ---- the engine, where nothing can be moved ---- */

struct child {
	pid_t pid;
	int go;
	unsigned char *memory;
};

static void child_start(struct child *c)
{
	int go[2];
	char byte;

	c->memory = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(c->memory, MAP_FAILED);
	assert_int_equal(pipe(go), 0);
	c->pid = fork();
	if (c->pid == 0) {
		int right = 1;

		close(go[1]);
		for (size_t k = 0; k < 8 * MIB; k++)
			c->memory[k] = (unsigned char)(k * 31 >> 8);
		if (read(go[0], &byte, 1) < 0)
			_exit(2);
		for (size_t k = 0; k < 8 * MIB; k++)
			right &= c->memory[k] == (unsigned char)(k * 31 >> 8);
		_exit(!right);
	}
	close(go[0]);
	c->go = go[1];
	assert_true(c->pid > 0);
}

/* Return: its memory is what it was */
static bool child_end(struct child *c)
{
	int status;

	close(c->go);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	munmap(c->memory, 8 * MIB);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static struct farmem_event next(struct farmem_engine *e, enum farmem_event_kind kind)
{
	const struct farmem_ops *ops = &farmem_reclaim_engine;
	struct pollfd p = { .fd = ops->fd(e), .events = POLLIN };
	struct farmem_event ev;

	for (;;) {
		while (ops->next(e, &ev) == 1)
			if (ev.kind == kind)
				return ev;
			else
				assert_int_not_equal(ev.kind, FARMEM_REFUSED);
		assert_int_equal(poll(&p, 1, 60000), 1);
	}
}

static struct farmem_target *attach(struct farmem_engine *e, pid_t pid, void *ctx)
{
	struct farmem_attach what = { .pid = pid, .pidfd = -1, .netns = -1, .name = "f-1", .ctx = ctx };
	struct farmem_target *t = NULL;
	struct hearth_err err;

	assert_int_equal(farmem_reclaim_engine.attach(e, &what, &t, &err), 0);
	return t;
}

static void test_engine(void **state)
{
	const struct farmem_ops *ops = &farmem_reclaim_engine;
	struct reclaim_ways ways = { .madvise = true };
	struct farmem_engine *e = NULL;
	struct farmem_target *t;
	struct farmem_event ev;
	struct hearth_err err;
	struct child c;
	uint64_t moved = 0;

	child_start(&c);
	assert_int_equal(reclaim_open(&ways, &e, &err), 0);
	t = attach(e, c.pid, &c);
	ev = next(e, FARMEM_ATTACHED);
	assert_ptr_equal(ev.ctx, &c);
	assert_ptr_equal(ev.target, t);
	do {
		ops->refresh(t);
		ev = next(e, FARMEM_STAT);
	} while (ev.stat->resident_bytes[FARMEM_EXECUTION] < 8 * MIB);
	ops->barrier(t, FARMEM_INIT);
	assert_int_equal(next(e, FARMEM_BARRIER).segment, FARMEM_INIT);
	ops->offload(t, FARMEM_ALL_SEGMENTS, 4 * MIB);
	do {
		ev = next(e, FARMEM_OFFLOADED);
		moved += ev.bytes;
	} while (!ev.flag);
	ops->request_begin(t);
	ops->prefetch(t, 1 << 30, 0);
	assert_int_equal(next(e, FARMEM_PREFETCHED).flag, false);
	ops->request_end(t);
	ev = next(e, FARMEM_STAT);
	assert_true(ev.stat->offloaded_bytes >= moved);
	/* cancelled before it began, and detached while it may be under way */
	ops->offload(t, FARMEM_ALL_SEGMENTS, 8 * MIB);
	ops->cancel(t);
	ops->offload(t, FARMEM_ALL_SEGMENTS, 8 * MIB);
	ops->detach(t, FARMEM_RECALL);
	ops->refresh(t);
	assert_int_equal(next(e, FARMEM_DETACHED).error, 0);
	assert_true(child_end(&c));
	assert_null(ops->close(e));
}

static void test_engine_refuses(void **state)
{
	const struct farmem_ops *ops = &farmem_reclaim_engine;
	struct reclaim_ways ways = { .madvise = true, .groups = true, .v2 = true, .memory_reclaim = true };
	struct farmem_attach what = { .pid = getpid(), .pidfd = -1, .netns = -1, .cgroup = "/nowhere", .name = "f-1" };
	struct farmem_engine *e = NULL;
	struct farmem_target *t = NULL;
	struct farmem_event ev;
	struct hearth_err err;
	struct pollfd p = { .events = POLLIN };

	assert_int_equal(reclaim_open(&ways, &e, &err), 0);
	p.fd = ops->fd(e);
	assert_int_equal(ops->attach(e, &what, &t, &err), 0);
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_int_equal(ops->next(e, &ev), 1);
	assert_int_equal(ev.kind, FARMEM_REFUSED);
	assert_non_null(strstr(ev.why, "/nowhere"));
	/* detached before the refusal was read: one DETACHED, and nothing of the refusal */
	assert_int_equal(ops->attach(e, &what, &t, &err), 0);
	assert_int_equal(poll(&p, 1, 60000), 1);
	ops->detach(t, FARMEM_ENDED);
	do {
		assert_int_equal(poll(&p, 1, 60000), 1);
	} while (ops->next(e, &ev) == 0);
	assert_int_equal(ev.kind, FARMEM_DETACHED);
	assert_int_equal(ops->next(e, &ev), 0);
	/* closed with a target that nobody detached first: its owner frees nothing */
	assert_int_equal(ops->attach(e, &what, &t, &err), 0);
	ops->detach(t, FARMEM_LEAVE);
	assert_null(ops->close(e));
	assert_null(ops->close(NULL));
}

static void test_probe(void **state)
{
	struct farmem_options options = { 0 };
	struct farmem_probe p;

	farmem_reclaim_engine.probe(&options, &p);
	if (p.error)
		assert_true(strlen(p.why) > 10 && strchr(p.why, ';'));
	else
		assert_non_null(strstr(p.what, "GiB of swap"));
	options.cgroup_dir = "/nowhere";
	farmem_reclaim_engine.probe(&options, &p);
	assert_true(p.error || strstr(p.what, "process_madvise"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_latency), cmocka_unit_test(test_lru_parse), cmocka_unit_test(test_lru_wrong), cmocka_unit_test(test_lru_commands), cmocka_unit_test(test_seen),
		cmocka_unit_test(test_maps), cmocka_unit_test(test_engine), cmocka_unit_test(test_engine_refuses), cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
