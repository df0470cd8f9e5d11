/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "sched/net.h"

const struct net_backend *const net_backends[] = {
	&net_udp,
	&net_xdp,
	&net_dpdk,
	NULL,
};

const struct net_backend *net_backend_find(const char *name)
{
	for (size_t i = 0; net_backends[i] != NULL; i++)
		if (strcmp(net_backends[i]->name, name) == 0)
			return net_backends[i];
	return NULL;
}
