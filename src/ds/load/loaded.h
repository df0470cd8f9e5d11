/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_LOAD_LOADED_H
#define DS_LOAD_LOADED_H

#include "hearth/ds_load.h"

/** loaded_ref - one more reference. Thread-safe. Return: @l. */
struct hearth_ds_loaded *loaded_ref(struct hearth_ds_loaded *l);

#endif
