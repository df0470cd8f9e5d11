/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv.h"

#define WORD_BITS 64
#define WORDS_MIN 64

static bool taken(const struct kv_space *s, uint64_t p)
{
	return p < s->end && (s->bits[p / WORD_BITS] >> (p % WORD_BITS) & 1);
}

/* bits for positions below @end */
static int grow(struct kv_space *s, uint64_t end)
{
	size_t words = (size_t)(end / WORD_BITS + 1), cap = s->words_cap ? s->words_cap : WORDS_MIN;
	uint64_t *bits;

	if (end > SIZE_MAX / 16)
		return -ENOMEM;
	while (cap < words)
		cap *= 2;
	if (cap > s->words_cap) {
		bits = reallocarray(s->bits, cap, sizeof(*bits));
		if (!bits)
			return -ENOMEM;
		memset(bits + s->words_cap, 0, (cap - s->words_cap) * sizeof(*bits));
		s->bits = bits;
		s->words_cap = cap;
	}
	if (end > s->end)
		s->end = end;
	return 0;
}

/* the first free position from @p on; @p beyond the end is free */
static uint64_t next_free(const struct kv_space *s, uint64_t p)
{
	while (p < s->end && taken(s, p)) {
		uint64_t rest = ~(s->bits[p / WORD_BITS] >> (p % WORD_BITS));

		/* what was shifted in counts as free: it is where the next word begins */
		p = rest ? p + (uint64_t)__builtin_ctzll(rest) : (p / WORD_BITS + 1) * WORD_BITS;
	}
	return p;
}

static void mark(struct kv_space *s, uint64_t p)
{
	s->bits[p / WORD_BITS] |= 1ull << (p % WORD_BITS);
	s->hint = next_free(s, s->hint);
}

/* Return: the first of @n free ones in a row, KV_NOWHERE. */
static uint64_t find_row(const struct kv_space *s, size_t n)
{
	uint64_t p = next_free(s, s->hint), to;

	for (; s->max == 0 || (p < s->max && n <= s->max - p); p = next_free(s, to)) {
		for (to = p; to < s->end && to - p < n && !taken(s, to); to++)
			;
		if (to - p == n || to >= s->end)
			return p;
	}
	return KV_NOWHERE;
}

int kv_space_take(struct kv_space *s, size_t n, uint64_t *ret)
{
	uint64_t first = find_row(s, n), p = s->hint;

	for (size_t k = 0; k < n; k++) {
		ret[k] = first != KV_NOWHERE ? first + k : (p = next_free(s, p));
		p++;
		if (s->max && ret[k] >= s->max)
			return -ENOSPC;
	}
	if (n > 0 && grow(s, ret[n - 1] + 1) < 0)
		return -ENOMEM;
	for (size_t k = 0; k < n; k++)
		mark(s, ret[k]);
	return 0;
}

int kv_space_set(struct kv_space *s, uint64_t position)
{
	if (s->max && position >= s->max)
		return -ENOSPC;
	if (taken(s, position))
		return -EEXIST;
	if (grow(s, position + 1) < 0)
		return -ENOMEM;
	mark(s, position);
	return 0;
}

void kv_space_give(struct kv_space *s, uint64_t position)
{
	s->bits[position / WORD_BITS] &= ~(1ull << (position % WORD_BITS));
	if (position < s->hint)
		s->hint = position;
}

void kv_space_done(struct kv_space *s)
{
	free(s->bits);
	s->bits = NULL;
	s->end = s->hint = 0;
	s->words_cap = 0;
}
