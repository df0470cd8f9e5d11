/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fake.h"

/*
 * The checkpoint machine. Who asks writes into the mailbox of the process (struct fake_process), a thread inside that process acts. The thread's own state is the truth, not the file's: a process
 * that CRIU brings back finds in the file what happened after it was dumped. It holds nothing open: the file is mapped, and a futex in a shared mapping is found again by file and offset.
 */
static struct {
	CUprocessState state;
	int driver_version;
	uint8_t uuid[FAKE_DEVICES_MAX][16];
	uint64_t bytes[FAKE_DEVICES_MAX];
	int undumpable;                 /* a descriptor that CRIU refuses, while exported memory is there; -1: none */
} own = { .undumpable = -1 };

static void futex_wait(atomic_uint *word, unsigned seen, const struct timespec *limit)
{
	syscall(SYS_futex, word, FUTEX_WAIT, seen, limit, NULL, 0);
}

static void futex_wake(atomic_uint *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}

/* the driver leaves the descriptors of exported memory open, and CRIU fails on them: a userfaultfd is as unknown to it */
static void hold_undumpable(void)
{
	for (struct phys *p = fake.phys; p; p = p->next)
		if (p->exported && own.undumpable < 0)
			own.undumpable = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
}

static CUresult load_all(void)
{
	CUresult r = CUDA_SUCCESS;
	size_t n = 0;

	for (struct phys *p = fake.phys; !r && p; p = p->next) {
		if (n++ == 1)
			r = call_step("target.restore.half");
		if (!r && p->fd < 0)
			r = phys_load(p);
	}
	return r;
}

static CUresult save_all(void)
{
	CUresult r = CUDA_SUCCESS;
	size_t n = 0;

	for (struct phys *p = fake.phys; !r && p; p = p->next) {
		if (n++ == 1)
			r = call_step("target.checkpoint.half");
		if (!r && p->fd >= 0)
			r = phys_save(p);
	}
	return r;
}

/* how many pages of registered memory are there: those that a userfaultfd still has to fill in are not */
static uint64_t pages_present(int pagemap, const struct host *h)
{
	uint64_t first = h->at.va / 4096, last = (h->at.va + h->at.bytes - 1) / 4096, n = 0, entries[512];

	for (uint64_t at = first; at <= last; at += 512) {
		size_t want = last - at + 1 < 512 ? last - at + 1 : 512;
		ssize_t got = pread(pagemap, entries, want * 8, (off_t)(at * 8));

		for (ssize_t k = 0; k < got / 8; k++)
			n += entries[k] >> 63;
	}
	return n;
}

/* the driver pins registered memory anew, and the kernel does not wait for a page that is still to come */
static CUresult pin_all(bool again)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	CUresult r = pagemap < 0 ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS;

	for (size_t k = 0; !r && k < fake.hosts.n; k++) {
		struct host *h = (struct host *)fake.hosts.v[k];
		uint64_t n = h->registered ? pages_present(pagemap, h) : 0;

		if (again && n < h->present)
			r = CUDA_ERROR_INVALID_VALUE;
		h->present = again ? h->present : n;
	}
	if (pagemap >= 0)
		close(pagemap);
	return r;
}

static CUresult do_lock(unsigned timeout_ms)
{
	CUresult r;

	if (own.state != CU_PROCESS_STATE_RUNNING)
		return CUDA_ERROR_ILLEGAL_STATE;
	r = call_step("target.lock");
	if (!r)
		r = call_close(timeout_ms);
	if (!r)
		own.state = CU_PROCESS_STATE_LOCKED;
	return r;
}

/* what cannot be saved is put back, and the process stays locked */
static CUresult do_checkpoint(void)
{
	CUresult r;

	if (own.state != CU_PROCESS_STATE_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	r = call_step("target.checkpoint");
	if (!r)
		r = pin_all(false);
	if (r)
		return r;
	r = save_all();
	if (r) {
		if (load_all())
			own.state = CU_PROCESS_STATE_FAILED;
		return r;
	}
	hold_undumpable();
	own.driver_version = fake.machine->driver_version;
	for (int d = 0; d < FAKE_DEVICES_MAX; d++) {
		memcpy(own.uuid[d], fake.machine->device[d].uuid, 16);
		own.bytes[d] = fake.machine->device[d].bytes;
	}
	machine_leave();
	own.state = CU_PROCESS_STATE_CHECKPOINTED;
	return CUDA_SUCCESS;
}

static bool device_used(unsigned d)
{
	for (struct ctx *c = fake.contexts; c; c = c->next)
		if (!c->destroyed && c->device == d)
			return true;
	for (struct phys *p = fake.phys; p; p = p->next)
		if (p->device == d)
			return true;
	return false;
}

/* every device in use must be there again, or its replacement: at the same place, as the fake's devices are told apart by their number */
static CUresult devices_there(const struct fake_process *box)
{
	for (unsigned d = 0; d < FAKE_DEVICES_MAX; d++) {
		const uint8_t *want = own.uuid[d];

		if (!device_used(d))
			continue;
		for (uint32_t k = 0; k < box->pairs; k++)
			if (memcmp(box->old_uuid[k], own.uuid[d], 16) == 0)
				want = box->new_uuid[k];
		if (d >= fake.machine->devices || memcmp(fake.machine->device[d].uuid, want, 16) != 0)
			return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

static CUresult do_restore(const struct fake_process *box)
{
	CUresult r;

	if (own.state != CU_PROCESS_STATE_CHECKPOINTED)
		return CUDA_ERROR_ILLEGAL_STATE;
	r = call_step("target.restore");
	if (r)
		return r;
	if (fake.machine->driver_version != own.driver_version)
		return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
	r = devices_there(box);
	if (!r)
		r = pin_all(true);
	if (!r)
		r = machine_join();
	if (r)
		return r;
	r = load_all();
	if (r) {
		if (save_all())
			own.state = CU_PROCESS_STATE_FAILED;
		machine_leave();
		return r;
	}
	if (own.undumpable >= 0)
		close(own.undumpable);
	own.undumpable = -1;
	fake.restored = true;
	own.state = CU_PROCESS_STATE_LOCKED;
	return CUDA_SUCCESS;
}

static CUresult do_unlock(void)
{
	CUresult r;

	if (own.state != CU_PROCESS_STATE_LOCKED)
		return CUDA_ERROR_ILLEGAL_STATE;
	r = call_step("target.unlock");
	if (r)
		return r;
	own.state = CU_PROCESS_STATE_RUNNING;
	call_open();
	return CUDA_SUCCESS;
}

static CUresult act(const struct fake_process *box)
{
	switch (box->command) {
	case FAKE_GET_STATE:
		return CUDA_SUCCESS;
	case FAKE_LOCK:
		return do_lock(box->timeout_ms);
	case FAKE_CHECKPOINT:
		return do_checkpoint();
	case FAKE_RESTORE:
		return do_restore(box);
	case FAKE_UNLOCK:
		return do_unlock();
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static void *checkpoint_main(void *arg)
{
	struct fake_process *box = arg;

	for (;;) {
		unsigned asked = atomic_load(&box->asked);

		box->restore_tid = (int)syscall(SYS_gettid);
		if (asked == atomic_load(&box->answered)) {
			futex_wait(&box->asked, asked, NULL);
			continue;
		}
		box->result = act(box);
		box->state = own.state;
		atomic_store(&box->answered, asked);
		futex_wake(&box->answered);
	}
	return NULL;
}

CUresult checkpoint_start(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t t;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t, &attr, checkpoint_main, fake.process);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

/* ---- the side that asks ---- */
struct request { enum fake_command command; unsigned timeout_ms, pairs; const CUcheckpointGpuPair *pair; };

/* a wait that ends when the process does */
static CUresult answer_wait(struct fake_process *box, unsigned asked, int pid)
{
	const struct timespec look = { .tv_nsec = 50000000 };
	unsigned answered;

	while ((answered = atomic_load(&box->answered)) != asked) {
		futex_wait(&box->answered, answered, &look);
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return CUDA_ERROR_INVALID_VALUE;
	}
	return (CUresult)box->result;
}

static CUresult ask(int pid, const struct request *q, struct fake_process **ret)
{
	struct fake_process *box;
	unsigned asked;
	CUresult r;

	if (pid <= 0 || (kill(pid, 0) < 0 && errno == ESRCH) || q->pairs > FAKE_PAIRS_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	box = fake_process_open(fake.dir, pid, false);
	if (!box)
		return CUDA_ERROR_NOT_INITIALIZED;      /* no CUDA in it */
	machine_lock(&box->lock);
	box->command = q->command;
	box->timeout_ms = q->timeout_ms;
	box->pairs = q->pairs;
	for (unsigned k = 0; k < q->pairs; k++) {
		memcpy(box->old_uuid[k], q->pair[k].oldUuid.bytes, 16);
		memcpy(box->new_uuid[k], q->pair[k].newUuid.bytes, 16);
	}
	asked = atomic_load(&box->answered) + 1;
	atomic_store(&box->asked, asked);
	futex_wake(&box->asked);
	r = answer_wait(box, asked, pid);
	pthread_mutex_unlock(&box->lock);
	if (ret)
		*ret = box;
	else
		munmap(box, sizeof(*box));
	return r;
}

EXPORT CUresult cuCheckpointProcessGetState(int pid, CUprocessState *ret)
{
	struct request q = { .command = FAKE_GET_STATE };
	struct fake_process *box = NULL;
	CUresult r;

	CALL(CALL_INIT | CALL_UNGATED);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	r = ask(pid, &q, &box);
	if (!r)
		*ret = (CUprocessState)box->state;
	if (box)
		munmap(box, sizeof(*box));
	return r;
}

EXPORT CUresult cuCheckpointProcessLock(int pid, CUcheckpointLockArgs *args)
{
	struct request q = { .command = FAKE_LOCK, .timeout_ms = args ? args->timeoutMs : 0 };

	CALL(CALL_INIT | CALL_UNGATED);
	return ask(pid, &q, NULL);
}

EXPORT CUresult cuCheckpointProcessCheckpoint(int pid, CUcheckpointCheckpointArgs *args)
{
	struct request q = { .command = FAKE_CHECKPOINT };

	CALL(CALL_INIT | CALL_UNGATED);
	return ask(pid, &q, NULL);
}

EXPORT CUresult cuCheckpointProcessRestore(int pid, CUcheckpointRestoreArgs *args)
{
	struct request q = { .command = FAKE_RESTORE, .pairs = args ? args->gpuPairsCount : 0, .pair = args ? args->gpuPairs : NULL };

	CALL(CALL_INIT | CALL_UNGATED);
	return q.pairs && !q.pair ? CUDA_ERROR_INVALID_VALUE : ask(pid, &q, NULL);
}

EXPORT CUresult cuCheckpointProcessUnlock(int pid, CUcheckpointUnlockArgs *args)
{
	struct request q = { .command = FAKE_UNLOCK };

	CALL(CALL_INIT | CALL_UNGATED);
	return ask(pid, &q, NULL);
}

EXPORT CUresult cuCheckpointProcessGetRestoreThreadId(int pid, int *ret)
{
	struct fake_process *box;

	CALL(CALL_INIT | CALL_UNGATED);
	if (!ret || pid <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	box = fake_process_open(fake.dir, pid, false);
	if (!box)
		return CUDA_ERROR_NOT_INITIALIZED;
	*ret = box->restore_tid;
	munmap(box, sizeof(*box));
	return CUDA_SUCCESS;
}
