/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <string.h>

#include "cufile/abi.h"
#include "fact.h"

static const struct fact ours[] = {
#define X(name, value) { name, value },
#include "facts.h"
#undef X
};

/* from the documentation of the interface, by hand: holds ours where there is no cufile.h */
static const struct fact documented[] = {
	{ "CUfileError_t", 8 }, { "CUfileDrvProps_t", 56 }, { "CUfileFSOps_t", 40 }, { "CUfileDescr_t", 24 }, { "CUfileIOParams_t", 64 }, { "CUfileIOEvents_t", 24 },
	{ "CUfileStatsLevel1_t", 512 }, { "CUfileStatsLevel2_t", 1024 }, { "CUfilePerGpuStats_t", 248 }, { "CUfileStatsLevel3_t", 5000 },
	{ "CUfileDrvProps_t.fflags", 32 }, { "CUfileDrvProps_t.max_batch_io_timeout_msecs", 52 }, { "CUfileDescr_t.fs_ops", 16 },
	{ "CUfileIOParams_t.u.batch.devPtr_base", 8 }, { "CUfileIOParams_t.u.batch.size", 32 }, { "CUfileIOParams_t.fh", 40 }, { "CUfileIOParams_t.opcode", 48 }, { "CUfileIOParams_t.cookie", 56 },
	{ "CUfileIOEvents_t.status", 8 }, { "CUfileIOEvents_t.ret", 16 },
	{ "CU_FILE_DRIVER_NOT_INITIALIZED", 5001 }, { "CU_FILE_DRIVER_UNSUPPORTED_LIMIT", 5003 }, { "CU_FILE_DRIVER_CLOSING", 5006 }, { "CU_FILE_IO_NOT_SUPPORTED", 5008 },
	{ "CU_FILE_CUDA_DRIVER_ERROR", 5011 }, { "CU_FILE_CUDA_MEMORY_TYPE_INVALID", 5013 }, { "CU_FILE_CUDA_POINTER_RANGE_ERROR", 5014 }, { "CU_FILE_INVALID_MAPPING_RANGE", 5017 },
	{ "CU_FILE_INVALID_FILE_TYPE", 5018 }, { "CU_FILE_INVALID_VALUE", 5022 }, { "CU_FILE_MEMORY_ALREADY_REGISTERED", 5023 }, { "CU_FILE_MEMORY_NOT_REGISTERED", 5024 },
	{ "CU_FILE_DRIVER_ALREADY_OPEN", 5026 }, { "CU_FILE_HANDLE_NOT_REGISTERED", 5027 }, { "CU_FILE_HANDLE_ALREADY_REGISTERED", 5028 }, { "CU_FILE_GETNEWFD_FAILED", 5031 },
	{ "CU_FILE_BATCH_FULL", 5037 }, { "CU_FILE_ASYNC_NOT_SUPPORTED", 5038 }, { "CU_FILE_NOMEM_ERROR", 5043 },
	{ "CUFILE_CANCELED", 8 }, { "CUFILE_COMPLETE", 16 }, { "CUFILE_FAILED", 64 },
};

static unsigned long value_of(const char *name)
{
	for (size_t k = 0; k < sizeof(ours) / sizeof(ours[0]); k++)
		if (strcmp(ours[k].name, name) == 0)
			return ours[k].value;
	fail_msg("%s is not in facts.h", name);
	return 0;
}

static void test_documented(void **state)
{
	for (size_t k = 0; k < sizeof(documented) / sizeof(documented[0]); k++)
		if (value_of(documented[k].name) != documented[k].value)
			fail_msg("%s: %lu, documented as %lu", documented[k].name, value_of(documented[k].name), documented[k].value);
}

static void test_cufile_h(void **state)
{
	if (!theirs) {
		print_message("# no cufile.h of 1.15 or newer here\n");
		return;
	}
	for (size_t k = 0; k < sizeof(ours) / sizeof(ours[0]); k++)
		if (ours[k].value != theirs[k].value)
			fail_msg("%s: %lu, in cufile.h %lu", ours[k].name, ours[k].value, theirs[k].value);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_documented), cmocka_unit_test(test_cufile_h) };

	return cmocka_run_group_tests_name("cufile-abi", tests, NULL, NULL);
}
