/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <ev.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli.h"
#include "http/server.h"
#include "sched/serve.h"

/* hearth serve: a main around the scheduler's server. Its control socket, signals and /metrics share one loop. */
struct main {
	struct cli *cli;
	struct serve *serve;
	struct http_server *http;
	struct ev_loop *loop;
};

static void on_serve(struct ev_loop *loop, ev_io *io, int events)
{
	serve_step(((struct main *)io->data)->serve);
}

static void on_end(struct ev_loop *loop, ev_signal *s, int events)
{
	ev_break(loop, EVBREAK_ALL);
}

static void on_hangup(struct ev_loop *loop, ev_signal *s, int events)
{
	struct main *m = s->data;
	struct hearth_err err;
	struct buf out = { 0 };

	if (serve_reread(m->serve, &out, &err) < 0)
		log_error("the configuration stays as it was: %s", err.msg);
	else
		log_info("configuration read again: %.*s", (int)out.len, (const char *)buf_head(&out));
	buf_done(&out);
}

static void on_request(void *ctx, struct http_request *req)
{
	struct http_header type = { http_view_of("Content-Type"), http_view_of("text/plain; version=0.0.4; charset=utf-8") };
	struct main *m = ctx;
	struct buf out = { 0 };

	if (!http_view_is(req->path, "/metrics"))
		http_reply_error(req, 404, "NotFound", "hearth serve answers /metrics");
	else if (!http_view_is(req->method, "GET") && !req->head)
		http_reply_error(req, 405, "MethodNotAllowed", "this address is read with GET");
	else if (serve_metrics(m->serve, &out) < 0)
		http_reply_error(req, 500, "OutOfMemory", "out of memory");
	else
		http_reply(req, 200, &type, 1, buf_head(&out), out.len);
	buf_done(&out);
}

static int listen_http(struct main *m, const char *address, struct hearth_err *err)
{
	const char *colon = strrchr(address, ':');
	char host[64], *end;
	unsigned long port = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;

	if (colon == NULL || colon == address || colon[1] < '0' || colon[1] > '9' || *end != '\0' || port > 65535 || (size_t)(colon - address) >= sizeof(host))
		return err_set(err, -EINVAL, "key \"metrics\": \"%s\" is not HOST:PORT", address);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	m->http = http_server_new(m->loop, &(struct http_config){ .host = host, .port = (uint16_t)port, .max_connections = 64 }, on_request, m, err);
	return m->http != NULL ? 0 : err->code;
}

/* One line when everything is ready, for people and for who started us. */
static int announce(const struct main *m)
{
	char address[128];

	serve_address(m->serve, address, sizeof(address));
	if (m->cli->json) {
		json_t *o = json_pack("{s:b,s:s}", "ready", 1, "listen", address);
		int r;

		if (m->http != NULL)
			json_object_set_new(o, "metrics_port", json_integer(http_server_port(m->http)));
		r = cli_print_json(o);
		json_decref(o);
		return r;
	}
	if (m->http != NULL)
		printf("metrics on port %u\n", http_server_port(m->http));
	printf("ready on %s\n", address);
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

static int run(struct main *m, const struct serve_config *config, struct hearth_err *err)
{
	const char *metrics = serve_config_metrics(config);
	ev_signal signals[3];
	ev_io io;
	int r = serve_new(config, &m->serve, err);

	if (r < 0)
		return r;
	m->loop = ev_default_loop(0);
	ev_io_init(&io, on_serve, serve_fd(m->serve), EV_READ);
	io.data = m;
	ev_io_start(m->loop, &io);
	ev_signal_init(&signals[0], on_end, SIGTERM);
	ev_signal_init(&signals[1], on_end, SIGINT);
	ev_signal_init(&signals[2], on_hangup, SIGHUP);
	for (size_t i = 0; i < 3; i++) {
		signals[i].data = m;
		ev_signal_start(m->loop, &signals[i]);
	}
	if (metrics != NULL)
		r = listen_http(m, metrics, err);
	if (r == 0 && announce(m) != CLI_OK)
		r = err_set(err, -EIO, "standard output cannot be written to");
	if (r == 0)
		ev_run(m->loop, 0);
	http_server_free(m->http);
	return r;
}

/* The final figures, with --json. */
static void print_end(const struct main *m)
{
	struct buf out = { 0 };

	if (m->cli->json && serve_explain(m->serve, true, &out) == 0)
		fwrite(buf_head(&out), 1, out.len, stdout);
	buf_done(&out);
}

static int check(struct cli *cli, const struct serve_config *config)
{
	struct buf out = { 0 };
	struct hearth_err err;
	int r = CLI_OK;

	if (serve_check(config, &out, &err) < 0)
		r = cli_fail(cli, &err);
	else if (cli->json)
		printf("{\"ok\":true}\n");
	else
		printf("%.*sthis configuration is right\n", (int)out.len, (const char *)buf_head(&out));
	buf_done(&out);
	return r;
}

static int serve(struct cli *cli, const struct serve_config *config)
{
	struct main m = { .cli = cli };
	struct hearth_err err = { 0 };
	int r = run(&m, config, &err);

	if (r == 0) {
		serve_stop(m.serve);
		print_end(&m);
	}
	serve_free(m.serve, r == 0 ? &err : NULL);
	return err.code != 0 ? cli_fail(cli, &err) : CLI_OK;
}

int cmd_serve(struct cli *cli, int argc, char **argv)
{
	static const struct option longs[] = { { "check", 0, NULL, 'c' }, { 0 } };
	struct serve_config *config = NULL;
	struct hearth_err err;
	bool dry = false;
	int c, r;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'c')
			return cli_usage(cli, "unknown option");
		dry = true;
	}
	if (optind + 1 != argc)
		return cli_usage(cli, "name one configuration file");
	if (serve_config_load(argv[optind], &config, &err) < 0)
		return cli_fail(cli, &err);
	r = dry ? check(cli, config) : serve(cli, config);
	serve_config_free(config);
	return r;
}
