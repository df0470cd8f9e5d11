/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_WORKLOAD_H
#define SCHED_WORKLOAD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sched/policy.h"
#include "sched/random.h"

/*
 * What arrives: types of requests, how long each takes, how often each comes, and how that changes over time. Shared by the simulator and the load generator.
 *
 * The first four named ones and "phases" are those of the Persephone paper (SOSP'21), section 5. A file:
 *
 *   types:
 *     - { name: short, service: 1us, ratio: 0.5 }
 *     - { name: long, service: 100us, ratio: 0.2, scv: 0.1 }
 *     - { name: cached, service: 1us, high: 50us, high_ratio: 0.01, ratio: 0.2 }   # two times: 1 us, of one request in a hundred 50 us
 *     - { name: real, samples: times.txt, ratio: 0.1 }                             # drawn from a file of service times in ns, one a line, beside this one
 *   phases:                                              # optional; without them there is one phase, of any length
 *     - { duration: 5s, rate: 200000 }                   # rate in requests a second; or load: 0.8, a share of the run's own rate
 *     - { duration: 5s, ratio: { short: 0.995, long: 0.005 }, service: { long: 500us } }
 */
#define WORKLOAD_PHASES_MAX 256

/**
 * struct workload_type
 * @mean_ns: mean service time, > 0
 * @ratio:   share of the requests, 0..1; those of all types add to 1
 * @scv:     squared coefficient of variation of the service time: 0 fixed, 1 exponential, any other log-normal
 * @high_ratio, @high: bimodal: that share of the requests takes @high times the mean, the others the same, shorter time; 0 = not bimodal
 * @samples, @samples_n: empirical: multiples of the mean, drawn alike; NULL = not empirical. Freed with the workload.
 */
struct workload_type {
	char name[SCHED_NAME_MAX];
	double mean_ns, ratio, scv;
	double high_ratio, high;
	double *samples;
	size_t samples_n;
};

/**
 * struct workload_phase
 * @duration_ns: 0 = to the end; the last phase only
 * @rate_hz:     requests a second; 0 = @scale times the rate that the run was told
 * @ratio, @mean_ns: one a type
 */
struct workload_phase {
	uint64_t duration_ns;
	double rate_hz, scale;
	double *ratio, *mean_ns;
};

struct workload {
	char name[64];
	uint32_t types_n, phases_n;             /* both at least 1 */
	struct workload_type *types;
	struct workload_phase *phases;
};

/** workload_names - the built-in ones, NULL-terminated */
extern const char *const workload_names[];

/**
 * workload_load - a built-in workload by name, or one from a file
 * @what: one of workload_names, or the path of a YAML file (anything with a "/" or a "." in it)
 * @ret:  workload_free it; untouched on failure
 * Return: 0, -ENOENT (no such name or file, with message), -EINVAL (message with file:line), -ENOMEM.
 */
int workload_load(const char *what, struct workload **ret, struct hearth_err *err);
/** workload_parse - a file's text. @file: its name for messages. */
int workload_parse(const char *text, size_t len, const char *file, struct workload **ret, struct hearth_err *err);
/**
 * workload_new - one phase of any length of these types
 * @types: copied; checked as a file's are; none of them empirical
 */
int workload_new(const char *name, const struct workload_type *types, uint32_t types_n, struct workload **ret, struct hearth_err *err);
struct workload *workload_free(struct workload *w);     /* NULL and half-built ones are fine; returns NULL */

/** workload_dilate - everything takes @factor times as long: service times and phases times it, rates divided by it */
void workload_dilate(struct workload *w, double factor);
/** workload_mean_ns - mean service time of a phase's mix */
double workload_mean_ns(const struct workload *w, uint32_t phase);
/** workload_find - a type by name. Return: its number, -ENOENT. */
int workload_find(const struct workload *w, const char *name);

/** workload_service_ns - draw a service time: mean, scv as above; at least 1 */
static inline double workload_service_ns(double mean_ns, double scv, struct sched_random *r)
{
	double x = mean_ns;

	if (scv > 0 && scv == 1)
		x *= sched_random_exp(r);
	else if (scv > 0) {
		double s2 = log1p(scv);

		x *= exp(sqrt(s2) * sched_random_normal(r) - s2 / 2);
	}
	return x < 1 ? 1 : x;
}

/** workload_draw_ns - draw a service time of a type, whatever its distribution, for a phase in which its mean is @mean_ns; at least 1 */
double workload_draw_ns(const struct workload_type *t, double mean_ns, struct sched_random *r);

#endif
