/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "priv.h"

/*
 * A line for each call that fails, and for each downgrade: what the numbers of the interface cannot say. Only where a file was named for it (CUFILE_LOGFILE_PATH, or
 * the parameters): a library leaves nothing in folders of its own accord.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *path;
static int fd = -1;
static atomic_int level;

int cf_log_level(const char *text)
{
	static const struct { const char *name; int level; } levels[] = {
		{ "OFF", 0 }, { "FATAL", 0 }, { "ERROR", CF_LOG_ERROR }, { "WARN", CF_LOG_WARN }, { "NOTICE", CF_LOG_INFO }, { "INFO", CF_LOG_INFO }, { "DEBUG", CF_LOG_INFO }, { "TRACE", CF_LOG_INFO },
	};

	for (size_t k = 0; k < sizeof(levels) / sizeof(levels[0]); k++)
		if (strcasecmp(text, levels[k].name) == 0)
			return levels[k].level;
	return -EINVAL;
}

void cf_log_open(const struct cf_params *p)
{
	const char *file = p->strings[CUFILE_PARAM_ENV_LOGFILE_PATH], *dir = p->strings[CUFILE_PARAM_LOG_DIR];
	int l = cf_log_level(p->strings[CUFILE_PARAM_LOGGING_LEVEL]);

	pthread_mutex_lock(&lock);
	free(path);
	path = NULL;
	if (file)
		path = strdup(file);
	else if (dir && asprintf(&path, "%s/cufile.log", dir) < 0)
		path = NULL;
	atomic_store(&level, !path ? 0 : l < 0 ? CF_LOG_ERROR : l);
	pthread_mutex_unlock(&lock);
}

void cf_log_close(void)
{
	pthread_mutex_lock(&lock);
	atomic_store(&level, 0);
	fd_close(&fd);
	pthread_mutex_unlock(&lock);
}

void cf_log(enum cf_level at, const char *fmt, ...)
{
	static const char *const names[] = { [CF_LOG_ERROR] = "ERROR", [CF_LOG_WARN] = "WARN", [CF_LOG_INFO] = "INFO" };
	struct timespec ts;
	struct tm tm;
	char when[40], text[600];
	int saved = errno;
	va_list list;

	if ((int)at > atomic_load_explicit(&level, memory_order_relaxed))
		return;
	va_start(list, fmt);
	vsnprintf(text, sizeof(text), fmt, list);
	va_end(list);
	clock_gettime(CLOCK_REALTIME, &ts);
	strftime(when, sizeof(when), "%F %T", localtime_r(&ts.tv_sec, &tm));
	pthread_mutex_lock(&lock);
	if (fd < 0 && path)
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (fd >= 0)
		dprintf(fd, "%s.%03ld [pid=%d] %s %s\n", when, ts.tv_nsec / 1000000, getpid(), names[at], text);
	pthread_mutex_unlock(&lock);
	errno = saved;
}
