/* SPDX-License-Identifier: Apache-2.0 */
/* Processes and their buffers. Everything here is called with the keeper's lock held. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "op.h"

struct process *process_find(struct keeper_server *k, pid_t pid)
{
	struct process *p = k->processes;

	while (p && p->pid != pid)
		p = p->next;
	return p;
}

struct process *process_new(pid_t pid, const char *name)
{
	struct process *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->pid = pid;
	p->fd = p->pidfd = -1;
	snprintf(p->name, sizeof(p->name), "%s", name);
	return p;
}

static void asks_free(struct process *p)
{
	while (p->asks) {
		struct ask *a = p->asks;

		p->asks = a->next;
		fd_close(&a->fd);
		free(a);
	}
}

struct process *process_free(struct process *p)
{
	if (!p)
		return NULL;
	buffers_drop(p);
	asks_free(p);
	fd_close(&p->fd);
	fd_close(&p->pidfd);
	free(p->buffers);
	free(p);
	return NULL;
}

void process_drop(struct keeper_server *k, struct process *p, const char *why)
{
	struct process **at = &k->processes;
	struct ask **a = &p->asks;

	if (!p->dead)
		log_debug("process %d (%s): %s", (int)p->pid, p->name, why);
	p->dead = true;
	if (!p->broken[0])
		snprintf(p->broken, sizeof(p->broken), "%s", why);
	fd_close(&p->fd);
	fd_close(&p->pidfd);
	/* nobody takes the answers that were given up */
	while (*a) {
		struct ask *this = *a;

		if (this->abandoned) {
			*a = this->next;
			fd_close(&this->fd);
			free(this);
		} else {
			a = &this->next;
		}
	}
	while (*at && *at != p)
		at = &(*at)->next;
	if (*at) {
		*at = p->next;
		k->processes_n--;
	}
	p->next = NULL;
	pthread_cond_broadcast(&k->changed);
	if (!p->op)
		process_free(p);
	else if (p->state == PROCESS_RUNNING || p->state == PROCESS_CLOSED)
		buffers_drop(p);
}

struct buffer *buffer_find(const struct process *p, uint64_t id)
{
	size_t low = 0, high = p->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (p->buffers[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < p->n && p->buffers[low]->id == id ? p->buffers[low] : NULL;
}

int buffer_add(struct process *p, const struct buffer *b, struct buffer **ret)
{
	struct buffer *copy;

	if (p->n > 0 && p->buffers[p->n - 1]->id >= b->id)
		return -EINVAL;
	if (p->n == BUFFERS_MAX)
		return -ENOSPC;
	copy = malloc(sizeof(*copy));
	if (!copy || array_grow((void **)&p->buffers, &p->cap, p->n + 1, sizeof(*p->buffers)) < 0) {
		free(copy);
		return -ENOMEM;
	}
	*copy = *b;
	copy->process = p;
	p->buffers[p->n++] = copy;
	*ret = copy;
	return 0;
}

void buffer_ref(struct buffer *b)
{
	b->refs++;
}

static void buffer_end(struct buffer *b)
{
	mapping_drop(&b->map);
	mapping_drop(&b->fresh);
	free(b);
}

void buffer_unref(struct buffer *b)
{
	if (--b->refs == 0 && b->gone)
		buffer_end(b);
}

/* the process no longer has it */
static void buffer_forget(struct buffer *b)
{
	b->gone = true;
	if (b->object) {
		b->object->gone = !b->object->stopped;
		b->object->buffer = NULL;
		b->object = NULL;
	}
	if (b->refs == 0)
		buffer_end(b);
}

void buffers_drop(struct process *p)
{
	for (size_t k = 0; k < p->n; k++)
		buffer_forget(p->buffers[k]);
	p->n = 0;
}

void buffers_move(struct process *from, struct process *to)
{
	to->buffers = from->buffers;
	to->n = from->n;
	to->cap = from->cap;
	from->buffers = NULL;
	from->n = from->cap = 0;
	for (size_t b = 0; b < to->n; b++)
		to->buffers[b]->process = to;
}

void buffer_remove(struct process *p, struct buffer *b)
{
	size_t k = 0;

	while (p->buffers[k] != b)
		k++;
	memmove(&p->buffers[k], &p->buffers[k + 1], (--p->n - k) * sizeof(*p->buffers));
	buffer_forget(b);
}

uint64_t process_bytes(const struct process *p)
{
	uint64_t bytes = 0;

	for (size_t k = 0; k < p->n; k++)
		bytes += p->buffers[k]->bytes;
	return bytes;
}

struct device *device_of(struct keeper_server *k, const uint8_t uuid[16])
{
	for (int i = 0; i < k->devices_n; i++)
		if (!memcmp(k->devices[i].uuid.bytes, uuid, 16))
			return &k->devices[i];
	return NULL;
}
