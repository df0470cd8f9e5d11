/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/yaml.h"
#include "ds_bench.h"

#define HANDLES 1000                    /* how often opening and registering are measured, */
#define STARTS 5                        /* and how often starting the library */
#define QUEUES_MAX 256
#define DEPTH_MAX 4096
#define SECONDS_MAX 86400
#define VERIFY_BYTES (64ull << 20)      /* of memory, for what is read between two looks at it */

/* ---- options ---- */

static int number(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t n;

	if (parse_bytes(text, &n) < 0 || n == 0 || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int seconds(const char *text, uint64_t *ret_ns)
{
	char *end;
	double s = strtod(text, &end);

	if (end == text || *end || !isfinite(s) || s < 1e-3 || s > SECONDS_MAX)
		return -EINVAL;
	*ret_ns = (uint64_t)(s * NS_PER_S);
	return 0;
}

static int way(const char *text, const struct bench_way **ret)
{
	static const struct bench_way *const ways[] = { &bench_hearth, &bench_pread, &bench_uring, &bench_cufile };

	for (size_t k = 0; k < sizeof(ways) / sizeof(ways[0]); k++)
		if (strcmp(text, ways[k]->name) == 0) {
			*ret = ways[k];
			return 0;
		}
	return -EINVAL;
}

static int option(struct bench *b, int c, const char *text)
{
	static const char *const caches[] = { "auto", "never", "always" };
	uint64_t n = 0;
	int r = 0;

	switch (c) {
	case 'b': return number(text, 1ull << 32, &b->block);
	case 's': return seconds(text, &b->run_ns);
	case 'R': return number(text, 1ull << 34, &b->o.ring_bytes);
	case 'p': return ds_cli_path(text, &b->o.path);
	case 'd': r = number(text, DEPTH_MAX, &n); b->depth = (unsigned)n; return r;
	case 'i': r = number(text, DEPTH_MAX, &n); b->io_depth = (unsigned)n; return r;
	case 'q': r = number(text, QUEUES_MAX, &n); b->queues = (unsigned)n; return r;
	case 't': r = number(text, 64, &n); b->o.threads = (uint32_t)n; return r;
	case 'S': return number(text, UINT32_MAX, &b->seed);
	case 'B': return way(text, &b->way);
	case 'y': b->sync = true; return 0;
	case 'r': b->random = true; return 0;
	case 'w': b->write = true; return 0;
	case 'h': b->handles = true; return 0;
	case 'a': b->batch = true; return 0;
	case 'm': b->stream = b->batch = true; return 0;
	case 'e': b->whole = b->sync = true; return 0;
	case 'v': b->verify = true; return 0;
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

/* Return: a sentence, or NULL. */
static const char *contradiction(const struct bench *b)
{
	if (strncmp(b->device, b->way->kind, strlen(b->way->kind)) != 0)
		return b->way == &bench_cufile ? "--by cufile is for devices cuda:N" : "--by pread and --by uring read into memory of the process: the device is host";
	if (b->sync && !b->way->one && !b->handles)
		return "--by uring has no --sync and no --end-to-end";
	if (!b->sync && !b->handles && !(b->stream ? b->way->stream : b->way->queue))
		return b->stream ? "--by uring and --by pread have no --stream" : "--by pread has no queue: it needs --sync or --end-to-end";
	if (b->sync && b->batch)
		return "--batch and --stream are about queues: not with --sync or --end-to-end";
	if (b->whole && b->queues > 1)
		return "--end-to-end is one after the other: no --queues";
	if (b->verify && b->write && b->random)
		return "--verify of writes is in order: no --random";
	return NULL;
}

static int options(struct cli *cli, struct bench *b, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "block", 1, NULL, 'b' }, { "depth", 1, NULL, 'd' }, { "io-depth", 1, NULL, 'i' }, { "queues", 1, NULL, 'q' }, { "seconds", 1, NULL, 's' }, { "ring", 1, NULL, 'R' }, { "path", 1, NULL, 'p' },
		{ "threads", 1, NULL, 't' }, { "cache", 1, NULL, 'c' }, { "sync", 0, NULL, 'y' }, { "random", 0, NULL, 'r' }, { "write", 0, NULL, 'w' }, { "handles", 0, NULL, 'h' },
		{ "by", 1, NULL, 'B' }, { "batch", 0, NULL, 'a' }, { "stream", 0, NULL, 'm' }, { "end-to-end", 0, NULL, 'e' }, { "verify", 0, NULL, 'v' }, { "seed", 1, NULL, 'S' }, { 0 },
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
	return contradiction(b) ? cli_usage(cli, contradiction(b)) : CLI_OK;
}

/* ---- the result ---- */

static const char *order_of(const struct bench *b)
{
	return b->whole ? "from open to close" : b->sync ? "one at a time" : b->stream ? "in a stream" : b->batch ? "in batches" : "queued";
}

static double us(const struct bench_sum *s, double q)
{
	return (double)hist_quantile(&s->ns, q) / 1e3;
}

static int print_result(const struct bench *b, const struct bench_sum *s)
{
	double gb = (double)s->bytes / 1e9, mean = s->ns.count ? (double)s->ns.sum / (double)s->ns.count / 1e3 : 0;
	json_t *o;
	int rc;

	if (!b->c.cli->json) {
		printf("%s %s %s in blocks of %llu, %s, by %s%s%s: %.2f GB/s, %.0f a second; p50 %.1f us, p99 %.1f us, p99.9 %.1f us; %.3f CPU seconds a GB", b->write ? "write" : "read", b->random ? "random" : "in order",
		       b->path, (unsigned long long)b->block, order_of(b), b->way == &bench_hearth ? "" : b->way->name, b->way == &bench_hearth ? "" : ", ", b->text ? b->text : "nothing", gb / s->seconds, (double)s->ops / s->seconds, us(s, 0.5),
		       us(s, 0.99), us(s, 0.999), gb > 0 ? s->cpu / gb : 0);
		if (b->verify)
			printf("; all %llu are right", (unsigned long long)b->verified);
		printf("\n");
		return CLI_OK;
	}
	o = json_pack("{s:b,s:s,s:s,s:I,s:i,s:i,s:b,s:b,s:b,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:I}", "ok", 1, "by", b->way->name, "path", b->text ? b->text : "", "block", (json_int_t)b->block, "depth", (int)b->depth, "queues",
		      (int)b->queues, "sync", b->sync, "random", b->random, "write", b->write, "bytes", (json_int_t)s->bytes, "ops", (json_int_t)s->ops, "seconds", s->seconds, "gb_s", gb / s->seconds, "iops",
		      (double)s->ops / s->seconds, "mean_us", mean, "p50_us", us(s, 0.5), "p99_us", us(s, 0.99), "p999_us", us(s, 0.999), "cpu_s_gb", gb > 0 ? s->cpu / gb : 0.0, "verified", (json_int_t)b->verified);
	rc = o ? cli_print_json(o) : CLI_FAILED;
	json_decref(o);
	return rc;
}

/* ---- reading and writing ---- */

/* what is made at first use is not what is measured */
static int first_use(struct bench *b, struct hearth_err *err)
{
	struct bench_lane *l;
	ssize_t r;

	if (b->write || b->whole || !b->way->one)
		return 0;
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	l->b = b;
	r = b->way->one(l, 0, 0);
	if (r < 0)
		err_set(err, (int)r, "%s", l->text);
	free(l);
	return r < 0 ? (int)r : 0;
}

static int measure(struct bench *b, struct hearth_err *err)
{
	struct bench_sum *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	r = b->verify ? bench_verify_begin(b, err) : 0;
	if (r == 0)
		r = b->way->start(b, err);
	if (r == 0 && !b->whole)
		r = b->way->file(b, err);
	b->reg_bytes = b->places * b->block;
	if (r == 0 && !b->whole)
		r = b->way->reg(b, err);
	if (r == 0)
		r = first_use(b, err);
	if (r == 0)
		r = bench_run(b, s, err);
	if (!b->whole) {
		b->way->release(b);
		b->way->file_close(b);
	}
	b->way->stop(b);
	bench_verify_end(b);
	if (r == 0 && print_result(b, s) != CLI_OK)
		r = err_set(err, -EIO, "standard output cannot be written");
	free(s);
	return r;
}

/* ---- opening and registering ---- */

struct handles { struct hist start, open, reg, release, close, stop; };

static int one_start(struct bench *b, struct handles *h, struct hearth_err *err)
{
	uint64_t t[3];
	int r;

	t[0] = clock_mono_ns();
	r = b->way->start(b, err);
	t[1] = clock_mono_ns();
	b->way->stop(b);
	t[2] = clock_mono_ns();
	hist_record(&h->start, t[1] - t[0]);
	hist_record(&h->stop, t[2] - t[1]);
	return r;
}

static int one_handle(struct bench *b, struct handles *h, struct hearth_err *err)
{
	uint64_t t[5];
	int r;

	t[0] = clock_mono_ns();
	r = b->way->file(b, err);
	t[1] = clock_mono_ns();
	if (r < 0)
		return r;
	r = b->way->reg(b, err);
	t[2] = clock_mono_ns();
	if (r == 0)
		b->way->release(b);
	t[3] = clock_mono_ns();
	b->way->file_close(b);
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

static int print_handles(const struct bench *b, const struct handles *h)
{
	json_t *o;
	int rc;

	if (!b->c.cli->json) {
		printf("open %.2f us, register %.2f us, release %.2f us, close %.2f us (medians of %d); start of the library %.2f us, stop %.2f us (of %d)\n", median_us(&h->open), median_us(&h->reg), median_us(&h->release),
		       median_us(&h->close), HANDLES, median_us(&h->start), median_us(&h->stop), STARTS);
		return CLI_OK;
	}
	o = json_pack("{s:b,s:s,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "ok", 1, "by", b->way->name, "block", (json_int_t)b->block, "start_us", median_us(&h->start), "open_us", median_us(&h->open), "register_us",
		      median_us(&h->reg), "release_us", median_us(&h->release), "close_us", median_us(&h->close), "stop_us", median_us(&h->stop), "first_start_us", (double)h->start.max / 1e3);
	if (o && b->text)
		json_object_set_new(o, "path", json_string(b->text));
	rc = o ? cli_print_json(o) : CLI_FAILED;
	json_decref(o);
	return rc;
}

/* at most as long as a measurement of reads */
static int measure_handles(struct bench *b, struct hearth_err *err)
{
	struct handles *h = calloc(1, sizeof(*h));
	uint64_t until = clock_mono_ns() + b->run_ns;
	int r = 0;

	if (!h)
		return err_set(err, -ENOMEM, "out of memory");
	for (int k = 0; k < STARTS && r == 0; k++)
		r = one_start(b, h, err);
	if (r == 0)
		r = b->way->start(b, err);
	b->reg_bytes = b->block;
	for (int k = 0; k < HANDLES && r == 0 && (k == 0 || clock_mono_ns() < until); k++)
		r = one_handle(b, h, err);
	b->way->stop(b);
	if (r == 0 && print_handles(b, h) != CLI_OK)
		r = err_set(err, -EIO, "standard output cannot be written");
	free(h);
	return r;
}

/* ---- the command ---- */

static int look_at_file(struct bench *b, struct hearth_err *err)
{
	int fd = open(b->path, O_RDONLY | O_CLOEXEC), r = 0;
	struct stat st = { 0 };
	uint64_t bytes = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) < 0))
		r = err_set(err, -errno, "%s: %s", b->path, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (r < 0)
		return r;
	b->blocks = (S_ISBLK(st.st_mode) ? bytes : (uint64_t)st.st_size) / b->block;
	if (b->blocks == 0)
		return err_set(err, -EINVAL, "%s has %lld bytes: not one block of %llu", b->path, (long long)st.st_size, (unsigned long long)b->block);
	return 0;
}

/* With verification each operation of a round has a place of its own: as many as the file has blocks, within bounds. Blocks that are written in a round are all different ones. */
static void set_places(struct bench *b)
{
	uint64_t under_way = (uint64_t)b->depth * b->queues, round = VERIFY_BYTES / b->block < b->blocks ? VERIFY_BYTES / b->block : b->blocks;

	b->places = b->handles ? 1 : under_way;
	if (!b->verify || b->handles)
		return;
	if (b->places < round)
		b->places = round;
	if (b->write && b->places > b->blocks)
		b->places = b->blocks;
}

int ds_bench(struct cli *cli, int argc, char **argv)
{
	struct bench b = { .block = 1 << 20, .depth = 32, .queues = 1, .run_ns = 5 * NS_PER_S, .seed = 1, .way = &bench_hearth, .path = "", .device = "host", .fd = -1 };
	struct hearth_err err = { 0 };
	int r = options(cli, &b, argc, argv);

	if (r != CLI_OK)
		return r;
	b.c.cli = cli;
	b.c.began_ns = clock_mono_ns();
	r = look_at_file(&b, &err);
	set_places(&b);
	if (r == 0)
		r = device_memory_new(b.device, b.places * b.block, &b.c.own, &err);
	if (r == 0)
		r = b.handles ? measure_handles(&b, &err) : measure(&b, &err);
	r = r < 0 ? cli_fail(cli, &err) : CLI_OK;
	ds_cli_close(&b.c);
	free(b.state);
	return r;
}
