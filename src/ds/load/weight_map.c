/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

/* The index of a set of files: {"metadata": {...}, "weight_map": {"TENSOR": "FILE", ...}}. Files lie beside it. */

void weight_map_done(struct weight_map *m)
{
	for (size_t k = 0; k < m->n; k++) {
		free(m->weights[k].tensor);
		free(m->weights[k].file);
	}
	free(m->weights);
	*m = (struct weight_map){ 0 };
}

static int by_file(const void *a, const void *b)
{
	const struct weight *x = a, *y = b;
	int order = strcmp(x->file, y->file);

	return order ? order : strcmp(x->tensor, y->tensor);
}

static int add(struct weight_map *m, const char *tensor, json_t *value, struct hearth_err *err)
{
	const char *file = json_string_value(value);
	struct weight *w = &m->weights[m->n];

	if (!file || !*file || *file == '.' || strchr(file, '/'))
		return err_set(err, -EBADMSG, "weight_map: the file of tensor '%.80s' is no name of a file beside it", tensor);
	w->tensor = strdup(tensor);
	w->file = strdup(file);
	m->n++;
	return w->tensor && w->file ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int weight_map_parse(const char *json, size_t n, struct weight_map *ret, struct hearth_err *err)
{
	struct weight_map m = { 0 };
	json_t *root, *map, *value;
	json_error_t why;
	const char *tensor;
	int r = 0;

	root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return json_error_code(&why) == json_error_out_of_memory ? err_set(err, -ENOMEM, "out of memory") : err_set(err, -EBADMSG, "it is no JSON: %s (at byte %d)", why.text, why.position);
	map = json_object_get(root, "weight_map");
	if (!json_is_object(map) || json_object_size(map) == 0) {
		json_decref(root);
		return err_set(err, -EBADMSG, "it is no index of safetensors files: there is no weight_map with tensors in it");
	}
	m.weights = calloc(json_object_size(map), sizeof(*m.weights));
	if (!m.weights) {
		json_decref(root);
		return err_set(err, -ENOMEM, "out of memory");
	}
	json_object_foreach(map, tensor, value) {
		r = add(&m, tensor, value, err);
		if (r < 0)
			break;
	}
	json_decref(root);
	if (r < 0) {
		weight_map_done(&m);
		return r;
	}
	qsort(m.weights, m.n, sizeof(*m.weights), by_file);
	*ret = m;
	return 0;
}
