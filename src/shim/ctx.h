/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_CTX_H
#define SHIM_CTX_H

#include <stddef.h>
#include <stdint.h>

#include "driver.h"
#include "slab.h"

#define CTX_DEVICES_MAX 64

/** struct ctx - a context of the program that the shim has seen. @slab: its small allocations. */
struct ctx {
	struct ctx *next;
	CUcontext handle;
	CUdevice device;
	bool primary;
	struct slab slab;
};

/**
 * struct ctx_device - what is known of a device
 * @usable: memory can be exported, in pieces of 2 MiB
 * @rdma:   exportable memory can be made so that network cards reach it, as the driver's own can
 */
struct ctx_device { bool known, usable, rdma; uint8_t uuid[16]; };

/** ctx_device - asked of the driver the first time. Context: takes shim_lock. */
struct ctx_device ctx_device(CUdevice device) SHIM_HIDDEN;
/** ctx_device_uuid - of a device that has been asked about. Context: shim_lock held. */
void ctx_device_uuid(CUdevice device, uint8_t uuid[16]) SHIM_HIDDEN;

/* Those with a context as result or argument that is found: shim_lock held, and valid as long as it is. */
struct ctx *ctx_find(CUcontext handle) SHIM_HIDDEN;
/** ctx_note - find or add. Return: NULL: no memory. */
struct ctx *ctx_note(CUcontext handle, CUdevice device, bool primary) SHIM_HIDDEN;
/** ctx_access - which devices may use memory of a context: bit mask of ordinals, its own among them */
uint64_t ctx_access(const struct ctx *c) SHIM_HIDDEN;

/**
 * ctx_wait - until the device has done what was asked of it in a context
 * Context: no lock; blocks. The current context is the same afterwards.
 * Return: the driver's: errors of earlier work too.
 */
CUresult ctx_wait(CUcontext handle) SHIM_HIDDEN;
/** ctx_wait_users - the same for all contexts that may use memory of one: itself and its peers */
CUresult ctx_wait_users(CUcontext handle) SHIM_HIDDEN;

/** ctx_drain_all - wait for all contexts, primary ones that the shim has not seen included. Return: 0, -ETIMEDOUT, -ENOMEM, or a CUresult (positive). */
int ctx_drain_all(uint64_t deadline_ns) SHIM_HIDDEN;
void ctx_fork_child(void) SHIM_HIDDEN;

#endif
