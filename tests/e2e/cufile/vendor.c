/* SPDX-License-Identifier: Apache-2.0 */
/* What programs are linked with where the vendor's library is: its names, and nothing behind them. Every call says that the platform is not supported. */
#include "cufile/calls.h"

/* CUfileError_t, long and ssize_t come back in one register */
#define X(type, name, arguments) \
	long name(void); \
	long name(void) { return 5007; }
CUFILE_CALLS(X)
