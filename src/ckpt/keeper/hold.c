/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory that stays although its processes are gone: of parked programs. It is given back when it is asked for, when somebody finds the device full, when it gets old, or when there is more of it
 * than there may be, the oldest first. An image is always there as well, so this costs speed and nothing else. All but what is said here with the lock held.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "op.h"

static struct hold **find(struct keeper_server *k, const char *name)
{
	struct hold **at = &k->holds;

	while (*at && strcmp((*at)->name, name))
		at = &(*at)->next;
	return at;
}

static void hold_free(struct hold *h)
{
	while (h->processes) {
		struct process *p = h->processes;

		h->processes = p->next;
		process_free(p);
	}
	free(h);
}

static void give_back(struct hold **at, const char *why)
{
	struct hold *h = *at;

	*at = h->next;
	log_info("%llu MiB of device memory that were held as %s are given back: %s", (unsigned long long)(h->bytes >> 20), h->name, why);
	hold_free(h);
}

static uint64_t held_bytes(const struct keeper_server *k)
{
	uint64_t bytes = 0;

	for (const struct hold *h = k->holds; h; h = h->next)
		bytes += h->bytes;
	return bytes;
}

static uint64_t bytes_on(const struct hold *h, const struct device *d)
{
	uint64_t bytes = 0;

	for (const struct process *p = h->processes; p; p = p->next)
		for (size_t b = 0; b < p->n; b++)
			bytes += p->buffers[b]->device == d ? p->buffers[b]->bytes : 0;
	return bytes;
}

/* ---- the operation's end ---- */

int hold_name(struct op *op, const char *name, struct hearth_err *err)
{
	struct keeper_server *k = op->k;
	uint64_t bytes = 0;
	int r = 0;

	if (op->phase != OP_DETACHED && op->phase != OP_CHECKPOINTED)
		return err_set(err, -EPROTO, "only memory that is detached can be held");
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < op->n; i++)
		bytes += process_bytes(op->processes[i]);
	if (bytes > k->hold_bytes)
		r = err_set(err, -EFBIG, "%llu MiB of device memory are more than may be held (ckpt_hold_bytes: %llu MiB)", (unsigned long long)(bytes >> 20), (unsigned long long)(k->hold_bytes >> 20));
	if (r == 0 && *find(k, name))
		r = err_set(err, -EEXIST, "something is held as %s already", name);
	for (struct engine *e = k->engines; e && r == 0; e = e->next)
		if (e->op && e->op != op && !strcmp(e->op->hold, name))
			r = err_set(err, -EEXIST, "something is held as %s already", name);
	if (r == 0)
		snprintf(op->hold, sizeof(op->hold), "%s", name);
	pthread_mutex_unlock(&k->lock);
	return r;
}

int hold_take(struct op *op, struct hearth_err *err)
{
	struct keeper_server *k = op->k;
	struct hold *h = calloc(1, sizeof(*h)), **at;

	if (!h)
		return err_set(err, -ENOMEM, "out of memory");
	snprintf(h->name, sizeof(h->name), "%s", op->hold);
	h->since_ns = clock_mono_ns();
	for (size_t i = 0; i < op->n; i++) {
		struct process *from = op->processes[i], *to = process_new(op->was[i], from->name);

		if (!to) {
			hold_free(h);   /* a part of it is good for nothing */
			return err_set(err, -ENOMEM, "out of memory");
		}
		buffers_move(from, to);
		h->bytes += process_bytes(to);
		to->next = h->processes;
		h->processes = to;
	}
	while (k->holds && held_bytes(k) + h->bytes > k->hold_bytes)
		give_back(&k->holds, "there is something newer to be held");
	for (at = &k->holds; *at; at = &(*at)->next)
		;
	*at = h;
	(void)!write(k->wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));      /* the main thread has one more time to look at */
	return 0;
}

bool hold_into(struct op *op, const char *name)
{
	struct hold **at = find(op->k, name), *h = *at;

	if (!h)
		return false;
	while (h->processes) {
		struct process *p = h->processes;

		h->processes = p->next;
		p->next = NULL;
		op_add_record(op, p);
	}
	snprintf(op->hold, sizeof(op->hold), "%s", name);
	*at = h->next;
	free(h);
	return true;
}

/* ---- given back ---- */

int hold_release(struct keeper_server *k, const char *name, struct hearth_err *err)
{
	struct hold **at = find(k, name);

	if (!*at)
		return err_set(err, -ENOENT, "nothing is held as %s", name);
	give_back(at, "it was asked for");
	return 0;
}

uint64_t holds_make_room(struct keeper_server *k, struct device *d, uint64_t bytes)
{
	uint64_t given = 0, here;

	for (struct hold **at = &k->holds; *at;) {
		here = bytes_on(*at, d);
		if (here == 0) {
			at = &(*at)->next;
			continue;
		}
		/* who asks found none: at least one goes, whatever the driver says */
		if (given > 0 && device_room(d, NULL) >= bytes)
			break;
		give_back(at, "the device is full");
		given += here;
		if (device_use(d, NULL) < 0)
			break;
	}
	return given;
}

int holds_expire(struct keeper_server *k)
{
	uint64_t now = clock_mono_ns(), due;

	while (k->hold_ns && k->holds) {
		due = k->holds->since_ns + k->hold_ns;
		if (due > now)
			return due - now > (uint64_t)INT_MAX * NS_PER_MS ? INT_MAX : (int)((due - now + NS_PER_MS - 1) / NS_PER_MS);
		give_back(&k->holds, "its time is over");
	}
	return -1;
}

void holds_free(struct keeper_server *k)
{
	while (k->holds) {
		struct hold *h = k->holds;

		k->holds = h->next;
		hold_free(h);
	}
}

json_t *holds_list(struct keeper_server *k)
{
	uint64_t now = clock_mono_ns();
	json_t *list = json_array();

	/* what fits into one answer; nobody parks thousands of programs on a device */
	for (const struct hold *h = k->holds; h && json_array_size(list) < HOLDS_LISTED; h = h->next)
		json_array_append_new(list, json_pack("{s:s,s:I,s:I}", "name", h->name, "bytes", (json_int_t)h->bytes, "age_ns", (json_int_t)(now - h->since_ns)));
	return list;
}
