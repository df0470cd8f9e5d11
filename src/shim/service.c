/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "capture.h"
#include "ctx.h"
#include "detach.h"
#include "gate.h"
#include "gatefile.h"
#include "link.h"
#include "log.h"

/* how long closing the gate may take when the keeper does not say */
#define CLOSE_MS 10000u
#define WISH_MAX_MS 60000u

static struct {
	const char *socket, *name;
	enum shim_state state;
	bool welcome;                   /* the keeper has answered HELLO */
	uint32_t wakes;                 /* of the gate file, when we last had a reason not to wait for another */
} service;

static void become(enum shim_state state)
{
	service.state = state;
	gatefile_state(state, state != SHIM_RUNNING);
}

/* Opened last: whoever waits at the gate finds everything in place. */
static void run_on(void)
{
	become(SHIM_RUNNING);
	gate_open();
}

static int answer(const struct shim_msg *to, int result, int pass)
{
	struct shim_msg m = { .version = SHIM_WIRE_VERSION, .op = to->op, .seq = to->seq, .id = to->id, .result = result, .pid = (uint32_t)getpid() };

	return link_answer(&m, pass);
}

/* Gate closed, no capture under way, all contexts idle. Return: 0, -errno or CUresult; then the gate is open. */
static int quiesce(uint64_t deadline_ns)
{
	int ret;

	for (;;) {
		ret = capture_wait(deadline_ns);
		if (ret == 0)
			ret = gate_close(deadline_ns);
		if (ret < 0)
			return ret;
		if (!capture_any())
			break;
		gate_open();            /* one began just before the gate closed */
	}
	ret = ctx_drain_all(deadline_ns);
	if (ret != 0)
		gate_open();
	return ret;
}

static int do_close(const struct shim_msg *m)
{
	uint64_t begin_ns, wished_ns = clock_mono_ns();
	struct shim_msg reply = { .version = SHIM_WIRE_VERSION, .op = m->op, .seq = m->seq, .pid = (uint32_t)getpid() };

	if (service.state != SHIM_RUNNING && service.state != SHIM_CLOSED)
		return answer(m, -EBUSY, -1);
	if (service.state == SHIM_RUNNING && m->arg1 > 0)
		gate_wish(wished_ns + (m->arg1 < WISH_MAX_MS ? m->arg1 : WISH_MAX_MS) * NS_PER_MS);
	begin_ns = clock_mono_ns();
	if (service.state == SHIM_RUNNING) {
		reply.result = quiesce(begin_ns + (m->arg0 > 0 && m->arg0 < UINT32_MAX ? m->arg0 : CLOSE_MS) * NS_PER_MS);
		if (reply.result == 0)
			become(SHIM_CLOSED);
	}
	reply.arg0 = clock_mono_ns() - begin_ns;
	reply.arg1 = begin_ns - wished_ns;
	return link_answer(&reply, -1);
}

static int do_open(const struct shim_msg *m)
{
	bool back = service.state == SHIM_ATTACHING;
	int ret = back ? detach_finish() : 0, sent;

	if (ret == 0)
		run_on();
	sent = answer(m, ret, -1);
	if (ret == 0 && back)
		link_start();           /* what the gate held back until now */
	return sent;
}

/* Return: -ESHUTDOWN when the memory is gone and the connection is to be closed */
static int do_detach(const struct shim_msg *m)
{
	int ret = service.state != SHIM_CLOSED ? -EBUSY : !gatefile_there() ? -EOPNOTSUPP : detach_all();

	if (ret != 0)
		return answer(m, ret, -1);
	become(SHIM_DETACHED);
	service.wakes = gatefile_wakes();       /* those up to here (a keeper that started) were meant for who had no connection */
	answer(m, 0, -1);
	return -ESHUTDOWN;
}

static int do_create(const struct shim_msg *m)
{
	int fd = -1, ret = service.state == SHIM_ATTACHING ? detach_create(m->id, &fd) : -EBUSY, sent;

	sent = answer(m, ret, fd);
	if (fd >= 0)
		close(fd);
	return sent;
}

static int do_welcome(const struct shim_msg *m)
{
	if (service.welcome || m->result != 0)
		return -EPROTO;
	service.welcome = true;
	if (service.state == SHIM_DETACHED)
		become(SHIM_ATTACHING);
	else
		link_start();
	return 0;
}

static int handle(const struct shim_msg *m)
{
	if (m->op == SHIM_WELCOME)
		return do_welcome(m);
	if (!service.welcome)
		return -EPROTO;
	switch (m->op) {
	case SHIM_FREE:
		if (m->id)
			link_let_go();
		else
			link_room_given(m->arg0);
		return 0;
	case SHIM_GATE_CLOSE:
		return do_close(m);
	case SHIM_GATE_OPEN:
		return do_open(m);
	case SHIM_DETACH:
		return do_detach(m);
	case SHIM_CREATE:
		return do_create(m);
	default:
		return -EPROTO;
	}
}

/* Until the connection is over, for whichever reason. */
static void serve(void)
{
	struct shim_msg hello = { .version = SHIM_WIRE_VERSION, .op = SHIM_HELLO, .flags = service.state == SHIM_DETACHED, .pid = (uint32_t)getpid() }, m;
	int ret;

	snprintf(hello.text, sizeof hello.text, "%s", service.name);
	service.welcome = false;
	ret = link_answer(&hello, -1);
	while (ret == 0) {
		ret = link_recv(&m);
		if (ret == 0)
			ret = handle(&m);
		else if (ret == -EAGAIN)
			ret = link_wait();
	}
	link_close();
	if (ret != -ESHUTDOWN)
		log_once(LOG_KEEPER, "the connection to the keeper ended (%s): no checkpoints until it is back", strerror(-ret));
}

/* With the keeper gone nobody opens the gate. Memory that came back by halves goes again: its contents are still with whoever has them. */
static void alone(void)
{
	if (service.state == SHIM_CLOSED)
		run_on();
	if (service.state == SHIM_ATTACHING) {
		detach_undo();
		become(SHIM_DETACHED);
	}
}

static void *service_thread(void *arg)
{
	for (;;) {
		int ret;

		service.wakes = gatefile_wakes();
		ret = link_open(service.socket);

		if (ret == 0) {
			serve();
			alone();
		} else {
			log_once(LOG_KEEPER, "no keeper at %s (%s): no checkpoints until it is there", service.socket, strerror(-ret));
		}
		if (!gatefile_there())
			return NULL;
		gatefile_wait(service.wakes);
	}
}

int service_start(const char *socket, const char *name)
{
	pthread_t thread;
	int ret;

	service.socket = socket;
	service.name = name;
	become(SHIM_RUNNING);
	ret = thread_spawn(&thread, service_thread, NULL);
	if (ret == 0)
		pthread_detach(thread);
	return ret;
}

void service_fork_child(void)
{
	service.state = SHIM_RUNNING;
	service.welcome = false;
}
