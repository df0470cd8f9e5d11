/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_PRIV_H
#define NODE_PRIV_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <uthash.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hist.h"
#include "box/cgroup.h"
#include "engines.h"
#include "farmem/engine.h"
#include "farmem/policy.h"
#include "fn/wire.h"
#include "http/server.h"
#include "http/upstream.h"
#include "node/node.h"
#include "slots.h"
#include "types.h"

/*
 * Everything here runs on hearthd's one thread, from libev callbacks. Ownership: the node owns functions, a function owns its instances and its queue,
 * an invocation is owned by its origin (the gateway's request) until it is done. Ids are text: "<function>-<8 hex>".
 */

#define NODE_ID_LEN 96
#define NODE_NAME_LEN 64
#define SNAPSHOT_PREFIX "snapshot-"

/* glibc's <sys/queue.h> lacks it */
#ifndef TAILQ_FOREACH_SAFE
#define TAILQ_FOREACH_SAFE(var, head, field, next) \
	for ((var) = TAILQ_FIRST(head); (var) && ((next) = TAILQ_NEXT(var, field), 1); (var) = (next))
#endif

struct function;
struct instance;
struct invocation;

/* ---- manifest: what a function is (manifest.c) ---- */

enum contract { CONTRACT_LAMBDA, CONTRACT_HTTP, CONTRACT_NATIVE };
enum park_mode { PARK_STATE, PARK_SNAPSHOT, PARK_OFF };
enum net_mode { NET_PRIVATE, NET_HOST };

enum farmem_mode { FARMEM_AUTO, FARMEM_ON, FARMEM_OFF };

extern const char *const contract_names[];
extern const char *const park_names[];
extern const char *const network_names[];

/** struct manifest_farmem - hearth-function(5), "farmem"; what the policy makes of it: memory_knobs() */
struct manifest_farmem {
	int mode;
	bool segments, prefetch;
	double quantile, rate, wake_share, prewarm_share;
	uint64_t min_idle_ns, floor_bytes, rollback_ns;
};

struct manifest {
	char *name;
	char **command;
	char *directory;
	char **env;
	char **mounts;
	char *user;
	char *type;
	char *handler;
	int contract, park, network;
	bool slot, zygote, park_early;
	int64_t concurrency, min_instances, max_instances, port, pids, nofile, queue_limit;
	uint64_t memory_bytes, tmp_bytes;
	double cpus;
	uint64_t timeout_ns, init_timeout_ns, queue_timeout_ns, stop_timeout_ns;
	uint64_t keep_hot_ns, keep_warm_ns, worker_idle_ns;
	struct manifest_farmem farmem;
};

/**
 * manifest_parse - strict YAML to a checked manifest with an absolute directory
 * @base_dir: what a relative directory is relative to
 * @set:      more YAML whose keys replace those of @text; NULL or "" for none
 * Return: 0, -EINVAL, -ENOENT (directory or program missing); nothing to free on failure.
 */
int manifest_parse(const char *text, size_t len, const char *file, const char *base_dir, const char *set, struct manifest *ret, struct hearth_err *err);
void manifest_done(struct manifest *m);
json_t *manifest_to_json(const struct manifest *m);
/** manifest_from_json - what manifest_to_json wrote. Return: 0, -EINVAL. */
int manifest_from_json(const json_t *json, struct manifest *ret, struct hearth_err *err);
bool manifest_equal(const struct manifest *a, const struct manifest *b);

/* ---- the waiting calls of a function (queue.c) ---- */

/** waiting_push - a call that waits, behind those that wait already */
void waiting_push(struct function *fn, struct invocation *inv);
/** waiting_remove - it waits no longer; its place, if it has one, is free again */
void waiting_remove(struct function *fn, struct invocation *inv);
/** waiting_place - a place of the instance is its own from now on; fn->unplaced is the next to get one */
void waiting_place(struct function *fn, struct invocation *inv, struct instance *inst);
/** waiting_unplace - it waits for an instance again; it keeps its turn */
void waiting_unplace(struct function *fn, struct invocation *inv);
/** waiting_return - one that ran waits again, in its old turn */
void waiting_return(struct function *fn, struct invocation *inv);

/* ---- invocations (invoke.c) ---- */

enum start_kind { START_HOT, START_WARM, START_WAKE, START_COLD, START_KINDS };
extern const char *const start_names[START_KINDS];

enum invocation_kind {
	INV_EVENT_SYNC,         /* AWS Invoke, RequestResponse */
	INV_EVENT_ASYNC,        /* AWS Invoke, Event: the caller was answered already */
	INV_HTTP,               /* any method and path, passed on */
};

/**
 * struct invocation - one call of a function, from its arrival until it is answered
 * @req:      the gateway's request; NULL for INV_EVENT_ASYNC and after the client went away
 * @payload:  the event; points into @req, or is @owned
 * @instance: where it runs; NULL while it waits
 * @place:    where it will run; NULL while it waits for an instance, and when it runs
 * @answered: the function did what it does: how long it took tells how long its calls take
 */
struct invocation {
	TAILQ_ENTRY(invocation) entry;          /* in the function's queue */
	LIST_ENTRY(invocation) running;         /* in the instance's list of those that run, or of those placed */
	UT_hash_handle hh;                      /* by id, node-wide, while on a channel */
	uint64_t id;
	struct function *fn;
	struct instance *instance, *place;
	struct slot_call call;                  /* the node's slots' part */
	struct http_request *req;
	enum invocation_kind kind;
	const uint8_t *payload;
	size_t payload_len;
	char *owned;
	char *target;                           /* INV_HTTP: path and query for the function */
	struct http_header extra[3];            /* of the answer; the upstream borrows them */
	char waited_ms[16];                     /* in the queue, as text; "" when it did not wait */
	char request_id[37];
	uint64_t arrived_ns, started_ns;
	uint64_t record;                        /* its number in the recording of calls, 0 none */
	enum start_kind start;
	bool wrap;                              /* lambda called as a web address: event and answer are translated */
	bool queued, answered;
	struct kept_result *kept;               /* what an instance that is not verified answered */
	char *broken;                           /* its connection to an http function ended so; the function's end may explain it better */
	ev_timer timer;                         /* waiting: queue timeout; running: timeout; broken: how long an explanation is waited for */
};

/** invocation_submit - take a call in: run it, queue it (starting instances as needed) or answer 429 */
void invocation_submit(struct function *fn, struct invocation *inv);
/** invocation_new - @req: borrowed until answered; may be NULL */
struct invocation *invocation_new(struct function *fn, enum invocation_kind kind, struct http_request *req);
/** invocation_fail - answer with a status and a reason, free it. Takes it off any queue and slot. */
void invocation_fail(struct invocation *inv, int status, const char *type, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/** invocation_result - a frame FN_RESULT came for it */
void invocation_result(struct invocation *inv, enum fn_outcome outcome, const char *content_type, const char *error_type, const uint8_t *body, size_t len);
/** invocations_release - their instance is what had been parked: what it answered meanwhile may go out */
void invocations_release(struct instance *inst);
/** invocations_take_back - their instance is not what had been parked: they run once more, on another; whoever calls this pumps the function */
void invocations_take_back(struct instance *inst);
/** invocation_client_gone - nobody waits for the answer any more */
void invocation_client_gone(struct invocation *inv);
struct invocation *invocation_find(struct node *n, uint64_t id);
/** estimate_update - exponential moving average with weight 1/4 for the new value */
static inline void estimate_update(uint64_t *estimate, uint64_t value)
{
	*estimate = *estimate ? *estimate - *estimate / 4 + value / 4 : value;
}
/** function_pump - give queued invocations to free instances, start instances where there are too few, and start what the node's slots let start */
void function_pump(struct function *fn);
/** function_waits_for_instances - how many of its calls wait for an instance (the others wait for a slot of the node) */
unsigned function_waits_for_instances(const struct function *fn);
/** invocations_unplace - what was to run on this instance waits for another: it is about to end */
void invocations_unplace(struct instance *inst);
/** invocation_start - slots_ops.start: the call has a slot of the node */
void invocation_start(void *ctx, struct slot_call *call);

/* lambda functions called as a web address (lambda_http.c): API Gateway payload format 2.0 */
/** invocation_headers - what every answer says about how the call was served. @h: room for 3. Return: how many. */
size_t invocation_headers(const struct invocation *inv, struct http_header *h);

/** percent_decode - %XX undone, of a @form + too; what is no escape stays as it is. @out: room for @len. Return: bytes, 0 bytes among them as they come. */
size_t percent_decode(const char *in, size_t len, bool form, char *out);
/** lambda_http_event - a request as event document. @target: path and query the function sees. Return: heap text, NULL without memory. */
char *lambda_http_event(const struct http_request *req, const char *target, const char *request_id, const char *function);
/** lambda_http_reply - answer the invocation's request with what the function returned; the request is over afterwards */
void lambda_http_reply(struct invocation *inv, const uint8_t *body, size_t len);

/* ---- functions (function.c) ---- */

struct counters {
	uint64_t requests, errors, function_errors, rejected, timeouts, lost;
	uint64_t starts[START_KINDS], parks, park_failures, wake_failures, start_failures, oom_kills, log_bytes;
};

TAILQ_HEAD(instance_list, instance);
TAILQ_HEAD(invocation_list, invocation);

struct function {
	UT_hash_handle hh;
	struct node *node;
	struct manifest m;
	struct instance_list instances;         /* most recently used first */
	struct invocation_list queue;
	struct invocation *unplaced;            /* the first of the queue that waits for an instance */
	unsigned queued, placed;                /* placed: those of the queue that have an instance and wait for a slot of the node */
	uint32_t type;                          /* of its calls, of struct types */
	struct counters count;
	struct hist *latency[START_KINDS];      /* ns, arrival to answer */
	uint64_t exec_ns, start_ns[START_KINDS]; /* moving averages: a call on its instance, a start until ready; 0 not known */
	double computes;                        /* how much of their time its calls keep a processor, or wait for one: as seen while others waited for them; 1 at first */
	uint64_t looked_ns;                     /* when that was looked at */
	ev_timer rescale;                       /* while calls wait: what was right to start may have changed */
	uint64_t park_retry_ns;                 /* no parking before this time: the last try failed */
	unsigned start_failures;                /* in a row */
	ev_timer keep_min;                      /* restarts min_instances after failures */
	bool removing;
	bool snapshot_busy, pumping;
	bool no_zygote;                         /* its runtime does not fork: one call at a time, whatever the manifest says */
	char *snapshot;                         /* PARK_SNAPSHOT: image id */
	struct log_file *log;
	struct farmem_function farmem;          /* the policy's */
	struct farmem_stat memory_past;         /* what its ended instances had counted; of this only the counters */
};

struct function *function_find(struct node *n, const char *name);
/** function_parks - are its idle instances parked (rather than ended)? */
bool function_parks(const struct function *fn);
/** function_capacity - calls that one of its instances takes at a time, as far as is known */
unsigned function_capacity(const struct function *fn);
/** function_type_name - of the type of its calls */
const char *function_type_name(const struct function *fn);
/** function_deploy - new or changed; a changed one's instances end as they become free. Takes over @m. Return: 0, -errno with message. */
int function_deploy(struct node *n, struct manifest *m, bool *ret_changed, struct hearth_err *err);
/** function_remove - no new calls; queued ones get 404; instances and images go */
int function_remove(struct node *n, const char *name, struct hearth_err *err);
int functions_load(struct node *n, struct hearth_err *err);
void functions_sweep(struct node *n);
void functions_free(struct node *n);
json_t *function_to_json(const struct function *fn);
/** function_keep_min - start what min_instances and a snapshot ask for */
void function_keep_min(struct function *fn);

/* ---- instances (instance.c) ---- */

enum instance_state { INST_STARTING, INST_HOT, INST_WARM, INST_PARKING, INST_PARKED, INST_WAKING, INST_STOPPING, INST_STATES };
extern const char *const instance_state_names[INST_STATES];

LIST_HEAD(running_list, invocation);

struct instance {
	TAILQ_ENTRY(instance) entry;
	struct function *fn;
	char id[NODE_ID_LEN];
	enum instance_state state;
	enum start_kind origin;                 /* how it last became hot, or is becoming it; START_HOT: it ran already */
	bool ready;                             /* the program finished its initialisation */
	bool outdated;                          /* its function was changed or removed: end it when free */
	bool oom, for_snapshot, kill_sent, adopted;
	bool channel_ended;                     /* and the reason says no more than that */
	char left_alone[256];                   /* why the engine did not take its memory; "": it did, or was not asked */
	bool from_warm;                         /* its memory was away, or leaving, when a call took it: that call is a warm start */
	bool recalling;                         /* parking: its memory comes back first; no job yet */
	bool zygote;                            /* its runtime forks workers: a call can be taken back without it */
	bool unverified;                        /* woken, and its image not verified yet: what it answers is kept back; the job will tell */
	bool committed;                         /* parking: the image is complete, the process is to end */
	pid_t pid;
	uint64_t starttime;
	int pidfd, netns;
	ev_io exit_watch;
	ev_timer timer;                         /* starting: init timeout; hot: idle; stopping: grace */
	struct job *job;
	struct memory *memory;                  /* NULL: no engine has it */
	struct channel *init, *native;
	struct http_upstream *upstream;
	struct running_list running, placed;
	bool resting;                           /* parking: its workers end first; recalling, too */
	unsigned workers;
	uint64_t *foreign;                      /* calls of an earlier daemon that it runs; they are counted in inflight */
	size_t foreign_n;
	uint64_t oom_kills;                     /* of its processes, that are accounted for */
	unsigned inflight, held, capacity;      /* inflight: places taken, by calls that run and by held ones, that wait for a slot of the node */
	uint64_t created_ns, ready_ns, used_ns, state_ns, served;
	uint64_t warm_until_ns;                 /* when it is parked or ended at the latest */
	char image[NODE_ID_LEN + 16];              /* parked or last woken from; "" none */
	uint64_t image_bytes;
	int exit_status;                        /* wait status told by hearth-init, -1 unknown */
	char reason[256];                       /* why it ended or is ending, for whoever waits */
	char cgroup[NODE_ID_LEN + 64];
};

/** instance_start - cold: build the sandbox, run the program. Return: the instance (state INST_STARTING) or NULL with message. */
struct instance *instance_start(struct function *fn, struct hearth_err *err);
/** instance_park - checkpoint an idle one. Return: 0, -EBUSY (runs something), -EOPNOTSUPP, -errno with message. */
int instance_park(struct instance *inst, struct hearth_err *err);
/** instance_resume - let one go on that a checkpoint left stopped; it is attached when it does */
void instance_resume(struct instance *inst);
/** instance_wake - a parked one. Return: 0, -errno with message; a failure later falls back to a cold start by itself. */
int instance_wake(struct instance *inst, struct hearth_err *err);
/** instance_clone - a new instance from the function's snapshot. Return: it, or NULL with message. */
struct instance *instance_clone(struct function *fn, struct hearth_err *err);
/** instance_stop - end it: SIGTERM, after stop_timeout SIGKILL. @why: for those who wait on it. */
void instance_stop(struct instance *inst, const char *why);
void instance_kill(struct instance *inst, const char *why);
/** instance_take - a place of it is taken: it is not idle */
void instance_take(struct instance *inst);
/** instance_slot_freed - an invocation left: idle timer, outdated instances end */
void instance_slot_freed(struct instance *inst);
struct instance *instance_free_slot(struct function *fn);
struct instance *instance_find(struct node *n, const char *id);
/** instance_forget - close what the daemon holds, leave the process alone, free */
void instance_forget(struct instance *inst);
json_t *instance_to_json(struct instance *inst);
/** instances_stop_all - for the end: idle ones that can be are parked, the others end when they are free */
void instances_stop_all(struct node *n);
uint64_t instance_memory(struct instance *inst);
bool instance_has_process(const struct instance *inst);
/** instance_oom - have more of its processes been killed for its memory limit since this was asked last? */
bool instance_oom(struct instance *inst);
struct instance *instance_alloc(struct function *fn, const char *id);
void instance_set_state(struct instance *inst, enum instance_state state);
void instance_set_ready(struct instance *inst);
void instance_attach(struct instance *inst, enum start_kind origin);
int instance_adopt_pid(struct instance *inst, pid_t pid, uint64_t starttime, struct hearth_err *err);

/* ---- what survives the daemon (record.c) ---- */

void record_write(const struct instance *inst);
void record_remove(const struct instance *inst);
/** records_adopt - take over running instances and parked images of an earlier daemon; ends what nobody owns */
int records_adopt(struct node *n, struct hearth_err *err);
void records_end_strays(struct node *n);

/* ---- channel to an instance (channel.c) ---- */

struct channel;
struct channel_ops {
	/* body and meta are valid during the call. Return false: the peer broke the protocol, hang up. */
	bool (*frame)(void *ctx, const struct fn_frame *frame, const char *meta, const uint8_t *body, size_t body_len);
	void (*closed)(void *ctx, const char *why);
};
/**
 * channel_open - connect to a listener of the instance; retried while the instance starts, until channel_close
 * @netns:  descriptor of its network namespace, borrowed; -1 = ours
 * @name:   FN_NAME_INIT or FN_NAME_NATIVE, static; @suffix: "" where the instance has a network namespace of its own
 */
struct channel *channel_open(struct ev_loop *loop, int netns, const char *name, const char *suffix, const struct channel_ops *ops, void *ctx);
/** channel_send - queued and written as soon as it can be. Return: 0, -ENOMEM, -ENOTCONN. */
int channel_send(struct channel *ch, enum fn_type type, uint64_t id, uint64_t arg, const char *meta, size_t meta_len, const void *body, size_t len);
bool channel_connected(const struct channel *ch);
/** channel_drain - take in some of what has arrived. Return: there was something; call again unless ops.closed was told that the channel ended. */
bool channel_drain(struct channel *ch);
struct channel *channel_close(struct channel *ch);      /* NULL is fine; returns NULL */

/* ---- jobs of hearth-box (job.c) ---- */

struct job;
/** job_done - @result: borrowed, {"ok":...}; a job that died gives {"ok":false,"error":...}. With "more" in it another one comes, and the job goes on. */
typedef void (*job_done)(void *ctx, json_t *result);
/** job_run - @spec: taken over. Return: the job or NULL with message; @done is called from the loop, once for each line of the answer, unless cancelled. */
struct job *job_run(struct node *n, json_t *spec, job_done done, void *ctx, struct hearth_err *err);
/** job_run_soon - the same, by the hearth-box that stands by if there is one: for wakes */
struct job *job_run_soon(struct node *n, json_t *spec, job_done done, void *ctx, struct hearth_err *err);
/** job_processor_ns - processors' time that a job says it took; 0: it does not say */
uint64_t job_processor_ns(json_t *result);
/** job_error - why a job failed, from its answer */
const char *job_error(json_t *result);
pid_t job_pid(const struct job *job);
bool job_runs(const struct node *n, pid_t pid);
/** job_detach - nobody wants the answer any more; the job runs to its end */
void job_detach(struct job *job);
void jobs_free(struct node *n);

/** box_spawn - run hearth-box. @argv: ends with NULL; @in, @out: its standard input and output, borrowed. Return: 0, -errno. */
int box_spawn(char *const *argv, int in, int out, pid_t *ret_pid);

/* ---- processes that outlive us: hearth-keeper, hearth-pager (helper.c) ---- */

struct helper;

/**
 * struct helper_ops - how one is found and begun
 * @program:   in libexec
 * @find:      connect to one that runs. Return: there is one, and we are connected
 * @end:       it ends, and is waited for, by whichever number it goes by now. Return: 0 (there is none any more), -errno. NULL: whoever has `pid` is signalled
 * @tick:      every few seconds while connected; NULL: nothing to do
 * @arguments: argv[1..], ends with NULL; texts of @argv live until the program runs. @n: room
 * @given_up:  it ended by itself. Return: it is not to be started again. NULL: it always is
 */
struct helper_ops {
	const char *program;
	bool (*find)(struct node *n);
	int (*end)(struct node *n, unsigned max_ms);
	void (*tick)(struct node *n);
	void (*arguments)(struct node *n, const char **argv, size_t room);
	bool (*given_up)(struct node *n, int status);
};

struct helper {
	const struct helper_ops *ops;
	struct node *node;
	bool connected;
	int out;                        /* its standard output, until it is ready */
	pid_t pid;                      /* of one that was found; 0 not known */
	ev_io ready;
	ev_child child;
	ev_timer timer;
	double back_off_s;
	uint64_t lost_ns;               /* when it was lost, by clock_mono_ns() */
	uint64_t restarts;
};

void helper_init(struct helper *h, struct node *n, const struct helper_ops *ops);
/** helper_begin - find one that runs, or start it, again and again should it end */
void helper_begin(struct helper *h);
/** helper_lost - the connection has ended: it is looked for anew, and started if there is none */
void helper_lost(struct helper *h);
/** helper_end - look for it no more. @stop: it ends too, and is waited for, so that what comes after us finds none that is about to go */
void helper_end(struct helper *h, bool stop);

/* ---- the keeper of device memory (keeper.c) ---- */

struct node_keeper {
	struct helper helper;
	int fd;                         /* connection */
	ev_io watch;
	struct { uint64_t processes, bytes, held_bytes, pool_ready_bytes, copied_bytes; } info;
};
void node_keeper_init(struct node *n);
void node_keeper_begin(struct node *n);
/** node_keeper_end - if instances end, it ends too */
void node_keeper_end(struct node *n);
int metrics_keeper(struct node *n, struct buf *out);

/* ---- idle instances' memory: the engine, and the policy (memory.c) ---- */

struct memory;
LIST_HEAD(memory_list, memory);

/** struct memory_pressure - how it is told that memory gets scarce (memory_pressure.c). @share: of time, from which on */
struct memory_pressure {
	int fd, epoll_fd;
	double share;
	ev_io watch;
};

struct node_memory {
	struct memory_pressure pressure;
	const struct farmem_ops *ops;           /* NULL: this machine has none, or none is wanted: why */
	struct farmem_engine *engine;
	unsigned features;
	bool up;                                /* attaches are taken */
	char what[512], why[256];
	struct farmem_node policy;
	struct memory_list all;                 /* of instances that were, too, until the engine has let go of them */
	ev_io watch;
	ev_timer tick;
	struct helper pager;
	uint64_t offloaded_bytes, recalled_bytes, moved_last;
};

void node_memory_init(struct node *n);
/** node_memory_begin - choose and open an engine, before anything starts. Return: 0 (though there may be none), -errno with message (what is asked for cannot be). */
int node_memory_begin(struct node *n, struct hearth_err *err);
void node_memory_end(struct node *n);
/** node_memory_to_json - which engine, or why none; what is in the pool */
json_t *node_memory_to_json(const struct node *n);
/** memory_break_even_ns - how long memory has to stay away so that moving it is worth what that takes, as measured */
uint64_t memory_break_even_ns(const struct node *n);
/** memory_pool_bytes - memory of this machine that what is away takes, of instances that have just ended too */
uint64_t memory_pool_bytes(const struct node *n);
/** memory_pressure_read - "some avg10" of a PSI file, 0..1; 0 where there is none */
double memory_pressure_read(const char *path);
/** memory_pressure_begin - from now on memory_pressure_is() is told at once when tasks wait for memory for so large a share of time, where the kernel can tell */
void memory_pressure_begin(struct node *n, double share);
void memory_pressure_end(struct node *n);
/** memory_pressure_is - how scarce memory is, 0..1: idle instances' policies are told when that matters */
void memory_pressure_is(struct node *n, double psi);
/** memory_environment - what an engine wants in the environment of an instance's program */
void memory_environment(const struct instance *inst, json_t *env);
/** memory_mounts - folders that it wants to see */
void memory_mounts(const struct instance *inst, json_t *mounts);
/** memory_knobs - the policy's knobs, from the manifest and the node's configuration */
void memory_knobs(const struct node_config *cfg, const struct manifest *m, struct farmem_knobs *ret);
/** memory_attach - the instance has a process, which nothing else is at: its memory may be moved from here on */
void memory_attach(struct instance *inst);
/** memory_runtime_loaded, memory_ready, memory_request_begin, memory_request_end - what happens to it; nothing where no engine has it. @waited_ns: how long the request waited because instances were busy */
void memory_runtime_loaded(struct instance *inst);
void memory_ready(struct instance *inst);
void memory_request_begin(struct instance *inst, uint64_t waited_ns);
void memory_request_end(struct instance *inst);
/** memory_recall - all its memory is to come back, and the engine to let go of it. Return: false if nothing has to; else instance_recalled() is told. */
bool memory_recall(struct instance *inst);
/** memory_forget - it has ended, or is another daemon's soon (@leave) */
void memory_forget(struct instance *inst, bool leave);
/** memory_park_even_ns - farmem_park_even_ns() of its memory, as seen last */
uint64_t memory_park_even_ns(struct instance *inst);
/** memory_is_away - some of its memory is elsewhere, or on its way */
bool memory_is_away(const struct instance *inst);
/** memory_news - take in what the engine has told: that an instance's memory is lost comes before its end */
void memory_news(struct node *n);
/** memory_left_alone - why none of it is ever moved; NULL: it is, or there is no process. Borrowed until the loop turns. */
const char *memory_left_alone(const struct instance *inst);
/** memory_stat - an instance's figures as last told; NULL: no engine has it */
const struct farmem_stat *memory_stat(const struct instance *inst);
/** memory_of_function - of all its instances, and the counters of those that were */
void memory_of_function(const struct function *fn, struct farmem_stat *ret);
/** memory_to_json - resident, remote, faults, ... of one or many */
json_t *memory_to_json(const struct farmem_stat *s);
int metrics_memory(struct node *n, struct buf *out);

/* ---- the hearth-box that stands by for the next wake (standby.c) ---- */

#define STANDBY_PREFIX ".standby-"              /* of its cgroup: this and its pid */

struct standby {
	pid_t pid;                              /* 0: none */
	int in, out;
	ev_io ended;
	ev_timer again;
};

void standby_init(struct node *n);
/** standby_begin - the node can park and wake: have one from now on */
void standby_begin(struct node *n);
/** standby_take - give it a job. Return: false if there is none to take; the job is run otherwise then. */
bool standby_take(struct node *n, const char *spec, size_t len, pid_t *ret_pid, int *ret_out);
/** standby_owns - is this cgroup, below the node's, the one of who stands by, or of a wake that stood by? */
bool standby_owns(const struct node *n, const char *cgroup);
void standby_end(struct node *n);

/* ---- logs of functions (logfile.c) ---- */

struct log_file;
struct log_file *log_file_open(const char *dir, const char *function);
void log_file_write(struct log_file *f, const char *instance, int stream, const uint8_t *data, size_t len);
struct log_file *log_file_close(struct log_file *f);

/* ---- scheduling between functions: the node's side of slots.h (node_slots.c), recording (record_calls.c) ---- */

/** node_slots_init - as the configuration says. Return: 0, -errno with message. */
int node_slots_init(struct node *n, struct hearth_err *err);
void node_slots_done(struct node *n);
/** op_sched, op_explain - operations of the control socket */
json_t *op_sched(struct node *n, const json_t *request);
json_t *op_explain(struct node *n, const json_t *request);
/** function_set_type - what its manifest says; when it is new or was deployed again */
void function_set_type(struct function *fn);

struct call_recorder;
/** call_recorder_open - replaces what the file held. @types: borrowed. Return: 0, -errno with message. */
int call_recorder_open(const char *path, const struct types *types, struct call_recorder **ret, struct hearth_err *err);
/** call_recorder_begin - a call has arrived, in order of arrival. Return: its number, 0 if it is not recorded. */
uint64_t call_recorder_begin(struct call_recorder *r, uint64_t arrived_ns);
/** call_recorder_end - it is over; a line is written of answered ones. Numbers of other recordings, and 0, are nobody's. */
void call_recorder_end(struct call_recorder *r, uint64_t number, bool answered, uint32_t type, uint64_t service_ns);
/** call_recorder_flush - to the file: until then lines are only in memory */
void call_recorder_flush(struct call_recorder *r);
const char *call_recorder_path(const struct call_recorder *r);
uint64_t call_recorder_calls(const struct call_recorder *r);
struct call_recorder *call_recorder_close(struct call_recorder *r);     /* NULL is fine; returns NULL */

/* ---- gateway, control, metrics ---- */

json_t *control_ok(void);
json_t *control_refuse(const struct hearth_err *err);

void gateway_request(void *ctx, struct http_request *req);
struct control;
struct control *control_new(struct node *n, struct hearth_err *err);
struct control *control_free(struct control *c);
int metrics_render(struct node *n, struct buf *out);
/** metrics_head - HELP and TYPE of a family. Return: 0, -ENOMEM. */
int metrics_head(struct buf *out, const char *name, const char *type, const char *help);
/** metrics_sched - the families hearth_sched_* (metrics_sched.c) */
int metrics_sched(struct node *n, struct buf *out);

/* ---- the node (node.c) ---- */

struct node {
	struct ev_loop *loop;
	const struct node_config *cfg;
	struct cgroup_tree *cgroups;
	bool isolated;                          /* full isolation in use */
	bool can_park;
	char no_park[256];                      /* why not */
	struct function *functions;
	struct invocation *by_id;
	struct job *jobs;
	struct http_server *http;
	struct control *control;
	uint16_t port;
	int lock_fd;
	uint64_t next_invocation, started_ns;
	unsigned parks_running, instances, cpus;
	uint64_t parked_total, adopted_total;
	ev_timer tick, settle;
	struct types *types;
	struct slots *slots;
	ev_timer slots_wake;
	struct invocation *submitting;          /* it has not waited yet */
	struct call_recorder *recorder;         /* NULL: calls are not recorded */
	bool stopping, stop_instances, given_up, strays;
	struct standby standby;
	struct node_keeper keeper;
	struct node_memory memory;
	char cgroup_root[64];                   /* "hearth-<hash of the run folder>": two daemons, two trees */
	char box[4096], init[4096];
};

/** node_settled - something ended; when stopping, look whether all has */
void node_settled(struct node *n);
void make_id(char *out, size_t n, const char *function);
json_t *node_to_json(struct node *n);
uint64_t node_rss_bytes(void);

#endif
