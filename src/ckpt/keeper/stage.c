/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory of an image is made ready while the processes that will have it are still being restored: it is copied, and checked, into memory of our own, as far as the device has room for both. When
 * they are there it lies as if it had been held all the time, and goes to them within the device.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "op.h"

#define ROOM_SHARE 32           /* of a device's memory this part is left: contexts, and what the driver restores into them */
#define TICK_NS (100 * NS_PER_MS)

/* what must stay free on a device: a process makes its buffers some at a time, beside what lies ready for them */
static uint64_t spare(const struct op *op, const struct device *d, uint64_t total)
{
	uint64_t largest = 0, bytes = 0;

	for (size_t i = 0; i < op->n; i++)
		for (size_t k = 0; k < op->processes[i]->n; k++) {
			const struct buffer *b = op->processes[i]->buffers[k];

			if (b->device != d)
				continue;
			bytes += b->bytes;
			largest = b->bytes > largest ? b->bytes : largest;
		}
	return total / ROOM_SHARE + (largest < bytes / ATTACH_WINDOW ? largest * ATTACH_WINDOW : bytes);
}

/* memory for as many buffers as there is room for; the others are filled when they are the processes' own */
static void make_buffers(struct op *op)
{
	struct device *last = NULL;
	uint64_t keep = 0, total;

	for (size_t i = 0; i < op->n; i++)
		for (size_t k = 0; k < op->processes[i]->n && !atomic_load(&op->stage_stop); k++) {
			struct buffer *b = op->processes[i]->buffers[k];

			if (device_use(b->device, NULL) < 0)
				return;
			if (b->device != last) {
				last = b->device;
				(void)device_room(last, &total);
				keep = spare(op, last, total);
			}
			if (device_room(last, NULL) >= keep + b->bytes)
				(void)mapping_new(last, b->bytes, &b->fresh, NULL);
		}
}

static void drop_buffers(struct op *op)
{
	for (size_t i = 0; i < op->n; i++)
		for (size_t k = 0; k < op->processes[i]->n; k++)
			mapping_drop(&op->processes[i]->buffers[k]->fresh);
	op->staged = (struct keeper_report){ 0 };
}

static void *stage(void *arg)
{
	struct op *op = arg;

	make_buffers(op);
	/* what is wrong comes to light again, and is told, when it is filled in the end */
	if (fill_image(op, &op->staged, true, NULL) < 0)
		drop_buffers(op);
	pthread_mutex_lock(&op->k->lock);
	op->stage_done = true;
	pthread_cond_broadcast(&op->k->changed);
	pthread_mutex_unlock(&op->k->lock);
	return NULL;
}

void stage_start(struct op *op)
{
	/* without a thread everything is filled in the end, as what has no room */
	op->staging = thread_spawn(&op->stager, stage, op) == 0;
}

void stage_end(struct op *op)
{
	atomic_store(&op->stage_stop, true);
	if (op->staging)
		pthread_join(op->stager, NULL);
	op->staging = false;
}

void stage_wait(struct op *op)
{
	struct keeper_server *k = op->k;
	uint64_t began = clock_mono_ns();

	if (!op->staging)
		return;
	pthread_mutex_lock(&k->lock);
	while (!op->stage_done) {
		keeper_until(k, clock_mono_ns() + TICK_NS);
		if (engine_gone(op->engine))
			atomic_store(&op->stage_stop, true);
	}
	pthread_mutex_unlock(&k->lock);
	pthread_join(op->stager, NULL);
	op->staging = false;
	op->report.copied_bytes += op->staged.copied_bytes;
	op->report.zero_bytes += op->staged.zero_bytes;
	op->report.copy_ns += clock_mono_ns() - began;
	if (op->staged.notes[0])
		report_note(&op->report, "%s", op->staged.notes);
}
