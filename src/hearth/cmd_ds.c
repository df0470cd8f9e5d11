/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ds_cli.h"

/* From files into device memory: the library libhearth-ds from the command line. No daemon is needed. */

#define BAR 30
#define SHOW_NS (100 * NS_PER_MS)

bool ds_cli_is_device(const char *text)
{
	return strcmp(text, "host") == 0 || strncmp(text, "cuda:", 5) == 0 || strncmp(text, "ivshmem:", 8) == 0;
}

int ds_cli_err(struct hearth_err *err, int code)
{
	return err_set(err, code, "%s", hearth_ds_error());
}

int ds_cli_path(const char *text, enum hearth_ds_path *ret)
{
	for (int k = 0; k < HEARTH_DS_PATHS; k++)
		if (strcmp(hearth_ds_path_name(k), text) == 0) {
			*ret = k;
			return 0;
		}
	return -EINVAL;
}

int ds_cli_open(struct ds_cli *c, struct cli *cli, const struct hearth_ds_options *options, const char *device, uint64_t bytes, struct hearth_err *err)
{
	int r;

	*c = (struct ds_cli){ .cli = cli, .began_ns = clock_mono_ns() };
	r = hearth_ds_open(options, &c->ds);
	if (r == 0)
		r = hearth_ds_device(c->ds, device, &c->device);
	if (r < 0)
		return ds_cli_err(err, r);
	if (bytes == 0)
		return 0;
	r = device_memory_new(device, bytes, &c->own, err);
	if (r < 0)
		return r;
	r = hearth_ds_register(c->device, device_memory_at(c->own), bytes, &c->memory);
	return r < 0 ? ds_cli_err(err, r) : 0;
}

void ds_cli_close(struct ds_cli *c)
{
	hearth_ds_close(c->ds);
	device_memory_free(c->own);
}

void ds_cli_progress(struct ds_cli *c, const char *what, uint64_t done, uint64_t total)
{
	uint64_t now = clock_mono_ns();
	int share = total ? (int)(done * BAR / total) : 0;
	char text[32];

	if (now - c->began_ns < NS_PER_S || now - c->shown_ns < SHOW_NS)
		return;
	c->shown_ns = now;
	if (c->cli->json) {
		printf("{\"progress\": \"%s\", \"done\": %llu, \"total\": %llu}\n", what, (unsigned long long)done, (unsigned long long)total);
		fflush(stdout);
	} else if (isatty(STDERR_FILENO)) {
		c->shown = true;
		fprintf(stderr, "\r\033[K%-9s [%.*s%*s] %s", what, share, "##############################", BAR - share, "", cli_bytes(text, sizeof(text), (double)done));
		fflush(stderr);
	}
}

void ds_cli_progress_end(struct ds_cli *c)
{
	if (c->shown)
		fputs("\r\033[K", stderr);
	c->shown = false;
}

/* ---- probe ---- */

/* enough for what a path asks of memory; the way a path is tried needs a page */
#define PROBE_BYTES (2u << 20)

static int print_probe(const struct cli *cli, const char *file, const char *device, const struct hearth_ds_report *r)
{
	if (!cli->json) {
		printf("%s -> %s: %s\n", file, device, r->path == HEARTH_DS_AUTO ? "there is no path" : hearth_ds_path_name(r->path));
		for (int k = HEARTH_DS_MAP; k < HEARTH_DS_PATHS; k++)
			printf("  %-7s %s\n", hearth_ds_path_name(k), r->why[k][0] ? r->why[k] : k == (int)r->path ? "yes" : "possible");
		if (r->path != HEARTH_DS_AUTO)
			printf("  without a copy: offsets and lengths in %u bytes, memory in %u\n", r->offset_align, r->memory_align);
		return CLI_OK;
	}
	json_t *paths = json_object(), *o;
	int rc;

	for (int k = HEARTH_DS_MAP; k < HEARTH_DS_PATHS; k++)
		json_object_set_new(paths, hearth_ds_path_name(k), json_pack("{s:b,s:s}", "possible", !r->why[k][0], "why", r->why[k]));
	o = json_pack("{s:b,s:s,s:s,s:s?,s:o,s:i,s:i,s:i}", "ok", 1, "file", file, "device", device, "path", r->path == HEARTH_DS_AUTO ? NULL : hearth_ds_path_name(r->path), "paths", paths, "offset_align",
		      (int)r->offset_align, "memory_align", (int)r->memory_align, "bytes_align", (int)r->bytes_align);
	rc = o ? cli_print_json(o) : CLI_FAILED;
	json_decref(o);
	return rc;
}

int ds_probe(struct cli *cli, int argc, char **argv)
{
	struct hearth_ds_report report;
	struct hearth_ds_file *file;
	struct hearth_err err = { 0 };
	struct ds_cli c;
	int r;

	if (argc != 3)
		return cli_usage(cli, "probe takes a file and a device");
	r = ds_cli_open(&c, cli, NULL, argv[2], PROBE_BYTES, &err);
	if (r == 0) {
		r = hearth_ds_file(c.ds, AT_FDCWD, argv[1], O_RDONLY, &file);
		if (r == 0)
			r = hearth_ds_probe(file, c.memory, &report);
		if (r < 0)
			ds_cli_err(&err, r);
	}
	r = r < 0 ? cli_fail(cli, &err) : print_probe(cli, argv[1], argv[2], &report);
	ds_cli_close(&c);
	return r;
}

/* ---- the command ---- */

static const struct { const char *name; int (*run)(struct cli *cli, int argc, char **argv); } verbs[] = {
	{ "probe", ds_probe },
	{ "copy", ds_copy },
	{ "bench", ds_bench },
	{ "load", ds_load },
};

int cmd_ds(struct cli *cli, int argc, char **argv)
{
	for (size_t k = 0; argc > 1 && k < sizeof(verbs) / sizeof(verbs[0]); k++)
		if (strcmp(argv[1], verbs[k].name) == 0)
			return verbs[k].run(cli, argc - 1, argv + 1);
	return cli_usage(cli, "probe, copy, bench or load");
}
