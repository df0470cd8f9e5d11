/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake.h"

/*
 * Physical memory is a memfd. Behind its bytes is one page that says what it is, for whoever imports it. It is never mapped.
 */
#define FIRST_VA 0x7a0000000000ull
struct trailer { uint64_t magic, bytes; int32_t entry; uint32_t device; CUmemAllocationProp prop; };
#define TRAILER_MAGIC 0x2d656b6166676174ull

static int memfd_make(const struct phys *p)
{
	struct trailer t = { .magic = TRAILER_MAGIC, .bytes = p->bytes, .entry = p->entry, .device = p->device, .prop = p->prop };
	int fd = memfd_create("fake-cuda-memory", MFD_CLOEXEC);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)(p->bytes + PAGE_BYTES)) < 0 || pwrite(fd, &t, sizeof(t), (off_t)p->bytes) != sizeof(t)) {
		close(fd);
		return -1;
	}
	return fd;
}

CUresult phys_new(const CUmemAllocationProp *prop, uint64_t bytes, bool shareable, struct phys **ret)
{
	struct phys *p = calloc(1, sizeof(*p));
	CUresult r;

	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*p = (struct phys){ .bytes = bytes, .device = (unsigned)prop->location.id, .prop = *prop, .shareable = shareable, .fd = -1 };
	r = machine_take(p->device, bytes, &p->entry);
	if (r) {
		free(p);
		return r;
	}
	p->fd = memfd_make(p);
	if (p->fd < 0) {
		machine_drop(p->entry);
		free(p);
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	p->next = fake.phys;
	fake.phys = p;
	*ret = p;
	return CUDA_SUCCESS;
}

CUresult phys_import(int fd, struct phys **ret)
{
	struct trailer t;
	struct stat st;
	struct phys *p;

	if (fstat(fd, &st) < 0 || st.st_size <= (off_t)PAGE_BYTES || pread(fd, &t, sizeof(t), st.st_size - (off_t)PAGE_BYTES) != sizeof(t) || t.magic != TRAILER_MAGIC ||
	    t.bytes + PAGE_BYTES != (uint64_t)st.st_size)
		return CUDA_ERROR_INVALID_VALUE;
	p = calloc(1, sizeof(*p));
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*p = (struct phys){ .bytes = t.bytes, .device = t.device, .entry = t.entry, .prop = t.prop, .shareable = true, .imported = true };
	p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (p->fd < 0) {
		free(p);
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	machine_hold(p->entry);
	p->next = fake.phys;
	fake.phys = p;
	*ret = p;
	return CUDA_SUCCESS;
}

/* another handle of this process may be of the same memory */
static bool entry_shared(const struct phys *p)
{
	for (const struct phys *o = fake.phys; o; o = o->next)
		if (o != p && o->entry == p->entry)
			return true;
	return false;
}

void phys_put(struct phys *p)
{
	if (p->handles || p->mappings)
		return;
	for (struct phys **at = &fake.phys; *at; at = &(*at)->next) {
		if (*at != p)
			continue;
		*at = p->next;
		break;
	}
	if (p->fd >= 0) {
		close(p->fd);
		if (!entry_shared(p))
			machine_drop(p->entry);
	}
	if (p->saved)
		munmap(p->saved, p->bytes);
	free(p);
}

CUresult va_reserve(uint64_t bytes, uint64_t align, uint64_t hint, uint64_t *ret)
{
	static uint64_t next = FIRST_VA;
	uint64_t want = hint ? hint : next, got, start;
	char *p;

	if (align < GRANULARITY)
		align = GRANULARITY;
	want = (want + align - 1) / align * align;
	p = mmap((void *)want, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (p != MAP_FAILED) {
		if (!hint)
			next = want + bytes;
		*ret = want;
		return CUDA_SUCCESS;
	}
	p = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	got = (uint64_t)p;
	start = (got + align - 1) / align * align;
	if (start > got)
		munmap(p, start - got);
	munmap((void *)(start + bytes), got + align - start);
	*ret = start;
	return CUDA_SUCCESS;
}

static int prot_of(const struct mapping *m)
{
	int prot = PROT_NONE;

	for (int k = 0; k < FAKE_DEVICES_MAX; k++)
		prot |= m->access[k] == CU_MEM_ACCESS_FLAGS_PROT_READWRITE ? PROT_READ | PROT_WRITE : m->access[k] == CU_MEM_ACCESS_FLAGS_PROT_READ ? PROT_READ : 0;
	return prot;
}

static bool map_file(const struct mapping *m)
{
	if (mmap((void *)m->at.va, m->at.bytes, prot_of(m), MAP_SHARED | MAP_FIXED, m->phys->fd, (off_t)m->offset) == MAP_FAILED)
		return false;
	madvise((void *)m->at.va, m->at.bytes, MADV_DONTFORK);
	return true;
}

static void map_nothing(const struct mapping *m)
{
	mmap((void *)m->at.va, m->at.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

CUresult map_new(uint64_t va, struct phys *p, uint64_t offset, uint64_t bytes, struct mapping **ret)
{
	struct mapping *m = calloc(1, sizeof(*m));

	if (!m)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*m = (struct mapping){ .at = { va, bytes }, .phys = p, .offset = offset };
	if (!table_add(&fake.mappings, &m->at)) {
		free(m);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (!map_file(m)) {
		table_remove(&fake.mappings, &m->at);
		free(m);
		return CUDA_ERROR_MAP_FAILED;
	}
	p->mappings++;
	*ret = m;
	return CUDA_SUCCESS;
}

CUresult map_protect(struct mapping *m)
{
	return mprotect((void *)m->at.va, m->at.bytes, prot_of(m)) < 0 ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS;
}

void map_free(struct mapping *m)
{
	map_nothing(m);
	table_remove(&fake.mappings, &m->at);
	m->phys->mappings--;
	phys_put(m->phys);
	free(m);
}

/* only what was ever written; holes stay holes */
static bool contents_move(int fd, char *mem, uint64_t bytes, bool out)
{
	off_t at = 0, end;

	while (at < (off_t)bytes) {
		if (out) {
			at = lseek(fd, at, SEEK_DATA);
			if (at < 0 || at >= (off_t)bytes)
				return at >= 0 || errno == ENXIO;
			end = lseek(fd, at, SEEK_HOLE);
			if (end < 0)
				return false;
		} else {
			end = (off_t)bytes;
		}
		if (end > (off_t)bytes)
			end = (off_t)bytes;
		while (at < end) {
			ssize_t n = out ? pread(fd, mem + at, (size_t)(end - at), at) : pwrite(fd, mem + at, (size_t)(end - at), at);

			if (n <= 0)
				return false;
			at += n;
		}
	}
	return true;
}

CUresult phys_save(struct phys *p)
{
	char *mem = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (!contents_move(p->fd, mem, p->bytes, true)) {
		munmap(mem, p->bytes);
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	for (size_t k = 0; k < fake.mappings.n; k++) {
		struct mapping *m = (struct mapping *)fake.mappings.v[k];

		if (m->phys == p)
			map_nothing(m);
	}
	close(p->fd);
	p->fd = -1;
	p->saved = mem;
	if (!entry_shared(p) && p->entry >= 0)
		machine_drop(p->entry);
	p->entry = -1;
	return CUDA_SUCCESS;
}

CUresult phys_load(struct phys *p)
{
	CUresult r = machine_take(p->device, p->bytes, &p->entry);

	if (r)
		return r;
	p->fd = memfd_make(p);
	if (p->fd < 0 || !contents_move(p->fd, p->saved, p->bytes, false))
		goto err;
	for (size_t k = 0; k < fake.mappings.n; k++) {
		struct mapping *m = (struct mapping *)fake.mappings.v[k];

		if (m->phys == p && !map_file(m))
			goto err;
	}
	munmap(p->saved, p->bytes);
	p->saved = NULL;
	return CUDA_SUCCESS;
err:
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	machine_drop(p->entry);
	p->entry = -1;
	return CUDA_ERROR_OPERATING_SYSTEM;
}
