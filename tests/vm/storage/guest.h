/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_STORAGE_GUEST_H
#define VM_STORAGE_GUEST_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "../../../kmod/hearth_p2p.h"

/*
 * Tests of hearth_p2p.ko, run as PID 1's child in a guest that has nothing else (init.sh). Each test is a process of its own: what it leaves open goes with it.
 */

#define KIB 1024ul
#define MIB (1024ul * KIB)
#define PAGE 4096ul
#define GRANULE (64 * KIB)

/* What the host made (tools/vm-storage): a file system with a file of DATA_BYTES, whose words are mix(index), and a file of the same size to write to. */
#define DATA "/mnt/data"
#define OUT "/mnt/out"
#define DATA_BYTES (16 * MIB)

struct test {
	const char *name;
	void (*run)(void);
};

extern const struct test node_tests[], map_tests[], io_tests[], end_tests[], check_tests[], nvidia_tests[], lib_tests[], load_tests[], remote_set_up[], remote_tests[];

/* --- failing: ends the test's process --- */

void fail_at(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));
#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(cond)                            \
	do {                                   \
		if (!(cond))                   \
			FAIL("not so: " #cond); \
	} while (0)
/* SAME - of two integers */
#define SAME(got, expected)                                                                             \
	do {                                                                                            \
		long long got_ = (long long)(got), expected_ = (long long)(expected);                   \
		if (got_ != expected_)                                                                  \
			FAIL("%s is %lld, not %lld (%s)", #got, got_, expected_, #expected);            \
	} while (0)
/* NOTE - a line for the host */
void NOTE(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- the module --- */

int node_open(int flags);
int command(int node, unsigned long request, void *arg);
/* device_find - the first of a provider. @ret: may be NULL. Return: its id, 0 if there is none. */
uint32_t device_find(int node, const char *provider, struct hearth_p2p_device *ret);
int reg(int node, uint32_t device, uint64_t at, uint64_t bytes, uint32_t flags, struct hearth_p2p_register *ret);
int release_id(int node, uint32_t id);

/* struct region - registered and mapped; at[0] is what was asked for */
struct region {
	int node;
	uint32_t id;
	uint8_t *at, *map;
	size_t bytes, mapped;
};
/* region_new - of the ivshmem device, writable */
struct region region_new(int node, uint64_t at, size_t bytes);
struct region region_of(int node, const char *provider, uint64_t at, size_t bytes);
void region_end(struct region *r);

/* --- storage --- */

uint64_t mix(uint64_t index);
/* expect_data - bytes as DATA has them at an offset (a multiple of 8). Return: whether they are. */
bool expect_data(const void *got, uint64_t offset, size_t bytes);
int open_direct(const char *path, int flags);
void read_all(int fd, void *to, size_t bytes, uint64_t offset);
void write_all(int fd, const void *from, size_t bytes, uint64_t offset);
void *pages(size_t bytes);

/* dma_begin, dma_end - the host counts where the storage's DMA between the two went, and compares with @asked */
void dma_begin(void);
void dma_end(const char *what, size_t asked);

/* --- the rest --- */

/* touch - read a byte of memory that may not be there. Return: 0, the signal that came. */
int touch(const volatile void *at);
/* in_child - run a function in a child. Return: its exit status, -1 after a failure there. */
int in_child(void (*run)(void *), void *arg);
void write_text(const char *path, const char *text);
/* put_text - the same. Return: 0, -errno. */
int put_text(const char *path, const char *text);
/* wait_until - give up after 20 s */
void wait_until(const char *what, bool (*is)(void *), void *arg);

#endif
