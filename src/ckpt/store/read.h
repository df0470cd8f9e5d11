/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_STORE_READ_H
#define CKPT_STORE_READ_H

#include "private.h"

struct store_image {
	struct store *store;
	char name[STORE_NAME_MAX + 1];
	struct manifest m;
	struct digest *digests;         /* of all chunks, in order */
	struct packset packs;
};

#endif
