// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/proc.h"
#include "reclaim.h"

/* How much memory an instance has here, and how much in swap. */

#define STAT_MAX 65536

/* "key 123" or "Key:   123 kB" at the beginning of a line */
static uint64_t value_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
		if (!strncmp(line, key, n) && (line[n] == ' ' || line[n] == ':'))
			return strtoull(line + n + 1, NULL, 10);
	return 0;
}

struct reclaim_seen reclaim_seen_parse(const char *stat, const char *swap_current, bool v2)
{
	uint64_t both = value_of(stat, v2 ? "swapcached" : "total_swapcached");
	struct reclaim_seen s;

	if (v2) {
		s.resident_bytes = value_of(stat, "anon") + value_of(stat, "shmem");
		s.swapped_bytes = swap_current ? strtoull(swap_current, NULL, 10) : 0;
	} else {
		s.resident_bytes = value_of(stat, "total_rss") + value_of(stat, "total_shmem");
		s.swapped_bytes = value_of(stat, "total_swap");
	}
	/* what came back and was not written to keeps its place in swap: it is here */
	s.swapped_bytes -= both < s.swapped_bytes ? both : s.swapped_bytes;
	return s;
}

static int read_in(const char *group, const char *file, char **ret)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", group, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return file_read(path, STAT_MAX, ret, NULL);
}

static int see_group(const struct reclaim_ways *w, const char *group, struct reclaim_seen *ret)
{
	char *stat = NULL, *swap = NULL;
	int r = read_in(group, "memory.stat", &stat);

	if (r == 0 && w->v2)
		r = read_in(group, "memory.swap.current", &swap);
	if (r == 0)
		*ret = reclaim_seen_parse(stat, swap, w->v2);
	free(stat);
	free(swap);
	return r;
}

int reclaim_see(const struct reclaim_ways *w, const char *group, pid_t pid, struct reclaim_seen *ret)
{
	struct reclaim_seen sum = { 0 };
	pid_t *tree = NULL;
	ssize_t n;

	if (group && w->groups)
		return see_group(w, group, ret);
	n = proc_tree(pid, &tree);
	if (n < 0)
		return (int)n;
	for (ssize_t k = 0; k < n; k++) {
		char path[64], *text = NULL;

		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)tree[k]);
		if (file_read(path, STAT_MAX, &text, NULL) == 0) {
			sum.resident_bytes += value_of(text, "Anonymous") << 10;
			sum.swapped_bytes += value_of(text, "Swap") << 10;
		}
		free(text);
	}
	free(tree);
	*ret = sum;
	return 0;
}
