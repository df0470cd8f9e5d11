/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_CUFILE_H
#define DS_CUFILE_H

#include "priv.h"

/** cufile_why_not - "" where the vendor's library has a direct path for this file; loads it only if its kernel side is there */
const char *cufile_why_not(struct hearth_ds_file *f, struct hearth_ds_memory *m);
/** cufile_transfer - blocks. Return: bytes, -errno. */
ssize_t cufile_transfer(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes, bool write);
/** cufile_forget - the file is closed */
void cufile_forget(struct hearth_ds_file *f);

#endif
