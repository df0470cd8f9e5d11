/* SPDX-License-Identifier: Apache-2.0 */
/* Short synchronous operations: the calling thread does them at a desk, and a pump does them where there is none. */
#include "rig.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>

#include "desk.h"

#define MIB (1u << 20)
#define THREADS 64u
#define EACH 30
#define PART (SHORT_BYTES + BLOCK_BYTES)
#define MEMORY ((size_t)THREADS * PART)

static unsigned pumps(const struct rig *g)
{
	unsigned n = 0;

	for (const struct pump *p = g->ds->pumps; p; p = p->next)
		n++;
	return n;
}

static uint64_t carried(struct rig *g)
{
	struct hearth_ds_report r;

	assert_int_equal(hearth_ds_probe(g->file, g->memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_STAGE);
	return r.carried[HEARTH_DS_STAGE];
}

/* ---- many threads ---- */

struct worker { struct rig *g; pthread_t thread; unsigned number, seed; uint64_t bytes; int wrong; };

static void *read_and_write(void *arg)
{
	struct worker *w = arg;
	struct rig *g = w->g;
	uint64_t part = (uint64_t)w->number * PART;

	/* each has a part of the memory, and one of the file, to write what it has read */
	for (int k = 0; k < EACH && !w->wrong; k++) {
		uint64_t at = (uint64_t)rand_r(&w->seed) % MEMORY, to = part + (uint64_t)rand_r(&w->seed) % BLOCK_BYTES, n = 1 + (uint64_t)rand_r(&w->seed) % SHORT_BYTES;
		ssize_t r;

		n = k % 2 ? n : BLOCK_BYTES;
		r = hearth_ds_read(g->file, g->memory, to, at, n);
		w->wrong |= r != (ssize_t)n;
		memcpy(g->want + to, g->shadow + at, n);
		w->bytes += 2 * n;
		r = hearth_ds_write(g->file, g->memory, to, 2 * MEMORY + to, n);
		w->wrong |= r != (ssize_t)n;
		memcpy(g->shadow + 2 * MEMORY + to, g->want + to, n);
	}
	return NULL;
}

static void many_threads(void **state)
{
	static struct worker workers[THREADS];
	static const enum hearth_ds_cache caches[] = { HEARTH_DS_CACHE_AUTO, HEARTH_DS_CACHE_NEVER, HEARTH_DS_CACHE_ALWAYS };

	for (size_t c = 0; c < sizeof(caches) / sizeof(caches[0]); c++) {
		struct hearth_ds_options o = { .cache = caches[c] };
		uint64_t bytes = 0;
		struct rig g;

		rig_open(&g, "cuda:0", NULL, 3 * MEMORY, MEMORY, &o);
		rig_cold(&g);
		for (unsigned k = 0; k < THREADS; k++) {
			workers[k] = (struct worker){ .g = &g, .number = k, .seed = k };
			assert_int_equal(pthread_create(&workers[k].thread, NULL, read_and_write, &workers[k]), 0);
		}
		for (unsigned k = 0; k < THREADS; k++) {
			pthread_join(workers[k].thread, NULL);
			assert_int_equal(workers[k].wrong, 0);
			bytes += workers[k].bytes;
		}
		rig_compare_memory(&g);
		rig_compare_file(&g);
		assert_int_equal(carried(&g), bytes);
		/* nobody else had a part in it, and one segment of the ring was enough */
		assert_int_equal(pumps(&g), 0);
		assert_null(atomic_load(&g.device->crew));
		assert_int_equal(atomic_load(&g.device->ring)->segments_n, 1);
		rig_close(&g);
	}
}

/* ---- memory and file go while they are in use ---- */

static void *read_one(void *arg)
{
	struct worker *w = arg;

	w->wrong = hearth_ds_read(w->g->file, w->g->memory, (uint64_t)w->number * PART, (uint64_t)w->number * BLOCK_BYTES, BLOCK_BYTES) != BLOCK_BYTES;
	return NULL;
}

static void *release(void *arg)
{
	hearth_ds_release(arg);
	return NULL;
}

static void *close_file(void *arg)
{
	hearth_ds_file_close(arg);
	return NULL;
}

static void wait_for(atomic_uint *n, unsigned value)
{
	while (atomic_load(n) != value)
		sched_yield();
}

/* all that is in the desks' streams is held up: every read is under way when file and memory are closed, and ends as it would */
static void gone_in_flight(void **state)
{
	struct gate gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
	static struct worker workers[THREADS];
	struct desk *desks[2 * ROW_DESKS];
	pthread_t releases, closes;
	unsigned n = 0;
	struct rig g;

	rig_open(&g, "cuda:0", NULL, MEMORY, MEMORY, NULL);
	rig_cold(&g);
	assert_int_equal(g.cu.push_current(g.context), CU_OK);
	for (; n < 2 * ROW_DESKS; n++) {
		desks[n] = desk_take(g.device);
		assert_non_null(desks[n]);
		assert_int_equal(g.cu.launch_host(desks[n]->stream, wait_at_gate, &gate), CU_OK);
	}
	assert_int_equal(g.cu.pop_current(&g.context), CU_OK);
	while (n > 0)
		desk_put(desks[--n]);
	for (unsigned k = 0; k < THREADS; k++) {
		workers[k] = (struct worker){ .g = &g, .number = k };
		assert_int_equal(pthread_create(&workers[k].thread, NULL, read_one, &workers[k]), 0);
	}
	wait_for(&g.memory->uses.n, THREADS);
	assert_int_equal(pthread_create(&releases, NULL, release, g.memory), 0);
	wait_for(&g.memory->uses.n, USES_WAITED | THREADS);
	assert_int_equal(pthread_create(&closes, NULL, close_file, g.file), 0);
	wait_for(&g.file->uses.n, USES_WAITED | THREADS);
	pthread_mutex_lock(&gate.lock);
	gate.open = true;
	pthread_cond_broadcast(&gate.change);
	pthread_mutex_unlock(&gate.lock);
	for (unsigned k = 0; k < THREADS; k++) {
		pthread_join(workers[k].thread, NULL);
		assert_int_equal(workers[k].wrong, 0);
		memcpy(g.want + (size_t)k * PART, g.shadow + (size_t)k * BLOCK_BYTES, BLOCK_BYTES);
	}
	pthread_join(releases, NULL);
	pthread_join(closes, NULL);
	rig_compare_memory(&g);
	assert_int_equal(pumps(&g), 0);
	rig_close(&g);
}

/* ---- no desk, no ring, no drive ---- */

static void put(struct rig *g, uint64_t to, uint64_t at, uint64_t n)
{
	assert_int_equal(hearth_ds_read(g->file, g->memory, to, at, n), n);
	memcpy(g->want + to, g->shadow + at, n);
	assert_int_equal(hearth_ds_write(g->file, g->memory, to, MIB + to, n), n);
	memcpy(g->shadow + MIB + to, g->want + to, n);
}

/* all are taken: pumps do the same; the smallest ring there is has one row of desks, and enough for others */
static void none_free(void **state)
{
	static const struct { uint64_t ring; unsigned desks; } rings[] = { { 1, ROW_DESKS }, { 2 * SEGMENT_BYTES, 2 * ROW_DESKS }, { 0, DESK_ROWS * ROW_DESKS } };

	for (size_t k = 0; k < sizeof(rings) / sizeof(rings[0]); k++) {
		struct hearth_ds_options o = { .ring_bytes = rings[k].ring };
		struct desk *desks[DESK_ROWS * ROW_DESKS + 1];
		unsigned n = 0;
		struct rig g;

		rig_open(&g, "cuda:0", NULL, 2 * MIB, MIB, &o);
		assert_int_equal(g.cu.push_current(g.context), CU_OK);
		while ((desks[n] = desk_take(g.device)))
			n++;
		assert_int_equal(n, rings[k].desks);
		assert_int_equal(atomic_load(&g.device->ring)->segments_n, 1);
		put(&g, 777, 5, 5000);
		assert_int_equal(pumps(&g), 1);
		while (n > 0)
			desk_put(desks[--n]);
		put(&g, 100000, 4096, 4096);
		put(&g, 200001, 8191, SHORT_BYTES);
		put(&g, 300000, 8192, SHORT_BYTES + 1);
		assert_int_equal(g.cu.pop_current(&g.context), CU_OK);
		assert_int_equal(carried(&g), 2 * (5000 + 4096 + 2 * SHORT_BYTES + 1));
		rig_compare_memory(&g);
		rig_compare_file(&g);
		rig_close(&g);
	}
}

static void open_with_fault(struct rig *g, const char *fault)
{
	struct hearth_ds_options o = { .cache = HEARTH_DS_CACHE_NEVER };

	setenv("HEARTH_FAULT", fault, 1);
	rig_open(g, "cuda:0", NULL, 2 * MIB, MIB, &o);
}

static void close_with_fault(struct rig *g)
{
	unsetenv("HEARTH_FAULT");
	put(g, 10, 20, 30000);
	rig_compare_memory(g);
	rig_compare_file(g);
	rig_close(g);
}

/* an error is told, in words; nothing is short but at the end of the file; afterwards everything works */
static void faults(void **state)
{
	struct rig g;

	open_with_fault(&g, "fail:ds.eio");
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 4096), -EIO);
	assert_non_null(strstr(hearth_ds_error(), "read of 4096 bytes at offset 0 by path stage: Input/output error"));
	assert_int_equal(hearth_ds_write(g.file, g.memory, 0, 4096, 4096), -EIO);
	assert_int_equal(hearth_ds_write(g.file, g.memory, 0, 5, 100), -EIO);
	assert_int_equal(carried(&g), 0);
	close_with_fault(&g);
	open_with_fault(&g, "fail:ds.short");
	put(&g, 3, 77, 50000);
	put(&g, 65536, 65536, SHORT_BYTES);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 200000, 2 * MIB - 1000, 4096), 1000);
	memcpy(g.want + 200000, g.shadow + 2 * MIB - 1000, 1000);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 2 * MIB, 4096), 0);
	close_with_fault(&g);
	open_with_fault(&g, "fail:ds.direct");
	put(&g, 3, 77, 50000);
	close_with_fault(&g);
	open_with_fault(&g, "fail:ds.ring");
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 4096), -ENOMEM);
	assert_non_null(strstr(hearth_ds_error(), "no memory for the ring"));
	close_with_fault(&g);
}

/* What the driver refuses is an error of the call, and the desk is as good as before; without a stream there is no desk. The driver fails the first calls of each kind, two of copies into the device: this is the first test. */
static void refused(void **state)
{
	struct rig g;

	rig_open(&g, "cuda:0", NULL, 2 * MIB, MIB, NULL);
	/* no stream for the desk, and the first copy is the pump's */
	assert_true(hearth_ds_read(g.file, g.memory, 0, 0, 4096) < 0);
	assert_int_equal(pumps(&g), 1);
	assert_true(hearth_ds_read(g.file, g.memory, 0, 0, 4096) < 0);
	assert_non_null(strstr(hearth_ds_error(), "cuMemcpyHtoDAsync"));
	assert_true(hearth_ds_write(g.file, g.memory, 0, 0, 4096) < 0);
	assert_non_null(strstr(hearth_ds_error(), "cuMemcpyDtoHAsync"));
	assert_int_equal(carried(&g), 0);
	put(&g, 5, 6, 7000);
	rig_compare_memory(&g);
	rig_compare_file(&g);
	rig_close(&g);
}

/* ---- several devices ---- */

/* desks are a device's; whichever context the thread has, it has it afterwards */
static void two_devices(void **state)
{
	struct hearth_ds_device *second;
	struct hearth_ds_memory *there;
	cu_context other, found, none = NULL;
	cu_device device;
	cu_deviceptr at;
	uint8_t back[5000];
	struct rig g;

	rig_open(&g, "cuda:0", NULL, 2 * MIB, MIB, NULL);
	assert_int_equal(g.cu.device_get(&device, 1), CU_OK);
	assert_int_equal(g.cu.primary_retain(&other, device), CU_OK);
	assert_int_equal(g.cu.push_current(other), CU_OK);
	assert_int_equal(g.cu.mem_alloc(&at, MIB), CU_OK);
	assert_int_equal(hearth_ds_device(g.ds, "cuda:1", &second), 0);
	assert_int_equal(hearth_ds_register(second, at, MIB, &there), 0);
	for (uint64_t k = 0; k < 20; k++) {
		put(&g, k * 5000, k * 777, 5000);
		assert_int_equal(hearth_ds_read(g.file, there, k * 5000, k * 333, 5000), 5000);
		assert_int_equal(g.cu.get_current(&found), CU_OK);
		assert_ptr_equal(found, other);
		assert_int_equal(g.cu.copy_dtoh(back, at + k * 5000, 5000, NULL), CU_OK);
		assert_int_equal(g.cu.stream_sync(NULL), CU_OK);
		assert_memory_equal(back, g.shadow + k * 333, 5000);
	}
	assert_int_equal(g.cu.mem_free(at), CU_OK);
	assert_int_equal(g.cu.pop_current(&found), CU_OK);
	assert_ptr_equal(found, other);
	put(&g, 500000, 9, 4096);
	assert_int_equal(g.cu.get_current(&none), CU_OK);
	assert_null(none);
	rig_compare_memory(&g);
	rig_compare_file(&g);
	assert_int_equal(pumps(&g), 0);
	rig_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused), cmocka_unit_test(many_threads), cmocka_unit_test(gone_in_flight), cmocka_unit_test(none_free), cmocka_unit_test(faults), cmocka_unit_test(two_devices),
	};

	return rig_run("devices=2,memory=1G,fail=cuStreamCreateWithPriority:1:2,fail=cuMemcpyHtoDAsync:1:1,fail=cuMemcpyHtoDAsync:1:1,fail=cuMemcpyDtoHAsync:1:1", tests);
}
