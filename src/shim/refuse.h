/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_REFUSE_H
#define SHIM_REFUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"
#include "shim/wire.h"

/*
 * What keeps the program from being checkpointed. The keeper is told of the first thing of a kind (SHIM_REFUSE, kind in arg0, the call in text) and when the last one is gone (SHIM_UNREFUSE).
 */
#define REFUSE_KINDS 6

/** refuse - something of this kind (enum shim_refusal) exists from now on, until the process ends. @call: a literal. Context: takes shim_lock. */
void refuse(unsigned kind, const char *call) SHIM_HIDDEN;
/** refuse_note - the same, with shim_lock held, and without telling the keeper yet */
void refuse_note(unsigned kind, const char *call) SHIM_HIDDEN;
/** refuse_object - the same, until refuse_gone() of that address; without memory to note it: until the process ends */
void refuse_object(unsigned kind, const char *call, uint64_t address) SHIM_HIDDEN;
/** refuse_gone - an address was freed or closed; most are nobody's */
void refuse_gone(uint64_t address) SHIM_HIDDEN;

/** refuse_unsent - a packet the keeper has not had yet. @ret: op, arg0, text. Context: shim_lock held. Return: false: it knows all. */
bool refuse_unsent(struct shim_msg *ret) SHIM_HIDDEN;
void refuse_sent(const struct shim_msg *m) SHIM_HIDDEN;
void refuse_all_unsent(void) SHIM_HIDDEN;       /* a new connection knows nothing */
void refuse_fork_child(void) SHIM_HIDDEN;

#endif
