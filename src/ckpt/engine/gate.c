/* SPDX-License-Identifier: Apache-2.0 */
#include "gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "shim/wire.h"

#define GATE_BYTES 4096

static int gate_path(const char *run_dir, const char *name, char ret[PATH_MAX])
{
	int r = program_dir(run_dir, name, ret);

	if (r == 0)
		strcat(ret, "/gate");
	return r;
}

int gate_make(const char *run_dir, const char *name, struct hearth_err *err)
{
	uint8_t page[GATE_BYTES] = { 0 };
	struct shim_gate gate = { .magic = SHIM_GATE_MAGIC, .version = SHIM_WIRE_VERSION };
	char path[PATH_MAX];
	int r = gate_path(run_dir, name, path);

	if (r == 0 && access(path, F_OK) == 0)
		return 0;
	memcpy(page, &gate, sizeof(gate));
	if (r == 0) {
		FD_AUTO int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		r = fd < 0 ? -errno : fd_write_full(fd, page, sizeof(page));
	}
	return r < 0 ? err_set(err, r, "cannot make the gate file of program %s: %s", name, strerror(-r)) : 0;
}

void gate_environment(const char *run_dir, const char *name, const char *keeper)
{
	char path[PATH_MAX];

	if (gate_path(run_dir, name, path) == 0)
		setenv(SHIM_ENV_GATE, path, 1);
	setenv(SHIM_ENV_NAME, name, 1);
	if (keeper)
		setenv(SHIM_ENV_SOCKET, keeper, 1);
}
