/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/hist.h"
#include "base/rng.h"
#include "base/thread.h"
#include "base/yaml.h"
#include "ds_cli.h"

#define HANDLES 1000                    /* how often opening and registering are measured */
#define QUEUES_MAX 64
#define DEPTH_MAX 4096

struct bench {
	struct ds_cli c;
	const char *path, *device;
	struct hearth_ds_options o;
	struct hearth_ds_file *file;
	uint64_t block, blocks, seconds, seed;
	unsigned depth, queues;
	bool sync, random, write, handles;
	atomic_ullong next;             /* block, when in order */
	atomic_int failed;              /* -errno */
	uint64_t stop_ns;
};

/* one thread, with a queue or without, and its own part of the memory */
struct lane {
	struct bench *b;
	pthread_t thread;
	unsigned number;
	struct rng rng;
	struct hist us;
	uint64_t bytes, ops;
	char why[508];
};

/* ---- options ---- */

static int number(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t n;

	if (parse_bytes(text, &n) < 0 || n == 0 || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int option(struct bench *b, int c, const char *text)
{
	static const char *const caches[] = { "auto", "never", "always" };
	uint64_t n = 0;
	int r = 0;

	switch (c) {
	case 'b': return number(text, 1ull << 32, &b->block);
	case 's': return number(text, 86400, &b->seconds);
	case 'R': return number(text, 1ull << 34, &b->o.ring_bytes);
	case 'p': return ds_cli_path(text, &b->o.path);
	case 'd': r = number(text, DEPTH_MAX, &n); b->depth = (unsigned)n; return r;
	case 'q': r = number(text, QUEUES_MAX, &n); b->queues = (unsigned)n; return r;
	case 't': r = number(text, 64, &n); b->o.threads = (uint32_t)n; return r;
	case 'y': b->sync = true; return 0;
	case 'r': b->random = true; return 0;
	case 'w': b->write = true; return 0;
	case 'h': b->handles = true; return 0;
	case 'c':
		for (int k = 0; k < 3; k++)
			if (strcmp(text, caches[k]) == 0) {
				b->o.cache = k;
				return 0;
			}
		return -EINVAL;
	default:
		return -EINVAL;
	}
}

static int options(struct cli *cli, struct bench *b, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "block", 1, NULL, 'b' }, { "depth", 1, NULL, 'd' }, { "queues", 1, NULL, 'q' }, { "seconds", 1, NULL, 's' }, { "ring", 1, NULL, 'R' }, { "path", 1, NULL, 'p' },
		{ "threads", 1, NULL, 't' }, { "cache", 1, NULL, 'c' }, { "sync", 0, NULL, 'y' }, { "random", 0, NULL, 'r' }, { "write", 0, NULL, 'w' }, { "handles", 0, NULL, 'h' }, { 0 },
	};
	char text[128];
	int c, at = 0;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", longs, &at)) != -1) {
		if (c == '?')
			return cli_usage(cli, "unknown option, or one that lacks its value");
		if (option(b, c, optarg) < 0) {
			snprintf(text, sizeof(text), "--%s cannot be '%.60s'", longs[at].name, optarg ? optarg : "");
			return cli_usage(cli, text);
		}
	}
	if (argc - optind != 2 || !ds_cli_is_device(argv[argc - 1]))
		return cli_usage(cli, "bench takes a file and a device");
	b->path = argv[optind];
	b->device = argv[optind + 1];
	if (b->sync)
		b->depth = 1;
	return CLI_OK;
}

/* ---- reading and writing ---- */

static uint64_t next_offset(struct lane *l)
{
	struct bench *b = l->b;
	uint64_t k = b->random ? rng_below(&l->rng, b->blocks) : atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed) % b->blocks;

	return k * b->block;
}

static void fail(struct lane *l, int code, const char *why)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&l->b->failed, &none, code))
		snprintf(l->why, sizeof(l->why), "%s", why);
}

static void count(struct lane *l, uint64_t began_ns, uint64_t bytes)
{
	hist_record(&l->us, (clock_mono_ns() - began_ns) / NS_PER_US);
	l->bytes += bytes;
	l->ops++;
}

static void run_sync(struct lane *l)
{
	struct bench *b = l->b;
	uint64_t place = l->number * b->block, began;

	while ((began = clock_mono_ns()) < b->stop_ns && !atomic_load(&b->failed)) {
		uint64_t at = next_offset(l);
		ssize_t r = b->write ? hearth_ds_write(b->file, b->c.memory, place, at, b->block) : hearth_ds_read(b->file, b->c.memory, place, at, b->block);

		if (r < 0)
			fail(l, (int)r, hearth_ds_error());
		else
			count(l, began, (uint64_t)r);
	}
}

/* @n operations are free: their numbers are in @idle. Return: 0, -errno. */
static int submit(struct lane *l, struct hearth_ds_queue *q, const unsigned *idle, size_t n, struct hearth_ds_op *ops, uint64_t *began)
{
	struct bench *b = l->b;

	for (size_t k = 0; k < n; k++) {
		ops[k] = (struct hearth_ds_op){ .file = b->file, .memory = b->c.memory, .memory_offset = ((uint64_t)l->number * b->depth + idle[k]) * b->block, .file_offset = next_offset(l),
						.bytes = b->block, .tag = idle[k], .kind = b->write ? HEARTH_DS_WRITE : HEARTH_DS_READ };
		began[idle[k]] = clock_mono_ns();
	}
	return hearth_ds_submit(q, ops, n);
}

static void run_queue(struct lane *l, struct hearth_ds_queue *q, struct hearth_ds_op *ops, struct hearth_ds_done *done, uint64_t *began, unsigned *idle)
{
	struct bench *b = l->b;
	size_t free_n = b->depth, under_way = 0;

	for (unsigned k = 0; k < b->depth; k++)
		idle[k] = k;
	do {
		ssize_t n;

		if (clock_mono_ns() < b->stop_ns && !atomic_load(&b->failed)) {
			int r = submit(l, q, idle, free_n, ops, began);

			if (r < 0)
				fail(l, r, hearth_ds_error());
			under_way += r < 0 ? 0 : free_n;
		}
		free_n = 0;
		n = hearth_ds_reap(q, done, b->depth, 1, -1);
		for (ssize_t k = 0; k < n; k++) {
			idle[free_n++] = (unsigned)done[k].tag;
			if (done[k].result < 0)
				fail(l, (int)done[k].result, strerror((int)-done[k].result));
			else
				count(l, began[done[k].tag], (uint64_t)done[k].result);
		}
		under_way -= (size_t)n;
	} while (under_way || (clock_mono_ns() < b->stop_ns && !atomic_load(&b->failed)));
}

static void with_queue(struct lane *l)
{
	struct bench *b = l->b;
	struct hearth_ds_op *ops = calloc(b->depth, sizeof(*ops));
	struct hearth_ds_done *done = calloc(b->depth, sizeof(*done));
	uint64_t *began = calloc(b->depth, sizeof(*began));
	unsigned *idle = calloc(b->depth, sizeof(*idle));
	struct hearth_ds_queue *q = NULL;
	int r = hearth_ds_queue_open(b->c.ds, b->depth, &q);

	if (r < 0 || !ops || !done || !began || !idle)
		fail(l, r < 0 ? r : -ENOMEM, r < 0 ? hearth_ds_error() : "out of memory");
	else
		run_queue(l, q, ops, done, began, idle);
	hearth_ds_queue_close(q);
	free(ops);
	free(done);
	free(began);
	free(idle);
}

static void *run_lane(void *arg)
{
	struct lane *l = arg;

	if (l->b->sync)
		run_sync(l);
	else
		with_queue(l);
	return NULL;
}

/* ---- the result ---- */

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int print_result(const struct bench *b, const struct lane *sum, double seconds, double cpu, const char *path)
{
	double gb = (double)sum->bytes / 1e9;
	json_t *o;
	int rc;

	if (!b->c.cli->json) {
		printf("%s %s %s in blocks of %llu, %s, by %s: %.2f GB/s, %.0f a second; p50 %llu us, p99 %llu us, p99.9 %llu us; %.3f CPU seconds a GB\n", b->write ? "write" : "read", b->random ? "random" : "in order", b->path,
		       (unsigned long long)b->block, b->sync ? "one at a time" : "queued", path, gb / seconds, (double)sum->ops / seconds, (unsigned long long)hist_quantile(&sum->us, 0.5),
		       (unsigned long long)hist_quantile(&sum->us, 0.99), (unsigned long long)hist_quantile(&sum->us, 0.999), gb > 0 ? cpu / gb : 0);
		return CLI_OK;
	}
	o = json_pack("{s:b,s:s,s:I,s:i,s:i,s:b,s:b,s:b,s:I,s:I,s:f,s:f,s:f,s:I,s:I,s:I,s:f}", "ok", 1, "path", path, "block", (json_int_t)b->block, "depth", (int)b->depth, "queues", (int)b->queues, "sync", b->sync,
		      "random", b->random, "write", b->write, "bytes", (json_int_t)sum->bytes, "ops", (json_int_t)sum->ops, "seconds", seconds, "gb_s", gb / seconds, "iops", (double)sum->ops / seconds, "p50_us",
		      (json_int_t)hist_quantile(&sum->us, 0.5), "p99_us", (json_int_t)hist_quantile(&sum->us, 0.99), "p999_us", (json_int_t)hist_quantile(&sum->us, 0.999), "cpu_s_gb", gb > 0 ? cpu / gb : 0.0);
	rc = o ? cli_print_json(o) : CLI_FAILED;
	json_decref(o);
	return rc;
}

static void watch(struct bench *b, uint64_t began)
{
	struct timespec pause = { .tv_nsec = 100 * NS_PER_MS };
	uint64_t now;

	while ((now = clock_mono_ns()) < b->stop_ns && !atomic_load(&b->failed)) {
		if (b->stop_ns - now < (uint64_t)pause.tv_nsec)
			pause.tv_nsec = (long)(b->stop_ns - now);
		ds_cli_progress(&b->c, "bench", (now - began) / NS_PER_MS, (b->stop_ns - began) / NS_PER_MS);
		nanosleep(&pause, NULL);
	}
	ds_cli_progress_end(&b->c);
}

static int measure(struct bench *b, struct lane *lanes, struct hearth_err *err)
{
	struct hearth_ds_report report;
	double cpu, seconds;
	uint64_t began;
	unsigned n;
	int r = 0;

	/* what is made at first use is not what is measured */
	if (!b->write && hearth_ds_read(b->file, b->c.memory, 0, 0, b->block) < 0)
		return ds_cli_err(err, -EIO);
	began = clock_mono_ns();
	cpu = cpu_seconds();
	b->stop_ns = began + b->seconds * NS_PER_S;
	for (n = 0; n < b->queues && r == 0; n++) {
		lanes[n].b = b;
		lanes[n].number = n;
		rng_seed(&lanes[n].rng, b->seed + n);
		r = thread_spawn(&lanes[n].thread, run_lane, &lanes[n]);
	}
	if (r < 0) {
		b->stop_ns = 0;
		n--;
	}
	watch(b, began);
	for (unsigned k = 0; k < n; k++) {
		pthread_join(lanes[k].thread, NULL);
		if (lanes[k].why[0])
			err_set(err, atomic_load(&b->failed), "%s", lanes[k].why);
		if (k == 0)
			continue;
		hist_merge(&lanes[0].us, &lanes[k].us);
		lanes[0].bytes += lanes[k].bytes;
		lanes[0].ops += lanes[k].ops;
	}
	if (r < 0)
		return err_set(err, r, "cannot start a thread");
	if (atomic_load(&b->failed))
		return atomic_load(&b->failed);
	seconds = (double)(clock_mono_ns() - began) / 1e9;
	cpu = cpu_seconds() - cpu;
	if (hearth_ds_probe(b->file, b->c.memory, &report) < 0)
		return ds_cli_err(err, -ENOMEM);
	return print_result(b, &lanes[0], seconds, cpu, hearth_ds_path_name(report.path)) == CLI_OK ? 0 : err_set(err, -EIO, "standard output cannot be written");
}

/* ---- opening and registering ---- */

struct handles { struct hist open, reg, release, close; };

static int one_handle(struct bench *b, struct handles *h)
{
	struct hearth_ds_memory *m;
	struct hearth_ds_file *f;
	uint64_t t[5];
	int r;

	t[0] = clock_mono_ns();
	r = hearth_ds_file(b->c.ds, AT_FDCWD, b->path, O_RDONLY, &f);
	t[1] = clock_mono_ns();
	if (r < 0)
		return r;
	r = hearth_ds_register(b->c.device, device_memory_at(b->c.own), b->block, &m);
	t[2] = clock_mono_ns();
	if (r == 0)
		hearth_ds_release(m);
	t[3] = clock_mono_ns();
	hearth_ds_file_close(f);
	t[4] = clock_mono_ns();
	if (r < 0)
		return r;
	hist_record(&h->open, t[1] - t[0]);
	hist_record(&h->reg, t[2] - t[1]);
	hist_record(&h->release, t[3] - t[2]);
	hist_record(&h->close, t[4] - t[3]);
	return 0;
}

static double median_us(const struct hist *h)
{
	return (double)hist_quantile(h, 0.5) / 1e3;
}

static int measure_handles(struct bench *b, struct hearth_err *err)
{
	struct handles *h = calloc(1, sizeof(*h));
	int r = h ? 0 : err_set(err, -ENOMEM, "out of memory");
	json_t *o;

	for (int k = 0; k < HANDLES && r == 0; k++) {
		r = one_handle(b, h);
		if (r < 0)
			ds_cli_err(err, r);
	}
	if (r == 0 && !b->c.cli->json)
		printf("open %.2f us, register %.2f us, release %.2f us, close %.2f us (medians of %d)\n", median_us(&h->open), median_us(&h->reg), median_us(&h->release), median_us(&h->close), HANDLES);
	if (r == 0 && b->c.cli->json) {
		o = json_pack("{s:b,s:f,s:f,s:f,s:f}", "ok", 1, "open_us", median_us(&h->open), "register_us", median_us(&h->reg), "release_us", median_us(&h->release), "close_us", median_us(&h->close));
		r = o && cli_print_json(o) == CLI_OK ? 0 : err_set(err, -EIO, "standard output cannot be written");
		json_decref(o);
	}
	free(h);
	return r;
}

/* ---- the command ---- */

static int open_file(struct bench *b, struct hearth_err *err)
{
	int r = hearth_ds_file(b->c.ds, AT_FDCWD, b->path, b->write ? O_RDWR : O_RDONLY, &b->file);
	int64_t bytes = r < 0 ? r : hearth_ds_file_bytes(b->file);

	if (bytes < 0)
		return ds_cli_err(err, (int)bytes);
	b->blocks = (uint64_t)bytes / b->block;
	if (b->blocks == 0)
		return err_set(err, -EINVAL, "%s has %lld bytes: not one block of %llu", b->path, (long long)bytes, (unsigned long long)b->block);
	return 0;
}

int ds_bench(struct cli *cli, int argc, char **argv)
{
	struct bench b = { .block = 1 << 20, .depth = 32, .queues = 1, .seconds = 5, .seed = 1 };
	struct lane *lanes;
	struct hearth_err err = { 0 };
	int r = options(cli, &b, argc, argv);

	if (r != CLI_OK)
		return r;
	lanes = calloc(b.queues, sizeof(*lanes));
	r = lanes ? ds_cli_open(&b.c, cli, &b.o, b.device, b.block * b.depth * b.queues, &err) : err_set(&err, -ENOMEM, "out of memory");
	if (r == 0)
		r = open_file(&b, &err);
	if (r == 0)
		r = b.handles ? measure_handles(&b, &err) : measure(&b, lanes, &err);
	r = r < 0 ? cli_fail(cli, &err) : CLI_OK;
	ds_cli_close(&b.c);
	free(lanes);
	return r;
}
