/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_SERVER_H
#define FARMEM_PAGER_SERVER_H

#include "base/buf.h"
#include "space.h"

/* The thread that listens. All of it with the pager's lock held by nobody else: it is the only one that makes and ends targets, and spaces but for forked children. */

struct client {
	struct client *next;
	struct pager *p;
	int fd;
	struct buf out;                 /* events that it has not taken yet, each a packet */
	const uint32_t *running;        /* its memory (pager_wire.h), or NULL */
	bool dead;
};

/** struct pager_options - @uri, @key_file: of the pool; @around_bytes: what comes with a page that is touched; @fetch_workers: that bring much memory of one process together, 0: as many as are idle; @check: only say whether these will do */
struct pager_options {
	const char *socket, *uri, *key_file;
	uint64_t around_bytes;
	unsigned fetch_workers;
	bool check;
};

/** server_run - the working process, until it is told to end. @state: shared with the holder. Return: exit status. */
int server_run(struct state *state, const struct pager_options *o);
/** server_watch - have an event tell of a descriptor */
int server_watch(struct pager *p, int fd, unsigned kind, uint32_t n);
enum { WATCH_LISTEN, WATCH_CLIENT, WATCH_GREETING, WATCH_EXIT, WATCH_BELL, WATCH_STORE, WATCH_STOP };

/* client.c's other side */
void client_tell(struct client *c, const struct pager_event *e);

/* target.c */
void target_request(struct client *c, const struct pager_request *r);
/** target_alone - the client's memory is not looked at any more */
void target_alone(struct pager *p, struct target *t);
/** target_look - what has become of its spaces since the last look is told, and what has ended is put away */
void target_look(struct pager *p, struct target *t);
void target_tell(struct target *t, struct pager_event *e);
/** target_refuse - it cannot be paged */
void target_refuse(struct target *t, int error, const char *why);

/* greet.c: helpers that are found and met */

/** greet_find - connect to those of a target's processes that are not known yet. Return: how many there are of both kinds, -errno. */
int greet_find(struct pager *p, struct target *t);
/** greet_helper - a packet of one that is being met */
void greet_helper(struct space *s);
/** greet_pending - whether some are being met */
bool greet_pending(const struct pager *p, const struct target *t);

#endif
