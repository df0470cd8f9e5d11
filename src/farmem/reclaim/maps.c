// SPDX-License-Identifier: Apache-2.0
#include "maps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* what is larger is address space set aside (a language runtime's cage, a sanitizer's shadow): looking at each of its pages would take seconds */
#define RANGE_MAX (16ull << 30)

/* "start-end rw-p offset dev inode   [path]" */
static int line_range(const char *line, uint64_t *ret_start, uint64_t *ret_end)
{
	unsigned long long start, end, inode;
	char perms[8], name[16] = "";

	if (sscanf(line, "%llx-%llx %7s %*x %*s %llu %15s", &start, &end, perms, &inode, name) < 4)
		return 0;
	*ret_start = start;
	*ret_end = end;
	return end - start <= RANGE_MAX && inode == 0 && perms[1] == 'w' && perms[3] == 'p' && strncmp(name, "[v", 2) != 0;
}

int maps_anonymous(pid_t pid, int (*each)(void *ctx, uint64_t start, uint64_t end), void *ctx)
{
	char path[64], *line = NULL;
	size_t cap = 0;
	FILE *f;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == 0 && getline(&line, &cap, f) > 0) {
		uint64_t start, end;

		if (line_range(line, &start, &end))
			r = each(ctx, start, end);
	}
	free(line);
	fclose(f);
	return r;
}
