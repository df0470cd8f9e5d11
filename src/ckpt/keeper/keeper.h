/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_PRIVATE_H
#define KEEPER_PRIVATE_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ckpt/keeper.h"
#include "ckpt/store.h"
#include "device.h"
#include "pool.h"
#include "request.h"
#include "shim/wire.h"

/*
 * hearth-keeper. One main thread reads every socket and never waits for anything but epoll; each engine has a thread that carries out its requests, with lanes (lane.h) as helpers. All that they
 * share is under one lock, keeper.lock; keeper.changed is signalled whenever something of it changed that somebody may wait for. Nobody holds the lock while the driver or the store works, but for
 * the main thread's imports and unmaps of single buffers and what drops a process.
 *
 * A process (struct process) is there from its HELLO to its end. While an operation has it, the operation keeps it beyond that: what is detached has no connection, and what was killed after a
 * dump may still be held. Buffers are the process's; whoever copies one without the lock holds a reference.
 */
#define PROCESSES_MAX 4096
#define ENGINES_MAX 64
#define BUFFERS_MAX 65536

struct object;
struct op;

/**
 * struct buffer - device memory of a process
 * @map:    the physical memory as we see it; none: it is to be filled from the image
 * @fresh:  attach: the new memory, until it is full
 * @made:   attach: the process has its new memory
 * @refs:   users beside the process; @gone: freed, dropped with the last reference
 * @object: what the operation knows of it
 * @image_object: number in the operation's image, or -1
 */
struct buffer {
	struct process *process;
	uint64_t id, va, bytes;
	unsigned flags, refs;
	bool gone, made;
	struct device *device;
	struct mapping map, fresh;
	struct object *object;
	int image_object;
};

enum process_state { PROCESS_RUNNING, PROCESS_CLOSED, PROCESS_DETACHED, PROCESS_BACK };

/** struct ask - a request to a shim that waits for its answer; @fd: came with it, -1: none */
struct ask {
	struct ask *next;
	uint32_t seq;
	bool done, abandoned;
	int fd;
	struct shim_msg answer;
};

/**
 * struct process - a process with the shim in it
 * @fd:     its connection, -1 while it is detached; @pidfd: -1 in tests of the parser only
 * @dead:   it ended, or broke the protocol; what is held of it may still be there
 * @broken: why the connection was closed, for who waits
 * @buffers: ascending by id
 */
struct process {
	struct process *next;
	pid_t pid;
	uid_t uid;
	int fd, pidfd;
	enum process_state state;
	bool dead;
	char name[SHIM_NAME_MAX], broken[128];
	unsigned refusals;
	char refused[SHIM_TEXT_MAX];
	struct buffer **buffers;
	size_t n, cap;
	struct op *op;
	struct ask *asks;
	uint32_t seq;
};

/* struct hold - memory kept under a name after its processes are gone: they are records without connection. @since_ns: CLOCK_MONOTONIC */
struct hold { struct hold *next; char name[REQUEST_NAME_MAX + 1]; struct process *processes; uint64_t since_ns, bytes; };
#define HOLDS_LISTED 512

struct engine {
	struct keeper_server *k;
	struct engine *next;
	int fd;
	uid_t uid;
	pid_t pid;
	pthread_t thread;
	struct request *request;        /* one that waits to be carried out */
	bool busy, hangup, cancel, ended;
	struct op *op;
};

struct keeper_server {
	struct cuda cu;
	struct device devices[DEVICES_MAX];
	int devices_n;
	char run_dir[4096];
	struct pool pool;
	int listen_fd, epoll_fd, wake_fd;
	pthread_mutex_t lock;
	pthread_cond_t changed;         /* CLOCK_MONOTONIC */
	struct process *processes;
	struct hold *holds;             /* the oldest first */
	uint64_t hold_bytes, hold_ns;   /* at most so much, for at most so long (0: no limit) */
	struct engine *engines;
	unsigned processes_n, engines_n, new_n;
	bool stopping;
	atomic_ullong copied_bytes, hashed_bytes;
};

/* ---- process.c: all with the lock held ---- */
struct process *process_find(struct keeper_server *k, pid_t pid);
/** process_new - a record without connection. Return: NULL: no memory. */
struct process *process_new(pid_t pid, const char *name);
struct process *process_free(struct process *p);
/** process_drop - it is gone, or not to be trusted: closed, waiters told; freed unless an operation has it */
void process_drop(struct keeper_server *k, struct process *p, const char *why);
struct buffer *buffer_find(const struct process *p, uint64_t id);
/** buffer_add - @b->id must be above all others. Return: 0, -EINVAL, -ENOSPC, -ENOMEM. */
int buffer_add(struct process *p, const struct buffer *b, struct buffer **ret);
void buffer_ref(struct buffer *b);
void buffer_unref(struct buffer *b);
/** buffers_drop - all buffers of a process; those in use go with their last reference */
void buffers_drop(struct process *p);
/** buffers_move - all buffers of a process to another, which has none */
void buffers_move(struct process *from, struct process *to);
/** buffer_remove - it was freed */
void buffer_remove(struct process *p, struct buffer *b);
uint64_t process_bytes(const struct process *p);
struct device *device_of(struct keeper_server *k, const uint8_t uuid[16]);

/* ---- shims.c ---- */
/** shim_hello - first packet of a connection, taken over. Lock held. */
void shim_hello(struct keeper_server *k, int fd, pid_t pid, uid_t uid, const struct shim_msg *m);
/** shim_readable - packets of a process. Lock held. */
void shim_readable(struct keeper_server *k, struct process *p);
/** shim_ask - send a request. Lock held. @ret: owned by the process until shim_wait() or shim_forget(). Return: 0, -ESRCH, -ENOMEM, -errno. */
int shim_ask(struct keeper_server *k, struct process *p, enum shim_op op, uint64_t id, uint64_t arg0, uint64_t arg1, struct ask **ret, struct hearth_err *err);
/**
 * shim_wait - for an answer. Lock held, released meanwhile. The ask is gone afterwards.
 * @e: whose hang-up or cancel ends the waiting; NULL: nothing does. @ret_fd: NULL where none may come
 * Return: 0, -ETIMEDOUT, -ESRCH, -ECANCELED, -EBADMSG, or the shim's own error: -ENOMEM for a CUresult 2, else -EIO.
 */
int shim_wait(struct keeper_server *k, struct engine *e, struct process *p, struct ask *a, uint64_t deadline_ns, struct shim_msg *ret, int *ret_fd, struct hearth_err *err);

/* ---- hold.c: all with the lock held ---- */
int hold_release(struct keeper_server *k, const char *name, struct hearth_err *err);
/** holds_make_room - give back what is on a device, the oldest first, until there is room for @bytes. For who found too little: one goes in any case. Return: how much there was, 0: none. */
uint64_t holds_make_room(struct keeper_server *k, struct device *d, uint64_t bytes);
/** holds_expire - give back what is old. Return: milliseconds until the next is, -1: none. */
int holds_expire(struct keeper_server *k);
void holds_free(struct keeper_server *k);
/** holds_list - for people: array of {"name", "bytes", "age_ns"} */
json_t *holds_list(struct keeper_server *k);

/* ---- main.c ---- */
/** keeper_watch - epoll on a descriptor; @what: the thing, tagged */
enum watch_kind { WATCH_LISTEN, WATCH_WAKE, WATCH_SIGNAL, WATCH_NEW, WATCH_PROCESS, WATCH_PIDFD, WATCH_ENGINE };
int keeper_watch(struct keeper_server *k, int fd, enum watch_kind kind);
void keeper_unwatch(struct keeper_server *k, int fd);
/** keeper_until - wait for a change until @deadline_ns (CLOCK_MONOTONIC). Lock held. Return: false when the time is over. */
bool keeper_until(struct keeper_server *k, uint64_t deadline_ns);

/* ---- engine.c ---- */
/** engine_new - takes the descriptor; starts its thread. Lock held. Return: 0, -EUSERS, -EAGAIN, -ENOMEM. */
int engine_new(struct keeper_server *k, int fd, pid_t pid, uid_t uid, struct request *first);
/** engine_readable - packets of an engine. Lock held. */
void engine_readable(struct keeper_server *k, struct engine *e);
/** engines_reap - join those whose thread has ended. Lock held. */
void engines_reap(struct keeper_server *k);
/** engine_gone - it hung up or gave up: long work should end */
static inline bool engine_gone(const struct engine *e) { return e && (e->hangup || e->cancel); }
/** engine_progress - tell it, at most ten times a second. Lock not held. */
void engine_progress(struct engine *e, uint64_t done, uint64_t total);

#endif
