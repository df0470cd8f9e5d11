/* SPDX-License-Identifier: Apache-2.0 */
/* The node's contract: who may do what, structures of other sizes, ranges, nonsense. */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FUZZ_CALLS 4000

static void devices(void)
{
	int node = node_open(O_RDWR);
	struct hearth_p2p_info info = { .size = sizeof(info) };
	struct hearth_p2p_device d;

	SAME(command(node, HEARTH_P2P_INFO, &info), 0);
	SAME(info.abi, HEARTH_P2P_ABI);
	CHECK(device_find(node, "ivshmem", &d));
	SAME(d.bytes, 64 * MIB);
	SAME(d.granule, GRANULE);
	SAME(d.state, HEARTH_P2P_READY);
	SAME(strlen(d.pci), 12);
	d = (struct hearth_p2p_device){ .size = sizeof(d), .device = 0x7fffffff };
	SAME(command(node, HEARTH_P2P_DEVICE, &d), -ENOENT);
}

static void sizes(void)
{
	int node = node_open(O_RDWR);
	struct {
		struct hearth_p2p_info info;
		uint8_t more[64];
	} x = { .info.size = sizeof(x) };

	SAME(command(node, HEARTH_P2P_INFO, &x), 0);            /* of a later version, which asks for nothing new */
	x.more[40] = 1;
	SAME(command(node, HEARTH_P2P_INFO, &x), -E2BIG);
	x.more[40] = 0;
	x.info.size = 8;
	SAME(command(node, HEARTH_P2P_INFO, &x), -EINVAL);
	x.info.size = 0;
	SAME(command(node, HEARTH_P2P_INFO, &x), -EINVAL);
	x.info.size = 1u << 20;
	SAME(command(node, HEARTH_P2P_INFO, &x), -E2BIG);
	x.info = (struct hearth_p2p_info){ .size = sizeof(x.info), .flags = 1 };
	SAME(command(node, HEARTH_P2P_INFO, &x), -EOPNOTSUPP);
	SAME(command(node, HEARTH_P2P_INFO, NULL), -EFAULT);
	SAME(command(node, HEARTH_P2P_INFO, (void *)1), -EFAULT);
	SAME(command(node, _IO(HEARTH_P2P_TYPE, 0x7f), &x), -ENOTTY);
	SAME(command(node, _IO(HEARTH_P2P_TYPE, 0x85), &x), -ENOTTY);
	SAME(command(node, _IOR(HEARTH_P2P_TYPE, HEARTH_P2P_CMD_INFO, int), &x), -ENOTTY);
	SAME(command(node, _IO('x', HEARTH_P2P_CMD_INFO), &x), -ENOTTY);
}

/* The structure must not change on failure: its last page cannot be written. */
static void reply_fault(void)
{
	int node = node_open(O_RDWR);
	struct hearth_p2p_register *r = pages(PAGE), again;

	*r = (struct hearth_p2p_register){ .size = sizeof(*r), .device = device_find(node, "ivshmem", NULL), .bytes = 1 };
	CHECK(!mprotect(r, PAGE, PROT_READ));
	SAME(command(node, HEARTH_P2P_REGISTER, r), -EFAULT);
	/* and nothing is left of it */
	for (uint32_t id = 1; id < 8; id++)
		SAME(release_id(node, id), -ENOENT);
	SAME(reg(node, device_find(node, "ivshmem", NULL), 0, 1, 0, &again), 0);
}

static void stranger(void *arg)
{
	CHECK(!setgid(1000) && !setuid(1000));
	SAME(open(HEARTH_P2P_NODE, O_RDWR) < 0 ? -errno : 0, -EACCES);
	SAME(open(HEARTH_P2P_NODE, O_RDONLY) < 0 ? -errno : 0, -EACCES);
}

static void reader(void *arg)
{
	struct hearth_p2p_register r;
	int node;
	void *map;

	CHECK(!setgid(1000) && !setuid(1000));
	SAME(open(HEARTH_P2P_NODE, O_RDWR) < 0 ? -errno : 0, -EACCES);
	node = node_open(O_RDONLY);
	SAME(reg(node, device_find(node, "ivshmem", NULL), 0, GRANULE, HEARTH_P2P_WRITE, &r), -EACCES);
	SAME(reg(node, device_find(node, "ivshmem", NULL), 0, GRANULE, 0, &r), 0);
	SAME(mmap(NULL, GRANULE, PROT_READ | PROT_WRITE, MAP_SHARED, node, (off_t)r.offset) == MAP_FAILED ? -errno : 0, -EACCES);
	map = mmap(NULL, GRANULE, PROT_READ, MAP_SHARED, node, (off_t)r.offset);
	CHECK(map != MAP_FAILED);
	SAME(touch(map), 0);
	SAME(mprotect(map, GRANULE, PROT_READ | PROT_WRITE) ? -errno : 0, -EACCES);
}

static void permissions(void)
{
	struct stat st;
	int denied, read_only;

	CHECK(!stat(HEARTH_P2P_NODE, &st));
	SAME(st.st_mode & 0777, 0600);
	SAME(st.st_uid, 0);
	denied = in_child(stranger, NULL);
	CHECK(!chmod(HEARTH_P2P_NODE, 0640) && !chown(HEARTH_P2P_NODE, 0, 1000));
	read_only = in_child(reader, NULL);
	CHECK(!chmod(HEARTH_P2P_NODE, 0600) && !chown(HEARTH_P2P_NODE, 0, 0));
	SAME(denied, 0);
	SAME(read_only, 0);
}

/* Registered for reading through a descriptor that could write. */
static void read_only_object(void)
{
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY), out = open_direct(OUT, O_RDWR);
	struct region whole = region_new(node, 0, MIB);
	struct hearth_p2p_register r;
	uint8_t *map;

	memset(whole.at, 0x5a, PAGE);
	SAME(reg(node, device_find(node, "ivshmem", NULL), 0, GRANULE, 0, &r), 0);
	SAME(mmap(NULL, GRANULE, PROT_WRITE, MAP_SHARED, node, (off_t)r.offset) == MAP_FAILED ? -errno : 0, -EACCES);
	map = mmap(NULL, GRANULE, PROT_READ, MAP_SHARED, node, (off_t)r.offset);
	CHECK(map != MAP_FAILED);
	SAME(mprotect(map, GRANULE, PROT_READ | PROT_WRITE) ? -errno : 0, -EACCES);
	SAME(pread(fd, map, PAGE, 0) < 0 ? -errno : 0, -EFAULT);
	SAME(map[0], 0x5a);
	write_all(out, map, PAGE, 0);
}

static void ranges(void)
{
	int node = node_open(O_RDWR);
	uint32_t device = device_find(node, "ivshmem", NULL);
	struct hearth_p2p_register r;
	const struct {
		uint64_t at, bytes;
		int rc;
	} t[] = {
		{ 0, 0, -EINVAL }, { 64 * MIB, 1, -ERANGE }, { 64 * MIB - 1, 2, -ERANGE }, { 0, 64 * MIB + 1, -ERANGE }, { UINT64_MAX, 1, -ERANGE }, { UINT64_MAX - 3, 8, -ERANGE },
		{ 1, UINT64_MAX, -ERANGE }, { 0, UINT64_MAX, -ERANGE }, { UINT64_MAX - GRANULE, GRANULE, -ERANGE }, { 1ull << 63, GRANULE, -ERANGE }, { 64 * MIB - 1, 1, 0 }, { 0, 64 * MIB, 0 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		SAME(reg(node, device, t[i].at, t[i].bytes, HEARTH_P2P_WRITE, &r), t[i].rc);
	SAME(reg(node, 0, 0, 1, 0, &r), -ENODEV);
	SAME(reg(node, 12345, 0, 1, 0, &r), -ENODEV);
	SAME(reg(node, device, 0, 1, 0x80, &r), -EOPNOTSUPP);
}

/* Under, at and over the granule: each reaches exactly its bytes. */
static void small(void)
{
	static const size_t bytes[] = { 1, 511, 512, PAGE - 1, PAGE, PAGE + 1, GRANULE - 1, GRANULE, GRANULE + 1 };
	static const uint64_t at[] = { 0, 1, 512, PAGE, GRANULE - 1, GRANULE, 5 * GRANULE + 777 };
	int node = node_open(O_RDWR);
	struct region whole = region_new(node, 0, MIB);

	for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		for (size_t j = 0; j < sizeof(at) / sizeof(*at); j++) {
			struct region r = region_new(node, at[j], bytes[i]);
			uint8_t mark = (uint8_t)(i * 16 + j + 1);

			SAME(r.mapped % GRANULE, 0);
			SAME(r.mapped, (at[j] + bytes[i] + GRANULE - 1) / GRANULE * GRANULE - at[j] / GRANULE * GRANULE);
			r.at[0] = mark;
			r.at[bytes[i] - 1] = mark;
			SAME(whole.at[at[j]], mark);
			SAME(whole.at[at[j] + bytes[i] - 1], mark);
			region_end(&r);
		}
	}
}

static void twice(void)
{
	int node = node_open(O_RDWR);
	struct region r = region_new(node, 0, GRANULE);

	SAME(release_id(node, r.id), 0);
	SAME(release_id(node, r.id), -ENOENT);
	SAME(release_id(node, 0), -ENOENT);
	SAME(release_id(node, UINT32_MAX), -ENOENT);
}

/* As many as there are ids, and around: an id that comes again is not seen through a mapping of the one that had it before. */
static void many(void)
{
	int node = node_open(O_RDWR);
	uint32_t device = device_find(node, "ivshmem", NULL);
	struct region old = region_new(node, 0, GRANULE), whole = region_new(node, 0, MIB);
	struct hearth_p2p_register r = { 0 };

	memset(whole.at, 0x5c, MIB);
	SAME(release_id(node, old.id), 0);
	for (int i = 0; i < 70000 && r.id != old.id; i++) {
		SAME(reg(node, device, 0, GRANULE, HEARTH_P2P_WRITE, &r), 0);
		if (r.id != old.id)
			SAME(release_id(node, r.id), 0);
	}
	SAME(r.id, old.id);
	SAME(touch(old.at), SIGBUS);
	SAME(release_id(node, r.id), 0);
}

struct race {
	int node;
	uint32_t id;
	pthread_barrier_t start;
};

static void *release_in_race(void *arg)
{
	struct race *race = arg;

	pthread_barrier_wait(&race->start);
	return (void *)(intptr_t)release_id(race->node, race->id);
}

static void twice_at_once(void)
{
	struct race race = { .node = node_open(O_RDWR) };

	for (int i = 0; i < 50; i++) {
		struct region r = region_new(race.node, 0, GRANULE);
		pthread_t other;
		void *theirs;
		long ours;

		r.at[0] = 1;
		race.id = r.id;
		pthread_barrier_init(&race.start, NULL, 2);
		CHECK(!pthread_create(&other, NULL, release_in_race, &race));
		ours = (long)release_in_race(&race);
		pthread_join(other, &theirs);
		CHECK((ours == 0 && (long)theirs == -ENOENT) || (ours == -ENOENT && !theirs));
		munmap(r.map, r.mapped);
	}
}

/* Another process may not use the descriptor, however it came by it. */
static void borrowed(void *arg)
{
	int node = *(int *)arg;
	struct hearth_p2p_info info = { .size = sizeof(info) };
	struct hearth_p2p_register r;

	SAME(command(node, HEARTH_P2P_INFO, &info), -EPERM);
	SAME(reg(node, 1, 0, 1, 0, &r), -EPERM);
	SAME(release_id(node, 1), -EPERM);
	SAME(mmap(NULL, GRANULE, PROT_READ, MAP_SHARED, node, 1ll << 40) == MAP_FAILED ? -errno : 0, -EPERM);
}

static void inherited(void)
{
	int node = node_open(O_RDWR);
	struct region r = region_new(node, 0, GRANULE);

	SAME(in_child(borrowed, &node), 0);
	region_end(&r);
}

/* --- nonsense --- */

static uint64_t next(uint64_t *seed)
{
	*seed = mix(*seed + 1);
	return *seed;
}

/* odd - a value of those that bugs like */
static uint64_t odd(uint64_t *seed)
{
	static const uint64_t values[] = { 0, 1, 2, 3, 7, 63 * MIB, 64 * MIB, 64 * MIB - 1, GRANULE, GRANULE - 1, GRANULE + 1, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX, 1ull << 40 };
	uint64_t r = next(seed);

	return r % 3 ? values[r / 8 % (sizeof(values) / sizeof(*values))] : r % 5 ? r % (80 * MIB) : r;
}

static void *nonsense(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	int node = node_open(O_RDWR), file = open_direct(DATA, O_RDONLY);
	union {
		uint32_t size;
		struct hearth_p2p_register reg;
		struct hearth_p2p_check check;
		uint64_t word[16];
	} x;

	for (int i = 0; i < FUZZ_CALLS; i++) {
		uint32_t cmd = HEARTH_P2P_CMD_INFO + next(&seed) % 6;
		void *map;

		for (int w = 0; w < 16; w++)
			x.word[w] = next(&seed) % 4 ? odd(&seed) & (next(&seed) % 2 ? UINT64_MAX : UINT32_MAX) : 0;
		x.size = next(&seed) % 8 ? (uint32_t[]){ sizeof(x.reg), sizeof(x.check), 8, 16 }[next(&seed) % 4] : (uint32_t)odd(&seed);
		if (next(&seed) % 2) {
			/* one that is nearly right */
			x.reg.flags = next(&seed) % 4;
			x.reg.device = 1 + next(&seed) % 2;
			if (cmd == HEARTH_P2P_CMD_CHECK)
				x.check = (struct hearth_p2p_check){ .size = sizeof(x.check), .flags = next(&seed) % 2 * HEARTH_P2P_READ, .id = 1 + next(&seed) % 8, .fd = next(&seed) % 3 ? file : (int)(next(&seed) % 6) };
			if (cmd == HEARTH_P2P_CMD_RELEASE)
				x.reg.flags = next(&seed) % 64;         /* the id */
		}
		ioctl(node, next(&seed) % 16 ? _IO(HEARTH_P2P_TYPE, cmd) : (unsigned long)next(&seed), next(&seed) % 32 ? &x : (void *)(uintptr_t)odd(&seed));
		if (next(&seed) % 4)
			continue;
		map = mmap(NULL, (1 + next(&seed) % 40) * PAGE, (int)(next(&seed) % 4), next(&seed) % 8 ? MAP_SHARED : MAP_PRIVATE, node, (off_t)(((next(&seed) % 20) << 40) + (next(&seed) % 40) * PAGE));
		if (map != MAP_FAILED) {
			touch(map);
			if (next(&seed) % 2)
				munmap(map, PAGE);
		}
	}
	close(node);
	close(file);
	return NULL;
}

/* Bounded, and the same each time. What it does not do is make the kernel complain. */
static void fuzz(void)
{
	pthread_t other;
	int node;

	CHECK(!pthread_create(&other, NULL, nonsense, (void *)1));
	nonsense((void *)2);
	pthread_join(other, NULL);
	node = node_open(O_RDWR);
	CHECK(device_find(node, "ivshmem", NULL));
}

const struct test node_tests[] = {
	{ "node: info and devices", devices },
	{ "node: structures of other sizes, other commands", sizes },
	{ "node: a reply that cannot be written leaves nothing", reply_fault },
	{ "node: permissions", permissions },
	{ "node: an object for reading only", read_only_object },
	{ "node: ranges outside of the BAR", ranges },
	{ "node: less than 64 KiB, and unaligned", small },
	{ "node: release twice", twice },
	{ "node: release twice at a time", twice_at_once },
	{ "node: ids that come again", many },
	{ "node: a descriptor of another process", inherited },
	{ "node: fuzz", fuzz },
	{ 0 },
};
