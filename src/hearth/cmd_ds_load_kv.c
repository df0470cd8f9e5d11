/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ds_load_cli.h"

/* All blocks of a KV store, in batches of what memory is taken for. */

#define BATCH_BYTES (256ull << 20)
#define BATCH_BLOCKS 65536

struct kv_run {
	struct ds_cli *c;
	const struct load_options *o;
	struct hearth_ds_kv *kv;
	struct hearth_ds_kv_info info;
	struct hearth_ds_kv_key *keys;
	size_t n, batch;
	struct hearth_ds_buffer room, check;    /* on the device; on the host, to compare with */
	struct hearth_ds_kv_block *blocks;
	uint64_t ns;
};

static void kv_run_done(struct kv_run *k)
{
	hearth_ds_free(&k->room);
	hearth_ds_free(&k->check);
	hearth_ds_kv_close(k->kv);
	free(k->keys);
	free(k->blocks);
}

static int get(struct kv_run *k, size_t first, size_t n, struct hearth_ds_memory *to, struct hearth_err *err)
{
	int64_t got;

	for (size_t i = 0; i < n; i++)
		k->blocks[i] = (struct hearth_ds_kv_block){ .id = k->keys[first + i].id, .layer = k->keys[first + i].layer, .memory = to, .memory_offset = i * k->info.options.block_bytes };
	got = hearth_ds_kv_get(k->kv, k->blocks, n);
	if (got < 0)
		return ds_cli_err(err, (int)got);
	for (size_t i = 0; i < n; i++)
		if (k->blocks[i].result < 0)
			return err_set(err, (int)k->blocks[i].result, "block %" PRIu64 ", layer %u: %s", k->blocks[i].id, k->blocks[i].layer, strerror((int)-k->blocks[i].result));
	return 0;
}

/* what is on the device, and what comes when the same blocks are read into the memory of this process */
static int compare(struct kv_run *k, struct read_back *b, size_t first, size_t n, struct hearth_err *err)
{
	uint64_t bytes = n * k->info.options.block_bytes;
	int r = get(k, first, n, k->check.memory, err);

	for (uint64_t at = 0; r == 0 && at < bytes; at += READ_BACK_BYTES) {
		size_t part = bytes - at < READ_BACK_BYTES ? (size_t)(bytes - at) : READ_BACK_BYTES;

		r = read_back_get(b, k->room.memory, at, part, err);
		if (r == 0 && memcmp(b->room, (const uint8_t *)(uintptr_t)k->check.at + at, part) != 0)
			r = err_set(err, -EBADMSG, "device memory differs from the store near block %" PRIu64, k->keys[first + at / k->info.options.block_bytes].id);
	}
	return r;
}

static int run(struct kv_run *k, struct read_back *b, struct hearth_err *err)
{
	uint64_t block_bytes = k->info.options.block_bytes;

	for (size_t first = 0, n; first < k->n; first += n) {
		uint64_t began = clock_mono_ns();
		int r;

		n = k->n - first < k->batch ? k->n - first : k->batch;
		r = get(k, first, n, k->room.memory, err);
		k->ns += clock_mono_ns() - began;
		if (r == 0 && k->o->verify)
			r = compare(k, b, first, n, err);
		if (r < 0)
			return r;
		ds_cli_progress(k->c, "load", (first + n) * block_bytes, k->n * block_bytes);
	}
	return 0;
}

static void damaged(void *ctx, struct hearth_ds_kv_key key, int error)
{
	(void)ctx;
	fprintf(stderr, "hearth: block %" PRIu64 ", layer %u: %s\n", key.id, key.layer, error == -EBADMSG ? "it is damaged: its digest differs" : strerror(-error));
}

/* the blocks' own digests, where the store was made with them */
static int check_digests(struct kv_run *k, struct hearth_err *err)
{
	int64_t bad = k->info.options.checked ? hearth_ds_kv_check(k->kv, damaged, NULL) : 0;

	if (bad < 0)
		return ds_cli_err(err, (int)bad);
	return bad ? err_set(err, -EBADMSG, "%s: %lld blocks are damaged", k->o->what, (long long)bad) : 0;
}

static int prepare(struct kv_run *k, struct hearth_err *err)
{
	uint64_t block_bytes;
	int64_t n;
	int r = hearth_ds_kv_open(k->c->ds, k->o->what, 0, &k->kv);

	if (r < 0)
		return ds_cli_err(err, r);
	hearth_ds_kv_info(k->kv, &k->info);
	block_bytes = k->info.options.block_bytes;
	k->n = k->info.blocks;
	k->keys = calloc(k->n + 1, sizeof(*k->keys));
	n = k->keys ? hearth_ds_kv_list(k->kv, k->keys, k->n) : err_set(err, -ENOMEM, "no memory");
	if (n < 0)
		return k->keys ? ds_cli_err(err, (int)n) : (int)n;
	if (k->o->list || k->n == 0)
		return 0;
	k->batch = block_bytes > BATCH_BYTES ? 1 : (size_t)(BATCH_BYTES / block_bytes);
	k->batch = k->batch > BATCH_BLOCKS ? BATCH_BLOCKS : k->batch > k->n ? k->n : k->batch;
	k->blocks = calloc(k->batch, sizeof(*k->blocks));
	if (!k->blocks)
		return err_set(err, -ENOMEM, "no memory");
	r = hearth_ds_alloc(k->c->device, k->batch * block_bytes, &k->room);
	if (r == 0 && k->o->verify) {
		struct hearth_ds_device *host;

		r = hearth_ds_device(k->c->ds, "host", &host);
		if (r == 0)
			r = hearth_ds_alloc(host, k->batch * block_bytes, &k->check);
	}
	return r < 0 ? ds_cli_err(err, r) : 0;
}

static json_t *info_json(const struct kv_run *k)
{
	const struct hearth_ds_kv_options *o = &k->info.options;

	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:b, s:I, s:I}", "ok", 1, "blocks", (json_int_t)k->n, "block_bytes", (json_int_t)o->block_bytes, "layers", (json_int_t)o->layers, "blocks_max",
			 (json_int_t)o->blocks_max, "checked", (int)o->checked, "file_bytes", (json_int_t)k->info.file_bytes, "recovered", (json_int_t)k->info.recovered);
}

static int print(const struct kv_run *k)
{
	uint64_t bytes = k->n * k->info.options.block_bytes;
	char total[32], block[32], speed[64];
	json_t *all = k->c->cli->json ? info_json(k) : NULL;
	int r = CLI_OK;

	if (all) {
		if (k->o->list) {
			json_t *keys = json_array();

			for (size_t i = 0; i < k->n; i++)
				json_array_append_new(keys, json_pack("[I, I]", (json_int_t)k->keys[i].id, (json_int_t)k->keys[i].layer));
			json_object_set_new(all, "keys", keys);
		} else {
			json_object_set_new(all, "bytes", json_integer((json_int_t)bytes));
			json_object_set_new(all, "seconds", json_real((double)k->ns / (double)NS_PER_S));
			json_object_set_new(all, "verified", json_boolean(k->o->verify));
		}
		r = cli_print_json(all);
		json_decref(all);
		return r;
	}
	for (size_t i = 0; k->o->list && i < k->n; i++)
		printf("%" PRIu64 " %u\n", k->keys[i].id, k->keys[i].layer);
	printf("%s: %zu blocks of %s in %u layers, %s", k->o->what, k->n, cli_bytes(block, sizeof(block), (double)k->info.options.block_bytes), k->info.options.layers,
	       cli_bytes(total, sizeof(total), (double)bytes));
	if (!k->o->list)
		printf(" -> %s: %s%s", k->o->device, ds_load_speed(speed, sizeof(speed), bytes, k->ns), k->o->verify ? ", verified" : "");
	puts("");
	return CLI_OK;
}

int ds_load_kv(struct cli *cli, const struct load_options *o)
{
	struct hearth_ds_options options = { .path = o->path };
	struct hearth_err err = { 0 };
	struct read_back b = { .fd = -1 };
	struct ds_cli c;
	struct kv_run k = { .c = &c, .o = o };
	int r = ds_cli_open(&c, cli, &options, o->list ? "host" : o->device, 0, &err);

	if (r == 0)
		r = prepare(&k, &err);
	if (r == 0 && o->verify) {
		r = check_digests(&k, &err);
		if (r == 0)
			r = read_back_open(&b, c.ds, &err);
	}
	if (r == 0 && !o->list)
		r = run(&k, &b, &err);
	ds_cli_progress_end(&c);
	r = r < 0 ? cli_fail(cli, &err) : print(&k);
	read_back_close(&b);
	kv_run_done(&k);
	ds_cli_close(&c);
	return r;
}
