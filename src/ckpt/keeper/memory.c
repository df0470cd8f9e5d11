/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory comes back: each process makes its buffers again, one after another; each is filled from the memory that is held, which is then let go, so that at no time there is a second copy of
 * more than a few buffers. Where not even one fits beside what is held, that one goes over the host.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "op.h"
#include "lane.h"

#define BACK_NS (30 * NS_PER_S)
#define CREATE_NS (30 * NS_PER_S)

struct filler {
	struct op *op;
	struct process *p;
	pthread_t thread;
	uint64_t create_ns;
	bool spilled;
	int failed;
	struct hearth_err err;
};

/* ---- one buffer ---- */

static int copy_within(struct lane *l, struct buffer *b, struct hearth_err *err)
{
	int r = cuda_err(b->device->cu, b->device->cu->copy_dtod(b->fresh.at, b->map.at, b->bytes, l->stream), err, "cuMemcpyDtoDAsync");

	return r == 0 ? lane_sync(l, err) : r;
}

static void now_theirs(struct buffer *b)
{
	mapping_drop(&b->map);
	b->map = b->fresh;
	b->fresh = (struct mapping){ 0 };
}

static int lane_for(struct lane **l, struct device *d, struct hearth_err *err)
{
	if (*l && (*l)->device == d)
		return 0;
	if (*l)
		lane_put(*l);
	*l = NULL;
	return lane_get(d, l, err);
}

/* Return: 0, -ENOMEM (no room for it beside what is held), -errno */
static int made(struct filler *f, struct lane **l, struct buffer *b, struct ask *a, struct hearth_err *err)
{
	struct keeper_server *k = f->op->k;
	struct shim_msg answer;
	int FD_AUTO fd = -1;
	uint64_t began = clock_mono_ns();
	int r;

	r = lane_for(l, b->device, err);
	if (r < 0)
		return r;               /* the answer is taken when it comes, or with the process */
	pthread_mutex_lock(&k->lock);
	r = shim_wait(k, NULL, f->p, a, clock_mono_ns() + CREATE_NS, &answer, &fd, err);
	pthread_mutex_unlock(&k->lock);
	f->create_ns += clock_mono_ns() - began;
	if (r < 0)
		return r;
	if (fd < 0)
		return err_set(err, -EPROTO, "process %d made device memory, but sent no handle of it", (int)f->p->pid);
	r = mapping_import(b->device, fd, b->bytes, &b->fresh, err);
	if (r == 0 && b->map.at) {
		r = copy_within(*l, b, err);
		if (r == 0)
			now_theirs(b);
	}
	return r;
}

/* what is held for parked programs is not worth as much as a program that comes back. Return: whether there was any. */
static bool holds_make_way(struct keeper_server *k, const struct buffer *b)
{
	uint64_t given;

	pthread_mutex_lock(&k->lock);
	given = holds_make_room(k, b->device, b->bytes);
	pthread_mutex_unlock(&k->lock);
	return given > 0;
}

static int made_again(struct filler *f, struct lane **l, struct buffer *b, struct hearth_err *err)
{
	struct ask *a = NULL;
	int r;

	pthread_mutex_lock(&f->op->k->lock);
	r = shim_ask(f->op->k, f->p, SHIM_CREATE, b->id, 0, 0, &a, err);
	pthread_mutex_unlock(&f->op->k->lock);
	return r == 0 ? made(f, l, b, a, err) : r;
}

/* room for one buffer: what is held goes to the host first */
static int over_the_host(struct filler *f, struct lane *l, struct buffer *b, struct hearth_err *err)
{
	const struct cuda *cu = b->device->cu;
	struct mapping held = b->map;
	uint8_t *host = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (host == MAP_FAILED)
		return err_set(err, -ENOMEM, "neither the device nor the host has room for a buffer of %llu MiB", (unsigned long long)(b->bytes >> 20));
	r = cuda_err(cu, cu->copy_dtoh(host, held.at, b->bytes, l->stream), err, "cuMemcpyDtoHAsync");
	if (r == 0)
		r = lane_sync(l, err);
	if (r < 0)
		goto out;
	f->spilled = true;
	mapping_drop(&b->map);
	r = made_again(f, &l, b, err);
	/* somebody else took the room: what we have on the host must not be lost */
	if (r < 0 && mapping_new(b->device, b->bytes, &b->map, NULL) == 0) {
		if (cu->copy_htod(b->map.at, host, b->bytes, l->stream) != CU_OK || lane_sync(l, NULL) < 0)
			log_error("buffer %llu of process %d is lost: it did not go back to the device", (unsigned long long)b->id, (int)f->p->pid);
		goto out;
	}
	if (r == 0)
		r = cuda_err(cu, cu->copy_htod(b->fresh.at, host, b->bytes, l->stream), err, "cuMemcpyHtoDAsync");
	if (r == 0)
		r = lane_sync(l, err);
	if (r == 0)
		now_theirs(b);
out:
	munmap(host, b->bytes);
	return r;
}

/* ---- one process ---- */

/* those that are not there yet, ATTACH_WINDOW asked for ahead; what found no room beside what is held goes over the host */
static int refill(struct filler *f, struct buffer **list, size_t n, struct lane **l, struct hearth_err *err)
{
	struct keeper_server *k = f->op->k;
	struct ask *asks[ATTACH_WINDOW];
	size_t asked = 0, done = 0;
	int r = 0;

	for (;;) {
		struct buffer *b = list[done];
		int this;

		pthread_mutex_lock(&k->lock);
		while (r == 0 && asked < n && asked - done < ATTACH_WINDOW) {
			r = shim_ask(k, f->p, SHIM_CREATE, list[asked]->id, 0, 0, &asks[asked % ATTACH_WINDOW], err);
			asked += r == 0;
		}
		pthread_mutex_unlock(&k->lock);
		if (done == asked)      /* all, or after an error all whose answers were due */
			return r;
		this = made(f, l, b, asks[done % ATTACH_WINDOW], r < 0 ? NULL : err);
		if (this == -ENOMEM && r == 0 && !b->fresh.at && holds_make_way(k, b))
			this = made_again(f, l, b, err);
		if (this == -ENOMEM && r == 0 && b->map.at && !b->fresh.at)
			this = over_the_host(f, *l, b, err);
		b->made = this == 0;
		if (this < 0 && r == 0)
			r = this;
		done++;
	}
}

static void *fill_process(void *arg)
{
	struct filler *f = arg;
	struct lane *l = NULL;

	struct buffer **list = calloc(f->p->n + 1, sizeof(*list));
	size_t n = 0;

	for (size_t k = 0; list && k < f->p->n; k++)
		if (!f->p->buffers[k]->made)
			list[n++] = f->p->buffers[k];
	f->failed = list ? refill(f, list, n, &l, &f->err) : err_set(&f->err, -ENOMEM, "out of memory");
	free(list);
	if (l)
		lane_put(l);
	return NULL;
}

/* ---- all of them ---- */

static void wake_all(struct op *op)
{
	char path[5000];
	struct hearth_err err;

	for (size_t i = 0; i < op->n; i++) {
		bool again = false;

		for (size_t j = 0; j < i; j++)
			again |= !strcmp(op->processes[i]->name, op->processes[j]->name);
		if (again || op->processes[i]->state != PROCESS_DETACHED)
			continue;
		snprintf(path, sizeof(path), "%s/programs/%s/gate", op->k->run_dir, op->processes[i]->name);
		if (keeper_wake(path, &err) < 0)
			log_debug("%s; somebody else must wake it", err.msg);
	}
}

static int wait_back(struct op *op, uint64_t timeout_ns, struct hearth_err *err)
{
	struct keeper_server *k = op->k;
	uint64_t deadline = clock_mono_ns() + (timeout_ns ? timeout_ns : BACK_NS);
	int r = 0;

	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < op->n && r == 0; i++) {
		struct process *p = op->processes[i];
		bool in_time = true;

		while (p->state == PROCESS_DETACHED && !p->dead && in_time && !engine_gone(op->engine))
			in_time = keeper_until(k, deadline);
		if (p->dead)
			r = err_set(err, -ESRCH, "process %d (%s) is lost: %s", (int)p->pid, p->name, p->broken);
		else if (p->state == PROCESS_DETACHED)
			r = in_time ? err_set(err, -ECANCELED, "given up while processes come back")
				    : err_set(err, -ETIMEDOUT, "process %d (%s) did not come back: is it stopped, or was its gate file not written to?", (int)p->pid, p->name);
	}
	pthread_mutex_unlock(&k->lock);
	return r;
}

static int refill_all(struct op *op, struct hearth_err *err)
{
	struct filler *f = calloc(op->n + 1, sizeof(*f));
	bool *started = calloc(op->n + 1, sizeof(*started));
	int r = 0;

	if (!f || !started) {
		free(started);
		free(f);
		return err_set(err, -ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < op->n; i++) {
		f[i].op = op;
		f[i].p = op->processes[i];
		if (f[i].p->state != PROCESS_BACK)
			continue;
		started[i] = op->n > 1 && pthread_create(&f[i].thread, NULL, fill_process, &f[i]) == 0;
		if (!started[i])
			fill_process(&f[i]);
	}
	for (size_t i = 0; i < op->n; i++) {
		if (started[i])
			pthread_join(f[i].thread, NULL);
		if (f[i].failed < 0 && r == 0)
			r = err_set(err, f[i].failed, "%s", f[i].err.msg);
		op->report.create_ns += f[i].create_ns;
		if (f[i].spilled)
			report_note(&op->report, "device memory is short: buffers went over the host");
	}
	free(started);
	free(f);
	return r;
}

static bool undrained(const struct op *op)
{
	for (size_t k = 0; k < op->areas_n; k++)
		for (size_t i = 0; i < op->areas[k].n; i++)
			if (!op->areas[k].dirty[i].at)
				return true;
	return false;
}

int op_attach(struct op *op, uint64_t timeout_ns, struct hearth_err *err)
{
	uint64_t began = clock_mono_ns(), t;
	int r;

	if (op->phase != OP_DETACHED && op->phase != OP_RESTORED)
		return err_set(err, -EPROTO, op->phase == OP_CHECKPOINTED ? "the driver must restore the processes first" : "nothing is detached");
	wake_all(op);
	r = wait_back(op, timeout_ns, err);
	op->report.wait_ns = clock_mono_ns() - began;
	stage_wait(op);
	if (r < 0)
		return r;
	for (size_t i = 0; i < op->n; i++) {
		op->report.buffers += op->processes[i]->n;
		op->report.bytes += process_bytes(op->processes[i]);
	}
	/* what only lay in the memory that is let go now cannot be drained any more */
	if (undrained(op))
		areas_drop(op);
	op->touched = true;
	r = refill_all(op, err);
	if (r == 0 && op->image)
		r = fill_image(op, &op->report, false, err);
	if (r < 0)
		return r;
	t = clock_mono_ns();
	r = gates_open(op, err);
	op->report.gate_ns = clock_mono_ns() - t;
	if (r < 0)
		return r;
	for (size_t i = 0; i < op->n; i++)
		for (size_t b = 0; b < op->processes[i]->n; b++)
			op->processes[i]->buffers[b]->made = false;
	op->phase = OP_ATTACHED;
	return 0;
}
