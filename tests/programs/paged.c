/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program whose memory is taken away under it: a line in is something to do with memory, a line out says how it went. What it knows of its memory's contents is computed, not kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define WORDS (PAGE / 8)

static uint8_t *area;
static size_t pages;
static uint64_t seed;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

/* a page of which every word is a function of its number and of a version, which is its first word */
static void write_page(uint8_t *page, uint64_t number, uint64_t version)
{
	uint64_t *w = (uint64_t *)page;

	w[0] = version;
	for (size_t k = 1; k < WORDS; k++)
		w[k] = mix(number * WORDS + k + version * 0x9e3779b97f4a7c15ull + seed);
}

static int bad_page(const uint8_t *page, uint64_t number)
{
	const uint64_t *w = (const uint64_t *)page;
	uint64_t version = w[0];

	for (size_t k = 1; k < WORDS; k++)
		if (w[k] != mix(number * WORDS + k + version * 0x9e3779b97f4a7c15ull + seed))
			return 1;
	return 0;
}

static void fill(size_t mib)
{
	pages = mib * 256;
	area = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t k = 0; k < pages; k++)
		write_page(area + k * PAGE, k, 1);
	printf("ok\n");
}

static size_t wrong(uint64_t version)
{
	size_t n = 0;

	for (size_t k = 0; k < pages; k++)
		n += bad_page(area + k * PAGE, k) || (version && *(uint64_t *)(area + k * PAGE) != version);
	return n;
}

static void check(void)
{
	printf("wrong %zu\n", wrong(0));
}

/* every n-th page */
static void touch(size_t step)
{
	size_t n = 0, bad = 0;

	for (size_t k = 0; k < pages; k += step, n++)
		bad += bad_page(area + k * PAGE, k) != 0;
	printf("touched %zu wrong %zu\n", n, bad);
}

/* ---- many threads ---- */

static atomic_bool stop;
static atomic_ulong rounds, errors;
static unsigned threads_n;
static pthread_t threads[256];

static void *hammer(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	uint64_t random = mix(me + 1);
	size_t share = pages / threads_n, first = me * share;
	uint64_t *versions = calloc(share, sizeof(*versions));

	for (size_t k = 0; k < share; k++)
		versions[k] = *(uint64_t *)(area + (first + k) * PAGE);
	while (!atomic_load(&stop)) {
		size_t k;

		random = mix(random + me);
		k = random % share;
		if (bad_page(area + (first + k) * PAGE, first + k) || *(uint64_t *)(area + (first + k) * PAGE) != versions[k])
			atomic_fetch_add(&errors, 1);
		if (random & 1 << 20)
			write_page(area + (first + k) * PAGE, first + k, ++versions[k]);
		atomic_fetch_add(&rounds, 1);
	}
	for (size_t k = 0; k < share; k++)
		if (bad_page(area + (first + k) * PAGE, first + k) || *(uint64_t *)(area + (first + k) * PAGE) != versions[k])
			atomic_fetch_add(&errors, 1);
	free(versions);
	return NULL;
}

static void begin_threads(unsigned n)
{
	threads_n = n;
	atomic_store(&stop, false);
	for (uintptr_t k = 0; k < n; k++)
		if (pthread_create(&threads[k], NULL, hammer, (void *)k) != 0)
			abort();
	printf("ok\n");
}

static void end_threads(void)
{
	atomic_store(&stop, true);
	for (unsigned k = 0; k < threads_n; k++)
		pthread_join(threads[k], NULL);
	printf("rounds %lu wrong %lu\n", atomic_load(&rounds), atomic_load(&errors));
}

/* one thread throws pages away and finds zeros, the way allocators do */
static void *throw_away(void *arg)
{
	uint8_t *mine = arg;
	uint64_t random = 1;

	while (!atomic_load(&stop)) {
		size_t at = (random = mix(random)) % 240, n = 1 + random % 16;

		memset(mine + at * PAGE, 0xee, n * PAGE);
		madvise(mine + at * PAGE, n * PAGE, MADV_DONTNEED);
		for (size_t k = 0; k < n * PAGE; k++)
			if (mine[at * PAGE + k] != 0) {
				atomic_fetch_add(&errors, 1);
				break;
			}
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

static void begin_throwing(unsigned n)
{
	uint8_t *mine = mmap(NULL, n * 256 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(mine, 0xdd, n * 256 * PAGE);
	threads_n = n;
	atomic_store(&stop, false);
	for (unsigned k = 0; k < n; k++)
		if (pthread_create(&threads[k], NULL, throw_away, mine + (size_t)k * 256 * PAGE) != 0)
			abort();
	printf("ok\n");
}

/* ---- changes of the address space ---- */

static void try_fork(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(wrong(0) != 0);
	waitpid(pid, &status, 0);
	printf("child %d wrong %zu\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), wrong(0));
}

/* the child of a child, of a parent that goes on writing */
static void fork_twice(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		pid_t grandchild = fork();

		if (grandchild == 0)
			_exit(wrong(1) != 0);
		waitpid(grandchild, &status, 0);
		_exit(!WIFEXITED(status) || WEXITSTATUS(status) || wrong(1) != 0);
	}
	for (size_t k = 0; k < pages; k += 3)
		write_page(area + k * PAGE, k, 2);
	waitpid(pid, &status, 0);
	printf("child %d wrong %zu\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), wrong(0));
}

static void remap(void)
{
	size_t len = pages * PAGE;
	void *where = mmap(NULL, len * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	void *to = mremap(area, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, where);

	if (to == MAP_FAILED) {
		printf("error %d\n", errno);
		return;
	}
	area = to;
	printf("wrong %zu\n", wrong(0));
}

/* half of it is unmapped, and mapped anew where it was: zeros */
static void unmap(void)
{
	size_t half = pages / 2, nonzero = 0;

	munmap(area + half * PAGE, half * PAGE);
	if (mmap(area + half * PAGE, half * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		abort();
	for (size_t k = 0; k < half * PAGE; k++)
		nonzero += area[half * PAGE + k] != 0;
	pages = half;
	printf("nonzero %zu wrong %zu\n", nonzero, wrong(0));
}

static void dontneed(void)
{
	size_t half = pages / 2, nonzero = 0;

	madvise(area + half * PAGE, half * PAGE, MADV_DONTNEED);
	for (size_t k = 0; k < half * PAGE; k++)
		nonzero += area[half * PAGE + k] != 0;
	for (size_t k = half; k < pages; k++)
		write_page(area + k * PAGE, k, 7);
	printf("nonzero %zu wrong %zu\n", nonzero, wrong(0));
}

/* reads what it has thrown away in front of a hole: what is mapped there ends in the middle of what a pager would map at once */
static void edge(void)
{
	size_t at = pages / 2, nonzero = 0;

	while (((uintptr_t)(area + at * PAGE) & 0xffff) != 0x8000)
		at++;
	munmap(area + at * PAGE, PAGE);
	madvise(area + (at - 2) * PAGE, 2 * PAGE, MADV_DONTNEED);
	for (size_t k = 0; k < 2 * PAGE; k++)
		nonzero += area[(at - 2) * PAGE + k] != 0;
	pages = at - 2;
	printf("nonzero %zu wrong %zu\n", nonzero, wrong(0));
}

/* ---- pieces of it, again and again ---- */

/* other zeros for what was there */
static void renew(size_t first, size_t n, bool unmapped)
{
	if (!unmapped) {
		madvise(area + first * PAGE, n * PAGE, MADV_DONTNEED);
		return;
	}
	munmap(area + first * PAGE, n * PAGE);
	if (mmap(area + first * PAGE, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		abort();
}

/* Return: pages that are not zeros; then they have contents of a version again */
static size_t rewrite(size_t first, size_t n, uint64_t version)
{
	size_t bad = 0;

	for (size_t k = first; k < first + n; k++) {
		const uint64_t *w = (const uint64_t *)(area + k * PAGE);
		bool zero = true;

		for (size_t i = 0; i < WORDS && zero; i++)
			zero = w[i] == 0;
		bad += !zero;
		write_page(area + k * PAGE, k, version);
	}
	return bad;
}

/* to somewhere else and back */
static void move_about(size_t first, size_t n)
{
	void *away = mmap(NULL, n * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mremap(area + first * PAGE, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, away) == MAP_FAILED ||
	    mremap(away, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + first * PAGE) == MAP_FAILED)
		abort();
}

static size_t wrong_versions(const uint64_t *versions, size_t step)
{
	size_t n = 0;

	for (size_t k = 0; k < pages; k += step)
		n += bad_page(area + k * PAGE, k) || *(uint64_t *)(area + k * PAGE) != versions[k];
	return n;
}

static size_t wrong_in_child(const uint64_t *versions)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(wrong_versions(versions, 13) != 0);
	waitpid(pid, &status, 0);
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

#define PIECE 64                        /* pages: mappings end at multiples of it only, as several are not moved at once */

/* changes of pieces, one after the other; what is in them stays known */
static void churn(size_t times)
{
	static uint64_t *versions, random = 1;
	size_t bad = 0;

	if (!versions) {
		versions = malloc(pages * sizeof(*versions));
		for (size_t k = 0; k < pages; k++)
			versions[k] = 1;
	}
	for (size_t t = 0; t < times; t++) {
		size_t n = 1 + (random = mix(random + t)) % (2 * PIECE), first = (random >> 20) % (pages - n), piece = first / PIECE * PIECE;
		bool unmapped = random >> 59 & 1;

		switch (random >> 60) {
		case 0:
			bad += wrong_in_child(versions);
			break;
		case 1:
		case 2:
		case 3:
			move_about(piece, PIECE);
			break;
		default:
			if (unmapped) {
				first = piece;
				n = PIECE;
			}
			renew(first, n, unmapped);
			for (size_t k = first; k < first + n; k++)
				versions[k] = t + 2;
			bad += rewrite(first, n, t + 2);
		}
	}
	printf("churned wrong %zu\n", bad + wrong_versions(versions, 1));
}

static void huge(const char *how)
{
	size_t len = 8ul << 20;
	uint8_t *p;

	if (!strcmp(how, "tlb")) {
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		if (p == MAP_FAILED) {
			printf("none\n");
			return;
		}
	} else {
		p = mmap(NULL, len + (2ul << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		p = (uint8_t *)(((uintptr_t)p + (2ul << 20) - 1) & ~((2ul << 20) - 1));
		madvise(p, len, MADV_HUGEPAGE);
	}
	area = p;
	pages = len / PAGE;
	for (size_t k = 0; k < pages; k++)
		write_page(area + k * PAGE, k, 1);
	printf("ok\n");
}

static void lock_half(void)
{
	printf("%s\n", mlock(area, pages / 2 * PAGE) == 0 ? "ok" : "none");
}

/* @what of /proc/self/smaps, of the mapping that @address is in, or of all; in KiB */
static void resident(void)
{
	unsigned char *vec = malloc(pages);
	size_t n = 0;

	mincore(area, pages * PAGE, vec);
	for (size_t k = 0; k < pages; k++)
		n += vec[k] & 1;
	free(vec);
	printf("resident %zu of %zu\n", n, pages);
}

/* pages that the kernel keeps pinned */
static void pin(void)
{
	int ring[2];
	struct iovec iov = { area, pages / 2 * PAGE };
	struct { uint32_t v[30]; } params;

	memset(&params, 0, sizeof(params));
	ring[0] = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring[0] < 0 || syscall(SYS_io_uring_register, ring[0], 0 /* IORING_REGISTER_BUFFERS */, &iov, 1) < 0)
		printf("none\n");
	else
		printf("ok\n");
}

static void own_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)area, pages / 2 * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &reg) < 0)
		printf("error %d\n", errno);
	else
		printf("ok\n");
}

/* ns a page, each touched for the first time since it left */
static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void latency(size_t step)
{
	uint64_t *ns = malloc((pages / step + 1) * sizeof(*ns)), sum = 0;
	size_t n = 0;

	for (size_t k = 0; k < pages; k += step) {
		struct timespec a, b;

		clock_gettime(CLOCK_MONOTONIC, &a);
		sum += *(volatile uint64_t *)(area + k * PAGE);
		clock_gettime(CLOCK_MONOTONIC, &b);
		ns[n++] = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000ull + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
	}
	qsort(ns, n, sizeof(*ns), by_value);
	printf("faults %zu p50 %llu p99 %llu %s\n", n, (unsigned long long)ns[n / 2], (unsigned long long)ns[n * 99 / 100], sum ? "" : "0");
	free(ns);
}

static void command(char *line)
{
	char what[32] = "", how[32] = "";
	size_t n;

	if (sscanf(line, "%31s %31s", what, how) < 1)
		return;
	n = strtoul(how, NULL, 10);
	if (!strcmp(what, "fill"))
		fill(n);
	else if (!strcmp(what, "check"))
		check();
	else if (!strcmp(what, "touch"))
		touch(n);
	else if (!strcmp(what, "latency"))
		latency(n);
	else if (!strcmp(what, "hammer"))
		begin_threads((unsigned)n);
	else if (!strcmp(what, "throw"))
		begin_throwing((unsigned)n);
	else if (!strcmp(what, "stop"))
		end_threads();
	else if (!strcmp(what, "fork"))
		try_fork();
	else if (!strcmp(what, "forks"))
		fork_twice();
	else if (!strcmp(what, "remap"))
		remap();
	else if (!strcmp(what, "unmap"))
		unmap();
	else if (!strcmp(what, "dontneed"))
		dontneed();
	else if (!strcmp(what, "edge"))
		edge();
	else if (!strcmp(what, "churn"))
		churn(n);
	else if (!strcmp(what, "huge"))
		huge(how);
	else if (!strcmp(what, "mlock"))
		lock_half();
	else if (!strcmp(what, "pin"))
		pin();
	else if (!strcmp(what, "uffd"))
		own_uffd();
	else if (!strcmp(what, "resident"))
		resident();
	else if (!strcmp(what, "rounds"))
		printf("rounds %lu\n", atomic_load(&rounds));
	else if (!strcmp(what, "exec"))
		execl("/proc/self/exe", "paged", (char *)NULL);
	else if (!strcmp(what, "exit"))
		exit(0);
	else
		printf("what?\n");
}

int main(void)
{
	char line[256];

	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	seed = 4711;
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin))
		command(line);
	return 0;
}
