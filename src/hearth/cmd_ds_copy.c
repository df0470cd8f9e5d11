/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "ds_cli.h"

#define WINDOW_BYTES (256ull << 20)     /* of memory on the device, and of what is copied between two looks at the clock; whole pieces of a digest */
#define STEP_BYTES (64ull << 20)
#define DIGEST_THREADS 4

/* A file to a device's memory, or over memory of the process to another file. */
struct copy {
	struct ds_cli c;
	const char *from, *to;
	bool verify, to_device;
	struct hearth_ds_options o;
	struct hearth_ds_file *in, *out;
	uint64_t bytes, window, elapsed_ns;
	struct digest *pieces;          /* of what is on the device */
	struct digest source, target;
};

static int options(struct cli *cli, struct copy *k, int argc, char **argv)
{
	static const struct option longs[] = { { "verify", 0, NULL, 'v' }, { "path", 1, NULL, 'p' }, { 0 } };
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'v')
			k->verify = true;
		else if (c != 'p' || ds_cli_path(optarg, &k->o.path) < 0)
			return cli_usage(cli, c == 'p' ? "--path is auto, map, cufile, stage or host" : "unknown option, or one that lacks its value");
	}
	if (argc - optind != 2)
		return cli_usage(cli, "copy takes a file, and a file or device");
	k->from = argv[optind];
	k->to = argv[optind + 1];
	k->to_device = ds_cli_is_device(k->to);
	return CLI_OK;
}

static int open_files(struct copy *k, struct hearth_err *err)
{
	int r = hearth_ds_file(k->c.ds, AT_FDCWD, k->from, O_RDONLY, &k->in);
	int64_t bytes;

	if (r == 0 && !k->to_device)
		r = hearth_ds_file(k->c.ds, AT_FDCWD, k->to, O_RDWR | O_CREAT | O_TRUNC, &k->out);
	if (r < 0)
		return ds_cli_err(err, r);
	bytes = hearth_ds_file_bytes(k->in);
	if (bytes < 0)
		return ds_cli_err(err, (int)bytes);
	k->bytes = (uint64_t)bytes;
	return 0;
}

/* the same file under another name would be emptied before it is read */
static int refuse_itself(const struct copy *k, struct hearth_err *err)
{
	struct stat a, b;

	if (!k->to_device && stat(k->from, &a) == 0 && stat(k->to, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		return err_set(err, -EINVAL, "%s and %s are the same file", k->from, k->to);
	return 0;
}

/* one window of what the device holds, in the pieces that digest_file() makes */
static int digest_window(struct copy *k, uint64_t at, uint64_t n, struct hearth_err *err)
{
	uint8_t *piece = malloc(DIGEST_PIECE_BYTES);
	int r = piece ? 0 : err_set(err, -ENOMEM, "out of memory");

	for (uint64_t done = 0, len; done < n && r == 0; done += len) {
		len = n - done < DIGEST_PIECE_BYTES ? n - done : DIGEST_PIECE_BYTES;
		r = device_memory_get(k->c.own, done, piece, len, err);
		if (r == 0)
			k->pieces[(at + done) / DIGEST_PIECE_BYTES] = digest_mem(piece, len);
	}
	free(piece);
	return r;
}

/* Return: 0, -errno */
static int move(struct copy *k, uint64_t at, uint64_t n, struct hearth_err *err)
{
	for (uint64_t done = 0, len; done < n; done += len) {
		ssize_t r;

		len = n - done < STEP_BYTES ? n - done : STEP_BYTES;
		r = hearth_ds_read(k->in, k->c.memory, done, at + done, len);
		if (r >= 0 && (uint64_t)r < len)
			return err_set(err, -EIO, "%s became shorter meanwhile", k->from);
		if (r >= 0 && k->out)
			r = hearth_ds_write(k->out, k->c.memory, done, at + done, len);
		if (r < 0)
			return ds_cli_err(err, (int)r);
		ds_cli_progress(&k->c, "copy", at + done + len, k->bytes);
	}
	return 0;
}

static int copy_all(struct copy *k, struct hearth_err *err)
{
	int r = 0;

	for (uint64_t at = 0, n; at < k->bytes && r == 0; at += n) {
		uint64_t began = clock_mono_ns();

		n = k->bytes - at < k->window ? k->bytes - at : k->window;
		r = move(k, at, n, err);
		k->elapsed_ns += clock_mono_ns() - began;
		if (r == 0 && k->verify && k->to_device)
			r = digest_window(k, at, n, err);
	}
	ds_cli_progress_end(&k->c);
	return r;
}

static int verify(struct copy *k, struct hearth_err *err)
{
	size_t n = (k->bytes + DIGEST_PIECE_BYTES - 1) / DIGEST_PIECE_BYTES;
	char a[DIGEST_HEX_LEN + 1], b[DIGEST_HEX_LEN + 1];
	int r = digest_file(AT_FDCWD, k->from, DIGEST_THREADS, &k->source, NULL);

	if (r < 0)
		return err_set(err, r, "%s: %s", k->from, strerror(-r));
	if (k->to_device) {
		k->target = n == 0 ? digest_mem("", 0) : n == 1 ? k->pieces[0] : digest_mem(k->pieces, n * sizeof(*k->pieces));
	} else {
		r = digest_file(AT_FDCWD, k->to, DIGEST_THREADS, &k->target, NULL);
		if (r < 0)
			return err_set(err, r, "%s: %s", k->to, strerror(-r));
	}
	if (digest_equal(k->source, k->target))
		return 0;
	digest_to_hex(k->source, a);
	digest_to_hex(k->target, b);
	return err_set(err, -EBADMSG, "what arrived is not what was sent: %s is %s, %s is %s", k->from, a, k->to, b);
}

static int report(struct copy *k)
{
	struct hearth_ds_report r = { 0 };
	double seconds = (double)k->elapsed_ns / 1e9, rate = seconds > 0 ? (double)k->bytes / 1e9 / seconds : 0;
	char hex[DIGEST_HEX_LEN + 1] = "", text[32];
	json_t *o;
	int rc;

	if (hearth_ds_probe(k->in, k->c.memory, &r) < 0)
		return CLI_FAILED;
	if (k->verify)
		digest_to_hex(k->source, hex);
	if (!k->c.cli->json) {
		printf("%s -> %s: %s in %.3f s, %.2f GB/s, by %s%s%s\n", k->from, k->to, cli_bytes(text, sizeof(text), (double)k->bytes), seconds, rate, hearth_ds_path_name(r.path),
		       k->verify ? "; both sides are " : "", hex);
		return CLI_OK;
	}
	o = json_pack("{s:b,s:s,s:s,s:I,s:f,s:f,s:s,s:b}", "ok", 1, "from", k->from, "to", k->to, "bytes", (json_int_t)k->bytes, "seconds", seconds, "gb_s", rate, "path", hearth_ds_path_name(r.path),
		      "verified", k->verify);
	if (o && k->verify)
		json_object_set_new(o, "digest", json_string(hex));
	rc = o ? cli_print_json(o) : CLI_FAILED;
	json_decref(o);
	return rc;
}

int ds_copy(struct cli *cli, int argc, char **argv)
{
	struct copy k = { 0 };
	struct hearth_err err = { 0 };
	struct stat st;
	int r = options(cli, &k, argc, argv);

	if (r != CLI_OK)
		return r;
	r = stat(k.from, &st) < 0 ? err_set(&err, -errno, "%s: %s", k.from, strerror(errno)) : refuse_itself(&k, &err);
	if (r < 0)
		return cli_fail(cli, &err);
	/* whole pieces, no more of them than there are */
	k.window = S_ISREG(st.st_mode) && (uint64_t)st.st_size < WINDOW_BYTES ? ((uint64_t)st.st_size / DIGEST_PIECE_BYTES + 1) * DIGEST_PIECE_BYTES : WINDOW_BYTES;
	r = ds_cli_open(&k.c, cli, &k.o, k.to_device ? k.to : "host", k.window, &err);
	if (r == 0)
		r = open_files(&k, &err);
	if (r == 0 && k.verify && k.to_device) {
		k.pieces = calloc(k.bytes / DIGEST_PIECE_BYTES + 1, sizeof(*k.pieces));
		r = k.pieces ? 0 : err_set(&err, -ENOMEM, "out of memory");
	}
	if (r == 0)
		r = copy_all(&k, &err);
	if (r == 0 && k.verify)
		r = verify(&k, &err);
	r = r < 0 ? cli_fail(cli, &err) : report(&k);
	ds_cli_close(&k.c);
	free(k.pieces);
	return r;
}
