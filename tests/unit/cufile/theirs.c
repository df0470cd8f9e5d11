/* SPDX-License-Identifier: Apache-2.0 */
/* cufile.h, where it was found: what it says, and that its prototypes are ours (this does not compile otherwise) */
#include <stddef.h>

#include "fact.h"

#ifdef HAVE_CUFILE_H
#include <cufile.h>
#endif

#ifdef CUFILE_GPU_UUID_LEN      /* 1.15 and newer */
#include "cufile/calls.h"
#define X(type, name, arguments) type name arguments;
CUFILE_CALLS(X)
#undef X

static const struct fact facts[] = {
#define X(name, value) { name, value },
#include "facts.h"
#undef X
};
const struct fact *const theirs = facts;
#else
const struct fact *const theirs = NULL;
#endif
