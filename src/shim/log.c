/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void log_once(enum log_thing thing, const char *fmt, ...)
{
	static atomic_bool said[LOG_THINGS];
	char line[512] = "hearth-cuda: ";
	const size_t start = 13;
	va_list ap;
	int n;

	if (!getenv("HEARTH_SHIM_LOG") || atomic_exchange(&said[thing], true))
		return;
	va_start(ap, fmt);
	n = vsnprintf(line + start, sizeof line - start - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	n = (int)start + (n < (int)(sizeof line - start - 1) ? n : (int)(sizeof line - start - 2));
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}
