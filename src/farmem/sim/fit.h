/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_SIM_FIT_H
#define FARMEM_SIM_FIT_H

/*
 * What the generator is fitted to: the sample of 1,000 functions of the Azure Functions Trace 2019 (CC-BY 4.0, Shahrad et al., ATC'20) that vhive-serverless/invitro publishes. Every
 * row is a quantity's quantiles over functions at fit_q.
 */
#define FIT_POINTS 13
static const double fit_q[FIT_POINTS] = { 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1 };

#define FIT_MINUTES 1440
/* calls of a day */
static const double fit_calls[FIT_POINTS] = { 1, 2, 7, 14, 31, 84, 336, 1069, 4016, 13052, 37861, 258753, 1209537 };

/* minutes with calls, as a share of what there could be at most with so many calls; by the number of calls */
#define FIT_CLASSES 5
static const double fit_active_below[FIT_CLASSES] = { 10, 100, 1440, 14400, 1e300 };
static const double fit_active[FIT_CLASSES][FIT_POINTS] = {
	{ 0.33, 0.5, 0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 },
	{ 0.02, 0.07, 0.07, 0.1, 0.35, 0.53, 0.74, 0.82, 0.91, 0.98, 1, 1, 1 },
	{ 0.01, 0.07, 0.07, 0.09, 0.16, 0.26, 0.36, 0.45, 0.55, 0.76, 0.86, 1, 1 },
	{ 0.001, 0.1, 0.14, 0.2, 0.28, 0.33, 0.38, 0.5, 0.79, 0.92, 1, 1, 1 },
	{ 0.001, 0.2, 0.4, 0.81, 0.99, 1, 1, 1, 1, 1, 1, 1, 1 },
};
/* functions whose minutes with calls are equally far apart */
#define FIT_PERIODIC 0.17

/* coefficient of variation of the calls in minutes that have any, of functions with 100 calls and more */
static const double fit_cv[FIT_POINTS] = { 0.01, 0.01, 0.1, 0.2, 0.4, 0.55, 0.65, 0.8, 0.95, 1.38, 1.6, 2, 3 };

/* run time: the median in ms, and the other percentiles as multiples of it */
static const double fit_run_p50[FIT_POINTS] = { 1, 81, 182, 550, 1379, 2343, 4430, 8082, 20794, 65680, 190947, 700743, 8402241 };
static const double fit_run_p0[FIT_POINTS] = { 0.001, 0.162, 0.347, 0.499, 0.651, 0.795, 0.933, 1, 1, 1, 1, 1, 1 };
static const double fit_run_p25[FIT_POINTS] = { 0.085, 0.49, 0.665, 0.751, 0.831, 0.891, 0.971, 1, 1, 1, 1, 1, 1 };
static const double fit_run_p75[FIT_POINTS] = { 1, 1, 1, 1.043, 1.144, 1.25, 1.376, 1.546, 1.88, 2.723, 4.691, 35.617, 366.557 };
static const double fit_run_p99[FIT_POINTS] = { 1, 1, 1, 1.1, 1.406, 1.929, 2.905, 4.944, 8.354, 21.317, 56.726, 466.667, 2103.462 };
static const double fit_run_p100[FIT_POINTS] = { 1, 1, 1, 1.1, 1.439, 2.018, 3.332, 6.572, 13.976, 44.496, 153.41, 707.957, 4031 };

/* memory: the median in MiB, and the 5th and 95th percentile as multiples of it */
static const double fit_mem_p50[FIT_POINTS] = { 80, 204, 402, 890, 1288, 1421, 1515, 1705, 2147, 2308, 2525, 3222, 4153 };
static const double fit_mem_p5[FIT_POINTS] = { 0.22, 0.76, 0.84, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 1, 1, 1, 1 };
static const double fit_mem_p95[FIT_POINTS] = { 1, 1.01, 1.03, 1.05, 1.07, 1.09, 1.12, 1.15, 1.18, 1.27, 1.45, 2.25, 4.79 };

#endif
