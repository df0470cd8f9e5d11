/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_SOCKETS_H
#define FARMEM_POOL_SOCKETS_H

#include "place.h"

/* Sockets; and Unix sockets beside which the bytes go through memory that both ends share (pipes.h). */

extern const struct transport sockets_transport;

#endif
