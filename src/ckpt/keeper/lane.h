/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_LANE_H
#define KEEPER_LANE_H

#include "device.h"

#define SLICE_MAX (16ull << 20)
#define SLICE_MIN (2ull << 20)
#define SLICE_CHUNKS (SLICE_MAX / CHUNK)

/**
 * struct lane - what one thread needs to copy slices of a device: a stream, a pinned buffer, and room for digests. Staging memory on the device is there from lane_stage() to lanes_unstage().
 * @host: SLICE_MAX bytes; @pinned: whether the driver knows it (slower if not)
 * @digests: SLICE_CHUNKS of them, as the kernel wrote them; @digests_at, @table_at: on the device, 0: no room there
 * @staging: none where device memory is short; @slice: its size
 */
struct lane {
	struct lane *next;
	struct device *device;
	cu_stream stream;
	uint8_t *host;
	struct digest *digests;
	bool pinned;
	struct mapping small, staging;
	cu_deviceptr digests_at, table_at;
	uint64_t slice;
};

#define LANES_MAX 12
/** lanes_wanted - how many threads should copy at a time: some to keep a device busy, more where there are processors */
unsigned lanes_wanted(void);
/** lane_get - one that nobody uses, or a new one. Makes the device current. Return: 0, -ENOMEM, -errno. */
int lane_get(struct device *d, struct lane **ret, struct hearth_err *err);
/** lane_can_hash - room for digests on the device. Return: whether there is. */
bool lane_can_hash(struct lane *l);
/** lane_stage - staging memory, as much of SLICE_MAX as there is. l->slice 0: there was none. */
void lane_stage(struct lane *l);
/** lane_put - give it back, with its staging memory */
void lane_put(struct lane *l);
/** lanes_prepare - have as many as are wanted, staged: their pinned memory takes a while the first time (16 MiB each, 8 ms). What cannot be made now is made when it is needed. */
void lanes_prepare(struct device *d);
/** lanes_unstage - the device memory of those that nobody has is given back */
void lanes_unstage(struct device *d);
void lanes_free(struct device *d);
/** lane_sync - wait for what the stream has. Return: 0, -errno. */
int lane_sync(struct lane *l, struct hearth_err *err);
/** lane_hash - digests of @chunks from device address @at on to l->digests, waited for. Return: 0, -errno. */
int lane_hash(struct lane *l, cu_deviceptr at, uint64_t chunks, uint64_t seed, struct hearth_err *err);

#endif
