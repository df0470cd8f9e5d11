/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pump.h"

#define ALIGN_BYTES 512u                /* of a piece in a slot, at least */

static int lane_open(struct pump *p, struct lane *l, struct hearth_err *err)
{
	struct cuda_device *c = l->device->cuda;
	int r;

	if (!c)
		return 0;
	l->copies = malloc(sizeof(*l->copies));
	if (!l->copies)
		return err_set(err, -ENOMEM, "out of memory");
	l->copies->n = 0;
	r = lane_use(p, l);
	if (r == 0)
		r = cuda_stream(c, &l->stream, err);
	for (unsigned k = 0; k < BATCHES && r == 0; k++)
		r = cuda_err(c->cu, c->cu->event_create(&l->batches[k].event, CU_EVENT_NO_TIMING | CU_EVENT_BLOCKING), err, "cuEventCreate");
	return r;
}

static struct lane *lane_new(struct pump *p, struct hearth_ds_device *d, struct ring *ring)
{
	struct lane *l = calloc(1, sizeof(*l));
	int16_t *registered = malloc(ring->segments_max * sizeof(*registered));

	if (!l || !registered) {
		free(l);
		free(registered);
		p->failed = err_set(p->err, -ENOMEM, "out of memory");
		return NULL;
	}
	for (unsigned k = 0; k < ring->segments_max; k++)
		registered[k] = REGISTERED_NOT;
	l->device = d;
	l->ring = ring;
	l->depth = p->depth;
	l->registered = registered;
	p->failed = lane_open(p, l, p->err);
	if (p->failed < 0) {
		lane_free(p, l);
		return NULL;
	}
	return l;
}

struct lane *lane_get(struct pump *p, struct hearth_ds_device *d)
{
	struct ring *ring = NULL;
	struct lane *l;

	for (l = p->lanes; l; l = l->next)
		if (l->device == d)
			return l;
	p->failed = ring_get(d, &ring, p->err);
	l = ring ? lane_new(p, d, ring) : NULL;
	if (l) {
		l->next = p->lanes;
		p->lanes = l;
	}
	return l;
}

void lane_free(struct pump *p, struct lane *l)
{
	struct cuda_device *c = l->device->cuda;

	lane_rest(l);
	if (c && lane_use(p, l) == 0) {
		for (unsigned k = 0; k < BATCHES; k++)
			if (l->batches[k].event)
				(void)c->cu->event_destroy(l->batches[k].event);
		if (l->stream)
			(void)c->cu->stream_destroy(l->stream);
	}
	free(l->copies);
	free(l->registered);
	free(l);
}

int lane_use(struct pump *p, struct lane *l)
{
	struct cuda_device *c = l->device->cuda;
	int r = 0;

	if (!c || p->current == l->device)
		return 0;
	r = cuda_errno(c->cu->set_current(c->context));
	if (r == 0)
		p->current = l->device;
	return r < 0 ? -EIO : 0;
}

/* ---- room in slots ---- */

int lane_room(struct lane *l, size_t bytes, uint32_t align, bool wait, struct slot **ret, uint8_t **ret_at)
{
	struct slot *s = l->current;
	uint32_t need = (uint32_t)((bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1));
	/* of as many as are read at once */
	uint64_t round_bytes = (uint64_t)need * l->depth;

	if (s)
		s->used = s->refs == 0 ? 0 : (s->used + align - 1) & ~(align - 1);
	/* short ones go round in as little memory as they can, which the processor's caches then still have */
	if (s && s->used + need > (round_bytes < PIECE_BYTES ? round_bytes : PIECE_BYTES)) {
		/* its last piece gives it back */
		l->current = NULL;
		if (s->refs == 0) {
			ring_put(l->ring, s);
			l->slots--;
		}
		s = NULL;
	}
	if (!s) {
		s = ring_take(l->ring, wait && l->slots == 0);
		if (!s)
			return -EAGAIN;
		l->slots++;
		l->current = s;
	}
	*ret = s;
	*ret_at = s->at + s->used;
	s->used += need;
	s->refs++;
	return 0;
}

void lane_room_put(struct lane *l, struct slot *s)
{
	if (--s->refs > 0 || s == l->current)
		return;
	ring_put(l->ring, s);
	l->slots--;
}

void lane_rest(struct lane *l)
{
	if (!l->current || l->current->refs > 0)
		return;
	ring_put(l->ring, l->current);
	l->current = NULL;
	l->slots--;
}

int lane_buffer(struct pump *p, struct lane *l, const struct slot *s)
{
	struct iovec iov = { l->ring->segments[s->segment].at, SEGMENT_BYTES };
	int16_t *number = &l->registered[s->segment];

	if (*number != REGISTERED_NOT)
		return *number;
	/* what cannot be (RLIMIT_MEMLOCK, mostly) goes without: a little more work for the kernel each time */
	*number = REGISTERED_NEVER;
	if (p->next_buffer < PUMP_BUFFERS && io_uring_register_buffers_update_tag(&p->uring, p->next_buffer, &iov, NULL, 1) == 1)
		*number = (int16_t)p->next_buffer++;
	return *number;
}

/* ---- copies ---- */

static void fail(struct pump *p, struct pieces *l, int r)
{
	while (l->head) {
		struct piece *piece = l->head;

		l->head = piece->next;
		piece->got = r;
		piece_end(p, piece);
	}
	l->tail = NULL;
}

int piece_copy(struct cuda_device *c, struct copies *k, cu_stream stream, const struct piece *piece, uint64_t at, uint64_t n, const uint8_t *from, struct hearth_err *err)
{
	int r = 0;

	for (const struct op *op = piece->ops; op && r == 0; op = op->chained) {
		uint64_t low = op->file_offset > at ? op->file_offset : at, high = op->file_offset + op->bytes;
		cu_deviceptr to = op->memory->at + op->memory_offset + (low - op->file_offset), of = (cu_deviceptr)(uintptr_t)(from + (low - at));

		high = high < at + n ? high : at + n;
		if (low >= high || copies_add(k, to, of, high - low))
			continue;
		r = copies_start(c, k, stream, err);
		(void)copies_add(k, to, of, high - low);
	}
	return r;
}

static struct pieces pieces_take(struct pieces *from, unsigned n)
{
	struct pieces taken = { 0 };

	while (from->head && n-- > 0) {
		struct piece *piece = from->head;

		from->head = piece->next;
		pieces_add(&taken, piece);
	}
	if (!from->head)
		from->tail = NULL;
	return taken;
}

bool lane_copy(struct pump *p, struct lane *l)
{
	struct cuda_device *c = l->device->cuda;
	struct batch *b;
	int r;

	if (!l->ready.head)
		return false;
	if (l->n == BATCHES)
		(void)lane_poll(p, l, true);
	b = &l->batches[(l->first + l->n) % BATCHES];
	b->pieces = pieces_take(&l->ready, BATCH_PIECES);
	r = lane_use(p, l);
	for (struct piece *piece = b->pieces.head; piece && r == 0; piece = piece->next)
		r = piece_copy(c, l->copies, l->stream, piece, piece->at, (uint64_t)piece->got, piece->to + (piece->at - piece->low), p->err);
	if (r == 0)
		r = copies_start(c, l->copies, l->stream, p->err);
	if (r == 0)
		r = cuda_errno(c->cu->event_record(b->event, l->stream));
	if (r < 0) {
		/* some of it may be on its way: nothing is used again before the stream is empty */
		l->copies->n = 0;
		(void)c->cu->stream_sync(l->stream);
		fail(p, &b->pieces, r);
		return true;
	}
	l->n++;
	return true;
}

bool lane_poll(struct pump *p, struct lane *l, bool wait)
{
	const struct cuda *cu = l->n ? l->device->cuda->cu : NULL;
	bool any = false, usable = l->n && lane_use(p, l) == 0;

	while (l->n) {
		struct batch *b = &l->batches[l->first];
		struct pieces ended = b->pieces;
		cu_result r = !usable ? CU_INVALID_VALUE : wait && !any ? cu->event_sync(b->event) : cu->event_query(b->event);

		if (r == CU_NOT_READY)
			break;
		l->first = (l->first + 1) % BATCHES;
		l->n--;
		any = true;
		if (r != CU_OK)
			fail(p, &ended, -EIO);
		while (ended.head) {
			struct piece *piece = ended.head;

			ended.head = piece->next;
			piece_end(p, piece);
		}
	}
	return any;
}
