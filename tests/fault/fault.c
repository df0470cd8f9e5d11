/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "fault.h"

/* of all threads: a store writes from one of its own */
static atomic_bool armed, fired;
static _Thread_local bool paused;
static enum fault_kind armed_kind;
static atomic_uint left;
static int armed_error;
static const char *_Atomic last = "";
static atomic_long live_blocks;

void fault_arm(enum fault_kind kind, unsigned nth, int error)
{
	armed_kind = kind;
	left = nth;
	armed_error = error;
	fired = false;
	last = "";
	armed = true;
}

bool fault_disarm(void)
{
	armed = false;
	return fired;
}

const char *fault_last(void)
{
	return last;
}

void fault_pause(bool on)
{
	paused = on;
}

long fault_live_blocks(void)
{
	return live_blocks;
}

unsigned fault_open_fds(void)
{
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");

	if (dir == NULL)
		return 0;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static bool due(bool alloc)
{
	if (!armed || paused || alloc != (armed_kind == FAULT_ALLOC) || left == 0 || atomic_fetch_sub(&left, 1) != 1)
		return false;
	fired = true;
	return true;
}

bool fault_syscall(const char *name)
{
	if (!due(false))
		return false;
	if (armed_kind == FAULT_DIE)
		_exit(99);
	last = name;
	errno = armed_error;
	return true;
}

/* name, parameters, arguments */
#define WRAP(ret, name, params, args) \
	ret __real_##name params; \
	ret __wrap_##name params; \
	ret __wrap_##name params { return fault_syscall(#name) ? (ret)-1 : __real_##name args; }

WRAP(ssize_t, read, (int fd, void *data, size_t n), (fd, data, n))
WRAP(ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, renameat, (int from_dir, const char *from, int to_dir, const char *to), (from_dir, from, to_dir, to))
WRAP(ssize_t, getrandom, (void *data, size_t n, unsigned flags), (data, n, flags))
WRAP(int, statx, (int fd, const char *path, int flags, unsigned mask, void *out), (fd, path, flags, mask, out))
WRAP(int, renameat2, (int from_dir, const char *from, int to_dir, const char *to, unsigned flags), (from_dir, from, to_dir, to, flags))
WRAP(ssize_t, pread64, (int fd, void *data, size_t n, int64_t at), (fd, data, n, at))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t n, int64_t at), (fd, data, n, at))
WRAP(int, ftruncate64, (int fd, int64_t n), (fd, n))
WRAP(int, fallocate64, (int fd, int mode, int64_t at, int64_t n), (fd, mode, at, n))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(int, eventfd, (unsigned first, int flags), (first, flags))
WRAP(int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, bind, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP(int, listen, (int fd, int backlog), (fd, backlog))

/* open has a mode only sometimes; the names end in 64 because of _FILE_OFFSET_BITS */
int __real_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode)
{
	return fault_syscall("open") ? -1 : __real_open64(path, flags, mode);
}

int __real_openat64(int dirfd, const char *path, int flags, mode_t mode);
int __wrap_openat64(int dirfd, const char *path, int flags, mode_t mode);
int __wrap_openat64(int dirfd, const char *path, int flags, mode_t mode)
{
	return fault_syscall("openat") ? -1 : __real_openat64(dirfd, path, flags, mode);
}

int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st)
{
	return fault_syscall("fstat") ? -1 : __real_fstat64(fd, st);
}

/* giving a lock back cannot fail */
int __real_fcntl64(int fd, int command, void *arg);
int __wrap_fcntl64(int fd, int command, void *arg);
int __wrap_fcntl64(int fd, int command, void *arg)
{
	bool lock = command == F_OFD_SETLK || command == F_OFD_SETLKW;

	if (!(lock && ((struct flock *)arg)->l_type == F_UNLCK) && fault_syscall("fcntl"))
		return -1;
	return __real_fcntl64(fd, command, arg);
}

/* a close that fails has closed all the same */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	bool fails = fault_syscall("close");
	int r = __real_close(fd);

	if (fails)
		errno = armed_error;
	return fails ? -1 : r;
}

/* glibc's own allocator under its own names; whatever is linked finds these before it */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);
void *malloc(size_t n);
void *calloc(size_t count, size_t n);
void *realloc(void *p, size_t n);
void *reallocarray(void *p, size_t count, size_t n);
void *aligned_alloc(size_t alignment, size_t n);
void free(void *p);

static void *counted(void *p)
{
	if (p != NULL)
		live_blocks++;
	return p;
}

static bool alloc_fails(void)
{
	if (!due(true))
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t n)
{
	return alloc_fails() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t count, size_t n)
{
	return alloc_fails() ? NULL : counted(__libc_calloc(count, n));
}

void *realloc(void *p, size_t n)
{
	if (alloc_fails())
		return NULL;
	if (p == NULL)
		return counted(__libc_malloc(n));
	if (n == 0)
		live_blocks--;
	return __libc_realloc(p, n);
}

/* glibc's own calls its realloc directly */
void *reallocarray(void *p, size_t count, size_t n)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, n, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}

void *aligned_alloc(size_t alignment, size_t n)
{
	return alloc_fails() ? NULL : counted(__libc_memalign(alignment, n));
}

void free(void *p)
{
	if (p != NULL)
		live_blocks--;
	__libc_free(p);
}
