/* SPDX-License-Identifier: Apache-2.0 */
/* The provider "nvidia", against a test double of the vendor's driver (double/) that keeps its rules. */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DOUBLE "/dev/nvidia_double"
#define BASE 0x7f0000000000ull
#define DEVICE_BYTES (16 * MIB)

/* struct counts - pins; given back; taken away by the driver; tables freed in its calls; rules broken */
struct counts {
	unsigned long get, put, freed, tables, bad;
};

static struct counts counts(void)
{
	char line[128] = "";
	struct counts c = { 0 };
	int fd = open(DOUBLE, O_RDONLY | O_CLOEXEC);

	CHECK(read(fd, line, sizeof(line) - 1) > 0);
	SAME(sscanf(line, "get %lu put %lu freed %lu tables %lu bad %lu", &c.get, &c.put, &c.freed, &c.tables, &c.bad), 5);
	close(fd);
	return c;
}

/* counted - since @before: so many pins, so many given back, so many taken away, and no rule broken */
static void counted(struct counts before, unsigned long get, unsigned long put, unsigned long freed)
{
	struct counts c = counts();

	SAME(c.get - before.get, get);
	SAME(c.put - before.put, put);
	SAME(c.freed - before.freed, freed);
	SAME(c.tables - before.tables, freed);
	SAME(c.bad, 0);
}

static void say(const char *line)
{
	write_text(DOUBLE, line);
}

static void owner_frees(uint64_t at, uint64_t bytes)
{
	char line[64];

	snprintf(line, sizeof(line), "free %llx %llx", (unsigned long long)at, (unsigned long long)bytes);
	say(line);
}

static struct region gpu(int node, uint64_t at, size_t bytes)
{
	return region_of(node, "nvidia", BASE + at, bytes);
}

/* Its granules are not in the order of its addresses, and are not rounded to by accident. */
static void scattered(void)
{
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY);
	struct counts before = counts();
	struct region r = gpu(node, GRANULE + 512, 3 * GRANULE), whole = gpu(node, 0, DEVICE_BYTES);

	read_all(fd, r.at, 3 * GRANULE, GRANULE);
	CHECK(expect_data(r.at, GRANULE, 3 * GRANULE));
	CHECK(expect_data(whole.at + GRANULE + 512, GRANULE, 3 * GRANULE));
	SAME(r.mapped, 4 * GRANULE);
	region_end(&r);
	region_end(&whole);
	counted(before, 2, 2, 0);
}

static void errors(void)
{
	int node = node_open(O_RDWR);
	uint32_t device = device_find(node, "nvidia", NULL);
	struct counts before = counts();
	struct hearth_p2p_register r;
	char line[32];
	static const struct {
		int from, to;
	} failing[] = { { EINVAL, -EINVAL }, { ENOMEM, -ENOMEM }, { EIO, -EIO }, { 524 /* ENOTSUPP */, -EOPNOTSUPP } };

	for (size_t i = 0; i < sizeof(failing) / sizeof(*failing); i++) {
		snprintf(line, sizeof(line), "fail %d", failing[i].from);
		say(line);
		SAME(reg(node, device, BASE, 1, 0, &r), failing[i].to);
	}
	SAME(reg(node, device, 0, GRANULE, 0, &r), -EINVAL);
	SAME(reg(node, device, BASE + DEVICE_BYTES, 1, 0, &r), -EINVAL);
	SAME(reg(node, device, BASE + DEVICE_BYTES - 1, 2, 0, &r), -EINVAL);
	SAME(reg(node, device, BASE, DEVICE_BYTES + 1, 0, &r), -ERANGE);
	counted(before, 0, 0, 0);
}

/* What the driver says is not believed: each is refused and given back. */
static void wrong_tables(void)
{
	int node = node_open(O_RDWR);
	uint32_t device = device_find(node, "nvidia", NULL);
	struct counts before = counts();
	struct hearth_p2p_register r;

	say("table version");
	SAME(reg(node, device, BASE, 2 * GRANULE, 0, &r), -EOPNOTSUPP);
	say("table size");
	SAME(reg(node, device, BASE, 2 * GRANULE, 0, &r), -EOPNOTSUPP);
	say("table entries");
	SAME(reg(node, device, BASE, 2 * GRANULE, 0, &r), -ERANGE);
	say("table foreign");
	SAME(reg(node, device, BASE, 2 * GRANULE, 0, &r), -ERANGE);
	counted(before, 4, 4, 0);
}

struct reading {
	uint8_t *at;
	volatile bool begun, failed;
};

static void *read_until_gone(void *arg)
{
	struct reading *x = arg;
	int fd = open_direct(DATA, O_RDONLY);

	while (pread(fd, x->at, MIB, 0) == (ssize_t)MIB)
		x->begun = true;
	SAME(errno, EFAULT);
	x->failed = true;
	close(fd);
	return NULL;
}

static bool begun(void *arg)
{
	return ((struct reading *)arg)->begun;
}

/* The owner frees memory under I/O: the driver's call returns only when nothing uses it, and it is not given back twice. */
static void freed(void)
{
	int node = node_open(O_RDWR);
	struct counts before = counts();
	struct region r = gpu(node, MIB, MIB), other = gpu(node, 4 * MIB, MIB);
	struct reading x = { .at = r.at };
	pthread_t thread;

	other.at[0] = 5;
	CHECK(!pthread_create(&thread, NULL, read_until_gone, &x));
	wait_until("reads", begun, &x);
	owner_frees(BASE + MIB, MIB);
	SAME(touch(r.at), SIGBUS);
	SAME(touch(r.at + MIB - 1), SIGBUS);
	pthread_join(thread, NULL);
	CHECK(x.failed);
	SAME(other.at[0], 5);
	counted(before, 2, 0, 1);
	SAME(release_id(node, r.id), 0);
	SAME(release_id(node, r.id), -ENOENT);
	region_end(&other);
	counted(before, 2, 1, 1);
}

struct race {
	int node;
	uint32_t id;
	uint64_t at;
	pthread_barrier_t start;
};

static void *release_thread(void *arg)
{
	struct race *race = arg;

	pthread_barrier_wait(&race->start);
	SAME(release_id(race->node, race->id), 0);
	return NULL;
}

/* Freed and released at the same time: each pin goes back once, by one of the two. */
static void freed_and_released(void)
{
	struct race race = { .node = node_open(O_RDWR) };
	struct counts before = counts(), after;

	pthread_barrier_init(&race.start, NULL, 2);
	for (int i = 0; i < 100; i++) {
		struct region r = gpu(race.node, (uint64_t)i % 16 * MIB, GRANULE);
		pthread_t thread;

		r.at[0] = 1;
		race.id = r.id;
		CHECK(!pthread_create(&thread, NULL, release_thread, &race));
		pthread_barrier_wait(&race.start);
		owner_frees(BASE + (uint64_t)i % 16 * MIB, GRANULE);
		pthread_join(thread, NULL);
		SAME(touch(r.at), SIGBUS);
		munmap(r.map, r.mapped);
	}
	after = counts();
	SAME(after.get - before.get, 100);
	SAME(after.put - before.put + after.freed - before.freed, 100);
	/* a call that comes while the pin is being given back leaves the table to the driver */
	CHECK(after.tables - before.tables <= after.freed - before.freed);
	SAME(after.bad, 0);
}

struct churn {
	int node;
	volatile bool stop;
};

static void *free_thread(void *arg)
{
	struct churn *c = arg;

	while (!c->stop)
		owner_frees(BASE, 4 * MIB);
	return NULL;
}

/* Freed while it is being registered. */
static void freed_and_registered(void)
{
	struct churn c = { .node = node_open(O_RDWR) };
	uint32_t device = device_find(c.node, "nvidia", NULL);
	struct counts before = counts(), after;
	struct hearth_p2p_register r;
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, free_thread, &c));
	for (int i = 0; i < 300; i++) {
		int rc = reg(c.node, device, BASE, 4 * MIB, HEARTH_P2P_WRITE, &r);

		CHECK(!rc || rc == -ESTALE);
		if (!rc)
			SAME(release_id(c.node, r.id), 0);
	}
	c.stop = true;
	pthread_join(thread, NULL);
	after = counts();
	SAME(after.put - before.put + after.freed - before.freed, after.get - before.get);
	SAME(after.bad, 0);
}

static int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	SAME(syscall(SYS_finit_module, fd, "", 0) ? -errno : 0, 0);
	close(fd);
}

/* What the driver exports may go while nothing is registered, and not before. */
static void driver_goes(void)
{
	int node = node_open(O_RDWR);
	struct hearth_p2p_register r;
	struct hearth_p2p_device d;
	struct region one = gpu(node, 0, 1);

	SAME(unload("nvidia_double_p2p"), -EAGAIN);
	region_end(&one);
	SAME(unload("nvidia_double_p2p"), 0);
	CHECK(device_find(node, "nvidia", &d));
	SAME(d.state, HEARTH_P2P_NO_DRIVER);
	SAME(reg(node, d.device, BASE, 1, 0, &r), -EOPNOTSUPP);
	load("/modules/nvidia_double_p2p.ko");
	CHECK(device_find(node, "nvidia", &d));
	SAME(d.state, HEARTH_P2P_READY);
	one = gpu(node, 0, 1);
	region_end(&one);
}

/* The vendor's driver leaves the device, in use. */
static void driver_unbound(void)
{
	int node = node_open(O_RDWR);
	struct counts before = counts();
	struct region r = gpu(node, 0, MIB);
	struct hearth_p2p_device d;

	CHECK(device_find(node, "nvidia", &d));
	r.at[0] = 1;
	write_text("/sys/bus/pci/drivers/nvidia/unbind", d.pci);
	SAME(touch(r.at), SIGBUS);
	SAME(device_find(node, "nvidia", NULL), 0);
	counted(before, 1, 1, 0);
	write_text("/sys/bus/pci/drivers/nvidia/bind", d.pci);
	SAME(release_id(node, r.id), 0);
	r = gpu(node, 0, MIB);
	region_end(&r);
	counted(before, 2, 2, 0);
}

static void rebind(const char *pci, const char *own_pages)
{
	write_text("/sys/bus/pci/drivers/nvidia/unbind", pci);
	write_text("/sys/module/nvidia_double/parameters/own_pages", own_pages);
	write_text("/sys/bus/pci/drivers/nvidia/bind", pci);
}

/* The vendor's driver has made pages of the memory itself: it is left alone. */
static void driver_owns(void)
{
	int node = node_open(O_RDWR);
	struct counts before = counts();
	struct hearth_p2p_register r;
	struct hearth_p2p_device d;
	struct region one;

	CHECK(device_find(node, "nvidia", &d));
	rebind(d.pci, "1");
	CHECK(device_find(node, "nvidia", &d));
	SAME(d.state, HEARTH_P2P_OWNED);
	SAME(reg(node, d.device, BASE, GRANULE, 0, &r), -EBUSY);
	counted(before, 1, 1, 0);
	rebind(d.pci, "0");
	CHECK(device_find(node, "nvidia", &d));
	SAME(d.state, HEARTH_P2P_READY);
	one = gpu(node, 0, GRANULE);
	one.at[0] = 1;
	region_end(&one);
}

/* A process that ends gives all back. */
static void leave(void *arg)
{
	int node = node_open(O_RDWR);

	for (int i = 0; i < 8; i++)
		gpu(node, (uint64_t)i * MIB, MIB).at[0] = 1;
}

static void process_ends(void)
{
	struct counts before = counts();

	SAME(in_child(leave, NULL), 0);
	counted(before, 8, 8, 0);
}

const struct test nvidia_tests[] = {
	{ "nvidia: scattered memory, less than 64 KiB", scattered },
	{ "nvidia: the driver fails", errors },
	{ "nvidia: tables that are wrong, pages outside of the BAR", wrong_tables },
	{ "nvidia: freed under I/O", freed },
	{ "nvidia: freed and released at a time", freed_and_released },
	{ "nvidia: freed and registered at a time", freed_and_registered },
	{ "nvidia: the driver's functions go and come", driver_goes },
	{ "nvidia: the driver leaves the device", driver_unbound },
	{ "nvidia: the driver has made pages itself", driver_owns },
	{ "nvidia: the process ends", process_ends },
	{ 0 },
};
