/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

bool fault_point(const char *name)
{
	const char *want = getenv("HEARTH_FAULT");

	if (!want)
		return false;
	if (!strcmp(want, name))
		raise(SIGKILL);
	return !strncmp(want, "fail:", 5) && !strcmp(want + 5, name);
}
