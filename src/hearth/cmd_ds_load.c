/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ds_load_cli.h"

/* Tensors of safetensors files, and blocks of a KV store, into device memory: what a program does with hearth/ds_load.h, to see that it works and how fast it is. */

/* ---- device memory, looked at ---- */

int read_back_open(struct read_back *b, struct hearth_ds *ds, struct hearth_err *err)
{
	int r = 0;

	*b = (struct read_back){ .fd = memfd_create("hearth-ds-load", MFD_CLOEXEC), .room = malloc(READ_BACK_BYTES), .other = malloc(READ_BACK_BYTES) };
	if (b->fd < 0 || !b->room || !b->other)
		return err_set(err, b->fd < 0 ? -errno : -ENOMEM, "no memory to verify with");
	r = hearth_ds_file_of(ds, b->fd, &b->file);
	return r < 0 ? ds_cli_err(err, r) : 0;
}

int read_back_get(struct read_back *b, struct hearth_ds_memory *memory, uint64_t offset, size_t n, struct hearth_err *err)
{
	ssize_t r = hearth_ds_write(b->file, memory, offset, 0, n);

	if (r < 0)
		return ds_cli_err(err, (int)r);
	r = fd_pread_full(b->fd, b->room, n, 0);
	return r == (ssize_t)n ? 0 : err_set(err, r < 0 ? (int)r : -EIO, "cannot read device memory back");
}

void read_back_close(struct read_back *b)
{
	hearth_ds_file_close(b->file);
	fd_close(&b->fd);
	free(b->room);
	free(b->other);
}

const char *ds_load_speed(char *out, size_t n, uint64_t bytes, uint64_t ns)
{
	double seconds = (double)ns / (double)NS_PER_S;

	snprintf(out, n, "%.2f GB/s in %.3f s", seconds > 0 ? (double)bytes / seconds / 1e9 : 0, seconds);
	return out;
}

/* ---- what is in it ---- */

static json_t *tensor_json(const struct hearth_ds_tensor *t, const char *file)
{
	json_t *shape = json_array();

	for (uint32_t k = 0; k < t->dims; k++)
		json_array_append_new(shape, json_integer((json_int_t)t->shape[k]));
	return json_pack("{s:s, s:s, s:o, s:s, s:I, s:I}", "name", t->name, "dtype", hearth_ds_dtype_name(t->dtype), "shape", shape, "file", file, "offset", (json_int_t)t->offset, "bytes",
			 (json_int_t)t->bytes);
}

static void tensor_print(const struct hearth_ds_tensor *t)
{
	char bytes[32], shape[512] = "";
	size_t n = 0;

	for (uint32_t k = 0; k < t->dims && n < sizeof(shape); k++)
		n += (size_t)snprintf(shape + n, sizeof(shape) - n, "%s%llu", k ? "x" : "", (unsigned long long)t->shape[k]);
	printf("%-9s %-20s %10s  %s\n", hearth_ds_dtype_name(t->dtype), t->dims ? shape : "scalar", cli_bytes(bytes, sizeof(bytes), (double)t->bytes), t->name);
}

/* as the load would choose them: nothing is allocated, and the load ends before anything is read */
struct listing {
	const struct hearth_ds_tensors *tensors;
	json_t *list;
	uint64_t bytes;
	size_t n;
};

static int list_one(void *ctx, const struct hearth_ds_tensor *t, struct hearth_ds_place *ret)
{
	struct listing *l = ctx;

	if (l->list)
		json_array_append_new(l->list, tensor_json(t, hearth_ds_tensors_file(l->tensors, t->file)));
	else
		tensor_print(t);
	l->bytes += t->bytes;
	l->n++;
	return 1;
}

static int list(struct cli *cli, const struct load_options *o, struct hearth_ds_tensors *tensors, struct hearth_err *err)
{
	struct listing l = { .tensors = tensors, .list = cli->json ? json_array() : NULL };
	struct hearth_ds_load_options load = { .filters = o->filters, .filters_n = o->filters_n, .place = list_one, .ctx = &l };
	struct hearth_ds_loaded *loaded;
	const char *key, *value;
	json_t *meta, *all;
	char bytes[32];
	int r = hearth_ds_load(tensors, &load, &loaded);

	if (r < 0) {
		json_decref(l.list);
		return ds_cli_err(err, r);
	}
	hearth_ds_loaded_unref(loaded);
	if (!cli->json) {
		printf("%zu tensors, %s\n", l.n, cli_bytes(bytes, sizeof(bytes), (double)l.bytes));
		return 0;
	}
	meta = json_object();
	for (size_t k = 0; (value = hearth_ds_tensors_meta(tensors, k, &key)); k++)
		json_object_set_new(meta, key, json_string(value));
	all = json_pack("{s:b, s:o, s:o, s:I}", "ok", 1, "tensors", l.list, "metadata", meta, "bytes", (json_int_t)l.bytes);
	r = cli_print_json(all);
	json_decref(all);
	return r == CLI_OK ? 0 : err_set(err, -EIO, "cannot write to standard output");
}

/* ---- loading ---- */

struct verdict { struct digest digest; uint64_t bytes; };

/* both sides of a tensor, piece by piece; the file's is read through the page cache, whatever path the load took */
static int verify_one(struct read_back *b, int fd, const struct hearth_ds_placed *p, struct verdict *v, struct hearth_err *err)
{
	const struct hearth_ds_tensor *t = p->tensor;

	for (uint64_t at = 0; at < t->bytes;) {
		size_t n = t->bytes - at < READ_BACK_BYTES ? (size_t)(t->bytes - at) : READ_BACK_BYTES;
		ssize_t got = fd_pread_full(fd, b->other, n, (off_t)(t->offset + at));
		struct digest pair[2], other;
		int r = got == (ssize_t)n ? 0 : err_set(err, got < 0 ? (int)got : -EIO, "tensor '%.80s': cannot read its file again", t->name);

		if (r == 0)
			r = read_back_get(b, p->memory, p->offset + at, n, err);
		if (r < 0)
			return r;
		pair[0] = v->digest;
		pair[1] = digest_mem(b->room, n);
		other = digest_mem(b->other, n);
		if (!digest_equal(pair[1], other))
			return err_set(err, -EBADMSG, "tensor '%.80s' differs from its file within the %zu bytes at %llu", t->name, n, (unsigned long long)at);
		v->digest = digest_mem(pair, sizeof(pair));
		v->bytes += n;
		at += n;
	}
	return 0;
}

static int verify(struct ds_cli *c, const struct hearth_ds_tensors *tensors, const struct hearth_ds_loaded *loaded, struct verdict *v, struct hearth_err *err)
{
	const struct hearth_ds_placed *p;
	struct hearth_ds_load_stats stats;
	struct read_back b;
	uint32_t file = UINT32_MAX;
	FD_AUTO int fd = -1;
	int r = read_back_open(&b, c->ds, err);

	hearth_ds_loaded_stats(loaded, &stats);
	for (size_t k = 0; r == 0 && (p = hearth_ds_loaded_at(loaded, k)); k++) {
		if (p->tensor->file != file) {
			file = p->tensor->file;
			fd_close(&fd);
			fd = open(hearth_ds_tensors_file(tensors, file), O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				r = err_set(err, -errno, "cannot read %s: %s", hearth_ds_tensors_file(tensors, file), strerror(errno));
		}
		if (r == 0)
			r = verify_one(&b, fd, p, v, err);
		ds_cli_progress(c, "verify", v->bytes, stats.bytes);
	}
	ds_cli_progress_end(c);
	read_back_close(&b);
	return r;
}

static json_t *carried_json(const struct hearth_ds_load_stats *s)
{
	json_t *o = json_object();

	for (int k = HEARTH_DS_MAP; k < HEARTH_DS_PATHS; k++)
		if (s->carried[k])
			json_object_set_new(o, hearth_ds_path_name(k), json_integer((json_int_t)s->carried[k]));
	return o;
}

static int report(const struct ds_cli *c, const struct load_options *o, const struct hearth_ds_loaded *loaded, uint64_t ns, const struct verdict *v)
{
	struct hearth_ds_load_stats s;
	char bytes[32], speed[64], hex[DIGEST_HEX_LEN + 1];
	json_t *all;
	int r;

	hearth_ds_loaded_stats(loaded, &s);
	digest_to_hex(v->digest, hex);
	if (!c->cli->json) {
		printf("%s -> %s: %llu tensors, %s, %s", o->what, o->device, (unsigned long long)s.tensors, cli_bytes(bytes, sizeof(bytes), (double)s.bytes),
		       ds_load_speed(speed, sizeof(speed), s.bytes, ns));
		for (int k = HEARTH_DS_MAP; k < HEARTH_DS_PATHS; k++)
			if (s.carried[k])
				printf(", %s", hearth_ds_path_name(k));
		puts("");
		if (o->verify)
			printf("verified: both sides have digest %s\n", hex);
		return CLI_OK;
	}
	all = json_pack("{s:b, s:I, s:I, s:I, s:I, s:f, s:o}", "ok", 1, "tensors", (json_int_t)s.tensors, "bytes", (json_int_t)s.bytes, "reads", (json_int_t)s.reads, "memory_bytes",
			(json_int_t)s.memory_bytes, "seconds", (double)ns / (double)NS_PER_S, "carried", carried_json(&s));
	if (all && o->verify)
		json_object_set_new(all, "digest", json_string(hex));
	r = all ? cli_print_json(all) : CLI_FAILED;
	json_decref(all);
	return r;
}

static void show_progress(void *ctx, uint64_t done_bytes, uint64_t all_bytes)
{
	ds_cli_progress(ctx, "load", done_bytes, all_bytes);
}

static int load_tensors(struct ds_cli *c, const struct load_options *o, struct hearth_ds_tensors *tensors, struct hearth_err *err)
{
	struct hearth_ds_load_options load = { .device = c->device, .filters = o->filters, .filters_n = o->filters_n, .progress = show_progress, .ctx = c };
	struct hearth_ds_loaded *loaded = NULL;
	struct verdict v = { .bytes = 0 };
	uint64_t began = clock_mono_ns(), ns;
	int r = hearth_ds_load(tensors, &load, &loaded);

	ns = clock_mono_ns() - began;
	ds_cli_progress_end(c);
	if (r < 0)
		return ds_cli_err(err, r);
	if (o->verify)
		r = verify(c, tensors, loaded, &v, err);
	if (r == 0 && report(c, o, loaded, ns, &v) != CLI_OK)
		r = err_set(err, -EIO, "cannot write to standard output");
	hearth_ds_loaded_unref(loaded);
	return r;
}

static int load_files(struct cli *cli, const struct load_options *o)
{
	struct hearth_ds_options options = { .path = o->path };
	struct hearth_ds_tensors *tensors = NULL;
	struct hearth_err err = { 0 };
	struct ds_cli c;
	int r = ds_cli_open(&c, cli, &options, o->list ? "host" : o->device, 0, &err);

	if (r == 0) {
		r = hearth_ds_tensors_open(c.ds, o->what, &tensors);
		if (r < 0)
			ds_cli_err(&err, r);
	}
	if (r == 0)
		r = o->list ? list(cli, o, tensors, &err) : load_tensors(&c, o, tensors, &err);
	hearth_ds_tensors_close(tensors);
	ds_cli_close(&c);
	return r < 0 ? cli_fail(cli, &err) : CLI_OK;
}

/* ---- the command ---- */

enum { OPT_FILTER = 256, OPT_VERIFY, OPT_LIST, OPT_KV, OPT_PATH };

static const struct option long_options[] = {
	{ "filter", required_argument, NULL, OPT_FILTER }, { "verify", no_argument, NULL, OPT_VERIFY }, { "list", no_argument, NULL, OPT_LIST }, { "kv", no_argument, NULL, OPT_KV },
	{ "path", required_argument, NULL, OPT_PATH }, { 0 },
};

/* Return: CLI_OK, CLI_USAGE (said already) */
static int take_options(const struct cli *cli, struct load_options *o, int argc, char **argv)
{
	int c;

	optind = 0;                     /* the main program has used getopt */
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case OPT_FILTER: o->filters[o->filters_n++] = optarg; break;
		case OPT_VERIFY: o->verify = true; break;
		case OPT_LIST: o->list = true; break;
		case OPT_KV: o->kv = true; break;
		case OPT_PATH:
			if (ds_cli_path(optarg, &o->path) < 0)
				return cli_usage(cli, "--path is auto, map, cufile, stage or host");
			break;
		default: return cli_usage(cli, "load has no such option");
		}
	}
	if (argc - optind != (o->list ? 1 : 2) && argc - optind != 2)
		return cli_usage(cli, o->list ? "load --list takes a file, an index or a folder" : "load takes a file, an index or a folder, and a device");
	if (o->kv && o->filters_n > 0)
		return cli_usage(cli, "--filter is for names of tensors: blocks have none");
	if (o->list && o->verify)
		return cli_usage(cli, "--list reads nothing that could be verified");
	o->what = argv[optind];
	o->device = argv[optind + 1];
	return CLI_OK;
}

int ds_load(struct cli *cli, int argc, char **argv)
{
	struct load_options o = { .filters = calloc((size_t)argc, sizeof(*o.filters)) };
	int r = o.filters ? take_options(cli, &o, argc, argv) : CLI_FAILED;

	if (r == CLI_OK)
		r = o.kv ? ds_load_kv(cli, &o) : load_files(cli, &o);
	free(o.filters);
	return r;
}
