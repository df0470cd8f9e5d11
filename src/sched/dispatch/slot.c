/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ring.h"
#include "sched/wire.h"
#include "slot.h"

#define SLOT_RING 4             /* one request at a time; the other places keep the producer from looking at the consumer's counter each time */
#define STAGE_BITS 3
#define IDLE_LOOKS 64           /* looks between two looks at the clock */

static size_t lines(size_t n)
{
	return (n + 63) & ~(size_t)63;
}

size_t slot_bytes(void)
{
	return lines(sizeof(struct slot)) + 2 * spsc_bytes(SLOT_RING);
}

struct slot *slot_init(void *mem, uint32_t worker, struct bell *bell, const struct idle *idle)
{
	uint8_t *rings = (uint8_t *)mem + lines(sizeof(struct slot));
	struct slot *s = mem;

	memset(s, 0, sizeof(*s));
	s->in = spsc_init(rings, SLOT_RING);
	s->out = spsc_init(rings + spsc_bytes(SLOT_RING), SLOT_RING);
	s->worker = worker;
	s->bell = bell;
	s->idle = *idle;
	atomic_init(&s->refs, 2);
	return s;
}

/* ---- sleeping ---- */

/*
 * One side puts something down and then looks whether the other sleeps; the other says that it sleeps and then looks whether there is something. Both need
 * a full barrier between the two. (The thread sanitizer knows no fences but does know exchanges, which are as good.)
 */
static bool take_flag(_Atomic uint32_t *flag)
{
#ifndef __SANITIZE_THREAD__
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(flag, memory_order_relaxed) == 0)
		return false;
#endif
	return atomic_exchange(flag, 0) != 0;
}

static void raise_flag(_Atomic uint32_t *flag)
{
	atomic_exchange(flag, 1);
#ifndef __SANITIZE_THREAD__
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

void bell_ring(struct bell *b)
{
	const uint64_t one = 1;

	if (!b->silent && take_flag(&b->asleep))
		(void)!write(b->fd, &one, sizeof(one));
}

void bell_arm(struct bell *b)
{
	raise_flag(&b->asleep);
}

void bell_disarm(struct bell *b)
{
	uint64_t count;

	/* not raised any more: somebody has rung, or is about to */
	if (atomic_exchange(&b->asleep, 0) == 0)
		(void)!read(b->fd, &count, sizeof(count));
}

void idle_pause(const struct idle *idle)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
	/* not where there is an end to it: who yields may be away for milliseconds, who sleeps is back at once */
	if (idle->yield && idle->mode == IDLE_POLL)
		sched_yield();
}

/* ---- the dispatcher's side ---- */

static uint64_t stage_word(uint32_t seq, enum stage stage)
{
	return (uint64_t)seq << STAGE_BITS | (uint64_t)stage;
}

void slot_give(struct slot *s, struct req *r)
{
	bool pushed = spsc_push(s->in, r);

	assert(pushed);
	(void)pushed;
	if (s->idle.mode != IDLE_POLL && take_flag(&s->asleep))
		futex(&s->asleep, FUTEX_WAKE, 1);
}

struct req *slot_take(struct slot *s)
{
	return spsc_pop(s->out);
}

enum stage slot_stage(const struct slot *s, const struct req *r)
{
	uint64_t word = atomic_load_explicit(&s->stage, memory_order_acquire);

	return word >> STAGE_BITS == r->seq ? (enum stage)(word & ((1u << STAGE_BITS) - 1)) : STAGE_IDLE;
}

bool slot_seize(struct slot *s, const struct req *r)
{
	uint64_t running = stage_word(r->seq, STAGE_RUNNING);

	return atomic_compare_exchange_strong(&s->stage, &running, stage_word(r->seq, STAGE_TAKEN));
}

void slot_stop(struct slot *s)
{
	atomic_store(&s->stop, 1);
	atomic_store(&s->asleep, 0);
	futex(&s->asleep, FUTEX_WAKE, 1);
}

/* ---- the worker's side ---- */

void slot_ready(struct slot *s, const char *error)
{
	if (error != NULL)
		snprintf(s->error, sizeof(s->error), "%s", error);
	atomic_store(&s->pid, (int)getpid());
	atomic_store_explicit(&s->ready, error != NULL ? 2 : 1, memory_order_release);
	bell_ring(s->bell);
}

static bool stopped(const struct slot *s)
{
	return atomic_load_explicit(&s->stop, memory_order_relaxed) != 0;
}

/* Sleep until there may be something. slot_stop cannot be missed: it comes before the flag is taken, or takes it. */
static void sleep_on(struct slot *s)
{
	raise_flag(&s->asleep);
	if (!spsc_empty(s->in) || stopped(s))
		atomic_store_explicit(&s->asleep, 0, memory_order_relaxed);
	else
		futex(&s->asleep, FUTEX_WAIT, 1);
}

/* The next request; NULL when the worker is to end. */
static struct req *slot_next(struct slot *s)
{
	uint64_t until = 0;
	struct req *r;

	for (unsigned looks = 0; (r = spsc_pop(s->in)) == NULL; looks++) {
		if (stopped(s))
			return NULL;
		idle_pause(&s->idle);
		if (s->idle.mode == IDLE_POLL || (s->idle.mode == IDLE_ADAPTIVE && looks % IDLE_LOOKS != 0))
			continue;
		if (s->idle.mode == IDLE_ADAPTIVE) {
			uint64_t now = clock_mono_ns();

			if (until == 0)
				until = now + s->idle.spin_ns;
			if (now < until)
				continue;
			until = 0;
		}
		sleep_on(s);
	}
	return r;
}

bool slot_seized(const struct slot *s)
{
	return (atomic_load(&s->stage) & ((1u << STAGE_BITS) - 1)) == STAGE_TAKEN;
}

bool slot_run(struct slot *s, const struct slot_work *work, void *ctx)
{
	struct req *r;

	while ((r = slot_next(s)) != NULL) {
		uint32_t seq = r->seq;
		uint64_t running = stage_word(seq, STAGE_RUNNING), begin = clock_mono_ns(), end;
		uint8_t status;

		atomic_store_explicit(&s->stage, running, memory_order_release);
		status = work->handle(ctx, r);
		end = clock_mono_ns();
		if (!atomic_compare_exchange_strong(&s->stage, &running, stage_word(seq, STAGE_SENDING)))
			return false;
		r->status = status;
		r->start_ns = begin;
		r->service_ns = end - begin;
		r->send_ns = 0;
		if (work->send != NULL) {
			work->send(ctx, r);
			r->send_ns = wire_ns32(clock_mono_ns() - end);
		}
		atomic_store_explicit(&s->stage, stage_word(seq, STAGE_SENT), memory_order_release);
		(void)spsc_push(s->out, r);
		bell_ring(s->bell);
	}
	return true;
}
