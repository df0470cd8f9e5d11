/* SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"
#include "farmem/sim.h"

/* Measured on a 2 vCPU machine with Linux 6.18; what each is, is in hearth-sim-mem(1). */
void memsim_costs_default(struct memsim_costs *ret)
{
	*ret = (struct memsim_costs){ .fault_us = 4.7, .prefetch_us = 2.3, .cold_start_ms = 291, .restore_ms = 86, .evict_bytes_per_s = 1700ull << 20 };
}

static const struct yaml_key keys[] = {
	{ .name = "fault_us", .kind = YAML_DOUBLE, .offset = offsetof(struct memsim_costs, fault_us), .min = 0, .max = 1000000 },
	{ .name = "prefetch_us", .kind = YAML_DOUBLE, .offset = offsetof(struct memsim_costs, prefetch_us), .min = 0, .max = 1000000 },
	{ .name = "cold_start_ms", .kind = YAML_DOUBLE, .offset = offsetof(struct memsim_costs, cold_start_ms), .min = 0, .max = 3600000 },
	{ .name = "restore_ms", .kind = YAML_DOUBLE, .offset = offsetof(struct memsim_costs, restore_ms), .min = 0, .max = 3600000 },
	{ .name = "evict_per_s", .kind = YAML_BYTES, .offset = offsetof(struct memsim_costs, evict_bytes_per_s), .min = 1 << 20, .max = 1ll << 50 },
	{ 0 },
};

int memsim_costs_load(const char *path, struct memsim_costs *ret, struct hearth_err *err)
{
	struct memsim_costs costs;
	int rc;

	memsim_costs_default(&costs);
	rc = yaml_load_file(path, keys, &costs, err);
	if (rc == 0)
		*ret = costs;
	return rc;
}
