/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/fd.h"

/* A link's parts, made and unmade. */

/* as ibv_ functions do: errno, or none */
static int last_error(void)
{
	return errno ? -errno : -ENOMEM;
}

struct link *link_new(void)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->given = -1;
	l->nudge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->mem = MAP_FAILED;
	l->events = rdma_create_event_channel();
	if (l->nudge < 0 || !l->events || fd_set_nonblock(l->events->fd, true) < 0 || fd_set_cloexec(l->events->fd, true) < 0)
		return link_free(l);
	return l;
}

static int make_buffers(struct link *l, struct ibv_pd *pd, bool client)
{
	/* what a device of the iWARP kind reads into has to be open to writing from afar: what it reads comes as such */
	bool iwarp = l->id->verbs->device->transport_type == IBV_TRANSPORT_IWARP;

	l->bytes = (LINK_RECVS + LINK_SENDS) * LINK_MESSAGE_BYTES + (client ? LINK_READS * LINK_READ_BYTES : 0);
	l->mem = mmap(NULL, l->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (l->mem == MAP_FAILED)
		return -ENOMEM;
	l->mr = ibv_reg_mr(pd, l->mem, l->bytes, IBV_ACCESS_LOCAL_WRITE | (client && iwarp ? IBV_ACCESS_REMOTE_WRITE : 0));
	if (!l->mr)
		return last_error();
	l->sends = (1u << LINK_SENDS) - 1;
	l->credits = LINK_RECVS;
	for (unsigned k = 0; client && k < LINK_READS; k++)
		l->free[l->n_free++] = (uint8_t)k;
	return 0;
}

int link_make(struct link *l, struct ibv_pd *pd, bool client)
{
	unsigned sends = LINK_SENDS + (client ? LINK_READS : 0);
	struct ibv_qp_init_attr attr = { .cap = { .max_send_wr = sends, .max_recv_wr = LINK_RECVS, .max_send_sge = 1, .max_recv_sge = 1 }, .qp_type = IBV_QPT_RC };

	errno = 0;
	l->bell = ibv_create_comp_channel(l->id->verbs);
	if (!l->bell || fd_set_nonblock(l->bell->fd, true) < 0)
		return last_error();
	l->cq = ibv_create_cq(l->id->verbs, (int)(sends + LINK_RECVS), NULL, l->bell, 0);
	if (!l->cq || ibv_req_notify_cq(l->cq, 0))
		return last_error();
	attr.send_cq = attr.recv_cq = l->cq;
	if (client && rdma_create_qp(l->id, pd, &attr))
		return last_error();
	l->qp = client ? l->id->qp : ibv_create_qp(pd, &attr);
	if (!l->qp)
		return last_error();
	return make_buffers(l, pd, client);
}

struct link *link_free(struct link *l)
{
	if (!l)
		return NULL;
	if (l->step == LINK_UP)
		(void)rdma_disconnect(l->id);
	if (l->id && l->id->qp)
		rdma_destroy_qp(l->id);
	else if (l->qp)
		ibv_destroy_qp(l->qp);
	if (l->cq)
		ibv_destroy_cq(l->cq);
	if (l->bell)
		ibv_destroy_comp_channel(l->bell);
	if (l->mr)
		ibv_dereg_mr(l->mr);
	if (l->pd)
		ibv_dealloc_pd(l->pd);
	if (l->id)
		rdma_destroy_id(l->id);
	if (l->events)
		rdma_destroy_event_channel(l->events);
	fd_close(&l->nudge);
	if (l->mem != MAP_FAILED)
		munmap(l->mem, l->bytes);
	free(l);
	return NULL;
}

void link_done(struct conn *c)
{
	link_free(c->at);
}

int link_address(const struct place *p, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, p->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(p->port);
		return 0;
	}
	if (inet_pton(AF_INET6, p->host, &v6->sin6_addr) != 1)
		return -EINVAL;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(p->port);
	return 0;
}

void link_name(const struct conn *c, char *ret, size_t n)
{
	const struct link *l = c->at;
	const struct sockaddr *a = rdma_get_peer_addr(l->id);
	socklen_t len = a->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	char host[INET6_ADDRSTRLEN];

	if (getnameinfo(a, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST))
		snprintf(ret, n, "?");
	else
		snprintf(ret, n, "%s by RDMA", host);
}

static int watch(int epoll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

int link_fd(const struct link *l)
{
	int fd = epoll_create1(EPOLL_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = watch(fd, l->events->fd);
	if (r == 0)
		r = watch(fd, l->nudge);
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

int link_watch_bell(const struct link *l, int fd)
{
	return watch(fd, l->bell->fd);
}
