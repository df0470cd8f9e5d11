/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs are read and written through libhearth-ds: contexts of a store, from the first byte on. What is in memory is read as it is; on disks the page cache serves what it has, and the rest
 * comes and goes beside it, but for short reads: they are made one after another, and it is the kernel's readahead that makes them fast. A read is made in the caller's thread, so that who only reads has no thread and no ring of requests.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "private.h"

#define SHORT_BYTES (2u << 20)
#define HUGE_BYTES (2u << 20)           /* pages that a direct read or write finds with one look instead of 512 */

/*
 * Under packs_lock. A context is of no use in a child of the process that made it: who reads on there has one of its own, and leaves the parent's, locks and all, as it is.
 */
static int context(struct store *s, int way)
{
	const struct hearth_ds_options o = { .cache = way == IO_CACHED ? HEARTH_DS_CACHE_ALWAYS : HEARTH_DS_CACHE_AUTO };
	struct hearth_ds_device *host;
	struct hearth_ds *ds;
	pid_t pid = getpid();
	int r;

	if (s->io[way].ds && s->io[way].pid == pid)
		return 0;
	r = hearth_ds_open(&o, &ds);
	if (r < 0)
		return r;
	r = hearth_ds_device(ds, "host", &host);
	if (r < 0)
		hearth_ds_close(ds);
	else
		s->io[way] = (struct io){ ds, host, pid };
	return r;
}

void *io_room(size_t bytes)
{
	void *room = aligned_alloc(HUGE_BYTES, bytes);

	if (room)
		(void)madvise(room, bytes, MADV_HUGEPAGE);
	return room;
}

int io_get(struct store *s, struct io *ret)
{
	int r;

	pthread_mutex_lock(&s->packs_lock);
	r = context(s, IO_DIRECT);
	if (r == 0)
		*ret = s->io[IO_DIRECT];
	pthread_mutex_unlock(&s->packs_lock);
	return r;
}

static int file_for(struct store *s, struct pack *p, int way, struct hearth_ds_file **ret, struct hearth_ds_device **ret_host)
{
	int r;

	pthread_mutex_lock(&s->packs_lock);
	r = context(s, way);
	if (r == 0 && p->file_of[way] != s->io[way].ds) {
		r = pack_fd_locked(s, p);
		if (r >= 0)
			r = hearth_ds_file_of(s->io[way].ds, r, &p->file[way]);
		if (r == 0)
			p->file_of[way] = s->io[way].ds;
	}
	*ret = p->file[way];
	*ret_host = s->io[way].host;
	pthread_mutex_unlock(&s->packs_lock);
	return r;
}

ssize_t io_read(struct store *s, struct pack *p, void *to, size_t n, uint64_t at)
{
	struct hearth_ds_memory *memory;
	struct hearth_ds_device *host;
	struct hearth_ds_file *file;
	ssize_t got;
	int r = file_for(s, p, s->memory || n < SHORT_BYTES ? IO_CACHED : IO_DIRECT, &file, &host);

	if (r == 0)
		r = hearth_ds_register(host, (uintptr_t)to, n, &memory);
	if (r < 0)
		return r;
	got = hearth_ds_read(file, memory, 0, at, n);
	hearth_ds_release(memory);
	return got;
}
