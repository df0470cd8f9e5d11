/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "store.h"

#define PAGE_END (1ull << 52)

static bool has_items(uint8_t kind)
{
	return kind >= WIRE_PUT && kind <= WIRE_RESULT;
}

struct wire_item wire_item(const struct wire_frame *f, unsigned k)
{
	struct wire_item i;

	memcpy(&i, f->items + k * sizeof(i), sizeof(i));
	return i;
}

static int check_items(const struct wire_frame *f)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < f->head.n; k++) {
		struct wire_item i = wire_item(f, k);

		if (i.page >= PAGE_END || i.len > STORE_SEALED_BYTES || (i.held && f->head.kind != WIRE_RESULT) || i.held > STORE_SEALED_BYTES || i.status > 0 || i.status < -4095)
			return -EPROTO;
		sum += i.len;
	}
	/* a result of STAT has data of its own */
	return sum == f->head.data_bytes || (f->head.kind == WIRE_RESULT && !f->head.n) ? 0 : -EPROTO;
}

int wire_decode(const void *data, size_t n, struct wire_frame *ret)
{
	static const uint32_t magic = WIRE_MAGIC;
	struct wire_head *h = &ret->head;
	size_t items;

	if (n < sizeof(*h))
		return n >= sizeof(h->magic) && memcmp(data, &magic, sizeof(h->magic)) ? -EPROTO : 0;
	memcpy(h, data, sizeof(*h));
	items = h->n * sizeof(struct wire_item);
	if (h->magic != WIRE_MAGIC || h->kind < WIRE_HELLO || h->kind > WIRE_MEMORY || h->n > POOL_OP_PAGES)
		return -EPROTO;
	if (h->n ? !has_items(h->kind) || h->data_bytes > h->n * STORE_SEALED_BYTES : h->data_bytes > WIRE_SMALL_BYTES)
		return -EPROTO;
	ret->bytes = sizeof(*h) + items + h->data_bytes;
	if (n < ret->bytes)
		return 0;
	ret->items = (const uint8_t *)data + sizeof(*h);
	ret->data = ret->items + items;
	return has_items(h->kind) && check_items(ret) < 0 ? -EPROTO : 1;
}

_Static_assert(sizeof((struct wire_turns){ 0 }.ahead[0]) == crypto_onetimeauth_KEYBYTES && WIRE_TAG_BYTES == crypto_onetimeauth_BYTES && WIRE_KEY_BYTES == crypto_stream_chacha20_ietf_KEYBYTES, "as libsodium has them");

/* What comes before the tag, and the items; of small frames, the data. Takes a turn. */
static void make_tag(struct wire_turns *t, const struct wire_head *h, const uint8_t *rest, size_t n, uint8_t tag[WIRE_TAG_BYTES])
{
	uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES] = { 0 };
	uint64_t part = t->turn / WIRE_AHEAD, at = t->turn++ % WIRE_AHEAD;
	crypto_onetimeauth_state state;

	if (!at) {
		memcpy(nonce, &part, sizeof(part));
		crypto_stream_chacha20_ietf((uint8_t *)t->ahead, sizeof(t->ahead), nonce, t->key);
	}
	crypto_onetimeauth_init(&state, t->ahead[at]);
	crypto_onetimeauth_update(&state, (const uint8_t *)h, offsetof(struct wire_head, tag));
	crypto_onetimeauth_update(&state, rest, n);
	crypto_onetimeauth_final(&state, tag);
}

static size_t tagged_bytes(const struct wire_head *h)
{
	return h->n ? h->n * sizeof(struct wire_item) : h->data_bytes;
}

int wire_check(struct wire_session *s, const struct wire_frame *f)
{
	uint8_t tag[WIRE_TAG_BYTES];

	if (!s->on)
		return 0;
	make_tag(&s->in, &f->head, f->items, tagged_bytes(&f->head), tag);
	return sodium_memcmp(tag, f->head.tag, sizeof(tag)) ? -EACCES : 0;
}

int wire_begin(struct buf *b, const struct wire_head *head, size_t *ret)
{
	size_t n = sizeof(*head) + head->n * sizeof(struct wire_item);
	uint8_t *at;

	if (buf_reserve(b, n, &at) < 0)
		return -ENOMEM;
	*ret = b->len;
	memset(at, 0, n);
	memcpy(at, head, sizeof(*head));
	buf_commit(b, n);
	return 0;
}

/* frames begin anywhere in a buffer: nothing in them is aligned */
void wire_set_item(struct buf *b, size_t frame, unsigned k, const struct wire_item *i)
{
	memcpy(buf_head(b) + frame + sizeof(struct wire_head) + k * sizeof(*i), i, sizeof(*i));
}

void wire_end(struct wire_session *s, struct buf *b, size_t frame)
{
	uint8_t *at = buf_head(b) + frame;
	struct wire_head h;

	memcpy(&h, at, sizeof(h));
	h.magic = WIRE_MAGIC;
	h.data_bytes = (uint32_t)(b->len - frame - sizeof(h) - h.n * sizeof(struct wire_item));
	if (s->on)
		make_tag(&s->out, &h, at + sizeof(h), tagged_bytes(&h), h.tag);
	memcpy(at, &h, sizeof(h));
}

int wire_small(struct wire_session *s, struct buf *b, enum wire_kind kind, uint8_t flags, const void *data, uint32_t n)
{
	struct wire_head head = { .kind = (uint8_t)kind, .flags = flags };
	size_t frame, before = b->len;

	if (wire_begin(b, &head, &frame) < 0)
		return -ENOMEM;
	if (buf_append(b, data, n) < 0) {
		b->len = before;
		return -ENOMEM;
	}
	wire_end(s, b, frame);
	return 0;
}
