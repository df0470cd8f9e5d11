/* SPDX-License-Identifier: Apache-2.0 */
/* hearth-init - the first process of an instance: starts the function, relays for it, cleans up behind it */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "chan.h"
#include "child.h"
#include "http.h"
#include "loop.h"
#include "options.h"
#include "probe.h"
#include "rapi.h"

#define LOG_READ_BYTES (16u << 10)
#define DRAIN_READS 64                  /* 1 MiB: more than a pipe holds, even one that its writer enlarged */
#define LINGER_NS (2 * NS_PER_S)        /* for hearthd to take the last words */
#define ERROR_DOC_MAX (1u << 20)

struct init {
	struct options opt;
	struct loop loop;
	struct chan chan;
	struct rapi rapi;
	struct http http;
	struct probe probe;
	struct loop_io signals, out, err;
	struct loop_timer linger, idle;
	pid_t function;                 /* 0: ended */
	int wait_status;
};

/* ---- output of the function ---- */

/* Return: true when there may be more. */
static bool log_read(struct init *in, struct loop_io *io)
{
	static char data[LOG_READ_BYTES];
	ssize_t n;

	if (io->fd < 0)
		return false;
	n = read(io->fd, data, sizeof data);
	if (n > 0) {
		chan_log(&in->chan, io == &in->out ? 1 : 2, data, (size_t)n);
		return true;
	}
	if (n < 0 && errno == EINTR)
		return true;
	if (n == 0 || errno != EAGAIN)
		loop_close(&in->loop, io);
	return false;
}

static void log_ready(struct loop_io *io, uint32_t events)
{
	log_read(io->ctx, io);
}

/* What is in the pipes now; a function that goes on writing doesn't hold us up. */
static void log_drain(struct init *in)
{
	int i;

	for (i = 0; i < DRAIN_READS && log_read(in, &in->out); i++)
		;
	for (i = 0; i < DRAIN_READS && log_read(in, &in->err); i++)
		;
}

/* ---- the channel ---- */

static void on_invoke(void *ctx, const struct fn_view *v)
{
	struct init *in = ctx;

	/* Only the lambda contract's invocations come this way. */
	if (in->opt.contract == CONTRACT_LAMBDA && in->function && rapi_invoke(&in->rapi, v) == 0)
		return;
	chan_send(&in->chan, (struct fn_frame){ .type = FN_RESULT, .id = v->head.id, .arg = FN_REFUSED }, NULL, 0, NULL, 0);
}

static void on_stop(void *ctx, int sig)
{
	struct init *in = ctx;

	if (in->function)
		kill(-in->function, sig);
}

static void on_cancel(void *ctx, uint64_t id)
{
	struct init *in = ctx;

	if (in->opt.contract == CONTRACT_LAMBDA)
		rapi_cancel(&in->rapi, id);
}

static void on_rest(void *ctx)
{
	struct init *in = ctx;

	if (in->opt.contract == CONTRACT_LAMBDA)
		rapi_rest(&in->rapi);
}

static int on_running(void *ctx, struct buf *ids)
{
	struct init *in = ctx;

	return in->opt.contract == CONTRACT_LAMBDA ? rapi_running(&in->rapi, ids) : 0;
}

static const struct chan_ops chan_ops = { .invoke = on_invoke, .stop = on_stop, .cancel = on_cancel, .rest = on_rest, .running = on_running };

/* ---- the Runtime API ---- */

static void send_document(struct init *in, struct fn_frame head, const struct rapi_result *r)
{
	char meta[1024];
	size_t len = 0;

	/* A type that is no line of text is left out. */
	if (r->content_type[0])
		fn_meta_put(meta, sizeof meta, &len, "content_type", r->content_type, strlen(r->content_type));
	if (r->error_type[0])
		fn_meta_put(meta, sizeof meta, &len, "error_type", r->error_type, strlen(r->error_type));
	log_drain(in);          /* what the function wrote before it answered comes before its answer */
	if (chan_send(&in->chan, head, meta, len, r->body, r->body_len) == 0)
		return;
	/* No memory for it: say at least that it is over. */
	head.arg = FN_FUNCTION_ERROR;
	chan_send(&in->chan, head, NULL, 0, NULL, 0);
}

static void on_loaded(void *ctx)
{
	struct init *in = ctx;

	chan_loaded(&in->chan);
}

static void on_ready(void *ctx)
{
	struct init *in = ctx;

	log_drain(in);
	chan_ready(&in->chan, in->opt.contract == CONTRACT_LAMBDA && rapi_is_zygote(&in->rapi));
}

static void on_result(void *ctx, const struct rapi_result *r)
{
	send_document(ctx, (struct fn_frame){ .type = FN_RESULT, .id = r->id, .arg = r->outcome }, r);
}

static void on_init_error(void *ctx, const struct rapi_result *r)
{
	send_document(ctx, (struct fn_frame){ .type = FN_INIT_ERROR }, r);
}

static void on_output(void *ctx, struct rapi_conn *c)
{
	http_output(c);
}

static void on_workers(void *ctx, unsigned count)
{
	struct init *in = ctx;

	chan_workers(&in->chan, count);
}

static void on_rested(void *ctx)
{
	struct init *in = ctx;

	chan_send(&in->chan, (struct fn_frame){ .type = FN_RESTED }, NULL, 0, NULL, 0);
}

static uint64_t on_waits(void *ctx)
{
	struct init *in = ctx;
	uint64_t now = clock_mono_ns();

	if (!in->idle.at_ns)
		in->idle.at_ns = now + in->opt.worker_idle_ns;
	return now;
}

static void idle_over(struct loop_timer *timer)
{
	struct init *in = timer->ctx;

	rapi_idle_end(&in->rapi, clock_mono_ns());
	timer->at_ns = rapi_idle_due(&in->rapi);
}

static bool on_alive(void *ctx, pid_t pid)
{
	return kill(pid, 0) == 0 || errno == EPERM;
}

static void on_end(void *ctx, pid_t pid)
{
	struct init *in = ctx;

	if (pid)
		kill(pid, SIGKILL);
	else if (in->function)
		kill(in->function, SIGKILL);
}

static const struct rapi_ops rapi_ops = {
	.loaded = on_loaded, .ready = on_ready, .result = on_result, .init_error = on_init_error, .output = on_output,
	.workers = on_workers, .rested = on_rested, .waits = on_waits, .alive = on_alive, .end = on_end,
};

/* ---- processes ---- */

static void linger_over(struct loop_timer *timer)
{
	struct init *in = timer->ctx;

	in->loop.stop = true;
}

/* The function's process ended: what it left behind goes too, and hearthd gets its last words and its status. */
static void function_ended(struct init *in, pid_t pid, int status)
{
	in->function = 0;
	in->wait_status = status;
	probe_stop(&in->probe);
	log_drain(in);
	child_kill_rest(pid);
	log_drain(in);
	chan_send(&in->chan, (struct fn_frame){ .type = FN_EXITED, .arg = (uint64_t)(uint32_t)status }, NULL, 0, NULL, 0);
	in->linger.at_ns = clock_mono_ns() + LINGER_NS;
	chan_finish(&in->chan);
}

static void reap(struct init *in)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == in->function) {
			function_ended(in, pid, status);
			return;
		}
		if (in->opt.contract == CONTRACT_LAMBDA) {
			log_drain(in);  /* its last words come before its end */
			rapi_worker_ended(&in->rapi, pid, status);
		}
	}
}

static void signals_ready(struct loop_io *io, uint32_t events)
{
	struct init *in = io->ctx;
	struct signalfd_siginfo si;

	if (read(io->fd, &si, sizeof si) != (ssize_t)sizeof si)
		return;
	if (si.ssi_signo == SIGCHLD)
		reap(in);
	else
		on_stop(in, (int)si.ssi_signo);
}

static int signals_open(struct init *in)
{
	static const int forwarded[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
		sigaddset(&set, forwarded[i]);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return -errno;
	in->signals = (struct loop_io){ .ready = signals_ready, .ctx = in };
	in->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (in->signals.fd < 0)
		return -errno;
	return loop_add(&in->loop, &in->signals, EPOLLIN);
}

/* ---- start ---- */

static int put_env(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int put_env(const char *name, const char *format, ...)
{
	char value[256];
	va_list args;

	va_start(args, format);
	vsnprintf(value, sizeof value, format, args);
	va_end(args);
	return setenv(name, value, 1) < 0 ? -errno : 0;
}

static int environment(const struct options *o)
{
	int ret = put_env("HEARTH_CONCURRENCY", "%u", o->concurrency);

	if (ret == 0 && o->suffix)
		ret = put_env("HEARTH_SUFFIX", "%s", o->suffix);
	if (ret == 0 && o->contract == CONTRACT_LAMBDA)
		ret = put_env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:%u", o->api_port);
	if (ret == 0 && o->zygote)
		ret = put_env("HEARTH_ZYGOTE", "1");
	if (ret == 0 && o->contract == CONTRACT_HTTP)
		ret = put_env("PORT", "%u", o->port);
	return ret;
}

static int services_open(struct init *in, struct hearth_err *err)
{
	const struct options *o = &in->opt;
	int ret = loop_init(&in->loop);

	if (ret == 0)
		ret = signals_open(in);
	if (ret == 0)
		ret = environment(o);
	if (ret < 0)
		return err_set(err, ret, "cannot set up: %s", strerror(-ret));
	in->linger = (struct loop_timer){ .fire = linger_over, .ctx = in };
	in->idle = (struct loop_timer){ .fire = idle_over, .ctx = in };
	loop_timer_add(&in->loop, &in->linger);
	loop_timer_add(&in->loop, &in->idle);
	ret = chan_init(&in->chan, &in->loop, o->suffix, &chan_ops, in);
	if (ret < 0)
		return err_set(err, ret, "cannot listen on %s%s%s: %s", FN_NAME_INIT, o->suffix ? "-" : "", o->suffix ? o->suffix : "", strerror(-ret));
	if (o->contract == CONTRACT_LAMBDA) {
		rapi_init(&in->rapi, RAPI_RESPONSE_MAX, &rapi_ops, in);
		if (o->zygote)
			rapi_allow_fork(&in->rapi, o->concurrency, o->worker_idle_ns);
		in->chan.forks = o->zygote;
		ret = http_init(&in->http, &in->loop, &in->rapi, o->api_port, o->zygote ? o->concurrency : 1);
		if (ret < 0)
			return err_set(err, ret, "cannot listen on 127.0.0.1:%u for the Runtime API: %s", o->api_port, strerror(-ret));
	}
	return 0;
}

/* A command that cannot be started looks like one that wrote why and exited with a shell's status for it. */
static void not_started(struct init *in, int error)
{
	char text[512];
	int len = snprintf(text, sizeof text, "hearth-init: cannot start %s: %s\n", in->opt.command[0], strerror(-error));

	if (len >= (int)sizeof text)
		len = sizeof text - 1;
	chan_log(&in->chan, 2, text, (size_t)len);
	function_ended(in, 0, (error == -ENOENT ? 127 : 126) << 8);
}

static int function_start(struct init *in)
{
	int out, err;
	pid_t pid = child_spawn(in->opt.command, &out, &err);

	in->out = (struct loop_io){ .fd = pid < 0 ? -1 : out, .ready = log_ready, .ctx = in };
	in->err = (struct loop_io){ .fd = pid < 0 ? -1 : err, .ready = log_ready, .ctx = in };
	if (pid < 0) {
		not_started(in, pid);
		return 0;
	}
	in->function = pid;
	if (in->opt.contract == CONTRACT_HTTP)
		probe_start(&in->probe, &in->loop, in->opt.port, on_ready, in);
	if (loop_add(&in->loop, &in->out, EPOLLIN) < 0 || loop_add(&in->loop, &in->err, EPOLLIN) < 0)
		return -ENOMEM;
	return 0;
}

/*
 * From here on nothing may be open that lies outside the instance: a checkpoint would have to bring it back. Whoever started us also sees the end
 * of our standard error now, and knows that the function runs.
 */
static int let_go(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fd;

	if (null < 0)
		return -errno;
	for (fd = 0; fd <= 2; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	if (null > 2)
		close(null);
	return 0;
}

static int exit_code(int wait_status)
{
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

static int run(struct init *in, struct hearth_err *err)
{
	int ret;

	close_range(3, ~0u, 0);         /* what the caller forgot to close is nobody's business here */
	if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_set(err, -errno, "cannot become the reaper of the function's processes: %s", strerror(errno));
	ret = services_open(in, err);
	if (ret < 0)
		return ret;
	ret = function_start(in);
	if (ret == 0)
		ret = let_go();
	if (ret == 0)
		ret = loop_run(&in->loop);
	if (ret < 0) {
		if (in->function)
			child_kill_rest(in->function);
		return err_set(err, ret, "cannot look after the function: %s", strerror(-ret));
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct init in;
	struct hearth_err err = { 0 };
	const char *text;
	int ret = options_parse(argc, argv, &in.opt, &text, &err);

	if (ret == 1)
		return fputs(text, stdout) < 0 || fflush(stdout) < 0;
	if (ret < 0) {
		fprintf(stderr, "hearth-init: %s\n%s", err.msg, options_usage);
		return 2;
	}
	if (run(&in, &err) < 0) {
		fprintf(stderr, "hearth-init: %s\n", err.msg);
		return 1;
	}
	return exit_code(in.wait_status);
}
