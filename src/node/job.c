// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "priv.h"

/*
 * One hearth-box process. Its job description is a memfd on standard input (no pipe to fill), its answer one line on standard output. It inherits our standard
 * error. libev reaps it: nothing here waits for the exit, the answer or the end of file is what counts.
 */
struct job {
	struct node *node;
	struct job *prev, *next;
	pid_t pid;
	int out;
	ev_io watch;
	struct buf answer;
	job_done done;
	void *ctx;
};

#define ANSWER_MAX (1u << 20)

static void job_free(struct job *job)
{
	ev_io_stop(job->node->loop, &job->watch);
	fd_close(&job->out);
	buf_done(&job->answer);
	DL_DELETE(job->node->jobs, job);
	free(job);
}

static void job_finish(struct job *job, json_t *result)
{
	job_done done = job->done;
	void *ctx = job->ctx;
	struct node *n = job->node;

	job_free(job);
	if (done)
		done(ctx, result);
	json_decref(result);
	node_settled(n);
}

static void job_failed(struct job *job, const char *why)
{
	job_finish(job, json_pack("{s:b,s:s,s:i}", "ok", 0, "error", why, "code", -EIO));
}

/* one line of the answer, if it is there. Return: another one is expected */
static bool job_line(struct job *job, bool ended)
{
	const uint8_t *head = buf_head(&job->answer), *end = job->answer.len ? memchr(head, '\n', job->answer.len) : NULL;
	json_t *result;

	if (!end && !ended)
		return false;
	result = json_loadb((const char *)head, end ? (size_t)(end - head) : job->answer.len, 0, NULL);
	if (!json_is_object(result)) {
		json_decref(result);
		job_failed(job, "hearth-box ended without an answer (killed?); its messages are in the daemon's log");
		return false;
	}
	if (!end || !json_is_true(json_object_get(result, "more"))) {
		job_finish(job, result);
		return false;
	}
	buf_consume(&job->answer, (size_t)(end - head) + 1);
	if (job->done)
		job->done(job->ctx, result);
	json_decref(result);
	return true;
}

static void job_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct job *job = w->data;
	uint8_t *tail;
	ssize_t n;

	(void)loop;
	(void)events;
	if (job->answer.len > ANSWER_MAX || buf_reserve(&job->answer, 4096, &tail) < 0) {
		job_failed(job, "hearth-box answered more than can be an answer");
		return;
	}
	n = read(job->out, tail, 4096);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			job_failed(job, strerror(errno));
		return;
	}
	buf_commit(&job->answer, (size_t)n);
	while (job_line(job, n == 0))
		;
}

static int spec_memfd(json_t *spec, struct hearth_err *err)
{
	int fd = memfd_create("hearth-job", MFD_CLOEXEC);

	if (fd < 0)
		return err_set(err, -errno, "cannot describe a job: memfd_create: %s", strerror(errno));
	if (json_dumpfd(spec, fd, JSON_COMPACT) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
		close(fd);
		return err_set(err, -ENOMEM, "cannot describe a job: out of memory");
	}
	return fd;
}

int box_spawn(char *const *argv, int in, int out, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	r = posix_spawn(ret_pid, argv[0], &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return -r;
}

static struct job *job_begin(struct node *n, struct job *job, pid_t pid, int out, job_done done, void *ctx)
{
	fd_set_nonblock(out, true);
	job->node = n;
	job->pid = pid;
	job->out = out;
	job->done = done;
	job->ctx = ctx;
	ev_io_init(&job->watch, job_readable, job->out, EV_READ);
	job->watch.data = job;
	ev_io_start(n->loop, &job->watch);
	DL_APPEND(n->jobs, job);
	return job;
}

struct job *job_run(struct node *n, json_t *spec, job_done done, void *ctx, struct hearth_err *err)
{
	int pipefd[2] = { -1, -1 }, in, r;
	struct job *job = calloc(1, sizeof(*job));
	char *argv[] = { n->box, NULL };
	pid_t pid;

	in = spec_memfd(spec, err);
	json_decref(spec);
	if (!job || in < 0)
		goto err;
	if (pipe2(pipefd, O_CLOEXEC) < 0) {
		err_set(err, -errno, "cannot start %s: pipe: %s", n->box, strerror(errno));
		goto err;
	}
	r = box_spawn(argv, in, pipefd[1], &pid);
	if (r < 0) {
		err_set(err, r, "cannot start %s: %s; is the installation complete?", n->box, strerror(-r));
		goto err;
	}
	fd_close(&pipefd[1]);
	fd_close(&in);
	return job_begin(n, job, pid, pipefd[0], done, ctx);
err:
	if (!job)
		err_set(err, -ENOMEM, "cannot start a job: out of memory");
	fd_close(&in);
	fd_close(&pipefd[0]);
	fd_close(&pipefd[1]);
	free(job);
	return NULL;
}

struct job *job_run_soon(struct node *n, json_t *spec, job_done done, void *ctx, struct hearth_err *err)
{
	char *text = n->standby.pid ? json_dumps(spec, JSON_COMPACT) : NULL;
	struct job *job = text ? calloc(1, sizeof(*job)) : NULL;
	pid_t pid;
	int out;

	if (!job || !standby_take(n, text, strlen(text), &pid, &out)) {
		free(job);
		free(text);
		return job_run(n, spec, done, ctx, err);
	}
	free(text);
	json_decref(spec);
	return job_begin(n, job, pid, out, done, ctx);
}

bool job_runs(const struct node *n, pid_t pid)
{
	const struct job *job;

	DL_FOREACH(n->jobs, job)
		if (job->pid == pid)
			return true;
	return false;
}

pid_t job_pid(const struct job *job)
{
	return job->pid;
}

uint64_t job_processor_ns(json_t *result)
{
	double ms = json_number_value(json_object_get(result, "processor_ms"));

	return ms > 0 ? (uint64_t)(ms * NS_PER_MS) : 0;
}

const char *job_error(json_t *result)
{
	const char *s = json_string_value(json_object_get(result, "error"));

	return s ? s : "no reason given";
}

void job_detach(struct job *job)
{
	job->done = NULL;
}

void jobs_free(struct node *n)
{
	struct job *job, *next;

	DL_FOREACH_SAFE(n->jobs, job, next)
		job_free(job);
}
