/* SPDX-License-Identifier: Apache-2.0 */
/* What the pager sees of a process from outside: which mappings it may page, which pages are there, whether a thread is in a call that takes pages away. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/pagemap.h"
#include "where.h"
#include "look.h"

static void mappings(void **state)
{
	static const struct { const char *line; int why; } lines[] = {
		{ "55d0c0000000-55d0c0001000 rw-p 00003000 fe:00 1234                       /usr/bin/x", LOOK_FILE },
		{ "55d0c0001000-55d0c0002000 rw-p 00000000 00:00 0 ", LOOK_COVERED },
		{ "7efff0000000-7efff0001000 rw-p 00003000 fe:00 1235                       /usr/lib/x86_64-linux-gnu/libc.so.6", LOOK_FILE },
		{ "7efff0001000-7efff000e000 rw-p 00000000 00:00 0 ", LOOK_BSS },
		{ "7efff000e000-7efff000f000 rw-p 00003000 fe:00 1236                       /usr/lib/x86_64-linux-gnu/libcrypto.so.3", LOOK_FILE },
		{ "7efff000f000-7efff0100000 rw-p 00000000 00:00 0 ", LOOK_COVERED },
		{ "7efff0100000-7efff0101000 rw-p 00003000 fe:00 1237                       /lib64/ld-linux-x86-64.so.2", LOOK_FILE },
		{ "7efff0101000-7efff0102000 rw-p 00000000 00:00 0 ", LOOK_BSS },
		{ "55d0c0002000-55d0c0003000 rw-p 00000000 00:00 0                          [heap]", LOOK_COVERED },
		{ "7f0000000000-7f0000021000 rw-p 00000000 00:00 0 ", LOOK_COVERED },
		{ "7f0000021000-7f0004000000 ---p 00000000 00:00 0 ", LOOK_PROTECTION },
		{ "7f0005000000-7f0005001000 rwxp 00000000 00:00 0 ", LOOK_PROTECTION },
		{ "7f0006000000-7f0006001000 r--p 00000000 00:00 0 ", LOOK_PROTECTION },
		{ "7f0007000000-7f0007001000 rw-s 00000000 00:01 99                         /dev/zero (deleted)", LOOK_FILE },
		{ "7f0008000000-7f0008200000 rw-p 00000000 00:0f 77                         /anon_hugepage (deleted)", LOOK_FILE },
		{ "7f0009000000-7f0009001000 rw-p 00000000 00:00 0                          [anon:arena]", LOOK_COVERED },
		{ "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]", LOOK_COVERED },
		{ "7ffd00100000-7ffd00104000 r--p 00000000 00:00 0                          [vvar]", LOOK_SPECIAL },
		{ "7ffd00104000-7ffd00106000 r-xp 00000000 00:00 0                          [vdso]", LOOK_SPECIAL },
		{ "nonsense", -EINVAL },
	};
	uint64_t before = 0;
	struct look_span span;

	for (size_t k = 0; k < sizeof(lines) / sizeof(lines[0]); k++)
		assert_int_equal(look_mapping(lines[k].line, &before, &span), lines[k].why);
}

static void own_is_left_out(void **state)
{
	uint8_t *p = mmap(NULL, 64 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct look_span own[] = { { (uintptr_t)p + 10 * PAGE_BYTES, (uintptr_t)p + 12 * PAGE_BYTES }, { (uintptr_t)p + 20 * PAGE_BYTES + 5, (uintptr_t)p + 20 * PAGE_BYTES + 9 } };
	uint64_t bytes[LOOK_REASONS] = { 0 };
	struct look_spans s = { 0 };
	int pagemap;

	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(look_mappings(getpid(), own, 2, &s, bytes), 0);
	for (size_t k = 0; k < s.n; k++)
		for (size_t i = 0; i < 2; i++)
			assert_true(s.v[k].end <= own[i].start || s.v[k].start >= own[i].end);
	assert_true(bytes[LOOK_COVERED] > 0 && bytes[LOOK_FILE] > 0 && bytes[LOOK_OWN] > 0);
	look_spans_done(&s);
	memset(p, 1, 11 * PAGE_BYTES);
	pagemap = pagemap_open(getpid());
	assert_true(pagemap >= 0);
	assert_int_equal(look_uncovered(getpid(), pagemap, own, 2, bytes), 0);
	close(pagemap);
	/* of the two that are ours one page is there */
	assert_int_equal(bytes[LOOK_OWN], PAGE_BYTES);
	assert_true(bytes[LOOK_COVERED] == 0 && bytes[LOOK_FILE] > 0);
	assert_int_equal(look_mappings(1 << 30, NULL, 0, &s, NULL), -ESRCH);
	munmap(p, 64 * PAGE_BYTES);
}

static void present(void **state)
{
	uint8_t *p = mmap(NULL, 64 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct look_spans s = { 0 };
	int pagemap = pagemap_open(getpid()), r;

	madvise(p, 64 * PAGE_BYTES, MADV_NOHUGEPAGE);
	for (int k = 8; k < 16; k++)
		p[k * PAGE_BYTES] = 1;
	p[40 * PAGE_BYTES] = 1;
	(void)*(volatile uint8_t *)(p + 50 * PAGE_BYTES);      /* the page of zeros is not one */
	assert_true(pagemap >= 0);
	r = look_present(pagemap, (struct look_span){ (uintptr_t)p, (uintptr_t)p + 64 * PAGE_BYTES }, &s);
	close(pagemap);
	if (r == -ENOTTY || r == -EINVAL)
		skip();                         /* before Linux 6.7 */
	assert_int_equal(r, 0);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.v[0].start, (uintptr_t)p + 8 * PAGE_BYTES);
	assert_int_equal(s.v[0].end, (uintptr_t)p + 16 * PAGE_BYTES);
	assert_int_equal(s.v[1].end - s.v[1].start, PAGE_BYTES);
	look_spans_done(&s);
	munmap(p, 64 * PAGE_BYTES);
}

/* more runs than the kernel tells of at once, across page tables: each once, ascending */
static void scattered(void **state)
{
	enum { PAGES = 16384 };
	uint8_t *p = mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct look_spans s = { 0 };
	int pagemap = pagemap_open(getpid()), r;

	madvise(p, PAGES * PAGE_BYTES, MADV_NOHUGEPAGE);
	for (size_t k = 0; k < PAGES; k += 4)
		p[k * PAGE_BYTES] = 1;
	r = look_present(pagemap, (struct look_span){ (uintptr_t)p, (uintptr_t)p + PAGES * PAGE_BYTES }, &s);
	close(pagemap);
	if (r == -ENOTTY || r == -EINVAL)
		skip();                         /* before Linux 6.7 */
	assert_int_equal(r, 0);
	assert_int_equal(s.n, PAGES / 4);
	for (size_t k = 0; k < s.n; k++) {
		assert_int_equal(s.v[k].start, (uintptr_t)p + k * 4 * PAGE_BYTES);
		assert_int_equal(s.v[k].end - s.v[k].start, PAGE_BYTES);
	}
	look_spans_done(&s);
	munmap(p, PAGES * PAGE_BYTES);
}

static void outside(void **state)
{
	int ends[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		_exit((int)read(ends[0], &c, 1));
	}
	close(ends[0]);
	while (!look_outside(pid))              /* until it waits in read(2) */
		;
	assert_true(look_cpu(pid, pid) >= 0);
	assert_true(look_resident(pid) > 0);
	close(ends[1]);
	waitpid(pid, NULL, 0);
	assert_false(look_outside(pid));
	assert_int_equal(look_cpu(pid, pid), -1);
	assert_int_equal(look_resident(pid), 0);
	pid = fork();
	while (pid == 0)
		;
	assert_false(look_outside(pid));        /* runs: nobody knows where */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings),
		cmocka_unit_test(own_is_left_out),
		cmocka_unit_test(present),
		cmocka_unit_test(scattered),
		cmocka_unit_test(outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
