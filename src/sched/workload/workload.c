/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "private.h"

#define FILE_BYTES_MAX (1 << 20)
#define SERVICE_MAX_NS 3600e9
#define RATIO_TOLERANCE 0.001                   /* people write 0.333 */

/* Persephone (SOSP'21), section 5 */
static const struct workload_type high_bimodal[] = { { "short", 1000, 0.5, 0 }, { "long", 100000, 0.5, 0 } };
static const struct workload_type extreme_bimodal[] = { { "short", 500, 0.995, 0 }, { "long", 500000, 0.005, 0 } };
static const struct workload_type tpcc[] = {
	{ "payment", 5700, 0.44, 0 }, { "order-status", 6000, 0.04, 0 }, { "new-order", 20000, 0.44, 0 }, { "delivery", 88000, 0.04, 0 }, { "stock-level", 100000, 0.04, 0 },
};
static const struct workload_type rocksdb[] = { { "get", 1500, 0.5, 0 }, { "scan", 635000, 0.5, 0 } };

/* what a policy that is good at the paper's may still do badly: three lengths, little dispersion, many types, few long ones */
static const struct workload_type three_types[] = { { "short", 1000, 0.6, 0 }, { "medium", 10000, 0.3, 0 }, { "long", 100000, 0.1, 0 } };
static const struct workload_type low_dispersion[] = { { "short", 10000, 0.9, 0 }, { "long", 20000, 0.1, 0 } };
#define EIGHT(p) { { "t0", 1000, p(128) }, { "t1", 2000, p(64) }, { "t2", 4000, p(32) }, { "t3", 8000, p(16) }, { "t4", 16000, p(8) }, { "t5", 32000, p(4) }, \
	{ "t6", 64000, p(2) }, { "t7", 128000, p(1) } }
#define GEOMETRIC(x) ((x) / 255.0)
#define FLAT(x) 0.125
static const struct workload_type geometric_8[] = EIGHT(GEOMETRIC), flat_8[] = EIGHT(FLAT);
static const struct workload_type rare_long[] = { { "short", 1000, 0.95, 0 }, { "long", 30000, 0.05, 0 } };

#define NAMED(name, types) { name, types, sizeof(types) / sizeof((types)[0]) }
static const struct { const char *name; const struct workload_type *types; uint32_t n; } named[] = {
	NAMED("high-bimodal", high_bimodal), NAMED("extreme-bimodal", extreme_bimodal), NAMED("tpcc", tpcc), NAMED("rocksdb", rocksdb),
	NAMED("three-types", three_types), NAMED("low-dispersion", low_dispersion), NAMED("geometric-8", geometric_8), NAMED("flat-8", flat_8), NAMED("rare-long", rare_long),
};
/* section 5.6: service times change places, shares change, one type stays */
static const char phases[] =
	"types:\n  - { name: a, service: 100us, ratio: 0.5 }\n  - { name: b, service: 1us, ratio: 0.5 }\n"
	"phases:\n  - { duration: 5s }\n  - { duration: 5s, service: { a: 1us, b: 100us } }\n"
	"  - { duration: 5s, service: { a: 1us, b: 100us }, ratio: { a: 0.95, b: 0.05 } }\n"
	"  - { duration: 5s, service: { a: 3500ns, b: 3500ns }, ratio: { a: 1 } }\n";
#define PHASES "phases"

const char *const workload_names[] = { "high-bimodal", "extreme-bimodal", "tpcc", "rocksdb", "three-types", "low-dispersion", "geometric-8", "flat-8", "rare-long",
	PHASES, NULL };

struct workload *workload_free(struct workload *w)
{
	if (!w)
		return NULL;
	for (uint32_t i = 0; w->phases && i < w->phases_n; i++) {
		free(w->phases[i].ratio);
		free(w->phases[i].mean_ns);
	}
	for (uint32_t i = 0; w->types && i < w->types_n; i++)
		free(w->types[i].samples);
	free(w->phases);
	free(w->types);
	free(w);
	return NULL;
}

static int check_type(const struct workload *w, uint32_t i, struct hearth_err *err)
{
	const struct workload_type *t = &w->types[i];

	if (t->name[0] == '\0' || memchr(t->name, '\0', sizeof(t->name)) == NULL)
		return err_set(err, -EINVAL, "%s: the name of type %u must have 1 to %d characters", w->name, i, SCHED_NAME_MAX - 1);
	if (!(t->mean_ns >= 1 && t->mean_ns <= SERVICE_MAX_NS))
		return err_set(err, -EINVAL, "%s: the service time of %s is %g ns; it must be 1ns..1h", w->name, t->name, t->mean_ns);
	if (!(t->scv >= 0 && t->scv <= 100))
		return err_set(err, -EINVAL, "%s: scv of %s is %g; it must be 0..100 (0: always the same time, 1: exponential)", w->name, t->name, t->scv);
	if (!(t->high_ratio >= 0 && t->high_ratio < 1) || (t->high_ratio > 0 && !(t->high > 1 && t->high * t->high_ratio < 1)))
		return err_set(err, -EINVAL, "%s: %s: high must be more than service, and high_ratio 0..1, 1 excluded", w->name, t->name);
	if ((t->scv > 0) + (t->high_ratio > 0) + (t->samples != NULL) > 1)
		return err_set(err, -EINVAL, "%s: %s: scv, high and samples are different distributions; give one", w->name, t->name);
	for (uint32_t j = 0; j < i; j++)
		if (strcmp(w->types[j].name, t->name) == 0)
			return err_set(err, -EINVAL, "%s: two types are called %s", w->name, t->name);
	return 0;
}

static int check_phase(const struct workload *w, uint32_t i, struct hearth_err *err)
{
	const struct workload_phase *p = &w->phases[i];
	char where[32] = "";
	double sum = 0;

	if (w->phases_n > 1)
		snprintf(where, sizeof(where), " of phase %u", i + 1);
	if (p->duration_ns == 0 && i + 1 < w->phases_n)
		return err_set(err, -EINVAL, "%s: phase %u has no duration; only the last may go without", w->name, i + 1);
	if (!(p->rate_hz >= 0 && p->rate_hz <= 1e9))
		return err_set(err, -EINVAL, "%s: the rate%s is %g requests a second; it must be more than 0, 1e9 at most", w->name, where, p->rate_hz);
	if (!(p->scale > 0 && p->scale <= 1e6))
		return err_set(err, -EINVAL, "%s: the load%s is %g; it is a factor on the run's rate and must be more than 0", w->name, where, p->scale);
	for (uint32_t t = 0; t < w->types_n; t++) {
		if (!(p->ratio[t] >= 0 && p->ratio[t] <= 1 + RATIO_TOLERANCE))
			return err_set(err, -EINVAL, "%s: the ratio of %s%s is %g; it must be 0..1", w->name, w->types[t].name, where, p->ratio[t]);
		if (!(p->mean_ns[t] >= 1 && p->mean_ns[t] <= SERVICE_MAX_NS))
			return err_set(err, -EINVAL, "%s: the service time of %s%s is %g ns; it must be 1ns..1h", w->name, w->types[t].name, where, p->mean_ns[t]);
		sum += p->ratio[t];
	}
	if (!(fabs(sum - 1) <= RATIO_TOLERANCE))
		return err_set(err, -EINVAL, "%s: the ratios%s add to %.4g; they must add to 1", w->name, where, sum);
	for (uint32_t t = 0; t < w->types_n; t++)
		p->ratio[t] /= sum;
	return 0;
}

int workload_check(struct workload *w, struct hearth_err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < w->types_n; i++)
		rc = check_type(w, i, err);
	for (uint32_t i = 0; rc == 0 && i < w->phases_n; i++)
		rc = check_phase(w, i, err);
	return rc;
}

int workload_new(const char *name, const struct workload_type *types, uint32_t types_n, struct workload **ret, struct hearth_err *err)
{
	struct workload *w;
	int rc;

	if (types_n == 0 || types_n > SCHED_TYPES_MAX)
		return err_set(err, -EINVAL, "%s: %u types; there must be 1 to %d", name, types_n, SCHED_TYPES_MAX);
	w = calloc(1, sizeof(*w));
	if (w) {
		snprintf(w->name, sizeof(w->name), "%s", name);
		w->types_n = types_n;
		w->types = calloc(types_n, sizeof(*w->types));
		w->phases = calloc(1, sizeof(*w->phases));
	}
	if (!w || !w->types || !w->phases)
		goto no_memory;
	w->phases_n = 1;
	w->phases[0] = (struct workload_phase){ .scale = 1, .ratio = calloc(types_n, sizeof(double)), .mean_ns = calloc(types_n, sizeof(double)) };
	if (!w->phases[0].ratio || !w->phases[0].mean_ns)
		goto no_memory;
	for (uint32_t i = 0; i < types_n; i++) {
		w->types[i] = types[i];
		w->phases[0].ratio[i] = types[i].ratio;
		w->phases[0].mean_ns[i] = types[i].mean_ns;
	}
	rc = workload_check(w, err);
	if (rc < 0) {
		workload_free(w);
		return rc;
	}
	*ret = w;
	return 0;
no_memory:
	workload_free(w);
	return err_set(err, -ENOMEM, "%s: no memory", name);
}

static int no_such(const char *what, struct hearth_err *err)
{
	char list[256] = "";
	size_t n = 0;

	for (size_t i = 0; workload_names[i] && n < sizeof(list); i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "", workload_names[i]);
	return err_set(err, -ENOENT, "no workload \"%s\": there are %s, or give the path of a YAML file", what, list);
}

int workload_load(const char *what, struct workload **ret, struct hearth_err *err)
{
	char *text;
	size_t len;
	int rc;

	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		if (strcmp(named[i].name, what) == 0)
			return workload_new(what, named[i].types, named[i].n, ret, err);
	if (strcmp(what, PHASES) == 0)
		return workload_parse(phases, strlen(phases), PHASES, ret, err);
	if (!strpbrk(what, "/."))
		return no_such(what, err);
	rc = file_read(what, FILE_BYTES_MAX, &text, &len);
	if (rc < 0)
		return err_set(err, rc, "cannot read the workload %s: %s", what, strerror(-rc));
	rc = workload_parse(text, len, what, ret, err);
	free(text);
	return rc;
}

void workload_dilate(struct workload *w, double factor)
{
	for (uint32_t t = 0; t < w->types_n; t++)
		w->types[t].mean_ns *= factor;
	for (uint32_t i = 0; i < w->phases_n; i++) {
		struct workload_phase *p = &w->phases[i];

		p->duration_ns = (uint64_t)((double)p->duration_ns * factor);
		p->rate_hz /= factor;
		for (uint32_t t = 0; t < w->types_n; t++)
			p->mean_ns[t] *= factor;
	}
}

double workload_mean_ns(const struct workload *w, uint32_t phase)
{
	double sum = 0;

	for (uint32_t t = 0; t < w->types_n; t++)
		sum += w->phases[phase].ratio[t] * w->phases[phase].mean_ns[t];
	return sum;
}

int workload_find(const struct workload *w, const char *name)
{
	for (uint32_t t = 0; t < w->types_n; t++)
		if (strcmp(w->types[t].name, name) == 0)
			return (int)t;
	return -ENOENT;
}

double workload_draw_ns(const struct workload_type *t, double mean_ns, struct sched_random *r)
{
	double x;

	if (t->samples)
		x = t->samples[sched_random_below(r, (uint32_t)t->samples_n)];
	else if (t->high_ratio > 0)
		x = sched_random_uniform(r) < t->high_ratio ? t->high : (1 - t->high * t->high_ratio) / (1 - t->high_ratio);
	else
		return workload_service_ns(mean_ns, t->scv, r);
	x *= mean_ns;
	return x < 1 ? 1 : x;
}
