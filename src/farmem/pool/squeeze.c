/* SPDX-License-Identifier: Apache-2.0 */
#include "squeeze.h"

#include <lz4.h>
#include <stdlib.h>

struct squeeze *squeeze_new(void)
{
	return malloc((size_t)LZ4_sizeofState());
}

struct squeeze *squeeze_free(struct squeeze *s)
{
	free(s);
	return NULL;
}

uint32_t squeeze_close(struct squeeze *s, const void *in, uint32_t len, void *out, uint32_t room)
{
	int n = LZ4_compress_fast_extState(s, in, out, (int)len, (int)room, 1);

	return n > 0 ? (uint32_t)n : 0;
}

bool squeeze_open(const void *in, uint32_t len, void *out, uint32_t want)
{
	return LZ4_decompress_safe(in, out, (int)len, (int)want) == (int)want;
}
