/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "front.h"

#define MESSAGE_MAX (WIRE_HEADER_BYTES + WIRE_PAYLOAD_MAX)
_Static_assert(MESSAGE_MAX <= UINT16_MAX, "struct req has 16 bits for lengths");

/* ---- what leaves from here ---- */

static void send_all(struct front *f)
{
	if (f->answers_n > 0)
		f->net->tx(f->port, f->self, f->answers, f->answers_n);
	if (f->drops_n > 0)
		f->net->release(f->port, f->self, f->drops, f->drops_n);
	f->answers_n = 0;
	f->drops_n = 0;
	f->held_ns = 0;
}

static void front_flush(void *ctx, uint64_t now)
{
	struct front *f = ctx;

	if (f->answers_n + f->drops_n == 0)
		return;
	if (f->held_ns == 0)
		f->held_ns = now;
	if (now == 0 || f->answers_n + f->drops_n >= FRONT_HOLD || now - f->held_ns >= FRONT_HOLD_NS ||
	    (f->received == 0 && !disp_expects(f->disp, now, FRONT_HOLD_NS)))
		send_all(f);
}

static void transmit(struct front *f, struct net_buf *buf)
{
	f->answers[f->answers_n++] = buf;
	if (f->answers_n == FRONT_BATCH)
		send_all(f);
}

static void drop(struct front *f, struct net_buf *buf)
{
	f->drops[f->drops_n++] = buf;
	if (f->drops_n == FRONT_BATCH)
		send_all(f);
}

/* A reply without payload, which is never longer than what it answers. */
static void answer(struct front *f, struct net_buf *buf, uint64_t id, uint16_t type, enum wire_status status, uint64_t queue_ns)
{
	struct wire_header h = { .kind = WIRE_REPLY, .id = id, .type = type, .status = (uint16_t)status, .queue_ns = wire_ns32(queue_ns) };

	wire_write(&h, buf->data);
	buf->len = WIRE_HEADER_BYTES;
	transmit(f, buf);
}

/* ---- what comes in ---- */

static void refuse(struct front *f, struct net_buf *buf)
{
	struct wire_header h;

	counter_add(&f->counters.malformed, 1);
	if (!wire_answerable(buf->data, buf->len, &h)) {
		drop(f, buf);
		return;
	}
	counter_add(&f->counters.answered, 1);
	answer(f, buf, h.id, h.type, WIRE_MALFORMED, 0);
}

static void take_in(struct front *f, uint64_t now, struct net_buf *buf)
{
	struct wire_header h;
	struct req *r;
	uint32_t type;

	if (wire_parse(buf->data, buf->len, &h) < 0) {
		refuse(f, buf);
		return;
	}
	if (h.kind != WIRE_REQUEST) {
		counter_add(&f->counters.replies, 1);
		drop(f, buf);
		return;
	}
	type = classify(f->classifier, h.type, buf->data + WIRE_HEADER_BYTES, h.payload_len);
	if (type == SCHED_UNKNOWN && f->reject_unknown) {
		counter_add(&disp_type_of(f->disp, type)->status[WIRE_UNKNOWN], 1);
		answer(f, buf, h.id, h.type, WIRE_UNKNOWN, 0);
		return;
	}
	r = f->free[--f->free_n];
	r->item = buf;
	r->data = r->reply = buf->data;
	r->len = (uint16_t)buf->len;
	r->room = (uint16_t)(buf->room < MESSAGE_MAX ? buf->room : MESSAGE_MAX);
	r->fetch = f->net->forks ? buf : NULL;
	r->gen = buf->gen;
	r->id = h.id;
	r->wire_type = h.type;
	disp_offer(f->disp, now, now, type, buf->flow, r);
}

static unsigned front_receive(void *ctx, uint64_t now, unsigned max)
{
	struct front *f = ctx;
	struct net_buf *bufs[FRONT_BATCH];
	unsigned n;

	f->received = 0;
	if (max > FRONT_BATCH)
		max = FRONT_BATCH;
	if (max > f->free_n)
		max = f->free_n;
	if (max == 0) {
		counter_add(&f->counters.starved, 1);
		return 0;
	}
	n = f->net->rx(f->port, bufs, max);
	f->received = n;
	for (unsigned i = 0; i < n; i++)
		take_in(f, now, bufs[i]);
	return n;
}

/* ---- how requests end ---- */

static void give_back(struct front *f, struct req *r)
{
	f->free[f->free_n++] = r;
}

static void front_req_done(void *ctx, uint64_t now, struct req *r)
{
	struct front *f = ctx;

	if (!f->net->forks) {
		struct net_buf *buf = r->item;

		buf->len = r->len;
		transmit(f, buf);
	}
	give_back(f, r);
}

static void front_req_fetch(void *ctx, const struct req *r)
{
	const struct front *f = ctx;

	__builtin_prefetch(r, 1);
	if (!f->net->forks) {
		__builtin_prefetch(r->reply, 1);
		__builtin_prefetch(r->reply + 64, 1);
	}
}

static void front_req_ended(void *ctx, uint64_t now, struct req *r, uint32_t worker, enum stage stage)
{
	struct front *f = ctx;
	struct net_buf *buf = r->item;
	bool ours = true;

	/* died while it sent: if the buffer is gone, so is the reply */
	if (stage == STAGE_SENDING && f->net->forks)
		ours = f->net->recover(f->port, worker, buf, r->gen);
	if (ours && r->status == WIRE_OVERLOAD && f->drop_silently)
		drop(f, buf);
	else if (ours)
		answer(f, buf, r->id, r->wire_type, (enum wire_status)r->status, now - r->arrival_ns);
	give_back(f, r);
}

/* All buffers are inside, so nothing can be taken in, and what waits outside is no reason to wake up: what ends here rings. */
static bool is_full(const struct front *f)
{
	return f->free_n <= f->spare;
}

static int front_fd(void *ctx)
{
	struct front *f = ctx;

	return is_full(f) ? -1 : f->net->fd(f->port);
}

static bool front_arm(void *ctx)
{
	struct front *f = ctx;

	return is_full(f) || f->net->arm(f->port);
}

const struct disp_front front_ops = {
	.receive = front_receive,
	.fetch = front_req_fetch,
	.done = front_req_done,
	.ended = front_req_ended,
	.flush = front_flush,
	.fd = front_fd,
	.arm = front_arm,
};

int front_init(struct front *f, struct net_port *port, uint32_t workers, uint32_t buffers, struct hearth_err *err)
{
	uint32_t spare = 2 * workers, reqs = buffers + spare;

	memset(f, 0, sizeof(*f));
	f->net = port->ops;
	f->port = port;
	f->self = workers;
	f->spare = spare;
	f->reqs = mmap(NULL, reqs * sizeof(*f->reqs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	f->free = calloc(reqs, sizeof(struct req *));
	if (f->reqs == MAP_FAILED || f->free == NULL) {
		if (f->reqs == MAP_FAILED)
			f->reqs = NULL;
		f->reqs_n = reqs;
		front_done(f);
		return err_set(err, -ENOMEM, "memory for %u requests: %s", reqs, strerror(ENOMEM));
	}
	f->reqs_n = reqs;
	for (uint32_t i = 0; i < reqs; i++)
		f->free[f->free_n++] = &f->reqs[i];
	return 0;
}

void front_done(struct front *f)
{
	if (f->reqs != NULL)
		munmap(f->reqs, f->reqs_n * sizeof(*f->reqs));
	free(f->free);
	f->reqs = NULL;
	f->free = NULL;
	f->classifier = classifier_free(f->classifier);
}
