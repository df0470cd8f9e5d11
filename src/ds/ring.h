/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_RING_H
#define DS_RING_H

#include "priv.h"

#define RING_BYTES (256ull << 20)
#define SEGMENT_BYTES (16u << 20)
#define SEGMENT_SLOTS (SEGMENT_BYTES / PIECE_BYTES)
#define SEGMENTS_MAX 1024

/**
 * struct slot - PIECE_BYTES of a ring, whose owner alone uses what is below
 * @used: bytes given out, from the front
 * @refs: pieces in it
 */
struct slot { struct slot *next; uint8_t *at; uint32_t segment, used, refs; };
struct segment { uint8_t *at; struct slot *slots; };
struct ring {
	struct hearth_ds_device *device;
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct slot *free;
	unsigned waiting, kept, segments_n, segments_max;
	struct segment segments[];      /* never moved, never given back before the end */
};

/** ring_get - the ring of a device, made at the first call. Return: 0, -ENOMEM, -errno of the driver. */
int ring_get(struct hearth_ds_device *d, struct ring **ret, struct hearth_err *err);
/** ring_take - a slot. @wait: until one is free; only for who holds none. Return: NULL: none is free and none can be made. */
struct slot *ring_take(struct ring *r, bool wait);
/** ring_keep - one that is not given back before the ring's end; as many as the ring may have segments. Does not wait. Return: NULL: no more. */
struct slot *ring_keep(struct ring *r);
/** ring_slots - how many there may be of those that are given back */
unsigned ring_slots(struct ring *r);
void ring_put(struct ring *r, struct slot *s);
void ring_free(struct ring *r);

#endif
