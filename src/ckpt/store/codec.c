/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "private.h"

struct scratch {
	struct scratch *next;
	ZSTD_CCtx *compress;
	ZSTD_DCtx *expand;
	uint8_t *room;                  /* a chunk, then one as it is stored */
};

struct digest chunk_digest(const struct store *s, const void *data, size_t len)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(data, len, s->seed);

	return (struct digest){ .hi = h.high64, .lo = h.low64 };
}

struct digest zero_digest(const struct store *s, size_t len)
{
	static const uint8_t zeros[STORE_CHUNK_BYTES];

	return len == STORE_CHUNK_BYTES ? s->zero : chunk_digest(s, zeros, len);
}

bool is_zeros(const void *data, size_t len)
{
	const uint8_t *p = data;

	/* nearly always decided by the first few bytes; then it equals itself, moved by one */
	for (size_t i = 0; i < len && i < 16; i++)
		if (p[i])
			return false;
	return len <= 16 || memcmp(p, p + 16, len - 16) == 0;
}

struct scratch *scratch_get(struct scratch_pool *pool)
{
	struct scratch *sc;

	pthread_mutex_lock(&pool->lock);
	sc = pool->free;
	if (sc)
		pool->free = sc->next;
	pthread_mutex_unlock(&pool->lock);
	if (sc)
		return sc;
	sc = calloc(1, sizeof(*sc));
	if (!sc)
		return NULL;
	sc->room = aligned_alloc(STORE_PAGE, 2 * STORE_CHUNK_BYTES);
	if (!sc->room) {
		free(sc);
		return NULL;
	}
	return sc;
}

void scratch_put(struct scratch_pool *pool, struct scratch *sc)
{
	if (!sc)
		return;
	pthread_mutex_lock(&pool->lock);
	sc->next = pool->free;
	pool->free = sc;
	pthread_mutex_unlock(&pool->lock);
}

void scratch_pool_done(struct scratch_pool *pool)
{
	for (struct scratch *sc = pool->free, *next; sc; sc = next) {
		next = sc->next;
		ZSTD_freeCCtx(sc->compress);
		ZSTD_freeDCtx(sc->expand);
		free(sc->room);
		free(sc);
	}
	pool->free = NULL;
}

uint8_t *scratch_chunk(struct scratch *sc)
{
	return sc->room;
}

uint8_t *scratch_stored(struct scratch *sc)
{
	return sc->room + STORE_CHUNK_BYTES;
}

int chunk_compress(struct scratch *sc, const void *data, size_t len, int level, const uint8_t **ret)
{
	size_t n, room = len > STORE_PAGE ? (size_t)(pages_of(len) - 1) * STORE_PAGE : 0;

	if (room == 0)
		return 0;
	if (!sc->compress)
		sc->compress = ZSTD_createCCtx();
	if (!sc->compress)
		return -ENOMEM;
	/* room for a page less than it has: what does not fit is kept as it is */
	n = ZSTD_compressCCtx(sc->compress, scratch_stored(sc), room, data, len, level);
	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : 0;
	*ret = scratch_stored(sc);
	return (int)n;
}

int chunk_expand(struct scratch *sc, size_t stored, void *out, size_t len)
{
	size_t n;

	if (!sc->expand)
		sc->expand = ZSTD_createDCtx();
	if (!sc->expand)
		return -ENOMEM;
	n = ZSTD_decompressDCtx(sc->expand, out, len, scratch_stored(sc), stored);
	if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
		return -ENOMEM;
	return ZSTD_isError(n) || n != len ? -EBADMSG : 0;
}
