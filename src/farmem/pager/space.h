/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_SPACE_H
#define FARMEM_PAGER_SPACE_H

#include "pager.h"

/* One address space: its userfaultfd, what leaves it and comes back. All of it with the space's lock held, unless it says otherwise. */

/* space.c: events and faults */

/** space_open - map what the state tells of. Return: 0, -errno. */
int space_open(struct pager *p, struct space *s);
/** space_close - its descriptors, memory and place are free again; its pages in the pool are the caller's to forget. Not while fetches are out. */
void space_close(struct space *s);
/** space_let_go - it has all its memory: nothing of it is watched any more */
void space_let_go(struct space *s);
/** space_recover - after another worker was killed: finish what it had begun */
void space_recover(struct space *s);
/** space_readable - events and faults of its userfaultfd, until there are none or pages are being moved out. The last fault's thread still waits: fetch_answered(). */
void space_readable(struct space *s, struct worker *w);
/** space_park - a fault to which nothing can be copied until an event has been read */
void space_park(struct space *s, uint64_t address);
/** space_lost - memory is lost: nobody reads zeros, its target is told */
void space_lost(struct space *s, int error, const char *why);
/** space_gone - its address space is no more */
static inline void space_gone(struct space *s) { s->gone = true; }
struct target *space_target(const struct space *s);
/** space_recording - a request runs: what is touched is of the working set */
bool space_recording(const struct space *s);
/** space_bell - have a thread look at it */
void space_bell(struct space *s);
/** space_forget - an id is no longer needed; may be kept for a while */
void space_forget(struct space *s, uint64_t id);
/** space_flush - tell the store what it can forget */
void space_flush(struct space *s);
/** space_flush_some - of much, without the lock meanwhile. While fetches are out. */
void space_flush_some(struct space *s);
struct farmem_object space_object(const struct space *s);
/** space_children - whether a child of this one has pages of it in the pool */
bool space_children(const struct space *s);

/* between two looks at whether others still wait for a processor */
#define YIELD_LOOK_MS 2

/* fetch.c: pages that come back */

/** fetch_fault - the page of a fault and some around it; whoever waits goes on with fetch_answered() */
void fetch_fault(struct space *s, struct worker *w, uint64_t address);
/** fetch_begin - have pages come back. @all: all that is away, else the working set without its sample. @patience_ns: so long, at most, it may wait while others wait for processors, and so may whoever touches what is away */
int fetch_begin(struct space *s, bool all, uint64_t bytes, uint64_t patience_ns);
/** fetch_waits - whether it does now. What is not active does not. */
bool fetch_waits(struct space *s);
/** fetch_hurry - it waits no longer */
void fetch_hurry(struct space *s);
/** fetch_turn - from here on other pages than before are sampled and tried */
void fetch_turn(struct space *s);
/** fetch_try - whether a page that came along with one that was used is to be away for once, to see whether it is used itself. @entry: of @address; is changed then. */
bool fetch_try(struct space *s, uint64_t address, uint64_t *entry);
/** fetch_step - the next batch, by whichever worker; the lock is given up meanwhile. Return: there is more to do at once. */
bool fetch_step(struct space *s, struct worker *w);
/** fetch_complete - nothing is away */
bool fetch_complete(const struct space *s);
/** fetch_copy - pages into the process. @from: contiguous. @mode: 0, UFFDIO_COPY_MODE_DONTWAKE. Return: how many, -EEXIST (the first is there), -EAGAIN (an event is to be read first), -ENOENT (no mapping), -ESRCH, -errno */
int fetch_copy(struct space *s, uint64_t address, const uint8_t *from, unsigned pages, uint64_t mode);
void fetch_wake(struct space *s, uint64_t address);
/** fetch_answered - those whose fault was answered last go on. Last of all: they have our processor then, for as long as they like. */
void fetch_answered(struct space *s);

/* share.c: many pages that come back */

/** share_ask - by its worker, before a batch: others are asked to take some, if many are left */
void share_ask(struct space *s);
/** share_help - a batch, by another worker than its own. Return: there is more to do at once. */
bool share_help(struct space *s, struct worker *w);
/** share_stop - nobody takes more of it before its worker asks again */
void share_stop(struct space *s);
/** share_copy - fetch_copy() without the lock, of pages that were away under it. They may have been dropped, moved or answered when this returns. While fetches are out. */
int share_copy(struct space *s, uint64_t address, const uint8_t *from, unsigned pages);
/**
 * share_copies_end - wait for all copies that were begun without the lock, a few pages each
 * None begins before the lock is given up: what is away in the index then has nobody who is about to copy it. Before an event is read, and before pages leave.
 */
void share_copies_end(struct space *s);

/* handover.c: who waited gets the processor */

int handover_start(struct pager *p);
/** handover - as fetch_answered(), and give the space's lock up. @alone: nobody else waits for @w. Context: @w's thread, which may get no processor until the one that it wakes waits again. */
void handover(struct space *s, struct worker *w, bool alone);
/** handover_late - whether the last one took so long that the guard ended it. Told once. */
bool handover_late(struct worker *w);
/** handover_pause - somebody had to wait for @w meanwhile: it does without for a while */
void handover_pause(struct worker *w);

/* out.c: pages that leave */

/** out_scan - take in what is present. @ret: if not NULL, runs of present pages that are covered. @uncovered: as for look_mappings(). Return: 0, -ESRCH, -errno. */
int out_scan(struct space *s, struct look_spans *ret, uint64_t uncovered[LOOK_REASONS]);
/** out_barrier - what belongs to no segment yet is of this one. Return: as out_scan(). */
int out_barrier(struct space *s, enum farmem_segment segment);
/** out_begin - add to what is to leave. Return: 0, -EBUSY (no helper, or a child shares its memory), -errno. */
int out_begin(struct space *s, unsigned segments, uint64_t bytes);
/** out_step - the next batch, if none is under way. Return: there is more to do at once. */
bool out_step(struct space *s);
/** out_yields - whether what is to leave next should rather wait a little, as others wait for a processor; not for long. Return: it is worth asking again soon. */
bool out_yields(struct space *s);
void out_cancel(struct space *s);
/** out_back - what is left of the batch goes back into the process; ends the batch, at once or with the helper's answer */
void out_back(struct space *s);
/** out_helper - a packet of the helper's, or the end of its connection */
void out_helper(struct space *s);
/** out_leaving - which page of the batch an address is; -1 none */
int out_leaving(const struct space *s, uint64_t address);
/** out_read - the stage into our memory, if pages are in it. */
void out_read(struct space *s);
/** out_recover - for space_recover() */
void out_recover(struct space *s);

/* worker.c */

int workers_start(struct pager *p);
/** worker_adopt - serve a space, on the processor where its process runs. Return: 0, -errno. */
int worker_adopt(struct space *s);
void worker_leave(struct space *s);
/** worker_leave_helper - its helper is gone */
void worker_leave_helper(struct space *s);
/** worker_hold - its userfaultfd is not looked at, or is again */
void worker_hold(struct space *s, bool hold);
void worker_ring(struct worker *w);
/** worker_wake - ring it if it sleeps. Return: it does. */
bool worker_wake(struct worker *w);
/** worker_settle - to where the process runs now, if that is elsewhere */
void worker_settle(struct space *s);

int pages_add(struct pages *p, uint64_t v);
void pages_done(struct pages *p);

#endif
