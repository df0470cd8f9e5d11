// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "ckpt/keeper.h"
#include "ckpt/store.h"
#include "cli.h"
#include "node/node.h"

/* Images of programs, in the stores: the one on the disk and the one in memory, unless --store names another. Works without a daemon, beside everybody who uses the stores. */

struct shelf {
	char dir[2][PATH_MAX];
	struct store *store[2];         /* NULL: there is none */
	unsigned n;
};

struct options { const char *store; bool all; };

/* ---- which stores ---- */

/* opening one makes it, which a look at it must not */
static bool exists(const char *dir)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/store.json", dir);
	return access(path, F_OK) == 0 || errno != ENOENT;
}

/* a folder with images but without store.json is a damaged store, and is said to be: store_open() does */
static bool has_images(const char *dir)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/images", dir);
	return access(path, F_OK) == 0;
}

static int default_dirs(struct shelf *s, struct hearth_err *err)
{
	struct node_config cfg;
	int r = node_config_init(&cfg, err);

	if (r < 0)
		return r;
	snprintf(s->dir[0], PATH_MAX, "%s/store", cfg.state_dir);
	node_config_done(&cfg);
	if (geteuid() == 0)
		snprintf(s->dir[1], PATH_MAX, "/dev/shm/hearth/store");
	else
		snprintf(s->dir[1], PATH_MAX, "/dev/shm/hearth-%u/store", geteuid());
	s->n = 2;
	return 0;
}

static void shelf_close(struct shelf *s)
{
	for (unsigned k = 0; k < s->n; k++)
		store_close(s->store[k]);
}

static int shelf_open(struct shelf *s, const char *dir, struct hearth_err *err)
{
	int r = 0;

	if (dir) {
		snprintf(s->dir[0], PATH_MAX, "%s", dir);
		s->n = 1;
		if (!exists(dir) && !has_images(dir))
			return err_set(err, -ENOENT, "%s is no store: there is no store.json in it", dir);
	} else {
		r = default_dirs(s, err);
	}
	for (unsigned k = 0; k < s->n && r == 0; k++)
		if (exists(s->dir[k]) || has_images(s->dir[k]))
			r = store_open(s->dir[k], &s->store[k], err);
	return r;
}

/* the store that has it. Return: 0, -ENOENT, -EEXIST (both do), -errno. */
static int shelf_find(struct shelf *s, const char *name, unsigned *ret, struct hearth_err *err)
{
	unsigned found = 0;
	char path[2 * PATH_MAX];

	for (unsigned k = 0; k < s->n; k++) {
		snprintf(path, sizeof(path), "%s/images/%s", s->dir[k], name);
		if (s->store[k] && *name && *name != '.' && !strchr(name, '/') && access(path, F_OK) == 0) {
			*ret = k;
			found++;
		}
	}
	if (found == 0)
		return err_set(err, -ENOENT, "there is no image %s%s%s; hearth images lists those that are", name, s->n == 1 ? " in " : "", s->n == 1 ? s->dir[0] : "");
	if (found > 1)
		return err_set(err, -EEXIST, "both stores have an image %s: say which with --store %s or --store %s", name, s->dir[0], s->dir[1]);
	return 0;
}

/* ---- ls ---- */

static json_t *entry_json(const char *dir, const struct store_entry *e)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:O?}", "name", e->name, "store", dir, "created_ns", (json_int_t)e->created_ns, "bytes", (json_int_t)e->bytes,
			 "own_bytes", (json_int_t)e->own_bytes, "shared_bytes", (json_int_t)e->shared_bytes, "damaged", e->damaged, "meta", e->meta);
}

static void entry_print(const char *dir, const struct store_entry *e)
{
	char bytes[32], own[32], shared[32], when[32] = "?";
	time_t t = (time_t)(e->created_ns / NS_PER_S);
	struct tm tm;

	if (localtime_r(&t, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	if (e->damaged)
		printf("%-32s %-19s %10s %10s %10s  %s\n", e->name, when, "damaged", "", "", dir);
	else
		printf("%-32s %-19s %10s %10s %10s  %s\n", e->name, when, cli_bytes(bytes, sizeof(bytes), (double)e->bytes), cli_bytes(own, sizeof(own), (double)e->own_bytes),
		       cli_bytes(shared, sizeof(shared), (double)e->shared_bytes), dir);
}

/* one list for all stores, or lines. Return: 0, -errno. */
static int each_entry(struct shelf *s, json_t *list, struct hearth_err *err)
{
	for (unsigned k = 0; k < s->n; k++) {
		struct store_entry *e;
		size_t n;
		int r = s->store[k] ? store_list(s->store[k], &e, &n, err) : 0;

		if (r < 0)
			return r;
		for (size_t i = 0; s->store[k] && i < n; i++) {
			if (list)
				json_array_append_new(list, entry_json(s->dir[k], &e[i]));
			else
				entry_print(s->dir[k], &e[i]);
		}
		if (s->store[k])
			store_list_free(e, n);
	}
	return 0;
}

static int say_list(const struct cli *cli, const char *key, json_t *list, bool ok)
{
	json_t *o = json_pack("{s:b, s:O}", "ok", ok, key, list);
	int r = o ? cli_print_json(o) : CLI_FAILED;

	(void)cli;
	json_decref(o);
	return ok ? r : CLI_FAILED;
}

static int do_ls(struct cli *cli, struct shelf *s, const struct options *o, int argc, char **argv)
{
	json_t *list = cli->json ? json_array() : NULL;
	struct hearth_err err;
	int r;

	(void)o;
	(void)argv;
	if (argc > 0) {
		json_decref(list);
		return cli_usage(cli, "ls takes no names");
	}
	if (!cli->json)
		printf("%-32s %-19s %10s %10s %10s  %s\n", "IMAGE", "CREATED", "BYTES", "OWN", "SHARED", "STORE");
	r = each_entry(s, list, &err);
	if (r < 0)
		r = cli_fail(cli, &err);
	else if (cli->json)
		r = say_list(cli, "images", list, true);
	json_decref(list);
	return r;
}

/* ---- du ---- */

static json_t *usage_json(const char *dir, const struct store_usage *u)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "store", dir, "images", (json_int_t)u->images, "damaged", (json_int_t)u->damaged, "packs", (json_int_t)u->packs,
			 "bytes", (json_int_t)u->bytes, "live_bytes", (json_int_t)u->live_bytes, "pack_bytes", (json_int_t)u->pack_bytes);
}

static void usage_print(const char *dir, const struct store_usage *u)
{
	char bytes[32], live[32], packs[32];

	printf("%-32s %8llu %10s %10s %10s %6llu\n", dir, (unsigned long long)u->images, cli_bytes(bytes, sizeof(bytes), (double)u->bytes),
	       cli_bytes(live, sizeof(live), (double)u->live_bytes), cli_bytes(packs, sizeof(packs), (double)u->pack_bytes), (unsigned long long)u->packs);
}

static int do_du(struct cli *cli, struct shelf *s, const struct options *o, int argc, char **argv)
{
	json_t *list = json_array();
	struct store_usage u;
	struct hearth_err err;
	int r = 0;

	(void)o;
	(void)argv;
	if (argc > 0) {
		json_decref(list);
		return cli_usage(cli, "du takes no names");
	}
	if (!cli->json)
		printf("%-32s %8s %10s %10s %10s %6s\n", "STORE", "IMAGES", "BYTES", "LIVE", "ON DISK", "PACKS");
	for (unsigned k = 0; k < s->n && r == 0; k++) {
		if (!s->store[k])
			continue;
		r = store_usage(s->store[k], &u, &err);
		if (r == 0 && cli->json)
			json_array_append_new(list, usage_json(s->dir[k], &u));
		else if (r == 0)
			usage_print(s->dir[k], &u);
	}
	if (r < 0)
		r = cli_fail(cli, &err);
	else if (cli->json)
		r = say_list(cli, "stores", list, true);
	json_decref(list);
	return r;
}

/* ---- verify ---- */

static int verify_one(struct store *s, const char *name, struct hearth_err *err)
{
	struct store_image *img;
	int r = store_image_open(s, name, &img, err);

	if (r < 0)
		return r;
	r = store_image_verify(img, 0, err);
	store_image_close(img);
	return r;
}

static bool verify_and_say(const struct cli *cli, struct shelf *s, unsigned k, const char *name, json_t *list)
{
	struct hearth_err err = { .msg = "" };
	int r = verify_one(s->store[k], name, &err);
	json_t *o;

	if (!cli->json) {
		if (r == 0)
			printf("%s: ok\n", name);
		else
			fprintf(stderr, "hearth: %s\n", err.msg);
		fflush(stdout);
		return r == 0;
	}
	o = json_pack("{s:s, s:s, s:b}", "name", name, "store", s->dir[k], "ok", r == 0);
	if (o && r < 0) {
		json_object_set_new(o, "error", json_string(err.msg));
		json_object_set_new(o, "code", json_integer(r));
	}
	json_array_append_new(list, o);
	return r == 0;
}

/* Return: CLI_OK, CLI_FAILED (said already). @ok: all are whole */
static int verify_all(const struct cli *cli, struct shelf *s, json_t *list, bool *ok)
{
	struct store_entry *e;
	struct hearth_err err;
	size_t n;

	for (unsigned k = 0; k < s->n; k++) {
		if (!s->store[k])
			continue;
		if (store_list(s->store[k], &e, &n, &err) < 0)
			return cli_fail(cli, &err);
		for (size_t i = 0; i < n; i++)
			*ok &= verify_and_say(cli, s, k, e[i].name, list);
		store_list_free(e, n);
	}
	return CLI_OK;
}

static int do_verify(struct cli *cli, struct shelf *s, const struct options *o, int argc, char **argv)
{
	json_t *list;
	struct hearth_err err;
	bool ok = true;
	unsigned k = 0;
	int r = CLI_OK;

	if (o->all ? argc > 0 : argc == 0)
		return cli_usage(cli, "verify takes names, or --all");
	list = json_array();
	if (o->all)
		r = verify_all(cli, s, list, &ok);
	for (int i = 0; i < argc && r == CLI_OK; i++) {
		if (shelf_find(s, argv[i], &k, &err) < 0)
			r = cli_fail(cli, &err);
		else
			ok &= verify_and_say(cli, s, k, argv[i], list);
	}
	if (r == CLI_OK && cli->json)
		r = say_list(cli, "images", list, ok);
	json_decref(list);
	return r == CLI_OK && !ok ? CLI_FAILED : r;
}

/* ---- rm ---- */

/* device memory that a parked program left under the image's name is of no use without it. Without a keeper there is none. */
static void release_held(struct cli *cli, struct store *store, const char *image)
{
	struct store_image *img = NULL;
	struct keeper *k = NULL;
	struct hearth_err none;
	char path[PATH_MAX], *name = NULL;

	if (store_image_open(store, image, &img, &none) == 0)
		name = strdup(json_string_value(json_object_get(json_object_get(store_image_meta(img), "gpu"), "hold")) ?: "");
	store_image_close(img);
	snprintf(path, sizeof(path), "%s/keeper.sock", cli->run_dir);
	if (name && *name && keeper_connect(path, &k, &none) == 0)
		(void)keeper_release_held(k, name, &none);
	keeper_close(k);
	free(name);
}

static int do_rm(struct cli *cli, struct shelf *s, const struct options *o, int argc, char **argv)
{
	json_t *list = json_array();
	struct hearth_err err;
	int r = CLI_OK;
	unsigned k = 0;

	(void)o;
	if (argc == 0) {
		json_decref(list);
		return cli_usage(cli, "rm takes names");
	}
	/* a wrong name is found before anything is removed */
	for (int i = 0; i < argc && r == CLI_OK; i++)
		if (shelf_find(s, argv[i], &k, &err) < 0)
			r = cli_fail(cli, &err);
	for (int i = 0; i < argc && r == CLI_OK; i++) {
		if (shelf_find(s, argv[i], &k, &err) == 0)
			release_held(cli, s->store[k], argv[i]);
		if (shelf_find(s, argv[i], &k, &err) < 0 || store_rm(s->store[k], argv[i], &err) < 0)
			r = cli_fail(cli, &err);
		else
			json_array_append_new(list, json_string(argv[i]));
	}
	if (r == CLI_OK && cli->json)
		r = say_list(cli, "removed", list, true);
	json_decref(list);
	return r;
}

/* ---- the command ---- */

static const struct verb {
	const char *name;
	int (*run)(struct cli *cli, struct shelf *s, const struct options *o, int argc, char **argv);
} verbs[] = { { "ls", do_ls }, { "verify", do_verify }, { "rm", do_rm }, { "du", do_du } };

static const struct verb *verb_of(const char *name)
{
	for (size_t k = 0; k < sizeof(verbs) / sizeof(*verbs); k++)
		if (!strcmp(verbs[k].name, name))
			return &verbs[k];
	return NULL;
}

int cmd_images(struct cli *cli, int argc, char **argv)
{
	static const struct option longs[] = { { "store", 1, NULL, 's' }, { "all", 0, NULL, 'a' }, { 0 } };
	static struct shelf shelf;      /* its paths are long */
	struct options o = { 0 };
	const struct verb *verb;
	struct hearth_err err;
	int c, r;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's' && *optarg && strlen(optarg) < PATH_MAX / 2)
			o.store = optarg;
		else if (c == 'a')
			o.all = true;
		else
			return cli_usage(cli, "unknown option, or one that lacks its value");
	}
	verb = verb_of(optind < argc ? argv[optind] : "ls");
	if (!verb)
		return cli_usage(cli, "ls, verify, rm or du");
	if (o.all && verb->run != do_verify)
		return cli_usage(cli, "--all is for verify");
	optind += optind < argc;
	r = shelf_open(&shelf, o.store, &err);
	r = r < 0 ? cli_fail(cli, &err) : verb->run(cli, &shelf, &o, argc - optind, argv + optind);
	shelf_close(&shelf);
	return r;
}
