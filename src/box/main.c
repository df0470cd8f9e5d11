/* SPDX-License-Identifier: Apache-2.0 */
/* hearth-box: one privileged or slow job per process. JSON on standard input, one JSON line on standard output. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "around.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/fd.h"
#include "job.h"

#define SPEC_MAX (1u << 20)

static const struct {
	const char *name;
	int (*run)(const struct spec *spec, json_t *out, struct hearth_err *err);
} jobs[] = {
	{ "start", job_start }, { "park", job_park }, { "resume", job_resume }, { "wake", job_wake }, { "verify", job_verify }, { "probe", job_probe },
};

void job_die_with_parent(int pipe, const char *fault)
{
	struct pollfd p = { .fd = pipe };

	if (fault_point(fault))
		(void)poll(&p, 1, -1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (poll(&p, 1, 0) > 0 && (p.revents & POLLERR))
		_exit(1);
}

static int read_spec(struct buf *in, struct hearth_err *err)
{
	for (;;) {
		uint8_t *tail;
		ssize_t n;

		if (in->len > SPEC_MAX)
			return err_set(err, -EFBIG, "the job on standard input is larger than 1 MiB");
		if (buf_reserve(in, 65536, &tail) < 0)
			return err_set(err, -ENOMEM, "out of memory");
		n = read(STDIN_FILENO, tail, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, -errno, "cannot read the job from standard input: %s", strerror(errno));
		if (n == 0)
			return 0;
		buf_commit(in, (size_t)n);
	}
}

static int run(const struct spec *spec, json_t *out, struct hearth_err *err)
{
	for (size_t k = 0; k < sizeof(jobs) / sizeof(jobs[0]); k++)
		if (!strcmp(jobs[k].name, spec->job))
			return jobs[k].run(spec, out, err);
	return err_set(err, -EINVAL, "unknown job '%s'; see hearth-box(8)", spec->job);
}

/* of this process, its threads, and what it has waited for */
static double processor_ms(void)
{
	struct rusage own, children;

	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &children);
	return (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec + children.ru_utime.tv_sec + children.ru_stime.tv_sec) * 1e3 +
	       (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec + children.ru_utime.tv_usec + children.ru_stime.tv_usec) / 1e3;
}

int job_report(json_t *out, int r, const struct hearth_err *err)
{
	char *text;
	int written;

	json_object_set_new(out, "ok", json_boolean(r == 0));
	json_object_set_new(out, "processor_ms", json_real(processor_ms()));
	if (r < 0) {
		json_object_set_new(out, "error", json_string(err->msg));
		json_object_set_new(out, "code", json_integer(err->code ? err->code : r));
	}
	text = json_dumps(out, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	written = fd_write_full(STDOUT_FILENO, text, strlen(text));
	if (written == 0)
		written = fd_write_full(STDOUT_FILENO, "\n", 1);
	free(text);
	return written;
}

int main(int argc, char **argv)
{
	struct hearth_err err = { 0 };
	struct spec spec = { 0 };
	struct buf in = { 0 };
	json_t *out = json_object();
	struct around *standing;
	int r;

	const char *parent = argc == 3 && !strcmp(argv[1], "--stand-by") ? argv[2] : NULL;

	if (argc > 1 && !parent) {
		fprintf(stderr, "usage: hearth-box [--stand-by CGROUP]\nOne job as JSON on standard input, see hearth-box(8).\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	/* without the daemon nobody takes the result: the next one must not meet an instance that it does not know of */
	job_die_with_parent(STDOUT_FILENO, "box-orphaned");
	if (parent)
		prctl(PR_SET_NAME, "hearth-standby");
	r = out ? 0 : -ENOMEM;
	if (parent)
		(void)around_stand_by(parent, NULL);    /* without it a wake prepares all by itself */
	if (r == 0)
		r = read_spec(&in, &err);
	prctl(PR_SET_NAME, "hearth-box");
	if (r == 0 && parent && in.len == 0)
		goto out;               /* no wake came */
	if (r == 0)
		r = spec_parse((const char *)buf_head(&in), in.len, &spec, &err);
	if (r == 0)
		r = run(&spec, out, &err);
	if (job_report(out, r, &err) < 0)
		r = -EPIPE;
out:
	standing = around_take();       /* if no wake took it */
	if (standing)
		around_drop(standing);
	around_free(standing);
	json_decref(out);
	spec_done(&spec);
	buf_done(&in);
	return r < 0;
}
