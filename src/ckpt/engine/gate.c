/* SPDX-License-Identifier: Apache-2.0 */
#include "gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"
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

/* Return: 1 a process maps it, 0 none does, -ESTALE one maps a file that was there before */
static int mapped_by(pid_t pid, const char *name, ino_t inode)
{
	char path[64], own[PROGRAM_NAME_MAX + 32], *line = NULL;
	size_t cap = 0, n;
	int r = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	n = (size_t)snprintf(own, sizeof(own), "/programs/%s/gate", name);
	maps = fopen(path, "re");
	while (maps && r >= 0 && getline(&line, &cap, maps) > 0) {
		const char *at = strstr(line, own);
		unsigned long long of;

		if (!at || (at[n] != '\n' && strcmp(at + n, " (deleted)\n")) || sscanf(line, "%*s %*s %*s %*s %llu", &of) != 1)
			continue;
		r = of == inode ? 1 : -ESTALE;
	}
	free(line);
	if (maps)
		fclose(maps);
	return r;
}

int gate_check(const char *run_dir, const char *name, pid_t root, struct hearth_err *err)
{
	struct shim_gate gate = { 0 };
	char path[PATH_MAX];
	struct stat st = { 0 };
	pid_t *tree = NULL;
	ssize_t n = proc_tree(root, &tree);
	int r = gate_path(run_dir, name, path), mapped = 0;
	FD_AUTO int fd = r < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fd_pread_full(fd, &gate, sizeof(gate), 0) < 0))
		st.st_ino = 0;
	for (ssize_t k = 0; k < n && mapped >= 0; k++) {
		r = mapped_by(tree[k], name, st.st_ino);
		mapped = r ? r : mapped;
	}
	free(tree);
	if (mapped < 0)
		return err_set(err, mapped, "cannot checkpoint: %s was removed or replaced while program %s runs, which could not be woken afterwards; it must be begun anew", path, name);
	if (mapped && (gate.magic != SHIM_GATE_MAGIC || gate.version != SHIM_WIRE_VERSION))
		return err_set(err, -EBADMSG, "cannot checkpoint: %s is damaged, and program %s could not be woken afterwards; it must be begun anew", path, name);
	return 0;
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
