/* SPDX-License-Identifier: Apache-2.0 */
#include "../../base/check.h"

#include <errno.h>

#include "header.h"
#include "load.h"

/* headers of files with @data_bytes behind them, and what the error says */
static const struct { const char *json, *says; uint64_t data_bytes; } bad[] = {
	{ "", "does not begin with '{'", 0 },
	{ " {}", "does not begin with '{'", 0 },
	{ "[]", "does not begin with '{'", 0 },
	{ "{", "not the JSON", 0 },
	{ "{}x", "not the JSON", 0 },
	{ "{}{}", "not the JSON", 0 },
	{ "{\"a\xff\":{}}", "not the JSON", 0 },
	{ "{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", "not the JSON", 0 },
	{ "{\"a\":[[[[1]]]]}", "deeper", 0 },
	{ "{\"a\":{\"shape\":[[1]]}}", "deeper", 0 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", "duplicate", 2 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", "duplicate", 2 },
	{ "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", "duplicate", 1 },
	{ "{\"a\":1}", "'a': it is no object", 0 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", "and nothing else", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":1}}", "and nothing else", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"offsets\":[0,1]}}", "data_offsets are not", 1 },
	{ "{\"a\":{\"dtype\":\"U9\",\"shape\":[1],\"data_offsets\":[0,1]}}", "no dtype that is known", 1 },
	{ "{\"a\":{\"dtype\":\"u8\",\"shape\":[1],\"data_offsets\":[0,1]}}", "no dtype that is known", 1 },
	{ "{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", "no dtype that is known", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", "its shape is no list", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", "its shape is no list", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", "its shape is no list", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]}}", "its shape is no list", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[null],\"data_offsets\":[0,1]}}", "its shape is no list", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,1]}}", "not the JSON", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", "data_offsets are not", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", "data_offsets are not", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", "data_offsets are not", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", "data_offsets are not", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":{}}}", "data_offsets are not", 1 },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "give it 4 bytes, its shape and dtype 8", 4 },
	{ "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]}}", "give it 8 bytes, its shape and dtype 4", 8 },
	{ "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", "no whole number of bytes", 1 },
	{ "{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[3],\"data_offsets\":[0,2]}}", "no whole number of bytes", 2 },
	{ "{\"a\":{\"dtype\":\"F64\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", "larger than any memory", 0 },
	{ "{\"a\":{\"dtype\":\"F64\",\"shape\":[9223372036854775807,2],\"data_offsets\":[0,0]}}", "larger than any memory", 0 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", "begins at 1, behind the end at 0", 2 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", "begins at 1, before the end at 2", 3 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", "begins at 3, behind the end at 2", 5 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]}}", "before the end at 2", 2 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", "is cut off", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", "longer than it may be", 3 },
	{ "{}", "longer than it may be", 1 },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1000000000000000000],\"data_offsets\":[0,1000000000000000000]}}", "is cut off", 1 },
	{ "{\"__metadata__\":1}", "__metadata__ is no object", 0 },
	{ "{\"__metadata__\":{\"a\":1}}", "the value of 'a' is no string", 0 },
	{ "{\"__metadata__\":{\"a\":{}}}", "the value of 'a' is no string", 0 },
};

static void test_bad(void **state)
{
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		struct hearth_err err = { 0 };
		struct header h;
		int r = header_parse(bad[k].json, strlen(bad[k].json), bad[k].data_bytes, &h, &err);

		if (r != -EBADMSG || !strstr(err.msg, bad[k].says))
			fail_msg("%s: %d, '%s', not '%s'", bad[k].json, r, err.msg, bad[k].says);
		assert_int_equal(err.code, r);
	}
}

static void test_many_dims(void **state)
{
	char json[1024] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1";
	struct hearth_err err = { 0 };
	struct header h;

	for (int k = 1; k < 65; k++)
		strcat(json, ",1");
	strcat(json, "],\"data_offsets\":[0,1]}}");
	assert_int_equal(header_parse(json, strlen(json), 1, &h, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "at most 64"));
}

static void test_good(void **state)
{
	static const char json[] = "{\"__metadata__\":{\"format\":\"pt\",\"\":\"\"},"
				   "\"late\":{\"shape\":[2,3],\"data_offsets\":[8,20],\"dtype\":\"BF16\"},"
				   "\"scalar\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
				   "\"z\":{\"dtype\":\"F32\",\"shape\":[7,0],\"data_offsets\":[8,8]},"
				   "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]},"
				   "\"\xc3\xa9\\\"[{\":{\"dtype\":\"F4\",\"shape\":[2,1],\"data_offsets\":[20,21]},"
				   "\"six\":{\"dtype\":\"F6_E3M2\",\"shape\":[4],\"data_offsets\":[21,24]}}   ";
	static const char *const order[] = { "scalar", "a", "z", "late", "\xc3\xa9\"[{", "six" };
	struct hearth_err err = { 0 };
	struct header h;

	assert_int_equal(header_parse(json, sizeof(json) - 1, 24, &h, &err), 0);
	assert_int_equal(h.tensors_n, 6);
	for (size_t k = 0; k < 6; k++)
		assert_string_equal(h.tensors[k].name, order[k]);
	assert_int_equal(h.tensors[0].dims, 0);
	assert_int_equal(h.tensors[3].dtype, HEARTH_DS_BF16);
	assert_int_equal(h.tensors[3].shape[1], 3);
	assert_int_equal(h.tensors[3].offset, 8);
	assert_int_equal(h.tensors[3].bytes, 12);
	assert_int_equal(h.meta_n, 2);
	header_done(&h);

	assert_int_equal(header_parse("{}", 2, 0, &h, &err), 0);
	assert_int_equal(h.tensors_n, 0);
	header_done(&h);
}

static void test_length(void **state)
{
	struct hearth_err err = { 0 };
	uint64_t n = 0;

	assert_int_equal(header_length((const uint8_t *)"\2\0\0\0\0\0\0\0", 10, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(header_length((const uint8_t *)"\3\0\0\0\0\0\0\0", 10, &n, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "cut off"));
	assert_int_equal(header_length((const uint8_t *)"\2\0\0\0\0\0\0", 7, &n, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "too short"));
	assert_int_equal(header_length((const uint8_t *)"\1\341\365\5\0\0\0\0", UINT64_MAX, &n, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "more than the format allows"));
	assert_int_equal(header_length((const uint8_t *)"\377\377\377\377\377\377\377\377", 100, &n, &err), -EBADMSG);
	assert_int_equal(n, 2);
}

static void test_sizes(void **state)
{
	const uint64_t huge[] = { UINT64_MAX, 2 };
	uint64_t bytes = 0;

	for (unsigned k = 0; k < HEARTH_DS_DTYPES; k++) {
		assert_non_null(hearth_ds_dtype_name(k));
		assert_int_equal(tensor_size(k, (const uint64_t[]){ 8 }, 1, &bytes), 0);
		assert_int_equal(bytes, hearth_ds_dtype_bits(k));
	}
	assert_null(hearth_ds_dtype_name(HEARTH_DS_DTYPES));
	assert_int_equal(hearth_ds_dtype_bits(HEARTH_DS_DTYPES), 0);
	assert_int_equal(tensor_size(HEARTH_DS_DTYPES, NULL, 0, &bytes), -EINVAL);
	assert_int_equal(tensor_size(HEARTH_DS_U8, huge, 2, &bytes), -EOVERFLOW);
	assert_int_equal(tensor_size(HEARTH_DS_F4, NULL, 0, &bytes), -EINVAL);
}

static const struct { const char *json, *says; } bad_maps[] = {
	{ "", "no JSON" },
	{ "[]", "there is no weight_map" },
	{ "{}", "there is no weight_map" },
	{ "{\"weight_map\":[]}", "there is no weight_map" },
	{ "{\"weight_map\":{}}", "there is no weight_map" },
	{ "{\"weight_map\":{\"a\":1}}", "of tensor 'a' is no name" },
	{ "{\"weight_map\":{\"a\":\"\"}}", "of tensor 'a' is no name" },
	{ "{\"weight_map\":{\"a\":\"../x\"}}", "of tensor 'a' is no name" },
	{ "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "of tensor 'a' is no name" },
	{ "{\"weight_map\":{\"a\":\"x\",\"a\":\"y\"}}", "duplicate" },
};

static void test_weight_maps(void **state)
{
	static const char good[] = "{\"metadata\":{\"total_size\":3},\"weight_map\":{\"b\":\"2\",\"c\":\"1\",\"a\":\"2\"}}";
	struct hearth_err err = { 0 };
	struct weight_map m;

	for (size_t k = 0; k < sizeof(bad_maps) / sizeof(bad_maps[0]); k++) {
		int r = weight_map_parse(bad_maps[k].json, strlen(bad_maps[k].json), &m, &err);

		if (r != -EBADMSG || !strstr(err.msg, bad_maps[k].says))
			fail_msg("%s: %d, '%s', not '%s'", bad_maps[k].json, r, err.msg, bad_maps[k].says);
	}
	assert_int_equal(weight_map_parse(good, sizeof(good) - 1, &m, &err), 0);
	assert_int_equal(m.n, 3);
	assert_string_equal(m.weights[0].tensor, "c");
	assert_string_equal(m.weights[1].tensor, "a");
	assert_string_equal(m.weights[2].file, "2");
	weight_map_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_many_dims),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_weight_maps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
