/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_INSTANCE_H
#define NODE_INSTANCE_H

#include <limits.h>

#include "priv.h"

/*
 * Between the instance_*.c files. The life of an instance (DESIGN: cold, starting, hot, warm, parked, waking): every slow step is a job of hearth-box, its
 * answer moves the state on. What may end at any time, in any state: the process (exit_watch), and the wish for it (outdated).
 */

void instance_timer(struct instance *inst, uint64_t ns);
void instance_timer_fired(struct ev_loop *loop, ev_timer *w, int events);
void instance_process_exited(struct ev_loop *loop, ev_io *w, int events);
/** instance_detach - hang up all channels and connections; calls on the upstream end from here */
void instance_detach(struct instance *inst);
/** instance_ended - the process is gone, or never was: give everything back, free it */
void instance_ended(struct instance *inst);
/** instance_end_group - whatever of it still runs ends; its cgroup goes, now or soon */
void instance_end_group(struct instance *inst);
/** instance_idle - it has nothing to do: its time as hot begins to count */
void instance_idle(struct instance *inst);
/** instance_semiwarm - its memory begins to leave: an idle one is WARM from here on, and parked when it would have been */
void instance_semiwarm(struct instance *inst);
/** instance_park_or_stop - it has been idle for long enough. Return: false when it has to wait for another checkpoint to end, or for its image's verification. */
bool instance_park_or_stop(struct instance *inst);
/** instances_park_next - a checkpoint has ended: the next instance that has been due for one */
void instances_park_next(struct node *n);
/** instances_limit_images - while the images are larger than image_bytes_max, drop the one that was parked longest ago */
void instances_limit_images(struct node *n);
/** instance_can_rest - would a checkpoint of it be tried: it is allowed, possible, and did not just fail? */
bool instance_can_rest(const struct instance *inst);
/** instance_may_leave - is there more than min_instances? */
bool instance_may_leave(const struct instance *inst);
/** instance_recalled - parking: its memory is back, and it can be dumped. @why: NULL, or it cannot go on: what is lost */
void instance_recalled(struct instance *inst, const char *why);
void instance_image_path(const struct function *fn, const char *image, char path[PATH_MAX]);
void instance_drop_image(struct instance *inst);
/** instance_distrust_image - a wake failed: count it, say why, and use its image no more, a snapshot included */
void instance_distrust_image(struct instance *inst, const char *why);
/** instance_rested - parking: its workers have ended, or have had their time */
void instance_rested(struct instance *inst);
/** instance_suffix - of its sockets' names: "" where it has a network namespace of its own */
void instance_suffix(const struct instance *inst, char *out, size_t n);
/** instance_box_spec - what start, park and wake have in common: the box around the program */
json_t *instance_box_spec(const struct instance *inst, const char *job);

#endif
