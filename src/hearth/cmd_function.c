// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "ckpt/program.h"
#include "cli.h"
#include "program_cli.h"

#define MANIFEST_MAX (256u << 10)

static int deploy_one(struct cli *cli, const char *file, const char *set)
{
	char real[PATH_MAX], *slash, *text = NULL;
	json_t *request, *reply = NULL;
	struct hearth_err err;
	int r;

	if (!realpath(file, real)) {
		err_set(&err, -errno, "manifest %s: %s", file, strerror(errno));
		return cli_fail(cli, &err);
	}
	r = file_read(real, MANIFEST_MAX, &text, NULL);
	if (r < 0) {
		err_set(&err, r, "manifest %s: %s", file, strerror(-r));
		return cli_fail(cli, &err);
	}
	slash = strrchr(real, '/');
	*slash = '\0';
	request = json_pack("{s:s,s:s,s:s,s:s,s:s}", "op", "deploy", "file", file, "base", *real ? real : "/", "text", text, "set", set);
	free(text);
	if (!request) {
		err_set(&err, -EINVAL, "manifest %s: is not UTF-8 text", file);
		return cli_fail(cli, &err);
	}
	r = ctl_call(cli, request, &reply, &err);
	json_decref(request);
	if (r < 0)
		return cli_fail(cli, &err);
	if (cli->json)
		r = cli_print_json(reply);
	else
		printf("%s deployed%s\n", json_string_value(json_object_get(reply, "name")), json_is_true(json_object_get(reply, "changed")) ? "" : " again");
	json_decref(reply);
	return r;
}

/* KEY=VALUE becomes a line of YAML */
static int add_set(struct cli *cli, struct buf *set, const char *arg)
{
	const char *eq = strchr(arg, '=');

	if (!eq || eq == arg || strchr(arg, '\n'))
		return cli_usage(cli, "--set takes KEY=VALUE");
	return buf_printf(set, "%.*s: %s\n", (int)(eq - arg), arg, eq + 1) < 0 ? CLI_FAILED : CLI_OK;
}

int cmd_deploy(struct cli *cli, int argc, char **argv)
{
	struct buf set = { 0 };
	int r = CLI_OK, files = 0;

	for (int i = 1; i < argc && r == CLI_OK; i++) {
		if (!strcmp(argv[i], "--set") && i + 1 < argc)
			r = add_set(cli, &set, argv[++i]);
		else if (argv[i][0] == '-')
			r = cli_usage(cli, "unknown option, or one that lacks its value");
		else
			argv[files++] = argv[i];        /* in front of where we are */
	}
	if (r == CLI_OK && files == 0)
		r = cli_usage(cli, "which manifest?");
	if (r == CLI_OK && buf_append(&set, "", 1) < 0)
		r = CLI_FAILED;
	for (int i = 0; i < files && r != CLI_USAGE; i++)
		if (deploy_one(cli, argv[i], (const char *)buf_head(&set)) != CLI_OK)
			r = CLI_FAILED;
	buf_done(&set);
	return r;
}

/* operations on names: {"op":OP,"name":NAME} for each */
static int for_names(struct cli *cli, int argc, char **argv, const char *done)
{
	int result = CLI_OK;

	if (argc < 2)
		return cli_usage(cli, "which function?");
	for (int i = 1; i < argc; i++) {
		json_t *request = json_pack("{s:s,s:s}", "op", argv[0], "name", argv[i]), *reply = NULL, *id;
		struct hearth_err err;
		size_t k;

		if (!request || ctl_call(cli, request, &reply, &err) < 0) {
			if (!request)
				err_set(&err, -EINVAL, "name %d is not UTF-8 text", i);
			result = cli_fail(cli, &err);
		} else if (cli->json) {
			cli_print_json(reply);
		} else if (json_object_get(reply, "instances")) {
			json_array_foreach(json_object_get(reply, "instances"), k, id)
				printf("%s %s\n", json_string_value(id), done);
		} else {
			printf("%s %s\n", argv[i], done);
		}
		json_decref(request);
		json_decref(reply);
	}
	return result;
}

int cmd_rm(struct cli *cli, int argc, char **argv)
{
	return for_names(cli, argc, argv, "removed");
}

/* Return: 1 a function of this name is deployed, 0 not, or no daemon runs */
static int is_function(struct cli *cli, const char *name)
{
	json_t *request = json_pack("{s:s,s:s}", "op", "ps", "name", name), *reply = NULL;
	struct hearth_err err;
	int found = request && ctl_call(cli, request, &reply, &err) == 0 && json_array_size(json_object_get(reply, "functions")) > 0;

	json_decref(request);
	json_decref(reply);
	return found;
}

/* functions and their instances are the daemon's, programs are not: each name goes to whom it belongs */
static int for_both(struct cli *cli, int argc, char **argv, int (*program)(struct cli *cli, const char *name), const char *done)
{
	int result = CLI_OK, r;

	if (argc < 2)
		return cli_usage(cli, "which function or program?");
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '-')
			return cli_usage(cli, "it takes names alone, no options");
	for (int i = 1; i < argc; i++) {
		struct hearth_err err;
		struct program p;
		int loaded = program_load(cli->run_dir, argv[i], &p, &err);
		bool ours = loaded == 0;
		char *one[] = { argv[0], argv[i], NULL };

		if (ours)
			program_done(&p);
		if (loaded < 0 && loaded != -ENOENT) {
			r = cli_fail(cli, &err);
		} else if (ours && is_function(cli, argv[i])) {
			err_set(&err, -EEXIST, "\"%s\" is a function and a program as well; name an instance of the function, or end the program", argv[i]);
			r = cli_fail(cli, &err);
		} else {
			r = ours ? program(cli, argv[i]) : for_names(cli, 2, one, done);
		}
		if (r != CLI_OK)
			result = r;
	}
	return result;
}

int cmd_park(struct cli *cli, int argc, char **argv)
{
	return for_both(cli, argc, argv, park_program, "is being parked");
}

int cmd_wake(struct cli *cli, int argc, char **argv)
{
	return for_both(cli, argc, argv, wake_program, "is being woken");
}
