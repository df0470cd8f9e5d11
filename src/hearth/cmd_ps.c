// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <ncurses.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

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

	put(s, "%-24s %-8s %9s %7s %6s %7s %7s  %s", "FUNCTION", "CONTRACT", "REQUESTS", "ERRORS", "QUEUE", "COLD", "WOKEN", "INSTANCES");
	json_array_foreach(functions, i, f) {
		char states[128];

		instance_states(f, states, sizeof(states));
		put(s, "%-24.24s %-8s %9lld %7lld %6lld %7lld %7lld  %s", text(f, "name"), text(f, "contract"), number(f, "requests"), number(f, "errors"),
		    number(f, "queued"), number(f, "cold"), number(f, "wakes"), states);
	}
}

static void put_instances(const struct sink *s, const json_t *instances)
{
	json_t *inst;
	size_t i;

	put(s, "%-34s %-9s %8s %10s %10s %8s %7s", "INSTANCE", "STATE", "PID", "MEMORY", "IMAGE", "SERVED", "FOR");
	json_array_foreach(instances, i, inst) {
		char memory[32], image[32], pid[16] = "-";

		if (number(inst, "pid"))
			snprintf(pid, sizeof(pid), "%lld", number(inst, "pid"));
		put(s, "%-34.34s %-9s %8s %10s %10s %8lld %6llds", text(inst, "id"), text(inst, "state"), pid,
		    cli_bytes(memory, sizeof(memory), (double)number(inst, "memory_bytes")),
		    number(inst, "image_bytes") ? cli_bytes(image, sizeof(image), (double)number(inst, "image_bytes")) : "-", number(inst, "served"),
		    number(inst, "state_s"));
	}
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

int cmd_ps(struct cli *cli, int argc, char **argv)
{
	const struct sink out = { .line = print_line };
	struct hearth_err err;
	json_t *o = NULL;
	int r = CLI_OK;

	if (argc > 2 || (argc == 2 && argv[1][0] == '-'))
		return cli_usage(cli, "at most one name");
	if (fetch(cli, argc == 2 ? argv[1] : "", &o, &err) < 0)
		return cli_fail(cli, &err);
	if (argc == 2 && json_array_size(json_object_get(o, "functions")) == 0) {
		json_decref(o);
		err_set(&err, -ENOENT, "no function \"%s\" is deployed; `hearth ps` lists those that are", argv[1]);
		return cli_fail(cli, &err);
	}
	if (cli->json) {
		r = cli_print_json(o);
	} else {
		put_functions(&out, json_object_get(o, "functions"));
		puts("");
		put_instances(&out, json_object_get(o, "instances"));
	}
	json_decref(o);
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
	char own[32], all[32], slots[128] = "";
	double memory = 0;
	json_t *inst;
	size_t i;
	int row = 0;
	const struct sink out = { .line = screen_line, .ctx = &row };

	json_array_foreach(json_object_get(o, "instances"), i, inst)
		memory += (double)number(inst, "memory_bytes");
	erase();
	if (number(node, "slots"))
		snprintf(slots, sizeof(slots), "  slots %lld of %lld in use, %lld calls wait (%s)", number(node, "slots_busy"), number(node, "slots"),
			 number(node, "slots_waiting"), text(node, "policy"));
	put(&out, "hearth %s  %s  up %llds  instances %s  hearthd %s  parked %lld%s  (q quits)", text(node, "version"), text(node, "gateway"), number(node, "uptime_s"),
	    cli_bytes(all, sizeof(all), memory), cli_bytes(own, sizeof(own), (double)number(node, "memory_bytes")), number(node, "parked"), slots);
	row++;
	put_functions(&out, json_object_get(o, "functions"));
	row++;
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
