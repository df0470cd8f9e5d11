/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_RDMA_LINK_H
#define FARMEM_POOL_RDMA_LINK_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "../place.h"

/*
 * A connection over RDMA. Frames go as a stream of bytes in messages, each into a buffer that the other end has ready: LINK_RECVS of them, and every message says how many have become ready again. The pool's memory
 * is read by the client's device, of which the pool's processor knows nothing.
 */

#define LINK_MESSAGE_BYTES 16384u
#define LINK_HEAD_BYTES    4u           /* of a message: how many more buffers are ready at who sends it, little endian */
#define LINK_RECVS 16u
#define LINK_SENDS 8u
/* what a client may read at once, and what each may have */
#define LINK_READS 128u
#define LINK_READ_BYTES 4224u
/* reads that a device has under way, at most; more wait in its queue */
#define LINK_DEPTH 16u

/** struct device - of a pool: one that clients have come by, and the memory that they may read */
struct device {
	struct device *next;
	struct ibv_context *verbs;
	struct ibv_pd *pd;
	struct { struct ibv_mr *mr; } *region;
	size_t regions;
	unsigned users;
};

/** struct at_pool - a pool's listener */
struct at_pool {
	struct rdma_event_channel *events;
	struct rdma_cm_id *id;
	struct device *devices;
};

enum link_step { LINK_BEGUN, LINK_UP };

/**
 * struct link - one end
 * @device:  pool: the listener's
 * @pd:      client: its own
 * @mem:     LINK_RECVS buffers, LINK_SENDS, and (client) LINK_READS
 * @credits: buffers that are ready at the other end; @owed: that are ready here, which it has not been told
 * @sends:   bit k: that buffer is free; @reads: the free ones' numbers; @read: those that have come
 * @lost:    why it is of no use any more; 0: it is
 */
struct link {
	struct device *device;
	struct ibv_pd *pd;
	struct rdma_event_channel *events;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *bell;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	uint8_t *mem;
	size_t bytes;
	enum link_step step;
	unsigned credits, owed;
	uint32_t sends;
	unsigned n_free, n_read;
	uint8_t free[LINK_READS];
	struct { uint64_t tag; uint8_t slot; } read[LINK_READS];
	uint64_t tag[LINK_READS];
	int nudge;                      /* an eventfd: there is something to do of which no event tells */
	int given;                      /* the slot that next() gave last; -1: none */
	int lost;
};

/** link_new - with a channel of events of its own. Return: NULL: errno says why. */
struct link *link_new(void);
/** link_make - the queues and buffers of a link whose id has its device. A client's queue pair is the id's, and changes its state with it; a pool's is ours. Return: 0, -errno. */
int link_make(struct link *l, struct ibv_pd *pd, bool client);
/** link_post_all - buffers for what comes: once the queue pair is initialized. Return: 0, -errno. */
int link_post_all(struct link *l);
struct link *link_free(struct link *l);
/** link_fd - one descriptor for the connection's events, its completions and link_again(). Return: descriptor, -errno. */
int link_fd(const struct link *l);
/** link_watch_bell - Return: 0, -errno */
int link_watch_bell(const struct link *l, int fd);

/** link_fill, link_flush, link_again, link_gone, link_begin, link_next - of struct way and struct way_reads */
int link_fill(struct conn *c);
int link_flush(struct conn *c);
void link_again(struct conn *c);
bool link_gone(const struct conn *c);
int link_begin(struct conn *c, const struct wire_memory *m, uint64_t at, uint32_t len, uint64_t tag);
int link_next(struct conn *c, uint64_t *ret_tag, const uint8_t **ret_data);
/** link_address - Return: 0, -EINVAL */
int link_address(const struct place *p, struct sockaddr_storage *ret);
/** link_name - who the other end is */
void link_name(const struct conn *c, char *ret, size_t n);
/** link_done - of struct way */
void link_done(struct conn *c);

/** client_connect, pool_listen, pool_accept, pool_unlisten - of struct transport */
int client_connect(const struct place *p, struct conn *ret);
int pool_listen(const struct place *p, struct listener *ret);
int pool_accept(struct listener *l, struct conn *ret);
void pool_unlisten(struct listener *l);

/** link_events - what has happened to the connection; of one that is being made, the next step. Return: 0, -errno (it is lost). */
int link_events(struct conn *c);

#endif
