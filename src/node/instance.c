// SPDX-License-Identifier: Apache-2.0
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "ckpt/image.h"
#include "instance.h"

/* The object itself: its state, its timer, its slots, and what others see of it. */

const char *const instance_state_names[INST_STATES] = { "starting", "hot", "warm", "parking", "parked", "waking", "stopping" };

struct instance *instance_alloc(struct function *fn, const char *id)
{
	struct instance *inst = calloc(1, sizeof(*inst));

	if (!inst)
		return NULL;
	inst->fn = fn;
	snprintf(inst->id, sizeof(inst->id), "%s", id);
	snprintf(inst->cgroup, sizeof(inst->cgroup), "%s/%s", fn->node->cgroup_root, id);
	inst->pidfd = inst->netns = -1;
	inst->exit_status = -1;
	inst->capacity = function_capacity(fn);
	inst->created_ns = inst->used_ns = inst->state_ns = clock_mono_ns();
	LIST_INIT(&inst->running);
	LIST_INIT(&inst->placed);
	ev_init(&inst->timer, instance_timer_fired);
	ev_init(&inst->exit_watch, instance_process_exited);
	inst->timer.data = inst->exit_watch.data = inst;
	TAILQ_INSERT_HEAD(&fn->instances, inst, entry);
	fn->node->instances++;
	return inst;
}

void instance_detach(struct instance *inst)
{
	inst->init = channel_close(inst->init);
	inst->native = channel_close(inst->native);
	inst->upstream = http_upstream_free(inst->upstream);
}

void instance_forget(struct instance *inst)
{
	struct node *n = inst->fn->node;

	memory_forget(inst, instance_has_process(inst));
	if (inst->recalling)
		n->parks_running--;
	if (inst->job)
		job_detach(inst->job);
	instance_detach(inst);
	ev_timer_stop(n->loop, &inst->timer);
	ev_io_stop(n->loop, &inst->exit_watch);
	fd_close(&inst->pidfd);
	fd_close(&inst->netns);
	if (inst->state == INST_PARKED)
		n->parked_total--;
	TAILQ_REMOVE(&inst->fn->instances, inst, entry);
	n->instances--;
	free(inst->foreign);
	free(inst);
}

bool instance_has_process(const struct instance *inst)
{
	return inst->pidfd >= 0;
}

void instance_set_state(struct instance *inst, enum instance_state state)
{
	struct node *n = inst->fn->node;

	if (inst->state == INST_PARKED && state != INST_PARKED)
		n->parked_total--;
	if (inst->state != INST_PARKED && state == INST_PARKED)
		n->parked_total++;
	log_debug("instance %s: %s -> %s", inst->id, instance_state_names[inst->state], instance_state_names[state]);
	inst->state = state;
	inst->state_ns = clock_mono_ns();
	ev_timer_stop(n->loop, &inst->timer);
	if (state != INST_HOT && state != INST_WARM)
		invocations_unplace(inst);
}

struct instance *instance_find(struct node *n, const char *id)
{
	struct function *fn, *next;
	struct instance *inst;

	HASH_ITER(hh, n->functions, fn, next)
		TAILQ_FOREACH(inst, &fn->instances, entry)
			if (!strcmp(inst->id, id))
				return inst;
	return NULL;
}

void instance_timer(struct instance *inst, uint64_t ns)
{
	struct node *n = inst->fn->node;

	ev_timer_stop(n->loop, &inst->timer);
	ev_timer_set(&inst->timer, (double)ns / NS_PER_S, 0);
	ev_timer_start(n->loop, &inst->timer);
}

void instance_image_path(const struct function *fn, const char *image, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/images/%s/%s", fn->node->cfg->state_dir, fn->m.name, image);
}

void instance_drop_image(struct instance *inst)
{
	char path[PATH_MAX];
	int r;

	if (!inst->image[0] || (inst->fn->snapshot && !strcmp(inst->image, inst->fn->snapshot)))
		return;
	instance_image_path(inst->fn, inst->image, path);
	r = image_discard(path);
	if (r < 0)
		log_warn("image %s: cannot remove: %s", path, strerror(-r));
	inst->image[0] = '\0';
	inst->image_bytes = 0;
}

void instance_idle(struct instance *inst)
{
	struct node *n = inst->fn->node;

	if (n->stopping && n->stop_instances) {
		if (!instance_can_rest(inst)) {
			instance_stop(inst, "hearthd stops");
			return;
		}
		instance_set_state(inst, INST_WARM);    /* and due */
		instances_park_next(n);
		return;
	}
	if (inst->state == INST_WARM)
		instance_set_state(inst, INST_HOT);
	if (inst->state == INST_HOT && inst->inflight == 0)
		instance_timer(inst, inst->fn->m.keep_hot_ns);
}

/* it was not idle before it was ready, but parked */
static uint64_t idle_since_ns(const struct instance *inst)
{
	return inst->used_ns > inst->ready_ns ? inst->used_ns : inst->ready_ns;
}

/* how much longer it stays so; less if its memory is dearer than parking it */
static uint64_t warm_left_ns(struct instance *inst, uint64_t now)
{
	const struct function *fn = inst->fn;
	uint64_t end = inst->warm_until_ns;

	if (fn->m.park_early && function_parks(fn)) {
		uint64_t even_ns = memory_park_even_ns(inst), since = idle_since_ns(inst);

		if (even_ns < end - since)
			end = since + even_ns;
	}
	return end > now ? end - now : 0;
}

void instance_semiwarm(struct instance *inst)
{
	if (inst->state != INST_HOT || inst->inflight > 0)
		return;
	instance_set_state(inst, INST_WARM);
	inst->warm_until_ns = idle_since_ns(inst) + inst->fn->m.keep_hot_ns + inst->fn->m.keep_warm_ns;
	instance_timer(inst, warm_left_ns(inst, clock_mono_ns()));
}

static void idle_over(struct instance *inst)
{
	struct function *fn = inst->fn;
	uint64_t now = clock_mono_ns(), left_ns;

	if (!instance_may_leave(inst)) {
		instance_timer(inst, fn->m.keep_hot_ns > NS_PER_S ? fn->m.keep_hot_ns : NS_PER_S);
		return;
	}
	if (inst->state == INST_HOT) {
		instance_set_state(inst, INST_WARM);
		inst->warm_until_ns = now + fn->m.keep_warm_ns;
	}
	/* again, as memory may have left since it became warm */
	left_ns = warm_left_ns(inst, now);
	if (left_ns == 0 && now < fn->park_retry_ns)
		left_ns = fn->park_retry_ns - now;
	if (left_ns > 0)
		instance_timer(inst, left_ns);
	else
		instance_park_or_stop(inst);
}

void instance_timer_fired(struct ev_loop *loop, ev_timer *w, int events)
{
	struct instance *inst = w->data;
	char why[128];

	(void)loop;
	(void)events;
	if (inst->reason[0] && inst->state != INST_STOPPING) {
		instance_kill(inst, NULL);              /* its channel ended, it did not */
		return;
	}
	switch (inst->state) {
	case INST_STARTING:
	case INST_WAKING:
		snprintf(why, sizeof(why), "it was not ready within its init_timeout of %.3g s", (double)inst->fn->m.init_timeout_ns / NS_PER_S);
		if (inst->origin == START_COLD)
			inst->fn->count.start_failures++;
		instance_kill(inst, why);
		break;
	case INST_HOT:
	case INST_WARM:
		idle_over(inst);
		break;
	case INST_STOPPING:
		instance_kill(inst, NULL);
		break;
	case INST_PARKING:
		if (inst->resting)
			instance_rested(inst);
		break;
	default:
		break;
	}
}

void instance_take(struct instance *inst)
{
	inst->inflight++;
	if (inst->state == INST_WARM) {
		inst->from_warm = memory_is_away(inst);
		instance_set_state(inst, INST_HOT);
	} else {
		ev_timer_stop(inst->fn->node->loop, &inst->timer);
	}
}

void instance_slot_freed(struct instance *inst)
{
	inst->used_ns = clock_mono_ns();
	/* most recently used first: the tail idles and goes */
	TAILQ_REMOVE(&inst->fn->instances, inst, entry);
	TAILQ_INSERT_HEAD(&inst->fn->instances, inst, entry);
	if (inst->inflight > 0 || (inst->state != INST_HOT && inst->state != INST_WARM))
		return;
	if (inst->outdated)
		instance_stop(inst, "its function was changed or removed");
	else if (!inst->fn->unplaced)
		instance_idle(inst);
}

struct instance *instance_free_slot(struct function *fn)
{
	struct instance *inst;

	TAILQ_FOREACH(inst, &fn->instances, entry)
		if ((inst->state == INST_HOT || inst->state == INST_WARM) && inst->ready && !inst->outdated && inst->inflight < inst->capacity)
			return inst;
	return NULL;
}

bool instance_oom(struct instance *inst)
{
	struct cgroup_usage usage;
	bool more;

	if (cgroup_read_usage(inst->fn->node->cgroups, inst->cgroup, &usage) < 0)
		return false;
	more = usage.oom_kills > inst->oom_kills;
	inst->oom_kills = usage.oom_kills;
	inst->fn->count.oom_kills += more;
	return more;
}

uint64_t instance_memory(struct instance *inst)
{
	struct cgroup_usage usage;

	if (!instance_has_process(inst) || cgroup_read_usage(inst->fn->node->cgroups, inst->cgroup, &usage) < 0)
		return 0;
	return usage.anon_bytes + usage.shmem_bytes;
}

json_t *instance_to_json(struct instance *inst)
{
	const struct farmem_stat *memory = memory_stat(inst);
	const char *left_alone = memory_left_alone(inst);
	uint64_t now = clock_mono_ns();
	json_t *o;

	o = json_pack("{s:s,s:s,s:s,s:i,s:I,s:I,s:f,s:f,s:i,s:I,s:s,s:b}", "id", inst->id, "function", inst->fn->m.name, "state",
			 instance_state_names[inst->state], "pid", (int)inst->pid, "memory_bytes", (json_int_t)instance_memory(inst), "image_bytes",
			 (json_int_t)inst->image_bytes, "state_s", (double)(now - inst->state_ns) / NS_PER_S, "idle_s",
			 inst->inflight ? 0.0 : (double)(now - inst->used_ns) / NS_PER_S, "inflight", (int)(inst->inflight - inst->held), "served", (json_int_t)inst->served,
			 "origin", start_names[inst->origin], "adopted", inst->adopted);
	json_object_set_new(o, "workers", inst->zygote && instance_has_process(inst) ? json_integer(inst->workers) : json_null());
	json_object_set_new(o, "memory", memory ? memory_to_json(memory) : json_null());
	json_object_set_new(o, "memory_left_alone", left_alone ? json_string(left_alone) : json_null());
	return o;
}
