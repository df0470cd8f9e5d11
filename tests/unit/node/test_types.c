// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "types.h"

static void functions_share_a_name(void **state)
{
	struct types *t = types_new();
	uint32_t a = types_take(t, "short"), b = types_take(t, "long");

	(void)state;
	assert_int_not_equal(a, b);
	assert_int_equal(types_take(t, "short"), a);
	assert_int_equal(t->type[a].functions, 2);
	assert_int_equal(t->n, 2);
	types_give(t, a);
	types_give(t, a);
	types_give(t, b);
	/* a name that comes back finds its figures */
	types_record(t, a, 3000, 1000);
	assert_int_equal(types_take(t, "short"), a);
	assert_int_equal(t->type[a].completed, 1);
	types_free(t);
}

static void names_are_labels(void **state)
{
	struct types *t = types_new();

	(void)state;
	types_take(t, "a\"b,c\nd e-f_g");
	assert_string_equal(t->type[0].name, "a_b_c_d_e-f_g");
	types_take(t, "0123456789012345678901234567890123456789012345678901234567890123456789");
	assert_int_equal(strlen(t->type[1].name), TYPE_NAME_MAX - 1);
	types_free(t);
}

/* 256 have a type of their own; the rest share one, until there is room again */
static void more_than_there_are_places(void **state)
{
	struct types *t = types_new();
	uint64_t generation;
	uint32_t index[300];
	char name[32];

	(void)state;
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		index[i] = types_take(t, name);
		assert_int_equal(index[i], i < TYPES_MAX ? (uint32_t)i : TYPE_OTHER);
	}
	assert_int_equal(t->left_out, 44);
	assert_int_equal(t->type[TYPE_OTHER].functions, 44);
	types_record(t, 7, 2000, 1000);
	types_give(t, index[7]);
	types_give(t, index[299]);
	assert_int_equal(t->left_out, 43);
	generation = t->generation;
	assert_int_equal(types_take(t, "new"), 7);
	assert_int_equal(t->type[7].completed, 0);
	assert_null(t->type[7].latency);
	assert_string_equal(t->type[7].name, "new");
	assert_true(t->generation > generation);
	assert_int_equal(types_take(t, "newer"), TYPE_OTHER);
	types_free(t);
}

static void what_is_recorded(void **state)
{
	struct types *t = types_new();
	uint32_t a = types_take(t, "a");

	(void)state;
	assert_true(types_used(t, a));
	assert_false(types_used(t, TYPE_OTHER));
	for (int i = 0; i < 100; i++)
		types_record(t, a, 50000, 5000);
	assert_int_equal(t->type[a].service_ns, 5000);
	assert_int_equal(hist_quantile(t->type[a].latency, .5), 50000);
	assert_int_equal(hist_quantile(t->type[a].slowdown, .5), 10000);
	types_record(t, TYPE_OTHER, 5, 0);      /* nothing was measured: no slowdown */
	assert_int_equal(t->type[TYPE_OTHER].slowdown->max, 1000);
	types_give(t, a);
	assert_true(types_used(t, a));
	types_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(functions_share_a_name),
		cmocka_unit_test(names_are_labels),
		cmocka_unit_test(more_than_there_are_places),
		cmocka_unit_test(what_is_recorded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
