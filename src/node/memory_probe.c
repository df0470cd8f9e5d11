// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "box/cgroup.h"
#include "engines.h"
#include "node/node.h"

/* What could move idle instances' memory, for `hearth doctor`: without a daemon, as one would find it. */

size_t node_farmem_probe(const struct node_config *cfg, struct node_farmem_report *ret, size_t n)
{
	struct farmem_options options = { .libexec_dir = cfg->libexec_dir };
	struct cgroup_tree *tree = NULL;
	struct hearth_err err;
	size_t k;

	if (cgroup_probe(&tree, &err) == 0)
		options.cgroup_dir = cgroup_tree_base(tree, CGROUP_MEMORY);
	for (k = 0; k < n && node_engines[k]; k++) {
		struct farmem_probe probe = { 0 };

		node_engines[k]->probe(&options, &probe);
		ret[k].name = node_engines[k]->name;
		ret[k].works = probe.error == 0;
		snprintf(ret[k].detail, sizeof(ret[k].detail), "%s", probe.error ? probe.why : probe.what);
	}
	cgroup_tree_free(tree);
	return k;
}
