/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_SERVE_PRIVATE_H
#define SCHED_SERVE_PRIVATE_H

#include <pthread.h>

#include "config.h"
#include "control.h"
#include "crew.h"
#include "front.h"

struct serve {
	const struct serve_config *cfg;
	struct serve_config *live;              /* what serve_reload has taken over since; @cfg stays true of all that cannot change */
	const struct net_backend *net;
	struct net_port *port;
	struct hearth_app app;
	void *app_handle, *app_state;           /* app_state: in the nursery and what it forks */
	struct hearth_app_env env;
	const char *type_names[SCHED_TYPES_MAX];
	uint8_t *shared;                        /* bell and slots */
	size_t shared_bytes;
	struct bell *bell;
	struct slot *slot[SCHED_WORKERS_MAX];
	struct front front;
	struct crew_proc *crew;
	struct disp *disp;
	struct recorder *recorder;
	struct control *control;
	int idle_fd;                            /* for serve_fd where there is no control socket: never readable */
	pthread_t thread;
	bool started;
	uint64_t begun_ns;
};

/** struct serve_state - the policy core's state at a moment, copied on the dispatcher's thread */
struct serve_state {
	struct sched_config cfg;
	struct sched_type_stats type[SCHED_TYPES_MAX + 1];      /* the last one, at types_n: of unknown ones */
	struct sched_group *groups;                             /* room for SCHED_TYPES_MAX */
	size_t groups_n;
	uint64_t updates;
	uint32_t waiting, idle;
	char text[16384];
};

/** serve_state_take - Return: a copy, serve_state_free it; NULL: no memory */
struct serve_state *serve_state_take(struct serve *s);
struct serve_state *serve_state_free(struct serve_state *st);

/** serve_type_name - by number; "unknown" for types_n */
const char *serve_type_name(const struct serve *s, uint32_t type);

#endif
