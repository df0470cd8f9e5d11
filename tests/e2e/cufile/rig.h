/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CUFILE_RIG_H
#define TESTS_CUFILE_RIG_H

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "cufile/abi.h"

/*
 * What the tests of the drop-in share: files whose every byte is known by its offset, and handles. Each test begins with a closed driver and leaves it closed.
 */
#define FILE_BYTES (6u * 1024 * 1024 + 777)     /* some pieces, and an odd end */
#define GUARD 0xee

static char folder[64];

static inline uint8_t byte_at(uint64_t seed, uint64_t offset)
{
	uint64_t x = (offset >> 3) * 0x9e3779b97f4a7c15ull + seed;

	x ^= x >> 29;
	return (uint8_t)(x * 0xbf58476d1ce4e5b9ull >> (8 * (offset & 7)));
}

static inline const char *path_of(const char *name)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* a new file of @bytes of seed's contents. Return: a descriptor with @flags. */
static inline int make_file(const char *name, uint64_t seed, size_t bytes, int flags)
{
	uint8_t *data = malloc(bytes + 1);
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_non_null(data);
	assert_true(fd >= 0);
	for (size_t k = 0; k < bytes; k++)
		data[k] = byte_at(seed, k);
	for (size_t put = 0; put < bytes;) {
		ssize_t n = write(fd, data + put, bytes - put);

		assert_true(n > 0);
		put += (size_t)n;
	}
	free(data);
	close(fd);
	fd = open(path_of(name), flags);
	if (fd < 0 && (flags & O_DIRECT))       /* not with this file system: the same without, then */
		fd = open(path_of(name), flags & ~O_DIRECT);
	assert_true(fd >= 0);
	return fd;
}

static inline CUfileOpError register_fd(int fd, CUfileHandle_t *ret)
{
	CUfileDescr_t d = { .type = CU_FILE_HANDLE_TYPE_OPAQUE_FD, .handle.fd = fd };

	return cuFileHandleRegister(ret, &d).err;
}

static inline CUfileHandle_t handle_of(int fd)
{
	CUfileHandle_t h = NULL;

	assert_int_equal(register_fd(fd, &h), CU_FILE_SUCCESS);
	assert_non_null(h);
	return h;
}

/* @n bytes at @data are those of the file from @offset on */
static inline void assert_bytes(const uint8_t *data, uint64_t seed, uint64_t offset, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (data[k] != byte_at(seed, offset + k))
			fail_msg("byte %zu is %02x, offset %llu of the file has %02x", k, data[k], (unsigned long long)(offset + k), byte_at(seed, offset + k));
}

static inline void assert_all(const uint8_t *data, uint8_t value, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (data[k] != value)
			fail_msg("byte %zu is %02x instead of %02x", k, data[k], value);
}

static inline int rig_begin(void **state)
{
	temp_folder(folder);
	return 0;
}

static inline int rig_end(void **state)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command) == 0 ? 0 : -1;
}

static inline int driver_closed(void **state)
{
	while (cuFileUseCount() > 0)
		if (cuFileDriverClose_v2().err != CU_FILE_SUCCESS)
			return -1;
	return 0;
}

#endif
