/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_WIRE_H
#define SHIM_WIRE_H

#include <stdint.h>

/*
 * Between libhearth-cuda.so in a program and hearth-keeper: a Unix SOCK_SEQPACKET socket, one struct shim_msg a packet, native byte order, fixed size. A descriptor travels with the packet where it
 * says so. The keeper knows the peer's pid from SO_PEERCRED. Both sides close the connection on anything that is not as written here. Requests of the keeper are answered by the packet of the same
 * @seq, in order, with @result a CUresult or -errno; the shim's own packets carry seq 0.
 *
 *   shim -> keeper                                                keeper -> shim
 *   HELLO  program's name, its state                              WELCOME  result (not 0: go away); arg0 = 1: attach (the keeper holds or can refill buffers)
 *   ALLOC  a buffer is there (fd: exported handle)                GATE_CLOSE  close the gate, wait for calls in progress, synchronise all contexts
 *   FREE   a buffer is gone (sent before its handle is released)  GATE_OPEN  from a program that came back: only once every buffer it told of has been created (-ENODATA)
 *   ROOM   no memory for @bytes on @device                         FREE     with id 0: the answer, arg0 = how much of what was held for parked programs is given back
 *   REFUSE something that cannot be checkpointed exists now       DETACH   unmap and release all buffers, reservations stay; then answer, close, wait on the gate file
 *   UNREFUSE   the last thing of that kind is gone                CREATE   make the memory of buffer @id again, map it at its address, answer with the exported handle (fd)
 *   answers                                                       FREE     the keeper has let go of buffer @id too (no answer to it): who found the device full tries again
 *
 * GATE_CLOSE: arg0 = how long it may take, in ms (0: 10 s); arg1 = how long beforehand to wait, in ms, for a moment in which the program has itself waited for the device. -ETIMEDOUT (a call, a kernel or a stream capture that does not end) or any other error: the gate is open again.
 * REFUSE, UNREFUSE: arg0 = the kind (enum shim_refusal), one bit; said of the first and the last thing of a kind.
 */
#define SHIM_WIRE_VERSION 1u
#define SHIM_NAME_MAX 64
#define SHIM_TEXT_MAX 192

enum shim_op {
	SHIM_HELLO = 1, SHIM_WELCOME, SHIM_ALLOC, SHIM_FREE, SHIM_REFUSE, SHIM_UNREFUSE, SHIM_GATE_CLOSE, SHIM_GATE_OPEN, SHIM_DETACH, SHIM_CREATE, SHIM_ROOM, SHIM_OP_END,
};

/* why a program cannot be checkpointed (bits); the text of REFUSE names the call */
enum shim_refusal { SHIM_MANAGED = 1, SHIM_IPC = 2, SHIM_MIG = 4, SHIM_MPS = 8, SHIM_FABRIC = 16, SHIM_OTHER = 32 };

/**
 * struct shim_msg
 * @id:       buffer: unique in a program, never used again, ascending in order of allocation
 * @va:       its address in the program; @bytes: multiple of 2 MiB
 * @device:   UUID of the device it is on (HELLO: zero)
 * @flags:    of the allocation: SHIM_BUF_*; HELLO: 1 = back from a checkpoint (buffers are detached)
 * @arg0:     see above; in the answer to GATE_CLOSE: nanoseconds it took, @arg1: nanoseconds of waiting before. WELCOME: 1 = attach
 * @text:     HELLO: name; REFUSE: the call. NUL-terminated.
 */
struct shim_msg {
	uint32_t version, op, seq;
	int32_t result;
	uint64_t id, va, bytes, arg0, arg1;
	uint8_t device[16];
	uint32_t flags, pid;
	char text[SHIM_TEXT_MAX];
};
#define SHIM_BUF_RDMA 1u        /* gpuDirectRDMACapable */

/*
 * The gate file, mapped shared by the program and by whoever checkpoints it. One page. Only the shim writes @state, only others @wake.
 * @gate: in the program: 0 open, 1 closed (the shim's own; here so that it can be seen from outside)
 */
#define SHIM_GATE_MAGIC 0x68736741u
struct shim_gate {
	uint32_t magic, version;
	uint32_t state;                 /* enum shim_state */
	uint32_t wake;                  /* futex (shared): the service thread of a detached program waits for its change, then connects to the keeper */
	uint32_t gate;
};
enum shim_state { SHIM_RUNNING = 1, SHIM_CLOSED, SHIM_DETACHED, SHIM_ATTACHING };

/*
 * The host table: a memfd of this name, mapped shared in every process that has host memory which the driver pins. When a process comes back with its memory still on its way (a userfaultfd), all of it must
 * be there before the driver restores the process: the kernel does not wait for a page that it is to pin, the driver's call just fails. @range may name more than is pinned, never less.
 */
#define SHIM_HOST_NAME "hearth-host"
#define SHIM_HOST_MAGIC 0x68736774u
#define SHIM_HOST_MAX ((1u << 20) - 1)
struct shim_host_range { uint64_t start, bytes; };
struct shim_host {
	uint32_t magic, n;
	uint64_t unused;
	struct shim_host_range range[];         /* room for SHIM_HOST_MAX */
};

/* environment of a program: set by `hearth run` */
#define SHIM_ENV_SOCKET "HEARTH_KEEPER"         /* path of the keeper's socket */
#define SHIM_ENV_GATE "HEARTH_GATE"             /* path of the gate file */
#define SHIM_ENV_NAME "HEARTH_PROGRAM"

#endif
