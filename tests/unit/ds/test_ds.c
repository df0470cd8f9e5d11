/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define MIB (1u << 20)
#define ANY (RIG_CUDA ? "cuda:0" : "host")

/* ---- what is refused, and in which words ---- */

#if RIG_CUDA
static void options_and_names(void **state)
{
	struct hearth_ds_options o = { .zero = { 1 } };
	struct hearth_ds *ds = NULL;
	struct hearth_ds_device *d, *again;

	assert_int_equal(hearth_ds_open(&o, &ds), -EINVAL);
	assert_non_null(strstr(hearth_ds_error(), "zero"));
	o = (struct hearth_ds_options){ .path = HEARTH_DS_PATHS };
	assert_int_equal(hearth_ds_open(&o, &ds), -EINVAL);
	assert_null(ds);
	assert_int_equal(hearth_ds_open(NULL, &ds), 0);
	assert_int_equal(hearth_ds_device(ds, "gpu", &d), -EINVAL);
	assert_non_null(strstr(hearth_ds_error(), "cuda:N"));
	assert_int_equal(hearth_ds_device(ds, "cuda:", &d), -EINVAL);
	assert_int_equal(hearth_ds_device(ds, "cuda:0x", &d), -EINVAL);
	assert_int_equal(hearth_ds_device(ds, "cuda:7", &d), -ENODEV);
	assert_int_equal(hearth_ds_device(ds, "host", &d), 0);
	assert_int_equal(hearth_ds_device(ds, "host", &again), 0);
	assert_ptr_equal(d, again);
	assert_string_equal(hearth_ds_path_name(HEARTH_DS_STAGE), "stage");
	assert_null(hearth_ds_path_name(HEARTH_DS_PATHS));
	assert_null(hearth_ds_close(ds));
	assert_null(hearth_ds_close(NULL));
}

#endif

static void wrong_ranges(void **state)
{
	struct hearth_ds_memory *m;
	struct rig g;

	rig_open(&g, "host", "/dev/shm", 10000, MIB, NULL);
	assert_int_equal(hearth_ds_register(g.device, g.at, 0, &m), -EINVAL);
	assert_int_equal(hearth_ds_register(g.device, UINT64_MAX - 10, 100, &m), -EINVAL);
	assert_int_equal(hearth_ds_read(g.file, g.memory, MIB, 0, 1), -EINVAL);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 1, 0, MIB), -EINVAL);
	assert_int_equal(hearth_ds_read(g.file, g.memory, SIZE_MAX, 0, 2), -EINVAL);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, INT64_MAX, 1), -EINVAL);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, UINT64_MAX, 1), -EINVAL);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 0), 0);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 10000, 1), 0);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 9999, 5), 1);
	rig_close(&g);
}

static void files(void **state)
{
	struct hearth_ds_file *f;
	int pipes[2], fd;
	struct rig g;

	rig_open(&g, "host", NULL, 10000, MIB, NULL);
	assert_int_equal(hearth_ds_file(g.ds, AT_FDCWD, "/nothing/there", O_RDONLY, &f), -ENOENT);
	assert_non_null(strstr(hearth_ds_error(), "/nothing/there"));
	assert_int_equal(hearth_ds_file(g.ds, AT_FDCWD, "/tmp", O_RDONLY, &f), -EINVAL);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(hearth_ds_file_of(g.ds, pipes[0], &f), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(hearth_ds_file_of(g.ds, pipes[0], &f), -EBADF);
	/* for reading only, for writing only, at the end only */
	assert_int_equal(hearth_ds_file(g.ds, AT_FDCWD, g.path, O_RDONLY, &f), 0);
	assert_int_equal(hearth_ds_write(f, g.memory, 0, 0, 1), -EBADF);
	hearth_ds_file_close(f);
	assert_int_equal(hearth_ds_file(g.ds, AT_FDCWD, g.path, O_WRONLY, &f), 0);
	assert_int_equal(hearth_ds_read(f, g.memory, 0, 0, 1), -EBADF);
	hearth_ds_file_close(f);
	assert_int_equal(hearth_ds_file(g.ds, AT_FDCWD, g.path, O_RDWR | O_APPEND, &f), 0);
	assert_int_equal(hearth_ds_write(f, g.memory, 0, 0, 1), -EINVAL);
	hearth_ds_file_close(f);
	/* a descriptor stays the caller's, with its offset and flags */
	fd = open(g.path, O_RDONLY | O_DIRECT);
	assert_true(fd >= 0);
	assert_int_equal(lseek(fd, 4096, SEEK_SET), 4096);
	assert_int_equal(hearth_ds_file_of(g.ds, fd, &f), 0);
	assert_int_equal(hearth_ds_read(f, g.memory, 3, 5, 9000), 9000);
	memcpy(g.want + 3, g.shadow + 5, 9000);
	hearth_ds_file_close(f);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 4096);
	assert_true(fcntl(fd, F_GETFL) & O_DIRECT);
	close(fd);
	rig_compare_memory(&g);
	rig_close(&g);
}

/* files that are not what stat() says, or mostly holes */
static void odd_files(void **state)
{
	struct hearth_ds_file *f;
	struct rig g;
	ssize_t n;

	rig_open(&g, "host", NULL, 10000, 4 * MIB, NULL);
	assert_int_equal(hearth_ds_file(g.ds, AT_FDCWD, "/proc/self/status", O_RDONLY, &f), 0);
	n = hearth_ds_read(f, g.memory, 0, 0, 100000);
	assert_true(n > 5 && n < 100000);
	assert_memory_equal(rig_peek(&g, 0, 5), "Name:", 5);
	memcpy(g.want, rig_peek(&g, 0, (size_t)n), (size_t)n);
	hearth_ds_file_close(f);
	assert_int_equal(ftruncate(g.fd, 3 * MIB + 77), 0);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 11, 0, 4 * MIB - 11), 3 * MIB + 77);
	memset(g.want + 11, 0, 3 * MIB + 77);
	memcpy(g.want + 11, g.shadow, 10000);
	rig_compare_memory(&g);
	rig_close(&g);
}

#if RIG_CUDA
/* ---- which path, and why ---- */

static void probe(void **state)
{
	struct hearth_ds_options only = { .path = HEARTH_DS_MAP };
	struct hearth_ds_report r;
	struct rig g;

	rig_open(&g, "host", NULL, 10000, MIB, NULL);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 5000), 5000);
	assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_HOST);
	assert_int_equal(r.carried[HEARTH_DS_HOST], 5000);
	assert_string_equal(r.why[HEARTH_DS_HOST], "");
	assert_string_not_equal(r.why[HEARTH_DS_MAP], "");
	assert_string_not_equal(r.why[HEARTH_DS_STAGE], "");
	assert_true(r.offset_align >= 1 && r.offset_align <= 4096);
	rig_close(&g);
	rig_open(&g, "cuda:0", NULL, 10000, MIB, NULL);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 6000), 6000);
	assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_STAGE);
	assert_int_equal(r.carried[HEARTH_DS_STAGE], 6000);
	assert_string_equal(r.why[HEARTH_DS_STAGE], "");
	assert_non_null(strstr(r.why[HEARTH_DS_MAP], "hearth_p2p"));
	assert_string_not_equal(r.why[HEARTH_DS_CUFILE], "");
	rig_close(&g);
	/* a path that cannot be is not replaced when it is the only one to take */
	rig_open(&g, "cuda:0", NULL, 10000, MIB, &only);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 6000), -EOPNOTSUPP);
	assert_non_null(strstr(hearth_ds_error(), "hearth_p2p"));
	assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_AUTO);
	assert_non_null(strstr(r.why[HEARTH_DS_STAGE], "only path map"));
	rig_close(&g);
}

#endif

/* a released memory's place is taken by another, which begins anew */
static void pairs(void **state)
{
	struct hearth_ds_report r;
	struct hearth_ds_memory *m;
	struct rig g;

	rig_open(&g, "host", "/dev/shm", 10000, MIB, NULL);
	for (int k = 0; k < 200; k++) {
		assert_int_equal(hearth_ds_register(g.device, g.at, MIB, &m), 0);
		assert_int_equal(hearth_ds_read(g.file, m, 0, 0, 100), 100);
		assert_int_equal(hearth_ds_probe(g.file, m, &r), 0);
		assert_int_equal(r.carried[HEARTH_DS_HOST], 100);
		assert_null(hearth_ds_release(m));
	}
	rig_close(&g);
}

/* ---- queues ---- */

static void queue_order_and_errors(void **state)
{
	struct hearth_ds_queue *q;
	struct hearth_ds_done done[16];
	struct pollfd pfd;
	struct rig g;

	rig_open(&g, ANY, NULL, 64 * 4096, MIB, NULL);
	assert_int_equal(hearth_ds_queue_open(g.ds, 5000, &q), -EINVAL);
	assert_int_equal(hearth_ds_queue_open(g.ds, 4, &q), 0);
	/* nothing under way: nothing to wait for */
	assert_int_equal(hearth_ds_reap(q, done, 16, 1, -1), 0);
	pfd = (struct pollfd){ .fd = hearth_ds_queue_fd(q), .events = POLLIN };
	assert_true(pfd.fd >= 0);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	struct hearth_ds_op ops[] = {
		{ g.file, g.memory, 0, 0, 4096, 1, HEARTH_DS_READ, 0 },
		{ g.file, g.memory, MIB, 0, 1, 2, HEARTH_DS_READ, 0 },             /* not within the memory */
		{ g.file, g.memory, 0, 0, 1, 3, 7, 0 },                            /* no such kind */
		{ NULL, g.memory, 0, 0, 1, 4, HEARTH_DS_READ, 0 },
		{ g.file, g.memory, 8192, 63 * 4096, 8192, 5, HEARTH_DS_READ, 0 }, /* across the end */
		{ g.file, g.memory, 20000, 1 << 30, 1, 6, HEARTH_DS_READ, 0 },     /* beyond it */
		{ g.file, g.memory, 30000, 0, 0, 7, HEARTH_DS_READ, 0 },           /* nothing at all */
	};
	const int64_t want[] = { 0, 4096, -EINVAL, -EINVAL, -EINVAL, 4096, 0, 0 };

	assert_int_equal(hearth_ds_submit(q, ops, 7), 0);
	assert_int_equal(poll(&pfd, 1, -1), 1);
	for (int n = 0; n < 7;) {
		ssize_t r = hearth_ds_reap(q, done, 16, 1, -1);

		assert_true(r > 0);
		for (ssize_t k = 0; k < r; k++)
			assert_int_equal(done[k].result, want[done[k].tag]);
		n += (int)r;
	}
	assert_int_equal(poll(&pfd, 1, 0), 0);
	memcpy(g.want, g.shadow, 4096);
	memcpy(g.want + 8192, g.shadow + 63 * 4096, 4096);
	rig_compare_memory(&g);
	assert_null(hearth_ds_queue_close(q));
	rig_close(&g);
}

#define MANY 20000

/* no limit but memory; neighbours travel together, and every one is told of */
static void queue_many(void **state)
{
	static struct hearth_ds_op ops[MANY];
	static struct hearth_ds_done done[MANY];
	static bool seen[MANY];
	static const char *const uris[] = { "host", "cuda:0" };

	for (int d = 0; d < 1 + RIG_CUDA; d++) {
		struct hearth_ds_queue *q;
		struct rig g;
		size_t n = 0;

		memset(seen, 0, sizeof(seen));
		rig_open(&g, uris[d], NULL, MANY * 512, MANY * 512, NULL);
		rig_cold(&g);
		for (size_t k = 0; k < MANY; k++)
			ops[k] = (struct hearth_ds_op){ g.file, g.memory, (uint64_t)(k ^ 1) * 512, (uint64_t)k * 512, 512, k, HEARTH_DS_READ, 0 };
		assert_int_equal(hearth_ds_queue_open(g.ds, 0, &q), 0);
		assert_int_equal(hearth_ds_submit(q, ops, MANY), 0);
		while (n < MANY) {
			ssize_t r = hearth_ds_reap(q, done, MANY, MANY / 3, -1);

			assert_true(r > 0);
			for (ssize_t k = 0; k < r; k++) {
				assert_int_equal(done[k].result, 512);
				assert_false(seen[done[k].tag]);
				seen[done[k].tag] = true;
			}
			n += (size_t)r;
		}
		for (size_t k = 0; k < MANY; k++)
			memcpy(g.want + (k ^ 1) * 512, g.shadow + k * 512, 512);
		rig_compare_memory(&g);
		rig_close(&g);
	}
}

#define SHARED_EACH 300
#define SHARED_THREADS 6

struct sharer { struct rig *g; struct hearth_ds_queue *q; pthread_t thread; unsigned number; atomic_uint *collected; unsigned wrong; };

/* every second one ends as soon as it has submitted, while its reads are under way */
static void *share(void *arg)
{
	struct sharer *s = arg;
	struct hearth_ds_done done[16];
	static const int patience_ms[] = { -1, -1, 3, 0, 1, -1 };

	for (unsigned k = 0; k < SHARED_EACH; k++) {
		uint64_t at = (uint64_t)(s->number * SHARED_EACH + k) * 512;
		struct hearth_ds_op op = { s->g->file, s->g->memory, at, at, 512, at / 512, HEARTH_DS_READ, 0 };
		ssize_t r;

		s->wrong += hearth_ds_submit(s->q, &op, 1) != 0;
		if (s->number % 2)
			continue;
		r = hearth_ds_reap(s->q, done, 16, 1, patience_ms[s->number]);
		for (ssize_t n = 0; n < r; n++)
			s->wrong += done[n].result != 512;
		atomic_fetch_add(s->collected, r > 0 ? (unsigned)r : 0);
	}
	return NULL;
}

/* whoever waits drives the queue, and gives it back */
static void queue_shared(void **state)
{
	static const char *const uris[] = { "host", "cuda:0" };

	for (int d = 0; d < 1 + RIG_CUDA; d++) {
		struct sharer sharers[SHARED_THREADS];
		struct hearth_ds_queue *q;
		struct hearth_ds_done done;
		atomic_uint collected = 0;
		struct rig g;

		rig_open(&g, uris[d], NULL, SHARED_THREADS * SHARED_EACH * 512, SHARED_THREADS * SHARED_EACH * 512, NULL);
		rig_cold(&g);
		assert_int_equal(hearth_ds_queue_open(g.ds, 32, &q), 0);
		for (unsigned k = 0; k < SHARED_THREADS; k++) {
			sharers[k] = (struct sharer){ .g = &g, .q = q, .number = k, .collected = &collected };
			assert_int_equal(pthread_create(&sharers[k].thread, NULL, share, &sharers[k]), 0);
		}
		for (unsigned k = 0; k < SHARED_THREADS; k++) {
			pthread_join(sharers[k].thread, NULL);
			assert_int_equal(sharers[k].wrong, 0);
		}
		while (collected < SHARED_THREADS * SHARED_EACH) {
			assert_int_equal(hearth_ds_reap(q, &done, 1, 1, -1), 1);
			assert_int_equal(done.result, 512);
			collected++;
		}
		memcpy(g.want, g.shadow, SHARED_THREADS * SHARED_EACH * 512);
		rig_compare_memory(&g);
		rig_close(&g);
	}
}

/* what waits behind a long one can be cancelled; what has begun ends as it would */
static void queue_cancel(void **state)
{
	static struct hearth_ds_op ops[500];
	static struct hearth_ds_done done[500];
	struct hearth_ds_queue *q;
	ssize_t cancelled, n = 0, told = 0;
	struct rig g;

	rig_open(&g, ANY, NULL, 8 * MIB, 8 * MIB, NULL);
	rig_cold(&g);
	assert_int_equal(hearth_ds_queue_open(g.ds, 1, &q), 0);
	for (int k = 0; k < 500; k++)
		ops[k] = (struct hearth_ds_op){ g.file, g.memory, (uint64_t)k * 4096, (uint64_t)(499 - k) * 4096, 4096, 9, HEARTH_DS_READ, 0 };
	assert_int_equal(hearth_ds_submit(q, ops, 500), 0);
	cancelled = hearth_ds_cancel(q, 9);
	assert_true(cancelled >= 0);
	assert_int_equal(hearth_ds_cancel(q, 10), 0);
	while (n < 500) {
		ssize_t r = hearth_ds_reap(q, done, 500, 1, -1);

		assert_true(r > 0);
		for (ssize_t k = 0; k < r; k++)
			told += done[k].result == -ECANCELED;
		n += r;
	}
	assert_int_equal(told, cancelled);
	assert_int_equal(hearth_ds_reap(q, done, 1, 1, 0), 0);
	/* closing with much under way */
	assert_int_equal(hearth_ds_submit(q, ops, 500), 0);
	assert_null(hearth_ds_queue_close(q));
	assert_null(hearth_ds_release(g.memory));
	rig_close(&g);
}

/* ---- threads and contexts ---- */

struct reader { struct rig *g; pthread_t thread; unsigned seed, number; int wrong; };

static void *read_at_random(void *arg)
{
	struct reader *r = arg;
	uint8_t *mine = malloc(300000);
	struct hearth_ds_memory *m = NULL;
	struct hearth_ds_device *host;

	r->wrong = !mine || hearth_ds_device(r->g->ds, "host", &host) || hearth_ds_register(host, (uint64_t)(uintptr_t)mine, 300000, &m);
	for (int k = 0; k < 100 && !r->wrong; k++) {
		uint64_t at = (uint64_t)rand_r(&r->seed) % (4 * MIB), n = (uint64_t)rand_r(&r->seed) % 300000, part = r->number * 160000ull;

		n = at + n > 4 * MIB ? 4 * MIB - at : n;
		r->wrong |= hearth_ds_read(r->g->file, m, 0, at, n) != (ssize_t)n || memcmp(mine, r->g->shadow + at, n) != 0;
		/* and into the device, each to its own part */
		r->wrong |= hearth_ds_read(r->g->file, r->g->memory, part, part, 160000) != 160000;
	}
	hearth_ds_release(m);
	free(mine);
	return NULL;
}

static void many_threads(void **state)
{
	struct hearth_ds_options o = { .ring_bytes = 1, .threads = 2 };         /* the smallest ring there is: all must share it */
	struct reader readers[24];
	struct rig g;

	rig_open(&g, ANY, NULL, 4 * MIB, 4 * MIB, &o);
	for (unsigned k = 0; k < 24; k++) {
		readers[k] = (struct reader){ .g = &g, .seed = k, .number = k };
		assert_int_equal(pthread_create(&readers[k].thread, NULL, read_at_random, &readers[k]), 0);
	}
	for (unsigned k = 0; k < 24; k++) {
		pthread_join(readers[k].thread, NULL);
		assert_int_equal(readers[k].wrong, 0);
	}
	memcpy(g.want, g.shadow, 24 * 160000);
	rig_compare_memory(&g);
	rig_close(&g);
}

#if RIG_CUDA
/* memory of two devices, through one queue and one after the other; the caller's own context stays */
static void two_devices(void **state)
{
	struct hearth_ds_device *second;
	struct hearth_ds_memory *there;
	struct hearth_ds_queue *q;
	struct hearth_ds_done done[8];
	cu_context other, found;
	cu_device device;
	cu_deviceptr at;
	struct rig g;
	uint8_t *back = malloc(2 * MIB);

	rig_open(&g, "cuda:0", NULL, 2 * MIB, 2 * MIB, NULL);
	assert_int_equal(g.cu.device_get(&device, 1), CU_OK);
	assert_int_equal(g.cu.primary_retain(&other, device), CU_OK);
	assert_int_equal(g.cu.push_current(other), CU_OK);
	assert_int_equal(g.cu.mem_alloc(&at, 2 * MIB), CU_OK);
	assert_int_equal(hearth_ds_device(g.ds, "cuda:1", &second), 0);
	assert_int_equal(hearth_ds_register(second, g.at, 4096, &there), -EINVAL);
	assert_non_null(strstr(hearth_ds_error(), "cuda:0"));
	assert_int_equal(hearth_ds_register(second, (uint64_t)(uintptr_t)back, 4096, &there), -EINVAL);
	assert_int_equal(hearth_ds_register(second, at, 2 * MIB, &there), 0);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 2 * MIB), 2 * MIB);
	assert_int_equal(hearth_ds_queue_open(g.ds, 0, &q), 0);
	for (uint64_t k = 0; k < 8; k++) {
		struct hearth_ds_op op = { g.file, k % 2 ? g.memory : there, k * MIB / 4, k * MIB / 4, MIB / 4, k, HEARTH_DS_READ, 0 };

		assert_int_equal(hearth_ds_submit(q, &op, 1), 0);
	}
	assert_int_equal(hearth_ds_reap(q, done, 8, 8, -1), 8);
	memcpy(g.want, g.shadow, 2 * MIB);
	rig_compare_memory(&g);
	assert_int_equal(hearth_ds_read(g.file, there, 0, 5, 2 * MIB), 2 * MIB - 5);
	assert_int_equal(g.cu.copy_dtoh(back, at, 2 * MIB, NULL), CU_OK);
	assert_int_equal(g.cu.stream_sync(NULL), CU_OK);
	assert_memory_equal(back, g.shadow + 5, 2 * MIB - 5);
	assert_int_equal(g.cu.mem_free(at), CU_OK);
	assert_int_equal(g.cu.pop_current(&found), CU_OK);
	assert_ptr_equal(found, other);
	free(back);
	rig_close(&g);
}

/* ---- streams ---- */

/* what is before it in the stream has ended when it begins, what is after it begins when it has ended */
static void stream_order(void **state)
{
	struct gate gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
	int64_t results[20];
	cu_stream stream;
	void *after;            /* pinned: into other memory a copy waits */
	struct rig g;

	rig_open(&g, "cuda:0", NULL, 4 * MIB, 4 * MIB, NULL);
	assert_int_equal(g.cu.push_current(g.context), CU_OK);
	assert_int_equal(g.cu.host_alloc(&after, MIB, 0), CU_OK);
	assert_int_equal(g.cu.stream_create(&stream, CU_STREAM_NONBLOCKING), CU_OK);
	assert_int_equal(g.cu.launch_host(stream, wait_at_gate, &gate), CU_OK);
	assert_int_equal(g.cu.set_d8(g.at, 0xab, 4 * MIB, stream), CU_OK);
	for (uint64_t k = 0; k < 20; k++) {
		struct hearth_ds_op op = { g.file, g.memory, k * 100000, 3 + k * 200000, 90000, 0, HEARTH_DS_READ, 0 };

		results[k] = -1;
		assert_int_equal(hearth_ds_enqueue(g.ds, stream, &op, &results[k]), 0);
	}
	assert_int_equal(g.cu.copy_dtoh(after, g.at, MIB, stream), CU_OK);
	pthread_mutex_lock(&gate.lock);
	for (int k = 0; k < 20; k++)
		assert_int_equal(results[k], -1);
	gate.open = true;
	pthread_mutex_unlock(&gate.lock);
	pthread_cond_signal(&gate.change);
	assert_int_equal(g.cu.stream_sync(stream), CU_OK);
	memset(g.want, 0xab, 4 * MIB);
	for (uint64_t k = 0; k < 20; k++) {
		assert_int_equal(results[k], 90000);
		memcpy(g.want + k * 100000, g.shadow + 3 + k * 200000, 90000);
	}
	assert_memory_equal(after, g.want, MIB);
	assert_int_equal(g.cu.stream_destroy(stream), CU_OK);
	assert_int_equal(g.cu.host_free(after), CU_OK);
	assert_int_equal(g.cu.pop_current(&g.context), CU_OK);
	rig_compare_memory(&g);
	rig_close(&g);
}

/* out again, by the default stream; an error is the operation's own; on the host there are no streams */
static void stream_writes_and_errors(void **state)
{
	struct hearth_ds_op op;
	struct hearth_ds_file *closed;
	int64_t result = 0, failed = 0;
	struct rig g;

	rig_open(&g, "cuda:0", NULL, MIB, MIB, NULL);
	rig_poke(&g, 1000, g.shadow, 5000);
	op = (struct hearth_ds_op){ g.file, g.memory, 1000, 777, 5000, 0, HEARTH_DS_WRITE, 0 };
	assert_int_equal(hearth_ds_enqueue(g.ds, NULL, &op, &result), 0);
	op = (struct hearth_ds_op){ g.file, g.memory, MIB, 777, 5000, 0, HEARTH_DS_WRITE, 0 };
	assert_int_equal(hearth_ds_enqueue(g.ds, NULL, &op, &failed), -EINVAL);
	assert_int_equal(hearth_ds_file(g.ds, AT_FDCWD, g.path, O_WRONLY, &closed), 0);
	op = (struct hearth_ds_op){ closed, g.memory, 0, 0, 5000, 0, HEARTH_DS_READ, 0 };
	assert_int_equal(hearth_ds_enqueue(g.ds, NULL, &op, &failed), -EBADF);
	assert_int_equal(g.cu.push_current(g.context), CU_OK);
	assert_int_equal(g.cu.stream_sync(NULL), CU_OK);
	assert_int_equal(g.cu.pop_current(&g.context), CU_OK);
	assert_int_equal(result, 5000);
	memmove(g.shadow + 777, g.want + 1000, 5000);
	rig_compare_file(&g);
	rig_close(&g);
	rig_open(&g, "host", NULL, MIB, MIB, NULL);
	op = (struct hearth_ds_op){ g.file, g.memory, 1, 2, 3, 0, HEARTH_DS_READ, 0 };
	assert_int_equal(hearth_ds_enqueue(g.ds, NULL, &op, &result), 0);
	assert_int_equal(result, 3);
	rig_close(&g);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_ranges), cmocka_unit_test(files), cmocka_unit_test(odd_files), cmocka_unit_test(pairs), cmocka_unit_test(queue_order_and_errors),
		cmocka_unit_test(queue_many), cmocka_unit_test(queue_shared), cmocka_unit_test(queue_cancel), cmocka_unit_test(many_threads),
#if RIG_CUDA
		cmocka_unit_test(options_and_names), cmocka_unit_test(probe), cmocka_unit_test(two_devices), cmocka_unit_test(stream_order), cmocka_unit_test(stream_writes_and_errors),
#endif
	};

	return rig_run("devices=2,memory=1G", tests);
}
