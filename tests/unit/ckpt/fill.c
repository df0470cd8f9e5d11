/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "fill.h"

#define PAGES 256u
#define PAGE 4096ull

/* the naive model: for each page of a small address space, the page of the file it wants, or 0 */
struct model { uint64_t want[2 * PAGES]; };

static void compare(const struct fill_space *s, const struct model *m)
{
	uint64_t seen[2 * PAGES] = { 0 };

	for (size_t k = s->first; k < s->n; k++) {
		assert_true(s->ranges[k].start < s->ranges[k].end);
		if (k > s->first)
			assert_true(s->ranges[k].start >= s->ranges[k - 1].end);
		for (uint64_t a = s->ranges[k].start; a < s->ranges[k].end; a += PAGE)
			seen[a / PAGE] = 1 + (s->ranges[k].offset + (a - s->ranges[k].start)) / PAGE;
	}
	assert_memory_equal(seen, m->want, sizeof(seen));
	for (uint64_t a = 0; a < 2 * PAGES; a++) {
		uint64_t next = a;

		while (next < 2 * PAGES && !seen[next])
			next++;
		assert_true(fill_next(s, a * PAGE) == (next < 2 * PAGES ? next * PAGE : UINT64_MAX));
	}
}

static void clear(struct model *m, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE)
		m->want[a / PAGE] = 0;
}

static void step(struct fill_space *s, struct model *m)
{
	uint64_t start = (uint64_t)(rand() % PAGES) * PAGE, len = (uint64_t)(1 + rand() % 20) * PAGE;
	uint64_t to = (PAGES + (uint64_t)rand() % (PAGES - 20)) * PAGE;
	struct pagemap_range r;

	if (start + len > PAGES * PAGE)
		len = PAGES * PAGE - start;
	switch (rand() % 7) {
	case 0:
		assert_int_equal(fill_drop(s, start, start + len), 0);
		clear(m, start, start + len);
		break;
	case 1:
		if (fill_take(s, len, &r)) {
			assert_true(r.end - r.start <= len);
			if (rand() % 2)
				assert_int_equal(fill_put(s, r), 0);
			else
				clear(m, r.start, r.end);
		}
		break;
	case 2:
		assert_int_equal(fill_take_around(s, start, 65536, &r), m->want[start / PAGE] != 0);
		if (m->want[start / PAGE]) {
			assert_true(r.start <= start && start < r.end && r.end - r.start <= 65536);
			clear(m, r.start, r.end);
		}
		break;
	case 4:
		if (fill_take_from(s, start, len, &r)) {
			assert_true(r.start >= start && r.end - r.start <= len);
			for (uint64_t a = start; a < r.start; a += PAGE)
				assert_int_equal(m->want[a / PAGE], 0);
			clear(m, r.start, r.end);
		} else {
			for (uint64_t a = start; a < 2 * PAGES * PAGE; a += PAGE)
				assert_int_equal(m->want[a / PAGE], 0);
		}
		break;
	case 5:
		if (fill_take_below(s, start, len, &r)) {
			assert_true(r.end <= start && r.end - r.start <= len);
			for (uint64_t a = r.end; a < start; a += PAGE)
				assert_int_equal(m->want[a / PAGE], 0);
			clear(m, r.start, r.end);
		} else {
			for (uint64_t a = 0; a < start; a += PAGE)
				assert_int_equal(m->want[a / PAGE], 0);
		}
		break;
	case 6: {
		uint64_t at = s->soon_at;

		if (fill_take_soon(s, len, &r)) {
			assert_true(!r.bulk && r.start >= at && r.end - r.start <= len && s->soon_at == r.end);
			clear(m, r.start, r.end);
			at = r.start;
		} else {
			at = UINT64_MAX;
		}
		/* nothing that it should have taken lies before that */
		for (size_t k = s->first; k < s->n; k++)
			assert_true(s->ranges[k].bulk || s->ranges[k].end <= s->soon_at || s->ranges[k].start >= at);
		break;
	}
	case 3:
		assert_int_equal(fill_move(s, start, to, len), 0);
		memcpy(&m->want[to / PAGE], &m->want[start / PAGE], len / PAGE * sizeof(m->want[0]));
		clear(m, start, start + len);
		break;
	}
}

static void fill_against_model(void **state)
{
	for (unsigned seed = 1; seed <= 200; seed++) {
		struct fill_space s = { .uffd = -1 }, copy;
		struct model m = { 0 };

		srand(seed);
		for (uint64_t p = 0; p < PAGES; ) {
			uint64_t n = 1 + (uint64_t)rand() % 30, q = p + n < PAGES ? p + n : PAGES;
			struct pagemap_range r = { p * PAGE, q * PAGE, p * 3 * PAGE, rand() % 2 };

			assert_int_equal(fill_put(&s, r), 0);
			for (uint64_t k = p; k < q; k++)
				m.want[k] = 1 + p * 3 + (k - p);
			p = q + (uint64_t)rand() % 5;
		}
		for (int k = 0; k < 60; k++) {
			step(&s, &m);
			compare(&s, &m);
		}
		assert_int_equal(fill_copy(&s, &copy), 0);
		compare(&copy, &m);
		fill_clear(&copy);
		fill_clear(&s);
	}
}

/* before everything is in its place, a mapping that is not there yet is waited for; afterwards it is gone */
static void fill_unsettled(void **state)
{
	uint8_t *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct fill_space s = { .uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), .pages = page + PAGE };
	struct uffdio_register place = { .range = { (uintptr_t)page, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct pagemap_range r = { (uintptr_t)page, (uintptr_t)page + PAGE, 0 }, rest = { 0 };

	if (s.uffd < 0)
		skip();
	assert_int_equal(ioctl(s.uffd, UFFDIO_API, &api), 0);
	page[PAGE] = 7;
	assert_int_equal(fill_range(&s, s.pages, r, &rest), -EAGAIN);
	assert_true(rest.start == r.start && rest.end == r.end);
	assert_int_equal(ioctl(s.uffd, UFFDIO_REGISTER, &place), 0);
	assert_int_equal(fill_range(&s, s.pages, r, &rest), 0);
	assert_int_equal(page[0], 7);
	assert_int_equal(ioctl(s.uffd, UFFDIO_UNREGISTER, &place.range), 0);
	assert_int_equal(fill_range(&s, s.pages, r, &rest), -EAGAIN);
	s.settled = true;
	assert_int_equal(fill_range(&s, s.pages, r, &rest), 0);
	close(s.uffd);
	munmap(page, 2 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fill_against_model), cmocka_unit_test(fill_unsettled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
