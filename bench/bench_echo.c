// SPDX-License-Identifier: Apache-2.0
/*
 * Bare echo on a packet backend, on one thread, and clients for it and for `hearth serve` on ordinary sockets: what a backend can do without a scheduler.
 *
 *   bench_echo serve --listen A:P [--backend B] [--interface I] [--queue N] [--eal "WORDS"] [--buffers N] [--cpu N] [--sleep]
 *       says "ready ADDRESS" when it is, and its counters as JSON when told to end (SIGTERM)
 *   bench_echo flood A:P [--seconds S] [--window W] [--cpu N] [--spin NS]    so many requests on their way at a time; prints answers/s as JSON
 *   bench_echo ping  A:P [--count N] [--cpu N] [--spin NS]                   one at a time; prints round trips as JSON
 *
 * A request is one of `hearth serve` for the application `spin`, type 0.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hist.h"
#include "sched/net.h"
#include "sched/wire.h"

#define BATCH 32
#define SIZE (WIRE_HEADER_BYTES + WIRE_SPIN_BYTES)
#define LOST_NS (200 * NS_PER_MS)
#define LOST_MAX 20                     /* then nobody is there */

struct options {
	struct net_config net;
	bool sleep;
	int cpu;
	double seconds;
	unsigned window;
	uint64_t count, spin_ns;
};

static volatile sig_atomic_t stop;

static void on_stop(int sig)
{
	stop = 1;
}

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fprintf(stderr, "cpu %d: %s\n", cpu, strerror(errno));
}

/* ---- server ---- */

static void echo(struct net_port *p, bool may_sleep)
{
	const struct net_backend *b = p->ops;
	struct net_buf *bufs[BATCH];
	struct pollfd pfd = { .fd = b->fd(p), .events = POLLIN };

	while (!stop) {
		unsigned n = b->rx(p, bufs, BATCH);

		if (n > 0)
			b->tx(p, 0, bufs, n);
		else if (may_sleep && pfd.fd >= 0 && b->arm(p))
			poll(&pfd, 1, 1000);
	}
}

static int serve(struct options *o)
{
	const struct net_backend *b = net_backend_find(o->net.backend);
	struct net_counters c;
	struct net_port *p;
	struct hearth_err err;
	char address[64], words[256] = "";

	if (b == NULL) {
		fprintf(stderr, "no backend %s\n", o->net.backend);
		return 2;
	}
	/* queue 0 is the receiver's: the thread that receives transmits */
	o->net.tx_queues = 0;
	if (b->open(&o->net, &p, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	pin(o->cpu);
	b->address(p, address, sizeof(address));
	if (p->ops->describe != NULL)
		p->ops->describe(p, words, sizeof(words));
	printf("ready %s %s\n", address, words);
	fflush(stdout);
	echo(p, o->sleep);
	b->counters(p, &c);
	printf("{\"rx\": %" PRIu64 ", \"tx\": %" PRIu64 ", \"rx_bytes\": %" PRIu64 ", \"tx_bytes\": %" PRIu64 ", \"rx_dropped\": %" PRIu64
	       ", \"tx_dropped\": %" PRIu64 ", \"rx_malformed\": %" PRIu64 "}\n", c.rx, c.tx, c.rx_bytes, c.tx_bytes, c.rx_dropped, c.tx_dropped, c.rx_malformed);
	b->close(p);
	return 0;
}

/* ---- clients ---- */

static int connect_to(const char *to)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	const char *colon = strrchr(to, ':');
	char host[64] = "";
	int fd = socket(AF_INET, SOCK_DGRAM, 0), bytes = 4 << 20;

	if (colon != NULL && (size_t)(colon - to) < sizeof(host))
		memcpy(host, to, (size_t)(colon - to));
	a.sin_port = htons((uint16_t)atoi(colon != NULL ? colon + 1 : ""));
	if (fd < 0 || inet_pton(AF_INET, host, &a.sin_addr) != 1 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		fprintf(stderr, "%s: %s\n", to, strerror(errno));
		exit(1);
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	return fd;
}

static void write_request(uint8_t *out, uint64_t id, uint64_t spin_ns)
{
	struct wire_header h = { .kind = WIRE_REQUEST, .id = id, .payload_len = WIRE_SPIN_BYTES };

	wire_write(&h, out);
	for (int i = 0; i < WIRE_SPIN_BYTES; i++)
		out[WIRE_HEADER_BYTES + i] = (uint8_t)(spin_ns >> 8 * i);
}

static uint64_t id_of(const uint8_t *data)
{
	uint64_t id;

	memcpy(&id, data + 8, sizeof(id));
	return id;
}

/* One answer first: until the neighbour is known, kernels hold only a few datagrams back and drop the others. */
static bool introduce(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint8_t out[SIZE], in[2048];

	write_request(out, 0, 0);
	for (int i = 0; i < LOST_MAX; i++)
		if (send(fd, out, sizeof(out), 0) > 0 && poll(&pfd, 1, 500) == 1)
			return recv(fd, in, sizeof(in), 0) > 0;
	fprintf(stderr, "no answer\n");
	return false;
}

static int flood(int fd, const struct options *o)
{
	uint8_t out[BATCH][SIZE], in[BATCH][2048];
	struct iovec out_iov[BATCH], in_iov[BATCH];
	struct mmsghdr out_msg[BATCH] = { 0 }, in_msg[BATCH] = { 0 };
	uint64_t id = 0, answers = 0, lost = 0, begin = clock_mono_ns(), end = begin + (uint64_t)(o->seconds * 1e9), heard = begin, now = begin;
	unsigned inside = 0;

	for (int i = 0; i < BATCH; i++) {
		out_iov[i] = (struct iovec){ out[i], SIZE };
		in_iov[i] = (struct iovec){ in[i], sizeof(in[i]) };
		out_msg[i].msg_hdr = (struct msghdr){ .msg_iov = &out_iov[i], .msg_iovlen = 1 };
		in_msg[i].msg_hdr = (struct msghdr){ .msg_iov = &in_iov[i], .msg_iovlen = 1 };
	}
	while (now < end) {
		unsigned want = o->window - inside < BATCH ? o->window - inside : BATCH;
		int n;

		for (unsigned i = 0; i < want; i++)
			write_request(out[i], id + i, o->spin_ns);
		n = want > 0 ? sendmmsg(fd, out_msg, want, 0) : 0;
		if (n > 0) {
			id += (unsigned)n;
			inside += (unsigned)n;
		}
		n = recvmmsg(fd, in_msg, BATCH, MSG_DONTWAIT, NULL);
		now = clock_mono_ns();
		if (n > 0) {
			answers += (unsigned)n;
			inside -= (unsigned)n < inside ? (unsigned)n : inside;
			heard = now;
		} else if (now - heard > LOST_NS) {
			lost += inside;
			inside = 0;
			heard = now;
		}
	}
	printf("{\"answers\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"rps\": %.0f}\n", answers, lost, (double)answers * 1e9 / (double)(now - begin));
	return answers > 0 ? 0 : 1;
}

static int ping(int fd, const struct options *o)
{
	static struct hist h;
	uint8_t out[SIZE], in[2048];
	uint64_t lost = 0;

	for (uint64_t id = 0; id < o->count && lost < LOST_MAX; id++) {
		uint64_t begin = clock_mono_ns(), now = begin;
		bool heard = false;

		write_request(out, id, o->spin_ns);
		if (send(fd, out, sizeof(out), 0) < 0) {
			perror("send");
			return 1;
		}
		while (!heard && now - begin < LOST_NS) {
			ssize_t n = recv(fd, in, sizeof(in), MSG_DONTWAIT);

			now = clock_mono_ns();
			heard = n >= WIRE_HEADER_BYTES && id_of(in) == id;
		}
		if (heard)
			hist_record(&h, now - begin);
		else
			lost++;
	}
	printf("{\"count\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f}\n", h.count, lost,
	       (double)hist_quantile(&h, 0.5) / 1e3, (double)hist_quantile(&h, 0.99) / 1e3, (double)hist_quantile(&h, 0.999) / 1e3);
	return lost < LOST_MAX && h.count > 0 ? 0 : 1;
}

/* ---- command line ---- */

#define WORDS_MAX 63

/* words separated by blanks */
static char **split(char *text)
{
	static char *out[WORDS_MAX + 1];
	size_t n = 0;
	char *save;

	for (char *w = strtok_r(text, " ", &save); w != NULL && n < WORDS_MAX; w = strtok_r(NULL, " ", &save))
		out[n++] = w;
	out[n] = NULL;
	return out;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "listen", 1, NULL, 'l' }, { "backend", 1, NULL, 'b' }, { "interface", 1, NULL, 'i' }, { "queue", 1, NULL, 'q' }, { "eal", 1, NULL, 'e' },
		{ "buffers", 1, NULL, 'n' }, { "cpu", 1, NULL, 'c' }, { "sleep", 0, NULL, 'z' }, { "seconds", 1, NULL, 's' }, { "window", 1, NULL, 'w' },
		{ "count", 1, NULL, 'k' }, { "spin", 1, NULL, 'p' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (c) {
		case 'l': o->net.listen = optarg; break;
		case 'b': o->net.backend = optarg; break;
		case 'i': o->net.interface = optarg; break;
		case 'q': o->net.queue = (uint32_t)atoi(optarg); break;
		case 'e': o->net.eal = split(optarg); break;
		case 'n': o->net.buffers = (uint32_t)atoi(optarg); break;
		case 'c': o->cpu = atoi(optarg); break;
		case 'z': o->sleep = true; break;
		case 's': o->seconds = atof(optarg); break;
		case 'w': o->window = (unsigned)atoi(optarg); break;
		case 'k': o->count = strtoull(optarg, NULL, 10); break;
		case 'p': o->spin_ns = strtoull(optarg, NULL, 10); break;
		default: return -1;
		}
	return optind;
}

int main(int argc, char **argv)
{
	struct options o = { .net.backend = "udp", .net.listen = "127.0.0.1:0", .cpu = -1, .seconds = 3, .window = 32, .count = 50000 };
	const struct sigaction sa = { .sa_handler = on_stop };
	int at = parse(argc, argv, &o), fd;

	if (at < 0 || at >= argc) {
		fprintf(stderr, "usage: bench_echo serve|flood|ping [ADDRESS:PORT] [OPTION]...\n");
		return 2;
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	if (!strcmp(argv[at], "serve"))
		return serve(&o);
	if (at + 1 >= argc)
		return 2;
	pin(o.cpu);
	fd = connect_to(argv[at + 1]);
	if (!introduce(fd))
		return 1;
	return !strcmp(argv[at], "flood") ? flood(fd, &o) : ping(fd, &o);
}
