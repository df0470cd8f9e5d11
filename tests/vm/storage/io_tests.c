/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between NVMe and the BAR, and by which way they went. */
#include "guest.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Where the last read of the host's check lies in the BAR (tools/vm-storage compares it with the file that backs the BAR). */
#define LEFT_AT (48 * MIB)
#define LEFT_BYTES (4 * MIB)

static void warm(int fd, size_t bytes)
{
	void *p = pages(bytes);

	read_all(fd, p, bytes, 0);      /* the file system's own blocks come now, not later */
	munmap(p, bytes);
}

static void reads(void)
{
	static const size_t bytes[] = { 512, PAGE, GRANULE, MIB, 4 * MIB };
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY);
	struct region r = region_new(node, 0, 8 * MIB);
	char what[64];

	warm(fd, 8 * MIB);
	for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		memset(r.at, 0, bytes[i]);
		dma_begin();
		read_all(fd, r.at, bytes[i], MIB);
		snprintf(what, sizeof(what), "pread O_DIRECT of %zu bytes", bytes[i]);
		dma_end(what, bytes[i]);
		CHECK(expect_data(r.at, MIB, bytes[i]));
	}
	/* 512-aligned in file and memory */
	memset(r.at, 0, MIB);
	dma_begin();
	read_all(fd, r.at + 512, 5 * 512, 3 * 512);
	read_all(fd, r.at + 64 * KIB + 1536, 64 * KIB, 7 * 512);
	dma_end("pread O_DIRECT at 512-byte offsets", 5 * 512 + 64 * KIB);
	CHECK(expect_data(r.at + 512, 3 * 512, 5 * 512));
	CHECK(expect_data(r.at + 64 * KIB + 1536, 7 * 512, 64 * KIB));
	SAME(r.at[511], 0);
	SAME(r.at[6 * 512], 0);
}

static void writes(void)
{
	int node = node_open(O_RDWR), fd = open_direct(OUT, O_RDWR);
	struct region r = region_new(node, 4 * MIB + 512, 8 * MIB);
	uint64_t *back = pages(4 * MIB);

	warm(fd, DATA_BYTES);
	for (size_t i = 0; i < 4 * MIB / 8; i++)
		((volatile uint64_t *)r.at)[i] = mix(i) ^ 0x55;
	dma_begin();
	write_all(fd, r.at, 4 * MIB, 8 * MIB);
	dma_end("pwrite O_DIRECT of 4194304 bytes", 4 * MIB);
	read_all(fd, back, 4 * MIB, 8 * MIB);
	for (size_t i = 0; i < 4 * MIB / 8; i++)
		SAME(back[i], mix(i) ^ 0x55);
	NOTE("vm-out: %lu %lu 0 %d", 8 * MIB, 4 * MIB, 0x55);
}

static void ring_io(bool write, bool fixed)
{
	int node = node_open(O_RDWR), fd = open_direct(write ? OUT : DATA, O_RDWR);
	struct region r = region_new(node, 16 * MIB, 8 * MIB);
	struct iovec iov = { r.at, 4 * MIB };
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	size_t done = 0;
	char what[64];
	int rc;

	warm(fd, 8 * MIB);
	SAME(io_uring_queue_init(32, &ring, 0), 0);
	if (fixed) {
		struct utsname u;

		rc = io_uring_register_buffers(&ring, &iov, 1);
		uname(&u);
		if (rc == -EOPNOTSUPP && !strncmp(u.release, "6.1.", 4)) {
			/* that kernel takes no mapping of a file but of shared memory */
			io_uring_queue_exit(&ring);
			return;
		}
		SAME(rc, 0);
	}
	if (write)
		for (size_t i = 0; i < 4 * MIB / 8; i++)
			((volatile uint64_t *)r.at)[i] = mix(MIB / 8 + i);
	dma_begin();
	for (size_t at = 0; at < 4 * MIB; at += 256 * KIB) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (fixed)
			io_uring_prep_read_fixed(sqe, fd, r.at + at, 256 * KIB, at + MIB, 0);
		else if (write)
			io_uring_prep_write(sqe, fd, r.at + at, 256 * KIB, at + MIB);
		else
			io_uring_prep_read(sqe, fd, r.at + at, 256 * KIB, at + MIB);
	}
	SAME(io_uring_submit(&ring), 16);
	for (; done < 16; done++) {
		SAME(io_uring_wait_cqe(&ring, &cqe), 0);
		SAME(cqe->res, 256 * KIB);
		io_uring_cqe_seen(&ring, cqe);
	}
	snprintf(what, sizeof(what), "io_uring %s%s, 16 in flight", write ? "write" : "read", fixed ? " into registered memory" : "");
	dma_end(what, 4 * MIB);
	if (write) {
		void *back = pages(4 * MIB);

		read_all(fd, back, 4 * MIB, MIB);
		CHECK(expect_data(back, MIB, 4 * MIB));
		NOTE("vm-out: %lu %lu %lu 0", MIB, 4 * MIB, MIB);
	} else {
		CHECK(expect_data(r.at, MIB, 4 * MIB));
	}
	io_uring_queue_exit(&ring);
}

static void ring_reads(void)
{
	ring_io(false, false);
}

static void ring_writes(void)
{
	ring_io(true, false);
}

static void ring_fixed(void)
{
	ring_io(false, true);
}

/* A copy by the processor, for comparison: the host must count these bytes elsewhere, or its counting is worth nothing. */
static void buffered(void)
{
	int node = node_open(O_RDWR), fd = open(DATA, O_RDONLY);
	struct region r = region_new(node, 0, MIB);

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	dma_begin();
	read_all(fd, r.at, MIB, 8 * MIB);
	dma_end("staged: pread through the page cache", MIB);
	CHECK(expect_data(r.at, 8 * MIB, MIB));
}

/* Left in the BAR, for the host to look at. */
static void left(void)
{
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY);
	struct region r = region_new(node, LEFT_AT, LEFT_BYTES);

	read_all(fd, r.at, LEFT_BYTES, 2 * MIB);
	NOTE("vm-bar: %lu %lu %lu", LEFT_AT, LEFT_BYTES, 2 * MIB);
}

const struct test io_tests[] = {
	{ "io: O_DIRECT reads into the BAR", reads },
	{ "io: O_DIRECT writes from the BAR", writes },
	{ "io: io_uring reads", ring_reads },
	{ "io: io_uring writes", ring_writes },
	{ "io: io_uring reads into registered memory", ring_fixed },
	{ "io: reads through the page cache", buffered },
	{ "io: left for the host", left },
	{ 0 },
};
