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

#define NAMED(name, types) { name, types, sizeof(types) / sizeof((types)[0]) }
static const struct { const char *name; const struct workload_type *types; uint32_t n; } named[] = {
	NAMED("high-bimodal", high_bimodal), NAMED("extreme-bimodal", extreme_bimodal), NAMED("tpcc", tpcc), NAMED("rocksdb", rocksdb),
};
const char *const workload_names[] = { "high-bimodal", "extreme-bimodal", "tpcc", "rocksdb", NULL };

struct workload *workload_free(struct workload *w)
{
	if (!w)
		return NULL;
	for (uint32_t i = 0; w->phases && i < w->phases_n; i++) {
		free(w->phases[i].ratio);
		free(w->phases[i].mean_ns);
	}
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

int workload_load(const char *what, struct workload **ret, struct hearth_err *err)
{
	char *text;
	size_t len;
	int rc;

	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		if (strcmp(named[i].name, what) == 0)
			return workload_new(what, named[i].types, named[i].n, ret, err);
	if (!strpbrk(what, "/."))
		return err_set(err, -ENOENT, "no workload \"%s\": there are high-bimodal, extreme-bimodal, tpcc, rocksdb, or give the path of a YAML file", what);
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
