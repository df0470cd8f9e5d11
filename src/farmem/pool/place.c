/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/module.h"
#include "sockets.h"

static int parse_address(const char *text, struct place *p)
{
	const char *colon = strrchr(text, ':');
	struct in_addr v4;
	struct in6_addr v6;
	char *end;
	long port;

	if (!colon || (size_t)(colon - text) >= sizeof(p->host))
		return -EINVAL;
	memcpy(p->host, text, (size_t)(colon - text));
	p->host[colon - text] = 0;
	port = strtol(colon + 1, &end, 10);
	if (!colon[1] || *end || port < 0 || port > 65535)
		return -EINVAL;
	p->port = (uint16_t)port;
	if (inet_pton(AF_INET, p->host, &v4) == 1)
		p->loopback = ntohl(v4.s_addr) >> 24 == 127;
	else if (inet_pton(AF_INET6, p->host, &v6) == 1)
		p->loopback = IN6_IS_ADDR_LOOPBACK(&v6);
	else
		return -EINVAL;
	p->loopback &= p->kind != PLACE_RDMA;
	return 0;
}

static int parse_path(const char *path, struct place *p)
{
	if (!*path || strlen(path) >= sizeof(p->host))
		return -EINVAL;
	p->loopback = true;
	memcpy(p->host, path, strlen(path));
	return 0;
}

int place_parse(const char *uri, size_t n, struct place *ret, struct hearth_err *err)
{
	static const struct { const char *scheme; bool path; } kinds[] = { [PLACE_TCP] = { "tcp:", false }, [PLACE_UNIX] = { "unix:", true }, [PLACE_SHARED] = { "shm:", true }, [PLACE_RDMA] = { "rdma:", false } };
	char text[256];
	int r = -EINVAL;

	*ret = (struct place){ 0 };
	if (n < sizeof(text)) {
		memcpy(text, uri, n);
		text[n] = 0;
		for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			size_t begin = strlen(kinds[k].scheme);

			if (strncmp(text, kinds[k].scheme, begin))
				continue;
			ret->kind = (enum place_kind)k;
			r = kinds[k].path ? parse_path(text + begin, ret) : parse_address(text + begin, ret);
		}
	}
	return r ? err_set(err, r, "\"%.*s\" is not \"tcp:HOST:PORT\" or \"rdma:HOST:PORT\", with a number for HOST, and not \"unix:PATH\" or \"shm:PATH\"", (int)(n < 200 ? n : 200), uri) : 0;
}

int place_transport(const struct place *p, const struct transport **ret, struct hearth_err *err)
{
	const void *found;
	int r = 0;

	if (p->kind == PLACE_RDMA)
		r = module_load("hearth-pool-rdma.so", "RDMA", "libibverbs-dev and librdmacm-dev", RDMA_MODULE_SYMBOL, &found, err);
	if (r == 0)
		*ret = p->kind == PLACE_RDMA ? ((const struct rdma_module *)found)->transport : &sockets_transport;
	return r;
}

int listener_open(const struct place *p, const struct transport *t, struct listener *ret)
{
	*ret = (struct listener){ .fd = -1, .kind = p->kind, .transport = t };
	return t->listen(p, ret);
}

void listener_close(struct listener *l)
{
	if (l->fd >= 0 && l->transport->unlisten)
		l->transport->unlisten(l);
	fd_close(&l->fd);
}
