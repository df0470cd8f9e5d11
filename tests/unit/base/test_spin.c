/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <sched.h>

#include "base/clock.h"
#include "base/spin.h"

#define MOST (160 * NS_PER_US)

static void test_follows_what_is_seen(void **state)
{
	struct spin s = { .most_ns = MOST, .now_ns = MOST };

	spin_saw(&s, MOST + 1);
	assert_int_equal(s.now_ns, MOST / 2);
	spin_saw(&s, MOST);
	assert_int_equal(s.now_ns, MOST);
	spin_saw(&s, 0);
	assert_int_equal(s.now_ns, MOST);
	/* what comes rarely costs nothing after a few times */
	for (unsigned k = 0; k < 5; k++)
		spin_saw(&s, NS_PER_S);
	assert_int_equal(s.now_ns, 0);
	spin_saw(&s, UINT64_MAX);
	assert_int_equal(s.now_ns, 0);
	/* and is looked for again once it comes often */
	spin_saw(&s, MOST);
	assert_true(s.now_ns > 0);
	for (unsigned k = 0; k < 4; k++)
		spin_saw(&s, MOST);
	assert_int_equal(s.now_ns, MOST);
}

static void test_never(void **state)
{
	struct spin s;

	spin_init(&s, 0);
	spin_saw(&s, 0);
	assert_int_equal(s.now_ns, 0);
}

static void test_one_processor(void **state)
{
	struct spin s;
	cpu_set_t all, one;
	int first = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(first, &all))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	spin_init(&s, MOST);
	spin_saw(&s, 0);
	assert_int_equal(s.now_ns, 0);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	spin_init(&s, MOST);
	assert_int_equal(s.now_ns, CPU_COUNT(&all) > 1 ? MOST : 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_follows_what_is_seen), cmocka_unit_test(test_never), cmocka_unit_test(test_one_processor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
