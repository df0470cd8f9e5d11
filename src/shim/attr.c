/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "gate.h"
#include "mem.h"
#include "shim.h"

/*
 * Questions about addresses. The driver sees a mapping where the program made an allocation, so what differs is answered here.
 */
#define BUFFER_BIT (1ull << 62)         /* the driver counts its allocations from 1 */

struct answer { CUcontext ctx; uint64_t start; size_t bytes; bool found; };

static struct answer look_up(uint64_t address)
{
	struct answer a = { .found = false };
	struct mem_phys *p;

	if (!shim_is_active())
		return a;
	pthread_mutex_lock(&shim_lock);
	p = mem_at(address, &a.start, &a.bytes);
	a.found = p != NULL;
	a.ctx = p ? p->ctx : NULL;
	pthread_mutex_unlock(&shim_lock);
	return a;
}

SHIM_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
	CUresult ret = CUDA_SUCCESS;
	struct answer a;

	gate_enter();
	a = look_up(dptr);
	if (!a.found)
		ret = DRV(cuMemGetAddressRange_v2)(pbase, psize, dptr);
	if (a.found && pbase)
		*pbase = a.start;
	if (a.found && psize)
		*psize = a.bytes;
	gate_leave();
	return ret;
}

/* Return: false: the driver's answer is right */
static bool correct(const struct answer *a, CUpointer_attribute attribute, void *data)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		memcpy(data, &a->ctx, sizeof a->ctx);
		break;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID: {
		uint64_t id = BUFFER_BIT | a->start;

		memcpy(data, &id, sizeof id);
		break;
	}
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		memcpy(data, &a->start, sizeof a->start);
		break;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		memcpy(data, &a->bytes, sizeof a->bytes);
		break;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		memset(data, 0, sizeof(uint64_t));
		break;
	default:
		return false;
	}
	return true;
}

SHIM_EXPORT CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	CUresult ret = CUDA_SUCCESS;
	struct answer a;

	gate_enter();
	a = look_up(ptr);
	if (!data || !a.found || !correct(&a, attribute, data))
		ret = DRV(cuPointerGetAttribute)(data, attribute, ptr);
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr)
{
	struct answer a;
	CUresult ret;

	gate_enter();
	ret = DRV(cuPointerGetAttributes)(numAttributes, attributes, data, ptr);
	if (ret == CUDA_SUCCESS && (a = look_up(ptr)).found) {
		for (unsigned i = 0; i < numAttributes; i++)
			correct(&a, attributes[i], data[i]);
	}
	gate_leave();
	return ret;
}
