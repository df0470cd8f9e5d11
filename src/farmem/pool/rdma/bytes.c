/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "link.h"

/* What goes through a link: messages, and reads of the pool's memory. */

/* of work requests: what it was, and its buffer */
enum { WORK_RECV, WORK_SEND, WORK_READ };

static uint64_t work(unsigned what, unsigned buffer)
{
	return (uint64_t)what << 32 | buffer;
}

static uint8_t *recv_buffer(const struct link *l, unsigned k)
{
	return l->mem + (size_t)k * LINK_MESSAGE_BYTES;
}

static uint8_t *send_buffer(const struct link *l, unsigned k)
{
	return recv_buffer(l, LINK_RECVS + k);
}

static uint8_t *read_buffer(const struct link *l, unsigned k)
{
	return recv_buffer(l, LINK_RECVS + LINK_SENDS) + (size_t)k * LINK_READ_BYTES;
}

/* ---- receiving ---- */

static int post_recv(struct link *l, unsigned k)
{
	struct ibv_sge sge = { .addr = (uintptr_t)recv_buffer(l, k), .length = LINK_MESSAGE_BYTES, .lkey = l->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = work(WORK_RECV, k), .sg_list = &sge, .num_sge = 1 }, *bad;

	return -ibv_post_recv(l->qp, &wr, &bad);
}

int link_post_all(struct link *l)
{
	int r = 0;

	for (unsigned k = 0; k < LINK_RECVS && !r; k++)
		r = post_recv(l, k);
	return r;
}

/* Return: 0, -errno */
static int received(struct conn *c, unsigned k, uint32_t bytes)
{
	struct link *l = c->at;
	uint32_t ready;
	int r;

	if (bytes < LINK_HEAD_BYTES)
		return -EPROTO;
	memcpy(&ready, recv_buffer(l, k), sizeof(ready));
	if (ready > LINK_RECVS || l->credits + ready > LINK_RECVS)
		return -EPROTO;
	l->credits += ready;
	r = buf_append(&c->in, recv_buffer(l, k) + LINK_HEAD_BYTES, bytes - LINK_HEAD_BYTES);
	l->owed++;
	return r ? r : post_recv(l, k);
}

/* Return: whether there is something to be looked at; what is wrong is in l->lost. */
static bool completed(struct conn *c, const struct ibv_wc *wc)
{
	struct link *l = c->at;
	unsigned what = (unsigned)(wc->wr_id >> 32), k = (unsigned)wc->wr_id;

	if (wc->status != IBV_WC_SUCCESS) {
		l->lost = l->lost ? l->lost : wc->status == IBV_WC_RETRY_EXC_ERR ? -EHOSTUNREACH : -ECONNRESET;
		return false;
	}
	if (what == WORK_SEND) {
		l->sends |= 1u << k;
		return false;
	}
	if (what == WORK_READ) {
		l->read[l->n_read].tag = l->tag[k];
		l->read[l->n_read++].slot = (uint8_t)k;
		return true;
	}
	/* the client's first message may come before the news that it is there */
	l->step = LINK_UP;
	l->lost = l->lost ? l->lost : received(c, k, wc->byte_len);
	return true;
}

/* The bell rings once for all that comes after it was set. */
static void set_bell(struct link *l)
{
	struct ibv_cq *cq;
	void *ctx;
	unsigned n = 0;

	while (ibv_get_cq_event(l->bell, &cq, &ctx) == 0)
		n++;
	if (!n)
		return;
	ibv_ack_cq_events(l->cq, n);
	if (ibv_req_notify_cq(l->cq, 0))
		l->lost = -EIO;
}

void link_again(struct conn *c)
{
	const struct link *l = c->at;

	(void)!write(l->nudge, &(uint64_t){ 1 }, sizeof(uint64_t));
}

int link_fill(struct conn *c)
{
	struct link *l = c->at;
	struct ibv_wc wc[16];
	uint64_t times;
	bool got = false;
	int n = 1, r = link_events(c);

	(void)!read(l->nudge, &times, sizeof(times));
	l->lost = l->lost ? l->lost : r;
	if (l->bell)
		set_bell(l);
	while (l->cq && n > 0) {
		n = ibv_poll_cq(l->cq, 16, wc);
		for (int k = 0; k < n; k++)
			got |= completed(c, &wc[k]);
	}
	/* what was said before the other side went is heard */
	c->more = got && l->lost;
	return got ? 1 : l->lost;
}

/* ---- sending ---- */

static int send_message(struct conn *c, uint32_t n)
{
	struct link *l = c->at;
	unsigned k = (unsigned)__builtin_ctz(l->sends);
	struct ibv_sge sge = { .addr = (uintptr_t)send_buffer(l, k), .length = LINK_HEAD_BYTES + n, .lkey = l->mr->lkey };
	struct ibv_send_wr wr = { .wr_id = work(WORK_SEND, k), .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED }, *bad;
	/* who has much to deal with gets no more for now */
	uint32_t ready = c->in.len < CONN_OUT_BYTES ? l->owed : 0;
	int r;

	memcpy(send_buffer(l, k), &ready, sizeof(ready));
	if (n)
		memcpy(send_buffer(l, k) + LINK_HEAD_BYTES, buf_head(&c->out), n);
	r = ibv_post_send(l->qp, &wr, &bad);
	if (r)
		return -r;
	l->sends &= ~(1u << k);
	l->owed -= ready;
	l->credits--;
	buf_consume(&c->out, n);
	return 0;
}

/* The last of the other end's buffers is for a message that only says what is ready here, or both could wait for each other. */
int link_flush(struct conn *c)
{
	struct link *l = c->at;
	int r = 0;

	if (l->lost || l->step != LINK_UP)
		return c->more ? 0 : l->lost;
	while (!r && c->out.len && l->sends && l->credits > 1) {
		uint32_t room = LINK_MESSAGE_BYTES - LINK_HEAD_BYTES;

		r = send_message(c, c->out.len < room ? (uint32_t)c->out.len : room);
	}
	if (!r && l->owed >= LINK_RECVS / 2 && l->sends && l->credits && c->in.len < CONN_OUT_BYTES)
		r = send_message(c, 0);
	return r;
}

bool link_gone(const struct conn *c)
{
	const struct link *l = c->at;

	return l->sends == (1u << LINK_SENDS) - 1;
}

/* ---- reading ---- */

int link_begin(struct conn *c, const struct wire_memory *m, uint64_t at, uint32_t len, uint64_t tag)
{
	struct link *l = c->at;
	struct ibv_sge sge = { .length = len, .lkey = l->mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED, .wr.rdma = { .remote_addr = m->address + at, .rkey = m->rkey } }, *bad;
	unsigned k;
	int r;

	if (!l->n_free)
		return 0;
	if (len > LINK_READ_BYTES)
		return -EPROTO;
	k = l->free[--l->n_free];
	sge.addr = (uintptr_t)read_buffer(l, k);
	wr.wr_id = work(WORK_READ, k);
	l->tag[k] = tag;
	r = ibv_post_send(l->qp, &wr, &bad);
	return r ? -r : 1;
}

int link_next(struct conn *c, uint64_t *ret_tag, const uint8_t **ret_data)
{
	struct link *l = c->at;

	if (l->given >= 0)
		l->free[l->n_free++] = (uint8_t)l->given;
	l->given = -1;
	if (!l->n_read)
		return 0;
	l->given = l->read[--l->n_read].slot;
	*ret_tag = l->read[l->n_read].tag;
	*ret_data = read_buffer(l, (unsigned)l->given);
	return 1;
}
