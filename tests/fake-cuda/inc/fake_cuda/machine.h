/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_CUDA_MACHINE_H
#define FAKE_CUDA_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What the processes of one pretended machine share: a folder, $HEARTH_FAKE_CUDA_DIR, with the file "machine" (devices, memory in use, faults) and one file "process-PID" for each process that
 * called cuInit (mailbox of the checkpoint machine, number of calls of each entry point). Both are mapped, never held open, and of fixed size, so that CRIU maps them again when it restores.
 * The first process makes "machine" from $HEARTH_FAKE_CUDA; after that only fake-cuda(the tool) changes it.
 *
 * HEARTH_FAKE_CUDA: words with commas between. devices=N memory=SIZE[K|M|G] (each) driver=NUMBER (as cuDriverGetVersion) cc=MAJOR.MINOR name=TEXT machine=N (seed of the UUIDs) mps=0|1 and faults, which
 * are of this process alone: fail=CALL:N:ERROR delay=CALL:N:MILLISECONDS kill=CALL:N. CALL is an entry point without version; N counts from 1, 0 is every call. Besides the entry points
 * there are the steps of a checkpoint, in the process that is checkpointed: target.lock target.checkpoint target.checkpoint.half target.restore target.restore.half target.unlock.
 */
#define FAKE_MACHINE_MAGIC 0x66616b65u
#define FAKE_DEVICES_MAX 8
#define FAKE_SLOTS 64
#define FAKE_PHYS_MAX 16384
#define FAKE_FAULTS_MAX 32
#define FAKE_CALLS_MAX 512
#define FAKE_NAME_MAX 56
#define FAKE_PAIRS_MAX 8

struct fake_device {
	uint8_t uuid[16];
	char name[64];
	uint64_t bytes;
	int32_t major, minor;
};

enum fake_fault_kind { FAKE_FAULT_NONE, FAKE_FAULT_FAIL, FAKE_FAULT_DELAY, FAKE_FAULT_KILL };
struct fake_fault {
	uint32_t kind;                  /* enum fake_fault_kind */
	int32_t pid;                    /* 0: of every process */
	uint32_t nth;                   /* 0: each */
	int32_t value;                  /* CUresult, or milliseconds */
	atomic_uint hits;
	char call[FAKE_NAME_MAX];
};

/* a piece of device memory; holders: bit K for the process in slot K */
struct fake_phys { uint64_t bytes, holders; uint32_t device, used; };
struct fake_slot { int32_t pid, unused; uint64_t start; };

struct fake_machine {
	uint32_t magic, devices;
	int32_t driver_version;
	uint32_t mps;
	pthread_mutex_t lock;           /* shared, robust */
	struct fake_device device[FAKE_DEVICES_MAX];
	uint64_t used_bytes[FAKE_DEVICES_MAX];
	struct fake_slot slot[FAKE_SLOTS];
	struct fake_fault fault[FAKE_FAULTS_MAX];
	struct fake_phys phys[FAKE_PHYS_MAX];
};

enum fake_command { FAKE_GET_STATE = 1, FAKE_LOCK, FAKE_CHECKPOINT, FAKE_RESTORE, FAKE_UNLOCK };
struct fake_counter { char call[FAKE_NAME_MAX]; atomic_ullong calls; };

struct fake_process {
	uint32_t magic;
	int32_t pid;
	pthread_mutex_t lock;           /* shared, robust: who asks */
	atomic_uint asked, answered;    /* futexes: a request is there while they differ */
	uint32_t command, timeout_ms, pairs;
	uint8_t old_uuid[FAKE_PAIRS_MAX][16], new_uuid[FAKE_PAIRS_MAX][16];
	int32_t result, state, restore_tid;
	atomic_uint work_queued;        /* pieces of device work that were put in a stream */
	struct fake_counter counter[FAKE_CALLS_MAX];
};

/** fake_machine_open - map (and make, from @config, where it is not there) the machine in folder @dir. Return: NULL, errno set, when that cannot be. */
struct fake_machine *fake_machine_open(const char *dir, const char *config);
/** fake_machine_configure - change devices, memory, driver, name, machine (UUIDs) and mps of an open machine, as written above. Return: 0, -EINVAL. */
int fake_machine_configure(struct fake_machine *m, const char *config);
/** fake_fault_parse - a word fail=, delay= or kill= into *ret. Return: 0, -EINVAL (also: another word). */
int fake_fault_parse(const char *word, struct fake_fault *ret);
/** fake_process_open - map process-PID in @dir; @create: emptied and made anew. Return: NULL, errno set. */
struct fake_process *fake_process_open(const char *dir, pid_t pid, bool create);

#endif
