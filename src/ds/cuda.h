/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_CUDA_H
#define DS_CUDA_H

#include "cuda/driver.h"
#include "priv.h"

/** struct cuda_device - of a device "cuda:N": its primary context, kept as long as the device */
struct cuda_device {
	const struct cuda *cu;
	cu_device device;
	cu_context context;
	int ordinal;
	atomic_bool no_batch;           /* copies in batches are refused: not tried again */
};

/** cuda_open - @text: of "cuda:N" the N. Return: 0, -EINVAL, -ENODEV, -ENOMEM. */
int cuda_open(const char *text, struct cuda_device **ret, struct hearth_err *err);
struct cuda_device *cuda_close(struct cuda_device *c);
/** cuda_enter - make the device's context the thread's; cuda_leave: what it was before. They nest. Return: 0, -errno. */
int cuda_enter(struct cuda_device *c, struct hearth_err *err);
void cuda_leave(struct cuda_device *c);
/** cuda_current - the thread's context, NULL: none. cuda_current_again: make it so again. */
cu_context cuda_current(void);
void cuda_current_again(cu_context context);
/** cuda_own - is this memory of the device. The context is current. Return: 0, -EINVAL. */
int cuda_own(struct cuda_device *c, uint64_t at, size_t bytes, struct hearth_err *err);
/** cuda_stream - one of our own: ordered with no other, and with channels that a program's own streams do not share. The context is current. */
int cuda_stream(struct cuda_device *c, cu_stream *ret, struct hearth_err *err);

#define COPIES_MAX 256
/** struct copies - copies that are given to the driver together; those that go on where the one before ended are one */
struct copies {
	size_t n;
	cu_deviceptr to[COPIES_MAX], from[COPIES_MAX];
	size_t bytes[COPIES_MAX];
};
/** copies_add - Return: false, there is no room: give the others to the driver first */
bool copies_add(struct copies *k, cu_deviceptr to, cu_deviceptr from, size_t bytes);
/** copies_start - from pinned memory to the device, in the stream's order; empties @k. The context is current. Return: 0, -errno. */
int copies_start(struct cuda_device *c, struct copies *k, cu_stream stream, struct hearth_err *err);

#endif
