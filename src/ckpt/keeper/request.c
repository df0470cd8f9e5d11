/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

#define BUFFER_GRANULE (2ull << 20)
#define ADDRESS_MAX (1ull << 57)
#define CHUNK_ALIGN 65536u

const char *const request_names[REQUEST_OPS] = {
	"info", "inspect", "begin", "precopy", "stop", "detach", "driver_checkpoint", "driver_restore", "attach", "drain", "hold", "release_held", "held", "stage", "load", "abort", "end", "cancel",
};

bool name_ok(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n <= REQUEST_NAME_MAX && name[0] != '.' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool pid_of(const json_t *v, pid_t *ret)
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 1 || n > INT_MAX)
		return false;
	*ret = (pid_t)n;
	return true;
}

/* [PID, ...], or for load [[WAS, IS], ...] */
static int take_pids(struct request *r, const json_t *list)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list) || r->pids)
		return -EINVAL;
	if (n > KEEPER_PIDS_MAX)
		return -E2BIG;
	r->pids = calloc(n + 1, sizeof(*r->pids));
	r->was = calloc(n + 1, sizeof(*r->was));
	if (!r->pids || !r->was)
		return -ENOMEM;
	for (r->n = 0; r->n < n; r->n++) {
		const json_t *v = json_array_get(list, r->n);
		bool pair = json_array_size(v) == 2;

		if (pair ? !pid_of(json_array_get(v, 0), &r->was[r->n]) || !pid_of(json_array_get(v, 1), &r->pids[r->n]) : !pid_of(v, &r->pids[r->n]))
			return -EINVAL;
		for (size_t k = 0; k < r->n; k++)
			if (r->pids[k] == r->pids[r->n])
				return -EINVAL;
	}
	return 0;
}

static bool take_text(char *to, size_t room, const json_t *v)
{
	const char *s = json_string_value(v);

	if (!s || strlen(s) >= room || strlen(s) != json_string_length(v))
		return false;
	memcpy(to, s, strlen(s) + 1);
	return true;
}

static bool take_name(char to[REQUEST_NAME_MAX + 1], const json_t *v)
{
	return take_text(to, REQUEST_NAME_MAX + 1, v) && name_ok(to);
}

static int take(struct request *r, const char *key, const json_t *v)
{
	bool ok;

	if (!strcmp(key, "pids"))
		return take_pids(r, v);
	if (!strcmp(key, "store"))
		ok = take_text(r->store, sizeof(r->store), v) && r->store[0] == '/';
	else if (!strcmp(key, "base"))
		ok = take_name(r->base, v);
	else if (!strcmp(key, "image"))
		ok = take_name(r->image, v);
	else if (!strcmp(key, "hold"))
		ok = take_name(r->hold, v);
	else if (!strcmp(key, "runs_on"))
		ok = json_is_boolean(v), r->runs_on = json_is_true(v);
	else if (!strcmp(key, "zstd"))
		ok = json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= 22, r->zstd_level = ok ? (int)json_integer_value(v) : 0;
	else if (!strcmp(key, "timeout_ns"))
		ok = json_is_integer(v) && json_integer_value(v) >= 0, r->timeout_ns = ok ? (uint64_t)json_integer_value(v) : 0;
	else
		ok = !strcmp(key, "op");
	return ok ? 0 : -EINVAL;
}

static bool complete(const struct request *r)
{
	switch (r->op) {
	case REQUEST_INSPECT:
	case REQUEST_BEGIN:
		return r->n > 0;
	case REQUEST_PRECOPY:
		return r->store[0];
	case REQUEST_HOLD:
	case REQUEST_RELEASE_HELD:
		return r->hold[0];
	case REQUEST_LOAD:
		for (size_t k = 0; k < r->n; k++)
			if (!r->was[k])
				return false;
		return r->n > 0 && !r->image[0] == !r->store[0];
	case REQUEST_STAGE:
		return (r->hold[0] || r->image[0]) && !r->image[0] == !r->store[0];
	default:
		return true;
	}
}

int request_parse(const char *text, size_t len, struct request **ret, struct hearth_err *err)
{
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *v;
	const char *name = json_string_value(json_object_get(o, "op")), *key;
	struct request *r = calloc(1, sizeof(*r));
	int failed = r ? 0 : -ENOMEM;

	if (r)
		r->op = REQUEST_OPS;
	for (int k = 0; r && name && k < REQUEST_OPS; k++)
		if (!strcmp(name, request_names[k]))
			r->op = (enum request_op)k;
	if (r && r->op == REQUEST_OPS)
		failed = -EINVAL;
	if (failed == 0)
		json_object_foreach(o, key, v)
			if (failed == 0)
				failed = take(r, key, v);
	if (failed == 0 && !complete(r))
		failed = -EINVAL;
	json_decref(o);
	if (failed < 0) {
		request_free(r);
		return err_set(err, failed, failed == -E2BIG ? "more than 512 processes in one operation" : failed == -ENOMEM ? "out of memory" : "the keeper was asked something it does not know; are hearth and hearth-keeper of one version?");
	}
	*ret = r;
	return 0;
}

struct request *request_free(struct request *r)
{
	if (r) {
		free(r->pids);
		free(r->was);
		free(r);
	}
	return NULL;
}

#define FIELD(f) { #f, offsetof(struct keeper_report, f) }
static const struct field { const char *name; size_t offset; } fields[] = {
	FIELD(total_ns), FIELD(gate_ns), FIELD(hash_ns), FIELD(snapshot_ns), FIELD(copy_ns), FIELD(reserve_ns), FIELD(wait_ns), FIELD(create_ns), FIELD(lock_ns), FIELD(driver_ns),
	FIELD(buffers), FIELD(bytes), FIELD(dirty_bytes), FIELD(snapshot_bytes), FIELD(copied_bytes), FIELD(known_bytes), FIELD(zero_bytes), FIELD(rounds),
};

json_t *report_to_json(const struct keeper_report *r)
{
	json_t *o = json_pack("{s:s}", "notes", r->notes);

	for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++)
		json_object_set_new(o, fields[k].name, json_integer((json_int_t)*(const uint64_t *)((const char *)r + fields[k].offset)));
	return o;
}

void report_from_json(const json_t *o, struct keeper_report *ret)
{
	const char *notes = json_string_value(json_object_get(o, "notes"));

	*ret = (struct keeper_report){ 0 };
	for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++)
		*(uint64_t *)((char *)ret + fields[k].offset) = (uint64_t)json_integer_value(json_object_get(o, fields[k].name));
	snprintf(ret->notes, sizeof(ret->notes), "%s", notes ? notes : "");
}

void report_note(struct keeper_report *r, const char *fmt, ...)
{
	size_t n = strlen(r->notes);
	char note[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(note, sizeof(note), fmt, ap);
	va_end(ap);
	if (!strstr(r->notes, note))
		snprintf(r->notes + n, sizeof(r->notes) - n, "%s%s", n ? "; " : "", note);
}

int shim_msg_check(const void *data, size_t len, struct shim_msg *ret)
{
	struct shim_msg m;

	if (len != sizeof(m))
		return -EBADMSG;
	memcpy(&m, data, sizeof(m));
	if (m.version != SHIM_WIRE_VERSION || !memchr(m.text, '\0', sizeof(m.text)))
		return -EBADMSG;
	switch (m.op) {
	case SHIM_HELLO:
		if (m.seq || strlen(m.text) >= SHIM_NAME_MAX || !name_ok(m.text) || m.flags > 1)
			return -EBADMSG;
		break;
	case SHIM_ALLOC:
		if (m.seq || !m.id || !m.bytes || m.bytes % BUFFER_GRANULE || m.va % CHUNK_ALIGN || m.bytes > ADDRESS_MAX || m.va > ADDRESS_MAX)
			return -EBADMSG;
		break;
	case SHIM_FREE:
		if (m.seq || !m.id)
			return -EBADMSG;
		break;
	case SHIM_ROOM:
		if (m.seq || !m.bytes || m.bytes > ADDRESS_MAX)
			return -EBADMSG;
		break;
	case SHIM_REFUSE:
	case SHIM_UNREFUSE:
		if (m.seq)
			return -EBADMSG;
		break;
	case SHIM_GATE_CLOSE:
	case SHIM_GATE_OPEN:
	case SHIM_DETACH:
	case SHIM_CREATE:
		if (!m.seq)
			return -EBADMSG;
		break;
	default:
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}
