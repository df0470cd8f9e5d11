/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_DS_LOAD_CLI_H
#define HEARTH_DS_LOAD_CLI_H

#include "ds_cli.h"
#include "hearth/ds_load.h"

#define READ_BACK_BYTES (8u << 20)

/** struct read_back - device memory looked at from here, by way of a file in memory */
struct read_back {
	int fd;
	struct hearth_ds_file *file;
	uint8_t *room, *other;          /* READ_BACK_BYTES each: what was read back, and what it is compared with */
};

/** read_back_open - Return: 0, -errno; read_back_close() it in any case. */
int read_back_open(struct read_back *b, struct hearth_ds *ds, struct hearth_err *err);
/** read_back_get - @n bytes, at most READ_BACK_BYTES, into @room. Return: 0, -errno. */
int read_back_get(struct read_back *b, struct hearth_ds_memory *memory, uint64_t offset, size_t n, struct hearth_err *err);
void read_back_close(struct read_back *b);

struct load_options {
	const char *what, *device;
	const char **filters;
	size_t filters_n;
	bool kv, list, verify;
	enum hearth_ds_path path;
};

/** ds_load_kv - of a KV store. Return: an exit code. */
int ds_load_kv(struct cli *cli, const struct load_options *o);
/** ds_load_speed - "1.50 GB/s in 2.0 s", for people */
const char *ds_load_speed(char *out, size_t n, uint64_t bytes, uint64_t ns);

#endif
