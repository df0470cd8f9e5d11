/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_REQUEST_H
#define KEEPER_REQUEST_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ckpt/keeper.h"
#include "shim/wire.h"

/*
 * What engines say: one JSON object a packet, {"op": NAME, ...}; unknown keys are errors. Answers: any number of {"done": N, "total": N}, then {"ok": true, "report": {...}} or {"ok": false, "code": -errno,
 * "error": TEXT}. {"op": "cancel"} has no answer of its own.
 */
#define REQUEST_BYTES_MAX (64u << 10)
#define REQUEST_NAME_MAX 200

enum request_op {
	REQUEST_INFO, REQUEST_INSPECT, REQUEST_BEGIN, REQUEST_PRECOPY, REQUEST_STOP, REQUEST_DETACH, REQUEST_DRIVER_CHECKPOINT, REQUEST_DRIVER_RESTORE, REQUEST_ATTACH, REQUEST_DRAIN,
	REQUEST_HOLD, REQUEST_RELEASE_HELD, REQUEST_HELD, REQUEST_STAGE, REQUEST_LOAD, REQUEST_ABORT, REQUEST_END, REQUEST_CANCEL, REQUEST_OPS,
};
extern const char *const request_names[REQUEST_OPS];

/** struct request - one that was checked. @pids, @was: n of them (@was: load only). Strings are "" where there is none. */
struct request {
	enum request_op op;
	pid_t *pids, *was;
	size_t n;
	bool runs_on;
	int zstd_level;
	uint64_t timeout_ns;
	char store[PATH_MAX], base[REQUEST_NAME_MAX + 1], image[REQUEST_NAME_MAX + 1], hold[REQUEST_NAME_MAX + 1];
};

/** request_parse - @ret: request_free(). Return: 0, -EINVAL (no such request), -E2BIG (pids), -ENOMEM. */
int request_parse(const char *text, size_t len, struct request **ret, struct hearth_err *err);
struct request *request_free(struct request *r);
/** name_ok - of images and of what is held: [A-Za-z0-9._-], no dot first */
bool name_ok(const char *name);

/** report_to_json, report_from_json - missing fields are 0 */
json_t *report_to_json(const struct keeper_report *r);
void report_from_json(const json_t *o, struct keeper_report *ret);
/** report_note - a fallback was taken: appended to @notes, once */
void report_note(struct keeper_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** shim_msg_check - a packet from a shim: size, version, operation that a shim may send, texts ended, numbers sane. Return: 0, -EBADMSG. */
int shim_msg_check(const void *data, size_t len, struct shim_msg *ret);

#endif
