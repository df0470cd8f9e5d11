/* SPDX-License-Identifier: Apache-2.0 */
#include "hearth/ds_load.h"

static const struct { const char *name; unsigned bits; } dtypes[HEARTH_DS_DTYPES] = {
	[HEARTH_DS_BOOL] = { "BOOL", 8 }, [HEARTH_DS_U8] = { "U8", 8 }, [HEARTH_DS_I8] = { "I8", 8 }, [HEARTH_DS_U16] = { "U16", 16 }, [HEARTH_DS_I16] = { "I16", 16 },
	[HEARTH_DS_U32] = { "U32", 32 }, [HEARTH_DS_I32] = { "I32", 32 }, [HEARTH_DS_U64] = { "U64", 64 }, [HEARTH_DS_I64] = { "I64", 64 },
	[HEARTH_DS_F16] = { "F16", 16 }, [HEARTH_DS_BF16] = { "BF16", 16 }, [HEARTH_DS_F32] = { "F32", 32 }, [HEARTH_DS_F64] = { "F64", 64 }, [HEARTH_DS_C64] = { "C64", 64 },
	[HEARTH_DS_F8_E4M3] = { "F8_E4M3", 8 }, [HEARTH_DS_F8_E5M2] = { "F8_E5M2", 8 }, [HEARTH_DS_F8_E8M0] = { "F8_E8M0", 8 },
	[HEARTH_DS_F8_E4M3FNUZ] = { "F8_E4M3FNUZ", 8 }, [HEARTH_DS_F8_E5M2FNUZ] = { "F8_E5M2FNUZ", 8 },
	[HEARTH_DS_F6_E2M3] = { "F6_E2M3", 6 }, [HEARTH_DS_F6_E3M2] = { "F6_E3M2", 6 }, [HEARTH_DS_F4] = { "F4", 4 },
};

const char *hearth_ds_dtype_name(enum hearth_ds_dtype dtype)
{
	return (unsigned)dtype < HEARTH_DS_DTYPES ? dtypes[dtype].name : NULL;
}

unsigned hearth_ds_dtype_bits(enum hearth_ds_dtype dtype)
{
	return (unsigned)dtype < HEARTH_DS_DTYPES ? dtypes[dtype].bits : 0;
}
