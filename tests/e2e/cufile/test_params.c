/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters that do what they say, others that say that they cannot; counters; the log. */
#include "rig.h"

#include <limits.h>

static void test_sizes(void **state)
{
	size_t value = 0, min = 0, max = 0;

	assert_int_equal(cuFileGetParameterSizeT(CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB, &value).err, CU_FILE_SUCCESS);
	assert_int_equal(value, 128 << 10);
	assert_int_equal(cuFileSetParameterSizeT(CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB, 32 << 10).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileGetParameterSizeT(CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB, &value).err, CU_FILE_SUCCESS);
	assert_int_equal(value, 32 << 10);
	assert_int_equal(cuFileDriverOpen().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileGetParameterSizeT(CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB, &value).err, CU_FILE_SUCCESS);
	assert_int_equal(value, 32 << 10);
	assert_int_equal(cuFileSetParameterSizeT(CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB, 64 << 10).err, CU_FILE_DRIVER_ALREADY_OPEN);
	driver_closed(NULL);
	/* it was for one opening */
	assert_int_equal(cuFileGetParameterSizeT(CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB, &value).err, CU_FILE_SUCCESS);
	assert_int_equal(value, 128 << 10);
	assert_int_equal(cuFileGetParameterMinMaxValue(CUFILE_PARAM_EXECUTION_MAX_IO_QUEUE_DEPTH, &min, &max).err, CU_FILE_SUCCESS);
	assert_int_equal(min, 1);
	assert_int_equal(max, 4096);
	assert_int_equal(cuFileSetParameterSizeT(CUFILE_PARAM_EXECUTION_MAX_IO_QUEUE_DEPTH, 0).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileSetParameterSizeT(CUFILE_PARAM_EXECUTION_MAX_IO_QUEUE_DEPTH, 4097).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	/* no such thing here */
	assert_int_equal(cuFileSetParameterSizeT(CUFILE_PARAM_POLLTHRESHOLD_SIZE_KB, 4).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileGetParameterSizeT(CUFILE_PARAM_POLLTHRESHOLD_SIZE_KB, &value).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileGetParameterMinMaxValue(CUFILE_PARAM_POLLTHRESHOLD_SIZE_KB, &min, &max).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	/* no such parameter */
	assert_int_equal(cuFileSetParameterSizeT((CUFileSizeTConfigParameter_t)99, 4).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileGetParameterSizeT((CUFileSizeTConfigParameter_t)-1, &value).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileGetParameterSizeT(CUFILE_PARAM_PROFILE_STATS, NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileGetParameterMinMaxValue(CUFILE_PARAM_PROFILE_STATS, NULL, &max).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileSetParameterPosixPoolSlabArray(&min, &max, 1).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileGetParameterPosixPoolSlabArray(&min, &max, 1).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileSetParameterPosixPoolSlabArray(NULL, &max, 1).err, CU_FILE_INVALID_VALUE);
}

static void test_bools(void **state)
{
	bool value = true;

	assert_int_equal(cuFileGetParameterBool(CUFILE_PARAM_FORCE_COMPAT_MODE, &value).err, CU_FILE_SUCCESS);
	assert_false(value);
	setenv("CUFILE_FORCE_COMPAT_MODE", "true", 1);
	assert_int_equal(cuFileGetParameterBool(CUFILE_PARAM_FORCE_COMPAT_MODE, &value).err, CU_FILE_SUCCESS);
	assert_true(value);
	/* what the program says goes before */
	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_FORCE_COMPAT_MODE, false).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileDriverOpen().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileGetParameterBool(CUFILE_PARAM_FORCE_COMPAT_MODE, &value).err, CU_FILE_SUCCESS);
	assert_false(value);
	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_FORCE_COMPAT_MODE, true).err, CU_FILE_DRIVER_ALREADY_OPEN);
	driver_closed(NULL);
	unsetenv("CUFILE_FORCE_COMPAT_MODE");
	/* what is the case can be asked for; what is not, not */
	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_USE_PCIP2PDMA, true).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_USE_PCIP2PDMA, false).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_PROPERTIES_USE_POLL_MODE, false).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_PROPERTIES_USE_POLL_MODE, true).err, CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	assert_int_equal(cuFileSetParameterBool((CUFileBoolConfigParameter_t)99, true).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileGetParameterBool(CUFILE_PARAM_FORCE_COMPAT_MODE, NULL).err, CU_FILE_INVALID_VALUE);
}

/* forced or forbidden, compatibility mode is about devices: memory of the host is read as ever. O_DIRECT forced changes no byte either. */
static void test_modes_and_host_memory(void **state)
{
	static const struct { CUFileBoolConfigParameter_t param; bool value; } modes[] = {
		{ CUFILE_PARAM_FORCE_COMPAT_MODE, true }, { CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE, false }, { CUFILE_PARAM_FORCE_ODIRECT_MODE, true },
	};
	static uint8_t data[100000];
	int fd = make_file("f", 4, FILE_BYTES, O_RDONLY);

	for (int k = 0; k < 3; k++) {
		CUfileHandle_t h;

		assert_int_equal(cuFileSetParameterBool(modes[k].param, modes[k].value).err, CU_FILE_SUCCESS);
		h = handle_of(fd);
		memset(data, GUARD, sizeof(data));
		assert_int_equal(cuFileRead(h, data, 90000, 4321, 7), 90000);
		assert_bytes(data + 7, 4, 4321, 90000);
		driver_closed(NULL);
	}
	close(fd);
}

static void test_no_system_memory(void **state)
{
	int fd = make_file("f", 4, 1000, O_RDONLY);
	CUfileHandle_t h;
	uint8_t data[100];

	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_PROPERTIES_ALLOW_SYSTEM_MEMORY, false).err, CU_FILE_SUCCESS);
	h = handle_of(fd);
	assert_int_equal(cuFileBufRegister(data, sizeof(data), 0).err, CU_FILE_CUDA_MEMORY_TYPE_INVALID);
	assert_int_equal(cuFileRead(h, data, 10, 0, 0), -CU_FILE_CUDA_MEMORY_TYPE_INVALID);
	close(fd);
}

static void test_batch_size(void **state)
{
	CUfileBatchHandle_t b;

	assert_int_equal(cuFileSetParameterSizeT(CUFILE_PARAM_PROPERTIES_IO_BATCHSIZE, 32).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOSetUp(&b, 33).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileBatchIOSetUp(&b, 32).err, CU_FILE_SUCCESS);
	driver_closed(NULL);
	assert_int_equal(cuFileBatchIOSetUp(&b, 1000000).err, CU_FILE_SUCCESS);         /* costs what is submitted */
}

static void test_strings_and_log(void **state)
{
	char text[200], small[3], line[600] = "";
	CUfileHandle_t h;
	uint8_t byte;
	FILE *file;

	assert_int_equal(cuFileGetParameterString(CUFILE_PARAM_LOGGING_LEVEL, text, sizeof(text)).err, CU_FILE_SUCCESS);
	assert_string_equal(text, "ERROR");
	assert_int_equal(cuFileGetParameterString(CUFILE_PARAM_LOGGING_LEVEL, small, sizeof(small)).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileSetParameterString(CUFILE_PARAM_LOGGING_LEVEL, "LOUD").err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileSetParameterString(CUFILE_PARAM_LOGGING_LEVEL, "INFO").err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileSetParameterString(CUFILE_PARAM_LOG_DIR, folder).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileSetParameterString(CUFILE_PARAM_LOG_DIR, NULL).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(register_fd(-1, &h), CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileGetParameterString(CUFILE_PARAM_LOG_DIR, text, sizeof(text)).err, CU_FILE_SUCCESS);
	assert_string_equal(text, folder);
	driver_closed(NULL);
	file = fopen(path_of("cufile.log"), "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_non_null(strstr(line, "ERROR cuFileHandleRegister: -1 is no open descriptor"));
	fclose(file);
	/* by the environment; nobody else's failures are in it */
	setenv("CUFILE_LOGFILE_PATH", path_of("other.log"), 1);
	assert_int_equal(cuFileDriverOpen().err, CU_FILE_SUCCESS);
	assert_int_equal(access(path_of("other.log"), F_OK), -1);               /* nothing to say yet */
	assert_int_equal(cuFileRead(NULL, &byte, 1, 0, 0), -CU_FILE_HANDLE_NOT_REGISTERED);
	driver_closed(NULL);
	unsetenv("CUFILE_LOGFILE_PATH");
	assert_int_equal(access(path_of("other.log"), F_OK), 0);
}

static void test_stats(void **state)
{
	int fd = make_file("f", 4, 100000, O_RDWR), level = -1;
	CUfileStatsLevel1_t s;
	CUfileStatsLevel2_t s2;
	CUfileStatsLevel3_t s3;
	static uint8_t data[100000];
	CUfileHandle_t h;

	assert_int_equal(cuFileStatsStart().err, CU_FILE_DRIVER_NOT_INITIALIZED);
	assert_int_equal(cuFileGetStatsL1(&s).err, CU_FILE_DRIVER_NOT_INITIALIZED);
	assert_int_equal(cuFileDriverOpen().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileGetStatsL1(&s).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileSetStatsLevel(4).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileSetStatsLevel(2).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileGetStatsLevel(&level).err, CU_FILE_SUCCESS);
	assert_int_equal(level, 2);
	h = handle_of(fd);                                      /* not counted yet */
	assert_int_equal(cuFileStatsStart().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileRead(h, data, 100000, 0, 0), 100000);
	assert_int_equal(cuFileRead(h, data, 5000, 0, 0), 5000);
	assert_int_equal(cuFileRead(NULL, data, 5000, 0, 0), -CU_FILE_HANDLE_NOT_REGISTERED);
	assert_int_equal(cuFileWrite(h, data, 3000, 0, 0), 3000);
	assert_int_equal(cuFileStatsStop().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileRead(h, data, 5000, 0, 0), 5000);
	assert_int_equal(cuFileGetStatsL1(&s).err, CU_FILE_SUCCESS);
	assert_int_equal(s.read_ops.ok, 2);
	assert_int_equal(s.read_ops.err, 1);
	assert_int_equal(s.read_bytes, 105000);
	assert_int_equal(s.write_ops.ok, 1);
	assert_int_equal(s.write_bytes, 3000);
	assert_int_equal(s.hdl_register_ops.ok, 0);
	assert_int_equal(cuFileGetStatsL2(&s2).err, CU_FILE_SUCCESS);
	assert_int_equal(s2.read_size_kb_hist[6], 1);           /* 64 KiB and more */
	assert_int_equal(s2.read_size_kb_hist[2], 1);
	assert_int_equal(s2.write_size_kb_hist[1], 1);
	assert_int_equal(cuFileGetStatsL3(&s3).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileStatsReset().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileGetStatsL1(&s).err, CU_FILE_SUCCESS);
	assert_int_equal(s.read_ops.ok + s.read_bytes + s.write_bytes, 0);
	assert_int_equal(cuFileGetStatsL1(NULL).err, CU_FILE_INVALID_VALUE);
	driver_closed(NULL);
	/* a parameter counts from the opening on */
	assert_int_equal(cuFileSetParameterSizeT(CUFILE_PARAM_PROFILE_STATS, 1).err, CU_FILE_SUCCESS);
	h = handle_of(fd);
	assert_int_equal(cuFileGetStatsL1(&s).err, CU_FILE_SUCCESS);
	assert_int_equal(s.hdl_register_ops.ok, 1);
	assert_int_equal(cuFileGetStatsL2(&s2).err, CU_FILE_INVALID_VALUE);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, driver_closed, driver_closed)
	const struct CMUnitTest tests[] = {
		TEST(test_sizes), TEST(test_bools), TEST(test_modes_and_host_memory), TEST(test_no_system_memory), TEST(test_batch_size), TEST(test_strings_and_log), TEST(test_stats),
	};

	return cmocka_run_group_tests_name("cufile-params", tests, rig_begin, rig_end);
}
