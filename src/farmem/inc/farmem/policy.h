/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POLICY_H
#define FARMEM_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "farmem/segment.h"

/*
 * When an instance's memory leaves and comes back. Pure: no clock, no I/O, no allocation; the same object file serves hearthd and the simulator. After FaaSMem (ASPLOS'24),
 * but for the delay, which FaaSMem computes offline on the very trace it is then measured with: ours is learnt while it runs (docs/adr/0020-reuse-histogram.md).
 *
 * The owner keeps one farmem_node, one farmem_function a function and one farmem_instance an instance, all plain memory without pointers: they may be copied, saved and
 * compared. It tells what happens with farmem_step, does what that answers, and calls it again with FARMEM_ON_TIMER when the time in farmem_actions.timer_ns has come.
 * Once a second it calls farmem_node_update with what the link carried and PSI said.
 *
 * Not thread-safe: one owner. Times are ns of any clock that does not go back and begins above 0; a time that does go back counts as the last one.
 */
#define FARMEM_NEVER UINT64_MAX

/* ---- knobs ---- */

/**
 * enum farmem_rule - which policy decides; all but ours are what it is compared with, live and simulated
 * @FARMEM_RULE_HEARTH: what the rest of this file is about
 * @FARMEM_RULE_TMO:    TMO's formula (ASPLOS'22): every @pace_ns farmem_tmo_bytes() of all memory leave, the coldest first, whether requests run or not
 * @FARMEM_RULE_COLD:   what DAMON does: what nobody has touched for @semiwarm_min_ns leaves at once; of an instance that is used all the time that is its first segments, so long after it was ready
 * @FARMEM_RULE_OFF:    nothing leaves
 */
enum farmem_rule { FARMEM_RULE_HEARTH, FARMEM_RULE_TMO, FARMEM_RULE_COLD, FARMEM_RULE_OFF };

/* as the published repository of FaaSMem has them */
#define FARMEM_TMO_STEP_NS 6000000000ull
#define FARMEM_TMO_SHARE 0.0005
#define FARMEM_TMO_PSI_MAX 0.1
#define FARMEM_COLD_NS 60000000000ull

/** farmem_tmo_bytes - what TMO takes in one step of memory of @current bytes at a pressure of @psi (0..1) */
double farmem_tmo_bytes(double current, double psi);

/**
 * struct farmem_knobs - what a manifest may say; farmem_knobs_default() fills in what it does not
 * @rule:              which policy; farmem_knobs_rule() sets what goes with it
 * @segments:          runtime and init segment leave after the first requests
 * @semiwarm:          an idle instance's memory leaves gradually
 * @prefetch:          the recorded working set comes back at once when a request arrives
 * @reuse_quantile:    semi-warm begins when so large a share of reuses would have come before; 0.5..1
 * @semiwarm_min_ns:   ... but not before it was idle for so long
 * @semiwarm_max_ns:   ... and not later; also the delay while nothing is known at all, if below @semiwarm_first_ns
 * @semiwarm_first_ns: the delay while neither function nor node has seen a reuse
 * @offload_per_s:     share of its memory that a semi-warm instance gives up a second
 * @pace_ns:           how often the quota of a semi-warm instance is set anew
 * @wake_share:        if a wake is cheap beside this share (farmem_wake_is_cheap), memory leaves as soon as it is worth it (farmem_break_even_ns), all of it at once; 0: never so
 * @prewarm_share:     when at least so large a share of the calls that are still to come, by the intervals seen before, came at about one time, the working set comes back just before it (farmem_rhythm_next); 0: never
 * @floor_bytes:       what always stays
 * @segment_min_bytes: a segment with less is not worth the trip
 * @return_max:        a segment of which more than this share came back at once, in instances before, stays with the next ones until they are semi-warm; every 16th tries again
 * @init_requests:     requests after which the init segment goes (the runtime segment goes after the first); 1 at least
 * @processor_bytes:   so much memory is worth as much as a processor: memory leaves only if what that frees, for as long as it is likely to, is worth what moving it there and back takes; 0: whatever it takes
 * @long_request_ns:   a request that has run for so long has shown what it needs: the segments whose turn has not come yet go while it runs; 0: they wait for its end
 * @rollback_ns, @rollback_requests: what came back because it was touched is looked at again after so long and so many requests, at least
 * @keepalive_ns:      an idle instance ends after it; 0 = never. For its last @keepalive_margin_ns nothing moves, nor for as long as it would have to stay away: it would be for nothing.
 * @prefetch_max_bytes: of the working set, the hottest first
 * @pressure_low, @pressure_high: PSI (share of time in which some task waits for memory, avg10, 0..1) at which offloading begins to hurry, and hurries as much as it may
 */
struct farmem_knobs {
	enum farmem_rule rule;
	bool segments, semiwarm, prefetch;
	double reuse_quantile, offload_per_s, wake_share, prewarm_share, return_max, pressure_low, pressure_high;
	uint64_t semiwarm_min_ns, semiwarm_max_ns, semiwarm_first_ns, pace_ns;
	uint64_t floor_bytes, segment_min_bytes, prefetch_max_bytes, processor_bytes;
	uint64_t long_request_ns, rollback_ns, keepalive_ns, keepalive_margin_ns;
	uint32_t init_requests, rollback_requests;
};

void farmem_knobs_default(struct farmem_knobs *ret);
/** farmem_knobs_rule - another policy: what is ours alone is switched off, and its own times are set */
void farmem_knobs_rule(struct farmem_knobs *k, enum farmem_rule rule);
/** farmem_knobs_compress - for time that goes @by times faster, as when a trace is replayed so: times are so much shorter and rates higher, but for keepalive_ns, which is the owner's */
void farmem_knobs_compress(struct farmem_knobs *k, unsigned by);
/** farmem_knobs_check - Return: 0, -EINVAL with message: which one, its value, what is allowed */
int farmem_knobs_check(const struct farmem_knobs *k, struct hearth_err *err);

/* ---- reuse intervals ---- */

/*
 * How long instances were idle before they were used again: logarithmic buckets, eight to the doubling, from 1/8 s on (what is shorter is in the first), old ones fading with a
 * half-life. All zero is empty.
 */
#define FARMEM_REUSE_PER_OCTAVE 8
#define FARMEM_REUSE_BUCKETS (16 * FARMEM_REUSE_PER_OCTAVE)
#define FARMEM_REUSE_FIRST_NS 125000000ull
#define FARMEM_REUSE_HALF_LIFE_NS (6ull * 3600 * 1000000000)

struct farmem_reuse {
	uint64_t epoch_ns;              /* a sample of this time weighs 1 in @bucket */
	double sum;
	float bucket[FARMEM_REUSE_BUCKETS];
};

/** farmem_reuse_add - @weight: 1, or less for what counts less */
void farmem_reuse_add(struct farmem_reuse *h, uint64_t now_ns, uint64_t interval_ns, double weight);
/** farmem_reuse_weight - how many samples it is worth @now_ns, after fading */
double farmem_reuse_weight(const struct farmem_reuse *h, uint64_t now_ns);
/**
 * farmem_semiwarm_start - how long an instance should be idle before its memory begins to leave
 * @own:      the function's
 * @node:     all functions', each counting alike: counts as eight samples, for a function that has few. NULL or empty: not known
 * @quantile: of the mixture; the upper end of its bucket is returned
 * @floor_ns: at least
 * @first_ns: when both are empty
 * Return: ns, at least @floor_ns.
 */
uint64_t farmem_semiwarm_start(const struct farmem_reuse *own, const struct farmem_reuse *node, uint64_t now_ns, double quantile, uint64_t floor_ns, uint64_t first_ns);

/* ---- rhythm ---- */

#define FARMEM_RHYTHM_CALLS 16

/** struct farmem_rhythm - when a function was called: the last @n intervals from the begin of one run of calls to the next. All zero: never */
struct farmem_rhythm {
	uint64_t interval_ns[FARMEM_RHYTHM_CALLS];
	uint64_t begin_ns, last_ns;     /* of the run of calls that came last: its first call and its last */
	unsigned next, n;
};

/** farmem_rhythm_called - @apart_ns: calls that come closer than this to the one before are of its run */
void farmem_rhythm_called(struct farmem_rhythm *r, uint64_t now_ns, uint64_t apart_ns);
/**
 * farmem_rhythm_next - when the next call is likely to come, if that can be said: timers have rhythms, people have not
 * Of the intervals that are not over by now, @share at least, and two, have ended in that time, which begins a 32nd of the interval before the first of them and is three times as long.
 * Return: whether there is such a time that is not over; [@ret_from_ns, @ret_until_ns) is the first one.
 */
bool farmem_rhythm_next(const struct farmem_rhythm *r, double share, uint64_t now_ns, uint64_t *ret_from_ns, uint64_t *ret_until_ns);

/* ---- what moving takes ---- */

/** struct farmem_rate - how long @n of something took; what is old counts less. All zero: no time */
struct farmem_rate { double n, ns; };

/**
 * struct farmem_costs - what moving memory takes on this machine; all zero: nothing
 * @out, @back: bytes that left, that came back: a processor's time
 * @wake:       of calls that found their working set away: its bytes, and how long they waited for it, be it brought back by one processor or by several
 * @meet:       instances that the engine took hold of and let go
 * @kept:       of what is away, what it takes of this machine's memory all the same, 0..1
 */
struct farmem_costs {
	struct farmem_rate out, back, wake, meet;
	double kept;
};

/** farmem_costs_default - before anything is measured: as on a machine with two processors and the pager */
void farmem_costs_default(struct farmem_costs *ret);
/**
 * farmem_costs_fade - so much time has gone by: what was measured gives way to the defaults, half of it in an hour
 * Costs that were learnt too high, as of a machine that was busy then, let nothing leave; then nothing is measured any more, and they would stay.
 */
void farmem_costs_fade(struct farmem_costs *c, uint64_t ns);
void farmem_measured_out(struct farmem_costs *c, uint64_t bytes, uint64_t ns);
void farmem_measured_back(struct farmem_costs *c, uint64_t bytes, uint64_t ns);
/** farmem_measured_meeting - @instances: how many more; 0: the time is of one that was counted */
void farmem_measured_meeting(struct farmem_costs *c, unsigned instances, uint64_t ns);

/* ---- state ---- */

/** struct farmem_node - what all instances share; all zero is a quiet node with an unlimited link, where moving takes no time */
struct farmem_node {
	struct farmem_reuse reuse;
	struct farmem_costs costs;
	double psi;                     /* as last told */
	double evict_want;              /* bytes a second that evictions would have without a limit; moving average over some paces of quotas */
	double evict_cut;               /* share of the evictions that the link has no room for, 0..1 */
};

#define FARMEM_TAIL_CALLS 64

/** struct farmem_tail - the last @n calls that found all memory here: @own_ns each took on its instance, @whole_ns with what it had waited for one that was busy. All zero is none. */
struct farmem_tail {
	uint64_t own_ns[FARMEM_TAIL_CALLS], whole_ns[FARMEM_TAIL_CALLS];
	unsigned next, n;
};

/**
 * struct farmem_function - all zero but @knobs
 * @returned: of a segment that left, the share that the next request brought back; moving average, of @returned_n instances
 * @kept:     instances in a row that kept the segment because of it
 * @wake:     as of farmem_costs, of its own instances
 * @dear:     times in a row that memory stayed as a wake was not cheap
 * @call_log_ns, @call_n: mean of the logarithms of what calls take that found all memory here; of the last @call_n, or so
 * @park, @unpark: what it takes to write an instance into an image, and to restore it; n: times
 * @tail:     of the calls that count for @call_log_ns
 * @rhythm:   of its calls, whichever instance took them
 * @idles, @called: times that an instance was idle, and those that a call ended, @called_ns together; what is old counts less
 */
struct farmem_function {
	struct farmem_knobs knobs;
	struct farmem_reuse reuse;
	double returned[FARMEM_SEGMENTS];
	uint32_t returned_n[FARMEM_SEGMENTS], kept[FARMEM_SEGMENTS], call_n, dear;
	struct farmem_rate wake;
	double call_log_ns, idles, called, called_ns;
	struct farmem_rate park, unpark;
	struct farmem_tail tail;
	struct farmem_rhythm rhythm;
};

/** struct farmem_instance - all zero is one that starts. Private to the policy, but for reading. */
struct farmem_instance {
	uint64_t now_ns;                /* of the last event */
	uint64_t idle_since_ns;         /* 0: not idle */
	uint64_t begun_ns, waited_ns;   /* since when requests run; what the first of them had waited for an instance */
	uint64_t semiwarm_ns;           /* when its memory begins to leave; FARMEM_NEVER */
	uint64_t early_ns;              /* when it begins to if a wake is cheap, as is looked at then; FARMEM_NEVER: not asked for, or it was */
	uint64_t expect_ns, expect_end_ns;      /* when its next call is likely to come; FARMEM_NEVER, or 0: that cannot be said */
	uint64_t quota_ns;              /* up to when quotas were handed out; 0: not semi-warm */
	uint64_t rollback_ns;           /* of the last one, or of the first request's end */
	uint64_t ready_ns;              /* since when it can take requests; 0: it cannot */
	uint64_t rule_ns;               /* when another policy than ours has its next turn; 0: none yet */
	uint64_t asked_bytes;           /* of offloads under way: what has not been reported yet */
	uint64_t base_bytes;            /* its memory when it became semi-warm: what offload_per_s is a share of */
	uint64_t gone_bytes;            /* what has left since the last request ended */
	uint64_t left_bytes[FARMEM_SEGMENTS];   /* of a segment that was told to leave, until it was seen what came back; 0: not waiting for that */
	uint32_t running, requests, requests_rollback;
	uint32_t cancelled;             /* offloads that were called off and have not reported their end */
	uint8_t barriers;               /* segments that have ended, FARMEM_SEGMENT_BIT */
	uint8_t offloaded;              /* segments that were told to leave, and were not called back before they had */
	uint8_t kept;                   /* segments that stay, as they came back in others */
	uint8_t leaving;                /* segments of the offload under way */
	uint8_t shown;                  /* segments of left_bytes that a request has run without since */
	bool under_way, ended;
	bool together;                  /* requests ran at the same time since it was idle last */
	bool ahead;                     /* its working set was asked for ahead of the call that is expected */
	bool at_once;                   /* semi-warm, and a wake is cheap: all that may leave does */
};

/* ---- events and actions ---- */

enum farmem_policy_event_kind {
	FARMEM_ON_RUNTIME_READY,        /* the runtime is loaded; may be left out */
	FARMEM_ON_INIT_DONE,            /* the function is initialised: ready for requests. An instance that was restored begins here. */
	FARMEM_ON_REQUEST_BEGIN,        /* tell before it is handed to the instance */
	FARMEM_ON_REQUEST_END,          /* what is seen may be from before the request */
	FARMEM_ON_SEEN,                 /* what is seen is from after the last request's end: what it brought back is known. Needed only if something had left before it */
	FARMEM_ON_TIMER,
	FARMEM_ON_OFFLOADED,            /* @bytes have left since the last one; @done: the offload is over, whatever is left of it; @cut: not because no more could leave: it goes on at once */
	FARMEM_ON_PRESSURE,             /* farmem_node.psi has crossed a bound; to every idle instance */
	FARMEM_ON_EXIT,                 /* the last one; of an idle one: it was not called again in time */
};

struct farmem_policy_event {
	enum farmem_policy_event_kind kind;
	uint64_t bytes;
	uint64_t waited_ns;             /* of a request that begins: for an instance that was busy, not for a start; 0 if that is not known */
	bool done, cut;
};

/**
 * struct farmem_seen - the instance's memory as its engine last saw it. Only what can leave: what is not covered does not count.
 * @ws_bytes:        the recorded working set, here or away; 0: nothing recorded
 * @ws_remote_bytes: of that, what is remote
 */
struct farmem_seen {
	uint64_t resident_bytes[FARMEM_SEGMENTS], remote_bytes[FARMEM_SEGMENTS];
	uint64_t ws_bytes, ws_remote_bytes;
};

enum farmem_action_kind {
	FARMEM_DO_BARRIER,              /* @segments: the one that ends here; what is allocated from now on is of the next */
	FARMEM_DO_OFFLOAD,              /* at most @bytes of @segments leave, coldest first; adds to what is under way */
	FARMEM_DO_CANCEL,               /* the offloads under way end; OFFLOADED with done says how far they came */
	FARMEM_DO_PREFETCH,             /* the recorded working set comes back, at most @bytes; who waits for it may go on waiting for @patience_ns while others wait for processors */
	FARMEM_DO_ROLLBACK,             /* what came back and has not been used since is of its segment again, so that an offload of the segment takes it */
};

/* what engine.h's operations of the same names take */
struct farmem_action {
	enum farmem_action_kind kind;
	unsigned segments;
	uint64_t bytes, patience_ns;
};

#define FARMEM_ACTIONS_MAX 4

/** struct farmem_actions - to be done in this order. @timer_ns: when to say FARMEM_ON_TIMER; takes the place of the time given before; FARMEM_NEVER: no need */
struct farmem_actions {
	size_t n;
	struct farmem_action action[FARMEM_ACTIONS_MAX];
	uint64_t timer_ns;
};

/**
 * farmem_step - one event of one instance
 * @seen: as of now
 * @ret:  overwritten
 * Guarantees, whatever comes in whatever order: a request's begin cancels what is under way, and nothing is asked to leave while requests run, but for the segments, once, when they
 * have run for long_request_ns; all that was asked for and is not reported yet is never more than what was seen resident beyond the floor; nothing is asked of an instance that ended.
 */
void farmem_step(struct farmem_node *node, struct farmem_function *f, struct farmem_instance *i, const struct farmem_policy_event *e, uint64_t now_ns, const struct farmem_seen *seen,
		 struct farmem_actions *ret);

/**
 * farmem_offload_quota - what a semi-warm instance should give up for the time since its last quota, and one pace ahead
 * Does not change @i. Return: bytes; 0 before its time, while it runs, at its floor, and at the end of its keep-alive.
 */
uint64_t farmem_offload_quota(const struct farmem_node *node, const struct farmem_knobs *k, const struct farmem_instance *i, uint64_t now_ns, const struct farmem_seen *seen);
/**
 * farmem_idle_over - an instance that the policy does not have was idle for so long, and was called (@called) or ended; of those that it has, farmem_step() tells it
 */
void farmem_idle_over(struct farmem_node *node, struct farmem_function *f, uint64_t now_ns, uint64_t idle_ns, bool called);
/** farmem_life_ns - how long an instance that becomes idle now is likely to live: its keep-alive, and as many calls more as others had. Return: FARMEM_NEVER without keep-alive. */
uint64_t farmem_life_ns(const struct farmem_function *f);
/**
 * farmem_measured_wake - a call that found its recorded working set away, @bytes of it, waited @ns for that and for whatever else it missed
 * @others: bytes of what else: where they are more, the set was not known yet, and nothing is said of what wakes take for which it is
 */
void farmem_measured_wake(struct farmem_node *node, struct farmem_function *f, uint64_t bytes, uint64_t others, uint64_t ns);
/** farmem_call_ns - what a call takes that finds all memory here; 0: not known */
uint64_t farmem_call_ns(const struct farmem_function *f);
/** farmem_wake_ns - what a call waits while the recorded working set, all of it, comes back. As long as no wake of the function was measured that is a hopeful guess: otherwise none would be. */
uint64_t farmem_wake_ns(const struct farmem_node *node, const struct farmem_function *f, uint64_t ws_bytes);
/**
 * farmem_wake_is_cheap - whether a wake is no more than wake_share of what a call takes, and nor is, once, what is not known to be of the working set, all of it touched. false while calls or working set are
 * not known. Of a function whose calls wait for one another it is also cheap while P95 is theirs: of a call that waits for nobody, with a wake no slower than that, of which it is wake_share at most.
 */
bool farmem_wake_is_cheap(const struct farmem_node *node, const struct farmem_function *f, const struct farmem_seen *seen);
/**
 * farmem_break_even_ns - how long memory has to stay away to be worth the time that moving it takes
 * @bytes: of an instance that the engine does not have yet, for whose sake it would take hold of it; 0: it has
 * Return: ns; less under memory pressure.
 */
uint64_t farmem_break_even_ns(const struct farmem_node *node, const struct farmem_knobs *k, uint64_t bytes);
/** farmem_pays - whether memory of an instance that becomes idle now is likely to stay away for long enough. @bytes: as above */
bool farmem_pays(const struct farmem_node *node, const struct farmem_function *f, uint64_t bytes);
/** farmem_measured_park, farmem_measured_unpark - an instance was written into an image, or restored from one, which took @ns of processors' time */
void farmem_measured_park(struct farmem_function *f, uint64_t ns);
void farmem_measured_unpark(struct farmem_function *f, uint64_t ns);
/**
 * farmem_park_even_ns - how long an instance has to be parked to be worth the time that parking and restoring it takes
 * @here_bytes: of its memory, what would be free then
 * @away_bytes: what would have to come back first; as much of it as the pool keeps of this machine's memory would be free, too
 * Return: ns; less under memory pressure; FARMEM_NEVER as long as one of the two was not measured, and if nothing would be free.
 */
uint64_t farmem_park_even_ns(const struct farmem_node *node, const struct farmem_function *f, uint64_t here_bytes, uint64_t away_bytes);
/** farmem_rollback_due - it is time to look again at what came back because it was touched */
bool farmem_rollback_due(const struct farmem_knobs *k, const struct farmem_instance *i, uint64_t now_ns);
/** farmem_pressure - 0 none .. 1 as much as there is, between the two bounds of the knobs */
double farmem_pressure(const struct farmem_knobs *k, double psi);

/* ---- working set ---- */

/** struct farmem_ws_range - pages of a recorded working set. @seen: bit k: touched by the k-th last recorded request (bit 0: the last) */
struct farmem_ws_range {
	uint64_t page;
	uint32_t pages;
	uint8_t seen;
};

/**
 * farmem_prefetch_set - which of a recorded working set to bring back
 * @ws:           in order of addresses; on return the first ones are the choice, still in that order
 * @recorded:     requests that were recorded, at most 8 count. From the third on, what only one of them touched is left for its fault: it is most often another page next time.
 * @budget_pages: the hottest fit; a range is cut where the budget ends
 * Return: how many ranges.
 */
size_t farmem_prefetch_set(struct farmem_ws_range *ws, size_t n, unsigned recorded, uint64_t budget_pages);

/* ---- link ---- */

/** struct farmem_flows - bytes a second in each class, in order of importance */
struct farmem_flows { uint64_t fault, prefetch, evict; };

/**
 * farmem_governor - who gets how much of the link: faults before prefetches before evictions
 * @want:      demands
 * @link:      bytes a second that it carries; 0 = not limited
 * @pressure:  0..1; from 1/2 on evictions have an eighth of the link for sure, as faults wait for memory then
 * @ret_grant: at most the demands, in sum at most the link
 */
void farmem_governor(const struct farmem_flows *want, uint64_t link, double pressure, struct farmem_flows *ret_grant);
/**
 * farmem_node_update - once a second
 * @want: what the classes had in the last second; evictions are averaged, as they come in bursts
 * @psi:  memory pressure, "some avg10", 0..1
 * Return: what they may have in the next, as farmem_governor() says; quotas follow it by themselves.
 */
struct farmem_flows farmem_node_update(struct farmem_node *node, const struct farmem_knobs *k, const struct farmem_flows *want, uint64_t link, double psi);

#endif
