/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/*
 * An experiment is a folder with a program run.py. They are installed under the data folder, and in a build folder they lie beside bin/; both are found from
 * where this program is, so that either can be moved as a whole.
 */
#ifndef HEARTH_DATADIR
#define HEARTH_DATADIR "share"
#endif
#define SUMMARY_MAX 200

static const char usage[] =
	"usage: hearth experiment [NAME] [--out DIR] [--json] [...]\n"
	"\n"
	"Reproduces a published figure: writes a CSV file and a plot, and ends with a table of what was published and what was found here.\n"
	"Without NAME: lists the experiments. `hearth experiment NAME --help` says which other options one has.\n"
	"\n"
	"  --out DIR   where the files go; default hearth-results/NAME\n"
	"  --json      the table as JSON\n";

/* Return: 0, -errno with message. @ret_self: this program's path. */
static int find_folder(char *ret, size_t n, char *ret_self, size_t self_n, struct hearth_err *err)
{
	static const char *const places[] = { "../" HEARTH_DATADIR "/hearth/experiments", "../experiments" };
	const char *env = getenv("HEARTH_EXPERIMENTS");
	ssize_t len = readlink("/proc/self/exe", ret_self, self_n - 1);
	char *slash;

	if (len < 0)
		return err_set(err, -errno, "cannot tell where this program is: /proc/self/exe: %s", strerror(errno));
	ret_self[len] = '\0';
	if (env && *env) {
		snprintf(ret, n, "%s", env);
		return access(ret, R_OK) == 0 ? 0 : err_set(err, -errno, "HEARTH_EXPERIMENTS: cannot read %s: %s", ret, strerror(errno));
	}
	slash = strrchr(ret_self, '/');
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(ret, n, "%.*s/%s", (int)(slash - ret_self), ret_self, places[i]);
		if (access(ret, R_OK) == 0)
			return 0;
	}
	return err_set(err, -ENOENT, "the experiments are neither in %.*s/%s nor in ../experiments: install them, or set HEARTH_EXPERIMENTS", (int)(slash - ret_self), ret_self,
		places[0]);
}

/* The first line of the program's docstring. Return: false when this is no experiment. */
static bool read_summary(const char *folder, const char *name, char *ret, size_t n)
{
	char path[PATH_MAX + 256], line[SUMMARY_MAX + 8];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/run.py", folder, name);
	f = name[0] == '.' ? NULL : fopen(path, "re");
	if (!f)
		return false;
	ret[0] = '\0';
	while (ret[0] == '\0' && fgets(line, sizeof(line), f)) {
		char *text = strncmp(line, "\"\"\"", 3) == 0 ? line + 3 : NULL;

		if (!text)
			continue;
		text[strcspn(text, "\"\n")] = '\0';
		snprintf(ret, n, "%.*s", (int)n - 1, text);
	}
	fclose(f);
	return true;
}

static int list(const struct cli *cli, const char *folder)
{
	json_t *all = json_array();
	struct dirent **names;
	int n = scandir(folder, &names, NULL, versionsort), rc = CLI_OK;

	for (int i = 0; i < n; i++) {
		char summary[SUMMARY_MAX];

		if (read_summary(folder, names[i]->d_name, summary, sizeof(summary))) {
			if (cli->json)
				json_array_append_new(all, json_pack("{s:s,s:s}", "name", names[i]->d_name, "summary", summary));
			else
				printf("%-16s %s\n", names[i]->d_name, summary);
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	if (cli->json)
		rc = cli_print_json(all);
	json_decref(all);
	return rc;
}

/* Debian's Python, whose packages can be counted on; else whichever there is. Does not return if it works. */
static int run_python(char **argv, struct hearth_err *err)
{
	execv("/usr/bin/python3", argv);
	execvp("python3", argv);
	return err_set(err, -errno, "cannot run python3: %s", strerror(errno));
}

static int run(const struct cli *cli, const char *folder, const char *self, int argc, char **argv)
{
	char path[PATH_MAX + 256], summary[SUMMARY_MAX];
	struct hearth_err err = { 0 };
	char **args;
	int n = 0;

	if (strchr(argv[1], '/') || !read_summary(folder, argv[1], summary, sizeof(summary))) {
		fprintf(stderr, "hearth experiment: there is no experiment \"%s\"; `hearth experiment` lists them\n", argv[1]);
		return CLI_USAGE;
	}
	snprintf(path, sizeof(path), "%s/%s/run.py", folder, argv[1]);
	args = calloc((size_t)argc + 4, sizeof(*args));
	/* Python would leave its compiled files in the folder of the experiments, which may be the source's */
	if (!args || setenv("HEARTH", self, 1) < 0 || setenv("PYTHONDONTWRITEBYTECODE", "1", 1) < 0) {
		free(args);
		err_set(&err, -ENOMEM, "no memory");
		return cli_fail(cli, &err);
	}
	args[n++] = "python3";
	args[n++] = path;
	for (int i = 2; i < argc; i++)
		args[n++] = argv[i];
	if (cli->json)
		args[n++] = "--json";
	fflush(stdout);
	run_python(args, &err);
	free(args);
	return cli_fail(cli, &err);
}

int cmd_experiment(struct cli *cli, int argc, char **argv)
{
	char folder[PATH_MAX], self[PATH_MAX];
	struct hearth_err err = { 0 };

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(usage, stdout);
		return CLI_OK;
	}
	if (argc > 1 && argv[1][0] == '-') {
		fprintf(stderr, "hearth experiment: the name of an experiment comes first, not %s\n%s", argv[1], usage);
		return CLI_USAGE;
	}
	if (find_folder(folder, sizeof(folder), self, sizeof(self), &err) < 0)
		return cli_fail(cli, &err);
	return argc > 1 ? run(cli, folder, self, argc, argv) : list(cli, folder);
}
