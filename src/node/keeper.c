// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "priv.h"

/*
 * hearth-keeper, which holds the device memory of programs under checkpoint. It outlives us, as programs do: a daemon that starts looks for one first. A connection to it stays open: its end is the
 * keeper's end, and over it goes a question now and then, for /metrics.
 */

#define BACK_OFF_FIRST_S 1.0
#define BACK_OFF_MAX_S 60.0
#define ASK_S 5.0
#define EXIT_NO_DRIVER 77
#define ANSWER_MAX 65536
#define END_MAX_MS 30000

static void later(struct node *n, double seconds)
{
	ev_timer_stop(n->loop, &n->keeper.timer);
	ev_timer_set(&n->keeper.timer, seconds, 0);
	ev_timer_start(n->loop, &n->keeper.timer);
}

static void gone(struct node *n)
{
	ev_io_stop(n->loop, &n->keeper.watch);
	fd_close(&n->keeper.fd);
	memset(&n->keeper.info, 0, sizeof(n->keeper.info));
}

/* an answer, or the end of the connection */
static void readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct node *n = w->data;
	static char text[ANSWER_MAX];
	int passed = -1;
	ssize_t got = sock_packet_recv(n->keeper.fd, text, sizeof(text), &passed, false);
	json_t *o, *r;

	(void)loop;
	(void)events;
	fd_close(&passed);
	if (got == -EAGAIN)
		return;
	if (got <= 0) {
		gone(n);
		log_warn("hearth-keeper ended; programs that are being checkpointed may be lost, the others go on");
		n->keeper.restarts++;
		later(n, BACK_OFF_FIRST_S);
		return;
	}
	o = json_loadb(text, (size_t)got, 0, NULL);
	r = json_object_get(o, "result");
	n->keeper.info.processes = (uint64_t)json_integer_value(json_object_get(r, "processes"));
	n->keeper.info.bytes = (uint64_t)json_integer_value(json_object_get(r, "bytes"));
	n->keeper.info.held_bytes = (uint64_t)json_integer_value(json_object_get(r, "held_bytes"));
	n->keeper.info.pool_ready_bytes = (uint64_t)json_integer_value(json_object_get(r, "pool_ready_bytes"));
	n->keeper.info.copied_bytes = (uint64_t)json_integer_value(json_object_get(r, "copied_bytes"));
	n->keeper.pid = (pid_t)json_integer_value(json_object_get(r, "pid"));
	json_decref(o);
}

static bool connected(struct node *n)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/keeper.sock", n->cfg->run_dir);
	n->keeper.fd = sock_unix_connect_packets(path);
	if (n->keeper.fd < 0) {
		n->keeper.fd = -1;
		return false;
	}
	n->keeper.back_off_s = BACK_OFF_FIRST_S;
	ev_io_init(&n->keeper.watch, readable, n->keeper.fd, EV_READ);
	n->keeper.watch.data = n;
	ev_io_start(n->loop, &n->keeper.watch);
	later(n, 0);
	return true;
}

/* its newline: it listens */
static void ready(struct ev_loop *loop, ev_io *w, int events)
{
	struct node *n = w->data;
	char c;

	(void)events;
	if (read(n->keeper.out, &c, 1) < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	ev_io_stop(loop, w);
	fd_close(&n->keeper.out);
	if (n->keeper.fd < 0 && connected(n))
		log_info("hearth-keeper runs (pid %d)", (int)n->keeper.child.pid);
}

static void ended(struct ev_loop *loop, ev_child *w, int events)
{
	struct node *n = w->data;

	(void)events;
	ev_child_stop(loop, w);
	ev_io_stop(loop, &n->keeper.ready);
	fd_close(&n->keeper.out);
	if (WIFEXITED(w->rstatus) && WEXITSTATUS(w->rstatus) == EXIT_NO_DRIVER && n->cfg->ckpt_keeper == KEEPER_AUTO) {
		log_info("no CUDA driver here: programs are checkpointed without device memory");
		return;
	}
	if (n->keeper.fd >= 0 || n->stopping)
		return;                 /* the end of its connection, or ours, is what counts */
	later(n, n->keeper.back_off_s);
	n->keeper.back_off_s = n->keeper.back_off_s * 2 < BACK_OFF_MAX_S ? n->keeper.back_off_s * 2 : BACK_OFF_MAX_S;
}

static void start(struct node *n)
{
	char program[4200], socket[4200], bytes[32], hold[32], hold_time[32];
	char *argv[] = { program, (char *)"--socket", socket, (char *)"--hold-bytes", hold, (char *)"--hold-time", hold_time, (char *)"--pool-store", n->cfg->ckpt_pool_store,
			 (char *)"--pool-bytes", bytes, NULL };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), out[2] = { -1, -1 }, r = null < 0 ? -errno : 0;
	pid_t pid = 0;

	snprintf(program, sizeof(program), "%s/hearth-keeper", n->cfg->libexec_dir);
	snprintf(socket, sizeof(socket), "%s/keeper.sock", n->cfg->run_dir);
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)n->cfg->ckpt_pool_bytes);
	snprintf(hold, sizeof(hold), "%llu", (unsigned long long)n->cfg->ckpt_hold_bytes);
	snprintf(hold_time, sizeof(hold_time), "%llums", (unsigned long long)(n->cfg->ckpt_hold_time / NS_PER_MS));
	if (!n->cfg->ckpt_pool_store)
		argv[7] = NULL;
	if (r == 0 && pipe2(out, O_CLOEXEC) < 0)
		r = -errno;
	if (r == 0)
		r = box_spawn(argv, null, out[1], &pid);
	fd_close(&null);
	fd_close(&out[1]);
	if (r < 0) {
		fd_close(&out[0]);
		log_warn("cannot start %s: %s", program, strerror(-r));
		later(n, BACK_OFF_MAX_S);
		return;
	}
	fd_set_nonblock(out[0], true);
	n->keeper.out = out[0];
	ev_io_init(&n->keeper.ready, ready, out[0], EV_READ);
	n->keeper.ready.data = n;
	ev_io_start(n->loop, &n->keeper.ready);
	ev_child_init(&n->keeper.child, ended, pid, 0);
	n->keeper.child.data = n;
	ev_child_start(n->loop, &n->keeper.child);
}

static void tick(struct ev_loop *loop, ev_timer *w, int events)
{
	static const char question[] = "{\"op\":\"info\"}";
	struct node *n = w->data;

	(void)loop;
	(void)events;
	if (n->stopping)
		return;
	if (n->keeper.fd >= 0) {
		(void)sock_packet_send(n->keeper.fd, question, sizeof(question) - 1, -1, false);
		later(n, ASK_S);
	} else if (!connected(n) && !ev_is_active(&n->keeper.child)) {
		start(n);
	}
}

void node_keeper_init(struct node *n)
{
	n->keeper.fd = n->keeper.out = -1;
	n->keeper.back_off_s = BACK_OFF_FIRST_S;
	ev_timer_init(&n->keeper.timer, tick, 0, 0);
	n->keeper.timer.data = n;
}

void node_keeper_begin(struct node *n)
{
	if (n->cfg->ckpt_keeper != KEEPER_OFF)
		later(n, 0);
}

/* it undoes what is under way before it ends */
static void end_keeper(pid_t pid)
{
	FD_AUTO int pidfd = pidfd_of(pid);
	struct pollfd end = { .fd = pidfd, .events = POLLIN };

	if (pidfd < 0 || pidfd_signal(pidfd, SIGTERM) < 0)
		return;
	if (poll(&end, 1, END_MAX_MS) == 0)
		log_warn("hearth-keeper (pid %d) does not end: a step of the driver may not come back", (int)pid);
}

void node_keeper_end(struct node *n)
{
	pid_t pid = ev_is_active(&n->keeper.child) ? n->keeper.child.pid : n->keeper.pid;

	ev_timer_stop(n->loop, &n->keeper.timer);
	ev_io_stop(n->loop, &n->keeper.ready);
	ev_child_stop(n->loop, &n->keeper.child);
	fd_close(&n->keeper.out);
	gone(n);
	/* programs that go on keep it */
	if (n->stop_instances && pid > 0)
		end_keeper(pid);
}

int metrics_keeper(struct node *n, struct buf *out)
{
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} rows[] = {
		{ "hearth_keeper_up", "gauge", "1 while a keeper of device memory runs.", n->keeper.fd >= 0 },
		{ "hearth_keeper_restarts_total", "counter", "Keepers that ended.", n->keeper.restarts },
		{ "hearth_keeper_processes", "gauge", "Processes whose device memory the keeper knows.", n->keeper.info.processes },
		{ "hearth_keeper_device_bytes", "gauge", "Their device memory.", n->keeper.info.bytes },
		{ "hearth_keeper_held_bytes", "gauge", "Device memory held for processes that are not there.", n->keeper.info.held_bytes },
		{ "hearth_keeper_pool_ready_bytes", "gauge", "Memory prepared for images (ckpt_pool_bytes) that is there.", n->keeper.info.pool_ready_bytes },
		{ "hearth_keeper_copied_bytes_total", "counter", "Device memory copied into images.", n->keeper.info.copied_bytes },
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r |= metrics_head(out, rows[i].name, rows[i].type, rows[i].help);
		r |= buf_printf(out, "%s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
	}
	return r;
}
