// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <ev.h>
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "node/node.h"

static const char usage[] =
	"usage: hearthd [--config FILE] [--run DIR] [--state DIR] [--listen HOST:PORT] [--isolation full|none|auto]\n"
	"               [--libexec DIR] [--log-level error|warn|info|debug] [--ready-fd N]\n"
	"\n"
	"The node daemon; runs in the foreground. `hearth up` starts it, `hearth down` ends it and parks or ends its functions.\n"
	"SIGTERM ends the daemon and leaves the functions running: the next one adopts them. SIGINT is `hearth down`.\n"
	"Ready: a newline on --ready-fd, READY=1 to $NOTIFY_SOCKET.\n";

struct options {
	const char *config, *run, *state, *listen, *isolation, *libexec, *log_level;
	int ready_fd;
};

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "config", 1, NULL, 'c' }, { "run", 1, NULL, 'r' }, { "state", 1, NULL, 's' }, { "listen", 1, NULL, 'l' },
		{ "isolation", 1, NULL, 'i' }, { "libexec", 1, NULL, 'x' }, { "log-level", 1, NULL, 'L' }, { "ready-fd", 1, NULL, 'R' },
		{ "help", 0, NULL, 'h' }, { "version", 0, NULL, 'v' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'c': o->config = optarg; break;
		case 'r': o->run = optarg; break;
		case 's': o->state = optarg; break;
		case 'l': o->listen = optarg; break;
		case 'i': o->isolation = optarg; break;
		case 'x': o->libexec = optarg; break;
		case 'L': o->log_level = optarg; break;
		case 'R': o->ready_fd = atoi(optarg); break;
		case 'h': fputs(usage, stdout); exit(0);
		case 'v': puts("hearthd " HEARTH_VERSION); exit(0);
		default: fputs(usage, stderr); return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "hearthd: unexpected argument \"%s\"\n%s", argv[optind], usage);
		return -EINVAL;
	}
	return 0;
}

static int set_string(char **field, const char *value)
{
	char *copy;

	if (!value)
		return 0;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int set_isolation(struct node_config *cfg, const char *text, struct hearth_err *err)
{
	static const char *const names[] = { "full", "none", "auto" };

	for (int i = 0; text && i < 3; i++)
		if (!strcmp(text, names[i])) {
			cfg->isolation = i;
			return 0;
		}
	return text ? err_set(err, -EINVAL, "--isolation \"%s\": use full, none or auto", text) : 0;
}

static int configure(struct node_config *cfg, const struct options *o, struct hearth_err *err)
{
	int r;

	r = node_config_init(cfg, err);
	if (r == 0 && o->config)
		r = node_config_load(cfg, o->config, err);
	if (r == 0)
		r = set_isolation(cfg, o->isolation, err);
	if (r < 0)
		return r;
	if (set_string(&cfg->run_dir, o->run) < 0 || set_string(&cfg->state_dir, o->state) < 0 || set_string(&cfg->listen, o->listen) < 0 ||
	    set_string(&cfg->libexec_dir, o->libexec) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	log_set_level((enum log_level)cfg->log_level);
	if (o->log_level && log_set_level_named(o->log_level) < 0)
		return err_set(err, -EINVAL, "--log-level \"%s\": use error, warn, info or debug", o->log_level);
	return 0;
}

/* sd_notify(3)'s protocol is one datagram */
static void notify_systemd(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = path ? strlen(path) : 0;
	int FD_AUTO fd = -1;

	if (n < 2 || n >= sizeof(sa.sun_path))
		return;
	memcpy(sa.sun_path, path, n);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		log_warn("cannot tell %s that we are ready: %s", path, strerror(errno));
}

static void on_term(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)events;
	log_info("SIGTERM: the daemon ends, functions go on");
	node_shutdown(w->data, false);
}

static void on_int(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)events;
	log_info("SIGINT: the daemon and its functions end");
	node_shutdown(w->data, true);
}

static int serve(const struct node_config *cfg, const struct options *o, struct hearth_err *err)
{
	struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
	ev_signal term, intr;
	struct node *n;

	if (!loop)
		return err_set(err, -EIO, "no event loop: epoll is not available");
	n = node_new(loop, cfg, err);
	if (!n)
		return err->code;
	ev_signal_init(&term, on_term, SIGTERM);
	ev_signal_init(&intr, on_int, SIGINT);
	term.data = intr.data = n;
	ev_signal_start(loop, &term);
	ev_signal_start(loop, &intr);
	log_info("hearthd %s: gateway on port %u, run folder %s, state folder %s", HEARTH_VERSION, node_gateway_port(n), cfg->run_dir, cfg->state_dir);
	notify_systemd("READY=1");
	if (o->ready_fd >= 0) {
		if (write(o->ready_fd, "\n", 1) < 0)
			log_warn("--ready-fd %d: %s", o->ready_fd, strerror(errno));
		close(o->ready_fd);
	}
	ev_run(loop, 0);
	notify_systemd("STOPPING=1");
	node_free(n);
	log_info("hearthd ended");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .ready_fd = -1 };
	struct node_config cfg;
	struct hearth_err err = { 0 };
	int r;

	if (parse_options(argc, argv, &o) < 0)
		return 2;
	if (o.ready_fd >= 0)
		fd_set_cloexec(o.ready_fd, true);
	signal(SIGPIPE, SIG_IGN);
	r = configure(&cfg, &o, &err);
	if (r == 0)
		r = serve(&cfg, &o, &err);
	if (r < 0)
		fprintf(stderr, "hearthd: %s\n", err.msg);
	node_config_done(&cfg);
	return r < 0 ? 1 : 0;
}
