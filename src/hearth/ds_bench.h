/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_DS_BENCH_H
#define HEARTH_DS_BENCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/hist.h"
#include "base/rng.h"
#include "ds_cli.h"

struct bench_way;

/**
 * struct bench - what `hearth ds bench` does, and by whom
 * @whole:   each operation opens the file, registers memory, reads or writes a block, and takes it all back
 * @batch:   all of a queue's operations are submitted together, and again when all have ended
 * @stream:  the same, in the order of a stream of the device
 * @places:  blocks that the memory has room for
 * @reg_at, @reg_bytes: the part of the memory that is, or is to be, registered
 * @state:   the way's own
 * @text:    what went by it, for the result: a path of the library's, or the kind of cuFile
 */
struct bench {
	struct ds_cli c;
	const struct bench_way *way;
	const char *path, *device;
	struct hearth_ds_options o;
	struct hearth_ds_file *file;
	uint64_t block, blocks, places, run_ns, seed;
	unsigned depth, queues;
	unsigned io_depth;              /* I/Os at the file at a time, of a queue; 0: @depth */
	bool sync, random, write, handles, batch, stream, whole, verify;
	int fd;
	uint64_t reg_at, reg_bytes;
	void *state;
	const char *text;
	atomic_ullong next;             /* block, when in order */
	atomic_int failed;              /* -errno */
	uint64_t stop_ns;
	/* with @verify: each operation of a round has a place of its own in memory */
	atomic_ullong ticket;
	uint64_t *offsets;              /* of each place: from where in the file */
	struct digest *want;            /* of each piece: of the file's when reading, of the memory's when writing */
	uint64_t verified;
};

/** struct bench_lane - one thread, with a queue or without. @text: why the last call of a way failed; @queue: the way's own */
struct bench_lane {
	struct bench *b;
	pthread_t thread;
	unsigned number;
	struct rng rng;
	struct hist ns;
	uint64_t bytes, ops;
	bool begun;
	char text[400], why[508];
	void *queue;
};

/* @place: an offset in the bench's memory; @tag: below the depth; of operations under way each has another */
struct bench_op { uint64_t place, at, tag; };
struct bench_done { uint64_t tag; int64_t result; };

/**
 * struct bench_queue - operations of one lane, several at a time; all return -errno with a sentence in @l->text
 * @reap: waits for @min of them. Return: how many are in @ret.
 */
struct bench_queue {
	int (*open)(struct bench_lane *l);
	int (*submit)(struct bench_lane *l, const struct bench_op *ops, size_t n);
	ssize_t (*reap)(struct bench_lane *l, struct bench_done *ret, size_t max, size_t min);
	void (*close)(struct bench_lane *l);
};

/**
 * struct bench_way - who reads and writes: this library, or what it is measured beside. Each call has its opposite, in the order start, file, reg.
 * @kind:  of devices it can serve, the beginning of their names; "" = all
 * @one:   a block; NULL: it has no such call. Return: bytes, -errno with a sentence in @l->text.
 * @queue, @stream: NULL where it has none
 */
struct bench_way {
	const char *name, *kind;
	int (*start)(struct bench *b, struct hearth_err *err);
	int (*file)(struct bench *b, struct hearth_err *err);
	int (*reg)(struct bench *b, struct hearth_err *err);
	void (*release)(struct bench *b);
	void (*file_close)(struct bench *b);
	void (*stop)(struct bench *b);
	ssize_t (*one)(struct bench_lane *l, uint64_t place, uint64_t at);
	const struct bench_queue *queue, *stream;
};
extern const struct bench_way bench_hearth, bench_pread, bench_uring, bench_cufile;

/** bench_lane_says - a sentence for @l->text. Return: @code. */
int bench_lane_says(struct bench_lane *l, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/** bench_open_plain - the file as programs without a library open it: O_DIRECT unless --cache always. Return: a descriptor, -errno. */
int bench_open_plain(struct bench *b, struct hearth_err *err);

/* ---- running (ds_bench_run.c) ---- */

/** struct bench_sum - @seconds, @cpu: of what was measured, without verification */
struct bench_sum { struct hist ns; uint64_t bytes, ops; double seconds, cpu; };
/** bench_run - everything is open (with @b->whole: started). Return: 0, -errno; -EBADMSG: what was read is not what is in the file, or the other way round. */
int bench_run(struct bench *b, struct bench_sum *ret, struct hearth_err *err);

/* ---- verification (ds_bench_verify.c) ---- */

/** bench_verify_begin - Return: 0, -errno. The device's context is current. */
int bench_verify_begin(struct bench *b, struct hearth_err *err);
/** bench_verify_before - a round begins: memory holds nothing that the round may leave there (reading), or something new (writing) */
int bench_verify_before(struct bench *b, uint64_t round, struct hearth_err *err);
/** bench_verify_after - the first @n places. Return: 0, -EBADMSG, -errno. */
int bench_verify_after(struct bench *b, uint64_t n, struct hearth_err *err);
void bench_verify_end(struct bench *b);

#endif
