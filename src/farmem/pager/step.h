/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_STEP_H
#define FARMEM_PAGER_STEP_H

#include <stdbool.h>

#include "base/fault.h"

/** steps_wanted - whether a test wants a fault; set before there are threads. Looking into the environment at every page fault would be a tenth of its time. */
extern bool steps_wanted;
/** step - fault_point() of the pager's */
static inline bool step(const char *name)
{
	return __builtin_expect(steps_wanted, false) && fault_point(name);
}

#endif
