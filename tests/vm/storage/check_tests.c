/* SPDX-License-Identifier: Apache-2.0 */
/* Whether two devices are trusted to reach each other; and the user side that the library has. */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../src/ds/p2p.h"

/* The NVMe behind a host bridge of its own. */
#define FAR "/dev/far"

static int check(int node, uint32_t id, int fd, uint32_t flags, struct hearth_p2p_check *ret)
{
	*ret = (struct hearth_p2p_check){ .size = sizeof(*ret), .flags = flags, .id = id, .fd = fd };
	return command(node, HEARTH_P2P_CHECK, ret);
}

/* What passed is forgotten with the device. */
static void forget(void)
{
	struct hearth_p2p_device d;
	int node = node_open(O_RDWR);

	CHECK(device_find(node, "ivshmem", &d));
	close(node);
	write_text("/sys/bus/pci/drivers/hearth_p2p/unbind", d.pci);
	write_text("/sys/bus/pci/drivers/hearth_p2p/bind", d.pci);
}

static void topology(void)
{
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY), far = open_direct(FAR, O_RDONLY);
	struct region near = region_new(node, 0, PAGE), root = region_of(node, "nvidia", 0x7f0000000000, PAGE);
	struct hearth_p2p_check c;

	SAME(check(node, near.id, fd, 0, &c), 0);
	SAME(c.link, HEARTH_P2P_LINK_SWITCH);
	SAME(c.hops, 3);
	SAME(check(node, root.id, fd, 0, &c), 0);
	SAME(c.link, HEARTH_P2P_LINK_ROOT);
	SAME(c.hops, 0);
	SAME(check(node, near.id, far, HEARTH_P2P_READ, &c), -EXDEV);
	SAME(check(node, root.id, far, 0, &c), -EXDEV);
}

static void self_test(void)
{
	int node, fd = open_direct(DATA, O_RDONLY), out = open_direct(OUT, O_RDWR), empty = open_direct("/mnt/empty", O_RDWR | O_CREAT);
	struct hearth_p2p_check c;
	struct region r;
	uint8_t *before = pages(PAGE);

	forget();
	node = node_open(O_RDWR);
	r = region_new(node, 3 * GRANULE, 2 * PAGE);
	for (size_t i = 0; i < 2 * PAGE; i++)
		r.at[i] = (uint8_t)mix(i);
	SAME(check(node, r.id, fd, 0, &c), 0);
	SAME(c.tested, 0);
	SAME(check(node, r.id, empty, HEARTH_P2P_READ, &c), -ENODATA);
	SAME(check(node, r.id, fd, HEARTH_P2P_READ, &c), 0);
	SAME(c.tested, HEARTH_P2P_READ);
	SAME(check(node, r.id, fd, HEARTH_P2P_WRITE, &c), -EACCES);
	read_all(out, before, PAGE, 0);
	SAME(check(node, r.id, out, HEARTH_P2P_READ | HEARTH_P2P_WRITE, &c), 0);
	SAME(c.tested, HEARTH_P2P_READ | HEARTH_P2P_WRITE);
	for (size_t i = 0; i < 2 * PAGE; i++)
		SAME(r.at[i], (uint8_t)mix(i));
	/* known now, whatever the file is like */
	SAME(check(node, r.id, empty, HEARTH_P2P_READ | HEARTH_P2P_WRITE, &c), 0);
	forget();
	SAME(check(node, r.id, fd, HEARTH_P2P_READ, &c), -ESTALE);
	write_all(out, before, PAGE, 0);
}

/* memory_decoding - let the device answer to addresses, or not */
static void memory_decoding(const char *pci, bool on)
{
	char path[64];
	uint16_t command;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", pci);
	fd = open(path, O_RDWR | O_CLOEXEC);
	SAME(pread(fd, &command, sizeof(command), 4), sizeof(command));
	command = (uint16_t)(on ? command | 2 : command & ~2);
	SAME(pwrite(fd, &command, sizeof(command), 4), sizeof(command));
	close(fd);
}

/* A device that bytes do not reach: the test must say so, and not be remembered as passed. */
static void unreachable(void)
{
	int node, fd = open_direct(DATA, O_RDONLY), out = open_direct(OUT, O_RDWR);
	struct hearth_p2p_device d;
	struct hearth_p2p_check c;
	struct region r;
	uint8_t *before = pages(PAGE);
	int rc[2];

	forget();
	node = node_open(O_RDWR);
	CHECK(device_find(node, "ivshmem", &d));
	r = region_new(node, 0, PAGE);
	read_all(out, before, PAGE, 0);
	memory_decoding(d.pci, false);
	rc[0] = check(node, r.id, fd, HEARTH_P2P_READ, &c);
	rc[1] = check(node, r.id, out, HEARTH_P2P_WRITE, &c);
	memory_decoding(d.pci, true);
	SAME(rc[0], -EREMOTEIO);
	SAME(rc[1], -EREMOTEIO);
	SAME(check(node, r.id, fd, 0, &c), 0);
	SAME(c.tested, 0);
	SAME(check(node, r.id, fd, HEARTH_P2P_READ, &c), 0);
	write_all(out, before, PAGE, 0);
}

static void wrong_files(void)
{
	int node, direct = open_direct(DATA, O_RDONLY), cached = open(DATA, O_RDONLY), pipes[2], sockets[2];
	struct hearth_p2p_register read_only;
	struct hearth_p2p_check c;
	struct region r;

	forget();
	node = node_open(O_RDWR);
	r = region_new(node, 0, PAGE);
	CHECK(!pipe(pipes) && !socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	SAME(check(node, r.id, -1, HEARTH_P2P_READ, &c), -EBADF);
	SAME(check(node, r.id, 9999, HEARTH_P2P_READ, &c), -EBADF);
	SAME(check(node, 77, direct, HEARTH_P2P_READ, &c), -ENOENT);
	SAME(check(node, r.id, cached, HEARTH_P2P_READ, &c), -EINVAL);
	SAME(check(node, r.id, pipes[0], HEARTH_P2P_READ, &c), -EINVAL);
	SAME(check(node, r.id, sockets[0], HEARTH_P2P_READ, &c), -EINVAL);
	SAME(check(node, r.id, node, HEARTH_P2P_READ, &c), -EINVAL);
	SAME(check(node, r.id, open("/dev/zero", O_RDWR), HEARTH_P2P_READ, &c), -EINVAL);
	SAME(check(node, r.id, open("/mnt", O_RDONLY), HEARTH_P2P_READ, &c), -EINVAL);
	SAME(check(node, r.id, open(DATA, O_PATH), HEARTH_P2P_READ, &c), -EBADF);
	SAME(check(node, r.id, open_direct(OUT, O_WRONLY), HEARTH_P2P_WRITE, &c), -EINVAL);
	SAME(check(node, r.id, direct, 8, &c), -EOPNOTSUPP);
	SAME(reg(node, device_find(node, "ivshmem", NULL), 0, PAGE, 0, &read_only), 0);
	SAME(check(node, read_only.id, direct, HEARTH_P2P_READ, &c), -EACCES);
	SAME(check(node, r.id, direct, HEARTH_P2P_READ, &c), 0);
}

/* --- src/ds/p2p.c --- */

static void says(int rc, int expected, const struct hearth_err *err, const char *word)
{
	SAME(rc, expected);
	if (!strstr(err->msg, word))
		FAIL("the message lacks \"%s\": %s", word, err->msg);
}

static void user_side(void)
{
	struct hearth_err err = { 0 };
	struct hearth_p2p_device d;
	struct p2p_map map = { 0 };
	int node, fd = open_direct(DATA, O_RDONLY), far = open_direct(FAR, O_RDONLY), empty = open_direct("/mnt/empty", O_RDWR | O_CREAT);
	uint32_t at = 0;
	char pci[24] = "";

	forget();
	SAME(p2p_open(&node, &err), 0);
	while (p2p_next(node, &at, &d) > 0)
		if (!strcmp(d.provider, "ivshmem"))
			snprintf(pci, sizeof(pci), "%s", d.pci);
	says(p2p_find(node, "0000:77:00.0", &d, &err), -ENODEV, &err, "0000:77:00.0");
	SAME(p2p_find(node, pci + 5, &d, &err), 0);
	SAME(p2p_find(node, pci, &d, &err), 0);
	says(p2p_register(node, &d, d.bytes, 1, true, &map, &err), -ERANGE, &err, "not memory of this device");
	SAME(p2p_register(node, &d, 12345, 2 * MIB, true, &map, &err), 0);
	says(p2p_trust(&map, far, false, &err), -EXDEV, &err, "host bridges");
	/* an empty file, which is written: another is made beside it for the test */
	SAME(p2p_trust(&map, empty, true, &err), 0);
	SAME(p2p_trust(&map, fd, false, &err), 0);
	map.addr = (char *)map.addr + (PAGE - 12345 % PAGE);
	read_all(fd, map.addr, MIB, MIB);
	CHECK(expect_data(map.addr, MIB, MIB));
	p2p_release(&map);
	p2p_release(&map);
	close(node);
}

static void *as_nobody(void)
{
	static struct hearth_err err;
	int node;

	CHECK(!setgid(1000) && !setuid(1000));
	says(p2p_open(&node, &err), -EACCES, &err, "may not open it");
	return NULL;
}

static void user_side_denied(void)
{
	as_nobody();
}

const struct test check_tests[] = {
	{ "check: topology", topology },
	{ "check: DMA self-test", self_test },
	{ "check: a device that bytes do not reach", unreachable },
	{ "check: files that it cannot be done with", wrong_files },
	{ "check: the library's side", user_side },
	{ "check: the library's side, without permission", user_side_denied },
	{ 0 },
};
