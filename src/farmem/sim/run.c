/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "engine.h"

/* Policies are independent of each other, but that FaaSMem's oracle knows what keep-alive's day was like. So keep-alive goes first, and the others with it. */

const char *const memsim_policy_names[MEMSIM_POLICIES + 1] = { "keepalive", "tmo", "damon", "faasmem-oracle", "hearth", NULL };

#define THREADS_MAX 16
#define ORACLE_QUANTILE 0.99
#define ORACLE_MIN_NS (59 * NS_PER_S)

struct work {
	const struct memsim_config *cfg;
	struct memsim_result *ret;
	pthread_mutex_t lock;
	pthread_cond_t keepalive_ended;
	unsigned todo;                  /* policies that nobody has begun */
	int rc;
	bool oracle_known;
	struct reuse *reuse;
	uint64_t *oracle_ns;
};

/* max(P99, 59 s) + 1 s, of all reuses of the very day */
static void ask_oracle(struct work *w)
{
	for (size_t f = 0; w->oracle_ns && f < w->cfg->trace->functions_n; f++) {
		uint64_t p99_ns = reuse_quantile_ns(&w->reuse[f], ORACLE_QUANTILE);

		w->oracle_ns[f] = (p99_ns > ORACLE_MIN_NS ? p99_ns : ORACLE_MIN_NS) + NS_PER_S;
	}
}

/* The next policy to run; the lock is held. FaaSMem waits for the oracle, and for others to be taken. Return: MEMSIM_POLICIES: there is none. */
static enum memsim_policy take(struct work *w)
{
	for (;;) {
		static const enum memsim_policy order[MEMSIM_POLICIES] = { MEMSIM_KEEPALIVE, MEMSIM_HEARTH, MEMSIM_TMO, MEMSIM_DAMON, MEMSIM_FAASMEM };

		if (w->todo == 0 || w->rc < 0)
			return MEMSIM_POLICIES;
		for (size_t k = 0; k < MEMSIM_POLICIES; k++)
			if (w->todo >> order[k] & 1 && (order[k] != MEMSIM_FAASMEM || w->oracle_known)) {
				w->todo &= ~(1u << order[k]);
				return order[k];
			}
		pthread_cond_wait(&w->keepalive_ended, &w->lock);
	}
}

static void *work_main(void *arg)
{
	struct work *w = arg;
	enum memsim_policy policy;
	int rc;

	pthread_mutex_lock(&w->lock);
	while ((policy = take(w)) != MEMSIM_POLICIES) {
		pthread_mutex_unlock(&w->lock);
		rc = sim_day(w->cfg, policy, policy == MEMSIM_KEEPALIVE ? w->reuse : NULL, w->oracle_ns, &w->ret[policy],
			     w->cfg->rows ? w->cfg->rows + policy * w->cfg->trace->functions_n : NULL);
		pthread_mutex_lock(&w->lock);
		w->rc = w->rc < 0 ? w->rc : rc;
		if (policy == MEMSIM_KEEPALIVE) {
			ask_oracle(w);
			w->oracle_known = true;
		}
		pthread_cond_broadcast(&w->keepalive_ended);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static int check(const struct memsim_config *cfg, struct hearth_err *err)
{
	if (cfg->threads < 1 || cfg->threads > THREADS_MAX)
		return err_set(err, -EINVAL, "%u runs at a time; there must be 1 to %d", cfg->threads, THREADS_MAX);
	if (cfg->policies == 0 || cfg->policies >= 1u << MEMSIM_POLICIES)
		return err_set(err, -EINVAL, "there is no policy to run");
	if (!(cfg->model.overlap >= 0 && cfg->model.overlap <= 1 && cfg->model.runtime_hot >= 0 && cfg->model.runtime_hot <= 1 && cfg->model.init_hot <= 1))
		return err_set(err, -EINVAL, "a share in the model is not from 0 to 1");
	if (cfg->model.minute_ns < NS_PER_MS || cfg->model.minute_ns > 86400 * NS_PER_S)
		return err_set(err, -EINVAL, "a minute of the trace takes %g s; it must be from 0.001 to 86400", (double)cfg->model.minute_ns / 1e9);
	return farmem_knobs_check(&cfg->knobs, err);
}

static double saved_pct(double local_gib_s, double whole_gib_s)
{
	return whole_gib_s > 0 ? 100 * (1 - local_gib_s / whole_gib_s) : 0;
}

static void compare(const struct memsim_config *cfg, struct memsim_result *ret)
{
	size_t functions_n = cfg->trace->functions_n;

	for (size_t p = 0; p < MEMSIM_POLICIES; p++) {
		if (!ret[p].ran)
			continue;
		ret[p].saved_pct = saved_pct(ret[p].local_gib_s, ret[MEMSIM_KEEPALIVE].local_gib_s);
		for (size_t f = 0; cfg->rows && f < functions_n; f++)
			cfg->rows[p * functions_n + f].saved_pct = saved_pct(cfg->rows[p * functions_n + f].local_gib_s, cfg->rows[MEMSIM_KEEPALIVE * functions_n + f].local_gib_s);
	}
}

int memsim_run(const struct memsim_config *cfg, struct memsim_result ret[MEMSIM_POLICIES], struct hearth_err *err)
{
	struct memsim_result result[MEMSIM_POLICIES] = { 0 };
	struct work w = { .cfg = cfg, .ret = result, .todo = cfg->policies | 1u << MEMSIM_KEEPALIVE, .lock = PTHREAD_MUTEX_INITIALIZER, .keepalive_ended = PTHREAD_COND_INITIALIZER };
	pthread_t threads[THREADS_MAX];
	unsigned started;
	int rc = check(cfg, err);

	if (rc < 0)
		return rc;
	if (cfg->policies >> MEMSIM_FAASMEM & 1) {
		w.reuse = calloc(cfg->trace->functions_n, sizeof(*w.reuse));
		w.oracle_ns = calloc(cfg->trace->functions_n, sizeof(*w.oracle_ns));
		w.rc = w.reuse && w.oracle_ns ? 0 : -ENOMEM;
	}
	/* where there are no more threads to be had, the ones that there are do it */
	for (started = 1; started < cfg->threads; started++)
		if (thread_spawn(&threads[started], work_main, &w) < 0)
			break;
	work_main(&w);
	for (unsigned t = 1; t < started; t++)
		pthread_join(threads[t], NULL);
	free(w.reuse);
	free(w.oracle_ns);
	if (w.rc < 0)
		return err_set(err, w.rc, "no memory for the simulation");
	compare(cfg, result);
	memcpy(ret, result, sizeof(result));
	return 0;
}
