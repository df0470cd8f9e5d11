/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "trace/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever parses must be sorted, hold together, and survive being written and read again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hearth_err err = { 0 };
	struct trace *t = NULL, *again = NULL;
	struct buf b = { 0 };

	if (trace_parse((const char *)data, size, "fuzz", &t, &err) < 0) {
		if (err.code == 0 || err.msg[0] == '\0' || t)
			abort();
		return 0;
	}
	for (size_t i = 0; i < t->n_calls; i++)
		if (t->calls[i].func >= t->n_funcs || (i && t->calls[i - 1].start_ns > t->calls[i].start_ns))
			abort();
	/* A time may leave the format's range when written: calls that began before the trace shift all others by up to their duration. */
	if (trace_format(t, &b) < 0 || (trace_parse((const char *)buf_head(&b), b.len, "again", &again, &err) < 0 && t->end_ns <= (uint64_t)(TRACE_TIME_MAX_S * 1e9)))
		abort();
	if (again && (again->n_calls != t->n_calls || again->n_funcs != t->n_funcs))
		abort();
	buf_done(&b);
	trace_free(again);
	trace_free(t);
	return 0;
}
