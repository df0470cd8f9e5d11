/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_LOAD_HEADER_H
#define DS_LOAD_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "hearth/ds_load.h"

/* A safetensors file: 8 bytes, little endian: the length of the header; the header, JSON; the tensors' bytes, without gaps. */
#define HEADER_PREFIX_BYTES 8
#define HEADER_BYTES_MAX 100000000      /* the format's own limit */

struct header_meta { char *key, *value; };

/** struct header - what one says; tensors in the order of their bytes. All of it is the header's. */
struct header {
	struct hearth_ds_tensor *tensors;
	size_t tensors_n;
	struct header_meta *meta;
	size_t meta_n;
};

/**
 * header_length - the first 8 bytes of a file
 * @file_bytes: its size
 * Return: 0, -EBADMSG (no room for such a header, or too long a one).
 */
int header_length(const uint8_t prefix[HEADER_PREFIX_BYTES], uint64_t file_bytes, uint64_t *ret_bytes, struct hearth_err *err);
/**
 * header_parse - check all that the format demands, and describe it
 * @json, @n:   the header
 * @data_bytes: what follows it in the file
 * @ret:        header_done() it; untouched on failure
 *
 * Memory used meanwhile is up to 30 times @n.
 * Return: 0, -EBADMSG (with one sentence, without the file's name), -ENOMEM.
 */
int header_parse(const char *json, size_t n, uint64_t data_bytes, struct header *ret, struct hearth_err *err);
void header_done(struct header *h);
/** tensor_done - frees what a header's tensor has */
void tensor_done(struct hearth_ds_tensor *t);
/**
 * tensor_size - bytes of a tensor of that type and shape
 * Return: 0, -EOVERFLOW, -EINVAL (no whole number of bytes, no such type).
 */
int tensor_size(enum hearth_ds_dtype dtype, const uint64_t *shape, uint32_t dims, uint64_t *ret_bytes);

#endif
