/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_PAGER_H
#define FARMEM_PAGER_PAGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "farmem/engine.h"
#include "where.h"
#include "look.h"
#include "pager_wire.h"
#include "step.h"
#include "depot.h"
#include "uffd.h"
#include "warm_wire.h"

/*
 * hearth-pager (docs/adr/0022-pager.md). Three processes with one table of descriptors: the one that works, its holder and a spare one (main.c). Whichever is killed is started anew by another,
 * and finds descriptors under the numbers they had, and what is not a descriptor in `struct state`, which all have mapped since before they were three. Anything else is the working process's own.
 *
 *   target  an instance: what hearthd attached         space  an address space of it: a process with libhearth-warm.so, or a child that one of those forked
 *
 * Threads: one that listens (server.c), one a processor that serves spaces (worker.c), one that guards those (handover.c). Locks, in this order: pager.lock (tables, clients), a space's, its copies', the store's. A space is served by one worker at a time;
 * others help to bring many pages back (share.c).
 */
#define TARGETS_MAX PAGER_TARGETS_MAX
#define SPACES_MAX 512
#define OWN_MAX 3
#define FETCH_PAGES 64                  /* at most for one fault, and of a batch of prefetch */
#define SHARED_PAGES 16                 /* of a batch while several bring them; copied at a time by whoever has not the lock */
#define STREAMS 4                       /* of a space */
#define LANES 8                         /* of what comes back: several who bring it take theirs from different parts of it, as a page table has one lock */

/* ---- what outlives a worker that is killed ---- */

enum batch_phase {
	BATCH_NONE,
	BATCH_ASKED,            /* the process may be moving them to its stage */
	BATCH_MOVED,            /* they are in its stage */
};

/**
 * struct batch - pages that leave
 * @first_id: page k has first_id + k
 */
struct batch {
	uint32_t phase, n;
	uint64_t seq, first_id;
	uint64_t moved[WARM_PAGES / 64];
	uint64_t address[WARM_PAGES];
};

struct figures {
	uint64_t resident_pages[FARMEM_SEGMENTS], remote_pages[FARMEM_SEGMENTS];
	uint64_t offloaded_pages, recalled_pages, faults, zero_faults, prefetched_pages, sampled, sampled_used, fixed_pages;
	int32_t put_error;              /* of the last that were put; 0: the pool took them */
	struct farmem_latency latency;
};

enum { SPACE_FREE, SPACE_LIVE, SPACE_GREETING };        /* used */

struct space_state {
	uint32_t used, generation;
	uint32_t target;                /* slot */
	uint32_t inner_pid;             /* as it sees itself */
	uint32_t forked;                /* a child, which only gets its memory back */
	pid_t pid;                      /* 0: not known (a child's) */
	uint64_t starttime;
	int uffd, conn, index_fd;       /* conn: -1, nothing can leave */
	uint64_t store_instance;        /* object whose pages these are: a child's are its parent's */
	uint64_t next_id, seq, stage;
	struct look_span own[OWN_MAX];
	struct uffd_msg event;          /* the kernel writes here what it is read; cleared once it has been dealt with */
	struct batch batch;
	struct figures figures;
};

struct target_state {
	uint32_t used, generation;
	pid_t pid;
	uint64_t starttime;
	char name[64];
	struct farmem_object object;
	uint32_t requests;
	uint32_t spaces_made;           /* tells the objects of its spaces apart */
	int32_t lost;                   /* -errno: memory is lost */
	char why[192];
};

struct state {
	int listen_fd, stop_fd, worker_pidfd, holder_pidfd, spare_pidfd;
	atomic_bool stopping;           /* it was told to end, @stop_fd tells: whichever worker there is gives all memory back, then ends of itself */
	int ended;                      /* 1 + exit status, once the worker has ended of itself */
	uint32_t restarts;
	struct depot_state depot;
	struct target_state targets[TARGETS_MAX];
	struct space_state spaces[SPACES_MAX];
};

/* ---- the working process ---- */

struct pager;
struct worker;

/** struct pages - a growing list of addresses; all zero is empty */
struct pages {
	uint64_t *v;
	size_t n, cap, at;
};

struct job {
	bool active, ended, all;        /* ended: to be told. all: not only the working set */
	uint64_t until_ns;              /* it may wait for others, up to then */
	uint64_t looked_ns, waited_ns;  /* when it was seen last whether it has to; how long it did */
	uint64_t done_pages;            /* since it was told last */
	unsigned batches;
	struct pages pages;             /* at: how many have been taken */
	struct { size_t at, end; } lane[LANES];
};

/**
 * struct stream - memory that is gone through from front to back
 * @from, @next: pages that came with the last fault, and the one whose touch says that it goes on
 * @pages: that come with a fault
 */
struct stream {
	uint64_t from, next;
	unsigned pages;
};

struct space {
	pthread_mutex_t lock;
	pthread_rwlock_t copies;        /* shared by who copies pages into it without the lock. Taken with the lock only */
	struct pager *p;
	struct space_state *st;
	struct where where;
	struct worker *home;
	int pidfd, pagemap;
	bool live, held, waits;         /* its userfaultfd is not read. held: as pages are being moved out; waits: as what comes back does */
	atomic_bool wants, shared;      /* glanced at without the lock. shared: pages come back that other workers may take batches of, @helpers at a time */
	bool querying, gone;
	bool backing, back_again;       /* pages that the pool did not take are being moved back */
	unsigned fetches;               /* at the store, or being copied: what comes back, and what leaves */
	unsigned helpers;
	struct job out, in;
	uint64_t out_due_ns;            /* when the next batch leaves though others wait for a processor */
	struct look_spans maps;         /* its mappings when it was last looked at */
	struct look_spans quarantine;   /* taken away by the process, perhaps not yet done */
	struct pages parked;            /* faults that wait for an event to be read */
	struct pages dead;              /* ids that the pool is to forget */
	uint8_t *buf;                   /* of the batch */
	uint32_t faults_until_look, look_every;
	struct stream stream[STREAMS];
	unsigned stream_turn;           /* the one to be forgotten for another */
	uint32_t last_thread, same_thread;      /* that faulted; how often in a row it was the same as before */
	struct look_span answered;      /* whoever waits for a page of it can go on; empty: nobody does */
	uint64_t sample;
	uint64_t windows, dense;        /* of which something was asked for, and of which so much was that all of it came */
	uint64_t tried, tried_used;     /* pages that came along, were away by themselves, and were then touched */
	unsigned tries_left;            /* of this turn */
	uint64_t uncovered[LOOK_REASONS];       /* resident bytes, when it was last looked */
	uint32_t refreshes;
};

struct target {
	struct target_state *st;
	struct client *client;          /* who is told; NULL: nobody is connected */
	uint64_t tag;                   /* the client's name for it */
	const uint32_t *running;        /* requests, in memory of the client's; NULL: as its packets say. Read under the lock of a space of its */
	uint32_t offloads;              /* number of the last one */
	uint64_t came_pages;            /* of the prefetch under way */
	bool attached, known, lost_told, recalling;     /* known: since before this client */
};

struct worker {
	struct pager *p;
	pthread_t thread;
	int cpu, epoll_fd, bell;
	pid_t tid;
	bool asleep;                    /* it has nothing to do */
	bool yields;                    /* it has, but it can wait a little */
	_Atomic uint64_t below_ns;      /* since when others come first, as it woke somebody; 0: they do not */
	atomic_uint handovers;          /* how often */
	atomic_bool raised;             /* it had to be made an ordinary thread again */
	unsigned handovers_seen;        /* by the guard */
	unsigned pause;                 /* faults until it does so again */
	struct fetch *fetch;            /* to be used for the next; those that the store has are their own */
};

/** struct handover - threads that give their processor to whom they wake (handover.c), and the guard that watches them */
struct handover {
	pthread_t thread;
	int bell;
	atomic_bool awake, possible;    /* possible: threads may change their class and back */
};

struct pager {
	struct state *state;
	struct depot *depot;
	pthread_mutex_t lock;
	struct target targets[TARGETS_MAX];
	struct space spaces[SPACES_MAX];
	struct client *clients;
	struct worker *workers;
	unsigned workers_n, around_pages;
	struct handover handover;
	unsigned fetch_workers;         /* that bring one list of pages, 0: as many as are idle */
	unsigned spaces_top;            /* no space at or behind this one was ever open */
	int epoll_fd, bell, device;
	bool untidy, uneasy;            /* the pool has perhaps something that could be smaller; memory that it could give back */
};

#endif
