// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "ckpt/image.h"
#include "instance.h"

/* Into an image and out of it again. */

static void resume_done(void *ctx, json_t *result)
{
	struct instance *inst = ctx;

	inst->job = NULL;
	if (!instance_has_process(inst)) {      /* ended meanwhile */
		instance_ended(inst);
		return;
	}
	if (!json_is_true(json_object_get(result, "ok"))) {
		instance_kill(inst, "it could not be resumed after a checkpoint");
		return;
	}
	instance_drop_image(inst);
	instance_attach(inst, START_HOT);
	memory_attach(inst);
	if (inst->outdated)
		instance_stop(inst, "its function was changed or removed");
}

void instance_resume(struct instance *inst)
{
	struct hearth_err err;
	char path[PATH_MAX];
	json_t *spec;

	instance_image_path(inst->fn, inst->image, path);
	spec = json_pack("{s:s,s:i,s:s,s:s}", "job", "resume", "pid", (int)inst->pid, "id", inst->id, "image", path);

	instance_set_state(inst, INST_WAKING);   /* from here on its end is an end, not the end of a parking */
	inst->job = job_run(inst->fn->node, spec, resume_done, inst, &err);
	if (!inst->job)
		instance_kill(inst, err.msg);
}

/* a job that was killed early leaves an unfinished image behind; one that is still being written is left alone */
static void sweep_images(const struct function *fn)
{
	char dir[PATH_MAX];

	instance_image_path(fn, ".", dir);
	image_sweep(dir);
}

static void park_done(void *ctx, json_t *result)
{
	struct instance *inst = ctx;
	struct function *fn = inst->fn;
	struct node *n = fn->node;

	inst->job = NULL;
	n->parks_running--;
	if (!instance_has_process(inst)) {
		instance_ended(inst);
	} else if (!json_is_true(json_object_get(result, "ok"))) {
		fn->count.park_failures++;
		fn->park_retry_ns = clock_mono_ns() + 60 * NS_PER_S;
		log_warn("instance %s: parking failed: %s", inst->id, job_error(result));
		sweep_images(fn);
		if (inst->for_snapshot)
			inst->for_snapshot = fn->snapshot_busy = false;
		if (json_integer_value(json_object_get(result, "code")) == -EOWNERDEAD)
			instance_kill(inst, "a checkpoint of it was killed half-way");
		else
			instance_resume(inst);
	} else if (fn->unplaced && !inst->outdated && !inst->for_snapshot) {
		log_debug("instance %s: a call came while it was parked: it goes on", inst->id);
		instance_resume(inst);
	} else {
		farmem_measured_park(&fn->farmem, job_processor_ns(result));
		inst->image_bytes = (uint64_t)json_integer_value(json_object_get(result, "image_bytes"));
		inst->committed = true;
		record_write(inst);             /* before the kill: who finds the process dying must know that its image is good */
		instance_kill(inst, "parked");
	}
	instances_park_next(n);
}

/* Return: 0, the job is under way; -errno with message, and it goes on */
static int dump(struct instance *inst, struct hearth_err *err)
{
	struct function *fn = inst->fn;
	struct node *n = fn->node;
	char path[PATH_MAX];
	json_t *spec;

	instance_drop_image(inst);
	snprintf(inst->image, sizeof(inst->image), "%s%s", inst->for_snapshot ? SNAPSHOT_PREFIX : "", inst->id);
	instance_image_path(fn, inst->image, path);
	spec = instance_box_spec(inst, "park");
	json_object_set_new(spec, "pid", json_integer(inst->pid));
	json_object_set_new(spec, "image", json_string(path));
	inst->committed = false;
	instance_detach(inst);                           /* nothing of the channel may be in the image */
	instance_set_state(inst, INST_PARKING);
	inst->job = job_run(n, spec, park_done, inst, err);
	if (!inst->job) {
		instance_set_state(inst, INST_WAKING);
		instance_attach(inst, START_HOT);
		return err ? err->code : -EIO;
	}
	n->parks_running++;
	record_write(inst);
	return 0;
}

/* dump() comes later: instance_recalled() */
static void begin_recalling(struct instance *inst)
{
	inst->recalling = true;
	instance_set_state(inst, INST_PARKING);
	inst->fn->node->parks_running++;
	record_write(inst);
}

/* What workers share with their zygote each of them has for itself after a wake: is there room for that? Else it could be parked and never be woken. */
static bool held_apart(struct instance *inst)
{
	return !inst->zygote || inst->workers == 0 || (1 + inst->workers) * instance_memory(inst) <= inst->fn->m.memory_bytes;
}

int instance_park(struct instance *inst, struct hearth_err *err)
{
	struct function *fn = inst->fn;
	struct node *n = fn->node;

	if (inst->state != INST_HOT && inst->state != INST_WARM)
		return err_set(err, -EBUSY, "instance %s is %s, not idle", inst->id, instance_state_names[inst->state]);
	if (inst->job)
		return err_set(err, -EBUSY, "instance %s was woken this moment; its image is being verified", inst->id);
	if (inst->inflight > 0)
		return err_set(err, -EBUSY, "instance %s runs %u calls; park it when it is idle", inst->id, inst->inflight);
	if (!n->can_park)
		return err_set(err, -EOPNOTSUPP, "this node cannot park: %s", n->no_park);
	if (fn->m.network == NET_HOST)
		return err_set(err, -EOPNOTSUPP, "function %s cannot be parked: it uses the host's network (network: host), whose connections no image can hold", fn->m.name);
	if (!held_apart(inst) && channel_send(inst->init, FN_REST, 0, 0, NULL, 0, NULL, 0) == 0) {
		begin_recalling(inst);
		inst->resting = true;
		instance_timer(inst, fn->m.stop_timeout_ns > NS_PER_S ? fn->m.stop_timeout_ns : NS_PER_S);
		return 0;
	}
	if (memory_recall(inst)) {                       /* what is elsewhere would not be in the image; instance_recalled() goes on */
		begin_recalling(inst);
		return 0;
	}
	return dump(inst, err);
}

/* it goes on as if nothing had been */
static void unpark(struct instance *inst)
{
	instance_set_state(inst, INST_HOT);
	memory_attach(inst);
	memory_ready(inst);
	record_write(inst);
	instance_idle(inst);
}

void instance_recalled(struct instance *inst, const char *why)
{
	struct function *fn = inst->fn;
	struct node *n = fn->node;
	struct hearth_err err;

	inst->recalling = false;
	n->parks_running--;
	if (why) {
		log_warn("instance %s: it cannot be parked, and not go on: %s", inst->id, why);
		instance_kill(inst, why);
	} else if (inst->outdated) {
		instance_set_state(inst, INST_HOT);
		instance_stop(inst, "its function was changed or removed");
	} else if (fn->unplaced) {
		log_debug("instance %s: a call came before it was parked: it goes on", inst->id);
		unpark(inst);
	} else if (dump(inst, &err) < 0) {
		log_warn("instance %s: %s", inst->id, err.msg);
	}
	function_pump(fn);
	instances_park_next(n);
}

void instance_rested(struct instance *inst)
{
	inst->resting = false;
	ev_timer_stop(inst->fn->node->loop, &inst->timer);
	if (!inst->outdated && !inst->fn->unplaced && memory_recall(inst))
		return;
	instance_recalled(inst, NULL);
}

bool instance_may_leave(const struct instance *inst)
{
	const struct function *fn = inst->fn;
	const struct instance *other;
	int64_t hot = 0;

	TAILQ_FOREACH(other, &fn->instances, entry)
		hot += other->state == INST_HOT || other->state == INST_WARM;
	return hot > fn->m.min_instances || inst->outdated;
}

bool instance_can_rest(const struct instance *inst)
{
	const struct function *fn = inst->fn;

	return function_parks(fn) && !inst->outdated && clock_mono_ns() >= fn->park_retry_ns;
}

/* Return: false when it has to wait for another checkpoint to end */
bool instance_park_or_stop(struct instance *inst)
{
	struct function *fn = inst->fn;
	struct node *n = fn->node;
	struct hearth_err err;

	if (!function_parks(fn)) {
		instance_stop(inst, "idle");
		return true;
	}
	if (n->parks_running >= (unsigned)n->cfg->max_parks || inst->job)       /* verdict() looks again */
		return false;
	if (instance_park(inst, &err) < 0) {
		log_warn("instance %s: %s", inst->id, err.msg);
		if (inst->state == INST_WARM && n->stopping)
			instance_stop(inst, "hearthd stops");
		else if (inst->state == INST_WARM)
			instance_idle(inst);
	}
	return true;
}

/* a checkpoint has ended: the next instance that has been due for one */
void instances_park_next(struct node *n)
{
	struct function *fn, *next;
	struct instance *inst, *other;
	uint64_t now = clock_mono_ns();

	HASH_ITER(hh, n->functions, fn, next) {
		TAILQ_FOREACH_SAFE(inst, &fn->instances, entry, other) {
			if (inst->state != INST_WARM || ev_is_active(&inst->timer) || inst->inflight > 0)
				continue;
			if (now < fn->park_retry_ns) {
				if (n->stopping && n->stop_instances)
					instance_stop(inst, "hearthd stops");
				continue;
			}
			if (!instance_park_or_stop(inst))
				return;
			break;          /* the list may have changed */
		}
	}
}

void instances_limit_images(struct node *n)
{
	struct function *fn, *next;
	struct instance *inst, *oldest;
	uint64_t total;

	if (n->cfg->image_bytes_max == 0)
		return;
	do {
		total = 0;
		oldest = NULL;
		HASH_ITER(hh, n->functions, fn, next) {
			TAILQ_FOREACH(inst, &fn->instances, entry) {
				if (inst->state != INST_PARKED)
					continue;
				total += inst->image_bytes;
				if (!oldest || inst->state_ns < oldest->state_ns)
					oldest = inst;
			}
		}
		if (total > n->cfg->image_bytes_max && oldest) {
			log_info("instance %s: its image goes: images take more than image_bytes_max", oldest->id);
			instance_stop(oldest, "no room for its image");
		}
	} while (total > n->cfg->image_bytes_max && oldest);
}

void instances_stop_all(struct node *n)
{
	struct function *fn, *next;
	struct instance *inst, *other;

	HASH_ITER(hh, n->functions, fn, next) {
		fn->park_retry_ns = 0;          /* the last chance: once more, whatever the last try gave */
		TAILQ_FOREACH_SAFE(inst, &fn->instances, entry, other) {
			bool idle = inst->inflight == 0 && (inst->state == INST_HOT || inst->state == INST_WARM);

			if (idle)
				instance_idle(inst);
			else if (!instance_can_rest(inst) && inst->state != INST_PARKED && inst->state != INST_PARKING) {
				if (inst->inflight > 0 || inst->job)
					inst->outdated = true;
				else
					instance_stop(inst, "hearthd stops");
			}
			/* else: it goes to rest when it is ready, or free */
		}
	}
}

/* the job's own folder, which it removes; if it was killed, we do */
static void work_path(const struct instance *inst, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/work/%s", inst->fn->node->cfg->run_dir, inst->id);
}

void instance_distrust_image(struct instance *inst, const char *why)
{
	struct function *fn = inst->fn;

	fn->count.wake_failures++;
	log_warn("instance %s: wake failed, starting cold instead: %s", inst->id, why);
	if (fn->snapshot && !strcmp(inst->image, fn->snapshot)) {
		free(fn->snapshot);
		fn->snapshot = NULL;            /* function_keep_min makes a new one */
	}
	instance_drop_image(inst);
}

/* A wake that fails in any way: the image is not used again, and whoever waits gets a cold start. */
static void wake_failed(struct instance *inst, const char *why)
{
	struct function *fn = inst->fn;
	char path[PATH_MAX];

	work_path(inst, path);
	dir_remove(path);
	instance_distrust_image(inst, why);
	instance_end_group(inst);
	record_remove(inst);
	instance_forget(inst);
	function_pump(fn);
	function_keep_min(fn);
	node_settled(fn->node);
}

/* It has been running since it was restored; now it is known whether from what was parked. Nobody has had an answer of it. */
static void verdict(struct instance *inst, json_t *result)
{
	struct function *fn = inst->fn;
	struct node *n = fn->node;
	char path[PATH_MAX];

	inst->job = NULL;
	inst->unverified = false;
	if (!json_is_true(json_object_get(result, "ok"))) {
		/* first of all: with the folder goes what the pager's guard would find it by, should hearth-box have been killed */
		snprintf(inst->reason, sizeof(inst->reason), "its image could not be verified");
		instance_kill(inst, NULL);
		inst->outdated = true;          /* no more calls */
		work_path(inst, path);
		dir_remove(path);
		instance_distrust_image(inst, job_error(result));
		invocations_unplace(inst);
		invocations_take_back(inst);
		if (!instance_has_process(inst))
			instance_ended(inst);
		function_pump(fn);
		return;
	}
	farmem_measured_unpark(&fn->farmem, job_processor_ns(result));
	instance_drop_image(inst);
	record_write(inst);
	memory_attach(inst);
	if (!instance_has_process(inst)) {      /* ended meanwhile */
		invocations_release(inst);
		instance_ended(inst);
		return;
	}
	invocations_release(inst);
	if (inst->inflight == 0 && inst->outdated)
		instance_stop(inst, "its function was changed or removed");
	else if (inst->inflight == 0 && (inst->state == INST_HOT || inst->state == INST_WARM))
		instance_idle(inst);
	instances_park_next(n);
}

static void wake_done(void *ctx, json_t *result)
{
	struct instance *inst = ctx;
	json_t *ms = json_object_get(result, "ms");
	struct hearth_err err;

	if (inst->unverified) {
		verdict(inst, result);
		return;
	}
	inst->unverified = json_is_true(json_object_get(result, "more"));
	if (!inst->unverified)
		inst->job = NULL;
	log_debug("instance %s: wake job %.1f ms after the call: verified at %.1f, restored at %.1f, done at %.1f", inst->id,
		  (double)(clock_mono_ns() - inst->created_ns) / NS_PER_MS, json_number_value(json_object_get(ms, "verify")),
		  json_number_value(json_object_get(ms, "restore")), json_number_value(json_object_get(ms, "total")));
	if (!json_is_true(json_object_get(result, "ok"))) {
		wake_failed(inst, job_error(result));
		return;
	}
	if (instance_adopt_pid(inst, (pid_t)json_integer_value(json_object_get(result, "pid")),
			       (uint64_t)json_integer_value(json_object_get(result, "starttime")), &err) < 0) {
		wake_failed(inst, err.msg);
		return;
	}
	record_write(inst);
	instance_attach(inst, START_WAKE);
	if (inst->unverified)
		return;
	farmem_measured_unpark(&inst->fn->farmem, job_processor_ns(result));
	memory_attach(inst);
	instance_drop_image(inst);
	if (inst->outdated)
		instance_stop(inst, "its function was changed or removed");
}

int instance_wake(struct instance *inst, struct hearth_err *err)
{
	struct function *fn = inst->fn;
	char path[PATH_MAX];
	json_t *spec;

	if (inst->state != INST_PARKED)
		return err_set(err, -EINVAL, "instance %s is %s, not parked", inst->id, instance_state_names[inst->state]);
	instance_image_path(fn, inst->image, path);
	inst->created_ns = clock_mono_ns();
	inst->reason[0] = '\0';
	inst->exit_status = -1;
	inst->kill_sent = inst->ready = inst->channel_ended = false;
	inst->origin = START_WAKE;
	spec = instance_box_spec(inst, "wake");
	json_object_set_new(spec, "image", json_string(path));
	work_path(inst, path);
	json_object_set_new(spec, "work", json_string(path));
	/* answers over HTTP go to the caller as they come: none can be kept back */
	json_object_set_new(spec, "early", json_integer(fn->m.contract != CONTRACT_HTTP));
	instance_set_state(inst, INST_WAKING);
	inst->job = job_run_soon(fn->node, spec, wake_done, inst, err);
	if (!inst->job) {
		instance_set_state(inst, INST_PARKED);
		return err ? err->code : -EIO;
	}
	return 0;
}

struct instance *instance_clone(struct function *fn, struct hearth_err *err)
{
	struct instance *inst;
	char id[NODE_ID_LEN];

	make_id(id, sizeof(id), fn->m.name);
	inst = instance_alloc(fn, id);
	if (!inst) {
		err_set(err, -ENOMEM, "cannot wake an instance of %s: out of memory", fn->m.name);
		return NULL;
	}
	snprintf(inst->image, sizeof(inst->image), "%s", fn->snapshot);
	instance_set_state(inst, INST_PARKED);
	if (instance_wake(inst, err) < 0) {
		inst->image[0] = '\0';
		instance_forget(inst);
		return NULL;
	}
	return inst;
}
