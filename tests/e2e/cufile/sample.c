/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program as the documentation of cuFile shows them: linked with the vendor's library and the driver, it writes from an offset of device memory to an offset of a
 * file, and reads that back. usage: sample FILE. Exit status 0, or 1 with a sentence.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cufile/abi.h"
#include "fake_cuda/driver.h"

#define IO_BYTES ((size_t)4 << 20)
#define DEVICE_OFFSET 0x1000
#define FILE_OFFSET 0x2000

static CUdeviceptr memory;
static uint8_t data[IO_BYTES + DEVICE_OFFSET];

static int failed(const char *what, long code)
{
	fprintf(stderr, "%s: %ld (errno %d)\n", what, code, errno);
	return 1;
}

static int prepare(void)
{
	CUcontext context;
	CUdevice device;

	if (cuInit(0) || cuDeviceGet(&device, 0) || cuDevicePrimaryCtxRetain(&context, device) || cuCtxSetCurrent(context) || cuMemAlloc(&memory, sizeof(data)))
		return failed("no device", 0);
	for (size_t k = 0; k < sizeof(data); k++)
		data[k] = (uint8_t)(k * 2654435761u >> 13);
	return cuMemcpyHtoD(memory, data, sizeof(data)) ? failed("copy", 0) : 0;
}

static int write_and_read(CUfileHandle_t h)
{
	void *base = (void *)(uintptr_t)memory;
	ssize_t n = cuFileWrite(h, base, IO_BYTES, FILE_OFFSET, DEVICE_OFFSET);

	if (n != (ssize_t)IO_BYTES)
		return failed("cuFileWrite", n);
	if (cuMemsetD8(memory, 0, sizeof(data)) || cuCtxSynchronize())
		return failed("memset", 0);
	n = cuFileRead(h, base, IO_BYTES, FILE_OFFSET, DEVICE_OFFSET);
	if (n != (ssize_t)IO_BYTES)
		return failed("cuFileRead", n);
	return 0;
}

static int compare(int fd)
{
	static uint8_t found[IO_BYTES];

	if (cuMemcpyDtoH(found, memory + DEVICE_OFFSET, IO_BYTES) || memcmp(found, data + DEVICE_OFFSET, IO_BYTES) != 0)
		return failed("the device has other bytes", 0);
	if (pread(fd, found, IO_BYTES, FILE_OFFSET) != (ssize_t)IO_BYTES || memcmp(found, data + DEVICE_OFFSET, IO_BYTES) != 0)
		return failed("the file has other bytes", 0);
	return 0;
}

int main(int argc, char **argv)
{
	int fd = open(argv[argc - 1], O_CREAT | O_RDWR, 0644), r;
	CUfileDescr_t descr = { .type = CU_FILE_HANDLE_TYPE_OPAQUE_FD, .handle.fd = fd };
	CUfileHandle_t h;
	CUfileError_t status;

	if (fd < 0 || prepare() != 0)
		return failed("preparation", fd);
	status = cuFileDriverOpen();
	if (status.err != CU_FILE_SUCCESS)
		return failed("cuFileDriverOpen", status.err);
	status = cuFileHandleRegister(&h, &descr);
	if (status.err != CU_FILE_SUCCESS)
		return failed("cuFileHandleRegister", status.err);
	status = cuFileBufRegister((void *)(uintptr_t)memory, sizeof(data), 0);
	if (status.err != CU_FILE_SUCCESS)
		return failed("cuFileBufRegister", status.err);
	r = write_and_read(h);
	if (r == 0)
		r = compare(fd);
	if (cuFileBufDeregister((void *)(uintptr_t)memory).err)
		return failed("cuFileBufDeregister", 0);
	cuFileHandleDeregister(h);
	close(fd);
	if (cuFileDriverClose().err)
		return failed("cuFileDriverClose", 0);
	return r;
}
