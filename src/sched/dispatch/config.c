/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/yaml.h"
#include "config.h"

#define CONFIG_MAX_BYTES (1u << 20)
#define IDLE_BY_CORES (-1)      /* where the key is not there */
#define BUFFERS_MAX 65536u      /* by default; more must be asked for */

static const char *const unknown_names[] = { "queue", "reject", NULL };
static const char *const overload_names[] = { "reply", "drop", NULL };
const char *const serve_isolation_names[] = { "process", "shared", NULL };
const char *const serve_idle_names[] = { "poll", "sleep", "adaptive", NULL };

#define TYPE_KEY(key, k, ...) { .name = #key, .kind = k, .offset = offsetof(struct serve_type, key), ##__VA_ARGS__ }
static const struct yaml_key type_keys[] = {
	TYPE_KEY(name, YAML_STR, .required = 1),
	TYPE_KEY(mean, YAML_DURATION),
	TYPE_KEY(deadline, YAML_DURATION),
	TYPE_KEY(ratio, YAML_DOUBLE, .min = 0, .max = 1),
	TYPE_KEY(queue_max, YAML_INT, .min = 1, .max = 1 << 24),
	TYPE_KEY(match, YAML_STRV),
	{ 0 },
};

#define KEY(key, k, ...) { .name = #key, .kind = k, .offset = offsetof(struct serve_config, key), ##__VA_ARGS__ }
static const struct yaml_key serve_keys[] = {
	KEY(listen, YAML_STR, .required = 1),
	KEY(backend, YAML_STR),
	KEY(interface, YAML_STR),
	KEY(queue, YAML_INT, .min = 0, .max = 4095),
	KEY(eal, YAML_STRV),
	KEY(buffers, YAML_INT, .min = 64, .max = 1 << 20),
	KEY(workers, YAML_INT, .required = 1, .min = 1, .max = SCHED_WORKERS_MAX),
	KEY(cpus, YAML_STRV),
	KEY(dispatcher_cpu, YAML_INT, .min = 0, .max = CPU_SETSIZE - 1),
	KEY(oversubscribe, YAML_BOOL),
	KEY(isolation, YAML_ENUM, .names = serve_isolation_names),
	KEY(idle, YAML_ENUM, .names = serve_idle_names),
	KEY(idle_spin, YAML_DURATION, .min = 0, .max = NS_PER_S),
	KEY(hang_timeout, YAML_DURATION),
	KEY(drain, YAML_DURATION),
	KEY(policy, YAML_ENUM, .names = sched_policy_names),
	KEY(reserved, YAML_INT, .min = 0, .max = SCHED_WORKERS_MAX),
	KEY(queue_max, YAML_INT, .min = 1, .max = 1 << 24),
	KEY(window_requests, YAML_INT, .min = 1, .max = UINT32_MAX),
	KEY(seed, YAML_INT),
	KEY(types, YAML_MAPS, .required = 1, .min = 1, .max = SCHED_TYPES_MAX, .sub = type_keys, .sub_bytes = sizeof(struct serve_type),
	    .count_offset = offsetof(struct serve_config, types_n)),
	KEY(classify, YAML_ENUM, .names = classify_names),
	KEY(offset, YAML_INT, .min = 0, .max = WIRE_PAYLOAD_MAX - 1),
	KEY(width, YAML_INT, .min = 1, .max = 8),
	KEY(mask, YAML_STR),
	KEY(big_endian, YAML_BOOL),
	KEY(unknown, YAML_ENUM, .names = unknown_names),
	KEY(overload, YAML_ENUM, .names = overload_names),
	KEY(app, YAML_STR),
	KEY(app_options, YAML_ENV),
	KEY(control, YAML_STR),
	KEY(metrics, YAML_STR),
	KEY(record, YAML_STR),
	{ 0 },
};

struct serve_config *serve_config_free(struct serve_config *c)
{
	if (c == NULL)
		return NULL;
	yaml_unload(serve_keys, c);
	free(c->path);
	free(c);
	return NULL;
}

const char *serve_config_metrics(const struct serve_config *c)
{
	return c->metrics;
}

static struct serve_config *defaults(const char *path)
{
	struct serve_config *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->dispatcher_cpu = -1;
	c->idle = IDLE_BY_CORES;
	c->idle_spin = 50 * NS_PER_US;
	c->hang_timeout = 10 * NS_PER_S;
	c->drain = 5 * NS_PER_S;
	c->policy = SCHED_MINIMAX;
	c->width = 1;
	c->backend = strdup("udp");
	c->app = strdup("spin");
	c->path = strdup(path);
	return c->backend != NULL && c->app != NULL && c->path != NULL ? c : serve_config_free(c);
}

/* ---- checks ---- */

static int check_names(const struct serve_config *c, struct hearth_err *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	for (size_t t = 0; t < c->types_n; t++) {
		const char *name = c->types[t].name;

		if (name[0] == '\0' || strlen(name) >= SCHED_NAME_MAX || name[strspn(name, allowed)] != '\0')
			return err_set(err, -EINVAL, "%s: type \"%s\": a name is 1 to %d letters, digits, _ . and -", c->path, name, SCHED_NAME_MAX - 1);
		if (strcmp(name, "unknown") == 0)
			return err_set(err, -EINVAL, "%s: no type can be called \"unknown\": that is what requests of no type are called", c->path);
		for (size_t u = 0; u < t; u++)
			if (strcmp(c->types[u].name, name) == 0)
				return err_set(err, -EINVAL, "%s: two types are called \"%s\"", c->path, name);
	}
	return 0;
}

/* "0-3" or "5". Return: 0, -EINVAL. */
static int parse_cpus(const char *text, long *from, long *to)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	*from = *to = strtol(text, &end, 10);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		*to = strtol(end + 1, &end, 10);
	return *end == '\0' && *from <= *to && *to < CPU_SETSIZE ? 0 : -EINVAL;
}

/* The first so many of the list, each once. */
static int take_cpus(struct serve_config *c, struct hearth_err *err)
{
	int64_t n = 0;
	long from, to;

	for (size_t i = 0; c->cpus != NULL && c->cpus[i] != NULL; i++) {
		if (parse_cpus(c->cpus[i], &from, &to) < 0)
			return err_set(err, -EINVAL, "%s: key \"cpus\": \"%s\" is neither a core (3) nor a range of cores (0-7)", c->path, c->cpus[i]);
		for (long cpu = from; cpu <= to && n < c->workers; cpu++) {
			for (int64_t w = 0; w < n && !c->oversubscribe; w++)
				if (c->cpu[w] == cpu)
					return err_set(err, -EINVAL, "%s: key \"cpus\": core %ld is named twice; `oversubscribe: true` allows that", c->path, cpu);
			c->cpu[n++] = (int)cpu;
		}
	}
	if (c->cpus != NULL && n < c->workers)
		return err_set(err, -EINVAL, "%s: key \"cpus\" names %lld cores for %lld workers; name one for each", c->path, (long long)n, (long long)c->workers);
	return 0;
}

static int check(struct serve_config *c, struct hearth_err *err)
{
	char *end;
	int r = check_names(c, err);

	if (r == 0)
		r = take_cpus(c, err);
	if (r < 0)
		return r;
	/* who looks for work on a core that another needs keeps the work from coming */
	if (c->idle == IDLE_BY_CORES)
		c->idle = c->oversubscribe ? IDLE_SLEEP : IDLE_ADAPTIVE;
	if (c->mask != NULL) {
		errno = 0;
		c->mask_value = strtoull(c->mask, &end, 0);
		if (c->mask[0] < '0' || c->mask[0] > '9' || *end != '\0' || errno != 0 || c->mask_value == 0)
			return err_set(err, -EINVAL, "%s: key \"mask\": \"%s\" is no number such as 0xff", c->path, c->mask);
	}
	if (c->buffers != 0 && (c->buffers & (c->buffers - 1)) != 0)
		return err_set(err, -EINVAL, "%s: key \"buffers\": %lld is no power of two", c->path, (long long)c->buffers);
	return 0;
}

int config_parse(const char *text, size_t len, const char *file, struct serve_config **ret, struct hearth_err *err)
{
	struct serve_config *c = defaults(file);
	int r;

	if (c == NULL)
		return err_set(err, -ENOMEM, "%s: out of memory", file);
	r = yaml_load(text, len, file, serve_keys, c, err);
	if (r == 0)
		r = check(c, err);
	if (r < 0) {
		serve_config_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

int serve_config_load(const char *path, struct serve_config **ret, struct hearth_err *err)
{
	char *text;
	size_t len;
	int r = file_read(path, CONFIG_MAX_BYTES, &text, &len);

	if (r < 0)
		return err_set(err, r, "read configuration %s: %s", path, strerror(-r));
	r = config_parse(text, len, path, ret, err);
	free(text);
	return r;
}

int config_machine(const struct serve_config *c, struct hearth_err *err)
{
	cpu_set_t set;
	int cores;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return err_set(err, -errno, "cores of this process: %s", strerror(errno));
	cores = CPU_COUNT(&set);
	if (!c->oversubscribe && c->workers + 1 > cores)
		return err_set(err, -EINVAL, "%s: %lld workers and the dispatcher need %lld cores, and this process may use %d; ask for fewer workers, or say "
			       "`oversubscribe: true` to let them share", c->path, (long long)c->workers, (long long)c->workers + 1, cores);
	for (int64_t w = 0; c->cpus != NULL && w < c->workers; w++)
		if (!CPU_ISSET((size_t)c->cpu[w], &set))
			return err_set(err, -EINVAL, "%s: key \"cpus\": core %d is not there, or not for this process", c->path, c->cpu[w]);
	if (c->dispatcher_cpu >= 0 && !CPU_ISSET((size_t)c->dispatcher_cpu, &set))
		return err_set(err, -EINVAL, "%s: key \"dispatcher_cpu\": core %lld is not there, or not for this process", c->path, (long long)c->dispatcher_cpu);
	return 0;
}

/* ---- as others take it ---- */

void config_sched(const struct serve_config *c, struct sched_config *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->policy = (enum sched_policy)c->policy;
	ret->workers = (uint32_t)c->workers;
	ret->types_n = (uint32_t)c->types_n;
	ret->reserved = (uint32_t)c->reserved;
	ret->queue_max = (uint32_t)c->queue_max;
	ret->window_requests = (uint32_t)c->window_requests;
	ret->seed = (uint64_t)c->seed;
	for (size_t t = 0; t < c->types_n; t++) {
		ret->types[t] = (struct sched_type){ .mean_ns = c->types[t].mean, .deadline_ns = c->types[t].deadline, .ratio = c->types[t].ratio,
						     .queue_max = (uint32_t)c->types[t].queue_max };
		snprintf(ret->types[t].name, SCHED_NAME_MAX, "%s", c->types[t].name);
	}
}

void config_classify(const struct serve_config *c, uint32_t (*call)(uint32_t, const uint8_t *, size_t), struct classify_config *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->kind = (enum classify_kind)c->classify;
	ret->offset = (uint32_t)c->offset;
	ret->width = (uint32_t)c->width;
	ret->mask = c->mask_value;
	ret->big_endian = c->big_endian;
	ret->types_n = (uint32_t)c->types_n;
	ret->call = call;
	for (size_t t = 0; t < c->types_n; t++) {
		ret->match[t] = c->types[t].match;
		ret->names[t] = c->types[t].name;
	}
}

uint32_t config_buffers(const struct serve_config *c)
{
	uint64_t common = c->queue_max > 0 ? (uint64_t)c->queue_max : 4096, n = common + 2 * (uint64_t)c->workers + 256;
	uint32_t buffers = 1024;

	if (c->buffers > 0)
		return (uint32_t)c->buffers;
	for (size_t t = 0; t < c->types_n; t++)
		n += c->types[t].queue_max > 0 ? (uint64_t)c->types[t].queue_max : common;
	while (buffers < n && buffers < BUFFERS_MAX)
		buffers *= 2;
	return buffers;
}

/* ---- what can change while the server runs ---- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_list(char **a, char **b)
{
	size_t i;

	if (a == NULL || b == NULL)
		return a == b;
	for (i = 0; a[i] != NULL && b[i] != NULL; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return a[i] == b[i];
}

static bool same_types(const struct serve_config *a, const struct serve_config *b)
{
	if (a->types_n != b->types_n)
		return false;
	for (size_t t = 0; t < a->types_n; t++)
		if (strcmp(a->types[t].name, b->types[t].name) != 0)
			return false;
	return true;
}

const char *config_frozen(const struct serve_config *a, const struct serve_config *b, size_t i)
{
	const struct { const char *key; bool same; } keys[] = {
		{ "listen", same_text(a->listen, b->listen) },
		{ "backend", same_text(a->backend, b->backend) },
		{ "interface", same_text(a->interface, b->interface) },
		{ "queue", a->queue == b->queue },
		{ "eal", same_list(a->eal, b->eal) },
		{ "buffers", a->buffers == b->buffers },
		{ "workers", a->workers == b->workers },
		{ "cpus", same_list(a->cpus, b->cpus) },
		{ "dispatcher_cpu", a->dispatcher_cpu == b->dispatcher_cpu },
		{ "isolation", a->isolation == b->isolation },
		{ "idle", a->idle == b->idle },
		{ "idle_spin", a->idle_spin == b->idle_spin },
		{ "types (their names and number)", same_types(a, b) },
		{ "app", same_text(a->app, b->app) },
		{ "app_options", same_list(a->app_options, b->app_options) },
		{ "control", same_text(a->control, b->control) },
		{ "metrics", same_text(a->metrics, b->metrics) },
		{ "record", same_text(a->record, b->record) },
	};

	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
		if (!keys[k].same && i-- == 0)
			return keys[k].key;
	return NULL;
}
