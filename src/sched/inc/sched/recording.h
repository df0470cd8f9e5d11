/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_RECORDING_H
#define SCHED_RECORDING_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sched/policy.h"

/*
 * Requests as a live dispatcher recorded them; what the simulator and the load generator replay. A CSV text whose first line is "t_ns,type,service_ns", then
 * a line a request by ascending t_ns: arrival in ns of any origin, the type's name (1 to 31 printable ASCII characters without blanks, commas and quotes),
 * service time in ns, an hour at most. Numbers are whole; lines end with LF or CR LF, the last one may lack it. 256 types and 417 days (2^55 ns) at most.
 */

/** struct recorded_request - @at_ns: since the first one, whose is 0; never less than the one before. @service_ns: may be 0. @type: place in recording.types. */
struct recorded_request {
	uint64_t at_ns, service_ns;
	uint32_t type;
};

/** struct recorded_type - @n: its requests, at least 1 */
struct recorded_type {
	char name[SCHED_NAME_MAX];
	size_t n;
};

/**
 * struct recording
 * @requests: @n of them, at least 1; heap. Whoever keeps them longer than the recording takes them and leaves NULL.
 * @types:    the first @types_n, at least 1, in order of appearance; no name twice
 */
struct recording {
	struct recorded_request *requests;
	size_t n;
	struct recorded_type types[SCHED_TYPES_MAX];
	uint32_t types_n;
};

/**
 * recording_parse - from a text, which needs no NUL at its end
 * @file: what messages call it
 * @ret:  recording_free it; untouched on failure
 * Return: 0, -EINVAL (message begins with file:line), -ENOMEM.
 */
int recording_parse(const char *text, size_t len, const char *file, struct recording **ret, struct hearth_err *err);
/** recording_read - from a file of up to 4 GiB. Return: as recording_parse, -errno of reading. */
int recording_read(const char *path, struct recording **ret, struct hearth_err *err);
struct recording *recording_free(struct recording *r);  /* NULL is fine; returns NULL */

#endif
