/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_AHEAD_H
#define DS_AHEAD_H

#include "pump.h"

#define AHEAD_PIECES 8u

/** struct ahead - of a file that synchronous calls read in order: pieces that were read before they are asked for */
struct ahead {
	pthread_mutex_t lock;           /* of whoever uses it: one call at a time, others do without */
	uint64_t next;                  /* where a call in order begins */
	unsigned streak;                /* calls in order so far */
	struct hearth_ds_device *device;        /* whose ring the slots are of */
	struct timespec changed[2];     /* of the file when they were read: modification, status */
	int64_t size;
	unsigned first, n;              /* of @pieces */
	uint64_t served;                /* bytes, ever */
	pthread_mutex_t done_lock;
	pthread_cond_t done;
	struct { struct piece piece; atomic_bool ready; } pieces[AHEAD_PIECES];
};

/**
 * ahead_serve - the beginning of a read, as far as it is here already. What is not, and what may have changed since, is not.
 * @d, @stream: the memory's device, whose context is current, and a stream of the calling thread's; @to: in that memory
 * Return: bytes, on the device by then; 0; -errno of the device.
 */
ssize_t ahead_serve(struct hearth_ds_file *f, struct hearth_ds_device *d, cu_stream stream, uint64_t to, uint64_t at, size_t bytes, struct hearth_err *err);
/** ahead_more - after a read that ended at @next: if they go on in order, begin with what comes then */
void ahead_more(struct hearth_ds_file *f, struct hearth_ds_device *d, uint64_t at, uint64_t next);
/** ahead_read - one of its pieces, in a crew's thread */
void ahead_read(struct piece *piece);
/** ahead_free - nobody reads any more */
void ahead_free(struct hearth_ds_file *f);

#endif
