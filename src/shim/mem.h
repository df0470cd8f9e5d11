/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_MEM_H
#define SHIM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctx.h"
#include "driver.h"
#include "slab.h"
#include "span.h"

#define MEM_GRANULE (2ull << 20)

/* WHOLE: one cuMemAlloc; SLAB: a block of small ones; PROGRAM: made with cuMemCreate */
enum mem_kind { MEM_WHOLE, MEM_SLAB, MEM_PROGRAM };

/** struct mem_map - physical memory at an address. @access: CU_MEM_ACCESS_FLAGS_* of each device */
struct mem_map {
	struct span at;
	struct mem_map *next;           /* of the same memory */
	struct mem_phys *phys;
	uint64_t offset;
	uint8_t access[CTX_DEVICES_MAX];
};

/**
 * struct mem_phys - a piece of device memory that can be exported: a buffer, for the keeper
 * @name:      MEM_PROGRAM: the handle that the program has for it, which outlives the driver's; span of one
 * @id:        0: the keeper is not to know of it yet (never mapped, so without contents)
 * @handle:    the driver's; valid while attached
 * @prop:      as it was created, and is to be again
 * @types:     MEM_PROGRAM: the handle types that the program asked for
 * @asked:     MEM_WHOLE: bytes asked for; @freeing: in cuMemFree, or waiting for a capture to end
 * @announced: the keeper knows it
 * @shared_fd: what other processes take over to use it (ipc.c); -1: none
 */
struct mem_phys {
	struct span name;
	struct mem_phys *next, *prev;
	uint64_t id, bytes;
	CUmemGenericAllocationHandle handle;
	CUmemAllocationProp prop;
	CUmemAllocationHandleType types;
	CUcontext ctx;
	enum mem_kind kind;
	bool announced, attached, freeing;
	size_t asked;
	struct slab_block *block;
	struct mem_map *maps;
	unsigned refs;
	int shared_fd;
};

/* All the memory. shim_lock. */
struct mem {
	struct spans maps;              /* by address */
	struct spans names;             /* MEM_PROGRAM, by the program's handle */
	struct mem_phys *first, *last;  /* those with an id in order of it, the others anywhere */
	uint64_t next_id, next_name;
};
extern struct mem mem SHIM_HIDDEN;

/**
 * mem_phys_new - physical memory, from the driver; not listed, not mapped
 * When the device is full: what the shim keeps for itself is given back, and memory that the keeper has not let go of yet is waited for.
 * Context: in a call (it leaves the gate while it waits), no lock.
 */
CUresult mem_phys_new(const CUmemAllocationProp *prop, uint64_t bytes, struct mem_phys **ret) SHIM_HIDDEN;
/** mem_phys_free - release and free; NULL is fine. Context: no lock; taken out of everything before. */
void mem_phys_free(struct mem_phys *p) SHIM_HIDDEN;
void mem_list(struct mem_phys *p) SHIM_HIDDEN;          /* shim_lock */
void mem_unlist(struct mem_phys *p) SHIM_HIDDEN;        /* shim_lock; tells the keeper */
/** mem_publish - it has contents from now on: gets its id, becomes the last, the keeper is told. shim_lock. */
void mem_publish(struct mem_phys *p) SHIM_HIDDEN;
/** mem_set_access - as m->access says, by the driver */
CUresult mem_set_access(const struct mem_map *m) SHIM_HIDDEN;

/**
 * mem_at - the allocation (of the shim's making) that an address is in
 * Context: shim_lock.
 * Return: its memory; NULL if there is none.
 */
struct mem_phys *mem_at(uint64_t address, uint64_t *ret_start, size_t *ret_bytes) SHIM_HIDDEN;
/** mem_peers_changed - who may use the memory of a context is different now */
CUresult mem_peers_changed(CUcontext owner) SHIM_HIDDEN;
/** mem_ctx_gone - a context does not exist any more, so neither does its memory. Context: no lock. */
void mem_ctx_gone(CUcontext handle) SHIM_HIDDEN;
/** mem_free_deferred - what was freed during a capture, if there is none any more. Context: in a call, no lock. */
void mem_free_deferred(void) SHIM_HIDDEN;
/** mem_free_any - cuMemFree of whatever is at an address. Context: in a call. */
CUresult mem_free_any(CUdeviceptr address) SHIM_HIDDEN;
void mem_fork_child(void) SHIM_HIDDEN;

#endif
