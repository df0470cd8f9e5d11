/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/mapped.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/proc.h"

#define LIST "mapped-files"
#define LIST_MAX (16u << 20)

/* Return: true if the sandbox's file is the host's of the same path, which is what a wake will map */
static bool hosts_own(pid_t pid, const char *path, struct stat *ret)
{
	char inside[PATH_MAX + 32];
	struct stat st;

	snprintf(inside, sizeof(inside), "/proc/%d/root%s", (int)pid, path);
	return stat(inside, &st) == 0 && stat(path, ret) == 0 && st.st_dev == ret->st_dev && st.st_ino == ret->st_ino && S_ISREG(st.st_mode);
}

static int save_one(FILE *out, pid_t pid)
{
	char name[64], *line = NULL, last[PATH_MAX] = "";
	size_t cap = 0;
	FILE *maps;

	snprintf(name, sizeof(name), "/proc/%d/maps", (int)pid);
	maps = fopen(name, "re");
	if (!maps)
		return errno == ENOENT ? 0 : -errno;
	while (getline(&line, &cap, maps) > 0) {
		char *path = strchr(line, '/');
		struct stat st;

		/* what it writes to itself through a shared mapping is its data, not its code */
		if (!path || strstr(line, "w-s ") || strstr(line, "wxs "))
			continue;
		path[strcspn(path, "\n")] = '\0';
		/* a line for each segment, one after the other */
		if (!strcmp(path, last) || !hosts_own(pid, path, &st))
			continue;
		snprintf(last, sizeof(last), "%s", path);
		fprintf(out, "%llu %lld %lld.%09ld %s\n", (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			path);
	}
	free(line);
	fclose(maps);
	return 0;
}

int mapped_save(pid_t root, const char *dir, struct hearth_err *err)
{
	char path[PATH_MAX];
	pid_t *tree = NULL;
	ssize_t n = proc_tree(root, &tree);
	FILE *out = NULL;
	int r = n < 0 ? (int)n : 0;

	if (r == 0 && snprintf(path, sizeof(path), "%s/" LIST, dir) >= (int)sizeof(path))
		r = -ENAMETOOLONG;
	if (r == 0 && !(out = fopen(path, "we")))
		r = -errno;
	for (ssize_t k = 0; k < n && r == 0; k++)
		r = save_one(out, tree[k]);
	if (out && (ferror(out) | fclose(out)) && r == 0)
		r = errno ? -errno : -EIO;
	free(tree);
	return r < 0 ? err_set(err, r, "cannot list the files that process %d maps: %s", (int)root, strerror(-r)) : 0;
}

static int check_line(char *line, struct hearth_err *err)
{
	unsigned long long ino;
	long long size, sec;
	struct stat st;
	int at = 0;
	long nsec;

	if (sscanf(line, "%llu %lld %lld.%ld %n", &ino, &size, &sec, &nsec, &at) < 4 || line[at] != '/')
		return err_set(err, -EBADMSG, "the list of mapped files in the image is damaged");
	if (stat(line + at, &st) < 0)
		return err_set(err, -ESTALE, "%s, which the program uses, is no longer there: %s", line + at, strerror(errno));
	if (st.st_ino != ino || st.st_size != size || st.st_mtim.tv_sec != sec || st.st_mtim.tv_nsec != nsec)
		return err_set(err, -ESTALE, "%s was changed after the checkpoint", line + at);
	return 0;
}

int mapped_check(const char *dir, struct hearth_err *err)
{
	char path[PATH_MAX], *text = NULL, *save = NULL;
	int r;

	if (snprintf(path, sizeof(path), "%s/" LIST, dir) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "path too long: %s", dir);
	r = file_read(path, LIST_MAX, &text, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(err, r, "cannot read %s: %s", path, strerror(-r));
	for (char *line = strtok_r(text, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save))
		r = check_line(line, err);
	free(text);
	return r;
}
