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
#define COPY "gate-page"

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

/* in place: the program maps the file */
static int copy_page(const char *from, const char *to, int flags)
{
	FD_AUTO int in = open(from, O_RDONLY | O_CLOEXEC);
	FD_AUTO int out = in < 0 ? -1 : open(to, O_WRONLY | O_CLOEXEC | flags, 0600);
	uint8_t page[GATE_BYTES];
	ssize_t n;

	if (in < 0)
		return errno == ENOENT ? 0 : -errno;
	if (out < 0)
		return -errno;
	n = fd_read_full(in, page, sizeof(page));
	return n < 0 ? (int)n : fd_write_full(out, page, (size_t)n);
}

int gate_save(const char *run_dir, const char *name, const char *dir, struct hearth_err *err)
{
	char gate[PATH_MAX], copy[PATH_MAX + 16];
	int r = gate_path(run_dir, name, gate);

	snprintf(copy, sizeof(copy), "%s/" COPY, dir);
	if (r == 0)
		r = copy_page(gate, copy, O_CREAT | O_EXCL);
	return r < 0 ? err_set(err, r, "cannot copy the gate file of program %s: %s", name, strerror(-r)) : 0;
}

int gate_put(const char *run_dir, const char *name, const char *dir, struct hearth_err *err)
{
	char gate[PATH_MAX], copy[PATH_MAX + 16];
	int r = gate_path(run_dir, name, gate);

	snprintf(copy, sizeof(copy), "%s/" COPY, dir);
	if (r == 0)
		r = copy_page(copy, gate, O_CREAT);
	return r < 0 ? err_set(err, r, "cannot put back the gate file of program %s: %s", name, strerror(-r)) : 0;
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
