/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "seed.h"

#define STEPS 20000
#define MODEL_BYTES (64u << 10)

/* The queue as a plain array that is moved at every step. */
static uint8_t model[MODEL_BYTES];
static size_t model_len;

static void model_append(const uint8_t *data, size_t n)
{
	memcpy(model + model_len, data, n);
	model_len += n;
}

static void step(struct rng *g, struct buf *b)
{
	uint8_t piece[600], *tail;
	size_t n = rng_below(g, sizeof(piece));

	for (size_t i = 0; i < n; i++)
		piece[i] = (uint8_t)rng_next(g);
	switch (rng_below(g, 8)) {
	case 0:
	case 1:
		assert_int_equal(buf_append(b, piece, n), 0);
		model_append(piece, n);
		break;
	case 2: /* reserve more than is used */
		assert_int_equal(buf_reserve(b, n + rng_below(g, 1000), &tail), 0);
		memcpy(tail, piece, n);
		buf_commit(b, n);
		model_append(piece, n);
		break;
	case 3:
		n = (size_t)snprintf((char *)piece, sizeof(piece), "%0*llx", (int)(1 + rng_below(g, 400)), (unsigned long long)rng_next(g));
		assert_int_equal(buf_printf(b, "%.*s", (int)n, (char *)piece), 0);
		model_append(piece, n);
		break;
	case 4:
		if (rng_below(g, 50) == 0) {
			buf_reset(b);
			model_len = 0;
		} else if (rng_below(g, 50) == 0) {
			buf_done(b);
			model_len = 0;
		}
		break;
	default:
		n = rng_below(g, b->len + 1);
		if (b->len < MODEL_BYTES / 2 && n > 700)
			n = 700;
		buf_consume(b, n);
		memmove(model, model + n, model_len - n);
		model_len -= n;
	}
}

static void prop_against_model(void **state)
{
	struct rng g = { prop_seed() };
	struct buf b = { 0 };

	for (int i = 0; i < STEPS; i++) {
		if (model_len > MODEL_BYTES - 2000) {
			buf_consume(&b, b.len);
			model_len = 0;
		}
		step(&g, &b);
		assert_int_equal(b.len, model_len);
		assert_true(b.off + b.len <= b.cap);
		if (model_len > 0)
			assert_memory_equal(buf_head(&b), model, model_len);
	}
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prop_against_model) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
