// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "lru.h"
#include "reclaim.h"

/* What this machine has of swap, of groups that give memory back, and of MGLRU. */

#define SWAPS_MAX 65536

/* /proc/swaps: a line of titles, then "path type size used priority", in KiB */
static uint64_t swap_bytes(void)
{
	unsigned long long kib, sum = 0;
	char *text = NULL;

	if (file_read("/proc/swaps", SWAPS_MAX, &text, NULL) < 0)
		return 0;
	for (const char *line = strchr(text, '\n'); line && line[1]; line = strchr(line + 1, '\n'))
		if (sscanf(line + 1, "%*s %*s %llu", &kib) == 1)
			sum += kib;
	free(text);
	return sum << 10;
}

/* to ourselves: that the call and the advice are known */
static bool can_madvise(void)
{
	FD_AUTO int self = pidfd_of(getpid());
	void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec v = { page, PAGE_BYTES };
	bool ok = false;

	if (page != MAP_FAILED) {
		ok = self >= 0 && syscall(SYS_process_madvise, self, &v, 1ul, MADV_WILLNEED, 0u) == (long)PAGE_BYTES;
		munmap(page, PAGE_BYTES);
	}
	return ok;
}

static bool there(const char *dir, const char *file)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/%s", dir, file) < (int)sizeof(path) && access(path, F_OK) == 0;
}

/* on v2 the root of a hierarchy has no memory.reclaim, but its name spaces' do; groups of instances are made below @dir */
static void probe_groups(const char *dir, struct reclaim_ways *w)
{
	if (!dir)
		return;
	w->v2 = there(dir, "cgroup.controllers");
	w->memory_reclaim = w->v2 && there(dir, "memory.reclaim");
	w->groups = w->memory_reclaim || (!w->v2 && there(dir, "memory.limit_in_bytes"));
}

static void describe(const struct reclaim_ways *w, struct farmem_probe *ret)
{
	snprintf(ret->what, sizeof(ret->what), "%.1f GiB of swap; %s; %s", (double)w->swap_bytes / (1 << 30),
		 w->memory_reclaim ? "memory.reclaim" : w->groups ? "cgroup v1: the limit is lowered for a moment" : "process_madvise",
		 w->lru[0] ? "MGLRU: segments are generations" : "no MGLRU in debugfs: no segments");
	ret->features = FARMEM_HAS_PREFETCH | (w->lru[0] ? FARMEM_HAS_SEGMENTS : 0);
}

void reclaim_probe(const struct farmem_options *options, struct reclaim_ways *ret_ways, struct farmem_probe *ret)
{
	struct reclaim_ways w = { .swap_bytes = swap_bytes(), .madvise = can_madvise() };
	char *enabled = NULL;

	*ret = (struct farmem_probe){ 0 };
	w.swap = w.swap_bytes > 0;
	probe_groups(options->cgroup_dir, &w);
	/* "0x0007": bit 0 is the switch */
	if (file_read("/sys/kernel/mm/lru_gen/enabled", 65536, &enabled, NULL) == 0 && (strtoul(enabled, NULL, 16) & 1) && access(LRU_FILE, R_OK | W_OK) == 0)
		snprintf(w.lru, sizeof(w.lru), "%s", LRU_FILE);
	free(enabled);
	if (!w.swap) {
		ret->error = -ENODEV;
		snprintf(ret->why, sizeof(ret->why), "no swap is on; add a swap file or zram (swapon) to give idle memory a place");
	} else if (!w.groups && !w.madvise) {
		ret->error = -EOPNOTSUPP;
		snprintf(ret->why, sizeof(ret->why), "neither a control group with memory.reclaim nor process_madvise(2) can be used; run hearthd as root on Linux 5.10 or newer");
	} else {
		describe(&w, ret);
	}
	if (ret_ways)
		*ret_ways = w;
}
