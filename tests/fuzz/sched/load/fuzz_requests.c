/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "sched/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever parses must be sorted, begin at once, and have a workload that fits it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hearth_err err = { 0 };
	struct load_trace *t = NULL;
	uint64_t of[SCHED_TYPES_MAX] = { 0 };

	if (load_trace_parse((const char *)data, size, "fuzz", &t, &err) < 0) {
		if (err.code == 0 || err.msg[0] == '\0' || t)
			abort();
		return 0;
	}
	if (t->n == 0 || t->items[0].at_ns != 0 || t->workload->phases_n != 1)
		abort();
	for (size_t i = 0; i < t->n; i++) {
		if (t->items[i].type >= t->workload->types_n || (i && t->items[i - 1].at_ns > t->items[i].at_ns))
			abort();
		of[t->items[i].type]++;
	}
	for (uint32_t k = 0; k < t->workload->types_n; k++)
		if (of[k] == 0 || workload_find(t->workload, t->workload->types[k].name) != (int)k)
			abort();
	load_trace_dilate(t, 0.5);
	load_trace_free(t);
	return 0;
}
