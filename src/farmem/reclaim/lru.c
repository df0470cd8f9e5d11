// SPDX-License-Identifier: Apache-2.0
#include "lru.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

#define TEXT_MAX (16u << 20)
#define ANON_ONLY 200           /* swappiness */

/* the group's folder ends with the kernel's name of it, which begins with a slash */
static bool is_group(const char *name, const char *folder)
{
	size_t n = strlen(name), m = strlen(folder);

	return n > 1 && m >= n && !strcmp(folder + m - n, name);
}

/* "memcg    36 /hearth/x". Return: its id, 0 it is another line or group */
static unsigned memcg_line(const char *line, const char *folder)
{
	char name[PATH_MAX];
	unsigned id;

	return sscanf(line, "memcg %u %4095s", &id, name) == 2 && is_group(name, folder) ? id : 0;
}

static int gen_line(struct lru_group *g, const char *line)
{
	struct lru_node *node = g->n ? &g->node[g->n - 1] : NULL;
	unsigned long long number, age_ms, anon, file;

	if (sscanf(line, " %llu %llu %llu %llu", &number, &age_ms, &anon, &file) != 4)
		return -EPROTO;
	if (!node || node->n == LRU_GENS_MAX)
		return -EPROTO;
	node->gen[node->n++] = (struct lru_gen){ number, anon, file };
	return 0;
}

int lru_parse(const char *text, const char *folder, struct lru_group *ret)
{
	struct lru_group g = { 0 };
	bool ours = false;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned id;

		if (!strncmp(line, "memcg", 5)) {
			if (ours)
				break;
			g.id = memcg_line(line, folder);
			ours = g.id != 0;
		} else if (ours && sscanf(line, " node %u", &id) == 1) {
			if (g.n == LRU_NODES_MAX)
				return -EPROTO;
			g.node[g.n++] = (struct lru_node){ .id = id };
		} else if (ours && gen_line(&g, line) < 0) {
			return -EPROTO;
		}
	}
	if (!ours)
		return -ENOENT;
	for (unsigned k = 0; k < g.n; k++)
		if (g.node[k].n == 0)
			return -EPROTO;
	if (g.n == 0)
		return -ENOENT;
	*ret = g;
	return 0;
}

int lru_read(const char *file, const char *folder, struct lru_group *ret)
{
	char *text = NULL;
	int r = file_read(file, TEXT_MAX, &text, NULL);

	if (r == 0)
		r = lru_parse(text, folder, ret);
	free(text);
	return r;
}

static int command(const char *file, const char *text)
{
	FD_AUTO int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int lru_age(const char *file, const struct lru_group *g)
{
	char text[128];
	int r = 0;

	for (unsigned k = 0; k < g->n && r == 0; k++) {
		const struct lru_node *node = &g->node[k];

		/* can swap; although there are as many generations as there can be: the two oldest become one */
		snprintf(text, sizeof(text), "+%u %u %llu 1 1", g->id, node->id, (unsigned long long)node->gen[node->n - 1].number);
		r = command(file, text);
	}
	return r;
}

int lru_evict(const char *file, const struct lru_group *g, uint64_t number, uint64_t pages)
{
	char text[128];
	int r = 0;

	for (unsigned k = 0; k < g->n && r == 0; k++) {
		if (g->node[k].gen[0].number > number)
			continue;
		snprintf(text, sizeof(text), "-%u %u %llu %d %llu", g->id, g->node[k].id, (unsigned long long)number, ANON_ONLY, (unsigned long long)pages);
		r = command(file, text);
	}
	return r;
}

uint64_t lru_oldest(const struct lru_group *g)
{
	uint64_t least = UINT64_MAX;

	for (unsigned k = 0; k < g->n; k++)
		if (g->node[k].gen[0].number < least)
			least = g->node[k].gen[0].number;
	return least;
}

uint64_t lru_youngest(const struct lru_group *g)
{
	uint64_t most = 0;

	for (unsigned k = 0; k < g->n; k++)
		if (g->node[k].gen[g->node[k].n - 1].number > most)
			most = g->node[k].gen[g->node[k].n - 1].number;
	return most;
}

uint64_t lru_anon_pages(const struct lru_group *g, uint64_t first, uint64_t last)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < g->n; k++)
		for (unsigned i = 0; i < g->node[k].n; i++)
			if (g->node[k].gen[i].number >= first && g->node[k].gen[i].number <= last)
				sum += g->node[k].gen[i].anon_pages;
	return sum;
}
