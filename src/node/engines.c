// SPDX-License-Identifier: Apache-2.0
#include "engines.h"

/* In a library of its own, so that a test's daemon may have other ones. */
const struct farmem_ops *const node_engines[] = { &farmem_uffd_engine, &farmem_reclaim_engine, NULL };
