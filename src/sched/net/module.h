/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_NET_MODULE_H
#define SCHED_NET_MODULE_H

#include "sched/net.h"

/*
 * What needs a library which not every machine has is a shared object, so that `hearth` starts without it, and as fast: backends in hearth-net-NAME.so.
 */

/**
 * module_find - where a module is: in $HEARTH_MODULES, beside the program, in ../libexec/hearth from there
 * @what, @package: for the message: "DPDK", "libdpdk-dev"
 * Return: 0, -EOPNOTSUPP with message.
 */
int module_find(const char *file, const char *what, const char *package, char *ret_path, size_t n, struct hearth_err *err);

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
