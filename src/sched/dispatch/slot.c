/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "sched/wire.h"
#include "slot.h"

#define STAGE_BITS 3
#define IDLE_LOOKS 64           /* looks between two looks at the clock */

size_t slot_bytes(void)
{
	return sizeof(struct slot);
}

struct slot *slot_init(void *mem, uint32_t worker, struct bell *bell, const struct idle *idle)
{
	struct slot *s = mem;

	memset(s, 0, sizeof(*s));
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
	struct parcel *in = &s->in;

	in->r = r;
	in->fetch = r->fetch;
	in->data = r->data;
	atomic_store_explicit(&in->number, atomic_load_explicit(&in->number, memory_order_relaxed) + 1, memory_order_release);
	if (s->idle.mode != IDLE_POLL && take_flag(&s->asleep))
		futex(&s->asleep, FUTEX_WAKE, 1);
}

bool slot_done(const struct slot *s)
{
	return atomic_load_explicit(&s->finished, memory_order_acquire) == atomic_load_explicit(&s->in.number, memory_order_relaxed);
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

static bool has_parcel(const struct slot *s)
{
	return atomic_load_explicit(&s->in.number, memory_order_acquire) != s->taken;
}

/* What is in it was last written by another core: all of it is asked for at once, not one after the other. */
static struct req *open_parcel(struct slot *s)
{
	const struct parcel *in = &s->in;
	struct req *r = in->r;

	__builtin_prefetch(r, 1);
	if (in->fetch != NULL)
		__builtin_prefetch(in->fetch);
	if (in->data != NULL) {
		__builtin_prefetch(in->data, 1);
		__builtin_prefetch(in->data + 64, 1);
	}
	s->taken++;
	return r;
}

static bool stopped(const struct slot *s)
{
	return atomic_load_explicit(&s->stop, memory_order_relaxed) != 0;
}

/* Sleep until there may be something. slot_stop cannot be missed: it comes before the flag is taken, or takes it. */
static void sleep_on(struct slot *s)
{
	raise_flag(&s->asleep);
	if (has_parcel(s) || stopped(s))
		atomic_store_explicit(&s->asleep, 0, memory_order_relaxed);
	else
		futex(&s->asleep, FUTEX_WAIT, 1);
}

/* The next request; NULL when the worker is to end. */
static struct req *slot_next(struct slot *s)
{
	uint64_t until = 0;

	for (unsigned looks = 0; !has_parcel(s); looks++) {
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
	return open_parcel(s);
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
		r->queue_ns = wire_ns32(begin - r->arrival_ns);
		r->service_ns = end - begin;
		r->send_ns = 0;
		if (work->send != NULL) {
			work->send(ctx, r);
			r->send_ns = wire_ns32(clock_mono_ns() - end);
		}
		atomic_store_explicit(&s->stage, stage_word(seq, STAGE_SENT), memory_order_release);
		atomic_store_explicit(&s->finished, s->taken, memory_order_release);
		bell_ring(s->bell);
	}
	return true;
}
