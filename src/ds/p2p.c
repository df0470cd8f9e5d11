/* SPDX-License-Identifier: Apache-2.0 */
#include "p2p.h"

#include <base/fd.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_BYTES 4096

static int command(int node, unsigned long request, void *arg)
{
	return ioctl(node, request, arg) < 0 ? -errno : 0;
}

static int cannot_open(int code, struct hearth_err *err)
{
	if (code == -ENOENT || code == -ENXIO || code == -ENODEV)
		return err_set(err, -ENOENT, "%s: the kernel module hearth_p2p is not loaded: modprobe hearth_p2p (kmod/README.md)", HEARTH_P2P_NODE);
	if (code == -EACCES || code == -EPERM)
		return err_set(err, -EACCES, "%s: this user may not open it: its owner and mode say who may (kmod/README.md)", HEARTH_P2P_NODE);
	return err_set(err, code, "cannot open %s: %s", HEARTH_P2P_NODE, strerror(-code));
}

int p2p_open(int *ret_node, struct hearth_err *err)
{
	struct hearth_p2p_info info = { .size = sizeof(info) };
	int node = open(HEARTH_P2P_NODE, O_RDWR | O_CLOEXEC), rc;

	if (node < 0)
		return cannot_open(-errno, err);
	rc = command(node, HEARTH_P2P_INFO, &info);
	if (rc || info.abi != HEARTH_P2P_ABI) {
		fd_close(&node);
		return err_set(err, -EPROTO, "%s: the module is of another version than this program: build both from the same source", HEARTH_P2P_NODE);
	}
	*ret_node = node;
	return 0;
}

int p2p_next(int node, uint32_t *at, struct hearth_p2p_device *ret)
{
	struct hearth_p2p_device device = { .size = sizeof(device), .device = *at };
	int rc = command(node, HEARTH_P2P_DEVICE, &device);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	*at = device.device + 1;
	*ret = device;
	return 1;
}

static bool same_pci(const char *full, const char *asked)
{
	return !strcasecmp(full, asked) || (!strncmp(full, "0000:", 5) && !strcasecmp(full + 5, asked));
}

static int usable(const struct hearth_p2p_device *device, struct hearth_err *err)
{
	switch (device->state) {
	case HEARTH_P2P_READY:
		return 0;
	case HEARTH_P2P_OWNED:
		return err_set(err, -EBUSY, "%s: its driver has made pages of its memory for P2PDMA itself; hearth_p2p leaves it alone", device->pci);
	default:
		return err_set(err, -EOPNOTSUPP, "%s: the driver %s is not loaded, or is one that does not let GPL modules pin device memory", device->pci, device->provider);
	}
}

int p2p_find(int node, const char *pci, struct hearth_p2p_device *ret, struct hearth_err *err)
{
	struct hearth_p2p_device device;
	uint32_t at = 0;
	int rc;

	while ((rc = p2p_next(node, &at, &device)) > 0) {
		if (!same_pci(device.pci, pci))
			continue;
		rc = usable(&device, err);
		if (!rc)
			*ret = device;
		return rc;
	}
	if (rc)
		return err_set(err, rc, "%s: cannot list its devices: %s", HEARTH_P2P_NODE, strerror(-rc));
	return err_set(err, -ENODEV, "%s: hearth_p2p knows no device there: is it one that it supports, and is its driver loaded?", pci);
}

static int cannot_register(int code, const struct hearth_p2p_device *device, uint64_t at, size_t bytes, struct hearth_err *err)
{
	const char *why = strerror(-code);

	if (code == -ERANGE || code == -EINVAL)
		why = "it is not memory of this device";
	else if (code == -EBUSY)
		why = "the device's driver has made pages of its memory for P2PDMA itself";
	else if (code == -EOPNOTSUPP)
		why = "the device's driver is not loaded or cannot pin it";
	else if (code == -EPERM)
		why = "the module was opened by another process";
	return err_set(err, code, "%s: cannot register %zu bytes at %#llx: %s", device->pci, bytes, (unsigned long long)at, why);
}

int p2p_register(int node, const struct hearth_p2p_device *device, uint64_t at, size_t bytes, bool writable, struct p2p_map *ret, struct hearth_err *err)
{
	struct hearth_p2p_register reg = { .size = sizeof(reg), .flags = writable ? HEARTH_P2P_WRITE : 0, .device = device->device, .at = at, .bytes = bytes };
	struct hearth_p2p_release release = { .size = sizeof(release) };
	int rc = command(node, HEARTH_P2P_REGISTER, &reg);
	void *map;

	if (rc)
		return cannot_register(rc, device, at, bytes, err);
	map = mmap(NULL, reg.mapped, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, node, (off_t)reg.offset);
	if (map == MAP_FAILED) {
		rc = -errno;
		release.id = reg.id;
		command(node, HEARTH_P2P_RELEASE, &release);
		return err_set(err, rc, "%s: cannot map %llu bytes of it: %s", device->pci, (unsigned long long)reg.mapped, strerror(-rc));
	}
	*ret = (struct p2p_map){ .addr = (char *)map + reg.skew, .bytes = bytes, .writable = writable, .node = node, .id = reg.id, .map = map, .mapped = reg.mapped };
	return 0;
}

void p2p_release(struct p2p_map *map)
{
	struct hearth_p2p_release release = { .size = sizeof(release), .id = map->id };

	if (!map->id)
		return;
	munmap(map->map, map->mapped);
	while (command(map->node, HEARTH_P2P_RELEASE, &release) == -EINTR)
		;
	memset(map, 0, sizeof(*map));
}

/* --- trust --- */

/* nameless_beside - a file of a page on the file system of another, open with O_DIRECT. Return: descriptor, -errno. */
static int nameless_beside(int fd)
{
	char link[64], path[PATH_MAX], *slash;
	ssize_t n;
	int file;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return -ENOENT;
	slash[slash == path] = '\0';
	file = open(path, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
	return file < 0 ? -errno : file;
}

static int same_storage(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) || fstat(b, &sb) || sa.st_dev != sb.st_dev ? -EXDEV : 0;
}

/* fill - put bytes on the storage that are not zero, for the test to find */
static int fill(int file)
{
	unsigned char *page = aligned_alloc(TEST_BYTES, TEST_BYTES);
	ssize_t n;

	if (!page)
		return -ENOMEM;
	for (int i = 0; i < TEST_BYTES; i++)
		page[i] = (unsigned char)(i * 131 + (i >> 8) + 1);
	n = pwrite(file, page, TEST_BYTES, 0);
	n = n < 0 ? -errno : n == TEST_BYTES ? 0 : -ENOSPC;
	free(page);
	return (int)n;
}

static int check(const struct p2p_map *map, int fd, uint32_t what, struct hearth_p2p_check *ret)
{
	*ret = (struct hearth_p2p_check){ .size = sizeof(*ret), .flags = what, .id = map->id, .fd = fd };
	return command(map->node, HEARTH_P2P_CHECK, ret);
}

/* Of a regular file; the test file is ours, so that both directions can be tried. Return: as p2p_trust, -EAGAIN (no such file can be had). */
static int try_beside(const struct p2p_map *map, int fd, uint32_t what)
{
	struct hearth_p2p_check c;
	FD_AUTO int file = nameless_beside(fd);

	if (file < 0 || same_storage(file, fd) || fill(file))
		return -EAGAIN;
	return check(map, file, what, &c);
}

/* The file itself is only ever read. */
static int try_itself(const struct p2p_map *map, int fd, uint32_t what)
{
	char path[64];
	struct hearth_p2p_check c;
	FD_AUTO int file = -1;

	if (what & HEARTH_P2P_WRITE)
		return -EACCES;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	file = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	return file < 0 ? -errno : check(map, file, what, &c);
}

static int not_trusted(int code, bool tried, struct hearth_err *err)
{
	if (code == -EXDEV)
		return err_set(err, code, "storage and device are behind different host bridges");
	if (code == -EREMOTEIO)
		return err_set(err, code, "bytes sent between storage and device do not arrive: the machine's bridges or its IOMMU do not pass them on");
	if (code == -ENODATA)
		return err_set(err, code, "the way between storage and device could not be tried: the file is shorter than a page, and no other can be made beside it");
	if (code == -EACCES && tried)
		return err_set(err, code, "the way from device to storage could not be tried: no file can be made beside this one");
	return err_set(err, code, "the way between storage and device could not be tried: %s", strerror(-code));
}

int p2p_trust(const struct p2p_map *map, int fd, bool write, struct hearth_err *err)
{
	const uint32_t what = HEARTH_P2P_READ | (write ? HEARTH_P2P_WRITE : 0);
	struct hearth_p2p_check c;
	int rc = check(map, fd, 0, &c);

	if (rc)
		return not_trusted(rc, false, err);
	if (!(what & ~c.tested))
		return 0;
	rc = try_beside(map, fd, HEARTH_P2P_READ | HEARTH_P2P_WRITE);
	if (rc == -EAGAIN)
		rc = try_itself(map, fd, what);
	return rc ? not_trusted(rc, true, err) : 0;
}
