/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TRACE_CHECK_H
#define TESTS_UNIT_TRACE_CHECK_H

/* cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace.h"

/* The trace that the generator is fitted to, where the machine has it; NULL (with the reason printed) otherwise. */
static inline struct trace *real_trace(void)
{
	const char *path = getenv("HEARTH_TEST_TRACE");
	struct trace *t = NULL;
	struct hearth_err err;
	FILE *f = path ? fopen(path, "r") : NULL;

	if (!f) {
		print_message("no real trace at %s\n", path ? path : "$HEARTH_TEST_TRACE");
		return NULL;
	}
	fclose(f);
	if (trace_load(path, &t, &err) < 0)
		fail_msg("%s", err.msg);
	return t;
}

#endif
