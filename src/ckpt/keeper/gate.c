/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "ckpt/keeper.h"
#include "shim/wire.h"

int keeper_wake(const char *gate_path, struct hearth_err *err)
{
	FD_AUTO int fd = open(gate_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct shim_gate *g;
	struct stat st;
	int r = 0;

	if (fd < 0)
		return err_set(err, -errno, "gate file %s: %s", gate_path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(*g))
		return err_set(err, -EBADMSG, "%s is no gate file", gate_path);
	g = mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (g == MAP_FAILED)
		return err_set(err, -errno, "gate file %s: %s", gate_path, strerror(errno));
	if (g->magic != SHIM_GATE_MAGIC) {
		r = err_set(err, -EBADMSG, "%s is no gate file", gate_path);
	} else {
		atomic_fetch_add((_Atomic uint32_t *)&g->wake, 1);
		syscall(SYS_futex, &g->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
	munmap(g, sizeof(*g));
	return r;
}
