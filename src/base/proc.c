/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

#define KERNEL_EXITING 0x4              /* PF_EXITING of the kernel's flags of a task, which no header of ours has */

static int stat_read(pid_t pid, char *text, size_t n, char **ret_after_name)
{
	char path[64], *data = NULL, *p;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = file_read(path, 65536, &data, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	snprintf(text, n, "%s", data);
	free(data);
	p = strrchr(text, ')');                 /* the name may contain anything */
	if (!p || p[1] != ' ')
		return -ESRCH;
	*ret_after_name = p + 2;
	return 0;
}

/* @field: as proc(5) counts them, from 4 */
static int stat_field(pid_t pid, int field, uint64_t *ret)
{
	char text[4096], *p;
	int r = stat_read(pid, text, sizeof(text), &p);

	if (r < 0)
		return r;
	for (int k = 3; k < field && p; k++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	if (!p)
		return -ESRCH;
	*ret = strtoull(p, NULL, 10);
	return 0;
}

int proc_starttime(pid_t pid, uint64_t *ret)
{
	return stat_field(pid, 22, ret);
}

int proc_state(pid_t pid)
{
	char text[4096], *p;
	int r = stat_read(pid, text, sizeof(text), &p);

	return r < 0 ? r : *p;
}

/* Return: 0 also when there is no such line */
static uint64_t signals(const char *status, const char *line)
{
	const char *p = strstr(status, line);

	return p ? strtoull(p + strlen(line), NULL, 16) : 0;
}

/* a thread's own, and the process's, where what kill(2) sent stays until it is gone */
static bool kill_pending(pid_t pid)
{
	char path[64], *text = NULL;
	bool pending = false;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (file_read(path, 65536, &text, NULL) == 0)
		pending = (signals(text, "\nSigPnd:") | signals(text, "\nShdPnd:")) & 1ull << (SIGKILL - 1);
	free(text);
	return pending;
}

bool proc_ending(pid_t pid)
{
	uint64_t flags;

	return (stat_field(pid, 9, &flags) == 0 && flags & KERNEL_EXITING) || kill_pending(pid);
}

static int append(pid_t **list, size_t *n, size_t *cap, pid_t pid)
{
	if (*n == *cap) {
		size_t more = *cap ? *cap * 2 : 16;
		pid_t *p = realloc(*list, more * sizeof(*p));

		if (!p)
			return -ENOMEM;
		*list = p;
		*cap = more;
	}
	(*list)[(*n)++] = pid;
	return 0;
}

static int add_children(pid_t pid, pid_t **list, size_t *n, size_t *cap)
{
	char path[300], *text = NULL, *end;
	struct dirent *e;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	if (!d)
		return 0;                       /* gone in the meantime */
	while (r == 0 && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, e->d_name);
		if (file_read(path, 1 << 20, &text, NULL) < 0)
			continue;
		for (char *p = text; r == 0; p = end) {
			long child = strtol(p, &end, 10);

			if (end == p)
				break;
			r = append(list, n, cap, (pid_t)child);
		}
		free(text);
	}
	closedir(d);
	return r;
}

ssize_t proc_children(pid_t pid, pid_t **ret)
{
	pid_t *list = NULL;
	size_t n = 0, cap = 0;
	int r = add_children(pid, &list, &n, &cap);

	if (r < 0) {
		free(list);
		return r;
	}
	*ret = list;
	return (ssize_t)n;
}

ssize_t proc_tree(pid_t pid, pid_t **ret)
{
	pid_t *list = NULL;
	size_t n = 0, cap = 0;
	int r;

	if (kill(pid, 0) < 0 && errno == ESRCH)
		return -ESRCH;
	r = append(&list, &n, &cap, pid);
	for (size_t k = 0; k < n && r == 0; k++)
		r = add_children(list[k], &list, &n, &cap);
	if (r < 0) {
		free(list);
		return r;
	}
	*ret = list;
	return (ssize_t)n;
}

int proc_tree_signal(pid_t pid, int sig)
{
	pid_t *list = NULL;
	ssize_t n = proc_tree(pid, &list);

	for (ssize_t k = 0; k < n; k++)
		kill(list[k], sig);
	free(list);
	return n < 0 ? (int)n : 0;
}

static bool computes(pid_t pid)
{
	char path[64];
	bool found = false;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d)))
		found = e->d_name[0] != '.' && proc_state(atoi(e->d_name)) == 'R';
	if (d)
		closedir(d);
	return found;
}

bool proc_tree_computes(pid_t pid)
{
	pid_t *list = NULL;
	ssize_t n = proc_tree(pid, &list);
	bool found = false;

	for (ssize_t k = 0; k < n && !found; k++)
		found = computes(list[k]);
	free(list);
	return found;
}

unsigned proc_cpus(void)
{
	cpu_set_t set;

	/* EINVAL: the machine has more than the set has room for */
	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

bool proc_any_fd(pid_t pid, bool (*is)(pid_t pid, int fd, const char *link))
{
	char path[64], link[64];
	bool found = false;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

		link[n < 0 ? 0 : n] = '\0';
		found = n > 0 && is(pid, atoi(e->d_name), link);
	}
	if (d)
		closedir(d);
	return found;
}
