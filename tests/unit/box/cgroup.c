/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "box/cgroup.h"

static const char v1_self[] = "4:memory:/a/b\n3:cpu,cpuacct:/a\n2:pids:/\n1:freezer:/\n0::/\n";

static void cgroup_v1(void **state)
{
	static const char mounts[] = "30 29 0:26 / /nonexistent/memory rw - cgroup cgroup rw,memory\n31 29 0:27 / /proc rw - cgroup cgroup rw,pids\n"
				     "32 29 0:28 /a /proc/self rw - cgroup cgroup rw,cpu,cpuacct\n33 1 0:3 / /x rw - cgroup2 none rw\n";
	struct cgroup_tree *t;

	assert_int_equal(cgroup_probe_from(v1_self, mounts, &t, NULL), 0);
	assert_false(cgroup_tree_has(t, CGROUP_MEMORY));        /* not writable */
	cgroup_tree_free(t);
	assert_int_equal(cgroup_probe_from("", "", &t, NULL), 0);
	assert_int_equal(cgroup_tree_version(t), CGROUP_NONE);
	assert_int_equal(cgroup_make(t, "x", NULL, NULL), -EOPNOTSUPP);
	assert_int_equal(cgroup_kill(t, "x"), -EOPNOTSUPP);
	assert_int_equal(cgroup_claim(t, NULL), 0);
	cgroup_tree_free(t);
}

/* the calls on a folder that looks like a v2 hierarchy with controllers */
static void cgroup_v2_files(void **state)
{
	char dir[] = "/tmp/hearth-cgroup-XXXXXX", mounts[256], cmd[1024];
	struct cgroup_limits limits = { .memory_max_bytes = 1 << 20, .cpu_max_cores = 0.5, .pids_max = 9 };
	struct cgroup_usage u;
	struct cgroup_tree *t;

	assert_non_null(mkdtemp(dir));
	snprintf(cmd, sizeof(cmd), "mkdir -p %s/s/hearth/i && cd %s/s && for d in . hearth; do echo cpu memory pids > $d/cgroup.controllers; "
		 "echo > $d/cgroup.subtree_control; done; cd hearth/i; touch memory.max cpu.max pids.max cgroup.procs cgroup.kill; echo 500 > memory.current; "
		 "printf 'anon 100\\nfile 300\\nshmem 50\\n' > memory.stat; printf 'oom 1\\noom_kill 2\\n' > memory.events", dir, dir);
	assert_int_equal(system(cmd), 0);
	snprintf(mounts, sizeof(mounts), "33 1 0:3 / %s rw - cgroup2 none rw\n", dir);
	assert_int_equal(cgroup_probe_from("0::/s/hearth.supervisor\n", mounts, &t, NULL), 0);
	assert_int_equal(cgroup_tree_version(t), CGROUP_V2);
	assert_true(cgroup_tree_has(t, CGROUP_MEMORY) && cgroup_tree_has(t, CGROUP_CPU) && cgroup_tree_has(t, CGROUP_PIDS));
	assert_int_equal(cgroup_claim(t, NULL), 0);
	assert_int_equal(cgroup_make(t, "hearth/i", &limits, NULL), 0);
	assert_int_equal(cgroup_join(t, "hearth/i", 42, NULL), 0);
	assert_int_equal(cgroup_kill(t, "hearth/i"), 0);
	snprintf(cmd, sizeof(cmd), "cd %s/s/hearth/i && grep -q '^1048576$' memory.max && grep -q '^50000 100000$' cpu.max && grep -q '^9$' pids.max && "
		 "grep -q '^42$' cgroup.procs && grep -q '^1$' cgroup.kill && grep -q '+pids' ../cgroup.subtree_control", dir);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(cgroup_read_usage(t, "hearth/i", &u), 0);
	assert_true(u.total_bytes == 500 && u.anon_bytes == 100 && u.shmem_bytes == 50 && u.file_bytes == 250 && u.oom_kills == 2);
	assert_int_equal(cgroup_make(t, "../x", &limits, NULL), -EINVAL);
	cgroup_tree_free(t);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cgroup_v1),
		cmocka_unit_test(cgroup_v2_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
