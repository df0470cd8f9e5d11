/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <unistd.h>

#include "base/file.h"
#include "record.h"

static const char *const names[] = { "short", "long" };

static char *recorded(void (*fill)(struct recorder *r), uint64_t *ret_lost)
{
	char folder[64], path[128], *text = NULL;
	struct recorder *r = NULL;
	struct hearth_err err = { 0 };

	temp_folder(folder);
	snprintf(path, sizeof(path), "%s/trace.csv", folder);
	assert_int_equal(recorder_open(path, 1000, names, 2, &r, &err), 0);
	fill(r);
	*ret_lost = recorder_lost(r);
	assert_null(recorder_close(r, &err));
	assert_int_equal(err.code, 0);
	assert_int_equal(file_read(path, 64 << 20, &text, NULL), 0);
	assert_int_equal(dir_remove(folder), 0);
	return text;
}

/* Ended in another order than they came, one never, one of no type. */
static void some(struct recorder *r)
{
	assert_false(recorder_pending(r));
	recorder_put(r, 2, 1030, 0, 3);
	assert_true(recorder_pending(r));
	recorder_push(r);
	assert_false(recorder_pending(r));
	recorder_put(r, 0, 1010, 1, 1);
	recorder_put(r, 4, 1050, 7, 5);
	recorder_void(r, 1);
	recorder_push(r);
	recorder_put(r, 5, 1060, 0, 6);
}

static void test_order(void **state)
{
	uint64_t lost;
	char *text = recorded(some, &lost);

	assert_string_equal(text, "t_ns,type,service_ns\n10,long,1\n30,short,3\n50,unknown,5\n60,short,6\n");
	free(text);
}

/* One request is out for longer than the window: those behind it are written without it. */
static void straggler(struct recorder *r)
{
	for (uint32_t i = 1; i < RECORD_WINDOW + 1000; i++) {
		recorder_put(r, i, 1000 + i, 0, i);
	}
	recorder_put(r, 0, 1000, 1, 1);
}

static void test_straggler(void **state)
{
	uint64_t lost;
	char *text = recorded(straggler, &lost), *line = text;
	unsigned long n = 0;

	assert_non_null(strstr(text, "\n1,short,1\n2,short,2\n"));     /* whatever the writer could not keep up with came later */
	assert_null(strstr(text, "long"));
	while ((line = strchr(line, '\n')) != NULL && *++line != '\0')
		n++;
	/* the straggler itself counts as lost once the writer has come to it */
	assert_in_range(n + lost, RECORD_WINDOW + 999, RECORD_WINDOW + 1000);
	free(text);
}

static void test_nowhere(void **state)
{
	struct recorder *r = NULL;
	struct hearth_err err;

	assert_int_equal(recorder_open("/nowhere/trace.csv", 0, names, 2, &r, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nowhere/trace.csv"));
	assert_null(recorder_close(NULL, NULL));
}

/* A disk that is full: the reason comes at the end, and nobody waits for it before. */
static void test_full(void **state)
{
	struct recorder *r = NULL;
	struct hearth_err err = { 0 };

	if (access("/dev/full", W_OK) != 0)
		skip();
	assert_int_equal(recorder_open("/dev/full", 0, names, 2, &r, &err), 0);
	for (uint32_t i = 0; i < 100000; i++)
		recorder_put(r, i, i, 0, 1);
	assert_null(recorder_close(r, &err));
	assert_int_equal(err.code, -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_straggler),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
