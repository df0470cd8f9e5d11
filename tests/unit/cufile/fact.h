/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FACT_H
#define FACT_H

struct fact { const char *name; unsigned long value; };
/** theirs - what cufile.h says, in the order of facts.h; NULL where there is none, or an older one */
extern const struct fact *const theirs;

#endif
