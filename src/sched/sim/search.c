/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/thread.h"
#include "sched/sim.h"

/* The highest load that meets a target: each round tries as many loads between the best that does and the lowest that does not as there are jobs. */

#define LOAD_MIN 0.002
#define LOAD_MAX 0.999
#define LOAD_STEP 0.0005
#define JOBS_MAX 64

struct job {
	struct sim_config cfg;
	struct sim_result result;
	struct hearth_err err;
	int rc;
};

static void *job_main(void *arg)
{
	struct job *j = arg;

	j->rc = sim_run(&j->cfg, &j->result, &j->err);
	return NULL;
}

/* Runs all jobs at once; only the first shows progress. Return: 0, -errno with message. */
static int run_jobs(struct job *jobs, unsigned n, struct hearth_err *err)
{
	pthread_t threads[JOBS_MAX];
	unsigned started;
	int rc = 0;

	for (started = 1; started < n; started++) {
		jobs[started].cfg.progress = NULL;
		if (thread_spawn(&threads[started], job_main, &jobs[started]) < 0)
			break;
	}
	job_main(&jobs[0]);
	for (unsigned i = started; i < n; i++)
		job_main(&jobs[i]);     /* no more threads to be had */
	for (unsigned i = 1; i < started; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < n && rc == 0; i++)
		if (jobs[i].rc < 0) {
			rc = jobs[i].rc;
			if (err)
				*err = jobs[i].err;
		}
	for (unsigned i = 0; i < n && rc < 0; i++)
		if (jobs[i].rc == 0)
			sim_result_done(&jobs[i].result);
	return rc;
}

struct search {
	const struct sim_config *cfg;
	const struct sim_target *target;
	double low, high;                       /* meets it, or nothing known; does not, or not tried */
	struct sim_max *max;
	struct job *jobs;
};

/* One round at the given loads, ascending. */
static int try_loads(struct search *s, const double *loads, unsigned n, struct hearth_err *err)
{
	int rc;

	for (unsigned i = 0; i < n; i++) {
		s->jobs[i] = (struct job){ .cfg = *s->cfg };
		s->jobs[i].cfg.load = loads[i];
		s->jobs[i].cfg.rate_hz = 0;
		s->jobs[i].cfg.stop = *s->target;
	}
	rc = run_jobs(s->jobs, n, err);
	if (rc < 0)
		return rc;
	s->max->runs += n;
	for (unsigned i = 0; i < n; i++) {
		struct sim_result *r = &s->jobs[i].result;

		/* chance may let a higher load meet what a lower one misses: the lowest that misses ends the search */
		if (loads[i] < s->high && sim_meets(r, s->target)) {
			s->low = loads[i];
			sim_result_done(&s->max->at);
			s->max->at = *r;
			s->max->load = loads[i];
			s->max->rate_hz = r->rate_hz;
			continue;
		}
		s->high = loads[i] < s->high ? loads[i] : s->high;
		sim_result_done(r);
	}
	return 0;
}

static int sections(struct search *s, unsigned jobs, struct hearth_err *err)
{
	double loads[JOBS_MAX];
	int rc = 0;

	while (rc == 0 && s->high - s->low > LOAD_STEP) {
		for (unsigned i = 0; i < jobs; i++)
			loads[i] = s->low + (s->high - s->low) * (i + 1) / (jobs + 1);
		rc = try_loads(s, loads, jobs, err);
	}
	return rc;
}

int sim_find_max_load(const struct sim_config *cfg, const struct sim_target *t, unsigned jobs, struct sim_max *ret, struct hearth_err *err)
{
	struct sim_max max = { 0 };
	struct search s = { .cfg = cfg, .target = t, .low = LOAD_MIN, .high = LOAD_MAX, .max = &max };
	int rc;

	if (jobs < 1 || jobs > JOBS_MAX)
		return err_set(err, -EINVAL, "%u runs at a time; there must be 1 to %d", jobs, JOBS_MAX);
	s.jobs = calloc(jobs, sizeof(*s.jobs));
	if (!s.jobs)
		return err_set(err, -ENOMEM, "no memory for the search");
	rc = sections(&s, jobs, err);
	/* nothing was found: then perhaps at the very lowest */
	if (rc == 0 && max.load == 0)
		rc = try_loads(&s, (const double[]){ LOAD_MIN }, 1, err);
	free(s.jobs);
	if (rc < 0) {
		sim_result_done(&max.at);
		return rc;
	}
	*ret = max;
	return 0;
}
