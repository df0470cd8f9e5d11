/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_MINIMAX_H
#define SCHED_POLICY_MINIMAX_H

#define MINIMAX_GROUPS 16       /* with the one of unknown requests; types that differ less than they must share one */

/* what the model says of a running request of a type: its rest as a function of its age */
struct minimax_type {
	float mean, inv_mean;
	float slope, floor, overdue, overdue_floor;     /* rest = max(mean - age * slope, floor); from the age `overdue` on, at least overdue_floor */
	float cv;                                               /* of the error when its mean is the prediction */
};

struct minimax_group {
	float mean, inv_mean;           /* of its shortest type */
	float rho, zv, bunch;           /* of this group and the shorter ones: work in workers, Z * sqrt(variance rate), half the mean size of their work */
	double own_rho;
	bool matters;                   /* longer ones are held for it */
	float least[MINIMAX_GROUPS];    /* slowdown that it costs each shorter group at least, however few others run: no hold avoids that */
	uint16_t first;                 /* of its types in minimax.by_group */
	uint16_t binding;               /* the shorter group that its last start was measured against */
	uint64_t hold_until_ns;         /* its head is not looked at again before */
	float held_g, held_limit;       /* why */
};

struct minimax_run { float rest; uint16_t group, type; };

/* All that runs and waits, as the model sees it at a moment. */
struct minimax_view {
	bool made;
	uint32_t n, workers, idle, shortest_n;  /* workers: all that are up */
	float shortest;                         /* what is left of group 0's running requests */
	float queued[MINIMAX_GROUPS];           /* work that waits, of this group and shorter ones */
	struct minimax_run run[SCHED_WORKERS_MAX];  /* of the longer groups, by their rest */
};

struct minimax {
	bool ready;                     /* before that: c-FCFS */
	bool plain;                     /* so little waits that nothing needs to be held back */
	bool noisy;                     /* service times differ within a type so much that it matters */
	uint32_t groups_n, busy_n;
	uint16_t held, counted;         /* groups that are not looked at before hold_until_ns; whose head is counted as held */
	uint64_t held_until_ns;         /* the first of those */
	uint64_t updates, evaluations;
	float inv[SCHED_WORKERS_MAX + 1];
	struct minimax_type type[TYPES];
	struct minimax_group group[MINIMAX_GROUPS + 1];
	uint16_t by_group[TYPES];       /* types */
	/* Per group and number of workers that are free for it: when the work that is in excess peaks, and the root of that. */
	float peak[MINIMAX_GROUPS][SCHED_WORKERS_MAX + 1], peak_root[MINIMAX_GROUPS][SCHED_WORKERS_MAX + 1];
	/* Workers that run something of group 0; and the others, by the time when that should end. */
	uint64_t shortest[WORDS];
	uint8_t busy[SCHED_WORKERS_MAX];
	uint64_t end_ns[SCHED_WORKERS_MAX];
	struct minimax_view view;
};

#endif
