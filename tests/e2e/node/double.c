/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test double of an engine, for what the node does with one. It looks at real processes (smaps_rollup) and keeps books of what was asked: of a page that "is away" it only says so. Each thing asked of it is a
 * line of the file $HEARTH_DOUBLE/log; a file $HEARTH_DOUBLE/refuse makes it refuse, `lose` lose an instance's memory when its next request begins, `slow` keep it from finishing a recall while that file is there,
 * `broken` fail it; `records` has it say that there is a working set, when nothing was away yet; `cut` has its next offload end halfway, as when an engine's process is killed.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"
#include "engines.h"

struct event {
	STAILQ_ENTRY(event) entry;
	struct farmem_event e;
	struct farmem_stat stat;
};

struct farmem_target {
	LIST_ENTRY(farmem_target) entry;
	struct farmem_engine *engine;
	void *ctx;
	char name[96];
	pid_t pid;
	struct farmem_stat stat;
	bool recalling;
};

struct farmem_engine {
	int fd, bell, watch;            /* epoll of an eventfd and of the folder */
	STAILQ_HEAD(, event) events;
	LIST_HEAD(, farmem_target) targets;
	struct event *shown;
	const char *dir;
};

static bool told(const struct farmem_engine *e, const char *what)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%s", e->dir, what);
	return access(path, F_OK) == 0;
}

static void untell(const struct farmem_engine *e, const char *what)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%s", e->dir, what);
	unlink(path);
}

static void note(const struct farmem_engine *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(const struct farmem_engine *e, const char *fmt, ...)
{
	char path[4200];
	va_list ap;
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", e->dir);
	f = fopen(path, "ae");
	if (!f)
		return;
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fputc('\n', f);
	fclose(f);
}

static void ring(struct farmem_engine *e)
{
	uint64_t one = 1;

	if (write(e->bell, &one, sizeof(one)) < 0)
		abort();
}

static void tell(struct farmem_target *t, struct farmem_event what)
{
	struct event *event = calloc(1, sizeof(*event));

	if (!event)
		abort();
	what.target = t;
	what.ctx = t->ctx;
	event->e = what;
	event->stat = t->stat;
	STAILQ_INSERT_TAIL(&t->engine->events, event, entry);
	ring(t->engine);
}

/* of all its processes */
static uint64_t anonymous(pid_t pid)
{
	uint64_t sum = 0;
	pid_t *tree = NULL;
	ssize_t n = proc_tree(pid, &tree);

	for (ssize_t k = 0; k < n; k++) {
		char path[64], *text = NULL, *at;

		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)tree[k]);
		if (file_read(path, 65536, &text, NULL) == 0 && (at = strstr(text, "\nAnonymous:")))
			sum += strtoull(at + strlen("\nAnonymous:"), NULL, 10) << 10;
		free(text);
	}
	free(tree);
	return sum;
}

static uint64_t away(const struct farmem_target *t)
{
	return t->stat.remote_bytes[0] + t->stat.remote_bytes[1] + t->stat.remote_bytes[2];
}

/* what no barrier has closed is execution's */
static void look(struct farmem_target *t)
{
	uint64_t all = anonymous(t->pid), rest;

	rest = all > away(t) ? all - away(t) : 0;
	for (int s = 0; s < FARMEM_EXECUTION; s++) {
		if (t->stat.resident_bytes[s] > rest)
			t->stat.resident_bytes[s] = rest;
		rest -= t->stat.resident_bytes[s];
	}
	t->stat.resident_bytes[FARMEM_EXECUTION] = rest;
	t->stat.ws_remote_bytes = away(t) / 8;
	t->stat.ws_bytes = told(t->engine, "records") ? t->stat.ws_remote_bytes + 4096 : 0;
	t->stat.pool_bytes = away(t) / 2;
}

static void double_probe(const struct farmem_options *options, struct farmem_probe *ret)
{
	(void)options;
	*ret = (struct farmem_probe){ .features = FARMEM_HAS_SEGMENTS | FARMEM_HAS_PREFETCH, .what = "a test's double" };
	if (!getenv("HEARTH_DOUBLE")) {
		ret->error = -ENODEV;
		snprintf(ret->why, sizeof(ret->why), "HEARTH_DOUBLE names no folder");
	}
}

static int double_open(const struct farmem_options *options, struct farmem_engine **ret, struct hearth_err *err)
{
	struct farmem_engine *e = calloc(1, sizeof(*e));
	struct epoll_event in = { .events = EPOLLIN };

	(void)options;
	if (!e)
		return err_set(err, -ENOMEM, "out of memory");
	e->dir = getenv("HEARTH_DOUBLE");
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	e->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	STAILQ_INIT(&e->events);
	LIST_INIT(&e->targets);
	if (e->fd < 0 || inotify_add_watch(e->watch, e->dir, IN_DELETE) < 0 || epoll_ctl(e->fd, EPOLL_CTL_ADD, e->bell, &in) < 0 || epoll_ctl(e->fd, EPOLL_CTL_ADD, e->watch, &in) < 0)
		abort();
	*ret = e;
	return 0;
}

static struct farmem_engine *double_close(struct farmem_engine *e)
{
	struct farmem_target *t;
	struct event *event;

	if (!e)
		return NULL;
	while ((event = STAILQ_FIRST(&e->events))) {
		STAILQ_REMOVE_HEAD(&e->events, entry);
		free(event);
	}
	while ((t = LIST_FIRST(&e->targets))) {
		LIST_REMOVE(t, entry);
		free(t);
	}
	free(e->shown);
	fd_close(&e->fd);
	fd_close(&e->bell);
	fd_close(&e->watch);
	free(e);
	return NULL;
}

static int double_fd(const struct farmem_engine *e)
{
	return e->fd;
}

static void recall(struct farmem_target *t)
{
	struct farmem_event done = { .kind = FARMEM_DETACHED };

	if (told(t->engine, "slow"))
		return;
	t->recalling = false;
	t->stat.recalled_bytes += away(t);
	if (told(t->engine, "broken")) {
		done.error = -EIO;
		snprintf(done.why, sizeof(done.why), "the double was told to lose it");
	}
	note(t->engine, "recalled %s %llu", t->name, (unsigned long long)away(t));
	memset(t->stat.remote_bytes, 0, sizeof(t->stat.remote_bytes));
	tell(t, done);
}

static int double_next(struct farmem_engine *e, struct farmem_event *ret)
{
	struct farmem_target *t, *next;
	uint64_t count;
	char buf[4096];

	while (read(e->watch, buf, sizeof(buf)) > 0)
		for (t = LIST_FIRST(&e->targets); t; t = next) {
			next = LIST_NEXT(t, entry);
			if (t->recalling)
				recall(t);
		}
	free(e->shown);
	e->shown = STAILQ_FIRST(&e->events);
	if (!e->shown) {
		if (read(e->bell, &count, sizeof(count)) < 0 && errno != EAGAIN)
			abort();
		return 0;
	}
	STAILQ_REMOVE_HEAD(&e->events, entry);
	*ret = e->shown->e;
	ret->stat = &e->shown->stat;
	if (ret->kind == FARMEM_DETACHED || ret->kind == FARMEM_REFUSED) {
		LIST_REMOVE(ret->target, entry);
		free(ret->target);
	}
	return 1;
}

static int double_attach(struct farmem_engine *e, const struct farmem_attach *what, struct farmem_target **ret, struct hearth_err *err)
{
	struct farmem_target *t = calloc(1, sizeof(*t));
	struct farmem_event answer = { .kind = FARMEM_ATTACHED };

	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	t->engine = e;
	t->ctx = what->ctx;
	t->pid = what->pid;
	snprintf(t->name, sizeof(t->name), "%s", what->name);
	LIST_INSERT_HEAD(&e->targets, t, entry);
	note(e, "attach %s", t->name);
	look(t);
	if (told(e, "refuse")) {
		answer.kind = FARMEM_REFUSED;
		snprintf(answer.why, sizeof(answer.why), "the double was told to refuse");
	}
	tell(t, answer);
	*ret = t;
	return 0;
}

static void double_barrier(struct farmem_target *t, enum farmem_segment segment)
{
	look(t);
	note(t->engine, "barrier %s %d", t->name, (int)segment);
	t->stat.resident_bytes[segment] += t->stat.resident_bytes[FARMEM_EXECUTION];
	t->stat.resident_bytes[FARMEM_EXECUTION] = 0;
	tell(t, (struct farmem_event){ .kind = FARMEM_BARRIER, .segment = segment });
}

static void double_offload(struct farmem_target *t, unsigned segments, uint64_t bytes)
{
	struct farmem_event end = { .kind = FARMEM_OFFLOADED, .flag = true };
	uint64_t moved = 0;

	note(t->engine, "offload %s %u %llu", t->name, segments, (unsigned long long)bytes);
	if (told(t->engine, "cut")) {
		untell(t->engine, "cut");
		bytes /= 2;
		end.error = -EAGAIN;
	}
	for (int s = 0; s < FARMEM_SEGMENTS; s++) {
		uint64_t some = t->stat.resident_bytes[s] < bytes - moved ? t->stat.resident_bytes[s] : bytes - moved;

		if (!(segments & FARMEM_SEGMENT_BIT(s)))
			continue;
		t->stat.resident_bytes[s] -= some;
		t->stat.remote_bytes[s] += some;
		moved += some;
	}
	t->stat.offloaded_bytes += moved;
	end.bytes = moved;
	tell(t, end);
}

static void double_cancel(struct farmem_target *t)
{
	note(t->engine, "cancel %s", t->name);
}

static void double_prefetch(struct farmem_target *t, uint64_t bytes, uint64_t patience_ns)
{
	uint64_t some = t->stat.remote_bytes[FARMEM_EXECUTION] < bytes ? t->stat.remote_bytes[FARMEM_EXECUTION] : bytes;

	(void)patience_ns;
	note(t->engine, "prefetch %s %llu", t->name, (unsigned long long)bytes);
	t->stat.remote_bytes[FARMEM_EXECUTION] -= some;
	t->stat.prefetched_pages += some / 4096;
	t->stat.prefetch_hits += some / 4096;
	tell(t, (struct farmem_event){ .kind = FARMEM_PREFETCHED, .bytes = some });
}

static void double_rollback(struct farmem_target *t)
{
	note(t->engine, "rollback %s", t->name);
}

static void double_request_begin(struct farmem_target *t)
{
	note(t->engine, "begin %s", t->name);
	if (away(t) > 0) {
		t->stat.faults++;
		farmem_latency_add(&t->stat.fault_latency, 5000);
	}
	if (told(t->engine, "lose")) {
		struct farmem_event lost = { .kind = FARMEM_LOST };

		snprintf(lost.why, sizeof(lost.why), "the double was told to lose it");
		tell(t, lost);
	}
}

static void double_request_end(struct farmem_target *t)
{
	note(t->engine, "end %s", t->name);
}

static void double_refresh(struct farmem_target *t)
{
	note(t->engine, "refresh %s", t->name);
	look(t);
	tell(t, (struct farmem_event){ .kind = FARMEM_STAT });
}

static void double_detach(struct farmem_target *t, enum farmem_detach_how how)
{
	static const char *const names[] = { "recall", "ended", "leave" };

	note(t->engine, "%s %s", names[how], t->name);
	if (how == FARMEM_RECALL) {
		t->recalling = true;
		recall(t);
		return;
	}
	if (how == FARMEM_ENDED) {      /* a recall that has answered already is all there is */
		struct event *event;

		STAILQ_FOREACH(event, &t->engine->events, entry)
			if (event->e.target == t && event->e.kind == FARMEM_DETACHED)
				return;
	}
	t->recalling = false;
	tell(t, (struct farmem_event){ .kind = FARMEM_DETACHED });
}

static const struct farmem_ops engine_double = {
	.name = "double",
	.probe = double_probe,
	.open = double_open,
	.close = double_close,
	.fd = double_fd,
	.next = double_next,
	.attach = double_attach,
	.barrier = double_barrier,
	.offload = double_offload,
	.cancel = double_cancel,
	.prefetch = double_prefetch,
	.rollback = double_rollback,
	.request_begin = double_request_begin,
	.request_end = double_request_end,
	.refresh = double_refresh,
	.detach = double_detach,
};

const struct farmem_ops *const node_engines[] = { &engine_double, NULL };
