/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_PRIVATE_H
#define TRACE_PRIVATE_H

#include "base/rng.h"
#include "trace/trace.h"

#define TRACE_HEADER "app,func,end_timestamp,duration"
/* Names that no real trace has (those are hexadecimal digests), so that a generated one is never taken for real. */
#define TRACE_GENERATED_PREFIX "synthetic-"

/** trace_finish - sort the calls, let the first start at 0, fill in the sums. Starts may be on any origin (modulo 2^64 is fine within 2^63). */
void trace_finish(struct trace *t);

/** normal_quantile - z with P(Z <= z) = p, 0 < p < 1 */
double normal_quantile(double p);

#endif
