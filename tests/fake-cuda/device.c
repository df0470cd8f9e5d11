/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake.h"

struct fake fake = { .lock = PTHREAD_MUTEX_INITIALIZER, .slot = -1 };

/* as with the driver, CUDA is not for the child of a process that used it */
static void forked(void)
{
	fake.inited = false;
	fake.process = NULL;
}

static CUresult init_once(void)
{
	const char *dir = getenv("HEARTH_FAKE_CUDA_DIR"), *config = getenv("HEARTH_FAKE_CUDA");
	char own[64];
	CUresult r;

	if (!dir || !*dir) {
		snprintf(own, sizeof(own), "/tmp/hearth-fake-cuda-%u", (unsigned)getuid());
		mkdir(own, 0700);
		dir = own;
	}
	snprintf(fake.dir, sizeof(fake.dir), "%s", dir);
	fake.machine = fake_machine_open(dir, config);
	if (!fake.machine) {
		fprintf(stderr, "fake CUDA driver: cannot use %s (HEARTH_FAKE_CUDA_DIR) with '%s' (HEARTH_FAKE_CUDA): %m\n", dir, config ? config : "");
		return CUDA_ERROR_SYSTEM_NOT_READY;
	}
	if (fake.machine->devices == 0)
		return CUDA_ERROR_NO_DEVICE;
	fake.process = fake_process_open(dir, getpid(), true);
	if (!fake.process)
		return CUDA_ERROR_SYSTEM_NOT_READY;
	call_faults(config);
	r = machine_join();
	if (r)
		return r;
	work_catch_faults();
	pthread_atfork(NULL, NULL, forked);
	return checkpoint_start();
}

__attribute__((destructor)) static void at_exit(void)
{
	if (fake.inited)
		machine_leave();
}

EXPORT CUresult cuInit(unsigned int flags)
{
	CUresult r = CUDA_SUCCESS;

	CALL(0);
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	if (!fake.inited)
		r = fake.machine && !fake.process && fake.slot >= 0 ? CUDA_ERROR_NOT_INITIALIZED : init_once();
	if (!r)
		fake.inited = true;
	pthread_mutex_unlock(&fake.lock);
	return r ? r : call_step("cuInit");
}

EXPORT CUresult cuDriverGetVersion(int *ret)
{
	const char *dir = getenv("HEARTH_FAKE_CUDA_DIR");
	struct fake_machine *m = fake.machine;

	CALL(CALL_UNGATED);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	if (!m && dir)
		m = fake_machine_open(dir, getenv("HEARTH_FAKE_CUDA"));         /* asked before cuInit, stays mapped: once a process */
	*ret = m ? m->driver_version : 13000;
	return CUDA_SUCCESS;
}

static CUresult device(CUdevice d, struct fake_device **ret)
{
	if (d < 0 || (uint32_t)d >= fake.machine->devices)
		return CUDA_ERROR_INVALID_DEVICE;
	*ret = &fake.machine->device[d];
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice *ret, int ordinal)
{
	struct fake_device *d;
	CUresult r;

	CALL(CALL_INIT);
	r = device(ordinal, &d);
	if (r || !ret)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	*ret = ordinal;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetCount(int *ret)
{
	CALL(CALL_INIT);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (int)fake.machine->devices;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetName(char *ret, int n, CUdevice dev)
{
	struct fake_device *d;
	CUresult r;

	CALL(CALL_INIT);
	r = device(dev, &d);
	if (r || !ret || n <= 0)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	snprintf(ret, (size_t)n, "%s", d->name);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetUuid_v2(CUuuid *ret, CUdevice dev)
{
	struct fake_device *d;
	CUresult r;

	CALL(CALL_INIT);
	r = device(dev, &d);
	if (r || !ret)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	memcpy(ret->bytes, d->uuid, 16);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetUuid(CUuuid *ret, CUdevice dev)
{
	return cuDeviceGetUuid_v2(ret, dev);
}

EXPORT CUresult cuDeviceTotalMem_v2(size_t *ret, CUdevice dev)
{
	struct fake_device *d;
	CUresult r;

	CALL(CALL_INIT);
	r = device(dev, &d);
	if (r || !ret)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	*ret = d->bytes;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
	struct fake_device *d;
	CUresult r;

	CALL(CALL_INIT);
	r = device(dev, &d);
	if (r || !major || !minor)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	*major = d->major;
	*minor = d->minor;
	return CUDA_SUCCESS;
}

static const struct { CUdevice_attribute name; int value; } attributes[] = {
	{ CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024 }, { CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024 }, { CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024 },
	{ CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64 }, { CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 0x7fffffff }, { CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535 },
	{ CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535 }, { CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152 }, { CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32 },
	{ CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 4 }, { CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1 }, { CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1 },
	{ CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 32 << 20 }, { CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048 }, { CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3 },
	{ CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1 }, { CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1 }, { CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1 },
	{ CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 1 }, { CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1 }, { CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1 },
	{ CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1 }, { CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 1 },
	{ CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, 1 }, { CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1 }, { CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED, 1 },
};

EXPORT CUresult cuDeviceGetAttribute(int *ret, CUdevice_attribute name, CUdevice dev)
{
	struct fake_device *d;
	CUresult r;

	CALL(CALL_INIT);
	r = device(dev, &d);
	if (r || !ret)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	*ret = 0;               /* what is not there */
	for (size_t k = 0; k < sizeof(attributes) / sizeof(attributes[0]); k++)
		if (attributes[k].name == name)
			*ret = attributes[k].value;
	if (name == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
		*ret = d->major;
	if (name == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
		*ret = d->minor;
	if (name == CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)
		*ret = dev + 1;
	if (name == CU_DEVICE_ATTRIBUTE_MPS_ENABLED)
		*ret = (int)fake.machine->mps;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetPCIBusId(char *ret, int n, CUdevice dev)
{
	struct fake_device *d;
	CUresult r;

	CALL(CALL_INIT);
	r = device(dev, &d);
	if (r || !ret || n < 13)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	snprintf(ret, (size_t)n, "0000:%02x:00.0", dev + 1);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetByPCIBusId(CUdevice *ret, const char *text)
{
	unsigned domain, bus;

	CALL(CALL_INIT);
	if (!ret || !text || sscanf(text, "%x:%x:", &domain, &bus) != 2)
		return CUDA_ERROR_INVALID_VALUE;
	if (bus < 1 || bus > fake.machine->devices)
		return CUDA_ERROR_INVALID_DEVICE;
	*ret = (CUdevice)bus - 1;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetP2PAttribute(int *ret, CUdevice_P2PAttribute name, CUdevice a, CUdevice b)
{
	struct fake_device *d;

	CALL(CALL_INIT);
	if (device(a, &d) || device(b, &d) || a == b)
		return CUDA_ERROR_INVALID_DEVICE;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = name == CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED || name == CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceCanAccessPeer(int *ret, CUdevice a, CUdevice b)
{
	struct fake_device *d;

	CALL(CALL_INIT);
	if (device(a, &d) || device(b, &d))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = a != b;
	return CUDA_SUCCESS;
}
