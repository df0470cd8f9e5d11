/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RING_PRIVATE_H
#define BASE_RING_PRIVATE_H

#include "base/ring.h"

/* Rings whose counters begin anywhere, so that a test sees them wrap without 2^64 pushes. */
struct spsc *spsc_new_at(size_t capacity, size_t start);
struct mpsc *mpsc_new_at(size_t capacity, size_t start);

#endif
