/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_LOAD_LOAD_H
#define DS_LOAD_LOAD_H

#include "header.h"
#include "priv.h"

/* A file of a set: header read and checked, open for the library too. */
struct set_file {
	char *path;
	int fd;
	struct hearth_ds_file *file;
	struct header header;           /* offsets are those in the file; of tensors that the set's index names */
};

struct hearth_ds_tensors {
	atomic_uint refs;               /* what was loaded has one: closing closes the files, names and shapes stay */
	struct hearth_ds *ds;
	struct set_file *files;
	size_t files_n;
	const struct hearth_ds_tensor **tensors;        /* of all files, in order */
	const struct hearth_ds_tensor **by_name;
	size_t n;
};

struct hearth_ds_tensors *tensors_ref(struct hearth_ds_tensors *t);
void tensors_unref(struct hearth_ds_tensors *t);

/** struct weight_map - a set's index: pairs of tensor and file, sorted by file, then by tensor */
struct weight_map {
	struct weight { char *tensor, *file; } *weights;
	size_t n;
};

/**
 * weight_map_parse - the text of an index
 * Return: 0, -EBADMSG (one sentence, without the file's name), -ENOMEM.
 */
int weight_map_parse(const char *json, size_t n, struct weight_map *ret, struct hearth_err *err);
void weight_map_done(struct weight_map *m);

#endif
