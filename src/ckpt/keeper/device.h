/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_DEVICE_H
#define KEEPER_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "cuda/driver.h"

#define DEVICES_MAX 32
#define CHUNK 65536ull

/* struct kernel_range - one piece of device memory to digest, as kernels.cu has it. @first: number of its first chunk in the table, from 0 on, ascending */
struct kernel_range { uint64_t at, first; };

struct lane;

/**
 * struct device - a device of this machine
 * @context: the primary one, once somebody needed it; @hash, @gather: kernels, NULL where they could not be loaded (@why says why)
 * @lanes:   that nobody uses at the moment
 */
struct device {
	const struct cuda *cu;
	cu_device ordinal;
	struct cu_uuid uuid;
	char name[64];
	bool vmm, mig;
	pthread_mutex_t lock;           /* context, lanes */
	cu_context context;
	cu_module module;
	cu_function hash, gather;
	char why[160];
	struct lane *lanes;
};

/* struct mapping - device memory that is mapped here: imported, or our own. All zero is none. */
struct mapping { struct device *device; cu_memory handle; cu_deviceptr at; uint64_t bytes; };

/** devices_open - initialise the driver and look at its devices; no context is made. @ret: DEVICES_MAX. Return: how many, -errno. */
int devices_open(const struct cuda *cu, struct device *ret, struct hearth_err *err);
void devices_close(struct device *devices, int n);
/** device_use - make the device current in this thread; the first time it gets its context and the kernels (0.3 s). Thread-safe. Return: 0, -errno. */
int device_use(struct device *d, struct hearth_err *err);
/** device_room - memory that is free. The device must be current. */
uint64_t device_room(struct device *d, uint64_t *ret_total);

/** mapping_import - @fd: borrowed. Any thread; makes the device current. Return: 0, -errno; *ret untouched on failure. */
int mapping_import(struct device *d, int fd, uint64_t bytes, struct mapping *ret, struct hearth_err *err);
/** mapping_new - memory of our own. Return: 0, -ENOMEM (not an error to shout about: @err may be NULL), -errno. */
int mapping_new(struct device *d, uint64_t bytes, struct mapping *ret, struct hearth_err *err);
/** mapping_drop - unmap and release; all zero is fine and what is left */
void mapping_drop(struct mapping *m);

/** device_hash - launch: digests of the chunks of a table in device memory to @out in device memory */
int device_hash(struct device *d, cu_stream stream, cu_deviceptr table, unsigned ranges, uint64_t chunks, uint64_t seed, cu_deviceptr out, struct hearth_err *err);
/** device_gather - launch: chunks at the addresses in @from (device memory) one after another to @to */
int device_gather(struct device *d, cu_stream stream, cu_deviceptr from, uint64_t chunks, cu_deviceptr to, struct hearth_err *err);

#endif
