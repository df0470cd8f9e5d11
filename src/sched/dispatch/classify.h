/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_CLASSIFY_H
#define SCHED_CLASSIFY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sched/policy.h"

/*
 * Which type a request is. Made once from the configuration, then only read: no allocation, and nothing that it looks at is trusted.
 *
 *   type   the number in the wire header. `match` of a type: numbers; by default its place in the list
 *   byte   one byte at an offset of the payload. `match`: numbers or ranges
 *   field  1, 2, 4 or 8 bytes at an offset of the payload, little- or big-endian, masked. `match`: numbers or ranges
 *   path   the path of an HTTP request in the payload. `match`: prefixes; the longest that fits wins
 *   app    the application's classify
 */
enum classify_kind { CLASSIFY_TYPE, CLASSIFY_BYTE, CLASSIFY_FIELD, CLASSIFY_PATH, CLASSIFY_APP, CLASSIFY_KINDS };
extern const char *const classify_names[];

/**
 * struct classify_config
 * @offset: CLASSIFY_BYTE, CLASSIFY_FIELD
 * @width, @mask, @big_endian: CLASSIFY_FIELD; a mask of 0 is all ones
 * @match: of each type NULL-terminated words, or NULL
 * @call:  CLASSIFY_APP
 */
struct classify_config {
	enum classify_kind kind;
	uint32_t offset, width, types_n;
	uint64_t mask;
	int big_endian;
	char **match[SCHED_TYPES_MAX];
	const char *names[SCHED_TYPES_MAX];     /* of the types, for messages */
	uint32_t (*call)(uint32_t wire_type, const uint8_t *payload, size_t len);
};

struct classifier;

/** classifier_new - Return: 0, -EINVAL with message (which type, what is wrong with its match), -ENOMEM. */
int classifier_new(const struct classify_config *cfg, struct classifier **ret, struct hearth_err *err);
struct classifier *classifier_free(struct classifier *c);
/** classify - Return: a type, or SCHED_UNKNOWN */
uint32_t classify(const struct classifier *c, uint32_t wire_type, const uint8_t *payload, size_t len);

#endif
