/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_IMG_H
#define CKPT_IMG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * CRIU's image files: magics, then records of { u32 length, protobuf message }. Only the few fields that are needed are decoded; unknown ones are skipped as
 * protobuf demands.
 */
struct img_span { const uint8_t *p, *end; };

/** struct img_field - @value: of wire type 0, whose bytes begin at @at; @bytes: of wire type 2 */
struct img_field {
	unsigned number, wire;
	uint64_t value;
	const uint8_t *at;
	struct img_span bytes;
};

/** img_open - check and pass the magics at the beginning of a file */
bool img_open(struct img_span *s, uint32_t magic);
/** img_record - Return: 1 a record, 0 end, -1 malformed */
int img_record(struct img_span *s, struct img_span *ret);
/** img_field - Return: 1 a field, 0 end, -1 malformed */
int img_field(struct img_span *s, struct img_field *f);
/** img_put - append a field of wire type 0. Return: 0, -ENOMEM. */
int img_put(struct buf *b, unsigned number, uint64_t value);

#endif
