/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_KEEPER_H
#define CKPT_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Client of hearth-keeper, for who checkpoints and restores. A connection owns at most one operation, on the processes named to keeper_begin() or keeper_load(). A dump is
 *
 *   begin -> [precopy] -> stop -> detach -> driver_checkpoint -> (CRIU) -> [driver_restore -> attach] -> [drain] -> (store_adopt, store_commit) -> end
 *
 * and a restore is  [stage] -> (CRIU) -> load -> driver_restore -> attach -> end.  A call in another order is -EPROTO and changes nothing.
 *
 * A step that fails leaves the operation where it was before, unless it says otherwise. A connection that ends before keeper_end(), for whatever reason, is undone as by keeper_abort(): gates are
 * opened, checkpointed processes restored, memory put back, from whichever step. What keeper_hold() named stays if all its processes are dead by then.
 *
 * In the image: object "gpu", JSON, tells the buffers; object "gpu-PID-ID" holds the bytes of buffer ID of process PID. Both come with the descriptor of keeper_drain().
 *
 * Every function blocks; none but keeper_close() may be used by two threads at once on one connection. Errors of all of them: -EPIPE (the keeper ended), -EPROTO, -EPERM, -ENOMEM, -errno of the socket.
 * Only root and the user that the keeper runs as may use a connection; the owner of a program may inspect it.
 */
#define KEEPER_SOCKET "/run/hearth/keeper.sock"
#define KEEPER_PIDS_MAX 512
#define KEEPER_NOTES_MAX 512

struct keeper;

/** struct keeper_report - what a step did; fields that a step has no use for are 0
 * @total_ns:    the whole step, as the keeper saw it
 * @gate_ns:     stop: until all gates were closed, calls had returned and all contexts were idle. attach: until all gates were open again.
 * @hash_ns:     digests of device memory, waited for (not what ran beside copies)
 * @snapshot_ns: stop: copying changed chunks within device memory
 * @copy_ns:     copies between device and host, store included
 * @wait_ns:     stop: before that, until the program waited for its device by itself. attach: until all processes were connected again
 * @reserve_ns:  stop: getting the snapshot's memory, before the gates closed
 * @create_ns:   attach: while waiting for new memory
 * @lock_ns, @driver_ns: driver steps: until all processes were locked; the driver's own work
 * @buffers, @bytes: taken part
 * @dirty_bytes: stop: that changed since they were copied; @snapshot_bytes and @copied_bytes of them went into device memory and to the host; the rest lies in memory that is held
 * @copied_bytes: precopy, drain, attach: moved between device and host
 * @known_bytes: not copied, as the store had them; @zero_bytes: not copied, as they are zeros
 * @rounds:      precopy: passes over the memory
 * @notes:       every fallback taken and why, "; " between; "" = none
 */
struct keeper_report {
	uint64_t total_ns, gate_ns, hash_ns, snapshot_ns, copy_ns, reserve_ns, wait_ns, create_ns, lock_ns, driver_ns;
	uint64_t buffers, bytes, dirty_bytes, snapshot_bytes, copied_bytes, known_bytes, zero_bytes, rounds;
	char notes[KEEPER_NOTES_MAX];
};

/** keeper_progress - of a long step. @done, @total: bytes; @total may change. Return: false to give up (the step ends with -ECANCELED). */
typedef bool (*keeper_progress)(void *ctx, uint64_t done, uint64_t total);

/** keeper_connect - @path: NULL = KEEPER_SOCKET. Return: 0, -ENOENT or -ECONNREFUSED (no keeper runs), -errno. */
int keeper_connect(const char *path, struct keeper **ret, struct hearth_err *err);
/** keeper_close - end the connection, whatever it was doing (undone). NULL is fine; returns NULL. Waits for nothing. */
struct keeper *keeper_close(struct keeper *k);
/** keeper_cancel - make the step that another thread waits for end with -ECANCELED as soon as it can. Thread-safe and safe in a signal handler. */
void keeper_cancel(struct keeper *k);

/** struct keeper_info - @driver_version: as cuDriverGetVersion, 13000 = CUDA 13.0. @checkpoint, @export: whether the driver has cuCheckpointProcess* and exportable memory. @held: names of keeper_hold() */
struct keeper_info {
	pid_t pid;
	int driver_version;
	unsigned devices, processes, operations, held;
	bool checkpoint, export;
	uint64_t buffers, bytes, held_bytes;            /* of device memory known; of it held for processes that are not there */
	uint64_t pool_bytes, pool_ready_bytes;          /* of memory to be prepared for images; of it there */
	uint64_t copied_bytes, hashed_bytes;            /* since it started */
};
/** keeper_info - for doctor and metrics; anybody may ask */
int keeper_info(struct keeper *k, struct keeper_info *ret, struct hearth_err *err);

/** struct keeper_process - @cuda: the driver knows it (it must go through the driver steps); @shim: connected to the keeper */
struct keeper_process { pid_t pid; bool cuda, shim; unsigned refusals; uint64_t buffers, bytes; };
/**
 * struct keeper_inspection - what a checkpoint of some processes would meet
 * @refusals: SHIM_MANAGED and so on (shim/wire.h); SHIM_OTHER also for what the keeper itself finds. Not 0: keeper_begin() will fail with @why
 * @notes:    fallbacks that would be taken
 * @process:  one for each pid asked about, in that order, up to KEEPER_PIDS_MAX
 */
struct keeper_inspection {
	unsigned devices, refusals;
	uint64_t buffers, bytes;
	char why[400], notes[KEEPER_NOTES_MAX];
	size_t n;
	struct keeper_process process[KEEPER_PIDS_MAX];
};
/** keeper_inspect - changes nothing; needs no operation. Processes that have nothing to do with CUDA are fine. Return: 0, -ESRCH (a pid does not exist), -E2BIG. */
int keeper_inspect(struct keeper *k, const pid_t *pids, size_t n, struct keeper_inspection *ret, struct hearth_err *err);

/** keeper_begin - an operation on these processes. Return: 0, -EBUSY (another has one of them; the message names it), -EOPNOTSUPP (refused: the message says why), -ESRCH, -E2BIG. */
int keeper_begin(struct keeper *k, const pid_t *pids, size_t n, struct hearth_err *err);

/** struct keeper_store - where device memory goes. @base: image whose contents are expected, NULL = none; @zstd_level: see struct store_options */
struct keeper_store { const char *dir, *base; int zstd_level; };
/**
 * keeper_precopy - copy device memory into the store while the processes run
 * @progress: may be NULL
 * Optional: without it everything is dirty at the stop, and the store is named by keeper_drain(). May be called again: then only what changed is copied.
 * Return: 0, -ENOSPC, -ECANCELED, -ENOENT (base), -errno of the store. On failure what was copied is forgotten.
 */
int keeper_precopy(struct keeper *k, const struct keeper_store *store, keeper_progress progress, void *ctx, struct keeper_report *ret, struct hearth_err *err);
/**
 * keeper_stop - close the gates and see to it that all device memory is safe
 * @runs_on:    the processes will run on: what changed is copied away now. Otherwise it stays where it is, as it is held from detach on.
 * @timeout_ns: for the gates (a kernel that does not end); 0 = 10 s
 * Return: 0, -ETIMEDOUT, -ESRCH (a process ended), -EOPNOTSUPP (something refused appeared). On failure all gates are open again.
 */
int keeper_stop(struct keeper *k, bool runs_on, uint64_t timeout_ns, struct keeper_report *ret, struct hearth_err *err);
/** keeper_detach - the processes give up their device memory; the keeper holds it. Return: 0, -ETIMEDOUT, -ESRCH. On failure keeper_abort() puts back those that had. */
int keeper_detach(struct keeper *k, struct keeper_report *ret, struct hearth_err *err);
/**
 * keeper_driver_checkpoint - lock all processes that use CUDA, then checkpoint each
 * @timeout_ns: for the locks; 0 = 10 s
 * Return: 0, -ETIMEDOUT (a lock), -EIO (the driver; the message has its error), -EOPNOTSUPP. On failure those that were checkpointed are restored and all unlocked.
 */
int keeper_driver_checkpoint(struct keeper *k, uint64_t timeout_ns, struct keeper_report *ret, struct hearth_err *err);
/** keeper_driver_restore - restore and unlock them. They must be able to run (CRIU has let go of them). Return: 0, -EIO, -ESRCH. On failure processes may be lost: the message says which. */
int keeper_driver_restore(struct keeper *k, struct keeper_report *ret, struct hearth_err *err);
/**
 * keeper_attach - device memory comes back, then the gates are opened
 * Wakes the processes through the gate files of their programs (PROGRAMS/NAME/gate beside the keeper's socket; keeper_wake() for others), waits until all have connected again, gives them memory, fills it
 * from what is held or from the image of keeper_load(), every chunk of an image checked, and opens the gates.
 * @timeout_ns: for the processes to come back; 0 = 30 s
 * Return: 0, -ETIMEDOUT, -ESRCH, -ENOMEM (device memory is short), -EBADMSG (the image is damaged), -errno. On failure it may be tried again; nothing that is held is lost.
 */
int keeper_attach(struct keeper *k, uint64_t timeout_ns, keeper_progress progress, void *ctx, struct keeper_report *ret, struct hearth_err *err);
/**
 * keeper_drain - what is not in the store yet goes there, and the objects are sealed
 * After stop, at any time, also while the processes run on. After precopy alone: the image is good as a base, but is no state that ever was.
 * @store:  as for precopy, which must have had the same; may be NULL then
 * @ret_fd: for store_adopt(); the caller's. keeper_end() is due after the commit.
 * Return: 0, -ENOSPC, -ECANCELED, -errno of the store. On failure it may be tried again.
 */
int keeper_drain(struct keeper *k, const struct keeper_store *store, keeper_progress progress, void *ctx, int *ret_fd, struct keeper_report *ret, struct hearth_err *err);
/**
 * keeper_hold - after detach: device memory stays in HBM under a name when the processes are killed and the operation is over, until keeper_load() takes it or keeper_release_held()
 * @name: [A-Za-z0-9._-]{1,200}
 * It is gone when the keeper ends, and before that when it is in the way of a program, too old, or too much (ckpt_hold_time, ckpt_hold_bytes of hearthd). Return: 0, -EEXIST, -EINVAL, -EFBIG (more than may be held).
 */
int keeper_hold(struct keeper *k, const char *name, struct hearth_err *err);
/** struct keeper_held - what is held under a name */
struct keeper_held { char name[201]; uint64_t bytes, age_ns; };
/** keeper_held - @ret: heap, the oldest first. Anybody may ask. Return: 0, -ENOMEM. */
int keeper_held(struct keeper *k, struct keeper_held **ret, size_t *ret_n, struct hearth_err *err);
/** keeper_release_held - Return: 0, -ENOENT, -EBUSY (an operation uses it) */
int keeper_release_held(struct keeper *k, const char *name, struct hearth_err *err);

/** struct keeper_pid_map - a process of an image, and what it is called now */
struct keeper_pid_map { pid_t was, is; };
/**
 * keeper_stage - begin an operation that brings processes back before they are there
 * Takes what is held, or opens the image and goes on, while this has long returned, to copy device memory from it into memory of the keeper's own, checked, as far as the device has room: keeper_attach() then finds it there.
 * What was held is held again if the operation ends before keeper_attach().
 * @store, @image, @hold: as for keeper_load(), which comes later and names none of them again
 * Waits for nothing; keeper_staged() is to be called next. Return: 0, -errno.
 */
int keeper_stage(struct keeper *k, const struct keeper_store *store, const char *image, const char *hold, struct hearth_err *err);
/** keeper_staged - the image is open, or what was held is taken. Return: 0, -ENOENT, -EBADMSG, -EPROTO, -EOPNOTSUPP (no such device here). */
int keeper_staged(struct keeper *k, struct keeper_report *ret, struct hearth_err *err);
/**
 * keeper_load - an operation that brings restored processes back
 * @store:  where the image is; @base and @zstd_level unused. @image: in it. Both NULL: from @hold alone, or after keeper_stage()
 * @hold:   name given to keeper_hold(); NULL = none. When it is not there (any more), the image is used and @ret says so
 * @map:    every process of the image that had device memory must be in it; all processes that the driver must restore
 * Return: 0, -ENOENT, -EBADMSG, -EPROTO (order, or the image is of a newer version), -EOPNOTSUPP (no such device here; too little memory on it), -EBUSY, -ESRCH.
 */
int keeper_load(struct keeper *k, const struct keeper_store *store, const char *image, const char *hold, const struct keeper_pid_map *map, size_t n, struct keeper_report *ret, struct hearth_err *err);

/** keeper_abort - undo: the processes run on as if nothing had happened; what was copied is dropped. Return: 0, -EIO or -ESRCH (a process is lost; the message names it). The operation is over either way. */
int keeper_abort(struct keeper *k, struct keeper_report *ret, struct hearth_err *err);
/** keeper_end - the operation is over and done. Memory that is held without a name is released: its processes are expected to be gone, or back. Return: 0, -EPROTO (gates are closed: attach or hold first; or kill the processes). */
int keeper_end(struct keeper *k, struct hearth_err *err);

/** keeper_wake - wake the processes that wait on a gate file, so that they connect to the keeper. Needs no keeper. Return: 0, -EBADMSG (no gate file), -errno. */
int keeper_wake(const char *gate_path, struct hearth_err *err);

#endif
