// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "priv.h"

/*
 * The calls of a live node as a trace that `hearth sim --trace` replays: a CSV file t_ns,type,service_ns, a line a call, in the order in which they ended; t_ns
 * is the arrival since the recording began. It is written about once a second, so that a disk is no part of a call, and ends at RECORD_BYTES_MAX.
 */
#define RECORD_BYTES_MAX (1ull << 30)
#define PENDING_BYTES_MAX (8u << 20)

struct call_recorder {
	char path[PATH_MAX];
	int fd;
	uint64_t begun_ns, bytes, calls, left_out;
	struct buf pending;
	bool ended;
};

int call_recorder_open(const char *path, struct call_recorder **ret, struct hearth_err *err)
{
	static const char header[] = "t_ns,type,service_ns\n";
	struct call_recorder *r;

	if (path[0] != '/' || strlen(path) >= sizeof(r->path))
		return err_set(err, -EINVAL, "record_calls: \"%.200s\" is no absolute path", path);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, -ENOMEM, "record_calls: out of memory");
	strcpy(r->path, path);
	r->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0640);
	if (r->fd < 0) {
		int e = -errno;

		free(r);
		return err_set(err, e, "record_calls: cannot write %s: %s", path, strerror(-e));
	}
	r->begun_ns = clock_mono_ns();
	if (buf_append(&r->pending, header, strlen(header)) < 0) {
		call_recorder_close(r);
		return err_set(err, -ENOMEM, "record_calls: out of memory");
	}
	*ret = r;
	return 0;
}

void call_recorder_write(struct call_recorder *r, uint64_t arrived_ns, const char *type, uint64_t service_ns)
{
	if (r->ended || arrived_ns < r->begun_ns)
		return;
	/* a disk that cannot keep up costs lines, not memory */
	if (r->pending.len > PENDING_BYTES_MAX ||
	    buf_printf(&r->pending, "%llu,%s,%llu\n", (unsigned long long)(arrived_ns - r->begun_ns), type, (unsigned long long)service_ns) < 0)
		r->left_out++;
	else
		r->calls++;
}

void call_recorder_flush(struct call_recorder *r)
{
	int e;

	if (r->ended || r->pending.len == 0)
		return;
	e = fd_write_full(r->fd, buf_head(&r->pending), r->pending.len);
	r->bytes += r->pending.len;
	buf_reset(&r->pending);
	if (e < 0)
		log_error("record_calls: %s: %s; the recording ends here", r->path, strerror(-e));
	else if (r->bytes > RECORD_BYTES_MAX)
		log_warn("record_calls: %s has reached %llu MiB; the recording ends here", r->path, RECORD_BYTES_MAX >> 20);
	r->ended = e < 0 || r->bytes > RECORD_BYTES_MAX;
}

const char *call_recorder_path(const struct call_recorder *r)
{
	return r->path;
}

uint64_t call_recorder_calls(const struct call_recorder *r)
{
	return r->calls;
}

struct call_recorder *call_recorder_close(struct call_recorder *r)
{
	if (!r)
		return NULL;
	call_recorder_flush(r);
	if (r->left_out)
		log_warn("record_calls: %s lacks %llu calls: it could not be written fast enough", r->path, (unsigned long long)r->left_out);
	fd_close(&r->fd);
	buf_done(&r->pending);
	free(r);
	return NULL;
}
