/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to the keeper, the reports it gives, the gate file, and that our picture of the driver's structs has the sizes of cuda.h's. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ckpt/keeper.h"
#include "cuda/driver.h"
#include "request.h"

/* sizes and offsets of cuda.h 13.0 */
_Static_assert(sizeof(struct cu_memory_prop) == 32 && offsetof(struct cu_memory_prop, location) == 8 && offsetof(struct cu_memory_prop, flags) == 24, "CUmemAllocationProp");
_Static_assert(sizeof(struct cu_access) == 12 && sizeof(struct cu_lock_args) == 64 && sizeof(struct cu_checkpoint_args) == 64, "CUmemAccessDesc, CUcheckpointLockArgs, CUcheckpointCheckpointArgs");
_Static_assert(sizeof(struct cu_restore_args) == 64 && offsetof(struct cu_restore_args, pairs_n) == 8 && offsetof(struct cu_restore_args, reserved1) == 56, "CUcheckpointRestoreArgs");

static int parse(const char *text, struct request **ret)
{
	struct hearth_err err = { 0 };
	int r = request_parse(text, strlen(text), ret, &err);

	assert_true(r == 0 || err.msg[0] != '\0');
	return r;
}

static void good(void **state)
{
	struct request *r;

	(void)state;
	assert_int_equal(parse("{\"op\":\"begin\",\"pids\":[7,8]}", &r), 0);
	assert_int_equal(r->op, REQUEST_BEGIN);
	assert_int_equal(r->n, 2);
	assert_int_equal(r->pids[1], 8);
	request_free(r);
	assert_int_equal(parse("{\"op\":\"load\",\"pids\":[[7,9]],\"hold\":\"h\"}", &r), 0);
	assert_int_equal(r->was[0], 7);
	assert_int_equal(r->pids[0], 9);
	request_free(r);
	assert_int_equal(parse("{\"op\":\"stop\",\"runs_on\":true,\"timeout_ns\":5}", &r), 0);
	assert_true(r->runs_on && r->timeout_ns == 5);
	request_free(r);
}

static void bad(void **state)
{
	static const char *const texts[] = {
		"", "[]", "{}", "{\"op\":1}", "{\"op\":\"nothing\"}", "{\"op\":\"begin\"}", "{\"op\":\"begin\",\"pids\":[]}", "{\"op\":\"begin\",\"pids\":[0]}", "{\"op\":\"begin\",\"pids\":[1,1]}",
		"{\"op\":\"begin\",\"pids\":[1],\"more\":1}", "{\"op\":\"precopy\"}", "{\"op\":\"precopy\",\"store\":\"relative\"}", "{\"op\":\"precopy\",\"store\":\"/s\",\"zstd\":-1}",
		"{\"op\":\"hold\",\"hold\":\"../x\"}", "{\"op\":\"load\",\"pids\":[1],\"hold\":\"h\"}", "{\"op\":\"load\",\"pids\":[[1,2]],\"image\":\"i\"}", "{\"op\":\"load\"}", "{\"op\":\"stage\"}", "{\"op\":\"stage\",\"image\":\"i\"}",
		"{\"op\":\"stop\",\"op\":\"stop\"}",
	};
	struct request *r = NULL;

	(void)state;
	for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
		assert_int_equal(parse(texts[k], &r), -EINVAL);
	assert_null(r);
}

static void report(void **state)
{
	struct keeper_report a = { .total_ns = 1, .bytes = 1ull << 40, .rounds = 2 }, b;
	json_t *o;

	(void)state;
	report_note(&a, "one %d", 1);
	report_note(&a, "two");
	report_note(&a, "two");
	assert_string_equal(a.notes, "one 1; two");
	o = report_to_json(&a);
	report_from_json(o, &b);
	json_decref(o);
	assert_memory_equal(&a, &b, offsetof(struct keeper_report, notes));
	assert_string_equal(a.notes, b.notes);
	for (int k = 0; k < 100; k++)
		report_note(&a, "note number %d", k);
	assert_true(strlen(a.notes) < sizeof(a.notes));
}

static void shim(void **state)
{
	struct shim_msg m = { .version = SHIM_WIRE_VERSION, .op = SHIM_ALLOC, .id = 1, .bytes = 4 << 20 }, got;

	(void)state;
	assert_int_equal(shim_msg_check(&m, sizeof(m), &got), 0);
	assert_int_equal(shim_msg_check(&m, sizeof(m) - 1, &got), -EBADMSG);
	m.bytes++;
	assert_int_equal(shim_msg_check(&m, sizeof(m), &got), -EBADMSG);
	m = (struct shim_msg){ .version = SHIM_WIRE_VERSION, .op = SHIM_HELLO, .text = "a/b" };
	assert_int_equal(shim_msg_check(&m, sizeof(m), &got), -EBADMSG);
	m.op = SHIM_WELCOME;            /* only we say that */
	assert_int_equal(shim_msg_check(&m, sizeof(m), &got), -EBADMSG);
	m = (struct shim_msg){ .version = SHIM_WIRE_VERSION, .op = SHIM_REFUSE };
	memset(m.text, 'x', sizeof(m.text));
	assert_int_equal(shim_msg_check(&m, sizeof(m), &got), -EBADMSG);
}

static void gate(void **state)
{
	char path[] = "/tmp/hearth-gate-XXXXXX";
	int fd = mkstemp(path);
	struct shim_gate g = { .magic = SHIM_GATE_MAGIC, .wake = 41 };
	struct hearth_err err = { 0 };

	(void)state;
	assert_int_equal(keeper_wake("/nonexistent/gate", &err), -ENOENT);
	assert_int_equal(keeper_wake(path, &err), -EBADMSG);
	assert_int_equal(pwrite(fd, &g, sizeof(g), 0), (ssize_t)sizeof(g));
	assert_int_equal(keeper_wake(path, &err), 0);
	assert_int_equal(pread(fd, &g, sizeof(g), 0), (ssize_t)sizeof(g));
	assert_int_equal(g.wake, 42);
	unlink(path);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good), cmocka_unit_test(bad), cmocka_unit_test(report), cmocka_unit_test(shim), cmocka_unit_test(gate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
