/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_WRAP_H
#define SHIM_WRAP_H

#include "driver.h"
#include "gate.h"
#include "refuse.h"

/* The wrappers that tools/gen-shim lists in gen/calls.c. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a prototype cannot be */
#define SHIM_GATED_THEN(name, proto, args, then) \
	SHIM_EXPORT CUresult name proto \
	{ \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name) args; \
		gate_leave(); \
		then; \
		return ret; \
	}

#define SHIM_GATED(name, proto, args) SHIM_GATED_THEN(name, proto, args, (void)0)

/* has waited for the device when it returns */
#define SHIM_GATED_WAITING(name, proto, args) SHIM_GATED_THEN(name, proto, args, gate_quiet())

/* waits for the device: not held up, as it ends by itself */
#define SHIM_WAITING(name, proto, args) \
	SHIM_EXPORT CUresult name proto \
	{ \
		CUresult ret = DRV(name) args; \
\
		gate_quiet(); \
		return ret; \
	}

#define SHIM_REFUSING(name, why, proto, args) \
	SHIM_EXPORT CUresult name proto \
	{ \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name) args; \
		if (ret == CUDA_SUCCESS) \
			refuse(why, #name); \
		gate_leave(); \
		return ret; \
	}
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
