/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_RECLAIM_LRU_H
#define FARMEM_RECLAIM_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The kernel's multi-generational LRU, through debugfs (Documentation/admin-guide/mm/multigen_lru.rst): generations of a control group's pages on each memory node, numbered upwards, at most four at a time.
 * Numbers are read back after each step; the kernel ages by itself too.
 */

#define LRU_FILE "/sys/kernel/debug/lru_gen"
#define LRU_NODES_MAX 8
#define LRU_GENS_MAX 8
#define LRU_KEPT 2              /* the youngest generations, which the kernel does not evict on command */

struct lru_gen { uint64_t number, anon_pages, file_pages; };

struct lru_node {
	unsigned id, n;                         /* n: generations, the oldest first */
	struct lru_gen gen[LRU_GENS_MAX];
};

struct lru_group {
	unsigned id, n;
	struct lru_node node[LRU_NODES_MAX];
};

/**
 * lru_parse - a group out of the contents of LRU_FILE
 * @folder: the group's folder, absolute: its end is how the kernel calls it
 * Return: 0, -ENOENT (it has no pages there), -EPROTO (not the format of that file); @ret untouched on failure.
 */
int lru_parse(const char *text, const char *folder, struct lru_group *ret);
/** lru_read - the same from a file. Return: also -errno. */
int lru_read(const char *file, const char *folder, struct lru_group *ret);
/** lru_age - a new generation on every node: what is allocated from now on is in a younger one. @g: as read; read it again afterwards. Return: 0, -errno. */
int lru_age(const char *file, const struct lru_group *g);
/** lru_evict - at most @pages of generations up to @number, anonymous ones rather than files. -EINVAL: it is one of the youngest. Return: 0, -errno. */
int lru_evict(const char *file, const struct lru_group *g, uint64_t number, uint64_t pages);
/** lru_oldest, lru_youngest - over all nodes; a group has one at least */
uint64_t lru_oldest(const struct lru_group *g);
uint64_t lru_youngest(const struct lru_group *g);
/** lru_anon_pages - of generations first..last, both included */
uint64_t lru_anon_pages(const struct lru_group *g, uint64_t first, uint64_t last);

#endif
