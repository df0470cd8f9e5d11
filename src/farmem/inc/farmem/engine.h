/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_ENGINE_H
#define FARMEM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/file.h"
#include "farmem/segment.h"

/*
 * What moves the memory of a function's processes away and back: the userfaultfd pager with a pool ("uffd"), or the kernel's own reclaim ("reclaim"). Its user is one thread with an event loop (hearthd), and
 * nothing here blocks it, makes it wait for memory, or for an instance: an operation is taken in and returns; what comes of it is an event, read with `next` when `fd` is readable. An engine does its work on
 * threads, or in a process, of its own. All of it is for one thread, and not valid after fork.
 *
 * Life of a target:  attach -> ATTACHED -> barrier, offload, prefetch, ... -> detach -> DETACHED (the handle is gone)
 *                          -> REFUSED (the handle is gone)         -> LOST (detach it; the instance has to end)
 * Events of one target come in the order in which they happened; of what was asked before a detach none comes after DETACHED.
 */

struct farmem_engine;
struct farmem_target;

/**
 * struct farmem_object - whose pages these are, for ever: pages of one are never shown to another
 * @tenant, @function: digests of the names (farmem_digest()); @instance: of the instance's id, never used twice
 */
struct farmem_object {
	uint64_t tenant, function, instance;
};

/* the tenant of functions whose manifest names no user */
#define FARMEM_TENANT_DEFAULT "default"

/** farmem_digest - the number that a name is known by */
static inline uint64_t farmem_digest(const char *name)
{
	return digest_mem(name, strlen(name)).lo;
}

/* ---- figures ---- */

/*
 * How long faults took. Bucket 0: below 512 ns; then four an octave, so that a quantile is at most 19% off; the last one: 25 ms and more.
 */
#define FARMEM_LATENCY_BUCKETS 64
struct farmem_latency {
	uint64_t count, sum_ns;
	uint32_t bucket[FARMEM_LATENCY_BUCKETS];
};

void farmem_latency_add(struct farmem_latency *l, uint64_t ns);
void farmem_latency_merge(struct farmem_latency *into, const struct farmem_latency *from);
/** farmem_latency_quantile - upper end of the bucket with at least q of the count at or below it; 0 when there is none */
uint64_t farmem_latency_quantile(const struct farmem_latency *l, double q);

/** enum farmem_uncovered - why memory is left where it is */
enum farmem_uncovered {
	FARMEM_UNCOVERED_FILE,          /* mapped from a file, its private copies too; shared; huge pages */
	FARMEM_UNCOVERED_LIBC,          /* the C library's own data */
	FARMEM_UNCOVERED_PROTECTION,    /* not readable and writable, or executable */
	FARMEM_UNCOVERED_HELPER,        /* of what moves memory inside the process */
	FARMEM_UNCOVERED_SPECIAL,       /* the kernel's: vdso and such */
	FARMEM_UNCOVERED_KINDS
};
extern const char *const farmem_uncovered_names[FARMEM_UNCOVERED_KINDS];

/**
 * struct farmem_stat - a target's memory now, and what was done since it was attached
 * @resident_bytes: private and shared memory of its processes that is in this machine's memory, by segment; EXECUTION is also what no barrier has closed yet
 * @remote_bytes:   what is away, by segment. An engine that cannot tell segments apart has all of it in EXECUTION and says so in its features.
 * @pool_bytes:     memory that what is away takes on this machine (embedded pool, zram): 0 if it is elsewhere or not known
 * @offloaded_bytes, @recalled_bytes: moved away and back, by faults and by prefetch
 * @faults:         pages that were touched while they were away
 * @prefetched_pages, @prefetch_hits: brought back unasked, and of those the ones that were then used, as far as the engine can see
 * @ws_bytes:       the recorded working set, here or away; 0: nothing is recorded, or the engine cannot say
 * @ws_remote_bytes: of the recorded working set, what is away: what a prefetch would bring back at most
 * @uncovered_bytes: resident memory that this engine cannot move
 * @uncovered:      of it, by reason, where the engine tells them apart; looked at now and then
 * @refused_bytes:  pages that the kernel did not let go when they were to leave (pinned, locked, shared with a child), each time that was tried
 * @pool_error:     why the pool did not take pages when it was last asked to: -EACCES (no key for the tenant), -ENOSPC (full), -EDQUOT (the tenant's share is), -ECONNREFUSED (it does not answer), -errno; 0: it took them
 */
struct farmem_stat {
	uint64_t resident_bytes[FARMEM_SEGMENTS], remote_bytes[FARMEM_SEGMENTS];
	uint64_t pool_bytes, offloaded_bytes, recalled_bytes;
	uint64_t faults, prefetched_pages, prefetch_hits, ws_bytes, ws_remote_bytes, uncovered_bytes;
	uint64_t uncovered[FARMEM_UNCOVERED_KINDS], refused_bytes;
	int pool_error;
	struct farmem_latency fault_latency;
};

/* ---- events ---- */

enum farmem_event_kind {
	FARMEM_ATTACHED,        /* memory can be moved from here on. flag: the engine had it already (from a daemon before this one): its segments are as they were */
	FARMEM_REFUSED,         /* it cannot be: why. The instance is left alone; the handle is gone */
	FARMEM_BARRIER,         /* a barrier is done: segment; bytes: what belongs to it */
	FARMEM_OFFLOADED,       /* some of what `offload` asked for has left: bytes since the last such event. flag: that was all there will be, be it less than was asked for; error -EAGAIN then: as the engine's process began anew, and the rest may be asked for again */
	FARMEM_PREFETCHED,      /* a prefetch has ended: bytes; waited_ns: for processors, of its patience */
	FARMEM_STAT,            /* stat, on `refresh` */
	FARMEM_LOST,            /* memory of the target is lost: why. Nothing wrong was shown to it, it is held or killed; the instance has to end */
	FARMEM_DETACHED,        /* detach is done: error 0, or memory did not come back (then the process must not go on): why. The handle is gone */
	FARMEM_ENGINE_DOWN,     /* the engine's process ended, target NULL; targets wait as they are. Start it again and call `again`, or close the engine and end the instances with memory away */
	FARMEM_ENGINE_UP,       /* after `again`: targets go on where they were */
};

/**
 * struct farmem_event
 * @target: NULL if it is about the engine
 * @ctx:    of the target's attach
 * @stat:   with STAT; borrowed until the next `next`
 */
struct farmem_event {
	enum farmem_event_kind kind;
	struct farmem_target *target;
	void *ctx;
	enum farmem_segment segment;
	uint64_t bytes, waited_ns;
	bool flag;
	int error;
	const struct farmem_stat *stat;
	char why[256];
};

/* ---- an engine ---- */

enum farmem_feature {
	FARMEM_HAS_SEGMENTS = 1 << 0,   /* offload by segment; else a mask of segments stands for all memory, coldest first as the kernel sees it */
	FARMEM_HAS_PREFETCH = 1 << 1,   /* brings a recorded working set back; else prefetch brings back what left last, or nothing */
	FARMEM_HAS_LATENCY = 1 << 2,    /* fault_latency is measured */
	FARMEM_NEEDS_PRELOAD = 1 << 3,  /* programs need `environment` from their start; others are refused */
};

/**
 * struct farmem_options - what an engine may need; strings are borrowed during the call
 * @socket:      of the engine's process ("uffd"): the owner starts the process, the engine finds it
 * @libexec_dir: where helpers and preloaded libraries are
 * @cgroup_dir:  the cgroup that instances' groups are made in, absolute; NULL if there is none
 */
struct farmem_options {
	const char *socket, *libexec_dir, *cgroup_dir;
};

/**
 * struct farmem_probe - what an engine finds on this machine
 * @error:    0 it can be used, else -errno and @why
 * @features: of enum farmem_feature
 * @what:     one line of what it uses ("memory.reclaim, MGLRU, 2.0 GiB of swap")
 */
struct farmem_probe {
	int error;
	unsigned features;
	char what[192], why[256];
};

/**
 * struct farmem_attach - an instance
 * @pid, @pidfd: the root of its processes in our name space: hearth-init. pidfd is borrowed during the call (an engine that keeps it duplicates it)
 * @netns:       of the instance, borrowed during the call; -1: ours
 * @cgroup:      its group, absolute path of the memory controller's folder; NULL: none
 * @memory_bytes: limit of the group, 0 none: an engine that moves it for a moment has to know where it was
 * @name:        its id, for messages and sockets, borrowed during the call
 * @ctx:         comes back with events
 */
struct farmem_attach {
	pid_t pid;
	int pidfd, netns;
	const char *cgroup, *name;
	uint64_t memory_bytes;
	struct farmem_object object;
	void *ctx;
};

enum farmem_detach_how {
	FARMEM_RECALL,          /* all memory comes back first; the process goes on as if it had never been attached */
	FARMEM_ENDED,           /* its processes are gone or about to be: what they had in the pool is freed */
	FARMEM_LEAVE,           /* the owner goes away: a process of the engine keeps the target for the owner's next life; an engine without one leaves memory to the kernel */
};

/**
 * struct farmem_ops - one engine. Every member is set unless it says otherwise. None blocks, unless it says so; none calls back.
 * @name:        "uffd", "reclaim"
 * @probe:       may read /proc and /sys, make and close a descriptor: some 100 us; the only one that may take time, for `doctor` and before the engine is opened
 * @open:        an engine with a process of its own is down at first, whether there is such a process or not; `again` connects to it. Return: 0, -errno with message
 * @close:       targets' handles are gone; their memory is where it is (LEAVE). NULL is fine
 * @fd:          readable when there are events; stays the same until @close
 * @next:        Return: 1 an event, 0 none now
 * @again:       after @open and after FARMEM_ENGINE_DOWN: connect to the process if there is one, hand it what it needs to go on. NULL for engines without a process. Return: 0 (ENGINE_UP follows),
 *               -ENOENT or -ECONNREFUSED (there is none: start it), -errno with message
 * @end:         the process that `again` connects to gives all memory back and ends, and is waited for, for @max_ms: the one that blocks. Before @close, whether it is up or down. NULL for engines without a
 *               process. Return: 0 (there is none, or none any more), -ETIMEDOUT, -errno
 * @environment: "NAME=value" strings for the programs of an instance, NULL-terminated, owned by the engine. NULL, the member or what it returns: nothing is needed. @name: the instance's id; valid until the next call
 * @attach:      Return: 0 and the handle, of which ATTACHED or REFUSED will tell; -ENOTCONN (the engine is down), -ENOMEM, -errno with message
 * @barrier:     all pages that belong to no segment yet belong to @segment from here on. BARRIER follows
 * @offload:     begin to move at most @bytes of the @segments away (a mask of 1 << segment), coldest first; what requests use is EXECUTION's, of whatever segment it was. Adds to what is under way. OFFLOADED follows, at least once, the last with `flag`
 * @cancel:      what `offload` has not moved yet stays. OFFLOADED with `flag` follows if something was under way. A request that begins needs no cancel of its own: @request_begin implies it
 * @prefetch:    bring back at most @bytes of what the last requests used and is away, what is touched meanwhile first. For @patience_ns at most all of it, what is touched too, may wait while others' threads wait for
 *               processors; an engine that cannot see that does not wait. PREFETCHED follows
 * @rollback:    what was moved between segments by use goes back: pages of RUNTIME and INIT that were recalled and have not been used since are candidates of their segment again; used ones are EXECUTION's
 * @request_begin, @request_end: brackets in which what is touched is the working set; they nest (several requests at a time)
 * @refresh:     STAT follows
 * @detach:      DETACHED follows. What is under way ends first. A RECALL may be followed by a detach ENDED, if the processes end meanwhile; one DETACHED follows for both
 */
struct farmem_ops {
	const char *name;
	void (*probe)(const struct farmem_options *options, struct farmem_probe *ret);
	int (*open)(const struct farmem_options *options, struct farmem_engine **ret, struct hearth_err *err);
	struct farmem_engine *(*close)(struct farmem_engine *e);
	int (*fd)(const struct farmem_engine *e);
	int (*next)(struct farmem_engine *e, struct farmem_event *ret);
	int (*again)(struct farmem_engine *e, struct hearth_err *err);
	int (*end)(struct farmem_engine *e, unsigned max_ms);
	const char *const *(*environment)(struct farmem_engine *e, const char *name);
	int (*attach)(struct farmem_engine *e, const struct farmem_attach *what, struct farmem_target **ret, struct hearth_err *err);
	void (*barrier)(struct farmem_target *t, enum farmem_segment segment);
	void (*offload)(struct farmem_target *t, unsigned segments, uint64_t bytes);
	void (*cancel)(struct farmem_target *t);
	void (*prefetch)(struct farmem_target *t, uint64_t bytes, uint64_t patience_ns);
	void (*rollback)(struct farmem_target *t);
	void (*request_begin)(struct farmem_target *t);
	void (*request_end)(struct farmem_target *t);
	void (*refresh)(struct farmem_target *t);
	void (*detach)(struct farmem_target *t, enum farmem_detach_how how);
};

/** farmem_reclaim_engine - the kernel's reclaim, to the swap that this machine has (src/farmem/reclaim) */
extern const struct farmem_ops farmem_reclaim_engine;
/** farmem_uffd_engine - the pager and the pool (src/farmem/pager) */
extern const struct farmem_ops farmem_uffd_engine;

#endif
