// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "priv.h"

/*
 * hearth-keeper, which holds the device memory of programs under checkpoint. A connection to it stays open: its end is the keeper's end, and over it goes a question now and then, for /metrics.
 */

#define EXIT_NO_DRIVER 77
#define ANSWER_MAX 65536

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
		helper_lost(&n->keeper.helper);
		return;
	}
	o = json_loadb(text, (size_t)got, 0, NULL);
	r = json_object_get(o, "result");
	n->keeper.info.processes = (uint64_t)json_integer_value(json_object_get(r, "processes"));
	n->keeper.info.bytes = (uint64_t)json_integer_value(json_object_get(r, "bytes"));
	n->keeper.info.held_bytes = (uint64_t)json_integer_value(json_object_get(r, "held_bytes"));
	n->keeper.info.pool_ready_bytes = (uint64_t)json_integer_value(json_object_get(r, "pool_ready_bytes"));
	n->keeper.info.copied_bytes = (uint64_t)json_integer_value(json_object_get(r, "copied_bytes"));
	n->keeper.helper.pid = (pid_t)json_integer_value(json_object_get(r, "pid"));
	json_decref(o);
}

static bool keeper_find(struct node *n)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/keeper.sock", n->cfg->run_dir);
	n->keeper.fd = sock_unix_connect_packets(path);
	if (n->keeper.fd < 0) {
		n->keeper.fd = -1;
		return false;
	}
	ev_io_init(&n->keeper.watch, readable, n->keeper.fd, EV_READ);
	n->keeper.watch.data = n;
	ev_io_start(n->loop, &n->keeper.watch);
	return true;
}

static void keeper_tick(struct node *n)
{
	static const char question[] = "{\"op\":\"info\"}";

	(void)sock_packet_send(n->keeper.fd, question, sizeof(question) - 1, -1, false);
}

static void keeper_arguments(struct node *n, const char **argv, size_t room)
{
	static char socket[4200], bytes[32], hold[32], hold_time[32];
	const char *const all[] = { "--socket", socket, "--hold-bytes", hold, "--hold-time", hold_time, "--pool-store", n->cfg->ckpt_pool_store, "--pool-bytes", bytes, NULL };

	snprintf(socket, sizeof(socket), "%s/keeper.sock", n->cfg->run_dir);
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)n->cfg->ckpt_pool_bytes);
	snprintf(hold, sizeof(hold), "%llu", (unsigned long long)n->cfg->ckpt_hold_bytes);
	snprintf(hold_time, sizeof(hold_time), "%llums", (unsigned long long)(n->cfg->ckpt_hold_time / NS_PER_MS));
	for (size_t k = 0; k < room && k < sizeof(all) / sizeof(all[0]); k++)
		argv[k] = all[k];
	if (!n->cfg->ckpt_pool_store)
		argv[6] = NULL;
}

static bool keeper_given_up(struct node *n, int status)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_NO_DRIVER || n->cfg->ckpt_keeper != KEEPER_AUTO)
		return false;
	log_info("no CUDA driver here: programs are checkpointed without device memory");
	return true;
}

static const struct helper_ops keeper_helper = {
	.program = "hearth-keeper",
	.find = keeper_find,
	.tick = keeper_tick,
	.arguments = keeper_arguments,
	.given_up = keeper_given_up,
};

void node_keeper_init(struct node *n)
{
	n->keeper.fd = -1;
	helper_init(&n->keeper.helper, n, &keeper_helper);
}

void node_keeper_begin(struct node *n)
{
	if (n->cfg->ckpt_keeper != KEEPER_OFF)
		helper_begin(&n->keeper.helper);
}

void node_keeper_end(struct node *n)
{
	gone(n);
	/* programs that go on keep it */
	helper_end(&n->keeper.helper, n->stop_instances);
}

int metrics_keeper(struct node *n, struct buf *out)
{
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} rows[] = {
		{ "hearth_keeper_up", "gauge", "1 while a keeper of device memory runs.", n->keeper.fd >= 0 },
		{ "hearth_keeper_restarts_total", "counter", "Keepers that ended.", n->keeper.helper.restarts },
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
