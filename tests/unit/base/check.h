/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BASE_CHECK_H
#define TESTS_UNIT_BASE_CHECK_H

/* cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* an empty folder of this test's own; the caller removes it */
static inline void temp_folder(char path[64])
{
	snprintf(path, 64, "/tmp/hearth-test-XXXXXX");
	assert_non_null(mkdtemp(path));
}

static inline unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir)) != NULL; n++)
		;
	closedir(dir);
	return n - 2;   /* . and .. */
}

#endif
