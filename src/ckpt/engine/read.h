/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_READ_H
#define CKPT_ENGINE_READ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** struct window - @base: address; @mask: a bit for each page that is there; @segment, @chunk: its place in the draft (segment UINT16_MAX: none yet) */
struct window {
	uint64_t base;
	uint32_t chunk;
	uint16_t mask, segment;
	uint8_t take;                   /* to be read in this round */
	uint8_t wanted;                 /* still part of the process at the end */
	uint8_t again;                  /* of an early round: was read again since */
};

/**
 * read_windows - memory of another process, pages that are not there as zeros
 * @mem: /proc/PID/mem, for mappings that can't be read otherwise; @n: at most READ_BATCH; @buf: n * 64 KiB
 * Return: 0, -ESRCH (gone), 1 (a page could not be read: the first such window is *ret_bad; all others are right).
 */
#define READ_BATCH 16
int read_windows(pid_t pid, int mem, const struct window *const *w, size_t n, uint8_t *buf, size_t *ret_bad);

#endif
