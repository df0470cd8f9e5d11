/* SPDX-License-Identifier: Apache-2.0 */
/* The drop-in with memory of the host, in a process that has no CUDA driver: every call, and what is wrong with its arguments. */
#include "rig.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- driver ---- */

static void test_driver(void **state)
{
	CUfileDrvProps_t p;
	int version = 0, fd = make_file("f", 1, 100, O_RDONLY);
	CUfileHandle_t h;

	assert_int_equal(cuFileGetVersion(&version).err, CU_FILE_SUCCESS);
	assert_true(version >= 1150);
	assert_int_equal(cuFileGetVersion(NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileUseCount(), 0);
	assert_int_equal(cuFileDriverClose().err, CU_FILE_DRIVER_NOT_INITIALIZED);
	h = handle_of(fd);
	assert_int_equal(cuFileUseCount(), 1);          /* opened by its first use */
	assert_int_equal(cuFileDriverOpen().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileUseCount(), 2);
	assert_int_equal(cuFileDriverGetProperties(&p).err, CU_FILE_SUCCESS);
	assert_int_equal(p.nvfs.major_version, 0);
	assert_int_equal(p.nvfs.dcontrolflags, 1 << CU_FILE_ALLOW_COMPAT_MODE);
	assert_true(p.fflags & 1 << CU_FILE_BATCH_IO_SUPPORTED);
	assert_true(p.fflags & 1 << CU_FILE_STREAMS_SUPPORTED);
	assert_true(p.max_batch_io_size > 128);
	assert_int_equal(p.max_device_cache_size, 128 << 10);
	assert_int_equal(cuFileDriverGetProperties(NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileDriverClose().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileUseCount(), 1);
	assert_int_equal(cuFileDriverClose_v2().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileUseCount(), 0);
	/* what it had is gone; it opens again */
	assert_int_equal(cuFileRead(h, &p, 1, 0, 0), -CU_FILE_HANDLE_NOT_REGISTERED);
	assert_int_equal(cuFileUseCount(), 1);
	close(fd);
}

static void test_limits_of_driver(void **state)
{
	CUfileDrvProps_t p;
	uint8_t byte;

	assert_int_equal(cuFileDriverSetMaxCacheSize(64 << 10).err, CU_FILE_DRIVER_NOT_INITIALIZED);
	assert_int_equal(cuFileDriverSetPollMode(false, 4).err, CU_FILE_DRIVER_NOT_INITIALIZED);
	assert_int_equal(cuFileDriverOpen().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileDriverSetMaxCacheSize(64 << 10).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileDriverSetMaxCacheSize(0).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileDriverSetMaxDirectIOSize(16384).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileDriverSetMaxDirectIOSize(4).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileDriverSetMaxPinnedMemSize(UINT64_MAX).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileDriverSetPollMode(false, 4).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileDriverSetPollMode(true, 4).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileDriverGetProperties(&p).err, CU_FILE_SUCCESS);
	assert_int_equal(p.max_device_cache_size, 64 << 10);
	assert_int_equal(p.nvfs.max_direct_io_size, 16384);
	/* memory for transfers has its size from the first buffer or file on */
	assert_int_equal(cuFileBufRegister(&byte, 1, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileDriverSetMaxCacheSize(32 << 10).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileDriverSetMaxCacheSize(64 << 10).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileGetBARSizeInKB(0, &(size_t){ 0 }).err, CU_FILE_PLATFORM_NOT_SUPPORTED);
}

/* ---- files ---- */

static void test_register_wrong(void **state)
{
	CUfileDescr_t d = { .type = CU_FILE_HANDLE_TYPE_OPAQUE_FD };
	CUfileFSOps_t ops = { 0 };
	CUfileHandle_t h = NULL;
	int fd = make_file("f", 1, 100, O_RDONLY), pipes[2], other;

	assert_int_equal(cuFileHandleRegister(NULL, &d).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileHandleRegister(&h, NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(register_fd(-1, &h), CU_FILE_INVALID_VALUE);
	assert_int_equal(register_fd(INT_MAX, &h), CU_FILE_INVALID_VALUE);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(register_fd(pipes[0], &h), CU_FILE_INVALID_FILE_TYPE);
	close(pipes[0]);
	assert_int_equal(register_fd(pipes[0], &h), CU_FILE_INVALID_VALUE);     /* closed */
	close(pipes[1]);
	other = open(folder, O_RDONLY | O_DIRECTORY);
	assert_int_equal(register_fd(other, &h), CU_FILE_INVALID_FILE_TYPE);
	close(other);
	other = open(path_of("f"), O_WRONLY | O_APPEND);
	assert_int_equal(register_fd(other, &h), CU_FILE_INVALID_FILE_OPEN_FLAG);
	close(other);
	other = open(path_of("f"), O_PATH);
	assert_int_equal(register_fd(other, &h), CU_FILE_INVALID_FILE_OPEN_FLAG);
	close(other);
	d = (CUfileDescr_t){ .type = CU_FILE_HANDLE_TYPE_OPAQUE_WIN32 };
	assert_int_equal(cuFileHandleRegister(&h, &d).err, CU_FILE_IO_NOT_SUPPORTED);
	d = (CUfileDescr_t){ .type = CU_FILE_HANDLE_TYPE_USERSPACE_FS, .fs_ops = &ops };
	assert_int_equal(cuFileHandleRegister(&h, &d).err, CU_FILE_IO_NOT_SUPPORTED);
	assert_null(h);
	h = handle_of(fd);
	assert_int_equal(register_fd(fd, &h), CU_FILE_HANDLE_ALREADY_REGISTERED);
	cuFileHandleDeregister(h);
	cuFileHandleDeregister(h);
	cuFileHandleDeregister(NULL);
	cuFileHandleDeregister((CUfileHandle_t)0x1234567890);
	h = handle_of(fd);                                                      /* once more is fine */
	close(fd);
}

/* a program that closes its descriptor, and gets the number again for another file: a handle goes on with what it was made of */
static void test_closed_descriptor(void **state)
{
	int a = make_file("a", 1, FILE_BYTES, O_RDONLY), b;
	CUfileHandle_t old = handle_of(a), now;
	static uint8_t data[5000];

	assert_int_equal(cuFileRead(old, data, sizeof(data), 33, 0), sizeof(data));
	close(a);
	assert_int_equal(cuFileRead(old, data, sizeof(data), 33, 0), sizeof(data));
	assert_bytes(data, 1, 33, sizeof(data));
	b = make_file("b", 2, FILE_BYTES, O_RDONLY);
	assert_int_equal(b, a);
	now = handle_of(b);
	assert_int_equal(cuFileRead(now, data, sizeof(data), 33, 0), sizeof(data));
	assert_bytes(data, 2, 33, sizeof(data));
	assert_int_equal(cuFileRead(old, data, sizeof(data), 33, 0), sizeof(data));
	assert_bytes(data, 1, 33, sizeof(data));
	cuFileHandleDeregister(old);
	assert_int_equal(register_fd(b, &old), CU_FILE_HANDLE_ALREADY_REGISTERED);
	cuFileHandleDeregister(now);
	assert_true(fcntl(b, F_GETFD) >= 0);
	close(b);
}

/* descriptor 0 is a descriptor, and the program's */
static void test_descriptor_0(void **state)
{
	int fd = make_file("f", 1, 1000, O_RDONLY), kept = dup(0);
	uint8_t data[1000];
	CUfileHandle_t h;

	assert_int_equal(dup2(fd, 0), 0);
	close(fd);
	h = handle_of(0);
	assert_int_equal(cuFileRead(h, data, sizeof(data), 0, 0), sizeof(data));
	assert_bytes(data, 1, 0, sizeof(data));
	cuFileHandleDeregister(h);
	assert_true(fcntl(0, F_GETFD) >= 0);
	h = handle_of(0);
	driver_closed(NULL);
	assert_true(fcntl(0, F_GETFD) >= 0);
	assert_int_equal(lseek(0, 0, SEEK_CUR), 0);             /* its offset is not touched either */
	if (kept >= 0) {
		dup2(kept, 0);
		close(kept);
	}
}

/* a program that has closed its standard input may open something there at any time: nothing of ours is in its way */
static void test_number_0_stays_free(void **state)
{
	static uint8_t data[2][200000];
	int fd = make_file("f", 1, FILE_BYTES, O_RDONLY), kept = dup(0);
	CUfileIOParams_t p = { .mode = CUFILE_BATCH, .u.batch = { data[1], 5, 0, sizeof(data[1]) } };
	CUfileBatchHandle_t batch;
	CUfileIOEvents_t e;
	unsigned nr = 1;
	CUfileHandle_t h;

	close(0);
	h = p.fh = handle_of(fd);
	assert_int_equal(cuFileRead(h, data[0], sizeof(data[0]), 5, 0), sizeof(data[0]));
	assert_int_equal(cuFileBatchIOSetUp(&batch, 1).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOSubmit(batch, 1, &p, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOGetStatus(batch, 1, &nr, &e, NULL).err, CU_FILE_SUCCESS);
	assert_int_equal(fcntl(0, F_GETFD), -1);
	assert_bytes(data[0], 1, 5, sizeof(data[0]));
	assert_bytes(data[1], 1, 5, sizeof(data[1]));
	driver_closed(NULL);
	if (kept >= 0) {
		dup2(kept, 0);
		close(kept);
	}
	close(fd);
}

/* nothing of ours stays open, and nothing of theirs is closed */
static void test_no_descriptor_lost(void **state)
{
	int fd = make_file("f", 1, 1000, O_RDWR);
	unsigned before = count_entries("/proc/self/fd");
	uint8_t data[100];

	for (int k = 0; k < 3; k++) {
		CUfileHandle_t h = handle_of(fd);

		assert_int_equal(cuFileRead(h, data, sizeof(data), 0, 0), sizeof(data));
		cuFileHandleDeregister(h);
	}
	assert_int_equal(count_entries("/proc/self/fd"), before);
	(void)handle_of(fd);
	driver_closed(NULL);
	assert_int_equal(count_entries("/proc/self/fd"), before);
	close(fd);
}

/* ---- reads and writes ---- */

static const size_t sizes[] = { 1, 511, 512, 4095, 4096, 4097, 100000, 1 << 20, 3 * (1 << 20) + 5 };
static const off_t offsets[] = { 0, 1, 511, 512, 4096, 4097, (1 << 20) - 1, 1 << 20, 2 * (1 << 20) + 4095 };
static const off_t places[] = { 0, 1, 513, 4096 };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void read_all_alignments(int flags)
{
	int fd = make_file("f", 7, FILE_BYTES, O_RDONLY | flags);
	size_t room = 4096 + 3 * (1 << 20) + 100;
	CUfileHandle_t h = handle_of(fd);
	uint8_t *buffer = aligned_alloc(4096, room + 4096 - room % 4096);

	for (int registered = 0; registered < 2; registered++) {
		if (registered)
			assert_int_equal(cuFileBufRegister(buffer, room, 0).err, CU_FILE_SUCCESS);
		for (size_t k = 0; k < COUNT(sizes) * COUNT(offsets) * COUNT(places); k++) {
			size_t n = sizes[k % COUNT(sizes)];
			off_t from = offsets[k / COUNT(sizes) % COUNT(offsets)], to = places[k / COUNT(sizes) / COUNT(offsets)];

			memset(buffer, GUARD, room);
			assert_int_equal(cuFileRead(h, buffer, n, from, to), n);
			assert_bytes(buffer + to, 7, (uint64_t)from, n);
			assert_all(buffer, GUARD, (size_t)to);
			assert_all(buffer + to + n, GUARD, 64);
		}
	}
	free(buffer);
	close(fd);
}

static void test_read_buffered(void **state)
{
	read_all_alignments(0);
}

static void test_read_direct(void **state)
{
	read_all_alignments(O_DIRECT);
}

static void write_all_alignments(int flags)
{
	static uint8_t data[FILE_BYTES], found[FILE_BYTES], model[FILE_BYTES];
	int fd = make_file("f", 3, FILE_BYTES, O_RDWR | flags), plain = open(path_of("f"), O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	struct rng rng;

	for (size_t k = 0; k < FILE_BYTES; k++)
		model[k] = byte_at(3, k);
	rng_seed(&rng, 1);
	for (size_t k = 0; k < COUNT(sizes) * COUNT(offsets); k++) {
		size_t n = sizes[k % COUNT(sizes)], from = (size_t)rng_below(&rng, 5000);
		off_t to = offsets[k / COUNT(sizes)];

		for (size_t b = 0; b < n; b++)
			data[from + b] = model[(size_t)to + b] = (uint8_t)rng_next(&rng);
		assert_int_equal(cuFileWrite(h, data, n, to, (off_t)from), n);
		assert_int_equal(pread(plain, found, FILE_BYTES, 0), FILE_BYTES);
		assert_memory_equal(found, model, FILE_BYTES);
	}
	assert_int_equal(cuFileWrite(h, data, 100, FILE_BYTES + 5000, 0), 100);         /* the file grows; what is between is a hole */
	assert_int_equal(pread(plain, found, sizeof(found), FILE_BYTES), 5100);
	assert_all(found, 0, 5000);
	assert_memory_equal(found + 5000, data, 100);
	close(plain);
	close(fd);
}

static void test_write_buffered(void **state)
{
	write_all_alignments(0);
}

static void test_write_direct(void **state)
{
	write_all_alignments(O_DIRECT);
}

static void test_end_of_file(void **state)
{
	int fd = make_file("f", 5, 10000, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	static uint8_t data[20000];

	memset(data, GUARD, sizeof(data));
	assert_int_equal(cuFileRead(h, data, sizeof(data), 0, 0), 10000);
	assert_bytes(data, 5, 0, 10000);
	assert_all(data + 10000, GUARD, 10000);
	assert_int_equal(cuFileRead(h, data, 5000, 9999, 0), 1);
	assert_int_equal(cuFileRead(h, data, 5000, 10000, 0), 0);
	assert_int_equal(cuFileRead(h, data, 5000, 1ll << 40, 0), 0);
	assert_int_equal(cuFileRead(h, data, 0, 0, 0), 0);
	close(fd);
}

static void test_io_wrong(void **state)
{
	int reader = make_file("f", 5, 10000, O_RDONLY), writer = open(path_of("f"), O_WRONLY);
	CUfileHandle_t r = handle_of(reader), w = handle_of(writer);
	CUfileBatchHandle_t batch;
	uint8_t data[100];

	assert_int_equal(cuFileRead(NULL, data, 1, 0, 0), -CU_FILE_HANDLE_NOT_REGISTERED);
	assert_int_equal(cuFileRead((CUfileHandle_t)data, data, 1, 0, 0), -CU_FILE_HANDLE_NOT_REGISTERED);
	assert_int_equal(cuFileBatchIOSetUp(&batch, 1).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileRead(batch, data, 1, 0, 0), -CU_FILE_HANDLE_NOT_REGISTERED);
	assert_int_equal(cuFileRead(r, NULL, 1, 0, 0), -CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileRead(r, data, 1, -1, 0), -CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileRead(r, data, 1, 0, -1), -CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileRead(r, data, SIZE_MAX, 0, 0), -CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileRead(r, data, 2, INT64_MAX - 1, 0), -CU_FILE_INVALID_VALUE);
	/* what is the file's is errno's */
	errno = 0;
	assert_int_equal(cuFileWrite(r, data, 1, 0, 0), -1);
	assert_int_equal(errno, EBADF);
	errno = 0;
	assert_int_equal(cuFileRead(w, data, 1, 0, 0), -1);
	assert_int_equal(errno, EBADF);
	cuFileHandleDeregister(r);
	assert_int_equal(cuFileRead(r, data, 1, 0, 0), -CU_FILE_HANDLE_NOT_REGISTERED);
	close(reader);
	close(writer);
}

/* a device that fails: what kind of failure it was is told, alone and in a batch */
static void test_failing_file(void **state)
{
	static uint8_t data[100000];
	int fd = make_file("f", 5, FILE_BYTES, O_RDWR);
	CUfileIOParams_t p = { .mode = CUFILE_BATCH, .u.batch = { data, 5, 0, 1 } };
	CUfileBatchHandle_t batch;
	CUfileIOEvents_t e;
	unsigned nr = 1;
	CUfileHandle_t h;

	setenv("HEARTH_FAULT", "fail:ds.eio", 1);
	h = p.fh = handle_of(fd);
	errno = 0;
	assert_int_equal(cuFileRead(h, data, sizeof(data), 0, 0), -1);
	assert_int_equal(errno, EIO);
	errno = 0;
	assert_int_equal(cuFileWrite(h, data, sizeof(data), 0, 0), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(cuFileBatchIOSetUp(&batch, 1).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOSubmit(batch, 1, &p, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOGetStatus(batch, 1, &nr, &e, NULL).err, CU_FILE_SUCCESS);
	assert_int_equal(e.status, CUFILE_FAILED);
	assert_int_equal((ssize_t)e.ret, -EIO);
	driver_closed(NULL);
	/* short transfers of the kernel's are nobody else's business */
	setenv("HEARTH_FAULT", "fail:ds.short", 1);
	h = handle_of(fd);
	assert_int_equal(cuFileRead(h, data, sizeof(data), 123, 0), sizeof(data));
	assert_bytes(data, 5, 123, sizeof(data));
	driver_closed(NULL);
	unsetenv("HEARTH_FAULT");
	close(fd);
}

/* ---- buffers ---- */

static void test_buffers(void **state)
{
	int fd = make_file("f", 9, 100000, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	static uint8_t data[20000];

	assert_int_equal(cuFileBufRegister(NULL, 1, 0).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBufRegister(data, 0, 0).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBufRegister(data, 1, 64).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBufRegister(data, SIZE_MAX, 0).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBufRegister(data + 1000, 4000, CU_FILE_RDMA_REGISTER).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufRegister(data + 1000, 5000, 0).err, CU_FILE_MEMORY_ALREADY_REGISTERED);
	assert_int_equal(cuFileBufRegister(data + 2000, 8000, 0).err, CU_FILE_SUCCESS);         /* overlaps; is one of its own */
	/* a base and an offset within what was registered, and not beyond */
	assert_int_equal(cuFileRead(h, data + 1000, 3000, 50, 1000), 3000);
	assert_bytes(data + 2000, 9, 50, 3000);
	assert_int_equal(cuFileRead(h, data + 1000, 3000, 0, 1001), -CU_FILE_INVALID_MAPPING_RANGE);
	assert_int_equal(cuFileRead(h, data + 1000, 1, 0, 4000), -CU_FILE_INVALID_MAPPING_RANGE);
	/* pointers into it, out of it, around it: what they point at counts */
	for (size_t at = 900; at < 10200; at += 93) {
		memset(data, GUARD, sizeof(data));
		if (at == 1000 || at == 2000)
			continue;
		assert_int_equal(cuFileRead(h, data + at, 1500, (off_t)at, 7), 1500);
		assert_bytes(data + at + 7, 9, at, 1500);
		assert_all(data, GUARD, at + 7);
		assert_all(data + at + 1507, GUARD, sizeof(data) - at - 1507);
	}
	assert_int_equal(cuFileBufDeregister(NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBufDeregister(data + 1001).err, CU_FILE_MEMORY_NOT_REGISTERED);
	assert_int_equal(cuFileBufDeregister(data + 1000).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufDeregister(data + 1000).err, CU_FILE_MEMORY_NOT_REGISTERED);
	assert_int_equal(cuFileRead(h, data + 1000, 3000, 0, 1001), 3000);
	driver_closed(NULL);
	assert_int_equal(cuFileBufDeregister(data + 2000).err, CU_FILE_DRIVER_NOT_INITIALIZED);
	close(fd);
}

/* ---- several threads ---- */

struct crowd {
	CUfileHandle_t h;
	atomic_bool stop;
	atomic_uint failed;
};

static void *reader(void *arg)
{
	struct crowd *c = arg;
	uint8_t *data = malloc(200000);
	struct rng rng;

	rng_seed(&rng, (uint64_t)(uintptr_t)data);
	for (int k = 0; k < 300; k++) {
		size_t n = 1 + (size_t)rng_below(&rng, 100000), at = (size_t)rng_below(&rng, FILE_BYTES - n), to = (size_t)rng_below(&rng, 100000);
		bool ok = cuFileRead(c->h, data, n, (off_t)at, (off_t)to) == (ssize_t)n;

		for (size_t b = 0; b < n && ok; b += 97)
			ok = data[to + b] == byte_at(11, at + b);
		if (!ok)
			atomic_fetch_add(&c->failed, 1);
	}
	free(data);
	return NULL;
}

/* registers, deregisters, opens and closes beside */
static void *churner(void *arg)
{
	static uint8_t data[100000];
	struct crowd *c = arg;
	int fd = open(path_of("f"), O_RDONLY);

	while (!atomic_load(&c->stop)) {
		CUfileHandle_t h = NULL;

		if (cuFileDriverOpen().err || register_fd(fd, &h) || cuFileBufRegister(data, sizeof(data), 0).err || cuFileRead(h, data, 5000, 1000, 50) != 5000 || data[50] != byte_at(11, 1000)
		    || cuFileBufDeregister(data).err || cuFileDriverClose().err)
			atomic_fetch_add(&c->failed, 1);
		cuFileHandleDeregister(h);
	}
	close(fd);
	return NULL;
}

static void test_threads(void **state)
{
	int fd = make_file("f", 11, FILE_BYTES, O_RDONLY);
	struct crowd c = { .h = handle_of(fd) };
	pthread_t readers[6], other;

	assert_int_equal(pthread_create(&other, NULL, churner, &c), 0);
	for (int k = 0; k < 6; k++)
		assert_int_equal(pthread_create(&readers[k], NULL, reader, &c), 0);
	for (int k = 0; k < 6; k++)
		pthread_join(readers[k], NULL);
	atomic_store(&c.stop, true);
	pthread_join(other, NULL);
	assert_int_equal(atomic_load(&c.failed), 0);
	close(fd);
}

/* the last close while others are inside: each read is whole, or an error of the driver's, and never anything else */
static void *until_closed(void *arg)
{
	struct crowd *c = arg;
	uint8_t data[5000];

	for (;;) {
		ssize_t n = cuFileRead(c->h, data, sizeof(data), 0, 0);

		if (n == -CU_FILE_DRIVER_CLOSING || n == -CU_FILE_HANDLE_NOT_REGISTERED)
			return NULL;
		if (n != sizeof(data) || data[4999] != byte_at(11, 4999))
			atomic_fetch_add(&c->failed, 1);
	}
}

static void test_close_while_reading(void **state)
{
	int fd = make_file("f", 11, FILE_BYTES, O_RDONLY);
	struct crowd c = { .h = handle_of(fd) };
	pthread_t readers[4];

	for (int k = 0; k < 4; k++)
		assert_int_equal(pthread_create(&readers[k], NULL, until_closed, &c), 0);
	assert_int_equal(cuFileDriverClose().err, CU_FILE_SUCCESS);
	for (int k = 0; k < 4; k++)
		pthread_join(readers[k], NULL);
	assert_int_equal(atomic_load(&c.failed), 0);
	close(fd);
}

/* ---- fork ---- */

/* in a child every call is an error, and none hangs on a lock that somebody held at the fork */
static void test_fork(void **state)
{
	int fd = make_file("f", 11, 5000, O_RDONLY), status;
	CUfileHandle_t h = handle_of(fd), other;
	uint8_t data[5000];
	pid_t pid = fork();

	if (pid == 0) {
		alarm(60);
		_exit(cuFileRead(h, data, 100, 0, 0) == -CU_FILE_DRIVER_NOT_INITIALIZED && cuFileDriverOpen().err == CU_FILE_DRIVER_NOT_INITIALIZED
			&& register_fd(fd, &other) == CU_FILE_DRIVER_NOT_INITIALIZED && cuFileUseCount() == 0 && cuFileBufRegister(data, 10, 0).err == CU_FILE_DRIVER_NOT_INITIALIZED ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(cuFileRead(h, data, sizeof(data), 0, 0), sizeof(data));
	assert_bytes(data, 11, 0, sizeof(data));
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, driver_closed, driver_closed)
	const struct CMUnitTest tests[] = {
		TEST(test_driver), TEST(test_limits_of_driver), TEST(test_register_wrong), TEST(test_closed_descriptor), TEST(test_descriptor_0), TEST(test_number_0_stays_free), TEST(test_no_descriptor_lost),
		TEST(test_read_buffered), TEST(test_read_direct), TEST(test_write_buffered), TEST(test_write_direct), TEST(test_end_of_file), TEST(test_io_wrong), TEST(test_failing_file), TEST(test_buffers),
		TEST(test_threads), TEST(test_close_while_reading), TEST(test_fork),
	};

	return cmocka_run_group_tests_name("cufile-host", tests, rig_begin, rig_end);
}
