/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel charges for the operations that far memory is made of, bare: nothing of ours is in it, so that what ours costs can be held against it. usage: bench_pages
 *
 *   NAME us=X  WHAT
 *
 * Microseconds a page of 4096 bytes, the best of some rounds, of this thread's processor time (fault_*: the median of what the thread that touches waits).
 * Exit status 77: this kernel lacks what is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/hist.h"
#include "uffd.h"

/* Linux 6.1's, which older headers lack */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAGE   4096ul
#define PAGES  16384ul
#define BATCH  256ul            /* of what leaves */
#define BACK   64ul             /* of what comes back */
#define ROUNDS 5
#define FAULTS 4000
#define CHUNK  32ul            /* of the pool's slots */
#define HUGE   (2ul << 20)

static int uffd;
static uint8_t *area, *stage, *buf;

static int die(const char *what)
{
	fprintf(stderr, "bench_pages: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint8_t *map(size_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || madvise(p, bytes, MADV_NOHUGEPAGE) < 0)
		die("memory");
	return p;
}

static uint64_t cpu(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void watch(uint8_t *at, size_t bytes)
{
	struct uffdio_register r = { .range = { (uintptr_t)at, bytes }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (ioctl(uffd, UFFDIO_REGISTER, &r) < 0)
		die("register");
}

static void copy(uint8_t *to, const uint8_t *from, size_t pages)
{
	struct uffdio_copy c = { .dst = (uintptr_t)to, .src = (uintptr_t)from, .len = pages * PAGE };

	if (ioctl(uffd, UFFDIO_COPY, &c) < 0)
		die("copy");
}

/* ---- what leaves and comes back, all of it: no page is anywhere else between two of these ---- */

static double bring(size_t at_once)
{
	uint64_t t = cpu();

	for (size_t k = 0; k < PAGES; k += at_once)
		copy(area + k * PAGE, buf + k % BATCH * PAGE, at_once);
	return (double)(cpu() - t);
}

static double bring_many(void) { return bring(BACK); }
static double bring_one(void) { return bring(1); }

enum step { MOVE, READ, DROP, STEPS };

/* ns of each step of taking all out */
static void leave(double ns[STEPS], size_t at_once)
{
	memset(ns, 0, STEPS * sizeof(*ns));
	for (size_t k = 0; k < PAGES; k += BATCH) {
		struct iovec local = { buf, BATCH * PAGE }, remote = { stage, BATCH * PAGE };
		uint64_t t = cpu(), u;

		for (size_t i = 0; i < BATCH; i += at_once) {
			struct uffdio_move m = { .dst = (uintptr_t)(stage + i * PAGE), .src = (uintptr_t)(area + (k + i) * PAGE), .len = at_once * PAGE };

			if (ioctl(uffd, UFFDIO_MOVE, &m) < 0)
				die("move");
		}
		ns[MOVE] += (double)((u = cpu()) - t);
		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != (ssize_t)(BATCH * PAGE))
			die("read");
		ns[READ] += (double)((t = cpu()) - u);
		madvise(stage, BATCH * PAGE, MADV_DONTNEED);
		ns[DROP] += (double)(cpu() - t);
	}
}

static double leaving(enum step step, size_t at_once)
{
	double ns[STEPS];

	leave(ns, at_once);
	(void)bring(BACK);
	return ns[step];
}

static double move_many(void) { return leaving(MOVE, BATCH); }
static double move_one(void) { return leaving(MOVE, 1); }
static double read_stage(void) { return leaving(READ, BATCH); }
static double drop_stage(void) { return leaving(DROP, BATCH); }

static double come_many(void)
{
	double ns[STEPS];

	leave(ns, BATCH);
	return bring_many();
}

static double come_one(void)
{
	double ns[STEPS];

	leave(ns, BATCH);
	return bring_one();
}

/* ---- where they go ---- */

/* how its memory comes about, which is part of what is measured but for AGAIN */
enum how_made { TOUCHED, IN_CHUNKS, WRITTEN, HUGE_PAGES, AGAIN };

static void make(uint8_t *at, enum how_made how, size_t page)
{
	if (how == IN_CHUNKS && page % CHUNK == 0 && madvise(at, CHUNK * PAGE, MADV_POPULATE_WRITE) < 0)
		die("populate");
	if (how == HUGE_PAGES && page % (HUGE / PAGE) == 0) {
		*(volatile uint8_t *)at = 0;
		(void)madvise(at, HUGE, MADV_COLLAPSE);
	}
}

static double memfd(enum how_made how)
{
	int fd = memfd_create("bench-pages", MFD_CLOEXEC);
	size_t bytes = PAGES * PAGE;
	uint8_t *room = mmap(NULL, bytes + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *at = (uint8_t *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));
	uint64_t t;

	if (fd < 0 || room == MAP_FAILED || ftruncate(fd, (off_t)bytes) < 0 || mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		die("memfd");
	if (how == AGAIN)
		memset(at, 1, bytes);
	t = cpu();
	for (size_t k = 0; k < PAGES; k++) {
		make(at + k * PAGE, how, k);
		if (how == WRITTEN && pwrite(fd, buf + k % BATCH * PAGE, PAGE, (off_t)(k * PAGE)) != (ssize_t)PAGE)
			die("pwrite");
		else if (how != WRITTEN)
			memcpy(at + k * PAGE, buf + k % BATCH * PAGE, PAGE);
	}
	t = cpu() - t;
	munmap(room, bytes + HUGE);
	close(fd);
	return (double)t;
}

static double store_touched(void) { return memfd(TOUCHED); }
static double store_chunks(void) { return memfd(IN_CHUNKS); }
static double store_written(void) { return memfd(WRITTEN); }
static double store_huge(void) { return memfd(HUGE_PAGES); }
static double store_again(void) { return memfd(AGAIN); }

static double hash(void)
{
	static volatile uint64_t sink;
	uint64_t t = cpu();

	for (size_t k = 0; k < PAGES; k++)
		sink += XXH3_128bits(buf + k % BATCH * PAGE, PAGE).low64;
	return (double)(cpu() - t);
}

/* ---- a fault, answered with one page by another thread ---- */

struct answers {
	bool spins;
	int on_cpu;
	atomic_bool stop;
};

static void stay_on(int on_cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(on_cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static void *answer(void *arg)
{
	struct answers *a = arg;
	struct pollfd p = { .fd = uffd, .events = POLLIN };
	struct uffd_msg m;

	stay_on(a->on_cpu);
	while (!atomic_load(&a->stop)) {
		if (!a->spins)
			(void)poll(&p, 1, 100);
		while (read(uffd, &m, sizeof(m)) == sizeof(m))
			if (m.event == UFFD_EVENT_PAGEFAULT)
				copy((uint8_t *)(uintptr_t)(m.arg.pagefault.address & ~(PAGE - 1)), buf, 1);
	}
	return NULL;
}

static double fault(bool spins, int other)
{
	struct answers a = { .spins = spins };
	static struct hist h;
	cpu_set_t mine;
	pthread_t thread;
	double ns[STEPS];

	(void)sched_getaffinity(0, sizeof(mine), &mine);
	hist_reset(&h);
	leave(ns, BATCH);
	stay_on(0);
	a.on_cpu = other;
	if (pthread_create(&thread, NULL, answer, &a))
		die("thread");
	for (size_t k = 0; k < FAULTS; k++) {
		uint64_t t = clock_mono_ns();

		(void)*(volatile uint8_t *)(area + k * PAGE);
		hist_record(&h, clock_mono_ns() - t);
	}
	atomic_store(&a.stop, true);
	pthread_join(thread, NULL);
	(void)sched_setaffinity(0, sizeof(mine), &mine);
	for (size_t k = FAULTS; k < PAGES; k++)
		copy(area + k * PAGE, buf, 1);
	return (double)hist_quantile(&h, 0.5) * PAGES;
}

static double fault_same(void) { return fault(false, 0); }
static double fault_other(void) { return fault(false, 1); }
static double fault_spin(void) { return fault(true, 1); }

/* ---- all of it ---- */

static const struct {
	const char *name, *what;
	double (*run)(void);
	int cpus;
} rows[] = {
	{ "move", "UFFDIO_MOVE of 256 pages to a stage", move_many, 1 },
	{ "move_one", "the same, a page a call", move_one, 1 },
	{ "read", "process_vm_readv of a stage of 256", read_stage, 1 },
	{ "drop", "MADV_DONTNEED of it", drop_stage, 1 },
	{ "hash", "XXH3_128bits, contents in the cache", hash, 1 },
	{ "store_touched", "memcpy to a memfd's page that nobody has touched", store_touched, 1 },
	{ "store_chunks", "to one that MADV_POPULATE_WRITE makes then, 32 at a time", store_chunks, 1 },
	{ "store_written", "pwrite to one that nobody has touched", store_written, 1 },
	{ "store_huge", "to one of a huge page that MADV_COLLAPSE makes then", store_huge, 1 },
	{ "store_again", "to one that was written before", store_again, 1 },
	{ "come", "UFFDIO_COPY of 64 pages", come_many, 1 },
	{ "come_one", "the same, a page a call", come_one, 1 },
	{ "fault_same", "a fault answered on the processor that waits", fault_same, 1 },
	{ "fault_other", "on another one, which sleeps", fault_other, 2 },
	{ "fault_spin", "on another one, which does nothing but look", fault_spin, 2 },
};

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MOVE };

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0)
		return 77;
	area = map(PAGES * PAGE);
	stage = map(BATCH * PAGE);
	buf = map(BATCH * PAGE);
	for (size_t k = 0; k < PAGES * PAGE; k += PAGE)
		memset(area + k, (int)(k >> 12) | 1, PAGE);
	watch(area, PAGES * PAGE);
	watch(stage, BATCH * PAGE);
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		double best = 1e18;

		for (unsigned r = 0; r < ROUNDS && sysconf(_SC_NPROCESSORS_ONLN) >= rows[k].cpus; r++) {
			double ns = rows[k].run();

			best = ns < best ? ns : best;
		}
		if (best < 1e18)
			printf("%-16s us=%-8.3f %s\n", rows[k].name, best / PAGES / 1e3, rows[k].what);
	}
	return 0;
}
