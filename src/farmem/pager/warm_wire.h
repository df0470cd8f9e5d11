/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_WARM_WIRE_H
#define FARMEM_PAGER_WARM_WIRE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Between hearth-pager and libhearth-warm.so, a guest in every program that is to be paged: SOCK_SEQPACKET in the abstract name space of the program's network, the program listens as
 * "@hearth-warm/INSTANCE/PID" (PID as the program sees it), the pager connects. Both sides are of this machine and this version.
 *
 *   program: HELLO            pager: START (with a descriptor of /dev/userfaultfd, if there is one)        program: UFFD (with the userfaultfd)
 *   pager:   OUT              program: OUT_DONE              pager: DROP, or BACK  program: BACK_DONE
 *   pager:   QUERY            program: OUT_DONE of the last OUT that it did, whatever that was
 *   pager:   FORGET           nothing of it is away any more: HELLO's `out` is 0 from here on
 */
#define WARM_VERSION 1
#define WARM_NAME "hearth-warm"
#define WARM_ENV "HEARTH_WARM"          /* the instance's id */
#define WARM_PAGES 256                  /* of a batch, and of the stage */
#define WARM_PAGE 4096ull

enum warm_op { WARM_HELLO = 1, WARM_START, WARM_UFFD, WARM_OUT, WARM_OUT_DONE, WARM_BACK, WARM_BACK_DONE, WARM_DROP, WARM_QUERY, WARM_FORGET };

struct warm_run {
	uint64_t start;                 /* address */
	uint64_t pages;
};

/**
 * struct warm_msg - a packet; what is behind runs[n] is not sent
 * @error: 0 or -errno (UFFD, OUT_DONE: why it stopped early)
 * @seq:   of the OUT
 * @out:   HELLO: pages have been moved out since this program began, and are with whoever had them
 * @stage, @own: HELLO: where pages are moved to; what must never be registered
 * @moved: OUT_DONE: a bit a page, in the order of the runs; page k is at @stage + k pages. BACK: those to move back
 * @skipped: OUT_DONE: how many pages could not be moved, by reason: pinned or shared, gone, other protection
 */
struct warm_msg {
	uint16_t version, op;
	int32_t error;
	uint64_t seq;
	uint32_t out, n;
	uint64_t stage;
	struct { uint64_t start, end; } own[3];
	uint64_t moved[WARM_PAGES / 64];
	uint32_t busy, absent, other;
	uint32_t pad;
	struct warm_run runs[WARM_PAGES];
};

#define WARM_HEAD offsetof(struct warm_msg, runs)

#endif
