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
 * The calls of a live node as a trace that `hearth sim --trace` replays: a CSV file t_ns,type,service_ns, a line a call that was answered, in order of arrival;
 * t_ns is the arrival since the recording began. A call that is answered before earlier ones waits for them in a ring; where a call takes so long that the ring is
 * full, it is left out. Lines are written about once a second, so that a disk is no part of a call, and the file ends at RECORD_BYTES_MAX.
 */
#define RECORD_BYTES_MAX (1ull << 30)
#define PENDING_BYTES_MAX (8u << 20)
#define RING (1u << 16)

enum entry_state { ENTRY_RUNS, ENTRY_ANSWERED, ENTRY_VOID };

struct entry {
	uint64_t arrived_ns, service_ns;
	uint32_t type;
	enum entry_state state;
};

struct call_recorder {
	char path[PATH_MAX];
	int fd;
	const struct types *types;
	uint64_t begun_ns, bytes, calls, left_out;
	uint64_t first, next;           /* entries of the ring, by their numbers; number 0 is nobody's */
	struct entry *ring;
	struct buf pending;
	bool ended;
};

/* no number twice in a process: a call may end under another recording than it began under */
static uint64_t next_number = 1;

int call_recorder_open(const char *path, const struct types *types, struct call_recorder **ret, struct hearth_err *err)
{
	static const char header[] = "t_ns,type,service_ns\n";
	struct call_recorder *r;
	int e;

	if (path[0] != '/' || strlen(path) >= sizeof(r->path))
		return err_set(err, -EINVAL, "record_calls: \"%.200s\" is no absolute path", path);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, -ENOMEM, "record_calls: out of memory");
	snprintf(r->path, sizeof(r->path), "%s", path);
	r->types = types;
	r->first = r->next = next_number;
	r->ring = calloc(RING, sizeof(*r->ring));
	r->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0640);
	e = r->fd < 0 ? -errno : 0;
	r->begun_ns = clock_mono_ns();
	if (e == 0 && (!r->ring || buf_append(&r->pending, header, strlen(header)) < 0))
		e = -ENOMEM;
	if (e < 0) {
		err_set(err, e, "record_calls: cannot write %s: %s", path, strerror(-e));
		call_recorder_close(r);
		return e;
	}
	*ret = r;
	return 0;
}

static void write_line(struct call_recorder *r, const struct entry *e)
{
	/* a disk that cannot keep up costs lines, not memory */
	if (r->pending.len > PENDING_BYTES_MAX ||
	    buf_printf(&r->pending, "%llu,%.*s,%llu\n", (unsigned long long)(e->arrived_ns - r->begun_ns), SCHED_NAME_MAX - 1, r->types->type[e->type].name,
		       (unsigned long long)(e->service_ns ? e->service_ns : 1)) < 0)
		r->left_out++;
	else
		r->calls++;
}

/* @all: do not wait for those that still run */
static void take_from_ring(struct call_recorder *r, bool all)
{
	for (; r->first < r->next; r->first++) {
		const struct entry *e = &r->ring[r->first % RING];

		if (e->state == ENTRY_RUNS && !all)
			return;
		if (e->state == ENTRY_ANSWERED)
			write_line(r, e);
	}
}

uint64_t call_recorder_begin(struct call_recorder *r, uint64_t arrived_ns)
{
	if (r->ended || arrived_ns < r->begun_ns)
		return 0;
	if (r->next - r->first == RING) {
		r->left_out++;
		r->first++;
		take_from_ring(r, false);
	}
	r->ring[r->next % RING] = (struct entry){ .arrived_ns = arrived_ns };
	next_number = r->next + 1;
	return r->next++;
}

void call_recorder_end(struct call_recorder *r, uint64_t number, bool answered, uint32_t type, uint64_t service_ns)
{
	struct entry *e = &r->ring[number % RING];

	if (number < r->first || number >= r->next)
		return;
	e->state = answered ? ENTRY_ANSWERED : ENTRY_VOID;
	e->type = type;
	e->service_ns = service_ns;
	if (number == r->first)
		take_from_ring(r, false);
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
	if (r->fd >= 0 && r->ring) {
		take_from_ring(r, true);
		call_recorder_flush(r);
	}
	if (r->left_out)
		log_warn("record_calls: %s lacks %llu calls: they took too long, or came faster than they could be written", r->path, (unsigned long long)r->left_out);
	fd_close(&r->fd);
	buf_done(&r->pending);
	free(r->ring);
	free(r);
	return NULL;
}
