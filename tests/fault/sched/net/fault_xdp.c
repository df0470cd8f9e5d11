/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "fault.h"
#include "module.h"

/*
 * Opening an AF_XDP port on a veth interface in a network namespace of this test's own, with every step failing once: an error that says what, nothing left
 * open or allocated, and the interface free for the next try.
 */
#define SWEEP_MAX 300

/* ---- the n-th call of those that fault.c does not know ---- */

static unsigned left;           /* calls until one fails; 0: none will */
static const char *last;

static bool fails(const char *name)
{
	if (left == 0 || --left > 0)
		return false;
	last = name;
	errno = EIO;
	return true;
}

#define WRAP(type, name, params, args, error) \
	type __real_##name params; \
	type __wrap_##name params; \
	type __wrap_##name params { return fails(#name) ? (type)(error) : __real_##name args; }

WRAP(int, ioctl, (int fd, unsigned long request, void *arg), (fd, request, arg), -1)
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len), (fd, level, name, value, len), -1)
WRAP(int, getsockname, (int fd, struct sockaddr *a, socklen_t *len), (fd, a, len), -1)
WRAP(void *, mmap64, (void *at, size_t n, int prot, int flags, int fd, off_t offset), (at, n, prot, flags, fd, offset), MAP_FAILED)
WRAP(int, bpf_map_create, (enum bpf_map_type type, const char *name, __u32 key, __u32 value, __u32 max, const struct bpf_map_create_opts *opts),
     (type, name, key, value, max, opts), -EIO)
WRAP(int, bpf_prog_load, (enum bpf_prog_type type, const char *name, const char *license, const struct bpf_insn *insns, size_t n,
			  const struct bpf_prog_load_opts *opts), (type, name, license, insns, n, opts), -EIO)
WRAP(int, bpf_link_create, (int prog, int target, enum bpf_attach_type type, const struct bpf_link_create_opts *opts), (prog, target, type, opts), -EIO)
WRAP(int, bpf_map_update_elem, (int fd, const void *key, const void *value, __u64 flags), (fd, key, value, flags), -EIO)
WRAP(int, xsk_umem__create, (struct xsk_umem **umem, void *area, __u64 size, struct xsk_ring_prod *fill, struct xsk_ring_cons *comp,
			     const struct xsk_umem_config *cfg), (umem, area, size, fill, comp, cfg), -EIO)
WRAP(int, xsk_socket__create, (struct xsk_socket **xsk, const char *name, __u32 queue, struct xsk_umem *umem, struct xsk_ring_cons *rx, struct xsk_ring_prod *tx,
			       const struct xsk_socket_config *cfg), (xsk, name, queue, umem, rx, tx, cfg), -EIO)
WRAP(int, xsk_socket__create_shared, (struct xsk_socket **xsk, const char *name, __u32 queue, struct xsk_umem *umem, struct xsk_ring_cons *rx,
				      struct xsk_ring_prod *tx, struct xsk_ring_prod *fill, struct xsk_ring_cons *comp, const struct xsk_socket_config *cfg),
     (xsk, name, queue, umem, rx, tx, fill, comp, cfg), -EIO)

/* ---- sweeps ---- */

static int try_open(struct net_port **ret, struct hearth_err *err)
{
	struct net_config cfg = { .backend = "xdp", .listen = "10.79.0.1:7001", .interface = "hf0", .tx_queues = 3, .buffers = 256 };

	return net_xdp_module.open(&cfg, ret, err);
}

static void open_and_close(void)
{
	struct net_port *p = NULL;
	struct hearth_err err;

	if (try_open(&p, &err) < 0)
		fail_msg("%s", err.msg);
	assert_null(net_xdp_module.close(p));
}

/* @arm: the n-th one fails; @disarm: did it? */
static void sweep(void (*arm)(unsigned n), bool (*disarm)(void), unsigned at_least)
{
	unsigned n, failed = 0;
	bool fired = true;

	open_and_close();       /* what libraries keep for good */
	for (n = 1; n < SWEEP_MAX && fired; n++) {
		struct net_port *none = (struct net_port *)&none, *p = none;
		struct hearth_err err = { .msg = "" };
		unsigned fds = fault_open_fds();
		long blocks = fault_live_blocks();
		int r;

		arm(n);
		r = try_open(&p, &err);
		fired = disarm();
		if (r < 0) {
			failed++;
			assert_ptr_equal(p, none);
			assert_int_equal(err.code, r);
			assert_true(strlen(err.msg) > 10);
		} else {
			net_xdp_module.close(p);
		}
		if (fault_open_fds() != fds || fault_live_blocks() != blocks)
			fail_msg("call %u (%s): %u descriptors instead of %u, %ld blocks instead of %ld", n, last, fault_open_fds(), fds, fault_live_blocks(), blocks);
	}
	assert_in_range(n, 2, SWEEP_MAX - 1);
	assert_in_range(failed, at_least, SWEEP_MAX);
	open_and_close();
}

static void arm_ours(unsigned n) { left = n; }
static bool disarm_ours(void) { bool fired = left == 0; left = 0; return fired; }
static void arm_syscall(unsigned n) { fault_arm(FAULT_SYSCALL, n, EIO); }
static void arm_alloc(unsigned n) { fault_arm(FAULT_ALLOC, n, ENOMEM); }

static void test_steps(void **state) { sweep(arm_ours, disarm_ours, 12); }
static void test_syscalls(void **state) { sweep(arm_syscall, fault_disarm, 2); }
static void test_memory(void **state) { sweep(arm_alloc, fault_disarm, 4); }

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_steps), cmocka_unit_test(test_syscalls), cmocka_unit_test(test_memory) };

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0 ||
	    system("ip link add hf0 numrxqueues 1 numtxqueues 1 type veth peer name hf1 numrxqueues 1 numtxqueues 1 && ip address add 10.79.0.1/24 dev hf0 && "
		   "ip link set hf0 up && ip link set hf1 up") != 0 || net_xdp_module.probe(NULL) < 0) {
		puts("1..0 # SKIP needs root, network namespaces, veth and AF_XDP");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
