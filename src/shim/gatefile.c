/* SPDX-License-Identifier: Apache-2.0 */
#include "gatefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "futex.h"

static struct shim_gate *file;

static int map_checked(int fd)
{
	struct shim_gate *at;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof *at)
		return -EINVAL;
	at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	if (at->magic != SHIM_GATE_MAGIC || at->version != SHIM_WIRE_VERSION) {
		munmap(at, (size_t)st.st_size);
		return -EINVAL;
	}
	file = at;
	return 0;
}

int gatefile_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), ret;

	if (fd < 0)
		return -errno;
	ret = map_checked(fd);
	close(fd);
	return ret;
}

bool gatefile_there(void)
{
	return file != NULL;
}

void gatefile_state(enum shim_state state, bool closed)
{
	if (!file)
		return;
	__atomic_store_n(&file->gate, closed, __ATOMIC_SEQ_CST);
	__atomic_store_n(&file->state, (uint32_t)state, __ATOMIC_SEQ_CST);
}

uint32_t gatefile_wakes(void)
{
	return file ? __atomic_load_n(&file->wake, __ATOMIC_SEQ_CST) : 0;
}

void gatefile_wait(uint32_t wakes)
{
	while (gatefile_wakes() == wakes)
		futex_wait((const _Atomic uint32_t *)&file->wake, wakes, 0, true);
}
