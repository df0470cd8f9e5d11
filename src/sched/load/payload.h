/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOAD_PAYLOAD_H
#define LOAD_PAYLOAD_H

#include "schedule.h"

#define PAYLOAD_BYTES_MAX 96

/** payload_check - every type can be turned into a request of the application. Return: 0, -EINVAL with message. */
int payload_check(const struct load_config *cfg, struct hearth_err *err);
/** payload_write - what follows the header. @out: PAYLOAD_BYTES_MAX. Return: its length. */
size_t payload_write(const struct load_config *cfg, const struct arrival *a, struct sched_random *r, uint8_t *out);

#endif
