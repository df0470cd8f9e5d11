/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine that does as it is told. usage: keeper_engine SOCKET
 * A command a line on standard input, each answered with one line: "ok ..." or "error CODE TEXT".
 *   info   inspect PID...   begin PID...   precopy STORE [BASE]   stop 0|1 [MS]   detach   checkpoint   restore   attach [MS]   hold NAME   release NAME   abort   end   close   open
 *   drain STORE IMAGE       the objects become an image           load STORE|- IMAGE|- HOLD|- WAS:IS...
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ckpt/keeper.h"
#include "ckpt/store.h"

static struct keeper *k;
static struct keeper_report report;
static struct hearth_err err;
static unsigned steps;

static bool progress(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx;
	steps += done <= total;
	return true;
}

static const char *dash(const char *s)
{
	return s && strcmp(s, "-") ? s : NULL;
}

static int drain(char **w, size_t n)
{
	struct keeper_store store = { .dir = w[1] };
	struct store *s = NULL;
	struct store_draft *d = NULL;
	struct store_options options = { 0 };
	struct store_stats stats;
	json_t *meta = json_object();
	int fd = -1, r = n == 3 ? keeper_drain(k, &store, progress, NULL, &fd, &report, &err) : -EINVAL;

	if (r == 0)
		r = store_open(w[1], &s, &err);
	if (r == 0)
		r = store_begin(s, w[2], &options, &d, &err);
	if (r == 0)
		r = store_adopt(d, fd, &err);
	if (r == 0)
		r = store_commit(d, meta, &stats, &err);
	if (r < 0 && d)
		store_abort(d);
	if (fd >= 0)
		close(fd);
	store_close(s);
	json_decref(meta);
	return r;
}

static int load(char **w, size_t n)
{
	struct keeper_pid_map map[16];
	struct keeper_store store = { .dir = n > 1 ? dash(w[1]) : NULL };
	size_t m = 0;

	for (size_t i = 4; i < n && m < 16; i++, m++)
		if (sscanf(w[i], "%d:%d", &map[m].was, &map[m].is) != 2)
			return -EINVAL;
	return keeper_load(k, store.dir ? &store : NULL, n > 2 ? dash(w[2]) : NULL, n > 3 ? dash(w[3]) : NULL, map, m, &report, &err);
}

static int info(void)
{
	struct keeper_info i;
	int r = keeper_info(k, &i, &err);

	if (r == 0)
		printf("ok processes=%u operations=%u held=%u buffers=%llu bytes=%llu held_bytes=%llu checkpoint=%d export=%d devices=%u\n", i.processes, i.operations, i.held,
		       (unsigned long long)i.buffers, (unsigned long long)i.bytes, (unsigned long long)i.held_bytes, i.checkpoint, i.export, i.devices);
	return r == 0 ? 1 : r;
}

static int inspect(const pid_t *pids, size_t n)
{
	static struct keeper_inspection i;
	int r = keeper_inspect(k, pids, n, &i, &err);

	if (r == 0)
		printf("ok buffers=%llu bytes=%llu refusals=%u cuda=%d shim=%d why=%s notes=%s\n", (unsigned long long)i.buffers, (unsigned long long)i.bytes, i.refusals, i.process[0].cuda,
		       i.process[0].shim, i.why, i.notes);
	return r == 0 ? 1 : r;
}

/* Return: 1 (answered), 0, -errno */
static int run(const char *socket, char **w, size_t n)
{
	struct keeper_store store = { .dir = n > 1 ? w[1] : NULL, .base = n > 2 ? w[2] : NULL };
	uint64_t ms = n > 1 ? strtoull(w[n - 1], NULL, 10) * NS_PER_MS : 0;
	pid_t pids[16];

	for (size_t i = 1; i < n && i < 16; i++)
		pids[i - 1] = atoi(w[i]);
	if (!strcmp(w[0], "open"))
		return keeper_connect(socket, &k, &err);
	if (!strcmp(w[0], "close")) {
		k = keeper_close(k);
		return 0;
	}
	if (!strcmp(w[0], "info"))
		return info();
	if (!strcmp(w[0], "inspect"))
		return inspect(pids, n - 1);
	if (!strcmp(w[0], "begin"))
		return keeper_begin(k, pids, n - 1, &err);
	if (!strcmp(w[0], "precopy"))
		return keeper_precopy(k, &store, progress, NULL, &report, &err);
	if (!strcmp(w[0], "stop"))
		return keeper_stop(k, n > 1 && atoi(w[1]), n > 2 ? ms : 0, &report, &err);
	if (!strcmp(w[0], "detach"))
		return keeper_detach(k, &report, &err);
	if (!strcmp(w[0], "checkpoint"))
		return keeper_driver_checkpoint(k, 0, &report, &err);
	if (!strcmp(w[0], "restore"))
		return keeper_driver_restore(k, &report, &err);
	if (!strcmp(w[0], "attach"))
		return keeper_attach(k, ms, progress, NULL, &report, &err);
	if (!strcmp(w[0], "hold"))
		return keeper_hold(k, w[1], &err);
	if (!strcmp(w[0], "release"))
		return keeper_release_held(k, w[1], &err);
	if (!strcmp(w[0], "abort"))
		return keeper_abort(k, &report, &err);
	if (!strcmp(w[0], "end"))
		return keeper_end(k, &err);
	if (!strcmp(w[0], "drain"))
		return drain(w, n);
	if (!strcmp(w[0], "stage")) {
		int r = keeper_stage(k, n > 1 && dash(w[1]) ? &store : NULL, n > 2 ? dash(w[2]) : NULL, n > 3 ? dash(w[3]) : NULL, &err);

		return r == 0 ? keeper_staged(k, &report, &err) : r;
	}
	return !strcmp(w[0], "load") ? load(w, n) : -EINVAL;
}

int main(int argc, char **argv)
{
	char line[4096];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 2 || keeper_connect(argv[1], &k, &err) < 0) {
		printf("error %d %s\n", err.code, err.msg);
		return 1;
	}
	puts("ok");
	while (fgets(line, sizeof(line), stdin)) {
		char *w[20], *save = NULL;
		size_t n = 0;
		int r;

		for (char *t = strtok_r(line, " \n", &save); t && n < 20; t = strtok_r(NULL, " \n", &save))
			w[n++] = t;
		memset(&report, 0, sizeof(report));
		err = (struct hearth_err){ 0 };
		r = n ? run(argv[1], w, n) : -EINVAL;
		if (r < 0)
			printf("error %d %s\n", r, err.msg);
		else if (r == 0)
			printf("ok buffers=%llu bytes=%llu dirty=%llu snapshot=%llu copied=%llu known=%llu zero=%llu rounds=%llu total_ns=%llu gate_ns=%llu hash_ns=%llu snapshot_ns=%llu copy_ns=%llu reserve_ns=%llu wait_ns=%llu create_ns=%llu lock_ns=%llu driver_ns=%llu progress=%u notes=%s\n",
			       (unsigned long long)report.buffers, (unsigned long long)report.bytes, (unsigned long long)report.dirty_bytes, (unsigned long long)report.snapshot_bytes,
			       (unsigned long long)report.copied_bytes, (unsigned long long)report.known_bytes, (unsigned long long)report.zero_bytes, (unsigned long long)report.rounds,
			       (unsigned long long)report.total_ns, (unsigned long long)report.gate_ns, (unsigned long long)report.hash_ns, (unsigned long long)report.snapshot_ns,
			       (unsigned long long)report.copy_ns, (unsigned long long)report.reserve_ns, (unsigned long long)report.wait_ns, (unsigned long long)report.create_ns,
			       (unsigned long long)report.lock_ns, (unsigned long long)report.driver_ns, steps, report.notes);
	}
	return 0;
}
