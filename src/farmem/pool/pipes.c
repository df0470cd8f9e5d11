/* SPDX-License-Identifier: Apache-2.0 */
#include "pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define RING_BYTES (4u << 20)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

/* One direction. written, read: counts that only go up; each has one writer. waits_data: the reader sleeps; waits_room: the writer does. */
struct ring {
	_Alignas(64) _Atomic uint64_t written;
	_Atomic uint32_t waits_room;
	_Alignas(64) _Atomic uint64_t read;
	_Atomic uint32_t waits_data;
	_Alignas(4096) uint8_t data[RING_BYTES];
};

struct shared {
	struct ring to_pool, to_client;
};

/* my_written, my_read: this side's counts, which the other side could write over in the memory */
struct pipes {
	struct shared *shared;
	struct ring *in, *out;
	uint64_t my_read, my_written;
	bool moved_in, moved_out;
};

static int map(int fd, bool pool, struct pipes **ret)
{
	struct pipes *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->shared = mmap(NULL, sizeof(*p->shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p->shared == MAP_FAILED) {
		int r = -errno;

		free(p);
		return r;
	}
	p->in = pool ? &p->shared->to_pool : &p->shared->to_client;
	p->out = pool ? &p->shared->to_client : &p->shared->to_pool;
	*ret = p;
	return 0;
}

int pipes_make(int sock, struct pipes **ret)
{
	int FD_AUTO fd = memfd_create("hearth-pool-pipes", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct pipes *p = NULL;
	int r;

	if (fd < 0 || ftruncate(fd, sizeof(struct shared)) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return -errno;
	r = map(fd, false, &p);
	if (r < 0)
		return r;
	/* both begin asleep: the first to write wakes the other */
	atomic_store(&p->in->waits_data, 1);
	atomic_store(&p->out->waits_data, 1);
	r = sock_send_fd(sock, 'P', fd);
	if (r < 0) {
		pipes_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int pipes_take(int sock, struct pipes **ret)
{
	int FD_AUTO fd = -1;
	struct stat st;
	char what;
	int r = sock_recv_fd(sock, &what, &fd);

	if (r <= 0)
		return r == 0 ? -ECONNRESET : r == -EAGAIN ? 0 : r;
	/* one that could become shorter would kill us at a touch */
	if (what != 'P' || fd < 0 || fstat(fd, &st) < 0 || st.st_size != sizeof(struct shared) || (fcntl(fd, F_GET_SEALS) & SEALS) != SEALS)
		return -EPROTO;
	r = map(fd, true, ret);
	return r < 0 ? r : 1;
}

struct pipes *pipes_free(struct pipes *p)
{
	if (p)
		munmap(p->shared, sizeof(*p->shared));
	free(p);
	return NULL;
}

static void copy_out(uint8_t *to, const struct ring *r, uint64_t at, size_t n)
{
	size_t first = RING_BYTES - at % RING_BYTES;

	first = n < first ? n : first;
	memcpy(to, r->data + at % RING_BYTES, first);
	memcpy(to + first, r->data, n - first);
}

static void copy_in(struct ring *r, uint64_t at, const uint8_t *from, size_t n)
{
	size_t first = RING_BYTES - at % RING_BYTES;

	first = n < first ? n : first;
	memcpy(r->data + at % RING_BYTES, from, first);
	memcpy(r->data, from + first, n - first);
}

/* What there is to be had: nothing only after the other side has been told, and has had its chance to have moved before that. */
static uint64_t look(_Atomic uint32_t *waits, _Atomic uint64_t *theirs, uint64_t mine, uint64_t none)
{
	uint64_t n = atomic_load_explicit(theirs, memory_order_acquire);

	if (n != mine + none)
		return n;
	atomic_store(waits, 1);
	return atomic_load(theirs);
}

ssize_t pipes_read(struct pipes *p, void *data, size_t n)
{
	uint64_t there = look(&p->in->waits_data, &p->in->written, p->my_read, 0) - p->my_read;

	if (there > RING_BYTES)
		return -EPROTO;
	n = there < n ? (size_t)there : n;
	copy_out(data, p->in, p->my_read, n);
	p->my_read += n;
	p->moved_in |= n > 0;
	atomic_store(&p->in->read, p->my_read);
	return (ssize_t)n;
}

ssize_t pipes_write(struct pipes *p, const void *data, size_t n)
{
	uint64_t used, room;

	/* full is when they have read no more than what was written a ring ago */
	used = p->my_written - look(&p->out->waits_room, &p->out->read, p->my_written, (uint64_t)0 - RING_BYTES);
	if (used > RING_BYTES)
		return -EPROTO;
	room = RING_BYTES - used;
	if (room < n)
		atomic_store(&p->out->waits_room, 1);
	n = room < n ? (size_t)room : n;
	copy_in(p->out, p->my_written, data, n);
	p->my_written += n;
	p->moved_out |= n > 0;
	atomic_store(&p->out->written, p->my_written);
	return (ssize_t)n;
}

void pipes_wake(struct pipes *p, int sock)
{
	bool wake = p->moved_out && atomic_exchange(&p->out->waits_data, 0);

	wake |= p->moved_in && atomic_exchange(&p->in->waits_room, 0);
	p->moved_in = p->moved_out = false;
	/* a socket that is full of these wakes it as well */
	if (wake)
		(void)!send(sock, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}
