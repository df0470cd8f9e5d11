/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "private.h"

/*
 * One file, "lock": its first page holds the counters, its bytes are locked as open file description locks, which end with the process. Byte 0 is the store's lock;
 * the others stand for packs and drafts, far behind the end of the file. Two descriptions, since locks of one and the same never exclude each other: use_fd says
 * what this handle uses (shared), lock_fd has the store's lock and asks whether something is in use (exclusive).
 */
static off_t byte_of(int kind, uint32_t id)
{
	return kind == LOCK_ALL ? 0 : ((off_t)kind << 40) + id;
}

static int set(int fd, short type, int kind, uint32_t id, bool wait)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte_of(kind, id), .l_len = 1 };

	while (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &fl) < 0)
		if (errno != EINTR)
			return errno == EACCES ? -EAGAIN : -errno;
	return 0;
}

int lock_open(struct store *s)
{
	char path[PATH_MAX];
	struct stat st;
	void *map;

	store_path(s, path, "lock", NULL);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return -errno;
	s->use_fd = open(path, O_RDWR | O_CLOEXEC);
	if (s->use_fd < 0 || fstat(s->lock_fd, &st) < 0)
		return -errno;
	/* all who come first do the same thing; never shorter, so no counter is lost */
	if (st.st_size < (off_t)STORE_PAGE && ftruncate(s->lock_fd, STORE_PAGE) < 0)
		return -errno;
	map = mmap(NULL, STORE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s->lock_fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	s->state = map;
	return 0;
}

void lock_forked(struct store *s)
{
	fd_close(&s->use_fd);
	fd_close(&s->lock_fd);
}

void lock_close(struct store *s)
{
	if (s->state)
		munmap(s->state, STORE_PAGE);
	lock_forked(s);
}

int lock_all(struct store *s, bool exclusive)
{
	int r;

	pthread_mutex_lock(&s->all_lock);
	r = set(s->lock_fd, exclusive ? F_WRLCK : F_RDLCK, LOCK_ALL, 0, true);
	if (r < 0)
		pthread_mutex_unlock(&s->all_lock);
	return r;
}

void unlock_all(struct store *s)
{
	(void)set(s->lock_fd, F_UNLCK, LOCK_ALL, 0, false);
	pthread_mutex_unlock(&s->all_lock);
}

int use_take(struct store *s, int kind, uint32_t id)
{
	return set(s->use_fd, F_RDLCK, kind, id, false);
}

void use_drop(struct store *s, int kind, uint32_t id)
{
	(void)set(s->use_fd, F_UNLCK, kind, id, false);
}

bool use_nobody(struct store *s, int kind, uint32_t id)
{
	return set(s->lock_fd, F_WRLCK, kind, id, false) == 0;
}

void use_nobody_drop(struct store *s, int kind, uint32_t id)
{
	(void)set(s->lock_fd, F_UNLCK, kind, id, false);
}
