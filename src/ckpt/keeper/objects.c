/* SPDX-License-Identifier: Apache-2.0 */
/* What an operation knows of device memory, and how it is written down. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "op.h"

struct digest zero_chunk(uint64_t seed)
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
	op->compress = r->zstd_level > 0;
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
	r = store_object_begin(op->draft, GPU_TABLE_NAME, strlen(text), NULL, &to, err);
	if (r == 0)
		r = store_put(to, 0, text, strlen(text), NULL, err);
	free(text);
	return r;
}

int objects_seal(struct op *op, int *ret_fd, struct hearth_err *err)
{
	json_t *table = json_pack("{s:i,s:[],s:[]}", "version", GPU_TABLE_VERSION, "processes", "buffers"), *list = json_object_get(table, "buffers");
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
