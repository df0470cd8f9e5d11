/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct node;

/**
 * struct node_config - what hearthd was told; every string is heap, see node_config_init/done
 * @run_dir:     sockets, records of running instances, roots; on tmpfs where there is one; survives the daemon, not a reboot
 * @state_dir:   deployed functions, images, logs; survives a reboot
 * @libexec_dir: holds hearth-box and hearth-init
 * @criu:        path of the criu program; NULL: no parking
 * @isolation:   0 full, 1 none, 2 auto (full where the machine lets us)
 * @slots:       calls that run at a time, of all functions; 0 = no limit
 * @policy:      which of them, an enum sched_policy (sched/policy.h); @policy_reserved, @policy_window: see there
 * @ckpt_keeper: 0 auto (where there is a CUDA driver), 1 on, 2 off
 * @ckpt_pool_store, @ckpt_pool_bytes: a store in memory that has so much room made beforehand for images of device memory; NULL, 0: none
 * @ckpt_hold_bytes, @ckpt_hold_time: how much device memory of parked programs stays on the devices, and for how long (ns; 0 = no limit)
 * @farmem_policy:   when it moves, an enum farmem_rule; @farmem_compress: for a trace that is replayed so many times faster; @farmem_worth: memory that is worth as much as a processor
 * @farmem_pool:     where it goes, as hearth-pager(8) names it; NULL: to a pool of the pager's own; @farmem_pool_key: file with the tenants' secrets, NULL: pages are not sealed
 * @memory_pressure: a file of PSI's
 * @farmem:      what moves idle instances' memory, an enum node_farmem: 0 auto (the first engine that works here), 1 off, or one by name
 * @record_calls: file for a trace of the calls; NULL: none
 */
struct node_config {
	char *run_dir, *state_dir, *libexec_dir, *criu;
	char *listen;
	int isolation;
	int log_level;
	uint64_t max_body_bytes;
	int64_t max_connections, queue_limit, max_parks;
	uint64_t image_bytes_max;
	int64_t slots, policy_reserved, policy_window;
	int policy;
	char *record_calls;
	int ckpt_keeper;
	char *ckpt_pool_store;
	uint64_t ckpt_pool_bytes, ckpt_hold_bytes, ckpt_hold_time;
	int farmem;
	int farmem_policy;
	int64_t farmem_compress;
	uint64_t farmem_worth;
	char *farmem_pool, *farmem_pool_key;
	char *memory_pressure;
};

enum node_farmem { NODE_FARMEM_AUTO, NODE_FARMEM_OFF, NODE_FARMEM_UFFD, NODE_FARMEM_RECLAIM };
extern const char *const node_farmem_names[];
enum node_keeper_mode { KEEPER_AUTO, KEEPER_ON, KEEPER_OFF };
enum node_isolation { NODE_ISOLATION_FULL, NODE_ISOLATION_NONE, NODE_ISOLATION_AUTO };

/** node_config_init - defaults: /run/hearth and /var/lib/hearth as root, the XDG folders otherwise. Return: 0, -ENOMEM. */
int node_config_init(struct node_config *cfg, struct hearth_err *err);
/** node_config_load - a YAML file over what is there already; strict. Return: 0, -errno with message. */
int node_config_load(struct node_config *cfg, const char *path, struct hearth_err *err);
void node_config_done(struct node_config *cfg);

/**
 * node_new - take the run folder's lock, read what is deployed, adopt what runs, open gateway and control socket
 * @loop: borrowed, must be libev's default loop (children are reaped on it)
 * @cfg:  borrowed for the node's life
 * Return: the node, or NULL with a message in @err (-EADDRINUSE: another hearthd has this run folder).
 */
struct node *node_new(struct ev_loop *loop, const struct node_config *cfg, struct hearth_err *err);

/** struct node_farmem_report - one way to move idle instances' memory. @detail: what it uses, or why it does not work and what to do */
struct node_farmem_report {
	const char *name;
	bool works;
	char detail[256];
};

/**
 * node_farmem_probe - every way there is, the preferred first
 * @cfg: libexec_dir only
 * @ret: room for @n. Context: blocks for a moment; needs no daemon. Return: how many.
 */
size_t node_farmem_probe(const struct node_config *cfg, struct node_farmem_report *ret, size_t n);

/** node_gateway_port - the TCP port the gateway listens on */
uint16_t node_gateway_port(const struct node *n);

/**
 * node_shutdown - begin to stop
 * @stop_instances: end every instance (parking those that can be); false leaves them running for the next daemon to adopt
 * The loop is broken (ev_break) when nothing is left to wait for.
 */
void node_shutdown(struct node *n, bool stop_instances);

/** node_free - releases what the node holds; running instances are not touched. NULL is fine; returns NULL. */
struct node *node_free(struct node *n);

#endif
