/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define LINE_MAX_BYTES 2048     /* below PIPE_BUF, so a line written to a pipe is never torn */

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static _Atomic int level_now = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

int log_set_level_named(const char *text)
{
	enum log_level level;
	int r = log_level_parse(text, &level);

	if (r == 0)
		log_set_level(level);
	return r;
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* "2026-01-02T03:04:05.678Z warn: ". Return: its length. */
static size_t line_head(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	size_t n;
	int m;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	m = snprintf(line + n, size - n, ".%03ldZ %s: ", now.tv_nsec / 1000000, level_names[level]);
	return n + (size_t)m;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[LINE_MAX_BYTES];
	size_t head = line_head(line, sizeof(line), level), len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line + head, sizeof(line) - head - 1, fmt, ap);
	va_end(ap);
	len = head + (n > 0 ? (size_t)n : 0);
	if (len > sizeof(line) - 2) {
		len = sizeof(line) - 2;
		memcpy(line + len - 3, "...", 3);
	}
	/* one call, one line: a message that quotes foreign bytes must not forge a second one or move the terminal's cursor */
	for (size_t i = head; i < len; i++) {
		if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
			line[i] = '?';
	}
	line[len++] = '\n';
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}
