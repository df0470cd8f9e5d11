/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/clock.h"
#include "priv.h"

/*
 * Counters of levels 1 and 2. What is about NVIDIA's kernel module, and which way bytes went, stays 0: hearth_ds_probe tells the latter better. Rates are over the time
 * in which was counted. Level 3, of each GPU, there is not.
 */
#define LEVEL_MAX 2

atomic_bool cf_counting;
static atomic_int level;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;       /* counted_ns, since_ns: starting, stopping */
static uint64_t counted_ns, since_ns;

static struct {
	atomic_ullong ok, failed;
} calls[CF_COUNTERS];

/* of reads, then of writes; of single operations, then of those in batches */
static struct {
	atomic_ullong bytes, time_us, sizes[32];
} io[2][2];

uint64_t cf_count_io_begin(void)
{
	return atomic_load_explicit(&cf_counting, memory_order_relaxed) ? clock_mono_ns() : 0;
}

void cf_count_at(enum cf_counter what, bool ok, uint64_t n)
{
	atomic_fetch_add_explicit(ok ? &calls[what].ok : &calls[what].failed, n, memory_order_relaxed);
}

int64_t cf_count_io_end(uint64_t began_ns, bool write, bool batch, int64_t result)
{
	unsigned bin = 0;

	if (began_ns == 0 || !atomic_load_explicit(&cf_counting, memory_order_relaxed))
		return result;
	if (!batch)
		cf_count_at(write ? CF_WRITE : CF_READ, result >= 0, 1);
	atomic_fetch_add_explicit(&io[write][batch].time_us, (clock_mono_ns() - began_ns) / NS_PER_US, memory_order_relaxed);
	if (result < 0)
		return result;
	for (uint64_t kib = (uint64_t)result >> 10; kib > 1 && bin < 31; kib >>= 1)
		bin++;
	atomic_fetch_add_explicit(&io[write][batch].sizes[bin], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&io[write][batch].bytes, (uint64_t)result, memory_order_relaxed);
	return result;
}

static void count(bool on)
{
	pthread_mutex_lock(&lock);
	if (on && since_ns == 0)
		since_ns = clock_mono_ns();
	if (!on && since_ns != 0) {
		counted_ns += clock_mono_ns() - since_ns;
		since_ns = 0;
	}
	atomic_store(&cf_counting, on);
	pthread_mutex_unlock(&lock);
}

static void reset(void)
{
	for (size_t k = 0; k < CF_COUNTERS; k++) {
		atomic_store(&calls[k].ok, 0);
		atomic_store(&calls[k].failed, 0);
	}
	for (int k = 0; k < 4; k++) {
		atomic_store(&io[k & 1][k >> 1].bytes, 0);
		atomic_store(&io[k & 1][k >> 1].time_us, 0);
		for (int b = 0; b < 32; b++)
			atomic_store(&io[k & 1][k >> 1].sizes[b], 0);
	}
	pthread_mutex_lock(&lock);
	counted_ns = 0;
	if (since_ns)
		since_ns = clock_mono_ns();
	pthread_mutex_unlock(&lock);
}

/* a parameter says that the opening begins to count; a call only that a later start does */
void cf_stats_set(int to)
{
	count(false);
	reset();
	atomic_store(&level, to);
	count(to > 0);
}

CF_EXPORT CUfileError_t cuFileSetStatsLevel(int to)
{
	if (to < 0 || to > LEVEL_MAX)
		return cf_status(CU_FILE_INVALID_VALUE);
	atomic_store(&level, to);
	if (to == 0)
		count(false);
	return cf_status(CU_FILE_SUCCESS);
}

CF_EXPORT CUfileError_t cuFileGetStatsLevel(int *ret)
{
	if (!ret)
		return cf_status(CU_FILE_INVALID_VALUE);
	*ret = atomic_load(&level);
	return cf_status(CU_FILE_SUCCESS);
}

static CUfileError_t start(bool on)
{
	CUfileOpError e = cf_enter_open();

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	count(on && atomic_load(&level) > 0);
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

CF_EXPORT CUfileError_t cuFileStatsStart(void)
{
	return start(true);
}

CF_EXPORT CUfileError_t cuFileStatsStop(void)
{
	return start(false);
}

CF_EXPORT CUfileError_t cuFileStatsReset(void)
{
	CUfileOpError e = cf_enter_open();

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	reset();
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

static CUfileOpCounter_t counter(enum cf_counter what)
{
	return (CUfileOpCounter_t){ .ok = atomic_load(&calls[what].ok), .err = atomic_load(&calls[what].failed) };
}

static uint64_t per_second(uint64_t n, uint64_t ns)
{
	return ns ? (uint64_t)((double)n * 1e9 / (double)ns) : 0;
}

static void fill(CUfileStatsLevel1_t *s)
{
	uint64_t ns;

	pthread_mutex_lock(&lock);
	ns = counted_ns + (since_ns ? clock_mono_ns() - since_ns : 0);
	pthread_mutex_unlock(&lock);
	memset(s, 0, sizeof(*s));
	s->read_ops = counter(CF_READ);
	s->write_ops = counter(CF_WRITE);
	s->hdl_register_ops = counter(CF_FILE_REGISTER);
	s->hdl_deregister_ops = counter(CF_FILE_DEREGISTER);
	s->buf_register_ops = counter(CF_BUFFER_REGISTER);
	s->buf_deregister_ops = counter(CF_BUFFER_DEREGISTER);
	s->read_bytes = atomic_load(&io[0][0].bytes);
	s->write_bytes = atomic_load(&io[1][0].bytes);
	s->read_bw_bytes_per_sec = per_second(s->read_bytes, ns);
	s->write_bw_bytes_per_sec = per_second(s->write_bytes, ns);
	s->read_lat_sum_us = atomic_load(&io[0][0].time_us);
	s->write_lat_sum_us = atomic_load(&io[1][0].time_us);
	s->read_lat_avg_us = s->read_ops.ok ? s->read_lat_sum_us / s->read_ops.ok : 0;
	s->write_lat_avg_us = s->write_ops.ok ? s->write_lat_sum_us / s->write_ops.ok : 0;
	s->read_ops_per_sec = per_second(s->read_ops.ok, ns);
	s->write_ops_per_sec = per_second(s->write_ops.ok, ns);
	s->batch_setup_ops = counter(CF_BATCH_SETUP);
	s->batch_submit_ops = counter(CF_BATCH_SUBMIT);
	s->batch_complete_ops = counter(CF_BATCH_COMPLETE);
	s->batch_cancel_ops = counter(CF_BATCH_CANCEL);
	s->batch_destroy_ops = counter(CF_BATCH_DESTROY);
	s->batch_read_bytes = atomic_load(&io[0][1].bytes);
	s->batch_write_bytes = atomic_load(&io[1][1].bytes);
	s->batch_read_bw_bytes = per_second(s->batch_read_bytes, ns);
	s->batch_write_bw_bytes = per_second(s->batch_write_bytes, ns);
	s->batch_completion_lat_sum_us = atomic_load(&io[0][1].time_us) + atomic_load(&io[1][1].time_us);
	s->batch_completion_lat_avg_us = s->batch_complete_ops.ok ? s->batch_completion_lat_sum_us / s->batch_complete_ops.ok : 0;
	s->batch_submit_ops_per_sec = per_second(s->batch_submit_ops.ok, ns);
	s->batch_complete_ops_per_sec = per_second(s->batch_complete_ops.ok, ns);
}

/* Return: CU_FILE_SUCCESS with cf.lock held */
static CUfileOpError enter_at(const void *stats, int wanted)
{
	CUfileOpError e = cf_enter_open();

	if (e != CU_FILE_SUCCESS)
		return e;
	if (stats && wanted <= atomic_load(&level))
		return CU_FILE_SUCCESS;
	cf_leave();
	return CU_FILE_INVALID_VALUE;
}

CF_EXPORT CUfileError_t cuFileGetStatsL1(CUfileStatsLevel1_t *stats)
{
	CUfileOpError e = enter_at(stats, 1);

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	fill(stats);
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

CF_EXPORT CUfileError_t cuFileGetStatsL2(CUfileStatsLevel2_t *stats)
{
	CUfileOpError e = enter_at(stats, 2);

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	fill(&stats->basic);
	for (int b = 0; b < 32; b++) {
		stats->read_size_kb_hist[b] = atomic_load(&io[0][0].sizes[b]) + atomic_load(&io[0][1].sizes[b]);
		stats->write_size_kb_hist[b] = atomic_load(&io[1][0].sizes[b]) + atomic_load(&io[1][1].sizes[b]);
	}
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

/* as documented of a level that is not enabled: this one never is */
CF_EXPORT CUfileError_t cuFileGetStatsL3(CUfileStatsLevel3_t *stats)
{
	CUfileOpError e = enter_at(stats, LEVEL_MAX + 1);

	return cf_status(e);
}
