/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"
#include "ckpt/criu.h"
#include "ckpt/engine.h"
#include "ckpt/mapped.h"
#include "ckpt/program.h"
#include "ckpt/store.h"
#include "ckpt/track.h"
#include "dump.h"
#include "early.h"
#include "gate.h"
#include "gpu.h"
#include "memory.h"
#include "tcp.h"
#include "tree.h"

/* pre-copying ends when little is left, when rounds stop helping, or after so many */
#define ROUNDS_MAX 8
#define LITTLE_BYTES (8u << 20)
#define SLACK_BYTES (16u << 20)
#define DRIVER_BYTES (1ull << 30)        /* what the driver puts into a process at its checkpoint: 0.55 GB have been seen of a context */
#define FILL_MAX_S 20
#define NAMES_MAX 1000000

/** struct work - one checkpoint in progress */
struct work {
	const struct engine_checkpoint *c;
	struct hearth_err *err;
	char name[PROGRAM_NAME_MAX + 1], image[256];
	int lock;
	struct store *store;
	struct store_draft *draft;
	struct memory *memory;
	struct track *track;
	struct gpu *gpu;                /* NULL: none of its processes uses one */
	char store_path[PATH_MAX];      /* absolute */
	struct dump dump;
	struct early early;
	json_t *tree, *files, *notes;
	const char *phase;
	char criu_version[64];
	unsigned rounds;
	struct memory_round last;       /* of the pre-copy */
	struct memory_round stop;
	uint64_t t0, precopied, gated, held, copied, released, drained, committed, going;
};

static void note(struct work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct work *w, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(w->notes, json_string(text));
}

static void progress(void *ctx, uint64_t done, uint64_t total)
{
	struct work *w = ctx;

	if (w->c->progress)
		w->c->progress(w->c->ctx, w->phase, done, total);
}

/* a named fault: dies, or fails */
static int fault(struct work *w, const char *name)
{
	return fault_point(name) ? err_set(w->err, -EIO, "injected failure at %s", name) : 0;
}

/* ---- before ---- */

/* memory of a lazily restored program comes in for a while; CRIU would take what is missing for what never was */
static int wait_whole(struct work *w)
{
	int r = criu_tree_whole(w->c->pid, FILL_MAX_S * 1000);

	if (r == -EBUSY)
		return err_set(w->err, r, "after up to %d s the memory of process %d is still being brought back from its image, or it uses userfaultfd itself", FILL_MAX_S, (int)w->c->pid);
	return r < 0 ? err_set(w->err, r, "process %d: %s", (int)w->c->pid, strerror(-r)) : 0;
}

/* the number behind the highest there is, also of other kinds: names are not used twice while a later one is there */
static unsigned next_number(const struct work *w)
{
	struct store_entry *list = NULL;
	size_t n = 0, len = strlen(w->name);
	struct hearth_err none;
	unsigned highest = 0;

	if (store_list(w->store, &list, &n, &none) < 0)
		return 1;
	for (size_t k = 0; k < n; k++) {
		char *end;
		unsigned long number;

		if (strncmp(list[k].name, w->name, len) || list[k].name[len] != '-')
			continue;
		number = strtoul(list[k].name + len + 1, &end, 10);
		if (!*end && number > highest && number < NAMES_MAX)
			highest = (unsigned)number;
	}
	store_list_free(list, n);
	return highest + 1;
}

static int choose_image(struct work *w)
{
	int r = -EEXIST;
	struct store_options o = { .zstd_level = w->c->zstd_level };

	if (w->c->image) {
		snprintf(w->image, sizeof(w->image), "%s", w->c->image);
		return store_begin(w->store, w->image, &o, &w->draft, w->err);
	}
	for (unsigned n = next_number(w); n < NAMES_MAX && r == -EEXIST; n++) {
		snprintf(w->image, sizeof(w->image), "%s-%u", w->name, n);
		r = store_begin(w->store, w->image, &o, &w->draft, w->err);
	}
	return r;
}

static int prepare(struct work *w)
{
	const struct engine_checkpoint *c = w->c;
	int r;

	if (geteuid() != 0)
		return err_set(w->err, -EPERM, "a checkpoint needs root (CRIU needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE, and CAP_SYS_PTRACE); try with sudo");
	w->notes = json_array();
	snprintf(w->name, sizeof(w->name), "%s", c->name ? c->name : "");
	if (!c->name)
		snprintf(w->name, sizeof(w->name), "pid-%d", (int)c->pid);
	r = w->notes ? criu_version(c->criu, w->criu_version, sizeof(w->criu_version), w->err) : err_set(w->err, -ENOMEM, "out of memory");
	if (r == 0)
		r = program_lock(w->c->run_dir, w->c->pid, &w->lock, w->err);   /* the minder has it too, until it has undone what a killed checkpoint did */
	if (r == 0)
		r = tree_inspect(c->pid, &w->tree, w->err);
	if (r == 0)
		r = wait_whole(w);
	if (r == 0 && c->name)
		r = gate_check(c->run_dir, c->name, c->pid, w->err);
	if (r == 0)
		r = store_open(c->store, &w->store, w->err);
	if (r == 0 && !realpath(c->store, w->store_path))
		r = err_set(w->err, -errno, "cannot find the folder %s: %s", c->store, strerror(errno));
	if (r == 0)
		r = gpu_begin(&(struct gpu_target){ c->keeper, w->store_path, c->zstd_level, c->stop }, c->pid, w->notes, &w->gpu, w->err);
	if (r == 0)
		r = choose_image(w);
	if (r == 0 && !(w->memory = memory_new(w->draft, progress, w)))
		r = err_set(w->err, -ENOMEM, "out of memory");
	return r ? r : fault(w, "ckpt-inspected");
}

/* ---- while it runs ---- */

static int arm(struct work *w)
{
	pid_t *tree = NULL;
	ssize_t n = proc_tree(w->c->pid, &tree);
	size_t bare = 0, dma = 0;
	struct hearth_err why = { 0 };
	int r = n < 0 ? (int)n : track_arm(tree, (size_t)n, &w->track, &why);

	for (ssize_t k = 0; k < n; k++) {
		bool gpu = gpu_has(w->gpu, tree[k]), unseen = tree_devices_write(tree[k]);

		if (gpu || unseen)
			track_rest(w->track, tree[k]);
		dma += unseen && !gpu;
		bare += r == 0 && !gpu && !unseen && !track_armed(w->track, tree[k]);
	}
	free(tree);
	if (r < 0 && w->c->pre_dump)
		return err_set(w->err, r, "cannot copy the memory of process %d while it runs: %s", (int)w->c->pid, why.msg);
	if (r < 0)
		note(w, "all memory was read while the program stood still: %s", why.msg);
	if (r == 0 && bare)
		note(w, "the memory of %zu of %zd processes could not be tracked and was read while they stood still", bare, n);
	if (r == 0 && dma)
		note(w, "the memory of %zu of %zd processes was read while they stood still, as devices write to it unseen (O_DIRECT)", dma, n);
	return 0;
}

static int precopy(struct work *w)
{
	uint64_t before = UINT64_MAX;
	struct hearth_err why = { 0 };
	int r = gpu_precopy_start(w->gpu, w->err), gpu;

	w->phase = "pre-copy";
	for (bool go = w->track != NULL; go && r == 0; ) {
		pid_t *tree = NULL;
		ssize_t n = proc_tree(w->c->pid, &tree);

		r = n < 0 ? err_set(w->err, (int)n, "process %d ended", (int)w->c->pid) : memory_precopy(w->memory, w->track, tree, (size_t)n, &w->last, w->err);
		free(tree);
		go = w->last.read_bytes > LITTLE_BYTES && w->last.read_bytes < before / 4 * 3 && ++w->rounds < ROUNDS_MAX;
		before = w->last.read_bytes;
	}
	gpu = gpu_precopy_join(w->gpu, &why);
	if (r == 0 && gpu < 0)
		r = err_set(w->err, gpu, "%s", why.msg);
	if (r == 0)
		r = fault(w, "ckpt-precopied");
	return r;
}

/* ---- while it stands still ---- */

/* what changed since the last round is guessed by that round; of processes that are not tracked it is everything */
static int make_room(struct work *w)
{
	uint64_t bytes = w->last.read_bytes + SLACK_BYTES;
	struct track_spans s = { 0 };
	pid_t *tree = NULL;
	ssize_t n = w->c->stop ? 0 : proc_tree(w->c->pid, &tree);

	if (w->c->stop)
		return 0;
	for (ssize_t k = 0; k < n; k++) {
		if (track_armed(w->track, tree[k]) || track_scan(NULL, tree[k], false, &s, w->err) < 0)
			continue;
		for (size_t i = 0; i < s.n; i++)
			bytes += s.v[i].end - s.v[i].start;
	}
	track_spans_done(&s);
	free(tree);
	return memory_reserve(w->memory, bytes, gpu_processes(w->gpu) * DRIVER_BYTES, w->err);
}

/* those that began to use one meanwhile */
static void forget_devices_write(struct work *w)
{
	pid_t *tree = NULL;
	ssize_t n = proc_tree(w->c->pid, &tree);

	for (ssize_t k = 0; k < n; k++)
		if (track_armed(w->track, tree[k]) && tree_devices_write(tree[k]))
			track_forget(w->track, tree[k]);
	free(tree);
}

static int copy_stopped(struct work *w)
{
	int r;

	w->held = clock_mono_ns();
	r = early_join(&w->early, w->err);
	if (r == 0)
		r = fault(w, "ckpt-held");
	if (r == 0 && fault_point("ckpt-criu-killed"))
		kill(w->dump.pid, SIGKILL);
	w->phase = "memory";
	forget_devices_write(w);
	if (r == 0)
		r = memory_stop(w->memory, w->track, w->dump.work, w->c->stop, &w->stop, w->err);
	if (r == 0)
		r = mapped_save(w->c->pid, w->dump.work, w->err);
	if (r == 0)
		r = tcp_reread(w->c->pid, w->dump.work, w->err);
	if (r == 0 && w->c->name)
		r = gate_save(w->c->run_dir, w->c->name, w->dump.work, w->err);
	/* as they are now, not as they were when it was looked at first */
	if (r == 0) {
		json_object_set_new(w->tree, "files", tree_files(w->c->pid));
		json_object_set_new(w->tree, "pids", tree_pids(w->c->pid));
	}
	w->copied = clock_mono_ns();
	return r ? r : fault(w, "ckpt-copied");
}

static int stop_and_copy(struct work *w)
{
	struct hearth_err why = { 0 };
	int r = make_room(w), released;

	w->dump.root = w->c->pid;
	w->dump.criu = w->c->criu;
	w->dump.stop = w->c->stop;
	if (r == 0)
		r = dump_prepare(&w->dump, w->err);
	if (r == 0 && w->dump.why_not_left)
		note(w, "CRIU maps memory that it need not, and the stop is longer for it: %s", w->dump.why_not_left);
	if (r == 0)
		r = fault(w, "ckpt-before-dump");
	w->precopied = clock_mono_ns();
	if (r == 0)
		r = gpu_stop(w->gpu, w->err);
	w->gated = clock_mono_ns();
	if (r == 0)
		r = fault(w, "ckpt-detached");
	if (r == 0)
		r = early_start(&w->early, w->c->pid, w->gpu, w->memory, w->track, w->err);
	if (r == 0 && w->track && w->early.n < gpu_processes(w->gpu))
		note(w, "the memory of %zu of %zu processes with a GPU was read while they stood still, as they keep a device open", gpu_processes(w->gpu) - w->early.n, gpu_processes(w->gpu));
	if (r == 0)
		r = dump_hold(&w->dump, w->err);
	if (r == 0)
		r = copy_stopped(w);
	if (r < 0) {
		(void)early_join(&w->early, &why);
		dump_abort(&w->dump);
		return r;
	}
	released = dump_release(&w->dump, &why);
	w->released = clock_mono_ns();
	w->track = track_disarm(w->track);
	if (released < 0)
		return err_set(w->err, released, "%s", why.msg);
	r = fault(w, "ckpt-released");
	if (r == 0 && !w->c->stop)
		r = gpu_go_on(w->gpu, w->err);
	w->going = clock_mono_ns();
	return r ? r : fault(w, "ckpt-attached");
}

/* ---- afterwards ---- */

static int put_files(struct work *w)
{
	DIR *d = opendir(w->dump.work);
	struct dirent *e;
	int r = d ? 0 : err_set(w->err, -errno, "cannot read %s: %s", w->dump.work, strerror(errno));

	while (r == 0 && (e = readdir(d))) {
		char path[PATH_MAX + 300], name[300];
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s", w->dump.work, e->d_name);
		if (e->d_name[0] == '.' || !strcmp(e->d_name, CRIU_LOG) || lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		snprintf(name, sizeof(name), "criu/%s", e->d_name);
		r = store_put_file(w->draft, name, path, w->err);
	}
	if (d)
		closedir(d);
	return r;
}

static json_t *describe(const struct work *w)
{
	return json_pack("{s:s,s:s,s:s,s:O,s:b,s:b,s:s,s:O,s:o*}", "kind", w->c->pre_dump ? "pre-dump" : "program", "program", w->name, "criu", w->criu_version, "tree", w->tree, "series",
			 w->c->series, "stopped", w->c->stop, "run_dir", w->c->run_dir, "notes", w->notes, "gpu", gpu_describe(w->gpu));
}

static int commit(struct work *w, struct store_stats *stats)
{
	json_t *meta;
	int r;

	w->phase = "drain";
	r = memory_drain(w->memory, w->err);
	if (r == 0)
		r = gpu_drain(w->gpu, w->draft, w->err);
	if (r == 0 && !w->c->pre_dump)
		r = put_files(w);
	w->drained = clock_mono_ns();
	if (r == 0)
		r = fault(w, "ckpt-drained");
	meta = describe(w);
	if (r == 0 && !meta)
		r = err_set(w->err, -ENOMEM, "cannot describe the image: out of memory, or a path is not UTF-8 text");
	if (r == 0)
		r = store_commit(w->draft, meta, stats, w->err);
	json_decref(meta);
	w->committed = clock_mono_ns();
	if (r == 0) {
		w->draft = NULL;
		(void)fault_point("ckpt-committed");
	}
	return r;
}

/* the image is safe: nobody needs the stopped tree any more. Returns when it is gone. */
static void end_tree(struct work *w)
{
	pid_t *tree = NULL;
	ssize_t n = proc_tree(w->c->pid, &tree);

	for (ssize_t k = 0; k < n; k++) {
		struct pollfd p = { .fd = pidfd_of(tree[k]), .events = POLLIN };

		kill(tree[k], SIGKILL);
		while (p.fd >= 0 && poll(&p, 1, -1) < 0 && errno == EINTR)
			;
		fd_close(&p.fd);
	}
	free(tree);
}

/* the program's record, before its process ends: whoever waits for it must know why */
static int note_parked(struct work *w)
{
	struct program p;
	char dir[PATH_MAX];
	int r;

	if (!w->c->name || program_load(w->c->run_dir, w->c->name, &p, w->err) < 0)
		return 0;
	p.state = PROGRAM_PARKED;
	free(p.store);
	free(p.image);
	p.store = realpath(w->c->store, dir) ? strdup(dir) : strdup(w->c->store);
	p.image = strdup(w->image);
	r = p.store && p.image ? program_save(w->c->run_dir, &p, w->err) : err_set(w->err, -ENOMEM, "out of memory");
	program_done(&p);
	return r;
}

static double ms(uint64_t from, uint64_t to)
{
	return to > from && from ? (double)(to - from) / NS_PER_MS : 0;
}

static json_t *report(const struct work *w, const struct store_stats *s)
{
	json_t *times = json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "precopy", ms(w->t0, w->precopied), "stop", ms(w->gpu ? w->precopied + gpu_ran_on_ns(w->gpu) : w->dump.frozen_ns, w->going), "criu",
				  ms(w->dump.frozen_ns, w->held) + ms(w->copied, w->released), "memory", ms(w->held, w->copied), "drain",
				  ms(w->going ? w->going : w->precopied, w->drained), "commit", ms(w->drained, w->committed), "total", ms(w->t0, clock_mono_ns()));

	return json_pack("{s:s,s:s,s:s,s:i,s:I,s:I,s:I,s:I,s:i,s:I,s:I,s:O,s:o,s:o*}", "image", w->image, "store", w->c->store, "program", w->name, "pid", (int)w->c->pid, "bytes",
			 (json_int_t)s->bytes, "new_bytes", (json_int_t)s->new_bytes, "stored_bytes", (json_int_t)s->stored_bytes, "zero_bytes", (json_int_t)s->zero_bytes, "rounds",
			 (int)w->rounds, "early_bytes", (json_int_t)w->early.round.read_bytes, "dirty_bytes", (json_int_t)w->stop.read_bytes, "notes", w->notes, "ms", times, "gpu", gpu_report(w->gpu));
}

static void clean_up(struct work *w)
{
	w->gpu = gpu_free(w->gpu);
	dump_end(&w->dump);
	track_disarm(w->track);
	memory_free(w->memory);
	if (w->draft)
		store_abort(w->draft);
	store_close(w->store);
	program_unlock(&w->lock, w->c->pid);
	json_decref(w->tree);
	json_decref(w->notes);
}

int engine_checkpoint(const struct engine_checkpoint *c, json_t **ret, struct hearth_err *err)
{
	struct work w = { .c = c, .err = err, .lock = -1, .dump = DUMP_NONE, .t0 = clock_mono_ns() };
	struct store_stats stats = { 0 };
	int r = prepare(&w);

	if (r == 0)
		r = arm(&w);
	if (r == 0)
		r = fault(&w, "ckpt-armed");
	if (r == 0)
		r = precopy(&w);
	w.precopied = clock_mono_ns();
	if (r == 0 && !c->pre_dump)
		r = stop_and_copy(&w);
	if (r == 0)
		r = commit(&w, &stats);
	if (r == 0 && c->stop)
		r = note_parked(&w);
	if (r == 0 && c->stop)
		end_tree(&w);
	if (r < 0 && c->stop && w.released)
		criu_run_on(c->pid);
	if (r == 0)
		r = gpu_end(w.gpu, err);
	if (r == 0)
		*ret = report(&w, &stats);
	clean_up(&w);
	return r;
}

/* ---- series ---- */

int engine_keep(const char *store, const char *name, unsigned keep, struct hearth_err *err)
{
	struct store_entry *list = NULL;
	struct store *s = NULL;
	size_t n = 0, of_it = 0;
	int gone = 0, r = store_open(store, &s, err);

	if (r == 0)
		r = store_list(s, &list, &n, err);
	for (int pass = 0; pass < 2; pass++)
		for (size_t k = 0; k < n && r == 0; k++) {      /* oldest first */
			const char *program = json_string_value(json_object_get(list[k].meta, "program"));

			if (!program || strcmp(program, name) || !json_is_true(json_object_get(list[k].meta, "series")))
				continue;
			if (pass == 0) {
				of_it++;
			} else if (of_it > keep) {
				r = store_rm(s, list[k].name, err);
				of_it--;
				gone += r == 0;
			}
		}
	store_list_free(list, n);
	store_close(s);
	return r < 0 ? r : gone;
}
