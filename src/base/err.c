/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* A message is one line whatever its arguments held: names and values in it come from files and peers. */
static void keep_one_line(char *msg)
{
	for (; *msg != '\0'; msg++) {
		if ((unsigned char)*msg < 0x20 || *msg == 0x7f)
			*msg = '?';
	}
}

int (err_set)(struct hearth_err *err, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (err != NULL) {
		err->code = code;
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
		keep_one_line(err->msg);
	}
	errno = saved;
	return code;
}

int err_prefix(struct hearth_err *err, const char *fmt, ...)
{
	char tail[sizeof(err->msg)];
	int saved = errno;
	va_list ap;
	int n;

	if (err == NULL)
		return -EIO;
	memcpy(tail, err->msg, sizeof(tail));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if ((size_t)n < sizeof(err->msg)) {
		size_t room = sizeof(err->msg) - (size_t)n;

		/* truncation is what the header promises; the return value only tells how much was lost */
		if (snprintf(err->msg + n, room, "%s%s", n > 0 ? ": " : "", tail) < 0)
			err->msg[n] = '\0';
	}
	keep_one_line(err->msg);
	errno = saved;
	return err->code;
}
