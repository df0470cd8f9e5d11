// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/yaml.h"
#include "cli.h"
#include "farmem/pool.h"
#include "farmem/pool_server.h"

/* hearth pool: a main around the pool's server, and its keys. */

/* pages that are looked at between two looks at the connections */
#define TIDY_PAGES 32u
#define EASE_MS 1000

struct pool_cli {
	struct pool_server_options serve;
	char own_place[4200];
	const char *status, *print_access, *new_key;
};

static bool read_bytes(const char *text, uint64_t *ret)
{
	return parse_bytes(text, ret) == 0 && *ret;
}

/* Seconds: a number and nothing else. */
static bool read_number(const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 0);
	return !errno && end != text && !*end && *text != '-';
}

static const char *take_option(struct pool_cli *c, int o)
{
	switch (o) {
	case 'l':
		if (c->serve.n_listen == POOL_SERVER_PLACES)
			return "there are more places than it can listen at (8)";
		c->serve.listen[c->serve.n_listen++] = optarg;
		return NULL;
	case 'm':
		return read_bytes(optarg, &c->serve.memory_bytes) ? NULL : "--memory is a number of bytes: 512MiB, 8GiB";
	case 'q':
		return read_bytes(optarg, &c->serve.quota_bytes) ? NULL : "--quota is a number of bytes: 512MiB, 8GiB";
	case 'L':
		return read_number(optarg, &c->serve.lease_s) && c->serve.lease_s <= 365 * 86400 ? NULL : "--lease is a number of seconds, at most a year; 0: never";
	case 'k':
		c->serve.key_file = optarg;
		return NULL;
	case 's':
		c->status = optarg;
		return NULL;
	case 'a':
		c->print_access = optarg;
		return NULL;
	case 'n':
		c->new_key = optarg;
		return NULL;
	default:
		return "no such option";
	}
}

/* ---- the server ---- */

/* With the port that was picked. */
static void name_place(char *place, size_t n, const char *uri, uint16_t port)
{
	const char *colon = strrchr(uri, ':');

	if (port && colon)
		snprintf(place, n, "%.*s:%u", (int)(colon - uri), uri, (unsigned)port);
	else
		snprintf(place, n, "%s", uri);
}

static int say_ready(const struct cli *cli, const struct pool_server *s, const struct pool_server_options *o)
{
	json_t *places = json_array(), *all;
	char place[4200];
	int r = CLI_OK;

	for (unsigned k = 0; k < o->n_listen; k++) {
		name_place(place, sizeof(place), o->listen[k], pool_server_port(s, k));
		json_array_append_new(places, json_string(place));
		if (!cli->json)
			printf("%s\n", place);
	}
	all = json_pack("{so}", "places", places);
	if (cli->json)
		r = cli_print_json(all);
	json_decref(all);
	return fflush(stdout) ? CLI_FAILED : r;
}

static void say_end(const struct pool_server *s)
{
	struct pool_server_stat st;

	pool_server_stat(s, &st);
	log_info("pool: ends; %llu pages put, %llu given, %llu connections, %llu refused, %llu objects of vanished nodes forgotten", (unsigned long long)st.put_pages, (unsigned long long)st.got_pages,
		 (unsigned long long)st.accepted, (unsigned long long)st.refused, (unsigned long long)st.forgotten_objects);
}

/* Until a signal ends it. With nothing else to do it compresses, then gives memory back. */
static int serve_loop(struct pool_server *s, int signals)
{
	struct pollfd fds[2] = { { .fd = pool_server_fd(s), .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	bool more = true, uneasy = true;

	for (;;) {
		int n = poll(fds, 2, more ? 0 : uneasy ? EASE_MS : -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			return 0;
		if (n > 0) {
			pool_server_work(s);
			more = uneasy = true;
		} else if (more) {
			more = pool_server_tidy(s, TIDY_PAGES) > 0;
		} else {
			uneasy = pool_server_ease(s);
		}
	}
}

static int serve(struct cli *cli, struct pool_cli *c)
{
	struct pool_server_options *o = &c->serve;
	struct pool_server *s;
	struct hearth_err err;
	int FD_AUTO signals = -1, r;

	if (!o->n_listen) {
		snprintf(c->own_place, sizeof(c->own_place), "unix:%s/pool.sock", cli->run_dir);
		o->listen[o->n_listen++] = c->own_place;
		r = dir_make(cli->run_dir, 0700);
		if (r < 0)
			return err_set(&err, r, "%s: %s", cli->run_dir, strerror(-r)), cli_fail(cli, &err);
	}
	signals = fd_stop_signals();
	if (signals < 0)
		return err_set(&err, signals, "cannot wait for signals: %s", strerror(-signals)), cli_fail(cli, &err);
	if (pool_server_open(o, &s, &err) < 0)
		return cli_fail(cli, &err);
	r = say_ready(cli, s, o);
	if (r == CLI_OK && serve_loop(s, signals) < 0)
		r = CLI_FAILED;
	say_end(s);
	pool_server_close(s);
	return r;
}

/* ---- looking at one ---- */

static void asked(struct pool_op *op)
{
	*(bool *)op->ctx = true;
}

static int print_status(const struct cli *cli, const struct pool_stat *st)
{
	char stored[32], quota[32];
	json_t *o;
	int r;

	if (!cli->json) {
		printf("%llu pages (%llu of zeros, %llu shared), %s of %s\n", (unsigned long long)st->pages, (unsigned long long)st->zero_pages, (unsigned long long)st->shared_pages,
		       cli_bytes(stored, sizeof(stored), (double)st->stored_bytes), cli_bytes(quota, sizeof(quota), (double)st->quota_bytes));
		return CLI_OK;
	}
	o = json_pack("{sI sI sI sI sI}", "pages", (json_int_t)st->pages, "zero_pages", (json_int_t)st->zero_pages, "shared_pages", (json_int_t)st->shared_pages,
		      "stored_bytes", (json_int_t)st->stored_bytes, "memory_bytes", (json_int_t)st->quota_bytes);
	r = cli_print_json(o);
	json_decref(o);
	return r;
}

static int status(struct cli *cli, const struct pool_cli *c)
{
	struct pool_options options = { .key_file = c->serve.key_file };
	struct pool_stat st = { 0 };
	bool done = false;
	struct pool_op op = { .kind = POOL_STAT, .stat = &st, .done = asked, .ctx = &done };
	struct hearth_err err;
	struct pool *pool;

	if (pool_open(c->status, &options, &pool, &err) < 0)
		return cli_fail(cli, &err);
	pool_submit(pool, &op);
	while (!done) {
		struct pollfd fd = { .fd = pool_fd(pool), .events = POLLIN };

		(void)poll(&fd, 1, -1);
		pool_work(pool);
	}
	pool_close(pool);
	if (op.result < 0)
		return err_set(&err, op.result, "%s: %s", c->status, op.result == -EACCES ? "it does not take these keys, or needs some (--key-file)" : strerror(-op.result)), cli_fail(cli, &err);
	return print_status(cli, &st);
}

static int new_key(struct cli *cli, const char *text)
{
	struct hearth_err err;
	int r = pool_key_new(stdout, text);

	if (r == -EINVAL)
		return cli_usage(cli, "--new-key wants a tenant's number, or its name, which begins with a letter or _");
	return r < 0 ? err_set(&err, r, "no random numbers"), cli_fail(cli, &err) : CLI_OK;
}

int cmd_pool(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", 1, NULL, 'l' }, { "memory", 1, NULL, 'm' }, { "quota", 1, NULL, 'q' }, { "lease", 1, NULL, 'L' }, { "key-file", 1, NULL, 'k' }, { "status", 1, NULL, 's' },
		{ "print-access", 1, NULL, 'a' }, { "new-key", 1, NULL, 'n' }, { 0 },
	};
	struct pool_cli c = { 0 };
	struct hearth_err err;
	const char *wrong;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		wrong = take_option(&c, o);
		if (wrong)
			return cli_usage(cli, wrong);
	}
	if (optind < argc)
		return cli_usage(cli, "it takes options only");
	if (!!c.status + !!c.print_access + !!c.new_key + !!c.serve.n_listen > 1)
		return cli_usage(cli, "--listen, --status, --new-key and --print-access are four different things");
	if (c.print_access)
		return pool_key_access(stdout, c.print_access, &err) < 0 ? cli_fail(cli, &err) : CLI_OK;
	if (c.new_key)
		return new_key(cli, c.new_key);
	return c.status ? status(cli, &c) : serve(cli, &c);
}
