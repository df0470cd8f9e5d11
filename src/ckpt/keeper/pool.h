/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_POOL_H
#define KEEPER_POOL_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ckpt/store.h"
#include "device.h"

struct region { uint8_t *at; size_t bytes; };
struct pool_store { struct pool_store *next; char dir[PATH_MAX]; struct store *store; unsigned refs; };

/**
 * struct pool - stores in use, and which of their memory the driver knows
 * Segments of stores in memory are registered with the driver as they are mapped, so that copies from a device land in their place. One store may be kept open with spare segments made beforehand:
 * a thread makes them, one after another, while no operation is under way, as new memory and registering it hold up everybody who uses the driver.
 * Its own locks, taken by anybody who holds no other but keeper.lock.
 */
struct pool {
	struct device *device;          /* through which memory is registered: portable, so any will do; NULL: none */
	pthread_mutex_t lock;
	struct pool_store *stores;
	struct store *kept;
	uint64_t kept_bytes;
	pthread_mutex_t regions_lock;
	struct region *regions;
	size_t n, cap;
	pthread_t thread;
	pthread_mutex_t refill_lock;
	pthread_cond_t refill;
	unsigned working;               /* operations */
	bool short_of, filling, ends;   /* spare segments may be missing; the thread was started; it is to end */
};

void pool_init(struct pool *p, struct device *device);
/** pool_keep - have @bytes of spare segments in this store from now on; they are made beside. Return: 0, -EOPNOTSUPP (it is not in memory), -errno. */
int pool_keep(struct pool *p, const char *dir, uint64_t bytes, struct hearth_err *err);
/** pool_work, pool_rest - around an operation: no spare segments are made meanwhile; afterwards those that it used */
void pool_work(struct pool *p);
void pool_rest(struct pool *p);
/** pool_spare_bytes - of spare segments that are there */
uint64_t pool_spare_bytes(struct pool *p);
/** pool_open - a store, opened once however many use it; pool_close() each. Return: 0, -errno of store_open(). */
int pool_open(struct pool *p, const char *dir, struct store **ret, struct hearth_err *err);
void pool_close(struct pool *p, struct store *s);
/** pool_registered - whether the driver can copy to and from these bytes directly */
bool pool_registered(struct pool *p, const void *at, size_t bytes);
void pool_done(struct pool *p);

#endif
