/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_GATE_H
#define SHIM_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The gate in front of the calls that make device work. Threads go through with three plain stores and two relaxed loads; whoever closes it pays: it sets the word and makes every running thread of the
 * process pass a barrier (membarrier), after which a thread either has seen the gate closed or is seen to be in a call. Where membarrier cannot be had, threads use a fence of their own.
 * Calls nest (a driver may call back): only the outermost looks at the gate.
 */
enum { GATE_CLOSED = 1, GATE_FENCES = 2, GATE_WISHED = 4 };

struct gate_thread {
	_Atomic uint32_t depth;         /* calls that the thread is in */
	_Atomic bool quiet;             /* it has waited for the device after its last call */
	bool listed;                    /* the closer looks at it */
	struct gate_thread *next, **at;
};

#define GATE_HIDDEN __attribute__((visibility("hidden")))
extern _Thread_local struct gate_thread gate_self GATE_HIDDEN __attribute__((tls_model("initial-exec")));
extern _Atomic uint32_t gate_word GATE_HIDDEN;
void gate_enter_slow(struct gate_thread *t) GATE_HIDDEN;
void gate_leave_slow(struct gate_thread *t) GATE_HIDDEN;
void gate_quiet_slow(void) GATE_HIDDEN;

/** gate_enter - a call begins; waits while the gate is closed. Context: any thread, not a signal handler. */
static inline void gate_enter(void)
{
	struct gate_thread *t = &gate_self;
	uint32_t depth = atomic_load_explicit(&t->depth, memory_order_relaxed);

	atomic_store_explicit(&t->depth, depth + 1, memory_order_relaxed);
	atomic_store_explicit(&t->quiet, false, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect((atomic_load_explicit(&gate_word, memory_order_relaxed) | !t->listed) != 0, 0) && depth == 0)
		gate_enter_slow(t);
}

/** gate_leave - the call of the last gate_enter() has returned */
static inline void gate_leave(void)
{
	struct gate_thread *t = &gate_self;
	uint32_t depth = atomic_load_explicit(&t->depth, memory_order_relaxed) - 1;

	atomic_store_explicit(&t->depth, depth, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect((atomic_load_explicit(&gate_word, memory_order_relaxed) | !t->listed) != 0, 0) && depth == 0)
		gate_leave_slow(t);
}

/** gate_quiet - the program has just waited for the device: a good moment, as little is under way. In no call. */
static inline void gate_quiet(void)
{
	atomic_store_explicit(&gate_self.quiet, true, memory_order_relaxed);
	if (__builtin_expect((atomic_load_explicit(&gate_word, memory_order_relaxed) & GATE_WISHED) != 0, 0))
		gate_quiet_slow();
}

/**
 * gate_wish - wait until the program itself has waited for the device, or until @deadline_ns; in the first case no call begins any more. gate_close() must follow.
 * A program that hands the device much work at once and then waits for it would else stand still for as long as that work takes. If all threads have waited since their last call, it is quiet already.
 */
void gate_wish(uint64_t deadline_ns) GATE_HIDDEN;

/**
 * gate_close - no more calls from here on; wait until those in progress have returned
 * @deadline_ns: CLOCK_MONOTONIC
 * Context: one thread, which is in no call itself.
 * Return: 0, -ETIMEDOUT (a call does not return) or -errno of membarrier(2): then the gate is open again.
 */
int gate_close(uint64_t deadline_ns) GATE_HIDDEN;
void gate_open(void) GATE_HIDDEN;
bool gate_is_closed(void) GATE_HIDDEN;

/** gate_fork_prepare, gate_fork_parent, gate_fork_child - for pthread_atfork(3). A child begins with an open gate and itself as only thread. */
void gate_fork_prepare(void) GATE_HIDDEN;
void gate_fork_parent(void) GATE_HIDDEN;
void gate_fork_child(void) GATE_HIDDEN;
/** gate_use_fences - as if there were no membarrier(2); before the first call. For tests. */
void gate_use_fences(void) GATE_HIDDEN;

#endif
