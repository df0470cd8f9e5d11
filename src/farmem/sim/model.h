/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_SIM_MODEL_H
#define FARMEM_SIM_MODEL_H

#include "base/rng.h"
#include "farmem/sim.h"

/*
 * A function's memory while it is idle, by what requests do with it; in the order in which it gets cold. What a request allocates (exec_bytes) is there while it runs.
 * HOT: every request touches all of it. VARY: every request touches a part of it, each time another. COLD: nobody does, once it was made.
 */
enum part { RUNTIME_COLD, INIT_COLD, VARY, RUNTIME_HOT, INIT_HOT, PARTS };

struct function {
	double part_bytes[PARTS], all_bytes, exec_bytes;
	double run_log_ms[MEMSIM_RUN_QUANTILES];
	struct rng rng;                 /* of its calls: the same under every policy */
	double phase;                   /* 0..1, of a minute */
};

struct call { uint64_t at_ns, run_ns; uint32_t function; };

/** functions_new - of a whole trace. @ret: free() it. Return: 0, -ENOMEM. */
int functions_new(const struct memsim_trace *t, const struct memsim_model *m, uint64_t seed, struct function **ret);

/** struct calls - a minute of them, in order */
struct calls {
	struct call *call;
	size_t n, cap;
};
/** calls_fill - all calls of @minute. To be called for every minute in turn. Return: 0, -ENOMEM. */
int calls_fill(struct calls *c, const struct memsim_trace *t, const struct memsim_model *m, struct function *functions, size_t minute);

#endif
