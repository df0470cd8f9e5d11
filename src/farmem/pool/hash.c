/* SPDX-License-Identifier: Apache-2.0 */
#include "hash.h"

#ifdef HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h>
#else
#define XXH_INLINE_ALL
#include <xxhash.h>
#endif

struct hash pool_hash(const void *data, size_t len)
{
	XXH128_hash_t h = XXH3_128bits(data, len);

	return (struct hash){ h.low64, h.high64 };
}
