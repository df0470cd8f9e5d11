/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_DS_RIG_H
#define TESTS_UNIT_DS_RIG_H

/* cmocka.h wants these before it */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda/driver.h"
#include "hearth/ds.h"

/*
 * A file, what is in it, and memory of a device with a copy of what should be in that. Devices are "host", and those of the fake CUDA driver ($HEARTH_LIBCUDA); a test runs on each.
 */
struct rig {
	struct hearth_ds *ds;
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	struct hearth_ds_file *file;
	uint64_t at;                            /* memory, as it was registered */
	size_t memory_bytes;
	uint8_t *want;                          /* what should be in memory */
	uint8_t *shadow;                        /* what should be in the file, room for twice as much as it had */
	uint64_t bytes, room;                   /* of the file, of @shadow */
	int fd;                                 /* the file, to look at it by another way */
	char path[128];
	uint8_t *scratch;
	struct cuda cu;
	cu_context context;
	cu_stream stream;
};

/* ThreadSanitizer has addresses of its own where the fake driver wants its device memory */
#ifdef __SANITIZE_THREAD__
#define RIG_CUDA 0
#else
#define RIG_CUDA 1
#endif

/** rig_run - the tests, on a machine of their own with fake devices (tests/fake-cuda/inc/fake_cuda/machine.h). Return: as cmocka_run_group_tests. */
#define rig_run(config, tests) (rig_machine(config), rig_machine_gone(cmocka_run_group_tests(tests, NULL, NULL)))
static inline char *rig_machine_path(void)
{
	static char path[64] = "/tmp/hearth-ds-machine-XXXXXX";

	return path;
}

static inline void rig_machine(const char *config)
{
	if (!mkdtemp(rig_machine_path()))
		abort();
	setenv("HEARTH_FAKE_CUDA_DIR", rig_machine_path(), 1);
	setenv("HEARTH_FAKE_CUDA", config, 1);
}

static inline int rig_machine_gone(int failed)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/machine", rig_machine_path());
	unlink(path);
	snprintf(path, sizeof(path), "%s/process-%d", rig_machine_path(), (int)getpid());
	unlink(path);
	rmdir(rig_machine_path());
	return failed;
}

static inline void rig_cuda(struct rig *g, int ordinal)
{
	struct hearth_err err;
	cu_device device;

	assert_int_equal(cuda_load(&g->cu, NULL, &err), 0);
	assert_int_equal(g->cu.init(0), CU_OK);
	assert_int_equal(g->cu.device_get(&device, ordinal), CU_OK);
	assert_int_equal(g->cu.primary_retain(&g->context, device), CU_OK);
	assert_int_equal(g->cu.push_current(g->context), CU_OK);
	assert_int_equal(g->cu.mem_alloc(&g->at, g->memory_bytes), CU_OK);
	assert_int_equal(g->cu.stream_create(&g->stream, CU_STREAM_NONBLOCKING), CU_OK);
	assert_int_equal(g->cu.set_d8(g->at, 0, g->memory_bytes, g->stream), CU_OK);
	assert_int_equal(g->cu.stream_sync(g->stream), CU_OK);
	/* the thread has no context of its own: the library brings and takes away what it needs */
	assert_int_equal(g->cu.pop_current(&g->context), CU_OK);
}

/* what is in [offset, offset + n) of the memory, in @g->scratch */
static inline const uint8_t *rig_peek(struct rig *g, size_t offset, size_t n)
{
	if (!g->context)
		return (uint8_t *)(uintptr_t)g->at + offset;
	if (n == 0)
		return g->scratch;
	assert_int_equal(g->cu.push_current(g->context), CU_OK);
	assert_int_equal(g->cu.copy_dtoh(g->scratch, g->at + offset, n, g->stream), CU_OK);
	assert_int_equal(g->cu.stream_sync(g->stream), CU_OK);
	assert_int_equal(g->cu.pop_current(&g->context), CU_OK);
	return g->scratch;
}

static inline void rig_poke(struct rig *g, size_t offset, const uint8_t *from, size_t n)
{
	if (!g->context) {
		memcpy((uint8_t *)(uintptr_t)g->at + offset, from, n);
	} else if (n) {
		assert_int_equal(g->cu.push_current(g->context), CU_OK);
		assert_int_equal(g->cu.copy_htod(g->at + offset, from, n, g->stream), CU_OK);
		assert_int_equal(g->cu.stream_sync(g->stream), CU_OK);
		assert_int_equal(g->cu.pop_current(&g->context), CU_OK);
	}
	memmove(g->want + offset, from, n);
}

static inline void rig_compare_memory(struct rig *g)
{
	assert_memory_equal(rig_peek(g, 0, g->memory_bytes), g->want, g->memory_bytes);
}

static inline void rig_compare_file(struct rig *g)
{
	uint8_t *all = malloc(g->bytes + 1);

	assert_non_null(all);
	assert_int_equal(pread(g->fd, all, g->bytes + 1, 0), g->bytes);
	assert_memory_equal(all, g->shadow, g->bytes);
	free(all);
}

/* bytes that differ from place to place */
static inline void rig_fill(uint8_t *at, size_t n, uint64_t seed)
{
	for (size_t k = 0; k < n; k++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		at[k] = (uint8_t)(seed >> 56);
	}
}

/**
 * rig_open - @uri: "host", "cuda:N"; @place: a folder, NULL: $TMPDIR or /var/tmp, which are on a disk
 */
static inline void rig_open(struct rig *g, const char *uri, const char *place, uint64_t file_bytes, size_t memory_bytes, const struct hearth_ds_options *options)
{
	*g = (struct rig){ .bytes = file_bytes, .room = 2 * file_bytes + 4096, .memory_bytes = memory_bytes };
	g->shadow = calloc(1, g->room);
	g->want = calloc(1, memory_bytes);
	g->scratch = malloc(memory_bytes);
	assert_true(g->shadow && g->want && g->scratch);
	rig_fill(g->shadow, file_bytes, 7);
	snprintf(g->path, sizeof(g->path), "%s/hearth-ds-XXXXXX", place ? place : getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
	g->fd = mkstemp(g->path);
	assert_true(g->fd >= 0);
	for (uint64_t put = 0; put < file_bytes;) {
		ssize_t n = write(g->fd, g->shadow + put, file_bytes - put);

		assert_true(n > 0);
		put += (uint64_t)n;
	}
	assert_int_equal(fsync(g->fd), 0);
	if (strcmp(uri, "host") != 0) {
		rig_cuda(g, atoi(uri + 5));
	} else {
		void *at = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		assert_ptr_not_equal(at, MAP_FAILED);
		g->at = (uint64_t)(uintptr_t)at;
	}
	assert_int_equal(hearth_ds_open(options, &g->ds), 0);
	assert_int_equal(hearth_ds_device(g->ds, uri, &g->device), 0);
	assert_int_equal(hearth_ds_register(g->device, g->at, memory_bytes, &g->memory), 0);
	assert_int_equal(hearth_ds_file(g->ds, AT_FDCWD, g->path, O_RDWR, &g->file), 0);
}

/* nothing of the file is in the page cache any more, as far as the file system can do without */
static inline void rig_cold(struct rig *g)
{
	assert_int_equal(fsync(g->fd), 0);
	assert_int_equal(posix_fadvise(g->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static inline void rig_close(struct rig *g)
{
	assert_null(hearth_ds_close(g->ds));
	unlink(g->path);
	close(g->fd);
	if (g->context) {
		assert_int_equal(g->cu.push_current(g->context), CU_OK);
		assert_int_equal(g->cu.stream_destroy(g->stream), CU_OK);
		assert_int_equal(g->cu.mem_free(g->at), CU_OK);
		assert_int_equal(g->cu.pop_current(&g->context), CU_OK);
	} else {
		munmap((void *)(uintptr_t)g->at, g->memory_bytes);
	}
	free(g->want);
	free(g->shadow);
	free(g->scratch);
}

/* what is behind it in a stream waits until it is open */
struct gate { pthread_mutex_t lock; pthread_cond_t change; bool open; };

static inline void wait_at_gate(void *arg)
{
	struct gate *gate = arg;

	pthread_mutex_lock(&gate->lock);
	while (!gate->open)
		pthread_cond_wait(&gate->change, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

#endif
