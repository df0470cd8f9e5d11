// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "xdp_prog.h"

/* A program that was just detached, or sockets that were just closed, leave their interface a little later. The kernel says nothing when. */
#define ATTACH_RETRY_NS (3 * NS_PER_S)
#define ATTACH_PAUSE_NS (20 * NS_PER_MS)

/* The instructions, so that building needs no clang and running no object file. Named as in the kernel's documentation. */
#define INSN(op, dst, src, offset, immediate) \
	((struct bpf_insn){ .code = (op), .dst_reg = (dst), .src_reg = (src), .off = (offset), .imm = (int32_t)(immediate) })
#define LDX(size, dst, src, off)        INSN(BPF_LDX | (size) | BPF_MEM, dst, src, off, 0)
#define MOV(dst, src)                   INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define MOV_K(dst, imm)                 INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define ALU_K(op, dst, imm)             INSN(BPF_ALU64 | (op) | BPF_K, dst, 0, 0, imm)
#define ADD(dst, src)                   INSN(BPF_ALU64 | BPF_ADD | BPF_X, dst, src, 0, 0)
#define JUMP(op, dst, src, to)          INSN(BPF_JMP | (op) | BPF_X, dst, src, to, 0)
#define JUMP32_K(op, dst, imm, to)      INSN(BPF_JMP32 | (op) | BPF_K, dst, 0, to, imm)
#define CALL(function)                  INSN(BPF_JMP | BPF_CALL, 0, 0, 0, function)
#define EXIT                            INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* to the instructions behind the last one; set when it is known where they are */
#define PASS 0x7fff

enum { R0, R1, R2, R3, R4, R5, R6 };

/*
 *	if (a whole IPv4 header; UDP; to our address; no fragment; the header and eight bytes behind it are there; to our port)
 *		return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS);
 *	return XDP_PASS;
 *
 * Everything that is wrong beyond that is found, and counted, by frame_parse.
 */
static size_t write_program(struct bpf_insn *out, uint32_t ip, uint16_t port, int map)
{
	const struct bpf_insn program[] = {
		MOV(R6, R1),
		LDX(BPF_W, R2, R1, 0),                          /* data */
		LDX(BPF_W, R3, R1, 4),                          /* data_end */
		MOV(R4, R2),
		ALU_K(BPF_ADD, R4, 42),
		JUMP(BPF_JGT, R4, R3, PASS),
		LDX(BPF_H, R5, R2, 12),
		JUMP32_K(BPF_JNE, R5, htons(0x0800), PASS),
		LDX(BPF_B, R5, R2, 23),
		JUMP32_K(BPF_JNE, R5, 17, PASS),
		LDX(BPF_W, R5, R2, 30),
		JUMP32_K(BPF_JNE, R5, ip, PASS),
		LDX(BPF_H, R5, R2, 20),
		ALU_K(BPF_AND, R5, htons(0x3fff)),
		JUMP32_K(BPF_JNE, R5, 0, PASS),
		LDX(BPF_B, R5, R2, 14),
		ALU_K(BPF_AND, R5, 0x0f),
		ALU_K(BPF_LSH, R5, 2),                          /* length of the IPv4 header */
		JUMP32_K(BPF_JLT, R5, 20, PASS),
		MOV(R4, R2),
		ADD(R4, R5),
		MOV(R5, R4),
		ALU_K(BPF_ADD, R5, 22),
		JUMP(BPF_JGT, R5, R3, PASS),
		LDX(BPF_H, R5, R4, 16),
		JUMP32_K(BPF_JNE, R5, port, PASS),
		LDX(BPF_W, R2, R6, 16),                         /* rx_queue_index */
		INSN(BPF_LD | BPF_DW | BPF_IMM, R1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		MOV_K(R3, XDP_PASS),
		CALL(BPF_FUNC_redirect_map),
		EXIT,
		MOV_K(R0, XDP_PASS),
		EXIT,
	};
	const size_t n = sizeof(program) / sizeof(program[0]), pass = n - 2;

	memcpy(out, program, sizeof(program));
	for (size_t i = 0; i < n; i++)
		if (out[i].off == PASS)
			out[i].off = (int16_t)(pass - i - 1);
	return n;
}

int xdp_prog_load(uint32_t ip, uint16_t port, uint32_t queues, struct xdp_prog *p, struct hearth_err *err)
{
	struct bpf_insn program[64];
	char log[256] = "";
	struct bpf_prog_load_opts opts = { .sz = sizeof(opts), .log_buf = log, .log_size = sizeof(log) };
	int map, prog;

	map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "hearth_xsk", sizeof(uint32_t), sizeof(int), queues, NULL);
	if (map < 0)
		return err_set(err, -errno, "AF_XDP: a map of sockets: %s; %s", strerror(errno), errno == EPERM || errno == EACCES ?
			       "run as root or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF" : "the kernel needs CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS");
	prog = bpf_prog_load(BPF_PROG_TYPE_XDP, "hearth_udp", "Dual BSD/GPL", program, write_program(program, ip, port, map), &opts);
	if (prog < 0) {
		err_set(err, -errno, "AF_XDP: loading the program: %s%s%s; run as root or with CAP_NET_ADMIN and CAP_BPF", strerror(errno),
			*log ? ": " : "", log);
		fd_close(&map);
		return err ? err->code : -EPERM;
	}
	*p = (struct xdp_prog){ .map = map, .prog = prog, .link = -1 };
	return 0;
}

/* native, where the driver can */
static int attach_once(struct xdp_prog *p, int ifindex)
{
	const struct bpf_link_create_opts native = { .sz = sizeof(native), .flags = XDP_FLAGS_DRV_MODE };
	const struct bpf_link_create_opts generic = { .sz = sizeof(generic), .flags = XDP_FLAGS_SKB_MODE };
	int link = bpf_link_create(p->prog, ifindex, BPF_XDP, &native);

	p->native = link >= 0;
	if (link < 0 && errno != EBUSY && errno != EEXIST)
		link = bpf_link_create(p->prog, ifindex, BPF_XDP, &generic);
	p->link = link;
	return link >= 0 ? 0 : -errno;
}

int xdp_prog_attach(struct xdp_prog *p, int ifindex, const char *interface, struct hearth_err *err)
{
	const struct timespec pause = { .tv_nsec = ATTACH_PAUSE_NS };
	uint64_t end = clock_mono_ns() + ATTACH_RETRY_NS;
	int r;

	while ((r = attach_once(p, ifindex)) == -EBUSY || r == -EEXIST) {
		if (clock_mono_ns() > end)
			return err_set(err, r, "AF_XDP: interface %s has another XDP program: end who owns it, or: ip link set dev %s xdp off", interface,
				       interface);
		nanosleep(&pause, NULL);
	}
	if (r < 0)
		return err_set(err, r, "AF_XDP: attaching the program to interface %s: %s", interface, strerror(-r));
	return 0;
}

int xdp_prog_socket(struct xdp_prog *p, uint32_t queue, int socket)
{
	return bpf_map_update_elem(p->map, &queue, &socket, BPF_ANY) < 0 ? -errno : 0;
}

void xdp_prog_done(struct xdp_prog *p)
{
	fd_close(&p->link);
	fd_close(&p->prog);
	fd_close(&p->map);
}
