/* SPDX-License-Identifier: Apache-2.0 */
#include "gate.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "futex.h"

_Thread_local struct gate_thread gate_self __attribute__((tls_model("initial-exec")));
_Atomic uint32_t gate_word;

static struct {
	pthread_mutex_t lock;           /* the list; the word is set to closed while it is held */
	struct gate_thread *threads;
	unsigned unlisted;              /* calls of threads that could not be listed */
	_Atomic uint32_t left;          /* futex: changes when a thread leaves a call and the gate is closed, and when a wish was granted */
	pthread_once_t once;
	pthread_key_t key;
	bool have_key;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT };

static int barrier_register(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) < 0 ? -errno : 0;
}

static void gate_left(void)
{
	atomic_fetch_add(&gate.left, 1);
	futex_wake_all(&gate.left);
}

static void thread_ends(void *arg)
{
	struct gate_thread *t = arg;

	pthread_mutex_lock(&gate.lock);
	*t->at = t->next;
	if (t->next)
		t->next->at = t->at;
	t->listed = false;
	atomic_store(&t->depth, 0);     /* it may have been cancelled in a call */
	pthread_mutex_unlock(&gate.lock);
	gate_left();
}

static void gate_init(void)
{
	gate.have_key = pthread_key_create(&gate.key, thread_ends) == 0;
	if (barrier_register() < 0)
		atomic_fetch_or(&gate_word, GATE_FENCES);
}

/* Without the key's destructor a thread must not be listed: its memory goes when it ends. */
static void thread_list(struct gate_thread *t)
{
	pthread_once(&gate.once, gate_init);
	if (!gate.have_key || pthread_setspecific(gate.key, t) != 0)
		return;
	pthread_mutex_lock(&gate.lock);
	t->next = gate.threads;
	t->at = &gate.threads;
	if (t->next)
		t->next->at = &t->next;
	gate.threads = t;
	t->listed = true;
	pthread_mutex_unlock(&gate.lock);
}

static void enter_unlisted(void)
{
	uint32_t word;

	for (;;) {
		pthread_mutex_lock(&gate.lock);
		word = atomic_load(&gate_word);
		if (!(word & GATE_CLOSED))
			gate.unlisted++;
		pthread_mutex_unlock(&gate.lock);
		if (!(word & GATE_CLOSED))
			return;
		futex_wait(&gate_word, word, 0, false);
	}
}

void gate_enter_slow(struct gate_thread *t)
{
	uint32_t word;

	if (!t->listed) {
		atomic_store_explicit(&t->depth, 0, memory_order_relaxed);
		thread_list(t);
		atomic_store_explicit(&t->depth, 1, memory_order_relaxed);
		if (!t->listed) {
			enter_unlisted();
			return;
		}
	}
	for (;;) {
		atomic_thread_fence(memory_order_seq_cst);
		word = atomic_load(&gate_word);
		if (!(word & GATE_CLOSED))
			return;
		atomic_store(&t->depth, 0);
		gate_left();
		futex_wait(&gate_word, word, 0, false);
		atomic_store(&t->depth, 1);
	}
}

void gate_leave_slow(struct gate_thread *t)
{
	if (!t->listed) {
		pthread_mutex_lock(&gate.lock);
		gate.unlisted--;
		pthread_mutex_unlock(&gate.lock);
	}
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&gate_word) & GATE_CLOSED)
		gate_left();
}

static bool gate_busy(void)
{
	bool busy;

	pthread_mutex_lock(&gate.lock);
	busy = gate.unlisted > 0;
	for (struct gate_thread *t = gate.threads; t && !busy; t = t->next)
		busy = atomic_load(&t->depth) > 0;
	pthread_mutex_unlock(&gate.lock);
	return busy;
}

void gate_quiet_slow(void)
{
	uint32_t word;

	pthread_mutex_lock(&gate.lock);
	word = atomic_load(&gate_word);
	if (word & GATE_WISHED)
		atomic_store(&gate_word, (word & ~(uint32_t)GATE_WISHED) | GATE_CLOSED);
	pthread_mutex_unlock(&gate.lock);
	gate_left();
}

static bool all_quiet(void)
{
	bool quiet;

	pthread_mutex_lock(&gate.lock);
	quiet = gate.unlisted == 0;
	for (struct gate_thread *t = gate.threads; t && quiet; t = t->next)
		quiet = atomic_load(&t->quiet);
	pthread_mutex_unlock(&gate.lock);
	return quiet;
}

void gate_wish(uint64_t deadline_ns)
{
	int ret = 0;

	pthread_once(&gate.once, gate_init);
	if (all_quiet())
		return;
	atomic_fetch_or(&gate_word, GATE_WISHED);
	while (ret == 0) {
		uint32_t left = atomic_load(&gate.left);

		if (!(atomic_load(&gate_word) & GATE_WISHED))
			return;
		ret = futex_wait(&gate.left, left, deadline_ns, false);
	}
}

/* Registered anew each time: a process that was restored may have lost it. */
static int barrier(uint32_t word)
{
	int ret = word & GATE_FENCES ? 0 : barrier_register();

	atomic_thread_fence(memory_order_seq_cst);
	if (ret == 0 && !(word & GATE_FENCES) && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0)
		ret = -errno;
	return ret;
}

int gate_close(uint64_t deadline_ns)
{
	uint32_t word, left;
	int ret;

	pthread_once(&gate.once, gate_init);
	pthread_mutex_lock(&gate.lock);
	word = atomic_fetch_or(&gate_word, GATE_CLOSED);
	atomic_fetch_and(&gate_word, ~(uint32_t)GATE_WISHED);
	pthread_mutex_unlock(&gate.lock);
	ret = barrier(word);
	while (ret == 0) {
		left = atomic_load(&gate.left);
		if (!gate_busy())
			return 0;
		ret = futex_wait(&gate.left, left, deadline_ns, false);
	}
	gate_open();
	return ret;
}

void gate_open(void)
{
	atomic_fetch_and(&gate_word, ~(uint32_t)(GATE_CLOSED | GATE_WISHED));
	futex_wake_all(&gate_word);
}

bool gate_is_closed(void)
{
	return atomic_load(&gate_word) & GATE_CLOSED;
}

void gate_use_fences(void)
{
	atomic_fetch_or(&gate_word, GATE_FENCES);
}

void gate_fork_prepare(void)
{
	pthread_mutex_lock(&gate.lock);
}

void gate_fork_parent(void)
{
	pthread_mutex_unlock(&gate.lock);
}

void gate_fork_child(void)
{
	struct gate_thread *t = &gate_self;

	pthread_mutex_init(&gate.lock, NULL);
	gate.threads = t->listed ? t : NULL;
	t->next = NULL;
	t->at = &gate.threads;
	gate.unlisted = !t->listed && atomic_load(&t->depth) > 0 ? 1 : 0;
	atomic_fetch_and(&gate_word, ~(uint32_t)(GATE_CLOSED | GATE_WISHED));
	if (gate.have_key && barrier_register() < 0)
		atomic_fetch_or(&gate_word, GATE_FENCES);
}
