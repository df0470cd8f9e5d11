/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_ESTIMATE_H
#define SCHED_POLICY_ESTIMATE_H

/*
 * What is learnt of each type, for every policy: arrival rate, mean service time, its second moment and the error of predicting it by the mean. Counted over windows
 * that end after so many requests or so much time, whichever is first; a window weighs by how much of the memory's length it is, in requests or in time. So a
 * microsecond service adapts within tens of milliseconds, and one that gets a request a second still learns and still forgets.
 */
#define ESTIMATE_WINDOW_PER_WORKER 260u         /* requests */
#define ESTIMATE_WINDOW_NS 1000000000ull
#define ESTIMATE_MEMORY 4                       /* windows */
#define ESTIMATE_MEMORY_NS 60e9
#define ESTIMATE_FIRST 64u                      /* requests in the first window; then twice as many, ... */

struct estimate {
	uint64_t arrived, completed, sum_ns;    /* of struct type, when this window began */
	/* as of the last one; mean_ns 0 = not known; rate in 1/ns; samples: how many requests are remembered */
	double mean_ns, rate, m2, pe, samples;
};

struct estimates {
	uint64_t begin_ns, begin;       /* of this window, by time and by s->completed */
	uint32_t closed;                /* windows so far */
	double arrivals;                /* remembered, of all types */
	struct estimate of[TYPES];
};

void estimates_init(struct sched *s);
/** estimates_begin - windows for this number of workers from now on; what is known stays */
void estimates_begin(struct sched *s, uint64_t now_ns);
/** estimates_close - the window is over */
void estimates_close(struct sched *s, uint64_t now_ns);

#endif
