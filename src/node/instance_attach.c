// SPDX-License-Identifier: Apache-2.0
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "instance.h"

/* Taking hold of a process: its pidfd, its channels, its upstream; what it says on them. */

/* pid and start time together name a process for good; without the start time a reused pid could be taken for it */
static int pid_starttime(pid_t pid, uint64_t *ret)
{
	char path[64], *text, *p;
	unsigned long long value;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = file_read(path, 4096, &text, NULL);
	if (r < 0)
		return r;
	p = strrchr(text, ')');
	r = p && sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &value) == 1 ? 0 : -EINVAL;
	free(text);
	if (r == 0)
		*ret = value;
	return r;
}

int instance_adopt_pid(struct instance *inst, pid_t pid, uint64_t starttime, struct hearth_err *err)
{
	struct node *n = inst->fn->node;
	uint64_t found = 0;
	char path[64];
	int fd;

	if (pid <= 1)
		return err_set(err, -ESRCH, "it has no process");
	fd = pidfd_of(pid);
	if (fd < 0)
		return err_set(err, fd, "pid %d: %s", (int)pid, strerror(-fd));
	if (pid_starttime(pid, &found) < 0 || found != starttime) {
		close(fd);
		return err_set(err, -ESRCH, "pid %d is another process now", (int)pid);
	}
	inst->pid = pid;
	inst->starttime = starttime;
	inst->pidfd = fd;
	if (n->isolated && inst->fn->m.network == NET_PRIVATE) {
		snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
		inst->netns = open(path, O_RDONLY | O_CLOEXEC);
	}
	ev_io_set(&inst->exit_watch, fd, EV_READ);
	ev_io_start(n->loop, &inst->exit_watch);
	return 0;
}

void instance_suffix(const struct instance *inst, char *out, size_t n)
{
	if (inst->fn->node->isolated && inst->fn->m.network == NET_PRIVATE)
		out[0] = '\0';
	else
		snprintf(out, n, "-%s", inst->id);
}

void instance_set_ready(struct instance *inst)
{
	struct function *fn = inst->fn;

	if (inst->ready && inst->state == INST_HOT)
		return;
	inst->ready = true;
	fn->start_failures = 0;
	inst->ready_ns = clock_mono_ns();
	if (inst->state == INST_STOPPING)
		return;
	instance_set_state(inst, INST_HOT);
	record_write(inst);
	fn->count.starts[inst->origin]++;
	estimate_update(&fn->start_ns[inst->origin], inst->ready_ns - inst->created_ns);
	memory_ready(inst);
	log_debug("instance %s ready after %.1f ms", inst->id, (double)(inst->ready_ns - inst->created_ns) / NS_PER_MS);
	if (inst->for_snapshot && fn->snapshot)         /* adopted; the daemon before had done it */
		inst->for_snapshot = fn->snapshot_busy = false;
	if (inst->for_snapshot) {
		struct hearth_err err;

		if (instance_park(inst, &err) < 0) {
			log_warn("function %s: no snapshot: %s", fn->m.name, err.msg);
			inst->for_snapshot = fn->snapshot_busy = false;
		} else {
			return;
		}
	}
	if (inst->outdated && inst->inflight == 0)      /* adopted */
		instance_stop(inst, "its function was changed or removed");
	else
		instance_idle(inst);
	function_pump(fn);
}

/* ---- frames from hearth-init and from native functions ---- */

/* the value of a key as text; @out keeps what it holds when there is none, or it does not fit */
static void meta_text(const char *meta, size_t meta_len, const char *key, char *out, size_t n)
{
	const char *value;
	size_t len;

	if (fn_meta_get(meta, meta_len, key, &value, &len) && len < n) {
		memcpy(out, value, len);
		out[len] = '\0';
	}
}

/* it answered a call of the daemon before this one. Return: it did */
static bool foreign_over(struct instance *inst, uint64_t id)
{
	size_t k = 0;

	while (k < inst->foreign_n && inst->foreign[k] != id)
		k++;
	if (k == inst->foreign_n)
		return false;
	inst->foreign[k] = inst->foreign[--inst->foreign_n];
	inst->inflight--;
	memory_request_end(inst);
	instance_slot_freed(inst);
	return true;
}

static void on_result(struct instance *inst, const struct fn_frame *f, const char *meta, const uint8_t *body, size_t len)
{
	struct invocation *inv = invocation_find(inst->fn->node, f->id);
	char content_type[256] = "", error_type[128] = "";

	if (!inv || inv->instance != inst) {
		/* else its caller is gone, and it has no place any more */
		if (foreign_over(inst, f->id))
			function_pump(inst->fn);
		return;
	}
	meta_text(meta, f->meta_len, "content_type", content_type, sizeof(content_type));
	meta_text(meta, f->meta_len, "error_type", error_type, sizeof(error_type));
	invocation_result(inv, (enum fn_outcome)f->arg, content_type, error_type, body, len);
}

static void on_init_error(struct instance *inst, const char *meta, size_t meta_len, const uint8_t *body, size_t len)
{
	char type[128] = "Runtime.InitError";

	meta_text(meta, meta_len, "error_type", type, sizeof(type));
	snprintf(inst->reason, sizeof(inst->reason), "its initialisation failed: %s: %.*s", type, (int)(len > 120 ? 120 : len), (const char *)body);
	log_info("instance %s: %s", inst->id, inst->reason);
}

/* @ids: as the wire has them. Calls of an earlier daemon, which it still runs: their places are taken until they are answered. */
static void take_foreign(struct instance *inst, const uint8_t *ids, size_t n)
{
	if (inst->inflight > 0 || n == 0)
		return;
	free(inst->foreign);
	inst->foreign = calloc(n, sizeof(*inst->foreign));
	if (!inst->foreign) {
		instance_kill(inst, "hearthd has no memory for its calls of an earlier daemon");
		return;
	}
	for (size_t k = 0; k < n; k++) {
		memcpy(&inst->foreign[k], ids + k * sizeof(*inst->foreign), sizeof(*inst->foreign));
		inst->foreign[k] = le64toh(inst->foreign[k]);
	}
	inst->foreign_n = n;
	inst->inflight = (unsigned)n;
}

/* Return: false if what speaks there is not understood; it ends, and says why. */
static bool version_ok(struct instance *inst, const struct fn_frame *f, uint64_t newest)
{
	char why[192];

	if (f->arg >= FN_VERSION && f->arg <= newest)
		return true;
	snprintf(why, sizeof(why), "it speaks version %llu of the channel, and this hearthd %d to %llu: it was begun, or its image made, by another version of Hearth; deploy the function again",
		 (unsigned long long)f->arg, FN_VERSION, (unsigned long long)newest);
	log_warn("instance %s: %s", inst->id, why);
	instance_kill(inst, why);
	return false;
}

/* ready, as it is or was before it was attached */
static void on_ready(struct instance *inst, const struct fn_frame *f)
{
	struct function *fn = inst->fn;

	if (fn->m.contract == CONTRACT_NATIVE)
		return;
	inst->zygote = f->flags & FN_FLAG_ZYGOTE;
	if (fn->m.zygote && !inst->zygote) {
		if (!fn->no_zygote)
			log_warn("function %s: zygote: its runtime does not fork workers, or cannot: instances run one call at a time; see `hearth logs %s`", fn->m.name, fn->m.name);
		fn->no_zygote = true;
	} else {
		fn->no_zygote = false;
	}
	inst->capacity = function_capacity(fn);
	instance_set_ready(inst);
}

static void on_hello(struct instance *inst, const struct fn_frame *f, const uint8_t *body, size_t len)
{
	uint64_t id = htole64(f->id);

	if (!version_ok(inst, f, FN_VERSION_WORKERS))
		return;
	if (f->arg >= FN_VERSION_WORKERS)
		take_foreign(inst, body, len / sizeof(id));
	else if (f->id)
		take_foreign(inst, (const uint8_t *)&id, 1);
	if (f->flags & FN_FLAG_LOADED && !inst->ready)
		memory_runtime_loaded(inst);
	if (f->flags & FN_FLAG_READY)
		on_ready(inst, f);
}

static bool on_frame(void *ctx, const struct fn_frame *f, const char *meta, const uint8_t *body, size_t len)
{
	struct instance *inst = ctx;
	struct function *fn = inst->fn;
	char lost[96];

	switch (f->type) {
	case FN_HELLO:
		on_hello(inst, f, body, len);
		return true;
	case FN_LOADED_NOW:
		memory_runtime_loaded(inst);
		return true;
	case FN_READY_NOW:
		on_ready(inst, f);
		return true;
	case FN_RESTED:
		if (inst->resting)
			instance_rested(inst);
		return true;
	case FN_WORKERS:
		inst->workers = (unsigned)f->arg;
		return true;
	case FN_RESULT:
		on_result(inst, f, meta, body, len);
		return true;
	case FN_INIT_ERROR:
		on_init_error(inst, meta, f->meta_len, body, len);
		return true;
	case FN_LOG:
		fn->count.log_bytes += len;
		log_file_write(fn->log, inst->id, (int)f->arg, body, len);
		return true;
	case FN_LOG_LOST:
		snprintf(lost, sizeof(lost), "[hearth: %llu bytes of output lost]\n", (unsigned long long)f->arg);
		log_file_write(fn->log, inst->id, 2, (const uint8_t *)lost, strlen(lost));
		return true;
	case FN_EXITED:
		inst->exit_status = (int)f->arg;
		return true;
	default:
		return false;
	}
}

static void on_closed(void *ctx, const char *why)
{
	struct instance *inst = ctx;

	inst->init = channel_close(inst->init);
	if (inst->state == INST_STOPPING || inst->exit_status >= 0)
		return;         /* the exit is on its way */
	log_debug("instance %s: channel: %s", inst->id, why);
	snprintf(inst->reason, sizeof(inst->reason), "its channel ended: %s", why);
	inst->channel_ended = true;
	/* dying processes close their sockets before the exit shows; a living one without a channel is of no use */
	instance_timer(inst, 200 * NS_PER_MS);
}

static bool on_native_frame(void *ctx, const struct fn_frame *f, const char *meta, const uint8_t *body, size_t len)
{
	struct instance *inst = ctx;

	switch (f->type) {
	case FN_HELLO:
		if (version_ok(inst, f, FN_VERSION) && f->flags & FN_FLAG_READY)
			instance_set_ready(inst);
		return true;
	case FN_READY_NOW:
		instance_set_ready(inst);
		return true;
	case FN_RESULT:
		on_result(inst, f, meta, body, len);
		return true;
	default:
		return false;
	}
}

static void on_native_closed(void *ctx, const char *why)
{
	struct instance *inst = ctx;

	inst->native = channel_close(inst->native);
	if (inst->state == INST_STOPPING || inst->exit_status >= 0)
		return;
	snprintf(inst->reason, sizeof(inst->reason), "its function channel ended: %s", why);
	inst->channel_ended = true;
	instance_timer(inst, 200 * NS_PER_MS);
}

static const struct channel_ops init_ops = { .frame = on_frame, .closed = on_closed };
static const struct channel_ops native_ops = { .frame = on_native_frame, .closed = on_native_closed };

void instance_attach(struct instance *inst, enum start_kind origin)
{
	struct function *fn = inst->fn;
	struct node *n = fn->node;
	char suffix[NODE_ID_LEN + 2];

	inst->origin = origin;
	instance_suffix(inst, suffix, sizeof(suffix));
	inst->init = channel_open(n->loop, inst->netns, FN_NAME_INIT, suffix, &init_ops, inst);
	if (fn->m.contract == CONTRACT_NATIVE)
		inst->native = channel_open(n->loop, inst->netns, FN_NAME_NATIVE, suffix, &native_ops, inst);
	if (fn->m.contract == CONTRACT_HTTP) {
		struct http_upstream_config cfg = {
			.netns_fd = inst->netns,
			.ip = "127.0.0.1",
			.port = (uint16_t)fn->m.port,
			.max_connections = (unsigned)fn->m.concurrency,
		};
		struct hearth_err err;

		inst->upstream = http_upstream_new(n->loop, &cfg, &err);
		if (!inst->upstream) {
			instance_kill(inst, err.msg);
			return;
		}
	}
	instance_timer(inst, fn->m.init_timeout_ns);
}
