/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_ENGINES_H
#define NODE_ENGINES_H

#include "farmem/engine.h"

/** node_engines - what can move idle instances' memory, the preferred first; ends with NULL */
extern const struct farmem_ops *const node_engines[];

#endif
