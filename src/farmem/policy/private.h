/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POLICY_PRIVATE_H
#define FARMEM_POLICY_PRIVATE_H

#include "farmem/policy.h"

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
