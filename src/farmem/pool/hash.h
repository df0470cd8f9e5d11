/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_HASH_H
#define FARMEM_POOL_HASH_H

#include <stddef.h>
#include <stdint.h>

/** struct hash - 128 bits of contents */
struct hash {
	uint64_t lo, hi;
};

/** pool_hash - XXH3_128bits(), with the widest instructions that this processor has where libxxhash has a version for them: a third of the time of a page */
struct hash pool_hash(const void *data, size_t len);

#endif
