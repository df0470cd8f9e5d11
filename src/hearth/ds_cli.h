/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_DS_CLI_H
#define HEARTH_DS_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "cli.h"
#include "hearth/ds.h"

/*
 * What the commands of `hearth ds` share: a context, a device, and memory on it that is the command's own.
 */
struct ds_cli {
	struct cli *cli;
	struct hearth_ds *ds;
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	struct device_memory *own;
	uint64_t shown_ns, began_ns;
	bool shown;
};

/** ds_cli_is_device - "host", "cuda:0" and so on, rather than a file */
bool ds_cli_is_device(const char *text);
/** ds_cli_open - @bytes: of memory on the device, registered; 0: none. Return: 0, -errno. */
int ds_cli_open(struct ds_cli *c, struct cli *cli, const struct hearth_ds_options *options, const char *device, uint64_t bytes, struct hearth_err *err);
void ds_cli_close(struct ds_cli *c);
/** ds_cli_err - the library's words into @err. Return: @code. */
int ds_cli_err(struct hearth_err *err, int code);
/** ds_cli_path - of --path. Return: 0, -EINVAL. */
int ds_cli_path(const char *text, enum hearth_ds_path *ret);
/** ds_cli_progress - on a terminal, or as a JSON line; from the first second on, ten times a second */
void ds_cli_progress(struct ds_cli *c, const char *what, uint64_t done, uint64_t total);
void ds_cli_progress_end(struct ds_cli *c);

/**
 * device_memory_new - @uri: "host", "cuda:N", "ivshmem:BDF" (its beginning). Return: 0, -ENOMEM, -ENODEV, -errno.
 * device_memory_at - as hearth_ds_register wants it
 * device_memory_get - @n bytes at @offset into @to. Return: 0, -errno.
 * device_memory_put - @n bytes at @from to @offset. Return: 0, -errno.
 * device_memory_enter - the device's context becomes the thread's
 * device_memory_stream - one of the device; NULL where it has none, which the others take. Return: 0, -errno.
 */
struct device_memory;
struct cu_stream_st;
int device_memory_new(const char *uri, uint64_t bytes, struct device_memory **ret, struct hearth_err *err);
uint64_t device_memory_at(const struct device_memory *m);
int device_memory_get(struct device_memory *m, uint64_t offset, void *to, uint64_t n, struct hearth_err *err);
int device_memory_put(struct device_memory *m, uint64_t offset, const void *from, uint64_t n, struct hearth_err *err);
int device_memory_enter(struct device_memory *m, struct hearth_err *err);
int device_memory_stream(struct device_memory *m, struct cu_stream_st **ret, struct hearth_err *err);
int device_memory_stream_sync(struct device_memory *m, struct cu_stream_st *stream, struct hearth_err *err);
void device_memory_stream_free(struct device_memory *m, struct cu_stream_st *stream);
struct device_memory *device_memory_free(struct device_memory *m);

int ds_probe(struct cli *cli, int argc, char **argv);
int ds_copy(struct cli *cli, int argc, char **argv);
int ds_bench(struct cli *cli, int argc, char **argv);
int ds_load(struct cli *cli, int argc, char **argv);

#endif
