/* SPDX-License-Identifier: Apache-2.0 */
/* What an operation knows of device memory, and how it is written down. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/fd.h"
#include "op.h"

#define TABLE_VERSION 2
#define TABLE_NAME "gpu"

static struct digest zero_chunk(uint64_t seed)
{
	static const uint8_t zeros[CHUNK];
	XXH128_hash_t h = XXH3_128bits_withSeed(zeros, CHUNK, seed);

	return (struct digest){ .hi = h.high64, .lo = h.low64 };
}

int op_store(struct op *op, const struct request *r, struct hearth_err *err)
{
	struct store_options options = { .zstd_level = r->zstd_level };
	struct store *store;
	int failed;

	if (op->draft) {
		if (!r->store[0])
			return 0;
		failed = pool_open(&op->k->pool, r->store, &store, err);
		if (failed == 0) {
			pool_close(&op->k->pool, store);
			failed = store == op->store ? 0 : err_set(err, -EPROTO, "%s is not the store that the pre-copy went to", r->store);
		}
		return failed;
	}
	if (!r->store[0])
		return err_set(err, -EPROTO, "no store was named");
	failed = pool_open(&op->k->pool, r->store, &op->store, err);
	if (failed == 0 && r->base[0])
		failed = store_image_open(op->store, r->base, &op->base, err);
	if (failed == 0)
		failed = store_begin(op->store, NULL, &options, &op->draft, err);
	if (failed < 0) {
		op_store_drop(op);
		return failed;
	}
	/* digests of a stop without pre-copy were made with another seed: a store decides it */
	if (op->seed != store_seed(op->store))
		for (size_t a = 0; a < op->areas_n; a++)
			op->areas[a].hashed = false;
	op->seed = store_seed(op->store);
	op->zero = zero_chunk(op->seed);
	return 0;
}

void op_store_drop(struct op *op)
{
	for (struct object *o = op->objects; o; o = o->next) {
		o->store = NULL;
		memset(o->have, 0, (o->chunks + 63) / 64 * sizeof(*o->have));
	}
	if (op->draft)
		store_abort(op->draft);
	op->draft = NULL;
	if (op->base)
		store_image_close(op->base);
	if (op->image)
		store_image_close(op->image);
	op->base = op->image = NULL;
	pool_close(&op->k->pool, op->store);
	op->store = NULL;
	op->sealed = false;
}

static void object_free(struct object *o)
{
	if (o->buffer)
		o->buffer->object = NULL;
	free(o->now);
	free(o->have);
	free(o);
}

void objects_free(struct op *op)
{
	pthread_mutex_lock(&op->k->lock);
	while (op->objects) {
		struct object *o = op->objects;

		op->objects = o->next;
		object_free(o);
	}
	pthread_mutex_unlock(&op->k->lock);
}

static struct object *object_new(struct process *p, pid_t pid, struct buffer *b)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->pid = pid;
	o->id = b->id;
	o->va = b->va;
	o->bytes = b->bytes;
	o->flags = b->flags;
	memcpy(o->program, p->name, sizeof(o->program));
	o->device = b->device;
	o->chunks = b->bytes / CHUNK;
	o->now = calloc(o->chunks, sizeof(*o->now));
	o->have = calloc((o->chunks + 63) / 64, sizeof(*o->have));
	if (!o->now || !o->have) {
		free(o->now);
		free(o->have);
		free(o);
		return NULL;
	}
	o->buffer = b;
	b->object = o;
	return o;
}

int objects_update(struct op *op, struct hearth_err *err)
{
	struct object **tail = &op->objects;
	int r = 0;

	pthread_mutex_lock(&op->k->lock);
	while (*tail)
		tail = &(*tail)->next;
	for (size_t i = 0; i < op->n && r == 0; i++) {
		struct process *p = op->processes[i];

		for (size_t b = 0; b < p->n && r == 0; b++)
			if (!p->buffers[b]->object) {
				*tail = object_new(p, p->pid, p->buffers[b]);
				if (!*tail)
					r = err_set(err, -ENOMEM, "out of memory for the digests of a buffer");
				else
					tail = &(*tail)->next;
			}
	}
	pthread_mutex_unlock(&op->k->lock);
	return r;
}

static void object_name(const struct object *o, char name[64])
{
	snprintf(name, 64, "gpu-%d-%llu", (int)o->pid, (unsigned long long)o->id);
}

/* what the image that is expected to be much the same has: those chunks are there if they turn out to be equal, which store_put_known() tells */
int object_in_store(struct op *op, struct object *o, struct hearth_err *err)
{
	char name[64];

	if (o->store)
		return 0;
	object_name(o, name);
	return store_object_begin(op->draft, name, o->bytes, NULL, &o->store, err);
}

static json_t *object_to_json(const struct object *o)
{
	char name[64], uuid[33];

	object_name(o, name);
	for (int k = 0; k < 16; k++)
		snprintf(uuid + 2 * k, 3, "%02x", o->device->uuid.bytes[k]);
	return json_pack("{s:s,s:s,s:i,s:I,s:I,s:I,s:i,s:s,s:s}", "object", name, "program", o->program, "pid", (int)o->pid, "id", (json_int_t)o->id, "va", (json_int_t)o->va, "bytes", (json_int_t)o->bytes, "flags",
			 (int)o->flags, "device", uuid, "device_name", o->device->name);
}

static int put_table(struct op *op, const json_t *table, struct hearth_err *err)
{
	char *text = json_dumps(table, JSON_COMPACT);
	struct store_object *to;
	int r;

	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	r = store_object_begin(op->draft, TABLE_NAME, strlen(text), NULL, &to, err);
	if (r == 0)
		r = store_put(to, 0, text, strlen(text), NULL, err);
	free(text);
	return r;
}

int objects_seal(struct op *op, int *ret_fd, struct hearth_err *err)
{
	json_t *table = json_pack("{s:i,s:[],s:[]}", "version", TABLE_VERSION, "processes", "buffers"), *list = json_object_get(table, "buffers");
	int r = 0;

	for (size_t i = 0; i < op->n; i++)
		json_array_append_new(json_object_get(table, "processes"), json_pack("{s:i,s:s}", "pid", (int)op->was[i], "program", op->processes[i]->name));
	for (struct object *o = op->objects; o && r == 0; o = o->next) {
		if (!o->store)
			continue;
		if (!o->gone)
			json_array_append_new(list, object_to_json(o));
		for (uint64_t c = 0; c < o->chunks && r == 0; c++)
			if (o->gone || !object_has(o, c)) {
				bool known;

				/* what was freed takes no room; and nobody reads it */
				r = o->gone ? (int)store_put_known(o->store, c, 1, &op->zero, &known) : -EPROTO;
				r = r > 0 ? 0 : r == 0 ? -EIO : r;
			}
		if (r < 0)
			err_set(err, r, "buffer %llu of process %d is not whole in the store", (unsigned long long)o->id, (int)o->pid);
	}
	if (r == 0)
		r = put_table(op, table, err);
	json_decref(table);
	return r == 0 ? store_seal(op->draft, ret_fd, err) : r;
}

/* ---- the way back ---- */

static size_t find_was(const struct op *op, pid_t pid)
{
	size_t i = 0;

	while (i < op->n && op->was[i] != pid)
		i++;
	return i;
}

struct process **op_was(struct op *op, pid_t pid)
{
	size_t i = find_was(op, pid);

	return i < op->n ? &op->processes[i] : NULL;
}

/* a process with the shim: the gate file of @program wakes it */
static int process_from_json(struct op *op, const json_t *o, bool *shim, struct hearth_err *err)
{
	const char *program = json_string_value(json_object_get(o, "program"));
	pid_t pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
	size_t i = find_was(op, pid);

	if (!program || strlen(program) >= sizeof(op->processes[0]->name) || !name_ok(program))
		return err_set(err, -EBADMSG, "the image's table of device memory makes no sense");
	if (i == op->n)
		return err_set(err, -ESRCH, "process %d of the image has device memory, but nobody said what it is called now", (int)pid);
	memcpy(op->processes[i]->name, program, strlen(program) + 1);
	shim[i] = true;
	return 0;
}

/* The driver alone brings back those without the shim: nobody waits for their connection. Lock held. */
static void drop_others(struct op *op, const bool *shim)
{
	size_t n = 0;

	for (size_t i = 0; i < op->n; i++) {
		if (!shim[i]) {
			op->processes[i]->op = NULL;
			process_drop(op->k, op->processes[i], "the driver alone brings it back");
			continue;
		}
		op->was[n] = op->was[i];
		op->processes[n++] = op->processes[i];
	}
	op->n = n;
}

static int buffer_from_json(struct op *op, const json_t *o, struct hearth_err *err)
{
	const char *name = json_string_value(json_object_get(o, "object")), *uuid = json_string_value(json_object_get(o, "device"));
	struct buffer b = { .id = (uint64_t)json_integer_value(json_object_get(o, "id")), .va = (uint64_t)json_integer_value(json_object_get(o, "va")),
			    .bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes")), .flags = (unsigned)json_integer_value(json_object_get(o, "flags")) }, *added;
	pid_t pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
	uint8_t bytes[16];
	size_t i;
	int r;

	b.image_object = name ? store_image_object(op->image, name) : -ENOENT;
	if (b.image_object < 0 || b.bytes == 0 || b.bytes % CHUNK || store_image_object_bytes(op->image, b.image_object) != b.bytes || !uuid || strlen(uuid) != 32)
		return err_set(err, -EBADMSG, "the image's table of device memory makes no sense");
	for (int k = 0; k < 16; k++)
		if (sscanf(uuid + 2 * k, "%2hhx", &bytes[k]) != 1)
			return err_set(err, -EBADMSG, "the image's table of device memory makes no sense");
	b.device = device_of(op->k, bytes);
	if (!b.device)
		return err_set(err, -EOPNOTSUPP, "the image needs the device %s (%.60s), which is not here", uuid, json_string_value(json_object_get(o, "device_name")) ?: "?");
	i = find_was(op, pid);
	if (i == op->n)
		return err_set(err, -EBADMSG, "the image's table of device memory makes no sense: buffer %llu is of no process", (unsigned long long)b.id);
	r = buffer_add(op->processes[i], &b, &added);
	return r < 0 ? err_set(err, r, "the image's table of device memory makes no sense (buffer %llu)", (unsigned long long)b.id) : 0;
}

static int load_image(struct op *op, const struct request *r, struct hearth_err *err)
{
	bool shim[KEEPER_PIDS_MAX] = { 0 };
	json_t *table = NULL, *o;
	char *text = NULL;
	size_t k, bytes = 0;
	int object, failed = pool_open(&op->k->pool, r->store, &op->store, err);

	if (failed == 0)
		failed = store_image_open(op->store, r->image, &op->image, err);
	if (failed < 0)
		return failed;
	op->seed = store_seed(op->store);
	op->zero = zero_chunk(op->seed);
	object = store_image_object(op->image, TABLE_NAME);
	if (object >= 0)
		bytes = store_image_object_bytes(op->image, object);
	text = object >= 0 && bytes < 64u << 20 ? malloc(bytes + 1) : NULL;
	if (!text)
		return err_set(err, object < 0 ? -ENOENT : -ENOMEM, "image %s holds no device memory that can be read", r->image);
	failed = store_read(op->image, object, 0, text, bytes, err);
	if (failed == 0)
		table = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (failed == 0 && json_integer_value(json_object_get(table, "version")) != TABLE_VERSION)
		failed = err_set(err, table ? -EPROTO : -EBADMSG, "image %s: its device memory is described in a way that this version does not know", r->image);
	if (failed == 0)
		json_array_foreach(json_object_get(table, "processes"), k, o)
			if (failed == 0)
				failed = process_from_json(op, o, shim, err);
	pthread_mutex_lock(&op->k->lock);
	if (failed == 0)
		drop_others(op, shim);
	pthread_mutex_unlock(&op->k->lock);
	if (failed == 0)
		json_array_foreach(json_object_get(table, "buffers"), k, o)
			if (failed == 0)
				failed = buffer_from_json(op, o, err);
	json_decref(table);
	return failed;
}

static int claim(struct op *op, const struct request *r, struct hearth_err *err)
{
	struct keeper_server *k = op->k;

	for (size_t i = 0; i < r->n; i++) {
		struct process *p = process_find(k, r->pids[i]);

		if (p)
			return err_set(err, -EBUSY, "process %d is known already; was it restored twice?", (int)r->pids[i]);
		p = process_new(r->pids[i], "restored");
		if (!p)
			return err_set(err, -ENOMEM, "out of memory");
		p->pidfd = pidfd_of(r->pids[i]);
		p->state = PROCESS_DETACHED;
		p->op = op;
		p->next = k->processes;
		k->processes = p;
		k->processes_n++;
		op->was[op->n] = r->was[i];
		op->pids[op->n] = r->pids[i];
		op->processes[op->n++] = p;
		op->pids_n = op->n;
		if (p->pidfd < 0 || keeper_watch(k, p->pidfd, WATCH_PIDFD) < 0)
			return err_set(err, -ESRCH, "process %d does not exist", (int)r->pids[i]);
	}
	return 0;
}

int op_load(struct engine *e, const struct request *r, struct keeper_report *report, struct hearth_err *err)
{
	struct op *op = calloc(1, sizeof(*op));
	bool shim[KEEPER_PIDS_MAX] = { 0 };
	int failed, held = 0;

	if (!op)
		return err_set(err, -ENOMEM, "out of memory");
	op->k = e->k;
	op->engine = e;
	op->loaded = true;
	op->phase = OP_CHECKPOINTED;
	pool_work(&e->k->pool);
	pthread_mutex_lock(&e->k->lock);
	failed = claim(op, r, err);
	if (failed == 0 && r->hold[0])
		held = hold_into(op, r->hold, shim, err);
	if (held < 0)
		failed = held;
	if (held > 0)
		drop_others(op, shim);
	pthread_mutex_unlock(&e->k->lock);
	if (failed == 0 && !held && r->hold[0])
		report_note(report, "%s is not held any more: device memory comes from the image", r->hold);
	if (failed == 0 && !held)
		failed = r->image[0] ? load_image(op, r, err) : err_set(err, -ENOENT, "nothing is held as %s", r->hold);
	for (size_t i = 0; i < op->pids_n; i++)
		op->checkpointed[i] = true;
	for (size_t i = 0; i < op->n; i++) {
		report->buffers += op->processes[i]->n;
		report->bytes += process_bytes(op->processes[i]);
	}
	if (failed < 0) {
		op_free(op);
		return failed;
	}
	e->op = op;
	return 0;
}
