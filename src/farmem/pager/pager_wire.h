/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_PAGER_WIRE_H
#define FARMEM_PAGER_PAGER_WIRE_H

#include <stdint.h>

#include "farmem/engine.h"

/* Between hearthd and hearth-pager: SOCK_SEQPACKET, a packet a request or an event, of the same version on both sides. What they mean: farmem/engine.h */
#define PAGER_VERSION 6
#define PAGER_TARGETS_MAX 256

/*
 * A request may touch its first page before the packet that says that it has begun is read. So a client shares memory too: how many requests of a target run, PAGER_TARGETS_MAX words of 32 bits, changed before
 * anything else is. It is sent with RUNNING, a memfd that cannot shrink.
 * STOP is of no target: all memory goes back, then the pager ends, and with the last of its processes the connection.
 */

enum pager_op { PAGER_ATTACH = 1, PAGER_BARRIER, PAGER_OFFLOAD, PAGER_CANCEL, PAGER_PREFETCH, PAGER_ROLLBACK, PAGER_BEGIN, PAGER_END, PAGER_REFRESH, PAGER_DETACH, PAGER_RUNNING, PAGER_STOP };

/**
 * struct pager_request
 * @arg:  BARRIER: segment; OFFLOAD: mask of segments; DETACH: how; ATTACH: which word is its own; PAGER_TARGETS_MAX: none
 * @tag:  the client's name for the target: ATTACH gives it, the others refer to it
 * @patience_ns: of PREFETCH
 * @number: OFFLOAD: of the target's offloads. OFFLOADED says in its place of the segment, up to which ones it is about: what is cancelled and what is asked for after it may end as one
 */
struct pager_request {
	uint16_t version, op;
	uint32_t arg;
	uint64_t tag, bytes, starttime, patience_ns;
	int32_t pid;
	uint32_t number;
	struct farmem_object object;
	char name[64];
};

struct pager_event {
	uint16_t version, kind;
	uint32_t segment;
	uint64_t tag, bytes, waited_ns;
	int32_t error;
	uint32_t flag;
	struct farmem_stat stat;
	char why[256];
};

#endif
