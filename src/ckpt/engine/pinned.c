/* SPDX-License-Identifier: Apache-2.0 */
#include "pinned.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "shim/wire.h"

#define PAGE 4096ull
#define PAGES 512               /* looked at by one call */
#define RANGES 256

bool pinned_known(const json_t *gpu)
{
	return !json_array_size(json_object_get(gpu, "pids")) || json_is_true(json_object_get(gpu, "pinned_known"));
}

/* Return: 0, *ret = 0: it has none; -ESRCH */
static int table_find(pid_t pid, uint64_t *ret)
{
	char path[64], *line = NULL;
	size_t cap = 0;
	FILE *maps;

	*ret = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return -ESRCH;
	while (!*ret && getline(&line, &cap, maps) > 0)
		if (strstr(line, " /memfd:" SHIM_HOST_NAME " (deleted)"))
			*ret = strtoull(line, NULL, 16);
	free(line);
	fclose(maps);
	return 0;
}

static ssize_t peek(pid_t pid, uint64_t at, void *buf, size_t bytes)
{
	struct iovec to = { buf, bytes }, from = { (void *)(uintptr_t)at, bytes };      /* NOLINT(performance-no-int-to-ptr): of another process */
	ssize_t n = process_vm_readv(pid, &to, 1, &from, 1, 0);

	return n < 0 ? -errno : n;
}

/* Looks at a byte of each page. What is not there any more was unmapped without a word to the driver, whose own affair it is. */
static int look_at(pid_t pid, struct shim_host_range r)
{
	uint64_t at = r.start & ~(PAGE - 1), end = r.start + r.bytes;
	char bytes[PAGES];
	ssize_t n;

	do {
		struct iovec to = { bytes, 0 }, from[PAGES];
		size_t k = 0;

		for (; k < PAGES && at + k * PAGE < end; k++)
			from[k] = (struct iovec){ (void *)(uintptr_t)(at + k * PAGE), 1 };      /* NOLINT(performance-no-int-to-ptr) */
		to.iov_len = k;
		n = k ? process_vm_readv(pid, &to, 1, from, k, 0) : 0;
		at += (n > 0 ? (uint64_t)n : 0) * PAGE;
		if (n < 0 && errno != EFAULT)
			return -errno;
	} while (n == PAGES);
	return 0;
}

static int fill_process(pid_t pid)
{
	struct shim_host_range ranges[RANGES];
	struct shim_host head;
	uint64_t table;
	int r = table_find(pid, &table);

	if (r < 0 || !table)
		return r;
	r = (int)peek(pid, table, &head, sizeof(head));
	if (r < (int)sizeof(head) || head.magic != SHIM_HOST_MAGIC)
		return r < 0 ? r : -EBADMSG;
	for (uint32_t k = 0, n = head.n < SHIM_HOST_MAX ? head.n : SHIM_HOST_MAX; k < n;) {
		size_t want = n - k < RANGES ? n - k : RANGES;
		ssize_t got = peek(pid, table + sizeof(head) + k * sizeof(ranges[0]), ranges, want * sizeof(ranges[0]));

		if (got < (ssize_t)(want * sizeof(ranges[0])))
			return got < 0 ? (int)got : -EBADMSG;
		for (size_t i = 0; i < want; i++) {
			r = look_at(pid, ranges[i]);
			if (r < 0)
				return r;
		}
		k += (uint32_t)want;
	}
	return 0;
}

int pinned_fill(const json_t *gpu, struct hearth_err *err)
{
	json_t *pid;
	size_t k;
	int r;

	json_array_foreach(json_object_get(gpu, "pids"), k, pid) {
		r = fill_process((pid_t)json_integer_value(pid));
		if (r < 0)
			return err_set(err, r, "cannot have the pinned memory of process %d filled in: %s", (int)json_integer_value(pid), strerror(-r));
	}
	return 0;
}
