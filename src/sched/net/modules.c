// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "module.h"

/* What stands in for a module until it is opened. A port's ops are the module's own, so only probe and open go through here in the end. */
struct wanted {
	const char *name, *what, *package;
	const struct net_backend *loaded;
};

static struct wanted xdp = { "xdp", "AF_XDP", "libxdp-dev and libbpf-dev", NULL };
static struct wanted dpdk = { "dpdk", "DPDK", "libdpdk-dev", NULL };

static int find(struct wanted *w, struct hearth_err *err)
{
	const struct net_module *module;
	const void *found;
	char file[64];
	int r;

	if (w->loaded != NULL)
		return 0;
	snprintf(file, sizeof(file), "hearth-net-%s.so", w->name);
	r = module_load(file, w->what, w->package, NET_MODULE_SYMBOL, &found, err);
	if (r < 0)
		return r;
	module = found;
	w->loaded = module->backend;
	return 0;
}

static int module_probe(struct wanted *w, struct hearth_err *err)
{
	int r = find(w, err);

	return r == 0 ? w->loaded->probe(err) : r;
}

static int module_open(struct wanted *w, const struct net_config *cfg, struct net_port **ret, struct hearth_err *err)
{
	int r = find(w, err);

	return r == 0 ? w->loaded->open(cfg, ret, err) : r;
}

static int xdp_probe(struct hearth_err *err) { return module_probe(&xdp, err); }
static int dpdk_probe(struct hearth_err *err) { return module_probe(&dpdk, err); }
static int xdp_open(const struct net_config *cfg, struct net_port **ret, struct hearth_err *err) { return module_open(&xdp, cfg, ret, err); }
static int dpdk_open(const struct net_config *cfg, struct net_port **ret, struct hearth_err *err) { return module_open(&dpdk, cfg, ret, err); }

static struct net_port *fwd_close(struct net_port *p) { return p != NULL ? p->ops->close(p) : NULL; }
static unsigned fwd_rx(struct net_port *p, struct net_buf **bufs, unsigned max) { return p->ops->rx(p, bufs, max); }
static unsigned fwd_tx(struct net_port *p, unsigned q, struct net_buf *const *bufs, unsigned n) { return p->ops->tx(p, q, bufs, n); }
static void fwd_release(struct net_port *p, unsigned q, struct net_buf *const *bufs, unsigned n) { p->ops->release(p, q, bufs, n); }
static bool fwd_recover(struct net_port *p, unsigned q, struct net_buf *buf, uint32_t gen) { return p->ops->recover(p, q, buf, gen); }
static int fwd_fd(const struct net_port *p) { return p->ops->fd(p); }
static bool fwd_arm(struct net_port *p) { return p->ops->arm(p); }
static void fwd_counters(const struct net_port *p, struct net_counters *ret) { p->ops->counters(p, ret); }
static void fwd_address(const struct net_port *p, char *out, size_t n) { p->ops->address(p, out, n); }

/* without a port: what probe found */
static void describe(struct wanted *w, const struct net_port *p, char *out, size_t n)
{
	if (p != NULL)
		p->ops->describe(p, out, n);
	else if (find(w, NULL) == 0)
		w->loaded->describe(NULL, out, n);
	else
		snprintf(out, n, "not there");
}

static void xdp_describe(const struct net_port *p, char *out, size_t n) { describe(&xdp, p, out, n); }
static void dpdk_describe(const struct net_port *p, char *out, size_t n) { describe(&dpdk, p, out, n); }

#define FORWARDED .close = fwd_close, .rx = fwd_rx, .tx = fwd_tx, .release = fwd_release, .fd = fwd_fd, .arm = fwd_arm, .counters = fwd_counters, \
	.address = fwd_address

const struct net_backend net_xdp = { .name = "xdp", .forks = true, .probe = xdp_probe, .open = xdp_open, .recover = fwd_recover, .describe = xdp_describe,
	FORWARDED };
const struct net_backend net_dpdk = { .name = "dpdk", .forks = false, .probe = dpdk_probe, .open = dpdk_open, .describe = dpdk_describe, FORWARDED };
