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
#include <unistd.h>

#include "trace/trace.h"

/* The trace that the generator is fitted to is not part of the sources. Says why if it is not there. */
static inline bool have_real_trace(void)
{
	const char *path = getenv("HEARTH_TEST_TRACE");

	if (path && access(path, R_OK) == 0)
		return true;
	printf("skipped: no recorded trace at %s\n", path ? path : "$HEARTH_TEST_TRACE");
	return false;
}

static inline struct trace *real_trace(void)
{
	struct hearth_err err = { 0 };
	struct trace *t = NULL;

	if (trace_load(getenv("HEARTH_TEST_TRACE"), &t, &err) < 0)
		fail_msg("%s", err.msg);
	return t;
}

#endif
