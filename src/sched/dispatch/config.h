/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_CONFIG_H
#define SCHED_CONFIG_H

#include "classify.h"
#include "sched/wire.h"
#include "sched/serve.h"
#include "slot.h"

enum { UNKNOWN_QUEUE, UNKNOWN_REJECT };
enum { OVERLOAD_REPLY, OVERLOAD_DROP };
enum { ISOLATION_PROCESS, ISOLATION_SHARED };

struct serve_type {
	char *name;
	uint64_t mean, deadline;
	double ratio;
	int64_t queue_max;
	char **match;
};

/* The file; hearth-serve(1) says what each key means. */
struct serve_config {
	char *listen, *backend, *interface;
	char **eal;
	int64_t queue, buffers;
	int64_t workers, dispatcher_cpu;
	char **cpus;
	bool oversubscribe;
	int isolation, idle;
	uint64_t idle_spin, hang_timeout, drain;
	int policy;
	int64_t reserved, queue_max, window_requests, seed;
	struct serve_type *types;
	size_t types_n;
	int classify;
	int64_t offset, width;
	char *mask;
	bool big_endian;
	int unknown, overload;
	char *app, **app_options;
	char *control, *metrics, *record;
	/* worked out */
	uint64_t mask_value;
	int cpu[SCHED_WORKERS_MAX];     /* of each worker, if there are @cpus */
	char *path;                     /* of the file */
};

extern const char *const serve_isolation_names[], *const serve_idle_names[];

/** config_sched - as the policy core takes it */
void config_sched(const struct serve_config *c, struct sched_config *ret);
/** config_classify - borrows from @c. @call: the application's */
void config_classify(const struct serve_config *c, uint32_t (*call)(uint32_t, const uint8_t *, size_t), struct classify_config *ret);
/** config_parse - a file's text; @file is its name. Everything but what depends on this machine is checked. */
int config_parse(const char *text, size_t len, const char *file, struct serve_config **ret, struct hearth_err *err);
/** config_machine - are there the cores that it asks for? Return: 0, -EINVAL with message. */
int config_machine(const struct serve_config *c, struct hearth_err *err);
/** config_buffers - datagrams that the port should hold: all that may wait and run, a power of two */
uint32_t config_buffers(const struct serve_config *c);
/** config_frozen - names a key that differs between the two and cannot change while the server runs, or NULL. @i: counts them from 0. */
const char *config_frozen(const struct serve_config *now, const struct serve_config *next, size_t i);

#endif
