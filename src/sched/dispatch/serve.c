/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/thread.h"
#include "serve_private.h"

/* ---- the application's side: in the nursery and in workers ---- */

static int app_init(void *ctx, char *error, size_t room)
{
	struct serve *s = ctx;

	s->env.error = error;
	s->env.error_room = room;
	return s->app.init != NULL ? s->app.init(&s->env, &s->app_state) : 0;
}

static void app_done(void *ctx)
{
	struct serve *s = ctx;

	if (s->app.done != NULL)
		s->app.done(s->app_state);
}

static void app_worker(void *ctx, uint32_t w, struct slot *slot)
{
	struct serve *s = ctx;
	struct front_worker worker = { .app = &s->app, .state = s->app_state, .port = s->port, .worker = w };
	struct hearth_app_env env = s->env;
	char error[SLOT_ERROR_MAX] = "", name[16];
	int r = 0;

	snprintf(name, sizeof(name), "hearth-w%u", w);
	prctl(PR_SET_NAME, name);
	env.error = error;
	env.error_room = sizeof(error);
	if (s->app.worker_init != NULL)
		r = s->app.worker_init(s->app_state, &env, w, &worker.state);
	if (r < 0) {
		log_error("worker %u cannot begin: %s", w, error[0] != '\0' ? error : strerror(-r));
		slot_ready(slot, error[0] != '\0' ? error : strerror(-r));
		return;
	}
	slot_ready(slot, NULL);
	slot_run(slot, &front_work, &worker);
	if (s->app.worker_done != NULL)
		s->app.worker_done(worker.state);
}

/* ---- starting ---- */

static int find_backend(const struct serve_config *c, const struct net_backend **ret, struct hearth_err *err)
{
	const struct net_backend *net = net_backend_find(c->backend);
	char known[128] = "";
	size_t n = 0;

	if (net != NULL) {
		*ret = net;
		return net->probe(err);
	}
	for (size_t i = 0; net_backends[i] != NULL; i++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i > 0 ? ", " : "", net_backends[i]->name);
	return err_set(err, -EINVAL, "%s: key \"backend\": no backend \"%s\" in this build; there is %s", c->path, c->backend, known);
}

static int make_classifier(const struct serve_config *c, const struct hearth_app *app, struct classifier **ret, struct hearth_err *err)
{
	struct classify_config cfg;
	int r;

	config_classify(c, app->classify, &cfg);
	r = classifier_new(&cfg, ret, err);
	return r < 0 ? err_prefix(err, "%s", c->path) : 0;
}

/* Everything that a look at the configuration and the machine can tell. Fills in what it finds. */
static int prepare(struct serve *s, const struct serve_config *c, struct hearth_err *err)
{
	int r = config_machine(c, err);

	s->cfg = c;
	if (r == 0)
		r = find_backend(c, &s->net, err);
	if (r == 0)
		r = app_load(c->app, &s->app, &s->app_handle, err);
	if (r < 0)
		return r;
	for (size_t t = 0; t < c->types_n; t++)
		s->type_names[t] = c->types[t].name;
	s->env = (struct hearth_app_env){ .options = (const char *const *)c->app_options, .type_names = s->type_names, .types = (uint32_t)c->types_n,
					  .workers = (uint32_t)c->workers };
	return 0;
}

static bool is_shared(const struct serve *s)
{
	return s->cfg->isolation == ISOLATION_SHARED || (s->app.flags & HEARTH_APP_SHARED) != 0;
}

static int open_port(struct serve *s, struct hearth_err *err)
{
	const struct serve_config *c = s->cfg;
	struct net_config net = { .backend = c->backend, .listen = c->listen, .interface = c->interface, .eal = c->eal, .queue = (uint32_t)c->queue,
				  .tx_queues = (uint32_t)c->workers, .buffers = config_buffers(c) };

	return s->net->open(&net, &s->port, err);
}

static int make_slots(struct serve *s, struct hearth_err *err)
{
	struct idle idle = { .mode = (enum idle_mode)s->cfg->idle, .spin_ns = s->cfg->idle_spin, .yield = s->cfg->oversubscribe };
	size_t n = (size_t)s->cfg->workers;
	void *m;

	s->shared_bytes = sizeof(struct bell) + n * slot_bytes();
	m = mmap(NULL, s->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return err_set(err, -errno, "memory for workers: %s", strerror(errno));
	s->shared = m;
	s->bell = m;
	s->bell->silent = idle.mode == IDLE_POLL;
	s->bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->bell->fd < 0)
		return err_set(err, -errno, "eventfd: %s", strerror(errno));
	for (size_t w = 0; w < n; w++)
		s->slot[w] = slot_init(s->shared + sizeof(struct bell) + w * slot_bytes(), (uint32_t)w, s->bell, &idle);
	return 0;
}

static int hire(struct serve *s, struct hearth_err *err)
{
	struct crew_config crew = {
		.workers = (uint32_t)s->cfg->workers,
		.shared = is_shared(s),
		.cpus = s->cfg->cpus != NULL ? s->cfg->cpu : NULL,
		.slots = s->slot,
		.work = { .init = app_init, .worker = app_worker, .done = app_done, .ctx = s },
	};

	return crew_proc_new(&crew, &s->crew, err);
}

static int make_dispatcher(struct serve *s, struct hearth_err *err)
{
	const struct serve_config *c = s->cfg;
	struct sched_config sched;
	struct disp_config cfg = {
		.sched = &sched,
		.slots = s->slot,
		.bell = s->bell,
		.idle = { .mode = (enum idle_mode)c->idle, .spin_ns = c->idle_spin, .yield = c->oversubscribe },
		.hang_ns = c->hang_timeout,
		.front = &front_ops,
		.front_ctx = &s->front,
		.crew = &crew_proc_ops,
		.crew_ctx = s->crew,
		.recorder = s->recorder,
	};
	int r;

	config_sched(c, &sched);
	r = disp_new(&cfg, &s->disp, err);
	if (r < 0)
		return err_prefix(err, "%s", c->path);
	s->front.disp = s->disp;
	crew_proc_bind(s->crew, s->disp);
	return 0;
}

static void *dispatcher(void *arg)
{
	struct serve *s = arg;

	prctl(PR_SET_NAME, "hearth-disp");
	if (s->cfg->dispatcher_cpu >= 0)
		(void)crew_pin((int)s->cfg->dispatcher_cpu);
	disp_run(s->disp);
	return NULL;
}

static int start_dispatcher(struct serve *s, struct hearth_err *err)
{
	int r = thread_spawn(&s->thread, dispatcher, s);

	if (r < 0)
		return err_set(err, r, "dispatcher's thread: %s", strerror(-r));
	s->started = true;
	return 0;
}

static int wait_ready(struct serve *s, struct hearth_err *err)
{
	struct pollfd pfd = { .fd = disp_ready_fd(s->disp), .events = POLLIN };
	const char *error;
	uint64_t count;
	uint32_t failed;

	while (disp_ready(s->disp, &failed, &error) < (uint32_t)s->cfg->workers) {
		if (failed != DISP_NOBODY)
			return err_set(err, -EIO, "worker %u cannot begin: %s", failed, error);
		if (poll(&pfd, 1, -1) > 0)
			(void)!read(pfd.fd, &count, sizeof(count));
	}
	return 0;
}

static int answer(void *ctx, const char *question, struct buf *out, struct hearth_err *err)
{
	struct serve *s = ctx;

	if (strcmp(question, "explain") == 0)
		return serve_explain(s, false, out);
	if (strcmp(question, "explain json") == 0)
		return serve_explain(s, true, out);
	if (strcmp(question, "metrics") == 0)
		return serve_metrics(s, out);
	if (strcmp(question, "reload") == 0)
		return serve_reread(s, out, err);
	return err_set(err, -EINVAL, "no question \"%s\"; there are explain, explain json, metrics and reload", question);
}

static int open_control(struct serve *s, struct hearth_err *err)
{
	if (s->cfg->control != NULL)
		return control_new(s->cfg->control, answer, s, &s->control, err);
	s->idle_fd = eventfd(0, EFD_CLOEXEC);
	return s->idle_fd < 0 ? err_set(err, -errno, "eventfd: %s", strerror(errno)) : 0;
}

static int open_record(struct serve *s, struct hearth_err *err)
{
	return s->cfg->record != NULL ? recorder_open(s->cfg->record, clock_mono_ns(), s->type_names, (uint32_t)s->cfg->types_n, &s->recorder, err) : 0;
}

static int init_front(struct serve *s, struct hearth_err *err)
{
	uint32_t workers = (uint32_t)s->cfg->workers;
	int r = front_init(&s->front, s->port, workers, config_buffers(s->cfg), err);

	if (r < 0)
		return r;
	s->front.reject_unknown = s->cfg->unknown == UNKNOWN_REJECT;
	s->front.drop_silently = s->cfg->overload == OVERLOAD_DROP;
	return make_classifier(s->cfg, &s->app, &s->front.classifier, err);
}

int serve_new(const struct serve_config *c, struct serve **ret, struct hearth_err *err)
{
	/* what forks is before what makes threads and what must not be inherited */
	static int (*const steps[])(struct serve *s, struct hearth_err *err) = {
		open_port, make_slots, init_front, hire, open_record, make_dispatcher, open_control, start_dispatcher, wait_ready,
	};
	struct serve *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return err_set(err, -ENOMEM, "server: out of memory");
	s->idle_fd = -1;
	s->begun_ns = clock_mono_ns();
	r = prepare(s, c, err);
	for (size_t i = 0; r == 0 && i < sizeof(steps) / sizeof(steps[0]); i++)
		r = steps[i](s, err);
	if (r < 0) {
		serve_free(s, NULL);
		return r;
	}
	*ret = s;
	return 0;
}

void serve_stop(struct serve *s)
{
	if (!s->started)
		return;
	disp_stop(s->disp, s->live != NULL ? s->live->drain : s->cfg->drain);
	pthread_join(s->thread, NULL);
	s->started = false;
}

struct serve *serve_free(struct serve *s, struct hearth_err *err)
{
	if (s == NULL)
		return NULL;
	serve_stop(s);
	s->control = control_free(s->control);
	s->crew = crew_proc_free(s->crew);
	s->disp = disp_free(s->disp);
	s->recorder = recorder_close(s->recorder, err);
	front_done(&s->front);
	if (s->port != NULL)
		s->port = s->net->close(s->port);
	if (s->bell != NULL)
		fd_close(&s->bell->fd);
	if (s->shared != NULL)
		munmap(s->shared, s->shared_bytes);
	fd_close(&s->idle_fd);
	app_unload(s->app_handle);
	serve_config_free(s->live);
	free(s);
	return NULL;
}

int serve_fd(const struct serve *s)
{
	return s->control != NULL ? control_fd(s->control) : s->idle_fd;
}

void serve_step(struct serve *s)
{
	if (s->control != NULL)
		control_step(s->control);
}

void serve_address(const struct serve *s, char *out, size_t n)
{
	s->net->address(s->port, out, n);
}

const char *serve_type_name(const struct serve *s, uint32_t type)
{
	return type < s->cfg->types_n ? s->type_names[type] : "unknown";
}

/* ---- without starting ---- */

int serve_check(const struct serve_config *c, struct buf *out, struct hearth_err *err)
{
	struct serve s = { 0 };
	struct classifier *classifier = NULL;
	struct sched_config sched;
	struct sched *core = NULL;
	int r = prepare(&s, c, err);

	config_sched(c, &sched);
	if (r == 0)
		r = make_classifier(c, &s.app, &classifier, err);
	if (r == 0) {
		r = sched_new(&sched, &core, err);
		if (r < 0)
			err_prefix(err, "%s", c->path);
	}
	if (r == 0 && (buf_printf(out, "listens on %s (%s), %u buffers\n", c->listen, c->backend, config_buffers(c)) < 0 ||
		       buf_printf(out, "application %s, %lld workers%s, idle: %s\n", c->app, (long long)c->workers,
				  is_shared(&s) ? " in one process" : " in processes of their own", serve_idle_names[c->idle]) < 0 ||
		       buf_printf(out, "policy %s, %zu types, requests are of a type by %s\n", sched_policy_names[c->policy], c->types_n,
				  classify_names[c->classify]) < 0))
		r = err_set(err, -ENOMEM, "out of memory");
	sched_free(core);
	classifier_free(classifier);
	app_unload(s.app_handle);
	return r;
}
