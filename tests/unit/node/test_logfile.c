/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "priv.h"

static char dir[] = "/tmp/hearth-logfile-XXXXXX";

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return dir_remove(dir);
}

static void say(struct log_file *f, const char *instance, int stream, const char *text)
{
	log_file_write(f, instance, stream, (const uint8_t *)text, strlen(text));
}

static void test_lines_are_whole(void **state)
{
	struct log_file *f = log_file_open(dir, "lines");
	char path[128], *text, *at;
	static const char *const expected[] = { " a-1 out one\n", " a-1 out two and a half\n", " b-2 out cut\n", " a-1 err other\n", " b-2 out off\n" };

	(void)state;
	assert_non_null(f);
	say(f, "a-1", 1, "one\ntwo");
	say(f, "a-1", 1, " and a half\n");
	say(f, "b-2", 1, "cut");
	say(f, "a-1", 2, "other\n");
	say(f, "b-2", 1, "off\n");
	log_file_close(f);
	snprintf(path, sizeof(path), "%s/lines.log", dir);
	assert_int_equal(file_read(path, 4096, &text, NULL), 0);
	at = text;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		at = strstr(at, expected[i]);
		assert_non_null(at);
	}
	free(text);
}

static void test_rotation(void **state)
{
	struct log_file *f = log_file_open(dir, "much");
	static char block[65536];
	char path[128];
	struct stat now, older;

	(void)state;
	memset(block, 'x', sizeof(block));
	block[sizeof(block) - 1] = '\n';
	for (int i = 0; i < 600; i++)
		log_file_write(f, "a-1", 1, (const uint8_t *)block, sizeof(block));
	log_file_close(f);
	snprintf(path, sizeof(path), "%s/much.log", dir);
	assert_int_equal(stat(path, &now), 0);
	snprintf(path, sizeof(path), "%s/much.log.1", dir);
	assert_int_equal(stat(path, &older), 0);
	assert_true(now.st_size + older.st_size < (17 << 20) && older.st_size > (7 << 20));
	f = log_file_open(dir, "much");         /* goes on where it was */
	say(f, "a-1", 1, "more\n");
	log_file_close(f);
	log_file_write(NULL, "a-1", 1, (const uint8_t *)"x", 1);
	assert_null(log_file_close(NULL));
	assert_null(log_file_open("/no/such/folder", "f"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_lines_are_whole), cmocka_unit_test(test_rotation) };

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
