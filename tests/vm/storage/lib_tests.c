/* SPDX-License-Identifier: Apache-2.0 */
/* libhearth-ds, whose path MAP this is. */
#include "guest.h"

#include <fcntl.h>
#include <hearth/ds.h>
#include <sys/mman.h>
#include <unistd.h>

#define AT (20 * MIB + 4096)
#define BYTES (8 * MIB)

struct lib {
	struct hearth_ds *ds;
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	struct hearth_ds_file *file;
	uint8_t *see;                   /* the same memory, by a mapping of our own */
};

static void ok(int rc)
{
	if (rc < 0)
		FAIL("%s (%s)", hearth_ds_error(), strerror(-rc));
}

static void uri(char *ret, size_t bytes)
{
	struct hearth_p2p_device d;
	int node = node_open(O_RDWR);

	CHECK(device_find(node, "ivshmem", &d));
	snprintf(ret, bytes, "ivshmem:%s", d.pci);
	close(node);
}

static struct lib lib_open(const struct hearth_ds_options *options, const char *path, int flags)
{
	struct lib l;
	char name[64];

	uri(name, sizeof(name));
	l.see = region_new(node_open(O_RDWR), AT, BYTES).at;
	ok(hearth_ds_open(options, &l.ds));
	ok(hearth_ds_device(l.ds, name, &l.device));
	ok(hearth_ds_register(l.device, AT, BYTES, &l.memory));
	ok(hearth_ds_file(l.ds, AT_FDCWD, path, flags, &l.file));
	return l;
}

static void lib_close(struct lib *l)
{
	hearth_ds_file_close(l->file);
	hearth_ds_release(l->memory);
	hearth_ds_close(l->ds);
}

static void report(struct lib *l, struct hearth_ds_report *ret)
{
	ok(hearth_ds_probe(l->file, l->memory, ret));
	if (ret->path != HEARTH_DS_MAP)
		FAIL("the path is not map: %s", ret->why[HEARTH_DS_MAP]);
}

static void reads(void)
{
	const struct hearth_ds_options never = { .cache = HEARTH_DS_CACHE_NEVER };
	struct lib l = lib_open(&never, DATA, O_RDONLY);
	struct hearth_ds_report r;

	report(&l, &r);
	SAME(r.why[HEARTH_DS_MAP][0], 0);
	SAME(hearth_ds_read(l.file, l.memory, 0, 0, BYTES), BYTES);     /* the file system's own blocks come now, not later */
	memset(l.see, 0, BYTES);
	dma_begin();
	SAME(hearth_ds_read(l.file, l.memory, 0, MIB, 4 * MIB), 4 * MIB);
	dma_end("hearth_ds_read of 4194304 bytes", 4 * MIB);
	CHECK(expect_data(l.see, MIB, 4 * MIB));
	dma_begin();
	SAME(hearth_ds_read(l.file, l.memory, MIB, 3 * MIB, 64 * KIB), 64 * KIB);
	dma_end("hearth_ds_read of 65536 bytes", 64 * KIB);
	CHECK(expect_data(l.see + MIB, 3 * MIB, 64 * KIB));
	report(&l, &r);
	SAME(r.carried[HEARTH_DS_MAP], BYTES + 4 * MIB + 64 * KIB);
	lib_close(&l);
}

/* Whatever offset, length and alignment: against the words that the file has. */
static void any_alignment(void)
{
	struct lib l = lib_open(NULL, DATA, O_RDONLY);
	uint8_t *copy = pages(DATA_BYTES);
	int fd = open(DATA, O_RDONLY);

	read_all(fd, copy, DATA_BYTES, 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (uint64_t i = 0; i < 150; i++) {
		uint64_t from = mix(i * 3) % (DATA_BYTES - 1), to = mix(i * 3 + 1) % (BYTES - 1), n = 1 + mix(i * 3 + 2) % (i % 3 ? 9000 : 3 * MIB);

		n = n < BYTES - to ? n : BYTES - to;
		SAME(hearth_ds_read(l.file, l.memory, to, from, n), n < DATA_BYTES - from ? n : DATA_BYTES - from);
		n = n < DATA_BYTES - from ? n : DATA_BYTES - from;
		SAME(memcmp(l.see + to, copy + from, n), 0);
	}
	SAME(hearth_ds_read(l.file, l.memory, 0, DATA_BYTES, 1), 0);
	lib_close(&l);
}

static void writes(void)
{
	struct lib l = lib_open(NULL, OUT, O_RDWR);
	uint8_t *back = pages(2 * MIB);
	struct hearth_ds_report r;

	report(&l, &r);
	for (size_t i = 0; i < 2 * MIB; i++)
		l.see[i] = (uint8_t)(mix(i / 8) >> i % 8 * 8);
	SAME(hearth_ds_write(l.file, l.memory, 0, 13 * MIB, MIB), MIB);
	SAME(hearth_ds_write(l.file, l.memory, MIB + 3, 14 * MIB + 5, 100001), 100001);
	SAME(hearth_ds_read(l.file, l.memory, 3 * MIB, 13 * MIB, 2 * MIB), 2 * MIB);
	memcpy(back, l.see + 3 * MIB, 2 * MIB);
	SAME(memcmp(back, l.see, MIB), 0);
	SAME(memcmp(back + MIB + 5, l.see + MIB + 3, 100001), 0);
	SAME(back[MIB + 4], 0xee);
	lib_close(&l);
}

static void queued(void)
{
	const struct hearth_ds_options never = { .cache = HEARTH_DS_CACHE_NEVER };
	struct lib l = lib_open(&never, DATA, O_RDONLY);
	struct hearth_ds_done done[64];
	struct hearth_ds_queue *queue;
	struct hearth_ds_op op[64];
	size_t reaped = 0;

	SAME(hearth_ds_read(l.file, l.memory, 0, 0, BYTES), BYTES);
	memset(l.see, 0, BYTES);
	ok(hearth_ds_queue_open(l.ds, 16, &queue));
	for (uint64_t i = 0; i < 64; i++)
		op[i] = (struct hearth_ds_op){ .file = l.file, .memory = l.memory, .memory_offset = i * 128 * KIB, .file_offset = (63 - i) * 128 * KIB, .bytes = 128 * KIB, .tag = i };
	dma_begin();
	ok(hearth_ds_submit(queue, op, 64));
	while (reaped < 64) {
		ssize_t n = hearth_ds_reap(queue, done, 64, 1, -1);

		CHECK(n > 0);
		for (ssize_t i = 0; i < n; i++) {
			SAME(done[i].result, 128 * KIB);
			SAME(done[i].path, HEARTH_DS_MAP);
		}
		reaped += (size_t)n;
	}
	dma_end("hearth_ds_submit of 64 reads", BYTES);
	for (uint64_t i = 0; i < 64; i++)
		CHECK(expect_data(l.see + i * 128 * KIB, (63 - i) * 128 * KIB, 128 * KIB));
	hearth_ds_queue_close(queue);
	lib_close(&l);
}

/* Where bytes do not arrive the path is not taken, and the reason is told. */
static void untrusted(void)
{
	struct lib l = lib_open(NULL, "/dev/far", O_RDONLY);
	struct hearth_ds_report r;

	ok(hearth_ds_probe(l.file, l.memory, &r));
	SAME(r.path, HEARTH_DS_AUTO);
	CHECK(strstr(r.why[HEARTH_DS_MAP], "host bridges"));
	SAME(hearth_ds_read(l.file, l.memory, 0, 0, PAGE), -EOPNOTSUPP);
	lib_close(&l);
}

static void no_device(void)
{
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	struct hearth_ds *ds;
	char name[64];

	ok(hearth_ds_open(NULL, &ds));
	SAME(hearth_ds_device(ds, "ivshmem:0000:77:00.0", &device), -ENODEV);
	CHECK(strstr(hearth_ds_error(), "0000:77:00.0"));
	uri(name, sizeof(name));
	ok(hearth_ds_device(ds, name, &device));
	SAME(hearth_ds_register(device, 64 * MIB, 1, &memory), -ERANGE);
	CHECK(strstr(hearth_ds_error(), "not memory of this device"));
	hearth_ds_close(ds);
}

const struct test lib_tests[] = {
	{ "libhearth-ds: reads by path map", reads },
	{ "libhearth-ds: any offset, length and alignment", any_alignment },
	{ "libhearth-ds: writes", writes },
	{ "libhearth-ds: a queue", queued },
	{ "libhearth-ds: storage that cannot be trusted", untrusted },
	{ "libhearth-ds: no such device or memory", no_device },
	{ 0 },
};
