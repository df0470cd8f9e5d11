/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One life of the library, with every allocation and every system call failing in its turn. Whatever fails: calls return errors of the interface, bytes that are said
 * to be there are, and nothing is left behind once the driver is closed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cufile/abi.h"
#include "fault.h"

#define SWEEP_MAX 3000
#define FILE_BYTES 300000
#define IO_BYTES 100001
#define OPS 20

/* what fault.c would call; see meson.build */
ssize_t __real_write(int to, const void *data, size_t n);
ssize_t __real_write(int to, const void *data, size_t n)
{
	return write(to, data, n);
}

static int fd;
static uint8_t memory[OPS * 5000 + IO_BYTES];

static uint8_t byte_at(size_t k)
{
	return (uint8_t)(k * 2654435761u >> 9);
}

static void check(const uint8_t *data, size_t offset, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (data[k] != byte_at(offset + k))
			fail_msg("byte %zu of offset %zu is wrong", k, offset);
}

/* Return: whether all of it went well */
static bool batch(CUfileHandle_t h)
{
	CUfileIOParams_t p[OPS];
	CUfileIOEvents_t e[OPS];
	CUfileBatchHandle_t b;
	unsigned got = 0;
	bool ok = true;

	if (cuFileBatchIOSetUp(&b, OPS).err)
		return false;
	for (size_t k = 0; k < OPS; k++)
		p[k] = (CUfileIOParams_t){ .mode = CUFILE_BATCH, .u.batch = { memory + k * 5000, (off_t)(k * 77), 0, 4000 }, .fh = h, .cookie = (void *)k };
	if (cuFileBatchIOSubmit(b, OPS, p, 0).err == CU_FILE_SUCCESS) {
		while (got < OPS) {
			unsigned nr = OPS - got;

			assert_int_equal(cuFileBatchIOGetStatus(b, 1, &nr, e + got, NULL).err, CU_FILE_SUCCESS);
			assert_true(nr > 0);
			got += nr;
		}
	} else {
		ok = false;
	}
	for (unsigned k = 0; k < got; k++) {
		size_t i = (size_t)e[k].cookie;

		assert_true(e[k].status == CUFILE_COMPLETE || e[k].status == CUFILE_FAILED || e[k].status == CUFILE_INVALID);
		if (e[k].status == CUFILE_COMPLETE)
			check(memory + i * 5000, i * 77, e[k].ret);
		ok = ok && e[k].status == CUFILE_COMPLETE && e[k].ret == 4000;
	}
	cuFileBatchIODestroy(b);
	return ok;
}

static bool life(void)
{
	CUfileDescr_t d = { .type = CU_FILE_HANDLE_TYPE_OPAQUE_FD, .handle.fd = fd };
	CUfileHandle_t h;
	bool ok;
	ssize_t n;

	memset(memory, 0, sizeof(memory));
	if (cuFileSetParameterString(CUFILE_PARAM_LOGGING_LEVEL, "ERROR").err || cuFileDriverOpen().err)
		return false;
	if (cuFileHandleRegister(&h, &d).err == CU_FILE_SUCCESS) {
		ok = cuFileBufRegister(memory, 50000, 0).err == CU_FILE_SUCCESS;
		n = cuFileRead(h, memory + 3, IO_BYTES, 4095, 0);
		assert_true(n >= -1 || n < -CUFILEOP_BASE_ERR);
		if (n > 0)
			check(memory + 3, 4095, (size_t)n);
		ok = ok && n == IO_BYTES;
		/* the same bytes, if they are there */
		if (n == IO_BYTES && cuFileWrite(h, memory + 3, 5000, 4095, 0) != 5000)
			ok = false;
		ok = batch(h) && ok;
		if (cuFileStreamRegister(NULL, 0).err || cuFileStreamDeregister(NULL).err)
			ok = false;
		cuFileHandleDeregister(h);
	} else {
		ok = false;
	}
	return ok;
}

static void close_driver(void)
{
	while (cuFileUseCount() > 0)
		assert_int_equal(cuFileDriverClose().err, CU_FILE_SUCCESS);
}

static void write_file(void)
{
	uint8_t *data = malloc(FILE_BYTES);

	for (size_t k = 0; k < FILE_BYTES; k++)
		data[k] = byte_at(k);
	assert_int_equal(pwrite(fd, data, FILE_BYTES, 0), FILE_BYTES);
	free(data);
}

static void sweep(enum fault_kind kind, int error)
{
	unsigned n, fds;
	long blocks;
	bool ok, fired = true;

	/* what is made once stays */
	for (int k = 0; k < 3; k++) {
		assert_true(life());
		close_driver();
	}
	blocks = fault_live_blocks();
	fds = fault_open_fds();
	for (n = 1; fired && n < SWEEP_MAX; n++) {
		fault_arm(kind, n, error);
		ok = life();
		fired = fault_disarm();
		close_driver();
		if (!fired)
			assert_true(ok);
		/* and it goes on as if nothing had been; what was set for an opening that did not come to be is used up */
		if (!life())
			fail_msg("%u: %s failed, and nothing works any more", n, fault_last());
		close_driver();
		if (fault_open_fds() != fds)
			fail_msg("%u: %s failed, and %u descriptors are open instead of %u", n, fault_last(), fault_open_fds(), fds);
		if (fault_live_blocks() > blocks)
			fail_msg("%u: %s failed, and %ld blocks are left", n, fault_last(), fault_live_blocks() - blocks);
	}
	assert_true(n > 5 && n < SWEEP_MAX);
	assert_true(life());
	close_driver();
}

static void test_allocations(void **state)
{
	sweep(FAULT_ALLOC, 0);
}

static void test_system_calls(void **state)
{
	sweep(FAULT_SYSCALL, EIO);
}

static int begin(void **state)
{
	char path[] = "/tmp/hearth-test-XXXXXX";

	fd = mkstemp(path);
	if (fd < 0)
		return -1;
	unlink(path);
	write_file();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_allocations), cmocka_unit_test(test_system_calls) };

	return cmocka_run_group_tests_name("fault-cufile", tests, begin, NULL);
}
