/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_CREW_H
#define SCHED_CREW_H

#include <sys/types.h>

#include "disp.h"

/*
 * What workers are.
 *
 * Processes (crew_proc): a small process, the nursery, initialises the application and forks a worker for each slot, and again when one dies. It has one thread and runs
 * nothing of ours but a loop, so a fork in it is as good as a new program, and what an application does at its start happens once and not where requests are
 * scheduled. It stands between the server and its workers: it reaps them and says so. If it dies itself, its workers end with it and all begin anew.
 *
 * Threads (crew_thread): for programs that call the scheduler in their own process. One that hangs cannot be ended, so what it had is taken from it and
 * another thread gets its place; should it come back, it ends.
 */

/**
 * struct crew_work - what to do in the nursery, in workers, in threads
 * @init:   processes: in the nursery, before any worker. @error: why not, @room bytes. Return: 0, -errno.
 * @worker: with @slot until slot_run ends; says slot_ready
 * @done:   processes: in the nursery, after the last worker of an orderly end
 */
struct crew_work {
	int (*init)(void *ctx, char *error, size_t room);
	void (*worker)(void *ctx, uint32_t worker, struct slot *slot);
	void (*done)(void *ctx);
	void *ctx;
};

/**
 * struct crew_config
 * @shared: processes: all workers are threads of one process
 * @cpus:   one a worker, to pin it to; NULL: not pinned
 * @slots:  processes: as in disp_config, in shared memory; outlive the crew
 */
struct crew_config {
	uint32_t workers;
	bool shared;
	const int *cpus;
	struct slot *const *slots;
	struct crew_work work;
};

struct crew_proc;
extern const struct disp_crew crew_proc_ops;
/** crew_proc_new - the nursery runs and its init is done. Makes the process a subreaper. Return: 0, -errno with message (init's own, where it refused). */
int crew_proc_new(const struct crew_config *cfg, struct crew_proc **ret, struct hearth_err *err);
/** crew_proc_bind - before disp_run */
void crew_proc_bind(struct crew_proc *c, struct disp *d);
/** crew_proc_pid - of a worker; 0 = none now. Any thread. */
pid_t crew_proc_pid(const struct crew_proc *c, uint32_t worker);
pid_t crew_proc_nursery(const struct crew_proc *c);
/** crew_proc_free - after disp_run: workers have been told to end and are waited for, 5 s at most. NULL is fine. Return: NULL. */
struct crew_proc *crew_proc_free(struct crew_proc *c);

struct crew_thread;
extern const struct disp_crew crew_thread_ops;
/** crew_thread_new - @bell, @idle: for the slots, which the crew makes itself; @cfg->slots is not used */
int crew_thread_new(const struct crew_config *cfg, struct bell *bell, const struct idle *idle, struct crew_thread **ret, struct hearth_err *err);
/** crew_thread_slots - for disp_config */
struct slot *const *crew_thread_slots(const struct crew_thread *c);
void crew_thread_bind(struct crew_thread *c, struct disp *d);
/** crew_thread_free - joins those that were not given up */
struct crew_thread *crew_thread_free(struct crew_thread *c);

/** crew_pin - the calling thread on one core. Return: 0, -errno. */
int crew_pin(int cpu);

#endif
