// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/proc.h"
#include "priv.h"

/* a stop that waits on instances gives up on them after this */
#define SHUTDOWN_S 60.0
/* and one that only waits for running calls after this */
#define DRAIN_S 10.0

void make_id(char *out, size_t n, const char *function)
{
	uint32_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = (uint32_t)clock_wall_ns();
	snprintf(out, n, "%s-%08x", function, r);
}

uint64_t node_rss_bytes(void)
{
	unsigned long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f) {
		if (fscanf(f, "%*u %llu", &pages) != 1)
			pages = 0;
		fclose(f);
	}
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

json_t *node_to_json(struct node *n)
{
	char gateway[300], cgroups[128];
	json_t *o;

	snprintf(gateway, sizeof(gateway), "http://%.*s:%u", (int)(strrchr(n->cfg->listen, ':') - n->cfg->listen), n->cfg->listen, n->port);
	cgroup_tree_describe(n->cgroups, cgroups, sizeof(cgroups));
	o = json_pack("{s:s,s:i,s:s,s:I,s:f,s:s,s:s,s:b,s:s,s:I,s:I,s:b}", "version", HEARTH_VERSION, "pid", (int)getpid(), "gateway", gateway,
		      "memory_bytes", (json_int_t)node_rss_bytes(), "uptime_s", (double)(clock_mono_ns() - n->started_ns) / NS_PER_S, "isolation",
		      n->isolated ? "full" : "none", "cgroups", cgroups, "can_park", n->can_park, "no_park", n->no_park, "parked",
		      (json_int_t)n->parked_total, "adopted", (json_int_t)n->adopted_total, "stopping", n->stopping);
	json_object_set_new(o, "farmem", node_memory_to_json(n));
	json_object_set_new(o, "slots", json_integer(slots_config_of(n->slots)->slots));
	json_object_set_new(o, "slots_busy", json_integer(slots_busy(n->slots)));
	json_object_set_new(o, "slots_waiting", json_integer(slots_waiting(n->slots)));
	json_object_set_new(o, "policy", json_string(sched_policy_names[slots_config_of(n->slots)->policy]));
	return o;
}

uint16_t node_gateway_port(const struct node *n)
{
	return n->port;
}

/* ---- what this machine lets us do ---- */

/* in a child, so that nothing of it stays */
static bool can_isolate(void)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return false;
	pid = fork();
	if (pid == 0)
		_exit(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID) < 0);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void probe_done(void *ctx, json_t *result)
{
	struct node *n = ctx;
	struct function *fn, *next;
	bool asked = false;
	json_t *item;
	size_t i;

	n->can_park = true;
	json_array_foreach(json_object_get(result, "checks"), i, item) {
		const char *name = json_string_value(json_object_get(item, "name")), *detail = json_string_value(json_object_get(item, "detail"));

		if (!name || strncmp(name, "criu", 4))
			continue;
		asked = true;
		if (n->can_park && !json_is_true(json_object_get(item, "ok"))) {
			n->can_park = false;
			snprintf(n->no_park, sizeof(n->no_park), "%s: %s", name, detail ? detail : "does not work");
		}
	}
	if (!asked) {
		n->can_park = false;
		snprintf(n->no_park, sizeof(n->no_park), "hearth-box could not tell whether CRIU works here: %.150s", job_error(result));
	}
	if (n->can_park) {
		n->no_park[0] = '\0';
		standby_begin(n);
	}
	log_at(n->can_park ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, n->can_park ? "idle instances are parked%s" : "idle instances are ended instead of parked: %s",
	       n->no_park);
	HASH_ITER(hh, n->functions, fn, next)
		function_keep_min(fn);
}

static void probe(struct node *n)
{
	struct hearth_err err;

	if (!n->isolated)
		snprintf(n->no_park, sizeof(n->no_park), "parking needs full isolation (root, or CAP_SYS_ADMIN in its own user namespace)");
	else if (!n->cfg->criu)
		snprintf(n->no_park, sizeof(n->no_park), "there is no criu program; tools/setup builds one, `criu:` in the configuration names one");
	else if (!job_run(n, json_pack("{s:s,s:s}", "job", "probe", "criu", n->cfg->criu), probe_done, n, &err))
		snprintf(n->no_park, sizeof(n->no_park), "%.250s", err.msg);
	else
		n->can_park = true;             /* until the probe says otherwise; a checkpoint that fails leaves its instance running */
}

/* ---- start ---- */

static int take_lock(struct node *n, struct hearth_err *err)
{
	char path[PATH_MAX], pid[32];
	int r;

	r = dir_make(n->cfg->run_dir, 0755);
	if (r < 0)
		return err_set(err, r, "cannot make the run folder %s: %s; choose another with --run", n->cfg->run_dir, strerror(-r));
	snprintf(path, sizeof(path), "%s/hearthd.lock", n->cfg->run_dir);
	n->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (n->lock_fd < 0)
		return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	if (flock(n->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, -EADDRINUSE, "another hearthd runs with the run folder %s; `hearth down` ends it, --run chooses another", n->cfg->run_dir);
	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(n->lock_fd, 0) < 0 || pwrite(n->lock_fd, pid, strlen(pid), 0) < 0)
		return err_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
	return 0;
}

static int split_listen(const char *listen, char *host, size_t n, uint16_t *ret_port, struct hearth_err *err)
{
	const char *colon = strrchr(listen, ':');
	char *end;
	long port;

	if (!colon || colon == listen || (size_t)(colon - listen) >= n)
		return err_set(err, -EINVAL, "listen: \"%s\" is no address; use HOST:PORT, as 127.0.0.1:8470", listen);
	port = strtol(colon + 1, &end, 10);
	if (*end || end == colon + 1 || port < 0 || port > 65535)
		return err_set(err, -EINVAL, "listen: \"%s\" is no port; use 0 (any) to 65535", colon + 1);
	memcpy(host, listen, (size_t)(colon - listen));
	host[colon - listen] = '\0';
	*ret_port = (uint16_t)port;
	return 0;
}

static int open_gateway(struct node *n, struct hearth_err *err)
{
	struct http_config cfg = {
		.max_body_bytes = n->cfg->max_body_bytes,
		.max_connections = (unsigned)n->cfg->max_connections,
	};
	char host[256];
	int r;

	r = split_listen(n->cfg->listen, host, sizeof(host), &cfg.port, err);
	if (r < 0)
		return r;
	cfg.host = host;
	n->http = http_server_new(n->loop, &cfg, gateway_request, n, err);
	if (!n->http)
		return err ? err->code : -EIO;
	n->port = http_server_port(n->http);
	return 0;
}

static void tick(struct ev_loop *loop, ev_timer *w, int events)
{
	struct node *n = w->data;

	(void)loop;
	(void)events;
	if (n->strays) {
		n->strays = false;
		records_end_strays(n);
	}
	if (n->recorder)
		call_recorder_flush(n->recorder);
}

/* for a stop that ends the instances: those; for one that leaves them: the calls they run */
static bool anything_left(struct node *n)
{
	struct function *fn, *next;
	struct instance *inst;

	HASH_ITER(hh, n->functions, fn, next)
		TAILQ_FOREACH(inst, &fn->instances, entry)
			if (n->stop_instances ? inst->state != INST_PARKED : !LIST_EMPTY(&inst->running))
				return true;
	return false;
}

static void settle(struct ev_loop *loop, ev_timer *w, int events)
{
	struct node *n = w->data;

	(void)events;
	functions_sweep(n);
	if (n->stopping && (n->given_up || !anything_left(n)))
		ev_break(loop, EVBREAK_ALL);
}

/* from a callback of its own: those who report an end may be walking the very lists */
void node_settled(struct node *n)
{
	if (!ev_is_active(&n->settle)) {
		ev_timer_set(&n->settle, 0, 0);
		ev_timer_start(n->loop, &n->settle);
	}
}

static void node_paths(struct node *n)
{
	struct digest d = digest_mem(n->cfg->run_dir, strlen(n->cfg->run_dir));

	snprintf(n->box, sizeof(n->box), "%s/hearth-box", n->cfg->libexec_dir);
	snprintf(n->init, sizeof(n->init), "%s/hearth-init", n->cfg->libexec_dir);
	/* two daemons on one machine must not end each other's instances as strays */
	snprintf(n->cgroup_root, sizeof(n->cgroup_root), "hearth-%08x", (unsigned)d.lo);
}

static int set_up(struct node *n, struct hearth_err *err)
{
	int r;

	fd_raise_limit();
	r = take_lock(n, err);
	if (r < 0)
		return r;
	if (access(n->box, X_OK) < 0 || access(n->init, X_OK) < 0)
		return err_set(err, -ENOENT, "hearth-box or hearth-init is not in %s; install Hearth whole, or name the folder with --libexec", n->cfg->libexec_dir);
	/* instances outlive the hearth-box that made them: they become our children, so that none stays a zombie where PID 1 does not reap */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	n->isolated = n->cfg->isolation != NODE_ISOLATION_NONE && can_isolate();
	if (n->cfg->isolation == NODE_ISOLATION_FULL && !n->isolated)
		return err_set(err, -EPERM, "isolation: full is asked for, but this process may not make namespaces; run as root, or use isolation: auto");
	if (!n->isolated)
		log_warn("functions run WITHOUT isolation (no namespaces, shared network): this process may not make namespaces; run as root for the full thing");
	r = cgroup_probe(&n->cgroups, err);
	if (r < 0)
		return r;
	r = cgroup_claim(n->cgroups, err);
	if (r < 0)
		log_warn("no memory or CPU limits: %s", err->msg);
	r = node_memory_begin(n, err);  /* before anything starts: programs begin with what its engine wants in their environment */
	if (r < 0)
		return r;
	r = functions_load(n, err);
	if (r < 0)
		return r;
	slots_named(n->slots, clock_mono_ns());
	r = records_adopt(n, err);
	if (r < 0)
		return r;
	r = open_gateway(n, err);
	if (r < 0)
		return r;
	n->control = control_new(n, err);
	return n->control ? 0 : err->code;
}

struct node *node_new(struct ev_loop *loop, const struct node_config *cfg, struct hearth_err *err)
{
	struct node *n = calloc(1, sizeof(*n));
	struct function *fn, *next;

	if (!n) {
		err_set(err, -ENOMEM, "cannot start: out of memory");
		return NULL;
	}
	n->loop = loop;
	n->cfg = cfg;
	n->lock_fd = -1;
	n->started_ns = clock_mono_ns();
	n->cpus = proc_cpus();
	n->next_invocation = clock_wall_ns();   /* no id twice, not even across daemons */
	ev_timer_init(&n->tick, tick, 1, 1);
	ev_timer_init(&n->settle, settle, 0, 0);
	n->tick.data = n->settle.data = n;
	standby_init(n);
	node_keeper_init(n);
	node_memory_init(n);
	node_paths(n);
	if (node_slots_init(n, err) < 0 || set_up(n, err) < 0)
		return node_free(n);
	ev_timer_start(loop, &n->tick);
	probe(n);
	node_keeper_begin(n);
	HASH_ITER(hh, n->functions, fn, next)
		function_keep_min(fn);
	return n;
}

/* ---- stop ---- */

static void shutdown_over(struct ev_loop *loop, ev_timer *w, int events)
{
	struct node *n = w->data;
	struct function *fn, *next;
	struct instance *inst, *other;

	(void)loop;
	(void)events;
	HASH_ITER(hh, n->functions, fn, next)
		TAILQ_FOREACH_SAFE(inst, &fn->instances, entry, other)
			if (n->stop_instances)
				instance_kill(inst, "hearthd stops");
	n->given_up = true;
	node_settled(n);
}

void node_shutdown(struct node *n, bool stop_instances)
{
	struct function *fn, *next;
	struct invocation *inv;

	if (n->stopping)
		return;
	n->stopping = true;
	n->stop_instances = stop_instances;
	http_server_stop(n->http, NULL, NULL);
	HASH_ITER(hh, n->functions, fn, next) {
		ev_timer_stop(n->loop, &fn->keep_min);
		while ((inv = TAILQ_FIRST(&fn->queue)))
			invocation_fail(inv, 503, "ServiceUnavailable", "hearthd is stopping");
	}
	if (stop_instances)
		instances_stop_all(n);
	ev_timer_stop(n->loop, &n->tick);
	ev_timer_init(&n->tick, shutdown_over, stop_instances ? SHUTDOWN_S : DRAIN_S, 0);
	ev_timer_start(n->loop, &n->tick);
	node_settled(n);
}

struct node *node_free(struct node *n)
{
	if (!n)
		return NULL;
	ev_timer_stop(n->loop, &n->tick);
	ev_timer_stop(n->loop, &n->settle);
	n->control = control_free(n->control);
	standby_end(n);
	node_keeper_end(n);
	jobs_free(n);
	functions_free(n);
	node_memory_end(n);
	node_slots_done(n);
	n->http = http_server_free(n->http);
	if (n->stop_instances)
		(void)cgroup_remove(n->cgroups, n->cgroup_root);        /* empty but for what could not be ended */
	n->cgroups = cgroup_tree_free(n->cgroups);
	fd_close(&n->lock_fd);
	free(n);
	return NULL;
}
