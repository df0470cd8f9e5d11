/* SPDX-License-Identifier: Apache-2.0 */
#include "front.h"

/* Of a worker, in its process: the datagram is given to the application, becomes the reply in place, and leaves on the worker's own queue. */

static uint8_t status_of(int said)
{
	static const uint8_t statuses[] = {
		[HEARTH_APP_OK] = WIRE_OK, [HEARTH_APP_MALFORMED] = WIRE_MALFORMED, [HEARTH_APP_UNKNOWN] = WIRE_UNKNOWN, [HEARTH_APP_FAILED] = WIRE_FAILED,
	};

	return said >= 0 && (size_t)said < sizeof(statuses) ? statuses[said] : WIRE_FAILED;
}

static uint8_t work_handle(void *ctx, struct req *r)
{
	const struct front_worker *w = ctx;
	struct hearth_app_request request = {
		.data = r->data + WIRE_HEADER_BYTES,
		.len = r->len - WIRE_HEADER_BYTES,
		.room = r->room - WIRE_HEADER_BYTES,
		.type = r->type,
		.worker = w->worker,
		.id = r->id,
	};
	uint8_t status = status_of(w->app->handle(w->state, &request));

	/* what says that it is longer than there was room has overrun it */
	if (request.len > request.room)
		status = WIRE_FAILED;
	r->len = (uint16_t)(WIRE_HEADER_BYTES + (status == WIRE_OK ? request.len : 0));
	return status;
}

static void work_send(void *ctx, struct req *r)
{
	const struct front_worker *w = ctx;
	struct net_buf *buf = r->item;
	struct wire_header h = {
		.kind = WIRE_REPLY,
		.type = r->wire_type,
		.status = r->status,
		.id = r->id,
		.payload_len = r->len - WIRE_HEADER_BYTES,
		.queue_ns = r->queue_ns,
		.service_ns = wire_ns32(r->service_ns),
	};

	wire_write(&h, r->data);
	if (!w->port->ops->forks)
		return;         /* the dispatcher will, and has the buffer still in its own cache if nobody else looks at it */
	buf->len = r->len;
	w->port->ops->tx(w->port, w->worker, &buf, 1);
}

const struct slot_work front_work = { .handle = work_handle, .send = work_send };
