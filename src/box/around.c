/* SPDX-License-Identifier: Apache-2.0 */
#include "around.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "job.h"
#include "proc.h"

enum step { PREPARING, READY, FORK, LEAVE };

struct around {
	struct cgroup_tree *cgroups;    /* NULL: no group */
	char *group;
	bool in_group;                  /* v1: the thread is, and so is what it forks. v2 has no groups of threads: the child goes there itself */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum step step;
	bool awaited;                   /* the owner waits for the thread */
	bool home;                      /* at the end the thread goes back, so that its group can be removed at once; a thread that ended is in it a little longer */
	int netns;
	struct hearth_err err;          /* of the thread */
	void (*child)(void *arg);
	void *arg;
	pid_t pid;
};

static struct around *standing_by;

/* ---- the thread ---- */

/* a network name space with lo up; the thread stays in the one it was in. Return: descriptor, -errno */
static int new_netns(void)
{
	FD_AUTO int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int made, r;

	if (own < 0 || unshare(CLONE_NEWNET) < 0)
		return -errno;
	r = proc_lo_up();
	made = r < 0 ? r : open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (made < 0 && r == 0)
		made = -errno;
	if (setns(own, CLONE_NEWNET) < 0)
		return -errno;
	return made;
}

/* for tests: what is to be prepared is known, and not done before it must be */
static void be_late(struct around *a)
{
	pthread_mutex_lock(&a->lock);
	while (!a->awaited && a->step != LEAVE)
		pthread_cond_wait(&a->changed, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

static int prepare(struct around *a, struct hearth_err *err)
{
	const char *group = a->group;

	if (job_fault("around-late"))
		be_late(a);
	if (a->cgroups && cgroup_tree_version(a->cgroups) == CGROUP_V1) {
		int r = cgroup_join_thread(a->cgroups, group, err);

		if (r < 0)
			return r;
		a->in_group = true;
	}
	a->netns = new_netns();
	return a->netns < 0 ? err_set(err, a->netns, "cannot make a network name space: %s", strerror(-a->netns)) : 0;
}

static void *live(void *arg)
{
	struct around *a = arg;
	struct hearth_err err = { 0 };

	(void)prepare(a, &err);
	pthread_mutex_lock(&a->lock);
	a->err = err;
	if (a->step == PREPARING)
		a->step = READY;
	pthread_cond_broadcast(&a->changed);
	while (a->step != LEAVE) {
		if (a->step == FORK) {
			a->pid = fork();
			if (a->pid == 0)
				a->child(a->arg);
			if (a->pid < 0)
				a->pid = -errno;
			a->step = READY;
			pthread_cond_broadcast(&a->changed);
		}
		pthread_cond_wait(&a->changed, &a->lock);
	}
	pthread_mutex_unlock(&a->lock);
	if (a->home && a->cgroups)      /* also if it came only half the way there */
		(void)cgroup_join_thread(a->cgroups, NULL, NULL);
	return NULL;
}

/* ---- its owner ---- */

static int make_group(struct around *a, const char *group, const struct cgroup_limits *limits, struct hearth_err *err)
{
	int r = cgroup_probe(&a->cgroups, err);

	if (r < 0)
		return r;
	if (cgroup_tree_version(a->cgroups) == CGROUP_NONE) {
		a->cgroups = cgroup_tree_free(a->cgroups);
		return 0;
	}
	r = cgroup_make(a->cgroups, group, limits, err);
	if (r < 0)
		return r;
	a->group = strdup(group);
	if (a->group)
		return 0;
	(void)cgroup_remove(a->cgroups, group);
	return err_set(err, -ENOMEM, "out of memory");
}

int around_new(const char *group, const struct cgroup_limits *limits, struct around **ret, struct hearth_err *err)
{
	struct around *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(err, -ENOMEM, "out of memory");
	a->netns = -1;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	r = group ? make_group(a, group, limits, err) : 0;
	if (r < 0)
		goto err;
	r = -pthread_create(&a->thread, NULL, live, a);
	if (r < 0) {
		err_set(err, r, "cannot start a thread: %s", strerror(-r));
		around_drop(a);
		goto err;
	}
	a->running = true;
	*ret = a;
	return 0;
err:
	around_free(a);
	return r;
}

/* The lock is held. Return: 0 when all is prepared, -errno with message when it could not be. */
static int await(struct around *a, struct hearth_err *err)
{
	a->awaited = true;
	pthread_cond_broadcast(&a->changed);
	while (a->step == PREPARING)
		pthread_cond_wait(&a->changed, &a->lock);
	return a->err.code ? err_set(err, a->err.code, "%s", a->err.msg) : 0;
}

int around_rename(struct around *a, const char *group, const struct cgroup_limits *limits, struct hearth_err *err)
{
	char *name = strdup(group);
	int r;

	if (!name)
		return err_set(err, -ENOMEM, "out of memory");
	/* a thread on its way there would find the group gone */
	pthread_mutex_lock(&a->lock);
	r = await(a, err);
	pthread_mutex_unlock(&a->lock);
	if (r == 0 && a->cgroups)
		r = cgroup_rename(a->cgroups, a->group, group, limits, err);
	if (r < 0) {
		free(name);
		return r;
	}
	free(a->group);
	a->group = name;
	return 0;
}

pid_t around_fork(struct around *a, void (*child)(void *arg), void *arg, struct hearth_err *err)
{
	pid_t pid;

	pthread_mutex_lock(&a->lock);
	pid = await(a, err);
	if (pid == 0) {
		a->child = child;
		a->arg = arg;
		a->step = FORK;
		pthread_cond_broadcast(&a->changed);
		while (a->step == FORK)
			pthread_cond_wait(&a->changed, &a->lock);
		pid = a->pid;
		if (pid < 0)
			err_set(err, pid, "cannot fork: %s", strerror(-pid));
	}
	pthread_mutex_unlock(&a->lock);
	return pid;
}

int around_netns(const struct around *a)
{
	return a->netns;
}

int around_join(const struct around *a, struct hearth_err *err)
{
	return a->cgroups && !a->in_group ? cgroup_join(a->cgroups, a->group, 0, err) : 0;
}

struct cgroup_tree *around_tree(const struct around *a)
{
	return a->cgroups;
}

void around_leave(struct around *a)
{
	if (!a->running)
		return;
	pthread_mutex_lock(&a->lock);
	a->step = LEAVE;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	a->running = false;
}

void around_drop(struct around *a)
{
	a->home = true;
	around_leave(a);
	if (!a->cgroups || !a->group)
		return;
	cgroup_kill(a->cgroups, a->group);
	cgroup_remove(a->cgroups, a->group);
}

struct around *around_free(struct around *a)
{
	if (!a)
		return NULL;
	around_leave(a);
	fd_close(&a->netns);
	cgroup_tree_free(a->cgroups);
	free(a->group);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	free(a);
	return NULL;
}

/* ---- standing by ---- */

int around_stand_by(const char *parent, struct hearth_err *err)
{
	const struct cgroup_limits none = { 0 };
	char group[NAME_MAX + 1];

	if (snprintf(group, sizeof(group), "%s/.standby-%d", parent, (int)getpid()) >= (int)sizeof(group))
		return err_set(err, -ENAMETOOLONG, "the group %s has too long a name", parent);
	return around_new(group, &none, &standing_by, err);
}

struct around *around_take(void)
{
	struct around *a = standing_by;

	standing_by = NULL;
	return a;
}
