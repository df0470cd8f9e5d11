/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A safetensors header up to the first NUL, then 8 bytes: how many bytes of data follow it in the file. What is accepted is consistent: readers rely on it. The same bytes as a file's
 * beginning, and as a set's index.
 */
#include <stdlib.h>
#include <string.h>

#include "load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void consistent(const struct header *h, uint64_t data_bytes)
{
	uint64_t at = 0, bytes;

	for (size_t k = 0; k < h->tensors_n; k++) {
		const struct hearth_ds_tensor *t = &h->tensors[k];

		must(t->offset == at && tensor_size(t->dtype, t->shape, t->dims, &bytes) == 0 && bytes == t->bytes && t->bytes <= data_bytes - at);
		must(hearth_ds_dtype_name(t->dtype) && t->name && t->dims <= 64);
		for (size_t i = 0; i < k && k < 100; i++)
			must(strcmp(t->name, h->tensors[i].name) != 0);
		at += t->bytes;
	}
	must(at == data_bytes);
	for (size_t k = 0; k < h->meta_n; k++)
		must(h->meta[k].key && h->meta[k].value);
}

static void index_of(const uint8_t *data, size_t len)
{
	struct hearth_err err = { 0 };
	struct weight_map m;

	if (weight_map_parse((const char *)data, len, &m, &err) < 0) {
		must(err.msg[0]);
		return;
	}
	must(m.n > 0);
	for (size_t k = 0; k < m.n; k++) {
		must(m.weights[k].file[0] && m.weights[k].file[0] != '.' && !strchr(m.weights[k].file, '/'));
		must(k == 0 || strcmp(m.weights[k - 1].file, m.weights[k].file) <= 0);
	}
	weight_map_done(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *end = memchr(data, 0, len);
	size_t text = end ? (size_t)(end - data) : len;
	struct hearth_err err = { 0 };
	uint64_t data_bytes = 0, n;
	struct header h;

	if (end && len - text > 8)
		memcpy(&data_bytes, end + 1, 8);
	if (len >= HEADER_PREFIX_BYTES && header_length(data, len, &n, &err) == 0)
		must(n <= len - HEADER_PREFIX_BYTES);
	index_of(data, text);
	err = (struct hearth_err){ 0 };
	if (header_parse((const char *)data, text, data_bytes, &h, &err) < 0) {
		must(err.msg[0] && err.code < 0);
		return 0;
	}
	consistent(&h, data_bytes);
	header_done(&h);
	return 0;
}
