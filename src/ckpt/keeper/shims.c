/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of the shims' connections (shim/wire.h). Everything here is called with the keeper's lock held. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper.h"

#define ASKS_MAX 64

static int reply(int fd, enum shim_op op, uint32_t seq, int32_t result, uint64_t arg0, uint64_t arg1, uint64_t id)
{
	struct shim_msg m = { .version = SHIM_WIRE_VERSION, .op = op, .seq = seq, .result = result, .arg0 = arg0, .arg1 = arg1, .id = id };

	return sock_packet_send(fd, &m, sizeof(m), -1, false);
}

/* a process that was detached (or restored) is there again */
static void come_back(struct keeper_server *k, struct process *p, int fd, uid_t uid, const char *name)
{
	fd_close(&p->fd);
	p->fd = fd;
	p->uid = uid;
	snprintf(p->name, sizeof(p->name), "%.*s", SHIM_NAME_MAX - 1, name);
	p->state = PROCESS_BACK;
	if (reply(fd, SHIM_WELCOME, 0, 0, 1, 0, 0) < 0 || keeper_watch(k, fd, WATCH_PROCESS) < 0)
		process_drop(k, p, "its new connection broke at once");
	pthread_cond_broadcast(&k->changed);
}

void shim_hello(struct keeper_server *k, int fd, pid_t pid, uid_t uid, const struct shim_msg *m)
{
	struct process *p = process_find(k, pid);
	bool back = m->flags & 1;

	if (back && p && p->state == PROCESS_DETACHED) {
		come_back(k, p, fd, uid, m->text);
		return;
	}
	if (back) {
		log_warn("process %d (%s) came back from a checkpoint, but nothing is known of its device memory: was the keeper restarted?", (int)pid, m->text);
		reply(fd, SHIM_WELCOME, 0, -ENOENT, 0, 0, 0);
		fd_close(&fd);
		return;
	}
	if (p)                          /* it called exec, and the end of the old connection is still to be read */
		process_drop(k, p, "another program runs in it");
	p = k->processes_n < PROCESSES_MAX ? process_new(pid, m->text) : NULL;
	if (p) {
		p->pidfd = pidfd_of(pid);
		p->uid = uid;
	}
	if (!p || p->pidfd < 0 || reply(fd, SHIM_WELCOME, 0, 0, 0, 0, 0) < 0) {
		fd_close(&fd);
		process_free(p);
		return;
	}
	p->fd = fd;
	p->next = k->processes;
	k->processes = p;
	k->processes_n++;
	if (keeper_watch(k, p->fd, WATCH_PROCESS) < 0 || keeper_watch(k, p->pidfd, WATCH_PIDFD) < 0)
		process_drop(k, p, "cannot be watched");
	pthread_cond_broadcast(&k->changed);
}

/* Return: NULL, or why the connection ends */
static const char *on_alloc(struct keeper_server *k, struct process *p, const struct shim_msg *m, int fd)
{
	struct buffer b = { .id = m->id, .va = m->va, .bytes = m->bytes, .flags = m->flags, .image_object = -1 }, *added;
	struct hearth_err err = { 0 };

	if (fd < 0)
		return "it told of a buffer without its handle";
	b.device = device_of(k, m->device);
	if (!b.device)
		return "it uses a device that the keeper does not see";
	if (mapping_import(b.device, fd, b.bytes, &b.map, &err) < 0) {
		log_warn("process %d: buffer of %llu bytes cannot be imported: %s", (int)p->pid, (unsigned long long)m->bytes, err.msg);
		return "a buffer cannot be imported";
	}
	if (buffer_add(p, &b, &added) < 0) {
		mapping_drop(&b.map);
		return "its buffers are out of order, or too many";
	}
	return NULL;
}

static const char *on_free(struct process *p, const struct shim_msg *m)
{
	struct buffer *b = buffer_find(p, m->id);

	if (!b)
		return "it freed a buffer that it does not have";
	buffer_remove(p, b);
	/* who found the device full tries again now */
	return reply(p->fd, SHIM_FREE, 0, 0, 0, 0, m->id) < 0 ? "it does not read what it is sent" : NULL;
}

static const char *on_answer(struct keeper_server *k, struct process *p, const struct shim_msg *m, int *fd)
{
	struct ask **at = &p->asks, *a;

	while (*at && (*at)->seq != m->seq)
		at = &(*at)->next;
	a = *at;
	if (!a || a->done || a->answer.op != m->op)
		return "it answered what was not asked";
	if (m->op == SHIM_DETACH && m->result == 0)
		p->state = PROCESS_DETACHED;
	if (m->op == SHIM_GATE_CLOSE && m->result == 0 && p->state == PROCESS_RUNNING)
		p->state = PROCESS_CLOSED;
	if (m->op == SHIM_GATE_OPEN && m->result == 0)
		p->state = PROCESS_RUNNING;
	a->answer = *m;
	a->done = true;
	a->fd = *fd;
	*fd = -1;
	if (a->abandoned) {
		*at = a->next;
		fd_close(&a->fd);
		free(a);
	}
	pthread_cond_broadcast(&k->changed);
	return NULL;
}

static const char *on_message(struct keeper_server *k, struct process *p, const struct shim_msg *m, int *fd)
{
	/* what it has is with us until its gate is open again */
	if ((m->op == SHIM_ALLOC || m->op == SHIM_FREE) && (p->state == PROCESS_DETACHED || p->state == PROCESS_BACK))
		return "it told of buffers while it was to have none";
	switch (m->op) {
	case SHIM_ALLOC:
		return on_alloc(k, p, m, *fd);
	case SHIM_FREE:
		return on_free(p, m);
	case SHIM_ROOM:
		return reply(p->fd, SHIM_FREE, 0, 0, holds_make_room(k, device_of(k, m->device), m->bytes), 0, 0) < 0 ? "it does not read what it is sent" : NULL;
	case SHIM_REFUSE:
		p->refusals |= m->arg0 ? (unsigned)m->arg0 : SHIM_OTHER;
		memcpy(p->refused, m->text, sizeof(p->refused));
		return NULL;
	case SHIM_UNREFUSE:
		p->refusals &= ~(m->arg0 ? (unsigned)m->arg0 : SHIM_OTHER);
		return NULL;
	case SHIM_HELLO:
		return "it said hello twice";
	default:
		return on_answer(k, p, m, fd);
	}
}

void shim_readable(struct keeper_server *k, struct process *p)
{
	uint8_t data[sizeof(struct shim_msg) + 1];
	struct shim_msg m;
	const char *why = NULL;

	for (int n = 0; n < ASKS_MAX && !why; n++) {    /* not for ever: there are others */
		int fd;
		ssize_t got = sock_packet_recv(p->fd, data, sizeof(data), &fd, false);

		if (got == -EAGAIN)
			return;
		if (got <= 0 && p->state == PROCESS_DETACHED) {
			fd_close(&p->fd);
			pthread_cond_broadcast(&k->changed);
			return;
		}
		if (got <= 0)
			why = got == 0 ? "it closed its connection" : "its connection broke";
		else if (shim_msg_check(data, (size_t)got, &m) < 0)
			why = "it sent what is no message";
		else
			why = on_message(k, p, &m, &fd);
		fd_close(&fd);
	}
	if (why)
		process_drop(k, p, why);
}

int shim_ask(struct keeper_server *k, struct process *p, enum shim_op op, uint64_t id, uint64_t arg0, uint64_t arg1, struct ask **ret, struct hearth_err *err)
{
	struct ask *a;
	int r;

	if (p->dead || p->fd < 0)
		return err_set(err, -ESRCH, "process %d (%s) is gone: %s", (int)p->pid, p->name, p->broken[0] ? p->broken : "not connected");
	a = calloc(1, sizeof(*a));
	if (!a)
		return err_set(err, -ENOMEM, "out of memory");
	a->seq = ++p->seq ? p->seq : ++p->seq;
	a->fd = -1;
	a->answer.op = op;
	r = reply(p->fd, op, a->seq, 0, arg0, arg1, id);
	if (r < 0) {
		free(a);
		return err_set(err, r, "cannot reach process %d (%s): %s", (int)p->pid, p->name, strerror(-r));
	}
	a->next = p->asks;
	p->asks = a;
	*ret = a;
	return 0;
}

static void ask_free(struct process *p, struct ask *a)
{
	struct ask **at = &p->asks;

	while (*at && *at != a)
		at = &(*at)->next;
	if (*at)
		*at = a->next;
	fd_close(&a->fd);
	free(a);
}

static const char *const asked[SHIM_OP_END] = { [SHIM_GATE_CLOSE] = "close its gate", [SHIM_GATE_OPEN] = "open its gate", [SHIM_DETACH] = "give up its device memory",
						[SHIM_CREATE] = "make device memory" };

int shim_wait(struct keeper_server *k, struct engine *e, struct process *p, struct ask *a, uint64_t deadline_ns, struct shim_msg *ret, int *ret_fd, struct hearth_err *err)
{
	const char *what = asked[a->answer.op];
	bool in_time = true;
	int r;

	while (!a->done && !p->dead && !engine_gone(e) && in_time)
		in_time = keeper_until(k, deadline_ns);
	if (a->done) {
		r = a->answer.result;
		if (r == 0) {
			*ret = a->answer;
			if (ret_fd) {
				*ret_fd = a->fd;
				a->fd = -1;
			}
		} else {
			r = r == CU_OUT_OF_MEMORY ? -ENOMEM : r > 0 ? -EIO : r;
			err_set(err, r, "process %d (%s) could not %s: %s (%d)", (int)p->pid, p->name, what, a->answer.result > 0 ? cuda_name(&k->cu, a->answer.result) : strerror(-r),
				(int)a->answer.result);
		}
		ask_free(p, a);
		return r;
	}
	if (p->dead) {
		ask_free(p, a);
		return err_set(err, -ESRCH, "process %d (%s) was lost when it should %s: %s", (int)p->pid, p->name, what, p->broken);
	}
	a->abandoned = true;
	if (!in_time)
		return err_set(err, -ETIMEDOUT, "process %d (%s) did not %s in time; does a kernel of it run for ever?", (int)p->pid, p->name, what);
	return err_set(err, -ECANCELED, "given up while process %d (%s) should %s", (int)p->pid, p->name, what);
}
