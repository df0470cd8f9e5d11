// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "priv.h"

/* One file a function, one older one beside it: at most 2 x LOG_BYTES_MAX whatever a function writes. */
#define LOG_BYTES_MAX (8u << 20)

struct log_file {
	char path[PATH_MAX];
	int fd;
	uint64_t bytes;
	bool complained;
	char line_of[NODE_ID_LEN];      /* an unfinished line is of this instance */
};

static int reopen(struct log_file *f)
{
	struct stat st;

	f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (f->fd < 0)
		return -errno;
	f->bytes = fstat(f->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	return 0;
}

struct log_file *log_file_open(const char *dir, const char *function)
{
	struct log_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->fd = -1;
	if (snprintf(f->path, sizeof(f->path), "%s/%s.log", dir, function) >= (int)sizeof(f->path) || reopen(f) < 0) {
		log_warn("log of function %s: cannot open %s: %s", function, f->path, strerror(errno));
		free(f);
		return NULL;
	}
	return f;
}

static void rotate(struct log_file *f)
{
	char older[PATH_MAX + 2];

	snprintf(older, sizeof(older), "%s.1", f->path);
	fd_close(&f->fd);
	if (rename(f->path, older) < 0 || reopen(f) < 0)
		log_warn("log %s: cannot rotate: %s", f->path, strerror(errno));
}

static void put(struct log_file *f, const void *data, size_t n)
{
	if (f->fd >= 0 && write(f->fd, data, n) == (ssize_t)n) {
		f->bytes += n;
		f->complained = false;
	} else if (!f->complained) {
		/* a full disk must not stop a function */
		log_warn("log %s: cannot write: %s; lines are lost", f->path, strerror(errno));
		f->complained = true;
	}
}

/* every line gets its time, instance and stream; pieces of a line that come apart are joined as long as nobody else writes between them */
static void put_prefix(struct log_file *f, const char *instance, int stream)
{
	char head[NODE_ID_LEN + 64];
	uint64_t now = clock_wall_ns();
	time_t s = (time_t)(now / NS_PER_S);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(head, sizeof(head), "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(head + n, sizeof(head) - n, ".%03uZ %s %s ", (unsigned)(now / NS_PER_MS % 1000), instance, stream == 2 ? "err" : "out");
	put(f, head, n);
}

void log_file_write(struct log_file *f, const char *instance, int stream, const uint8_t *data, size_t len)
{
	char owner[NODE_ID_LEN];

	if (!f)
		return;
	snprintf(owner, sizeof(owner), "%d%.*s", stream, NODE_ID_LEN - 4, instance);
	while (len > 0) {
		const uint8_t *nl = memchr(data, '\n', len);
		size_t n = nl ? (size_t)(nl - data) + 1 : len;

		if (f->bytes > LOG_BYTES_MAX)
			rotate(f);
		if (f->line_of[0] && strcmp(f->line_of, owner)) {
			put(f, "\n", 1);
			f->line_of[0] = '\0';
		}
		if (!f->line_of[0])
			put_prefix(f, instance, stream);
		put(f, data, n);
		if (nl)
			f->line_of[0] = '\0';
		else
			memcpy(f->line_of, owner, sizeof(owner));
		data += n;
		len -= n;
	}
}

struct log_file *log_file_close(struct log_file *f)
{
	if (f)
		fd_close(&f->fd);
	free(f);
	return NULL;
}
