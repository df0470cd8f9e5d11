/* SPDX-License-Identifier: Apache-2.0 */
#include "box/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

#define LEAF "hearth.supervisor"
#define OWN_GROUP "hearth"
#define CPU_PERIOD_US 100000ull
#define PROC_TEXT_MAX (1u << 20)

static const char *const ctl_names[CGROUP_CTL_N] = { "memory", "cpu", "pids", "freezer" };

struct cgroup_tree {
	enum cgroup_version version;
	char *base[CGROUP_CTL_N];       /* v1: one a controller; v2: all the same folder, in base[0] */
	char *top;                      /* v2: where the hierarchy is mounted */
	bool has[CGROUP_CTL_N];
};

/* ---- small file access ---- */

static int put(const char *dir, const char *file, const char *text)
{
	char path[PATH_MAX];
	FD_AUTO int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* control files take one write(2) for one value */
	if (write(fd, text, strlen(text)) < 0)
		return -errno;
	return 0;
}

static int get(const char *dir, const char *file, char *text, size_t n)
{
	char path[PATH_MAX];
	FD_AUTO int fd = -1;
	ssize_t got;

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	got = fd_read_full(fd, text, n - 1);
	if (got < 0)
		return (int)got;
	text[got] = '\0';
	return 0;
}

/* the value of "key N" in a flat keyed file, 0 if the key is absent */
static uint64_t keyed(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (!strncmp(p, key, n) && p[n] == ' ')
			return strtoull(p + n + 1, NULL, 10);
	return 0;
}

static bool word_in(const char *list, const char *word, const char *seps)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; ) {
		size_t len = strcspn(p, seps);

		if (len == n && !memcmp(p, word, n))
			return true;
		p += len;
		p += strspn(p, seps);
	}
	return false;
}

/* ---- probing ---- */

/* our path in the hierarchy that lists @controller ("" is v2's line), as in /proc/self/cgroup: "4:memory:/a/b" */
static bool self_path(const char *self_cgroup, const char *controller, char *path, size_t n)
{
	for (const char *line = self_cgroup; line && *line; ) {
		const char *end = strchrnul(line, '\n'), *c1 = strchr(line, ':'), *c2 = c1 ? strchr(c1 + 1, ':') : NULL;
		char list[256];

		if (c2 && c2 < end && (size_t)(c2 - c1 - 1) < sizeof(list) && (size_t)(end - c2 - 1) < n) {
			snprintf(list, sizeof(list), "%.*s", (int)(c2 - c1 - 1), c1 + 1);
			if (*controller ? word_in(list, controller, ",") : !*list && line[0] == '0') {
				snprintf(path, n, "%.*s", (int)(end - c2 - 1), c2 + 1);
				return true;
			}
		}
		line = *end ? end + 1 : NULL;
	}
	return false;
}

struct mount_line {
	char root[PATH_MAX], point[PATH_MAX], type[64], super[1024];
};

/* one line of mountinfo: id parent dev root point options [tags...] - type source super */
static bool mount_parse(const char *line, const char *end, struct mount_line *m)
{
	char copy[2 * PATH_MAX + 2048], *dash;

	if ((size_t)(end - line) >= sizeof(copy))
		return false;
	snprintf(copy, sizeof(copy), "%.*s", (int)(end - line), line);
	dash = strstr(copy, " - ");
	if (!dash)
		return false;
	return sscanf(copy, "%*s %*s %*s %4095s %4095s", m->root, m->point) == 2 &&
	       sscanf(dash, " - %63s %*s %1023s", m->type, m->super) == 2;
}

/* the folder of @path in a mount that shows the hierarchy from @m->root on */
static char *folder_of(const struct mount_line *m, const char *path)
{
	size_t root_len = strcmp(m->root, "/") ? strlen(m->root) : 0;
	char *out, *leaf;

	/* a group outside what is mounted here (a container's view): start at the mount */
	if (!strncmp(path, m->root, root_len) && (path[root_len] == '/' || !path[root_len]))
		path += root_len;
	else
		path = "";
	if (!strcmp(path, "/"))
		path = "";
	if (asprintf(&out, "%s%s", m->point, path) < 0)
		return NULL;
	leaf = strrchr(out, '/');
	if (leaf && !strcmp(leaf + 1, LEAF))
		*leaf = '\0';
	return out;
}

static int take_v1(struct cgroup_tree *t, const struct mount_line *m, const char *self_cgroup)
{
	char path[PATH_MAX];

	for (int c = 0; c < CGROUP_CTL_N; c++) {
		if (t->base[c] || !word_in(m->super, ctl_names[c], ",") || !self_path(self_cgroup, ctl_names[c], path, sizeof(path)))
			continue;
		t->base[c] = folder_of(m, path);
		if (!t->base[c])
			return -ENOMEM;
		t->has[c] = access(t->base[c], W_OK) == 0;
	}
	return 0;
}

/* what a group of v2 can hand down */
static void see_controllers(struct cgroup_tree *t, const char *dir)
{
	char list[512];

	if (get(dir, "cgroup.controllers", list, sizeof(list)) == 0)
		for (int c = 0; c < CGROUP_FREEZER; c++)
			t->has[c] = word_in(list, ctl_names[c], " \n");
}

/* the group that a daemon has claimed, if one has: it hands controllers down */
static char *claimed(const char *top)
{
	char *own, list[512];

	if (asprintf(&own, "%s/" OWN_GROUP, top) < 0)
		return NULL;
	if (access(own, W_OK) == 0 && get(own, "cgroup.subtree_control", list, sizeof(list)) == 0 && word_in(list, "memory", " \n"))
		return own;
	free(own);
	return NULL;
}

static int take_v2(struct cgroup_tree *t, const struct mount_line *m, const char *self_cgroup)
{
	char path[PATH_MAX];

	if (t->base[0] || !self_path(self_cgroup, "", path, sizeof(path)))
		return 0;
	t->base[0] = claimed(m->point) ?: folder_of(m, path);
	t->top = strdup(m->point);
	if (!t->base[0] || !t->top)
		return -ENOMEM;
	if (access(t->base[0], W_OK))
		return 0;
	t->has[CGROUP_FREEZER] = true;          /* part of v2 itself, as cgroup.kill is */
	see_controllers(t, t->base[0]);
	return 0;
}

static int scan(const char *self_cgroup, const char *mountinfo, struct cgroup_tree *v1, struct cgroup_tree *v2)
{
	struct mount_line *m = malloc(sizeof(*m));
	int r = 0;

	if (!m)
		return -ENOMEM;
	for (const char *line = mountinfo; line && *line && r == 0; ) {
		const char *end = strchrnul(line, '\n');

		if (mount_parse(line, end, m)) {
			if (!strcmp(m->type, "cgroup"))
				r = take_v1(v1, m, self_cgroup);
			else if (!strcmp(m->type, "cgroup2"))
				r = take_v2(v2, m, self_cgroup);
		}
		line = *end ? end + 1 : NULL;
	}
	free(m);
	return r;
}

int cgroup_probe_from(const char *self_cgroup, const char *mountinfo, struct cgroup_tree **ret, struct hearth_err *err)
{
	struct cgroup_tree *v1 = calloc(1, sizeof(*v1)), *v2 = calloc(1, sizeof(*v2)), *use;
	int r = v1 && v2 ? scan(self_cgroup, mountinfo, v1, v2) : -ENOMEM;

	if (r < 0) {
		cgroup_tree_free(v1);
		cgroup_tree_free(v2);
		return err_set(err, r, "cannot probe cgroups: %s", strerror(-r));
	}
	/* whichever can limit memory; hybrid machines have it on v1 and mount an empty v2 as well */
	use = v2->has[CGROUP_MEMORY] ? v2 : v1->has[CGROUP_MEMORY] || v1->has[CGROUP_PIDS] || v1->has[CGROUP_FREEZER] ? v1 : v2;
	use->version = use == v1 ? CGROUP_V1 : v2->has[CGROUP_FREEZER] ? CGROUP_V2 : CGROUP_NONE;
	cgroup_tree_free(use == v1 ? v2 : v1);
	*ret = use;
	return 0;
}

int cgroup_probe(struct cgroup_tree **ret, struct hearth_err *err)
{
	char *self = NULL, *mounts = NULL;
	int r;

	r = file_read("/proc/self/cgroup", PROC_TEXT_MAX, &self, NULL);
	if (r == -ENOENT && (self = strdup("")))
		r = 0;                          /* a kernel without cgroups */
	if (r == 0)
		r = file_read("/proc/self/mountinfo", PROC_TEXT_MAX, &mounts, NULL);
	if (r < 0)
		err_set(err, r, "cannot probe cgroups: reading /proc/self: %s; is /proc mounted?", strerror(-r));
	else
		r = cgroup_probe_from(self, mounts, ret, err);
	free(self);
	free(mounts);
	return r;
}

struct cgroup_tree *cgroup_tree_free(struct cgroup_tree *tree)
{
	if (!tree)
		return NULL;
	for (int c = 0; c < CGROUP_CTL_N; c++)
		free(tree->base[c]);
	free(tree->top);
	free(tree);
	return NULL;
}

enum cgroup_version cgroup_tree_version(const struct cgroup_tree *tree)
{
	return tree->version;
}

bool cgroup_tree_has(const struct cgroup_tree *tree, enum cgroup_ctl ctl)
{
	return tree->version != CGROUP_NONE && tree->has[ctl];
}

const char *cgroup_tree_base(const struct cgroup_tree *tree, enum cgroup_ctl ctl)
{
	if (!cgroup_tree_has(tree, ctl))
		return NULL;
	return tree->version == CGROUP_V2 ? tree->base[0] : tree->base[ctl];
}

void cgroup_tree_describe(const struct cgroup_tree *tree, char *text, size_t n)
{
	size_t at = (size_t)snprintf(text, n, "%s", tree->version == CGROUP_V2 ? "v2:" : tree->version == CGROUP_V1 ? "v1:" : "none");

	for (int c = 0; c < CGROUP_CTL_N; c++)
		if (cgroup_tree_has(tree, c) && at < n)
			at += (size_t)snprintf(text + at, n - at, " %s", ctl_names[c]);
}

/* ---- groups ---- */

/* the folders of one group: v1 up to one a controller, v2 one. Return: how many. */
static int folders(const struct cgroup_tree *t, const char *name, char (*path)[PATH_MAX])
{
	int n = 0;

	if (t->version == CGROUP_NONE)
		return -EOPNOTSUPP;
	if (!*name || *name == '/' || strstr(name, "..") || strlen(name) > NAME_MAX)
		return -EINVAL;
	for (int c = 0; c < CGROUP_CTL_N; c++) {
		const char *base = t->version == CGROUP_V2 ? (c == 0 ? t->base[0] : NULL) : t->has[c] ? t->base[c] : NULL;
		bool twice = false;

		if (!base)
			continue;
		if (snprintf(path[n], PATH_MAX, "%s/%s", base, name) >= PATH_MAX)
			return -ENAMETOOLONG;
		for (int k = 0; k < n; k++)     /* v1 controllers may share a mount ("cpu,cpuacct") */
			twice |= !strcmp(path[k], path[n]);
		n += !twice;
	}
	return n;
}

/* @ctl's folder of a group */
static bool folder_for(const struct cgroup_tree *t, enum cgroup_ctl ctl, const char *name, char *path)
{
	const char *base = cgroup_tree_base(t, ctl);

	return base && snprintf(path, PATH_MAX, "%s/%s", base, name) < PATH_MAX;
}

/* hand down what this group has; on v2 only */
static int hand_down(const struct cgroup_tree *t, const char *dir)
{
	char list[512], enabled[512], word[32];
	int r = 0;

	if (get(dir, "cgroup.controllers", list, sizeof(list)) < 0 || get(dir, "cgroup.subtree_control", enabled, sizeof(enabled)) < 0)
		return -ENOENT;
	for (int c = 0; c < CGROUP_FREEZER && r == 0; c++) {
		if (!t->has[c] || !word_in(list, ctl_names[c], " \n") || word_in(enabled, ctl_names[c], " \n"))
			continue;
		snprintf(word, sizeof(word), "+%s", ctl_names[c]);
		r = put(dir, "cgroup.subtree_control", word);
	}
	return r;
}

/* this process to the leaf of a group, so that the group itself holds no process of ours and can hand controllers down */
static int settle(const struct cgroup_tree *t, const char *dir)
{
	char leaf[PATH_MAX];
	int r;

	if (snprintf(leaf, sizeof(leaf), "%s/" LEAF, dir) >= (int)sizeof(leaf))
		return -ENAMETOOLONG;
	if (mkdir(leaf, 0755) < 0 && errno != EEXIST)
		return -errno;
	r = put(leaf, "cgroup.procs", "0");
	return r < 0 ? r : hand_down(t, dir);
}

/*
 * A group beside the init system's own, as container engines make them. Below our own group is no good place: in a login session others are in it,
 * so that it can't hand anything down; and a service's group that holds running instances takes no new daemon in, so that systemd (before 254, with
 * its DelegateSubgroup=) could not start the next one. Whoever starts a daemon, it finds the instances of the last in this group, and hearth-box
 * finds the group too. The daemon itself stays where it is: systemd knows it, and what it logs, by that. Once made the group is never removed.
 */
static int claim_own(struct cgroup_tree *t, char **ret)
{
	char *own;
	int r;

	if (asprintf(&own, "%s/" OWN_GROUP, t->top) < 0)
		return -ENOMEM;
	see_controllers(t, t->top);
	r = hand_down(t, t->top);
	if (r == 0 && mkdir(own, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0)
		r = hand_down(t, own);
	if (r < 0) {
		(void)rmdir(own);
		free(own);
		return r;
	}
	*ret = own;
	return 0;
}

int cgroup_claim(struct cgroup_tree *tree, struct hearth_err *err)
{
	char *own = NULL;
	int r;

	if (tree->version != CGROUP_V2)
		return 0;
	if (claim_own(tree, &own) == 0) {
		free(tree->base[0]);
		tree->base[0] = own;
		return 0;
	}
	/* not root, or in a container that shows us no more than our own group */
	see_controllers(tree, tree->base[0]);
	r = hand_down(tree, tree->base[0]);
	if (r == -EBUSY)
		r = settle(tree, tree->base[0]);
	if (r == 0)
		return 0;
	return err_set(err, r, "cannot hand cgroup controllers down from %s: %s; start hearthd in a group of its own, for example with "
		       "systemd-run -p Delegate=yes, or as a service with Delegate=yes", tree->base[0], strerror(-r));
}

/* mkdir -p below the hierarchy's base, handing controllers down on the way (v2) */
static int make_path(const struct cgroup_tree *t, char *path, size_t base_len, bool *ret_made)
{
	for (char *p = path + base_len + 1; ; p++) {
		bool last = *p == '\0';
		int r = 0;

		if (*p != '/' && !last)
			continue;
		*p = '\0';
		if (mkdir(path, 0755) == 0)
			*ret_made = last;
		else if (errno != EEXIST)
			r = -errno;
		else if (last)
			*ret_made = false;
		if (r == 0 && !last && t->version == CGROUP_V2)
			r = hand_down(t, path);
		if (last)
			return r;
		*p = '/';
		if (r < 0)
			return r;
	}
}

static int limit(const struct cgroup_tree *t, const char *name, enum cgroup_ctl ctl, const char *v1_file, const char *v2_file, const char *value)
{
	char path[PATH_MAX];
	int r;

	if (!folder_for(t, ctl, name, path))
		return 0;
	r = put(path, t->version == CGROUP_V2 ? v2_file : v1_file, value);
	/* a controller that was not handed down to us: cgroup_claim() said so */
	return r == -ENOENT && access(path, F_OK) == 0 ? 0 : r;
}

static int set_limits(const struct cgroup_tree *t, const char *name, const struct cgroup_limits *l)
{
	char text[64];
	int r = 0;

	if (l->memory_max_bytes) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)l->memory_max_bytes);
		r = limit(t, name, CGROUP_MEMORY, "memory.limit_in_bytes", "memory.max", text);
		/* no swap on top of the limit; absent on kernels without swap accounting */
		if (r == 0)
			(void)limit(t, name, CGROUP_MEMORY, "memory.memsw.limit_in_bytes", "memory.swap.max", t->version == CGROUP_V2 ? "0" : text);
	}
	if (r == 0 && l->cpu_max_cores > 0) {
		unsigned long long quota = (unsigned long long)(l->cpu_max_cores * (double)CPU_PERIOD_US);

		if (quota < 1000)
			quota = 1000;           /* the kernel's least */
		snprintf(text, sizeof(text), t->version == CGROUP_V2 ? "%llu %llu" : "%llu", quota, CPU_PERIOD_US);
		r = limit(t, name, CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max", text);
	}
	if (r == 0 && l->pids_max) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)l->pids_max);
		r = limit(t, name, CGROUP_PIDS, "pids.max", "pids.max", text);
	}
	return r;
}

int cgroup_make(struct cgroup_tree *tree, const char *name, const struct cgroup_limits *limits, struct hearth_err *err)
{
	char (*path)[PATH_MAX] = malloc(sizeof(*path) * (CGROUP_CTL_N + 1));
	bool made[CGROUP_CTL_N] = { false };
	int n, r = 0, k;

	if (!path)
		return err_set(err, -ENOMEM, "cannot make cgroup %s: out of memory", name);
	n = folders(tree, name, path);
	if (n < 0)
		r = n;
	for (k = 0; k < n && r == 0; k++)
		r = make_path(tree, path[k], strlen(path[k]) - strlen(name) - 1, &made[k]);
	if (r == 0 && limits)
		r = set_limits(tree, name, limits);
	if (r < 0) {
		for (k = 0; k < n; k++)
			if (made[k])
				rmdir(path[k]);
		err_set(err, r, "cannot make cgroup %s: %s%s", name, strerror(-r),
			r == -EOPNOTSUPP ? "; this machine has no usable cgroup hierarchy" : "");
	}
	free(path);
	return r;
}

int cgroup_join(struct cgroup_tree *tree, const char *name, pid_t pid, struct hearth_err *err)
{
	char (*path)[PATH_MAX] = malloc(sizeof(*path) * (CGROUP_CTL_N + 1));
	char text[32];
	int n, r;

	if (!path)
		return err_set(err, -ENOMEM, "cannot join cgroup %s: out of memory", name);
	snprintf(text, sizeof(text), "%d", (int)pid);
	n = folders(tree, name, path);
	r = n < 0 ? n : 0;
	for (int k = 0; k < n && r == 0; k++)
		r = put(path[k], "cgroup.procs", text);
	free(path);
	return r < 0 ? err_set(err, r, "cannot put process %d into cgroup %s: %s", (int)pid, name, strerror(-r)) : 0;
}


int cgroup_join_thread(struct cgroup_tree *tree, const char *name, struct hearth_err *err)
{
	char path[PATH_MAX];
	int r = tree->version == CGROUP_V1 ? 0 : -EOPNOTSUPP;

	for (int c = 0; c < CGROUP_CTL_N && r == 0; c++)
		if (folder_for(tree, (enum cgroup_ctl)c, name ? name : ".", path))
			r = put(path, "tasks", "0");
	return r < 0 ? err_set(err, r, "cannot put a thread into cgroup %s: %s", name ? name : "(its own)", strerror(-r)) : 0;
}

int cgroup_rename(struct cgroup_tree *tree, const char *from, const char *to, const struct cgroup_limits *limits, struct hearth_err *err)
{
	char (*old)[PATH_MAX] = malloc(sizeof(*old) * 2 * (CGROUP_CTL_N + 1)), (*new)[PATH_MAX] = old + CGROUP_CTL_N + 1;
	int n, m, k, r;

	if (!old)
		return err_set(err, -ENOMEM, "cannot rename cgroup %s: out of memory", from);
	n = tree->version == CGROUP_V1 ? folders(tree, from, old) : -EOPNOTSUPP;
	m = n < 0 ? n : folders(tree, to, new);
	r = m < 0 ? m : 0;
	for (k = 0; k < n && r == 0; k++)
		if (rename(old[k], new[k]) < 0) {
			r = -errno;
			break;
		}
	if (r == 0)
		r = set_limits(tree, to, limits);
	for (k--; r < 0 && k >= 0; k--)
		(void)rename(new[k], old[k]);
	free(old);
	return r < 0 ? err_set(err, r, "cannot rename cgroup %s to %s: %s", from, to, strerror(-r)) : 0;
}

/* ---- ending groups ---- */

static int procs_read(const char *dir, char **ret)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/cgroup.procs", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return file_read(path, PROC_TEXT_MAX, ret, NULL);
}

static int kill_listed(const char *dir)
{
	char *text = NULL, *end;
	int r = procs_read(dir, &text);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (char *p = text; *p; p = *end ? end + 1 : end) {
		long pid = strtol(p, &end, 10);

		if (end == p)
			break;
		if (pid > 1 && pid != getpid())
			kill((pid_t)pid, SIGKILL);
	}
	free(text);
	return 0;
}

int cgroup_kill(struct cgroup_tree *tree, const char *name)
{
	char (*path)[PATH_MAX] = malloc(sizeof(*path) * (CGROUP_CTL_N + 1));
	char frozen[PATH_MAX];
	bool freeze;
	int n, r = 0;

	if (!path)
		return -ENOMEM;
	n = folders(tree, name, path);
	if (n <= 0) {
		r = n;
		goto out;
	}
	if (tree->version == CGROUP_V2) {
		r = put(path[0], "cgroup.kill", "1");
		if (r == 0 || access(path[0], F_OK)) {
			r = 0;
			goto out;
		}
	}
	/* freeze first so that nothing forks away while the list is walked; v1's frozen processes die on thawing */
	freeze = tree->version == CGROUP_V1 && folder_for(tree, CGROUP_FREEZER, name, frozen);
	if (freeze)
		(void)put(frozen, "freezer.state", "FROZEN");
	r = kill_listed(freeze ? frozen : path[0]);
	if (freeze)
		(void)put(frozen, "freezer.state", "THAWED");
out:
	free(path);
	return r;
}

int cgroup_populated(struct cgroup_tree *tree, const char *name)
{
	char (*path)[PATH_MAX] = malloc(sizeof(*path) * (CGROUP_CTL_N + 1));
	char *text = NULL;
	int n, r;

	if (!path)
		return -ENOMEM;
	n = folders(tree, name, path);
	r = n < 0 ? n : 0;
	for (int k = 0; k < n && r == 0; k++) {
		r = procs_read(path[k], &text);
		r = r == -ENOENT ? 0 : r < 0 ? r : *text != '\0';
		free(text);
		text = NULL;
	}
	free(path);
	return r;
}

/* rmdir from the leaves up; control files are no obstacle to it */
static int remove_tree(const char *path)
{
	struct dirent *e;
	DIR *d;

	if (rmdir(path) == 0 || errno == ENOENT)
		return 0;
	d = opendir(path);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		char sub[PATH_MAX];

		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		    snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) < (int)sizeof(sub))
			(void)remove_tree(sub);
	}
	closedir(d);
	return rmdir(path) == 0 || errno == ENOENT ? 0 : -errno;
}

int cgroup_remove(struct cgroup_tree *tree, const char *name)
{
	char (*path)[PATH_MAX] = malloc(sizeof(*path) * (CGROUP_CTL_N + 1));
	int n, r = 0;

	if (!path)
		return -ENOMEM;
	n = folders(tree, name, path);
	if (n < 0)
		r = n;
	for (int k = 0; k < n; k++) {
		int one = remove_tree(path[k]);

		if (one < 0)
			r = one;
	}
	free(path);
	return r;
}

int cgroup_read_usage(struct cgroup_tree *tree, const char *name, struct cgroup_usage *ret)
{
	struct cgroup_usage u = { 0 };
	char path[PATH_MAX], text[8192];
	bool v2 = tree->version == CGROUP_V2;
	uint64_t cache;
	int r;

	if (!folder_for(tree, CGROUP_MEMORY, name, path))
		return -EOPNOTSUPP;
	r = get(path, v2 ? "memory.current" : "memory.usage_in_bytes", text, sizeof(text));
	if (r < 0)
		return r;
	u.total_bytes = strtoull(text, NULL, 10);
	r = get(path, "memory.stat", text, sizeof(text));
	if (r < 0)
		return r;
	u.anon_bytes = keyed(text, v2 ? "anon" : "total_rss");
	u.shmem_bytes = keyed(text, v2 ? "shmem" : "total_shmem");
	cache = keyed(text, v2 ? "file" : "total_cache");
	u.file_bytes = cache > u.shmem_bytes ? cache - u.shmem_bytes : 0;
	if (get(path, v2 ? "memory.events" : "memory.oom_control", text, sizeof(text)) == 0)
		u.oom_kills = keyed(text, "oom_kill");
	*ret = u;
	return 0;
}
