/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: any number of operations, wrong ones among them, cancelled ones, several threads. */
#include "rig.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#define MANY 3000

static CUfileIOParams_t io(CUfileHandle_t h, CUfileOpcode_t opcode, void *base, size_t n, off_t file_offset, off_t base_offset, size_t cookie)
{
	return (CUfileIOParams_t){ .mode = CUFILE_BATCH, .u.batch = { base, file_offset, base_offset, n }, .fh = h, .opcode = opcode, .cookie = (void *)cookie };
}

static CUfileBatchHandle_t batch_of(unsigned n)
{
	CUfileBatchHandle_t b = NULL;

	assert_int_equal(cuFileBatchIOSetUp(&b, n).err, CU_FILE_SUCCESS);
	assert_non_null(b);
	return b;
}

/* all @n events, by cookie, each once */
static void collect(CUfileBatchHandle_t b, unsigned n, CUfileIOEvents_t *ret)
{
	static CUfileIOEvents_t some[MANY];
	static bool seen[MANY];
	unsigned got = 0;

	memset(seen, 0, sizeof(seen));
	while (got < n) {
		unsigned nr = n - got;

		assert_int_equal(cuFileBatchIOGetStatus(b, 1, &nr, some, NULL).err, CU_FILE_SUCCESS);
		assert_true(nr >= 1 && nr <= n - got);
		for (unsigned k = 0; k < nr; k++) {
			size_t cookie = (size_t)some[k].cookie;

			assert_true(cookie < n && !seen[cookie]);
			seen[cookie] = true;
			ret[cookie] = some[k];
		}
		got += nr;
	}
}

static void test_setup_wrong(void **state)
{
	CUfileIOParams_t p = io(NULL, CUFILE_READ, &p, 1, 0, 0, 0);
	CUfileIOEvents_t e;
	CUfileBatchHandle_t b;
	unsigned nr = 1;

	assert_int_equal(cuFileBatchIOSetUp(NULL, 1).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOSetUp(&b, 0).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOSubmit(NULL, 1, &p, 0).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOGetStatus((CUfileBatchHandle_t)&p, 0, &nr, &e, NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOCancel((CUfileBatchHandle_t)&p).err, CU_FILE_INVALID_VALUE);
	cuFileBatchIODestroy(NULL);
	b = batch_of(4);
	assert_int_equal(cuFileBatchIOSubmit(b, 0, &p, 0).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOSubmit(b, 1, NULL, 0).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOSubmit(b, 1, &p, 7).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOGetStatus(b, 2, &nr, &e, NULL).err, CU_FILE_INVALID_VALUE);       /* more than there is room for */
	assert_int_equal(cuFileBatchIOGetStatus(b, 0, NULL, &e, NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOGetStatus(b, 0, &nr, NULL, NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOGetStatus(b, 0, &nr, &e, &(struct timespec){ .tv_nsec = -1 }).err, CU_FILE_INVALID_VALUE);
	/* nothing under way: no wait, whatever was asked for */
	assert_int_equal(cuFileBatchIOGetStatus(b, 1, &nr, &e, NULL).err, CU_FILE_SUCCESS);
	assert_int_equal(nr, 0);
	assert_int_equal(cuFileBatchIOCancel(b).err, CU_FILE_SUCCESS);
	cuFileBatchIODestroy(b);
	cuFileBatchIODestroy(b);
	nr = 1;
	assert_int_equal(cuFileBatchIOGetStatus(b, 0, &nr, &e, NULL).err, CU_FILE_INVALID_VALUE);
}

/* reads of all sizes and alignments, far more than the original's 128, half of them into a registered buffer */
static void test_many(void **state)
{
	static CUfileIOParams_t p[MANY];
	static CUfileIOEvents_t e[MANY];
	static size_t at[MANY], n[MANY], to[MANY];
	int fd = make_file("f", 21, FILE_BYTES, O_RDONLY), direct = open(path_of("f"), O_RDONLY | O_DIRECT);
	CUfileHandle_t h[2] = { handle_of(fd), direct >= 0 ? handle_of(direct) : handle_of(dup(fd)) };
	CUfileBatchHandle_t b = batch_of(MANY);
	size_t room = 0;
	struct rng rng;
	uint8_t *data;

	rng_seed(&rng, 3);
	for (unsigned k = 0; k < MANY; k++) {
		n[k] = k % 100 == 0 ? 1 + (size_t)rng_below(&rng, 2 << 20) : 1 + (size_t)rng_below(&rng, 20000);
		at[k] = (size_t)rng_below(&rng, FILE_BYTES - n[k]);
		to[k] = room;
		room += n[k] + (size_t)rng_below(&rng, 10);
	}
	data = malloc(room);
	memset(data, GUARD, room);
	assert_int_equal(cuFileBufRegister(data, room / 2, 0).err, CU_FILE_SUCCESS);
	for (unsigned k = 0; k < MANY; k++) {
		bool within = to[k] + n[k] <= room / 2;

		p[k] = io(h[k % 2], CUFILE_READ, within ? data : data + to[k], n[k], (off_t)at[k], within ? (off_t)to[k] : 0, k);
	}
	for (unsigned k = 0; k < MANY; k += 500)
		assert_int_equal(cuFileBatchIOSubmit(b, 500, p + k, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOSubmit(b, 1, p, 0).err, CU_FILE_BATCH_FULL);
	collect(b, MANY, e);
	for (unsigned k = 0; k < MANY; k++) {
		assert_int_equal(e[k].status, CUFILE_COMPLETE);
		assert_int_equal(e[k].ret, n[k]);
		assert_bytes(data + to[k], 21, at[k], n[k]);
		if (k + 1 < MANY)
			assert_all(data + to[k] + n[k], GUARD, to[k + 1] - to[k] - n[k]);
	}
	/* and there is room again */
	assert_int_equal(cuFileBatchIOSubmit(b, 1, p, 0).err, CU_FILE_SUCCESS);
	collect(b, 1, e);
	cuFileBatchIODestroy(b);
	free(data);
	close(fd);
	close(direct);
}

static void test_writes(void **state)
{
	static CUfileIOParams_t p[200];
	static CUfileIOEvents_t e[200];
	static uint8_t data[200 * 3001], found[200 * 3001];
	int a = make_file("a", 1, 0, O_RDWR), b = make_file("b", 1, 0, O_RDWR);
	CUfileHandle_t h[2] = { handle_of(a), handle_of(b) };
	CUfileBatchHandle_t batch = batch_of(200);

	for (size_t k = 0; k < sizeof(data); k++)
		data[k] = byte_at(8, k);
	for (unsigned k = 0; k < 200; k++)
		p[k] = io(h[k & 1], CUFILE_WRITE, data, 3001, (off_t)(k / 2) * 3001, (off_t)k * 3001, k);
	assert_int_equal(cuFileBatchIOSubmit(batch, 200, p, 0).err, CU_FILE_SUCCESS);
	collect(batch, 200, e);
	for (unsigned k = 0; k < 200; k++) {
		assert_int_equal(e[k].status, CUFILE_COMPLETE);
		assert_int_equal(e[k].ret, 3001);
		assert_int_equal(pread(k & 1 ? b : a, found, 3001, (off_t)(k / 2) * 3001), 3001);
		assert_memory_equal(found, data + (size_t)k * 3001, 3001);
	}
	close(a);
	close(b);
}

/* what is wrong with one is no matter of the others */
static void test_wrong_ones(void **state)
{
	static uint8_t data[10][4000];
	int fd = make_file("f", 5, 10000, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUfileBatchHandle_t b = batch_of(9);
	CUfileIOEvents_t e[9];
	CUfileIOParams_t p[9] = {
		io(h, CUFILE_READ, data[0], 4000, 1, 0, 0),
		io(NULL, CUFILE_READ, data[1], 4000, 1, 0, 1),
		io(h, (CUfileOpcode_t)9, data[2], 4000, 1, 0, 2),
		io(h, CUFILE_WRITE, data[3], 4000, 1, 0, 3),
		io(h, CUFILE_READ, NULL, 4000, 1, 0, 4),
		io(h, CUFILE_READ, data[5], 4000, 8000, 0, 5),          /* over the end */
		io(h, CUFILE_READ, data[6], 4000, 20000, 0, 6),         /* beyond it */
		io(h, CUFILE_READ, data[7], 0, 0, 0, 7),
		io(h, CUFILE_READ, data[8], 4000, 2, 0, 8),
	};

	p[2].mode = (CUfileBatchMode_t)0;
	assert_int_equal(cuFileBatchIOSubmit(b, 9, p, 0).err, CU_FILE_SUCCESS);
	collect(b, 9, e);
	assert_int_equal(e[0].status, CUFILE_COMPLETE);
	assert_bytes(data[0], 5, 1, 4000);
	assert_int_equal(e[1].status, CUFILE_INVALID);
	assert_int_equal((ssize_t)e[1].ret, -CU_FILE_HANDLE_NOT_REGISTERED);
	assert_int_equal(e[2].status, CUFILE_INVALID);
	assert_int_equal((ssize_t)e[2].ret, -CU_FILE_INVALID_VALUE);
	assert_int_equal(e[3].status, CUFILE_FAILED);
	assert_int_equal((ssize_t)e[3].ret, -EBADF);
	assert_int_equal(e[4].status, CUFILE_INVALID);
	assert_int_equal(e[5].status, CUFILE_COMPLETE);
	assert_int_equal(e[5].ret, 2000);
	assert_bytes(data[5], 5, 8000, 2000);
	assert_int_equal(e[6].status, CUFILE_COMPLETE);
	assert_int_equal(e[6].ret, 0);
	assert_int_equal(e[7].status, CUFILE_COMPLETE);
	assert_int_equal(e[7].ret, 0);
	assert_bytes(data[8], 5, 2, 4000);
	close(fd);
}

/* whatever was cancelled and whatever was not: each is reported once, and is what it says */
static void test_cancel(void **state)
{
	static CUfileIOParams_t p[MANY];
	static CUfileIOEvents_t e[MANY];
	int fd = make_file("f", 6, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUfileBatchHandle_t b = batch_of(MANY);
	uint8_t *data = malloc((size_t)MANY * 4096);

	memset(data, GUARD, (size_t)MANY * 4096);
	for (unsigned k = 0; k < MANY; k++)
		p[k] = io(h, CUFILE_READ, data, 4096, (off_t)(k * 1777 % (FILE_BYTES - 4096)), (off_t)k * 4096, k);
	assert_int_equal(cuFileBatchIOSubmit(b, MANY, p, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOCancel(b).err, CU_FILE_SUCCESS);
	collect(b, MANY, e);
	for (unsigned k = 0; k < MANY; k++) {
		if (e[k].status == CUFILE_COMPLETE) {
			assert_int_equal(e[k].ret, 4096);
			assert_bytes(data + (size_t)k * 4096, 6, k * 1777 % (FILE_BYTES - 4096), 4096);
		} else {
			assert_int_equal(e[k].status, CUFILE_CANCELED);
			assert_all(data + (size_t)k * 4096, GUARD, 4096);
		}
	}
	/* it can be used again, and be destroyed, or left to the driver, with operations under way */
	assert_int_equal(cuFileBatchIOSubmit(b, MANY, p, 0).err, CU_FILE_SUCCESS);
	cuFileBatchIODestroy(b);
	b = batch_of(MANY);
	assert_int_equal(cuFileBatchIOSubmit(b, MANY, p, 0).err, CU_FILE_SUCCESS);
	driver_closed(NULL);
	free(data);
	close(fd);
}

/* a file and a buffer that go while a batch uses them: they go when it is done with them */
static void test_deregister_under_way(void **state)
{
	static CUfileIOParams_t p[100];
	static CUfileIOEvents_t e[100];
	static uint8_t data[100 * 50000];
	int fd = make_file("f", 6, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUfileBatchHandle_t b = batch_of(100);

	assert_int_equal(cuFileBufRegister(data, sizeof(data), 0).err, CU_FILE_SUCCESS);
	for (unsigned k = 0; k < 100; k++)
		p[k] = io(h, CUFILE_READ, data, 50000, k * 100, (off_t)k * 50000, k);
	assert_int_equal(cuFileBatchIOSubmit(b, 100, p, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufDeregister(data).err, CU_FILE_SUCCESS);
	cuFileHandleDeregister(h);
	close(fd);
	/* so all of them have ended by now */
	for (unsigned k = 0; k < 100; k++)
		assert_bytes(data + (size_t)k * 50000, 6, k * 100, 50000);
	collect(b, 100, e);
}

/* polling: no time at all is fine, and so is one that never ends */
static void test_timeouts(void **state)
{
	uint8_t data[4096];
	int fd = make_file("f", 6, 10000, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUfileBatchHandle_t b = batch_of(1);
	CUfileIOParams_t p = io(h, CUFILE_READ, data, 4096, 0, 0, 0);
	struct timespec none = { 0 }, ages = { .tv_sec = LONG_MAX };
	CUfileIOEvents_t e;
	unsigned nr;

	assert_int_equal(cuFileBatchIOSubmit(b, 1, &p, 0).err, CU_FILE_SUCCESS);
	do {
		nr = 1;
		assert_int_equal(cuFileBatchIOGetStatus(b, 0, &nr, &e, &none).err, CU_FILE_SUCCESS);
	} while (nr == 0);
	assert_int_equal(e.status, CUFILE_COMPLETE);
	assert_int_equal(cuFileBatchIOSubmit(b, 1, &p, 0).err, CU_FILE_SUCCESS);
	nr = 1;
	assert_int_equal(cuFileBatchIOGetStatus(b, 1, &nr, &e, &ages).err, CU_FILE_SUCCESS);
	assert_int_equal(nr, 1);
	assert_bytes(data, 6, 0, 4096);
	nr = 0;
	assert_int_equal(cuFileBatchIOGetStatus(b, 0, &nr, NULL, NULL).err, CU_FILE_SUCCESS);
	close(fd);
}

/* ---- several threads at one batch ---- */

#define EACH 400
struct shared { CUfileBatchHandle_t b; CUfileHandle_t h; uint8_t *data; atomic_uint events, wrong; unsigned index; };
struct submitter { struct shared *s; unsigned index; };

static void *submit_some(void *arg)
{
	struct submitter *t = arg;

	for (unsigned k = 0; k < EACH; k++) {
		size_t slot = t->index * EACH + k;
		CUfileIOParams_t p = io(t->s->h, CUFILE_READ, t->s->data, 1000, (off_t)slot * 7, (off_t)slot * 1000, slot);

		if (cuFileBatchIOSubmit(t->s->b, 1, &p, 0).err)
			atomic_fetch_add(&t->s->wrong, 1);
	}
	return NULL;
}

static void *collect_some(void *arg)
{
	struct shared *s = arg;
	CUfileIOEvents_t e[16];

	while (atomic_load(&s->events) < 4 * EACH) {
		unsigned nr = 16;
		struct timespec wait = { .tv_nsec = 1000000 };

		if (cuFileBatchIOGetStatus(s->b, 1, &nr, e, &wait).err)
			atomic_fetch_add(&s->wrong, 1);
		for (unsigned k = 0; k < nr; k++)
			if (e[k].status != CUFILE_COMPLETE || e[k].ret != 1000)
				atomic_fetch_add(&s->wrong, 1);
		atomic_fetch_add(&s->events, nr);
	}
	return NULL;
}

static void test_threads(void **state)
{
	int fd = make_file("f", 6, FILE_BYTES, O_RDONLY);
	struct shared s = { .b = batch_of(4 * EACH), .h = handle_of(fd), .data = malloc(4 * EACH * 1000) };
	struct submitter submitters[4];
	pthread_t t[6];

	for (unsigned k = 0; k < 4; k++) {
		submitters[k] = (struct submitter){ &s, k };
		assert_int_equal(pthread_create(&t[k], NULL, submit_some, &submitters[k]), 0);
	}
	for (unsigned k = 4; k < 6; k++)
		assert_int_equal(pthread_create(&t[k], NULL, collect_some, &s), 0);
	for (unsigned k = 0; k < 6; k++)
		pthread_join(t[k], NULL);
	assert_int_equal(atomic_load(&s.wrong), 0);
	for (size_t k = 0; k < 4 * EACH; k++)
		assert_bytes(s.data + k * 1000, 6, k * 7, 1000);
	free(s.data);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, driver_closed, driver_closed)
	const struct CMUnitTest tests[] = {
		TEST(test_setup_wrong), TEST(test_many), TEST(test_writes), TEST(test_wrong_ones), TEST(test_cancel), TEST(test_deregister_under_way), TEST(test_timeouts), TEST(test_threads),
	};

	return cmocka_run_group_tests_name("cufile-batch", tests, rig_begin, rig_end);
}
