// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/log.h"
#include "instance.h"

/* How an instance ends, whoever wants it: its program, a call that took too long, the daemon. */

static void fail_running(struct instance *inst)
{
	struct invocation *inv;

	while ((inv = LIST_FIRST(&inst->running))) {
		inst->fn->count.lost++;
		invocation_fail(inv, 502, "InstanceDied", "function %s: instance %s ended during the call: %s", inst->fn->m.name, inst->id, inst->reason);
	}
}

static void describe_exit(struct instance *inst, char *out, size_t n)
{
	if (inst->oom)
		snprintf(out, n, "it used more than its memory limit of %llu MiB and was killed", (unsigned long long)(inst->fn->m.memory_bytes >> 20));
	else if (inst->exit_status >= 0 && WIFSIGNALED(inst->exit_status))
		snprintf(out, n, "its program was killed by signal %d (%s)", WTERMSIG(inst->exit_status), strsignal(WTERMSIG(inst->exit_status)));
	else if (inst->exit_status >= 0 && WIFEXITED(inst->exit_status))
		snprintf(out, n, "its program exited with status %d", WEXITSTATUS(inst->exit_status));
	else
		snprintf(out, n, "its process was killed");
}

/* so many starts in a row may fail before others that are on their way are taken to fail too */
#define START_FAILURES_MAX 3

/* nobody else serves this function: those who wait learn why instead of waiting for the next failure */
static void fail_queue(struct function *fn, const char *reason)
{
	struct instance *inst;
	struct invocation *inv;

	TAILQ_FOREACH(inst, &fn->instances, entry)
		if (inst->state != INST_STOPPING && inst->state != INST_PARKED && (inst->state != INST_STARTING || fn->start_failures < START_FAILURES_MAX))
			return;
	while ((inv = TAILQ_FIRST(&fn->queue)))
		invocation_fail(inv, 502, "StartFailed", "function %s could not be started: %s; see `hearth logs %s`", fn->m.name, reason, fn->m.name);
}

/* what is still in it was left by a job that was killed half-way: a complete instance even, when it restored one */
void instance_end_group(struct instance *inst)
{
	struct node *n = inst->fn->node;

	if (cgroup_populated(n->cgroups, inst->cgroup) > 0)
		cgroup_kill(n->cgroups, inst->cgroup);
	if (cgroup_remove(n->cgroups, inst->cgroup) == -EBUSY)
		n->strays = true;               /* at the next tick */
}

/* the process is gone, or never was: give everything back */
void instance_ended(struct instance *inst)
{
	struct function *fn = inst->fn;
	struct node *n = fn->node;
	bool wanted = inst->state == INST_STOPPING && inst->ready;
	/* not if it was to end, nor if it ran under the daemon before: those who wait for it get another one */
	bool in_vain = !inst->ready && !inst->outdated && !n->stopping;
	bool start_failed = in_vain && inst->origin == START_COLD, wake_failed = in_vain && inst->origin == START_WAKE;
	char reason[sizeof(inst->reason)];

	/* first of all no slot for anyone: closing the upstream ends calls, and each end looks for the next */
	instance_set_state(inst, INST_STOPPING);
	instance_detach(inst);
	fd_close(&inst->netns);

	log_at(wanted ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "instance %s ended: %s", inst->id, inst->reason);
	snprintf(reason, sizeof(reason), "%s", inst->reason);
	fail_running(inst);
	instance_end_group(inst);
	record_remove(inst);
	if (wake_failed)
		instance_distrust_image(inst, reason);
	else
		instance_drop_image(inst);
	if (inst->for_snapshot)
		fn->snapshot_busy = false;
	if (start_failed)
		fn->start_failures++;
	instance_forget(inst);
	if (start_failed)
		fail_queue(fn, reason);
	function_pump(fn);
	function_keep_min(fn);
	node_settled(n);
}

static void parked_now(struct instance *inst)
{
	struct function *fn = inst->fn;
	struct node *n = fn->node;

	instance_end_group(inst);
	record_remove(inst);
	fn->count.parks++;
	fn->park_retry_ns = 0;
	if (inst->for_snapshot) {
		free(fn->snapshot);
		fn->snapshot = strdup(inst->image);
		fn->snapshot_busy = false;
		log_info("function %s: snapshot %s, %llu MiB", fn->m.name, inst->image, (unsigned long long)(inst->image_bytes >> 20));
		instance_forget(inst);
	} else {
		instance_set_state(inst, INST_PARKED);
		if (inst->outdated) {
			instance_drop_image(inst);
			instance_forget(inst);
		}
		instances_limit_images(n);
	}
	function_pump(fn);
	node_settled(n);
}

/* What it said last, its exit status above all, may still be unread. No new call is to find the dead one meanwhile. */
static void last_words(struct instance *inst)
{
	bool ready = inst->ready;

	inst->ready = false;
	invocations_unplace(inst);
	while (inst->init && channel_drain(inst->init))
		;
	inst->ready |= ready;
}

void instance_process_exited(struct ev_loop *loop, ev_io *w, int events)
{
	struct instance *inst = w->data;
	struct function *fn = inst->fn;
	char why[160];
	bool parked;

	(void)events;
	ev_io_stop(loop, w);
	memory_news(fn->node);
	parked = inst->state == INST_PARKING && inst->committed;
	if (!parked && instance_oom(inst))
		inst->oom = true;
	last_words(inst);
	describe_exit(inst, why, sizeof(why));
	/* that a channel ended is no reason where the program's end explains it */
	if (!inst->reason[0] || inst->oom || (inst->channel_ended && inst->exit_status >= 0))
		snprintf(inst->reason, sizeof(inst->reason), "%s", why);
	ev_timer_stop(loop, &inst->timer);
	fd_close(&inst->pidfd);
	inst->pid = 0;
	memory_forget(inst, false);
	if (parked) {
		instance_detach(inst);
		fd_close(&inst->netns);
		parked_now(inst);
		return;
	}
	if (!inst->job)                 /* else the job's answer will find no process, and end it */
		instance_ended(inst);
	else if (inst->unverified)
		inst->outdated = true;  /* no more calls */
}

void instance_kill(struct instance *inst, const char *why)
{
	struct node *n = inst->fn->node;

	if (why && !inst->reason[0])
		snprintf(inst->reason, sizeof(inst->reason), "%s", why);
	if (!instance_has_process(inst))
		return;
	if (inst->state != INST_PARKING)
		instance_set_state(inst, INST_STOPPING);
	inst->kill_sent = true;
	/* the end of PID 1 ends its whole namespace; the cgroup catches what ran outside of one */
	pidfd_signal(inst->pidfd, SIGKILL);
	cgroup_kill(n->cgroups, inst->cgroup);
}

void instance_stop(struct instance *inst, const char *why)
{
	if (inst->state == INST_STOPPING)
		return;
	if (inst->state == INST_PARKED) {
		struct function *fn = inst->fn;

		instance_drop_image(inst);
		instance_forget(inst);
		node_settled(fn->node);
		return;
	}
	snprintf(inst->reason, sizeof(inst->reason), "%s", why);
	if (inst->job || inst->recalling) {     /* its answer will find it outdated */
		inst->outdated = true;
		return;
	}
	instance_set_state(inst, INST_STOPPING);
	record_write(inst);
	pidfd_signal(inst->pidfd, SIGTERM);
	if (inst->fn->m.stop_timeout_ns == 0)
		instance_kill(inst, why);
	else
		instance_timer(inst, inst->fn->m.stop_timeout_ns);
}
