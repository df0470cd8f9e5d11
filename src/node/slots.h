/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_SLOTS_H
#define NODE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "sched/policy.h"
#include "types.h"

/*
 * The node's slots: how many calls run at a time, and which. A worker of the policy core is one slot. It knows neither functions nor instances, has no clock and
 * no loop: the owner offers calls that could run at once, is told when one is to start, and says when one has ended. docs/adr/0011-node-slots.md says why so.
 */
struct slots;

enum slot_state { SLOT_NONE, SLOT_WAITS, SLOT_RUNS };

/** struct slot_call - the slots' part of a call; all zero but @type before it is offered. @type: of struct types; TYPE_OTHER is the core's unknown one. */
struct slot_call {
	TAILQ_ENTRY(slot_call) entry;
	enum slot_state state;
	uint32_t type, worker, epoch;
};

/** struct slots_config - @slots: 0 = no limit, and no order between functions; @reserved, @window: of the policies darc-static and darc */
struct slots_config {
	enum sched_policy policy;
	uint32_t slots, reserved, window;
};

/**
 * struct slots_ops - the owner
 * @start:   the call has a slot (state SLOT_RUNS). It may end in here already, and others may be offered.
 * @wake_at: call slots_dispatch at this time again; SCHED_NEVER: no need to. Replaces the time told before.
 */
struct slots_ops {
	void (*start)(void *ctx, struct slot_call *c);
	void (*wake_at)(void *ctx, uint64_t at_ns);
};

/** slots_new - without a limit. @types: borrowed; names and averages are the policy's to start from. Return: NULL without memory. */
struct slots *slots_new(const struct slots_ops *ops, void *ctx, const struct types *types);
struct slots *slots_free(struct slots *s);      /* NULL is fine; returns NULL. Waiting calls are forgotten. */

/**
 * slots_configure - another number of slots or policy, while calls wait and run
 *
 * Without a limit all that waits starts. With fewer slots than run now, none starts before enough have ended. Calls that run when the limit is first set hold
 * no slot. What the policy has learnt is kept, unless there is no limit in between; the types' averages are where it starts then.
 * Return: 0, -EINVAL with message, -ENOMEM; on failure all is as it was.
 */
int slots_configure(struct slots *s, uint64_t now_ns, const struct slots_config *cfg, struct hearth_err *err);
/** slots_check - would it be accepted? @ret: if not NULL, a policy core that knows what is known of the types now; sched_free it. Return: as slots_configure. */
int slots_check(const struct slots *s, const struct slots_config *cfg, struct sched **ret, struct hearth_err *err);
/** slots_named - types have got other names: the policy's explanations are to use them */
void slots_named(struct slots *s, uint64_t now_ns);

/** slots_offer - the call could run now; nothing starts before slots_dispatch. Return: 0, -ENOBUFS (too many of its type wait), -ENOTSUP (there is no limit). */
int slots_offer(struct slots *s, uint64_t now_ns, struct slot_call *c);
/** slots_withdraw - a waiting one cannot run after all, or need not */
void slots_withdraw(struct slots *s, uint64_t now_ns, struct slot_call *c);
/** slots_done - a running one has ended. @answered: @service_ns tells how long such calls run; else it ended in another way, and tells nothing. */
void slots_done(struct slots *s, uint64_t now_ns, struct slot_call *c, bool answered, uint64_t service_ns);
/** slots_dispatch - start what should start now. A call from within ops.start returns at once: the outer one goes on. */
void slots_dispatch(struct slots *s, uint64_t now_ns);

bool slots_limited(const struct slots *s);
const struct slots_config *slots_config_of(const struct slots *s);
uint32_t slots_busy(const struct slots *s);
uint32_t slots_waiting(const struct slots *s);
/** slots_core - the policy core, for its figures and explanations; NULL without a limit */
const struct sched *slots_core(const struct slots *s);

#endif
