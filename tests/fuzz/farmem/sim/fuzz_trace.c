/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "farmem/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BREAK "%\n"

/* The three files, in one with a line between them. */
static void split(const char *text, size_t size, struct memsim_text in[3])
{
	static const char *const names[3] = { "inv", "run", "mem" };

	for (size_t k = 0; k < 3; k++) {
		const char *end = k < 2 ? memmem(text, size, BREAK, strlen(BREAK)) : NULL;
		size_t len = end ? (size_t)(end - text) : size;

		in[k] = (struct memsim_text){ text, names[k], len };
		text += end ? len + strlen(BREAK) : len;
		size -= end ? len + strlen(BREAK) : len;
	}
}

/* What is read holds together; what is refused says where. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hearth_err err = { 0 };
	struct memsim_trace *t = NULL;
	struct memsim_text in[3];
	uint64_t calls = 0;

	split((const char *)data, size, in);
	if (memsim_trace_parse(&in[0], &in[1], &in[2], &t, &err) < 0) {
		if (t || err.code == 0 || (memcmp(err.msg, "inv:", 4) && memcmp(err.msg, "run:", 4) && memcmp(err.msg, "mem:", 4)) || err.msg[4] < '1' || err.msg[4] > '9')
			abort();
		return 0;
	}
	for (size_t f = 0; f < t->functions_n; f++) {
		const struct memsim_function *x = &t->functions[f];

		for (size_t q = 1; q < MEMSIM_RUN_QUANTILES; q++)
			if (!(x->run_ms[q] >= x->run_ms[q - 1]))
				abort();
		if (x->idle_bytes < 4096 || x->typical_bytes < x->idle_bytes || x->busy_bytes < x->typical_bytes)
			abort();
		for (size_t m = 0; m < t->minutes; m++)
			calls += t->calls[f * t->minutes + m];
	}
	if (t->functions_n == 0 || t->minutes == 0 || calls != t->calls_n || calls == 0)
		abort();
	memsim_trace_free(t);
	return 0;
}
