/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "ctx.h"
#include "futex.h"
#include "log.h"
#include "mem.h"
#include "packet.h"
#include "refuse.h"
#include "shim.h"

static struct {
	int sock, kick;                 /* -1: closed. kick: eventfd, for the service thread to look at behind */
	bool started, behind;           /* the keeper is to be told; it did not take it all */
	uint64_t *freed;                /* ids it knows and that are gone */
	size_t nfreed, cap;
	unsigned unanswered;            /* FREE that it has not answered */
	_Atomic uint32_t answers;       /* futex: there was an answer, or another reason to look */
	bool tried;                     /* to connect, with whichever result */
	uint64_t asked, answered;       /* ROOM */
	uint64_t given;                 /* bytes, by the answers */
} conn = { .sock = -1, .kick = -1 };

static int say(struct shim_msg *m, int pass)
{
	m->version = SHIM_WIRE_VERSION;
	m->pid = (uint32_t)getpid();
	return sock_packet_send(conn.sock, m, sizeof *m, pass, false);
}

static int say_freed(void)
{
	while (conn.nfreed > 0) {
		struct shim_msg m = { .op = SHIM_FREE, .id = conn.freed[conn.nfreed - 1] };
		int ret = say(&m, -1);

		if (ret < 0)
			return ret;
		conn.nfreed--;
		conn.unanswered++;
	}
	return 0;
}

static int say_refusals(void)
{
	struct shim_msg m = { 0 };

	while (refuse_unsent(&m)) {
		int ret = say(&m, -1);

		if (ret < 0)
			return ret;
		refuse_sent(&m);
		memset(&m, 0, sizeof m);
	}
	return 0;
}

static int say_alloc(struct mem_phys *p)
{
	struct shim_msg m = {
		.op = SHIM_ALLOC, .id = p->id, .va = p->maps ? p->maps->at.at : 0, .bytes = p->bytes, .flags = p->prop.allocFlags.gpuDirectRDMACapable ? SHIM_BUF_RDMA : 0,
	};
	int fd = -1, ret;

	ctx_device_uuid(p->prop.location.id, m.device);
	if (DRV(cuMemExportToShareableHandle)(&fd, p->handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0) != CUDA_SUCCESS) {
		log_once(LOG_EXPORT, "device memory that was made exportable cannot be exported (too many open files?): this program cannot be checkpointed");
		refuse_note(SHIM_OTHER, "device memory that cannot be exported");
		p->announced = true;
		return 0;
	}
	ret = say(&m, fd);
	close(fd);
	p->announced = ret == 0;
	return ret;
}

/* Those the keeper does not know are the last of the list. */
static int say_allocs(void)
{
	struct mem_phys *p = mem.last;

	while (p && p->prev && p->prev->id > 0 && !p->prev->announced)
		p = p->prev;
	for (int ret; p; p = p->next) {
		if (p->id == 0 || p->announced || !p->attached)
			continue;
		ret = say_alloc(p);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* shim_lock held */
static void tell(void)
{
	uint64_t one = 1;
	int ret = say_freed();

	if (ret == 0)
		ret = say_allocs();
	if (ret == 0)
		ret = say_refusals();
	conn.behind = ret == -EAGAIN;
	if (conn.behind && write(conn.kick, &one, sizeof one) < 0)
		ret = -errno;
	if (ret < 0 && ret != -EAGAIN)
		shutdown(conn.sock, SHUT_RDWR);         /* the service thread sees it */
}

void link_changed(void)
{
	if (conn.started && !conn.behind)
		tell();
}

void link_freed(uint64_t id)
{
	/* not started yet, but known to the keeper: it had this made again, and the gate opened a moment before link_start(), which tells */
	if (conn.sock < 0)
		return;
	if (array_grow((void **)&conn.freed, &conn.cap, conn.nfreed + 1, sizeof *conn.freed) < 0) {
		shutdown(conn.sock, SHUT_RDWR);         /* a new connection says what there is */
		return;
	}
	conn.freed[conn.nfreed++] = id;
	link_changed();
}

uint32_t link_answers(void)
{
	return atomic_load(&conn.answers);
}

bool link_wait_freed(uint32_t answers, uint64_t deadline_ns)
{
	bool due;

	pthread_mutex_lock(&shim_lock);
	due = conn.started && (conn.unanswered > 0 || conn.nfreed > 0);
	pthread_mutex_unlock(&shim_lock);
	if (atomic_load(&conn.answers) != answers)
		return true;
	return due && futex_wait(&conn.answers, answers, deadline_ns, false) == 0;
}

/* shim_lock held; let go of while waiting. Return: something may have changed. */
static bool wait_change(uint64_t deadline_ns)
{
	uint32_t answers = atomic_load(&conn.answers);
	int ret;

	pthread_mutex_unlock(&shim_lock);
	ret = futex_wait(&conn.answers, answers, deadline_ns, false);
	pthread_mutex_lock(&shim_lock);
	return ret == 0;
}

bool link_ask_room(int device, uint64_t bytes, uint64_t deadline_ns)
{
	struct shim_msg m = { .op = SHIM_ROOM, .bytes = bytes };
	bool in_time = true, given = false;

	pthread_mutex_lock(&shim_lock);
	while (!conn.tried && in_time)          /* a program that has only just begun */
		in_time = wait_change(deadline_ns);
	ctx_device_uuid(device, m.device);
	if (conn.started && !conn.behind && say(&m, -1) == 0) {
		uint64_t mine = ++conn.asked, before = conn.given;

		while (conn.answered < mine && in_time)
			in_time = wait_change(deadline_ns);
		given = conn.given != before;
	}
	pthread_mutex_unlock(&shim_lock);
	return given;
}

static void wake_waiters(void)
{
	atomic_fetch_add(&conn.answers, 1);
	futex_wake_all(&conn.answers);
}

void link_room_given(uint64_t bytes)
{
	pthread_mutex_lock(&shim_lock);
	conn.answered++;
	conn.given += bytes;
	pthread_mutex_unlock(&shim_lock);
	wake_waiters();
}

void link_let_go(void)
{
	pthread_mutex_lock(&shim_lock);
	if (conn.unanswered > 0)
		conn.unanswered--;
	pthread_mutex_unlock(&shim_lock);
	wake_waiters();
}

/* ---- the service thread ---- */

static void tried(void)
{
	pthread_mutex_lock(&shim_lock);
	conn.tried = true;
	pthread_mutex_unlock(&shim_lock);
	wake_waiters();
}

int link_open(const char *path)
{
	int sock = sock_unix_connect_packets(path), kick, err;

	if (sock < 0) {
		tried();
		return sock;
	}
	kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (kick < 0) {
		err = -errno;
		close(sock);
		tried();
		return err;
	}
	pthread_mutex_lock(&shim_lock);
	conn.sock = sock;
	conn.kick = kick;
	pthread_mutex_unlock(&shim_lock);
	return 0;
}

void link_start(void)
{
	pthread_mutex_lock(&shim_lock);
	conn.started = true;
	tell();
	pthread_mutex_unlock(&shim_lock);
	tried();
}

void link_close(void)
{
	pthread_mutex_lock(&shim_lock);
	fd_close(&conn.sock);
	fd_close(&conn.kick);
	conn.started = conn.behind = false;
	conn.nfreed = conn.unanswered = 0;
	for (struct mem_phys *p = mem.first; p; p = p->next)
		p->announced = false;
	conn.answered = conn.asked;
	conn.tried = true;
	refuse_all_unsent();
	pthread_mutex_unlock(&shim_lock);
	wake_waiters();         /* what it held is gone with it */
}

int link_wait(void)
{
	struct pollfd fds[] = { { .fd = conn.sock, .events = POLLIN }, { .fd = conn.kick, .events = POLLIN } };
	uint64_t count;

	pthread_mutex_lock(&shim_lock);
	if (conn.behind)
		fds[0].events |= POLLOUT;
	pthread_mutex_unlock(&shim_lock);
	if (poll(fds, 2, -1) < 0 && errno != EINTR)
		return -errno;
	if (fds[1].revents && read(conn.kick, &count, sizeof count) < 0 && errno != EAGAIN)
		return -errno;
	pthread_mutex_lock(&shim_lock);
	if (conn.behind && fds[0].revents & POLLOUT)
		tell();
	pthread_mutex_unlock(&shim_lock);
	return 0;
}

int link_recv(struct shim_msg *ret)
{
	return packet_recv(conn.sock, ret);
}

int link_answer(const struct shim_msg *m, int pass)
{
	return sock_packet_send(conn.sock, m, sizeof *m, pass, true);
}

void link_fork_child(void)
{
	fd_close(&conn.sock);
	fd_close(&conn.kick);
	conn.started = conn.behind = false;
	conn.tried = true;
	conn.nfreed = conn.unanswered = 0;
}
