/* SPDX-License-Identifier: Apache-2.0 */
/* Mappings: what the process does to them, and what is left of them when the object goes. */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void bad_mmap(int node, size_t bytes, int prot, int flags, uint64_t offset, int rc)
{
	SAME(mmap(NULL, bytes, prot, flags, node, (off_t)offset) == MAP_FAILED ? -errno : 0, rc);
}

static void refused(void)
{
	int node = node_open(O_RDWR);
	struct hearth_p2p_register r;

	SAME(reg(node, device_find(node, "ivshmem", NULL), 0, 2 * GRANULE, HEARTH_P2P_WRITE, &r), 0);
	bad_mmap(node, GRANULE, PROT_READ | PROT_WRITE, MAP_PRIVATE, r.offset, -EINVAL);
	bad_mmap(node, GRANULE, PROT_READ, MAP_PRIVATE, r.offset, -EINVAL);
	bad_mmap(node, 2 * GRANULE + PAGE, PROT_READ, MAP_SHARED, r.offset, -EINVAL);
	bad_mmap(node, GRANULE, PROT_READ, MAP_SHARED, r.offset + 2 * GRANULE, -EINVAL);
	bad_mmap(node, 2 * GRANULE, PROT_READ, MAP_SHARED, r.offset + PAGE, -EINVAL);
	bad_mmap(node, GRANULE, PROT_READ, MAP_SHARED, 0, -ENOENT);
	bad_mmap(node, GRANULE, PROT_READ, MAP_SHARED, r.offset << 1, -ENOENT);
	bad_mmap(node, GRANULE, PROT_READ, MAP_SHARED, 1ull << 62, -ENOENT);
}

static void survives(void)
{
	int node = node_open(O_RDWR);
	struct region r = region_new(node, 0, 4 * MIB), whole = region_new(node, 0, 4 * MIB);
	uint8_t *moved;

	for (size_t i = 0; i < r.mapped; i += PAGE)
		r.map[i] = (uint8_t)(i / PAGE);
	/* a hole, another protection: three mappings now */
	CHECK(!munmap(r.map + MIB, MIB));
	CHECK(!mprotect(r.map + 3 * MIB, MIB, PROT_READ));
	SAME(touch(r.map + MIB), SIGSEGV);
	moved = mremap(r.map + 2 * MIB, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, r.map + 8 * MIB);
	CHECK(moved != MAP_FAILED);
	for (size_t i = 0; i < MIB; i += PAGE) {
		SAME(moved[i], (uint8_t)((2 * MIB + i) / PAGE));
		SAME(whole.at[2 * MIB + i], (uint8_t)((2 * MIB + i) / PAGE));
	}
	/* growing would show what is behind the object */
	SAME(mremap(moved, MIB, 2 * MIB, MREMAP_MAYMOVE) == MAP_FAILED ? -errno : 0, -EFAULT);
	SAME(release_id(node, r.id), 0);
	SAME(touch(r.map), SIGBUS);
	SAME(touch(moved), SIGBUS);
	SAME(touch(moved + MIB - PAGE), SIGBUS);
	SAME(touch(r.map + 3 * MIB), SIGBUS);
	SAME(touch(whole.at), 0);
}

/* The PTEs must go with the object: memory that is freed and given to others must not stay readable. */
static void release_mapped(void)
{
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY);
	struct region r = region_new(node, 0, MIB), whole = region_new(node, 0, MIB);

	read_all(fd, r.at, MIB, 0);
	SAME(release_id(node, r.id), 0);
	for (size_t i = 0; i < MIB; i += GRANULE)
		SAME(touch(r.at + i), SIGBUS);
	SAME(pread(fd, r.at, PAGE, 0) < 0 ? -errno : 0, -EFAULT);
	CHECK(expect_data(whole.at, 0, MIB));
}

static void closed(void)
{
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY);
	struct region r = region_new(node, 0, MIB);

	close(node);
	read_all(fd, r.at, MIB, 0);
	CHECK(expect_data(r.at, 0, MIB));
	munmap(r.map, r.mapped);
}

/* Mappings of others where one of ours was, and around it: what belongs to whom is not judged by addresses. */
static void foreign(void)
{
	int node = node_open(O_RDWR), zero = open("/dev/zero", O_RDWR);
	struct region r = region_new(node, 0, MIB);
	uint8_t *other;

	memset(r.at, 1, MIB);
	other = mmap(r.map + 4 * GRANULE, GRANULE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, zero, 0);
	CHECK(other == r.map + 4 * GRANULE);
	CHECK(mmap(r.map + 8 * GRANULE, GRANULE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	memset(other, 2, GRANULE);
	memset(r.map + 8 * GRANULE, 3, GRANULE);
	SAME(release_id(node, r.id), 0);
	SAME(touch(r.map), SIGBUS);
	SAME(touch(r.map + 5 * GRANULE), SIGBUS);
	SAME(other[GRANULE - 1], 2);
	SAME(r.map[8 * GRANULE], 3);
	/* nothing of the device is behind the descriptors of others */
	SAME(command(zero, HEARTH_P2P_RELEASE, &(struct hearth_p2p_release){ .size = 8, .id = r.id }), -ENOTTY);
}

static void untouched(void *arg)
{
	SAME(touch(arg), SIGSEGV);
}

static void no_copy(void)
{
	int node = node_open(O_RDWR);
	struct region r = region_new(node, 0, MIB);

	r.at[0] = 1;
	SAME(in_child(untouched, r.at), 0);
}

/* MADV_DOFORK takes the protection from fork() away; what a child has then must go too. */
static void forked(void)
{
	int node = node_open(O_RDWR), to_child[2], to_parent[2];
	struct region r = region_new(node, 0, MIB);
	char c;
	pid_t pid;
	int status;

	r.at[0] = 77;
	CHECK(!madvise(r.map, r.mapped, MADV_DOFORK));
	CHECK(!pipe(to_child) && !pipe(to_parent));
	pid = fork();
	if (!pid) {
		SAME(r.at[0], 77);
		SAME(write(to_parent[1], "x", 1), 1);
		SAME(read(to_child[0], &c, 1), 1);
		SAME(touch(r.at), SIGBUS);
		SAME(touch(r.at + GRANULE), SIGBUS);
		_exit(0);
	}
	SAME(read(to_parent[0], &c, 1), 1);
	SAME(release_id(node, r.id), 0);
	SAME(write(to_child[1], "x", 1), 1);
	SAME(waitpid(pid, &status, 0), pid);
	SAME(status, 0);
}

/* A page that something else holds, here a pipe: the release waits for it, a signal ends the wait, and the mapping is gone all the same. */
static void nothing(int sig)
{
}

static void waits_for_pins(void)
{
	int node = node_open(O_RDWR), pipes[2];
	struct region r = region_new(node, 0, MIB), other = region_new(node, 8 * MIB, GRANULE);
	struct iovec iov = { r.at + GRANULE, PAGE };
	struct sigaction sa = { .sa_handler = nothing };

	memset(r.at + GRANULE, 0x33, PAGE);
	CHECK(!pipe(pipes));
	SAME(vmsplice(pipes[1], &iov, 1, 0), PAGE);
	sigaction(SIGALRM, &sa, NULL);
	ualarm(300000, 0);
	SAME(release_id(node, r.id), -EINTR);
	SAME(touch(r.at), SIGBUS);
	region_end(&other);             /* which has nothing to do with it */
	SAME(read(pipes[0], pages(PAGE), PAGE), PAGE);
	SAME(release_id(node, r.id), 0);
	SAME(release_id(node, r.id), -ENOENT);
}

/* Of two objects on the same pages, one can end while I/O through the other goes on. */
static void overlapping(void)
{
	int node = node_open(O_RDWR), pipes[2];
	struct region a = region_new(node, 0, MIB), b = region_new(node, 512 * KIB, MIB);
	struct iovec iov = { b.at, PAGE };

	b.at[0] = 9;
	SAME(a.at[512 * KIB], 9);
	CHECK(!pipe(pipes));
	SAME(vmsplice(pipes[1], &iov, 1, 0), PAGE);
	SAME(release_id(node, a.id), 0);
	SAME(touch(a.at), SIGBUS);
	SAME(b.at[0], 9);
	SAME(read(pipes[0], pages(PAGE), PAGE), PAGE);
	SAME(release_id(node, b.id), 0);
}

/* Faults in all threads, while the object goes. */
struct storm {
	struct region r;
	volatile bool stop;
};

static void *fault_around(void *arg)
{
	struct storm *s = arg;
	int fd = open_direct(DATA, O_RDONLY);

	for (uint64_t i = (uintptr_t)&fd; !s->stop; i = mix(i)) {
		size_t at = i % (s->r.mapped / PAGE) * PAGE;
		ssize_t n = pread(fd, s->r.map + at, PAGE, 0);

		CHECK(n == PAGE || (n < 0 && errno == EFAULT));
	}
	close(fd);
	return NULL;
}

/* once - one object, three threads at it, its end, and what its memory holds after that */
static void once(int node, uint8_t pattern)
{
	struct storm s = { .r = region_new(node, 0, 2 * MIB) };
	struct region after;
	pthread_t thread[3];
	uint8_t *before = pages(2 * MIB);

	for (int t = 0; t < 3; t++)
		CHECK(!pthread_create(&thread[t], NULL, fault_around, &s));
	usleep(20000);
	SAME(release_id(node, s.r.id), 0);
	/* nothing comes through the object now, though all go on trying */
	after = region_new(node, 0, 2 * MIB);
	memset(after.at, pattern, 2 * MIB);
	memcpy(before, after.at, 2 * MIB);
	usleep(20000);
	SAME(memcmp(before, after.at, 2 * MIB), 0);
	s.stop = true;
	for (int t = 0; t < 3; t++)
		pthread_join(thread[t], NULL);
	munmap(s.r.map, s.r.mapped);
	munmap(before, 2 * MIB);
	region_end(&after);
}

static void storm(void)
{
	int node = node_open(O_RDWR);

	for (int i = 0; i < 8; i++)
		once(node, (uint8_t)(0x11 * (i + 1)));
}

const struct test map_tests[] = {
	{ "map: private, beyond the object, of no object", refused },
	{ "map: moved, split, shrunk, grown", survives },
	{ "map: release while mapped", release_mapped },
	{ "map: the descriptor is closed, the mapping stays", closed },
	{ "map: mappings of others in its place", foreign },
	{ "map: not copied by fork", no_copy },
	{ "map: copied by fork after MADV_DOFORK, revoked there too", forked },
	{ "map: release waits for pins, a signal ends the wait", waits_for_pins },
	{ "map: two objects on the same pages", overlapping },
	{ "map: release under faults and I/O of three threads", storm },
	{ 0 },
};
