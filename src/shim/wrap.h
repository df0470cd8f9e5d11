/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_WRAP_H
#define SHIM_WRAP_H

#include "driver.h"
#include "gate.h"
#include "refuse.h"

/* The wrappers that tools/gen-shim lists in gen/calls.c. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a prototype cannot be */
#define SHIM_GATED(name, proto, args) \
	SHIM_EXPORT CUresult name proto \
	{ \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name) args; \
		gate_leave(); \
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
