/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's own checkpoint of another process, one step a run: cuda_ckpt state|lock|checkpoint|restore|unlock PID. Prints the driver's result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda/driver.h"

int main(int argc, char **argv)
{
	CUcheckpointLockArgs lock = { .timeoutMs = 10000 };
	CUcheckpointCheckpointArgs checkpoint = { 0 };
	CUcheckpointRestoreArgs restore = { 0 };
	CUcheckpointUnlockArgs unlock = { 0 };
	CUprocessState state = CU_PROCESS_STATE_RUNNING;
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	int pid = argc == 3 ? atoi(argv[2]) : 0;

	if (argc != 3 || cuInit(0) != CUDA_SUCCESS)
		return 2;
	if (!strcmp(argv[1], "state")) {
		r = cuCheckpointProcessGetState(pid, &state);
		printf("%d\n", (int)state);
		return r != CUDA_SUCCESS;
	}
	if (!strcmp(argv[1], "lock"))
		r = cuCheckpointProcessLock(pid, &lock);
	else if (!strcmp(argv[1], "checkpoint"))
		r = cuCheckpointProcessCheckpoint(pid, &checkpoint);
	else if (!strcmp(argv[1], "restore"))
		r = cuCheckpointProcessRestore(pid, &restore);
	else if (!strcmp(argv[1], "unlock"))
		r = cuCheckpointProcessUnlock(pid, &unlock);
	printf("%d\n", (int)r);
	return r != CUDA_SUCCESS;
}
