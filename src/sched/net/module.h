/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_NET_MODULE_H
#define SCHED_NET_MODULE_H

#include "base/module.h"
#include "sched/net.h"

/*
 * Backends that need a library which not every machine has: modules (base/module.h), hearth-net-NAME.so.
 */

#define NET_MODULE_SYMBOL "hearth_net_module"

/** struct net_module - what a module exports. @version: HEARTH_VERSION of its build; another one is refused: the interface is internal. */
struct net_module {
	const char *version;
	const struct net_backend *backend;
};

#define NET_MODULE(b) \
	extern const struct net_module hearth_net_module; \
	__attribute__((visibility("default"))) const struct net_module hearth_net_module = { HEARTH_VERSION, &(b) }

/* each within its module, and linked by tests */
extern const struct net_backend net_xdp_module, net_dpdk_module;

#endif
