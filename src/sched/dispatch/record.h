/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_RECORD_H
#define SCHED_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The live trace: a line "t_ns,type,service_ns" for each request that was served, in order of arrival, which `hearth sim --trace FILE` replays. The dispatcher
 * fills blocks and never waits; a thread puts them in order and writes them. Left out and counted is what comes faster than the disk takes it, and what
 * ends after RECORD_WINDOW later ones.
 */
#define RECORD_WINDOW 65536
struct recorder;

/**
 * recorder_open - begin a trace
 * @path:  replaced
 * @now:   time 0 of the file
 * @names: of the types, @types of them; borrowed until recorder_close
 * Return: 0, -errno with message.
 */
int recorder_open(const char *path, uint64_t now, const char *const *names, uint32_t types, struct recorder **ret, struct hearth_err *err);
/** recorder_put - one thread's. @order: counts the requests that are put or voided, from 0, and wraps. @t_ns: arrival, not before recorder_open's. */
void recorder_put(struct recorder *r, uint32_t order, uint64_t t_ns, uint32_t type, uint64_t service_ns);
/** recorder_void - the request of that number has no line: it was not served */
void recorder_void(struct recorder *r, uint32_t order);
/** recorder_push - what there is goes to the writer, however little; the same thread's, now and then */
void recorder_push(struct recorder *r);
/** recorder_pending - is there something to push? The same thread's. */
bool recorder_pending(const struct recorder *r);
/** recorder_lost - lines left out. Any thread. */
uint64_t recorder_lost(const struct recorder *r);
/** recorder_close - NULL is fine. @err: where writing failed, the first reason. Return: NULL. */
struct recorder *recorder_close(struct recorder *r, struct hearth_err *err);

#endif
