/* SPDX-License-Identifier: Apache-2.0 */
/* the memcpy() of hearth-criu-leave.so, under the name sparse_memcpy: what it copies is what memcpy() copies, wherever from and to */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "criu/leave.h"

#define BYTES (24u << 20)
#define MARGIN 4096u

void *sparse_memcpy(void *restrict to, const void *restrict from, size_t n);

int leave_real_ioctl(int fd, unsigned long request, void *arg)
{
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

static uint8_t *map(int flags, int fd)
{
	uint8_t *at = mmap(NULL, BYTES + 2 * MARGIN, PROT_READ | PROT_WRITE, flags, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static int memory_file(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES + 2 * MARGIN), 0);
	return fd;
}

static void scatter(struct rng *rng, uint8_t *at, unsigned places)
{
	for (unsigned k = 0; k < places; k++) {
		uint64_t from = rng_below(rng, BYTES + 2 * MARGIN), n = rng_below(rng, 300000);

		for (uint64_t i = from; i < from + n && i < BYTES + 2 * MARGIN; i++)
			at[i] = (uint8_t)(i * 7 + k + 1);
	}
}

/* @from_file, @to_file: shared memory of a file rather than anonymous */
static void check(struct rng *rng, bool from_file, bool to_file, unsigned places)
{
	int a = from_file ? memory_file() : -1, b = to_file ? memory_file() : -1;
	uint8_t *from = map(from_file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, a), *to = map(to_file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, b);
	size_t skew = rng_below(rng, MARGIN), shift = rng_below(rng, MARGIN);

	scatter(rng, from, places);
	memset(to, 0xa5, BYTES + 2 * MARGIN);
	assert_ptr_equal(sparse_memcpy(to + shift, from + skew, BYTES), to + shift);
	assert_memory_equal(to + shift, from + skew, BYTES);
	for (size_t k = 0; k < shift; k++)
		assert_int_equal(to[k], 0xa5);
	for (size_t k = shift + BYTES; k < BYTES + 2 * MARGIN; k++)
		assert_int_equal(to[k], 0xa5);
	munmap(from, BYTES + 2 * MARGIN);
	munmap(to, BYTES + 2 * MARGIN);
	close(a);
	close(b);
}

static void test_large(void **state)
{
	struct rng rng;

	rng_seed(&rng, 3);
	for (unsigned kind = 0; kind < 4; kind++)
		for (unsigned places = 0; places < 40; places += 13)
			check(&rng, kind & 1, kind & 2, places);
}

static void test_small(void **state)
{
	uint8_t from[100], to[100] = { 0 };

	for (unsigned k = 0; k < sizeof(from); k++)
		from[k] = (uint8_t)k;
	sparse_memcpy(to + 1, from, 98);
	assert_int_equal(to[0], 0);
	assert_memory_equal(to + 1, from, 98);
	assert_int_equal(to[99], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_large), cmocka_unit_test(test_small) };

	return cmocka_run_group_tests_name("sparse", tests, NULL, NULL);
}
