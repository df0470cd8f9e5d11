/* SPDX-License-Identifier: Apache-2.0 */
#include "header.h"

#include <endian.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define META_KEY "__metadata__"
#define DEPTH_MAX 3             /* tensors, a tensor, its shape */
#define DIMS_MAX 64

int header_length(const uint8_t prefix[HEADER_PREFIX_BYTES], uint64_t file_bytes, uint64_t *ret_bytes, struct hearth_err *err)
{
	uint64_t n;

	if (file_bytes < HEADER_PREFIX_BYTES)
		return err_set(err, -EBADMSG, "it has %llu bytes: too short for a safetensors file", (unsigned long long)file_bytes);
	memcpy(&n, prefix, sizeof(n));
	n = le64toh(n);
	if (n > HEADER_BYTES_MAX)
		return err_set(err, -EBADMSG, "its header would have %llu bytes, more than the format allows: this is no safetensors file", (unsigned long long)n);
	if (n > file_bytes - HEADER_PREFIX_BYTES)
		return err_set(err, -EBADMSG, "its header has %llu bytes, but it ends after %llu: the file is cut off", (unsigned long long)n, (unsigned long long)(file_bytes - HEADER_PREFIX_BYTES));
	*ret_bytes = n;
	return 0;
}

int tensor_size(enum hearth_ds_dtype dtype, const uint64_t *shape, uint32_t dims, uint64_t *ret_bytes)
{
	uint64_t n = hearth_ds_dtype_bits(dtype);

	if (n == 0)
		return -EINVAL;
	for (uint32_t k = 0; k < dims; k++)
		if (__builtin_mul_overflow(n, shape[k], &n))
			return -EOVERFLOW;
	if (n % 8)
		return -EINVAL;
	*ret_bytes = n / 8;
	return 0;
}

void tensor_done(struct hearth_ds_tensor *t)
{
	free((char *)t->name);
	free((uint64_t *)t->shape);
}

void header_done(struct header *h)
{
	for (size_t k = 0; k < h->tensors_n; k++)
		tensor_done(&h->tensors[k]);
	for (size_t k = 0; k < h->meta_n; k++) {
		free(h->meta[k].key);
		free(h->meta[k].value);
	}
	free(h->tensors);
	free(h->meta);
	*h = (struct header){ 0 };
}

/* ---- before the JSON parser sees it: how deep it is, which bounds its stack ---- */

static bool too_deep(const char *json, size_t n)
{
	bool quoted = false;
	size_t depth = 0;

	for (size_t k = 0; k < n; k++) {
		char c = json[k];

		if (quoted && c == '\\')
			k++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']') && depth > 0)
			depth--;
		if (depth > DEPTH_MAX)
			return true;
	}
	return false;
}

/* ---- one tensor ---- */

static int parse_dtype(json_t *v, enum hearth_ds_dtype *ret)
{
	const char *text = json_string_value(v);

	for (unsigned k = 0; text && k < HEARTH_DS_DTYPES; k++)
		if (!strcmp(text, hearth_ds_dtype_name(k))) {
			*ret = k;
			return 0;
		}
	return -EINVAL;
}

/* Return: 0, -EINVAL (not a list of such numbers), -ENOMEM */
static int parse_numbers(json_t *list, size_t max, uint64_t **ret, size_t *ret_n)
{
	size_t n = json_array_size(list);
	uint64_t *numbers;

	if (!json_is_array(list) || n > max)
		return -EINVAL;
	numbers = calloc(n ? n : 1, sizeof(*numbers));
	if (!numbers)
		return -ENOMEM;
	for (size_t k = 0; k < n; k++) {
		json_t *v = json_array_get(list, k);

		if (!json_is_integer(v) || json_integer_value(v) < 0) {
			free(numbers);
			return -EINVAL;
		}
		numbers[k] = (uint64_t)json_integer_value(v);
	}
	*ret = numbers;
	*ret_n = n;
	return 0;
}

/* @t: offset is that among the data so far */
static int parse_offsets(json_t *v, struct hearth_ds_tensor *t)
{
	uint64_t *numbers;
	size_t n;
	int r = parse_numbers(v, 2, &numbers, &n);

	if (r < 0)
		return r;
	if (n == 2 && numbers[0] <= numbers[1]) {
		t->offset = numbers[0];
		t->bytes = numbers[1] - numbers[0];
	} else {
		r = -EINVAL;
	}
	free(numbers);
	return r;
}

static int bad_tensor(struct hearth_err *err, const char *name, int r, const char *what)
{
	return r == -ENOMEM ? err_set(err, r, "out of memory") : err_set(err, -EBADMSG, "tensor '%.80s': %s", name, what);
}

static int check_size(const struct hearth_ds_tensor *t, struct hearth_err *err)
{
	uint64_t bytes;
	int r = tensor_size(t->dtype, t->shape, t->dims, &bytes);

	if (r < 0)
		return bad_tensor(err, t->name, r, r == -EOVERFLOW ? "its shape is larger than any memory" : "its shape gives no whole number of bytes");
	if (bytes != t->bytes)
		return err_set(err, -EBADMSG, "tensor '%.80s': data_offsets give it %llu bytes, its shape and dtype %llu", t->name, (unsigned long long)t->bytes, (unsigned long long)bytes);
	return 0;
}

static int parse_tensor(const char *name, json_t *v, struct hearth_ds_tensor *ret, struct hearth_err *err)
{
	struct hearth_ds_tensor t = { .name = strdup(name) };
	uint64_t *shape = NULL;
	size_t dims = 0;
	int r;

	if (!t.name)
		return err_set(err, -ENOMEM, "out of memory");
	if (!json_is_object(v)) {
		r = bad_tensor(err, name, -EINVAL, "it is no object");
		goto err;
	}
	if (json_object_size(v) != 3 || parse_dtype(json_object_get(v, "dtype"), &t.dtype) < 0) {
		r = bad_tensor(err, name, -EINVAL, json_object_size(v) != 3 ? "it must have dtype, shape and data_offsets, and nothing else" : "it has no dtype that is known");
		goto err;
	}
	r = parse_numbers(json_object_get(v, "shape"), DIMS_MAX, &shape, &dims);
	if (r < 0) {
		bad_tensor(err, name, r, "its shape is no list of at most 64 whole numbers");
		goto err;
	}
	t.shape = shape;
	t.dims = (uint32_t)dims;
	r = parse_offsets(json_object_get(v, "data_offsets"), &t);
	if (r < 0) {
		bad_tensor(err, name, r, "its data_offsets are not two whole numbers, begin and end");
		goto err;
	}
	r = check_size(&t, err);
	if (r < 0)
		goto err;
	*ret = t;
	return 0;
err:
	tensor_done(&t);
	return r == -ENOMEM ? r : -EBADMSG;
}

/* ---- all of them ---- */

static int parse_meta(json_t *v, struct header *h, struct hearth_err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(v))
		return err_set(err, -EBADMSG, META_KEY " is no object");
	h->meta = calloc(json_object_size(v) + 1, sizeof(*h->meta));
	if (!h->meta)
		return err_set(err, -ENOMEM, "out of memory");
	json_object_foreach(v, key, value) {
		struct header_meta *m = &h->meta[h->meta_n];

		if (!json_is_string(value))
			return err_set(err, -EBADMSG, META_KEY ": the value of '%.80s' is no string", key);
		m->key = strdup(key);
		m->value = strdup(json_string_value(value));
		h->meta_n++;
		if (!m->key || !m->value)
			return err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int parse_all(json_t *root, struct header *h, struct hearth_err *err)
{
	const char *name;
	json_t *value;
	int r = 0;

	h->tensors = calloc(json_object_size(root) + 1, sizeof(*h->tensors));
	if (!h->tensors)
		return err_set(err, -ENOMEM, "out of memory");
	json_object_foreach(root, name, value) {
		if (!strcmp(name, META_KEY)) {
			r = parse_meta(value, h, err);
		} else {
			r = parse_tensor(name, value, &h->tensors[h->tensors_n], err);
			h->tensors_n += r == 0;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* those without bytes before that which begins there; then by name, so that one file has one order */
static int by_offset(const void *a, const void *b)
{
	const struct hearth_ds_tensor *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* without gaps, without overlaps, to the end of the file */
static int check_order(const struct header *h, uint64_t data_bytes, struct hearth_err *err)
{
	uint64_t at = 0;

	for (size_t k = 0; k < h->tensors_n; k++) {
		const struct hearth_ds_tensor *t = &h->tensors[k];

		if (t->offset != at)
			return err_set(err, -EBADMSG, "tensor '%.80s': it begins at %llu, %s the end at %llu of what is before it", t->name, (unsigned long long)t->offset,
				       t->offset < at ? "before" : "behind", (unsigned long long)at);
		at += t->bytes;         /* an end that is too far was no number */
	}
	if (at != data_bytes)
		return err_set(err, -EBADMSG, "its tensors end after %llu bytes, but %llu follow its header: the file is %s", (unsigned long long)at, (unsigned long long)data_bytes,
			       data_bytes < at ? "cut off" : "longer than it may be");
	return 0;
}

int header_parse(const char *json, size_t n, uint64_t data_bytes, struct header *ret, struct hearth_err *err)
{
	struct header h = { 0 };
	json_error_t why;
	json_t *root;
	int r;

	if (n == 0 || json[0] != '{')
		return err_set(err, -EBADMSG, "its header does not begin with '{': this is no safetensors file");
	if (too_deep(json, n))
		return err_set(err, -EBADMSG, "its header is nested deeper than the format has it");
	root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return json_error_code(&why) == json_error_out_of_memory ? err_set(err, -ENOMEM, "out of memory") :
		       err_set(err, -EBADMSG, "its header is not the JSON it must be: %s (at byte %d)", why.text, why.position);
	r = parse_all(root, &h, err);
	json_decref(root);
	if (r == 0) {
		qsort(h.tensors, h.tensors_n, sizeof(*h.tensors), by_offset);
		r = check_order(&h, data_bytes, err);
	}
	if (r < 0) {
		header_done(&h);
		return r;
	}
	*ret = h;
	return 0;
}
