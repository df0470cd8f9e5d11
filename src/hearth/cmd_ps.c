// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <ncurses.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/keeper.h"
#include "ckpt/program.h"
#include "ckpt/store.h"
#include "cli.h"
#include "program_cli.h"

const char *cli_bytes(char *out, size_t n, double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	int u = 0;

	while (bytes >= 1024 && u < 4) {
		bytes /= 1024;
		u++;
	}
	snprintf(out, n, bytes < 10 && u > 0 ? "%.1f %s" : "%.0f %s", bytes, units[u]);
	return out;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static long long number(const json_t *o, const char *key)
{
	return (long long)json_number_value(json_object_get(o, key));
}

/* a table goes to standard output or to the screen */
struct sink {
	void (*line)(void *ctx, const char *text);
	void *ctx;
};

static void put(const struct sink *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(const struct sink *s, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	s->line(s->ctx, line);
}

static void instance_states(const json_t *function, char *out, size_t n)
{
	const char *state;
	json_t *count;
	size_t used = 0;

	out[0] = '\0';
	json_object_foreach(json_object_get(function, "instances"), state, count)
		if (used < n)
			used += (size_t)snprintf(out + used, n - used, "%s%lld %s", used ? ", " : "", (long long)json_integer_value(count), state);
	if (!used)
		snprintf(out, n, "none");
}

static void put_functions(const struct sink *s, const json_t *functions)
{
	json_t *f;
	size_t i;

	put(s, "%-24s %-8s %9s %7s %6s %7s %7s %7s  %s", "FUNCTION", "CONTRACT", "REQUESTS", "ERRORS", "QUEUE", "COLD", "WOKEN", "WARM", "INSTANCES");
	json_array_foreach(functions, i, f) {
		char states[128];

		instance_states(f, states, sizeof(states));
		put(s, "%-24.24s %-8s %9lld %7lld %6lld %7lld %7lld %7lld  %s", text(f, "name"), text(f, "contract"), number(f, "requests"), number(f, "errors"),
		    number(f, "queued"), number(f, "cold"), number(f, "wakes"), number(f, "warm"), states);
	}
}

static void put_instances(const struct sink *s, const json_t *instances)
{
	json_t *inst;
	size_t i;

	put(s, "%-34s %-9s %8s %10s %10s %10s %8s %7s %7s", "INSTANCE", "STATE", "PID", "MEMORY", "AWAY", "IMAGE", "SERVED", "FOR", "WORKERS");
	json_array_foreach(instances, i, inst) {
		long long remote = number(json_object_get(inst, "memory"), "remote_bytes");
		char memory[32], away[32], image[32], pid[16] = "-", workers[16] = "-";

		if (number(inst, "pid"))
			snprintf(pid, sizeof(pid), "%lld", number(inst, "pid"));
		if (json_is_integer(json_object_get(inst, "workers")))
			snprintf(workers, sizeof(workers), "%lld", number(inst, "workers"));
		put(s, "%-34.34s %-9s %8s %10s %10s %10s %8lld %6llds %7s", text(inst, "id"), text(inst, "state"), pid,
		    cli_bytes(memory, sizeof(memory), (double)number(inst, "memory_bytes")), remote ? cli_bytes(away, sizeof(away), (double)remote) : "-",
		    number(inst, "image_bytes") ? cli_bytes(image, sizeof(image), (double)number(inst, "image_bytes")) : "-", number(inst, "served"),
		    number(inst, "state_s"), workers);
	}
}

/* whose memory is not moved, where an engine moves it */
static void put_left_alone(const struct sink *s, const json_t *answer)
{
	json_t *instances = json_object_get(answer, "instances"), *inst;
	size_t i;

	if (!json_is_true(json_object_get(json_object_get(json_object_get(answer, "node"), "farmem"), "up")))
		return;
	json_array_foreach(instances, i, inst) {
		const char *why = json_string_value(json_object_get(inst, "memory_left_alone"));

		if (why)
			put(s, "%s: its memory is left alone: %s", text(inst, "id"), why);
	}
}

/* where memory has been moved at all: how much, and what it cost to come back */
static void put_memory(const struct sink *s, const json_t *functions)
{
	bool head = false;
	json_t *f;
	size_t i;

	json_array_foreach(functions, i, f) {
		const json_t *m = json_object_get(f, "memory");
		char here[32], away[32], moved[32];

		if (!number(m, "offloaded_bytes"))
			continue;
		if (!head)
			put(s, "%-24s %10s %10s %10s %9s %9s %9s %10s %7s", "MEMORY OF", "HERE", "AWAY", "MOVED", "FAULTS", "P50 us", "P99 us", "PREFETCHED", "HITS");
		head = true;
		put(s, "%-24.24s %10s %10s %10s %9lld %9.1f %9.1f %10lld %6.0f%%", text(f, "name"), cli_bytes(here, sizeof(here), (double)number(m, "resident_bytes")),
		    cli_bytes(away, sizeof(away), (double)number(m, "remote_bytes")), cli_bytes(moved, sizeof(moved), (double)number(m, "offloaded_bytes")), number(m, "faults"),
		    json_number_value(json_object_get(m, "fault_p50_us")), json_number_value(json_object_get(m, "fault_p99_us")), number(m, "prefetched_pages"),
		    number(m, "prefetched_pages") ? 100.0 * (double)number(m, "prefetch_hits") / (double)number(m, "prefetched_pages") : 0.0);
	}
	if (head)
		put(s, "%s", "");
}

static int fetch(struct cli *cli, const char *name, json_t **ret, struct hearth_err *err)
{
	json_t *request = json_pack("{s:s,s:s}", "op", "ps", "name", name);
	int r = request ? ctl_call(cli, request, ret, err) : err_set(err, -EINVAL, "the name is not UTF-8 text");

	json_decref(request);
	return r;
}

static void print_line(void *ctx, const char *line)
{
	(void)ctx;
	puts(line);
}

/* ---- programs ---- */

/* what the keeper holds of parked programs; none: nothing is said of it */
struct held { struct keeper_held *v; size_t n; };

static void learn_held(struct cli *cli, struct held *ret)
{
	char path[PATH_MAX];
	struct hearth_err err;
	struct keeper *k = NULL;

	*ret = (struct held){ 0 };
	snprintf(path, sizeof(path), "%s/keeper.sock", cli->run_dir);
	if (keeper_connect(path, &k, &err) == 0)
		(void)keeper_held(k, &ret->v, &ret->n, &err);
	keeper_close(k);
}

static uint64_t held_of(const struct held *held, const json_t *meta)
{
	const char *name = json_string_value(json_object_get(json_object_get(meta, "gpu"), "hold"));

	for (size_t k = 0; name && k < held->n; k++)
		if (!strcmp(held->v[k].name, name))
			return held->v[k].bytes;
	return 0;
}

/* the names of a program's images, in one store, the newest last. @ret_held: device memory of the one that it is parked in */
static void add_images(const char *dir, const struct program *p, const struct held *held, json_t *images, uint64_t *ret_held)
{
	struct store_entry *list = NULL;
	struct store *s = NULL;
	char path[PATH_MAX + 16];
	struct hearth_err err;
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/store.json", dir);
	if (access(path, F_OK) < 0)
		return;                 /* opening it would make it */
	if (store_open(dir, &s, &err) == 0 && store_list(s, &list, &n, &err) == 0)
		for (size_t k = 0; k < n; k++) {
			const char *of = json_string_value(json_object_get(list[k].meta, "program"));

			if (!of || strcmp(of, p->name))
				continue;
			json_array_append_new(images, json_string(list[k].name));
			if (p->state == PROGRAM_PARKED && p->image && !strcmp(p->image, list[k].name))
				*ret_held += held_of(held, list[k].meta);
		}
	store_list_free(list, n);
	store_close(s);
}

static json_t *describe_program(struct cli *cli, const struct program *p, const struct held *held)
{
	uint64_t held_bytes = 0;
	json_t *images = json_array();
	struct program_cli pc;
	struct hearth_err err;
	char memory[PATH_MAX];

	if (program_cli_init(&pc, cli, NULL, &err) == 0) {
		memory_store_dir(memory);
		add_images(pc.store, p, held, images, &held_bytes);
		add_images(memory, p, held, images, &held_bytes);
		if (p->store && strcmp(p->store, pc.store) && strcmp(p->store, memory))
			add_images(p->store, p, held, images, &held_bytes);
		program_cli_done(&pc);
	}
	return json_pack("{s:s,s:s,s:i,s:b,s:O*,s:s*,s:s*,s:o,s:I}", "name", p->name, "state", program_state_name(p->state), "pid", p->state == PROGRAM_RUNNING ? (int)p->pid : 0, "detached",
			 p->detached, "argv", p->argv, "store", p->store, "image", p->image, "images", images,
			 "held_bytes", (json_int_t)held_bytes);
}

/* Return: array of programs, of one name only if it is not empty */
static json_t *programs(struct cli *cli, const char *name)
{
	struct program *list = NULL;
	struct hearth_err err;
	json_t *out = json_array();
	struct held held;
	size_t n = 0;

	learn_held(cli, &held);
	if (program_list(cli->run_dir, &list, &n, &err) < 0)
		n = 0;
	for (size_t k = 0; k < n; k++) {
		if (!*name || !strcmp(name, list[k].name))
			json_array_append_new(out, describe_program(cli, &list[k], &held));
		program_done(&list[k]);
	}
	free(list);
	free(held.v);
	return out;
}

static void put_programs(const struct sink *s, const json_t *list)
{
	json_t *p;
	size_t i;

	if (!json_array_size(list))
		return;
	put(s, "%-24s %-8s %8s %9s  %s", "PROGRAM", "STATE", "PID", "HELD", "IMAGES");
	json_array_foreach(list, i, p) {
		const json_t *images = json_object_get(p, "images");
		size_t n = json_array_size(images);
		char pid[16] = "-", more[64] = "none", held[32] = "-";

		if (number(p, "pid"))
			snprintf(pid, sizeof(pid), "%lld", number(p, "pid"));
		if (number(p, "held_bytes"))
			cli_bytes(held, sizeof(held), (double)number(p, "held_bytes"));
		if (n > 1)
			snprintf(more, sizeof(more), ", and %zu before", n - 1);
		put(s, "%-24.24s %-8s %8s %9s  %s%s", text(p, "name"), text(p, "state"), pid, held, n ? json_string_value(json_array_get(images, n - 1)) : "", n == 1 ? "" : more);
	}
}

int cmd_ps(struct cli *cli, int argc, char **argv)
{
	const struct sink out = { .line = print_line };
	const char *name = argc == 2 ? argv[1] : "";
	struct hearth_err err = { 0 };
	json_t *o = NULL, *ours;
	bool daemon;
	int r = CLI_OK;

	if (argc > 2 || *name == '-')
		return cli_usage(cli, "at most one name");
	daemon = fetch(cli, name, &o, &err) == 0;
	ours = programs(cli, name);
	if (daemon && *name && !json_array_size(json_object_get(o, "functions")) && !json_array_size(ours)) {
		err_set(&err, -ENOENT, "no function \"%s\" is deployed, and no program is called that; `hearth ps` lists them", name);
		r = cli_fail(cli, &err);
	} else if (!daemon && (!json_array_size(ours) || err.code == -EACCES)) {
		r = cli_fail(cli, &err);        /* without a daemon programs are all there is; one that must not be asked is another matter */
	} else if (cli->json) {
		if (!daemon)
			o = json_object();
		json_object_set(o, "programs", ours);
		r = cli_print_json(o);
	} else {
		if (daemon) {
			put_functions(&out, json_object_get(o, "functions"));
			puts("");
			put_memory(&out, json_object_get(o, "functions"));
			put_instances(&out, json_object_get(o, "instances"));
			put_left_alone(&out, o);
		}
		if (daemon && json_array_size(ours))
			puts("");
		put_programs(&out, ours);
	}
	json_decref(o);
	json_decref(ours);
	return r;
}

/* ---- top ---- */

static void screen_line(void *ctx, const char *line)
{
	int *row = ctx;

	if (*row < LINES)
		mvaddnstr((*row)++, 0, line, COLS);
}

static void draw(const json_t *o)
{
	const json_t *node = json_object_get(o, "node");
	char own[32], all[32], pool[32], away[64] = "", slots[128] = "";
	double memory = 0, remote = 0, pooled = (double)number(json_object_get(node, "farmem"), "pool_bytes");
	json_t *inst;
	size_t i;
	int row = 0;
	const struct sink out = { .line = screen_line, .ctx = &row };

	json_array_foreach(json_object_get(o, "instances"), i, inst) {
		memory += (double)number(inst, "memory_bytes");
		remote += (double)number(json_object_get(inst, "memory"), "remote_bytes");
	}
	erase();
	if (remote > 0)
		snprintf(away, sizeof(away), " + %s away", cli_bytes(pool, sizeof(pool), remote));
	if (number(node, "slots"))
		snprintf(slots, sizeof(slots), "  slots %lld of %lld in use, %lld calls wait (%s)", number(node, "slots_busy"), number(node, "slots"),
			 number(node, "slots_waiting"), text(node, "policy"));
	put(&out, "hearth %s  %s  up %llds  instances %s%s  pool %s  hearthd %s  parked %lld%s  (q quits)", text(node, "version"), text(node, "gateway"), number(node, "uptime_s"),
	    cli_bytes(all, sizeof(all), memory), away, cli_bytes(pool, sizeof(pool), pooled), cli_bytes(own, sizeof(own), (double)number(node, "memory_bytes")), number(node, "parked"), slots);
	row++;
	put_functions(&out, json_object_get(o, "functions"));
	row++;
	put_memory(&out, json_object_get(o, "functions"));
	put_instances(&out, json_object_get(o, "instances"));
	refresh();
}

static int top_loop(struct cli *cli, int interval_ms, struct hearth_err *err)
{
	int key = ERR, r = 0;

	initscr();
	cbreak();
	noecho();
	curs_set(0);
	timeout(interval_ms);
	while (r == 0 && key != 'q' && key != 'Q') {
		json_t *o = NULL;

		r = fetch(cli, "", &o, err);
		if (r == 0) {
			draw(o);
			key = getch();
		}
		json_decref(o);
	}
	endwin();
	return r;
}

int cmd_top(struct cli *cli, int argc, char **argv)
{
	struct hearth_err err;
	double interval_s = 1;
	char *end;

	if (argc == 3 && !strcmp(argv[1], "--interval")) {
		interval_s = strtod(argv[2], &end);
		if (*end || !(interval_s >= 0.1 && interval_s <= 3600))
			return cli_usage(cli, "--interval takes 0.1 to 3600 seconds");
	} else if (argc > 1) {
		return cli_usage(cli, "unknown argument");
	}
	if (cli->json)          /* a screen is for eyes: one line each time for machines */
		return cmd_ps(cli, 1, argv);
	return top_loop(cli, (int)(interval_s * 1000), &err) < 0 ? cli_fail(cli, &err) : CLI_OK;
}
