/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_CREW_H
#define DS_CREW_H

#include "pump.h"

#define CREW_MAX 64

/** struct crew - threads of a device that read, write and copy pieces, one each at a time */
struct crew {
	struct hearth_ds_device *device;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct pieces pieces;
	bool stop;
	unsigned n;
	pthread_t threads[CREW_MAX];
};

#endif
