/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A far memory engine driven by hand, for tests: a line in is an operation, a line out is an event, as JSON.
 * usage: engine_shell SOCKET LIBEXEC
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "farmem/engine.h"

#define NAMES 16

static const struct farmem_ops *ops = &farmem_uffd_engine;
static struct farmem_engine *engine;
static struct { char name[64]; struct farmem_target *target; } known[NAMES];

static int slot_of(const char *name)
{
	for (int k = 0; k < NAMES; k++)
		if (!strcmp(known[k].name, name))
			return k;
	return -1;
}

static const char *const kinds[] = { "attached", "refused", "barrier", "offloaded", "prefetched", "stat", "lost", "detached", "down", "up" };

static void print_stat(const struct farmem_stat *s)
{
	printf(",\"resident\":[%llu,%llu,%llu],\"remote\":[%llu,%llu,%llu]", (unsigned long long)s->resident_bytes[0], (unsigned long long)s->resident_bytes[1],
	       (unsigned long long)s->resident_bytes[2], (unsigned long long)s->remote_bytes[0], (unsigned long long)s->remote_bytes[1], (unsigned long long)s->remote_bytes[2]);
	printf(",\"ws\":%llu,\"ws_remote\":%llu", (unsigned long long)s->ws_bytes, (unsigned long long)s->ws_remote_bytes);
	printf(",\"pool\":%llu,\"offloaded\":%llu,\"recalled\":%llu,\"faults\":%llu,\"prefetched\":%llu,\"hits\":%llu,\"uncovered\":%llu,\"fault_p50_ns\":%llu", (unsigned long long)s->pool_bytes,
	       (unsigned long long)s->offloaded_bytes, (unsigned long long)s->recalled_bytes, (unsigned long long)s->faults, (unsigned long long)s->prefetched_pages,
	       (unsigned long long)s->prefetch_hits, (unsigned long long)s->uncovered_bytes, (unsigned long long)farmem_latency_quantile(&s->fault_latency, 0.5));
}

static void print_event(const struct farmem_event *e)
{
	const char *name = e->target ? known[(intptr_t)e->ctx].name : "";

	printf("{\"event\":\"%s\",\"name\":\"%s\",\"segment\":%d,\"bytes\":%llu,\"flag\":%d,\"error\":%d,\"waited_ns\":%llu,\"why\":\"%s\"", kinds[e->kind], name, (int)e->segment, (unsigned long long)e->bytes, (int)e->flag,
	       e->error, (unsigned long long)e->waited_ns, e->why);
	if (e->stat)
		print_stat(e->stat);
	printf("}\n");
	if (e->target && (e->kind == FARMEM_REFUSED || e->kind == FARMEM_DETACHED))
		known[(intptr_t)e->ctx].name[0] = '\0';
}

static void attach(const char *name, int pid, unsigned long long instance)
{
	struct farmem_attach a = { .pid = pid, .pidfd = -1, .netns = -1, .name = name, .object = { 1, 2, instance } };
	struct hearth_err err = { 0 };
	int k = 0;

	while (k < NAMES - 1 && known[k].name[0])
		k++;
	snprintf(known[k].name, sizeof(known[k].name), "%s", name);
	a.ctx = (void *)(intptr_t)k;
	if (ops->attach(engine, &a, &known[k].target, &err) < 0)
		printf("{\"event\":\"error\",\"why\":\"%s\"}\n", err.msg);
}

static void command(char *line)
{
	char op[32] = "", name[64] = "";
	unsigned long long a = 0, b = 0;
	struct hearth_err err = { 0 };
	struct farmem_target *t;
	int k;

	if (sscanf(line, "%31s %63s %llu %llu", op, name, &a, &b) < 1)
		return;
	if (!strcmp(op, "attach")) {
		attach(name, (int)a, b);
		return;
	}
	if (!strcmp(op, "again")) {
		if (ops->again(engine, &err) < 0)
			printf("{\"event\":\"error\",\"why\":\"%s\"}\n", err.msg);
		return;
	}
	if (!strcmp(op, "echo")) {         /* all before it has been asked for */
		printf("{\"event\":\"echo\"}\n");
		return;
	}
	k = slot_of(name);
	if (k < 0) {
		printf("{\"event\":\"error\",\"why\":\"no target %s\"}\n", name);
		return;
	}
	t = known[k].target;
	if (!strcmp(op, "barrier"))
		ops->barrier(t, (enum farmem_segment)a);
	else if (!strcmp(op, "offload"))
		ops->offload(t, (unsigned)a, b);
	else if (!strcmp(op, "cancel"))
		ops->cancel(t);
	else if (!strcmp(op, "prefetch"))
		ops->prefetch(t, a, b);
	else if (!strcmp(op, "rollback"))
		ops->rollback(t);
	else if (!strcmp(op, "begin"))
		ops->request_begin(t);
	else if (!strcmp(op, "end"))
		ops->request_end(t);
	else if (!strcmp(op, "stat"))
		ops->refresh(t);
	else if (!strcmp(op, "detach"))
		ops->detach(t, (enum farmem_detach_how)a);
	else
		printf("{\"event\":\"error\",\"why\":\"no operation %s\"}\n", op);
}

int main(int argc, char **argv)
{
	struct farmem_options o = { .socket = argc > 1 ? argv[1] : "", .libexec_dir = argc > 2 ? argv[2] : "" };
	struct hearth_err err = { 0 };
	struct farmem_probe probe;
	char line[256];

	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	ops->probe(&o, &probe);
	if (probe.error) {
		printf("{\"event\":\"unsupported\",\"why\":\"%s\"}\n", probe.why);
		return 77;
	}
	if (ops->open(&o, &engine, &err) < 0 || ops->again(engine, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	printf("{\"event\":\"open\",\"what\":\"%s\"}\n", probe.what);
	for (;;) {
		struct pollfd p[2] = { { .fd = 0, .events = POLLIN }, { .fd = ops->fd(engine), .events = POLLIN } };
		struct farmem_event e;

		if (poll(p, 2, -1) < 0)
			continue;
		while (p[1].revents && ops->next(engine, &e) > 0)
			print_event(&e);
		if (p[0].revents && !fgets(line, sizeof(line), stdin))
			break;
		if (p[0].revents)
			command(line);
	}
	ops->close(engine);
	return 0;
}
