/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POLICY_PRIVATE_H
#define FARMEM_POLICY_PRIVATE_H

#include "farmem/policy.h"

/** rate_add - @memory: so much of @n, and from there on what is old counts half;  rate_each - ns of one; 0: nothing was measured */
void rate_add(struct farmem_rate *r, double n, uint64_t ns, double memory);
double rate_each(const struct farmem_rate *r);

/** call_took - a call that ended: it waited for an instance, then ran; @missing_bytes had left before and while it ran, of which it may have needed all. Learns what calls take by themselves. */
void call_took(const struct farmem_node *node, struct farmem_function *f, uint64_t waited_ns, uint64_t ns, uint64_t missing_bytes);

/** wake_may_come - as farmem_wake_is_cheap(), of an instance whose memory is about to leave for that. What was measured long ago is forgotten: it is tried again. */
bool wake_may_come(const struct farmem_node *node, struct farmem_function *f, const struct farmem_seen *seen);

/** wake_patience_ns - of a wake that a call would notice by itself, and that hides as the slowest wait for others: for how long it may wait for processors that others want. Return: 0 for every other */
uint64_t wake_patience_ns(const struct farmem_node *node, const struct farmem_function *f, uint64_t bytes);

uint64_t resident_bytes(const struct farmem_seen *seen);
/** may_leave - what can be asked to leave now: resident, beyond the floor, and not asked for before */
uint64_t may_leave(const struct farmem_knobs *k, const struct farmem_instance *i, const struct farmem_seen *seen);
/** offload_end_ns - of an idle instance: when nothing is moved any more, as it is about to end */
uint64_t offload_end_ns(const struct farmem_node *node, const struct farmem_knobs *k, const struct farmem_instance *i);

/** rule_due_ns - when a policy that is not ours has its turn; FARMEM_NEVER */
uint64_t rule_due_ns(const struct farmem_knobs *k, const struct farmem_instance *i);
/** rule_turn - its turn has come. Return: the segments of which @ret_bytes are to leave. */
unsigned rule_turn(const struct farmem_node *node, const struct farmem_knobs *k, struct farmem_instance *i, uint64_t now_ns, const struct farmem_seen *seen, uint64_t *ret_bytes);

#endif
