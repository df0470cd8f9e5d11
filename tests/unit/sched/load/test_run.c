/* SPDX-License-Identifier: Apache-2.0 */
/* Runs over UDP against a double: a server in this process that answers, forgets, repeats, delays or garbles as each test says. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "sched/load.h"
#include "sched/wire.h"

/* ---- the double ---- */

enum { DATAGRAM_MAX = 2048 };

/**
 * struct request - one that arrived
 * @n: how many came before
 */
struct request { struct wire_header h; uint8_t data[DATAGRAM_MAX]; size_t len; uint64_t n; struct sockaddr_in from; };

struct udp_double {
	int fd, end;
	pthread_t thread;
	char address[32];
	/* what it does with a request */
	void (*act)(struct udp_double *d, struct request *r);
	struct request kept;            /* for those that answer late */
	atomic_uint_fast64_t seen, ports[8], ports_n, malformed;
	atomic_uint_fast64_t types[8];
};

static void reply_with(struct udp_double *d, const struct request *r, unsigned status, uint32_t queue_ns, uint32_t service_ns)
{
	uint8_t out[WIRE_HEADER_BYTES];

	wire_write(&(struct wire_header){ .kind = WIRE_REPLY, .type = r->h.type, .id = r->h.id, .status = (uint16_t)status, .queue_ns = queue_ns,
		.service_ns = service_ns }, out);
	sendto(d->fd, out, sizeof(out), 0, (const struct sockaddr *)&r->from, sizeof(r->from));
}

static void reply(struct udp_double *d, const struct request *r) { reply_with(d, r, WIRE_OK, 500, 1000); }

static void note_port(struct udp_double *d, uint16_t port)
{
	uint64_t n = atomic_load(&d->ports_n);

	for (uint64_t i = 0; i < n && i < 8; i++)
		if (atomic_load(&d->ports[i]) == port)
			return;
	if (n < 8)
		atomic_store(&d->ports[n], port);
	atomic_store(&d->ports_n, n + 1);
}

static void *double_main(void *arg)
{
	struct udp_double *d = arg;
	struct pollfd p[2] = { { .fd = d->fd, .events = POLLIN }, { .fd = d->end, .events = POLLIN } };
	struct request r = { .n = 0 };

	while (poll(p, 2, -1) > 0 && !(p[1].revents & POLLIN)) {
		socklen_t len = sizeof(r.from);
		ssize_t n = recvfrom(d->fd, r.data, sizeof(r.data), 0, (struct sockaddr *)&r.from, &len);

		if (n < 0)
			continue;
		r.len = (size_t)n;
		if (wire_parse(r.data, r.len, &r.h) < 0 || r.h.kind != WIRE_REQUEST) {
			atomic_fetch_add(&d->malformed, 1);
			continue;
		}
		note_port(d, r.from.sin_port);
		if (r.h.type < 8)
			atomic_fetch_add(&d->types[r.h.type], 1);
		d->act(d, &r);
		r.n++;
		atomic_store(&d->seen, r.n);
	}
	return NULL;
}

static void double_start(struct udp_double *d, void (*act)(struct udp_double *d, struct request *r))
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int size = 4 << 20;

	memset(d, 0, sizeof(*d));
	d->act = act;
	d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	d->end = eventfd(0, EFD_CLOEXEC);
	assert_true(d->fd >= 0 && d->end >= 0);
	if (setsockopt(d->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(d->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	assert_int_equal(bind(d->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(d->fd, (struct sockaddr *)&a, &len), 0);
	snprintf(d->address, sizeof(d->address), "127.0.0.1:%u", ntohs(a.sin_port));
	assert_int_equal(pthread_create(&d->thread, NULL, double_main, d), 0);
}

static void double_stop(struct udp_double *d)
{
	uint64_t one = 1;

	assert_int_equal(write(d->end, &one, sizeof(one)), sizeof(one));
	pthread_join(d->thread, NULL);
	close(d->fd);
	close(d->end);
}

/* ---- runs ---- */

static struct workload *workload;

static struct load_config config(const struct udp_double *d)
{
	/* Nothing here depends on how fast the machine is: the timeout is longer than any hiccup, but in tests that lose on purpose. */
	return (struct load_config){ .target = d->address, .workload = workload, .rate_hz = 2000, .duration_ns = 500 * NS_PER_MS, .threads = 1, .flows = 2,
		.timeout_ns = 20 * NS_PER_S, .seed = 3 };
}

static struct load_result *run(const struct load_config *cfg)
{
	struct hearth_err err = { 0 };
	struct load_result *r = NULL;

	if (load_run(cfg, &r, &err) < 0)
		fail_msg("%s", err.msg);
	return r;
}

static void check_sums(const struct load_result *r)
{
	uint64_t due = 0;

	for (uint32_t t = 0; t < r->workload->types_n; t++) {
		const struct load_series *s = &r->types[t];

		assert_int_equal(s->due, s->unsent + s->answered + s->lost);
		assert_int_equal(s->latency.count, s->ok);
		due += s->due;
	}
	assert_int_equal(r->total.due, due);
}

static void all_answered(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r;

	double_start(&d, (void (*)(struct udp_double *, struct request *))reply);
	cfg = config(&d);
	cfg.threads = 2;
	cfg.arrivals = LOAD_UNIFORM;
	cfg.warmup = 0.25;
	r = run(&cfg);
	double_stop(&d);
	check_sums(r);
	assert_int_equal(r->sent, 1000);
	assert_int_equal(atomic_load(&d.seen), 1000);
	assert_int_equal(r->warmup_due, 250);
	assert_int_equal(r->total.due, 750);
	assert_int_equal(r->total.ok, 750);
	assert_int_equal(r->total.status[WIRE_OK], 750);
	assert_int_equal(r->total.late + r->total.duplicates + r->stray + r->malformed + r->refused, 0);
	assert_int_equal(atomic_load(&d.ports_n), 4);
	assert_int_equal(atomic_load(&d.malformed), 0);
	assert_int_equal(r->lag.count, 1000);
	assert_int_equal(r->total.queue.count, 750);
	assert_int_equal(r->total.service.max, 1000);
	assert_int_equal(r->total.server_slowdown.max, 1500);
	assert_true(load_metric(r, "server_slowdown_p50_long") == 1.5);
	assert_true(fabs(r->offered_hz - 2000) < 1);
	/* the slowdown of spin is relative to what was asked for, 1 us and 100 us, and kept in thousandths */
	assert_int_equal(r->types[0].slowdown.max, r->types[0].latency.max);
	assert_int_equal(r->types[1].slowdown.max, r->types[1].latency.max / 100);
	load_result_free(r);
}

/* More is due at once than goes into a system call. */
static void bursts(void **state)
{
	for (int segment = 0; segment < 2; segment++) {
		struct udp_double d;
		struct load_config cfg;
		struct load_result *r;

		double_start(&d, (void (*)(struct udp_double *, struct request *))reply);
		cfg = config(&d);
		cfg.arrivals = LOAD_UNIFORM;
		cfg.rate_hz = 1e6;
		cfg.duration_ns = 150 * NS_PER_US;         /* no more than a socket's buffer takes */
		cfg.segment = segment;
		r = run(&cfg);
		double_stop(&d);
		check_sums(r);
		assert_int_equal(r->total.ok, 150);
		assert_int_equal(atomic_load(&d.malformed), 0);
		load_result_free(r);
	}
}

static void garbled(struct udp_double *d, struct request *r)
{
	uint8_t bad[4] = "bad!";

	switch (r->n % 5) {
	case 0:                                 /* lost */
		break;
	case 1:                                 /* twice */
		reply(d, r);
		reply(d, r);
		break;
	case 2:
		reply_with(d, r, WIRE_OVERLOAD, 0, 0);
		break;
	case 3:                                 /* to nothing we sent, and no message at all */
		r->h.id += 1000000000;
		reply(d, r);
		r->h.id -= 1000000000;
		sendto(d->fd, bad, sizeof(bad), 0, (const struct sockaddr *)&r->from, sizeof(r->from));
		reply(d, r);
		break;
	default:
		reply(d, r);
	}
}

static void every_kind_of_answer(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r;

	double_start(&d, garbled);
	cfg = config(&d);
	cfg.arrivals = LOAD_UNIFORM;
	cfg.timeout_ns = 3 * NS_PER_S;
	r = run(&cfg);
	double_stop(&d);
	check_sums(r);
	assert_int_equal(r->total.due, 1000);
	assert_int_equal(r->total.lost, 200);
	assert_int_equal(r->total.duplicates, 200);
	assert_int_equal(r->total.status[WIRE_OVERLOAD], 200);
	assert_int_equal(r->total.ok, 600);
	assert_int_equal(r->stray, 200);
	assert_int_equal(r->malformed, 200);
	load_result_free(r);
}

/* The first is answered when the last comes, whenever that is, just before it. */
static void first_comes_last(struct udp_double *d, struct request *r)
{
	if (r->n == 0) {
		d->kept = *r;
		return;
	}
	if (r->n == 799)
		reply(d, &d->kept);
	reply(d, r);
}

static void late_answers(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r;

	double_start(&d, first_comes_last);
	cfg = config(&d);
	cfg.arrivals = LOAD_UNIFORM;
	cfg.rate_hz = 400;
	cfg.duration_ns = 2 * NS_PER_S;
	cfg.timeout_ns = NS_PER_S;
	r = run(&cfg);
	double_stop(&d);
	check_sums(r);
	/* a machine that stands still for a second may lose others; the first is lost on any */
	assert_true(r->total.lost >= 1);
	assert_true(r->total.late >= 1);
	load_result_free(r);
}

static void stalls(struct udp_double *d, struct request *r)
{
	if (r->n == 150)
		poll(NULL, 0, 300);             /* the fault: it does nothing for 300 ms */
	reply(d, r);
}

/* No coordinated omission: whoever would have come during the stall has waited. */
static void a_stall_is_seen(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r;

	double_start(&d, stalls);
	cfg = config(&d);
	cfg.arrivals = LOAD_UNIFORM;
	cfg.rate_hz = 600;
	cfg.duration_ns = NS_PER_S;
	r = run(&cfg);
	double_stop(&d);
	check_sums(r);
	assert_int_equal(r->total.ok, 600);
	/* 180 of the 600 were due during the stall, 120 of them in its first 200 ms, 60 in its first 100 */
	assert_true(hist_quantile(&r->total.latency, 0.99) > 200 * NS_PER_MS);
	assert_true(r->total.latency.count - hist_count_below(&r->total.latency, 100 * NS_PER_MS) >= 115);
	load_result_free(r);
}

static void nothing(struct udp_double *d, struct request *r) { }

static void nobody_answers(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r = NULL;
	struct hearth_err err = { 0 };

	double_start(&d, nothing);
	cfg = config(&d);
	cfg.timeout_ns = 100 * NS_PER_MS;
	assert_int_equal(load_run(&cfg, &r, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "no reply from 127.0.0.1:"));
	assert_non_null(strstr(err.msg, "is hearth serve running there?"));
	double_stop(&d);
	/* and with nobody there */
	assert_int_equal(load_run(&cfg, &r, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.msg, "nothing listens there"));
	assert_null(r);
}

static void talks_rubbish(struct udp_double *d, struct request *r)
{
	sendto(d->fd, "hello", 5, 0, (const struct sockaddr *)&r->from, sizeof(r->from));
}

static void another_protocol(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r = NULL;
	struct hearth_err err = { 0 };

	double_start(&d, talks_rubbish);
	cfg = config(&d);
	cfg.timeout_ns = 100 * NS_PER_MS;
	assert_int_equal(load_run(&cfg, &r, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "does not speak"));
	double_stop(&d);
}

static atomic_bool stop;

static void stops_us(struct udp_double *d, struct request *r)
{
	reply(d, r);
	if (r->n == 300)
		atomic_store(&stop, true);
}

static void stopped_early(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r;

	atomic_store(&stop, false);
	double_start(&d, stops_us);
	cfg = config(&d);
	cfg.duration_ns = 3600 * NS_PER_S;
	cfg.stop = &stop;
	r = run(&cfg);
	double_stop(&d);
	check_sums(r);
	assert_true(r->stopped);
	assert_int_equal(r->total.lost, 0);
	assert_true(r->total.ok >= 300 && r->end_ns < 3600 * NS_PER_S);
	load_result_free(r);
}

static void numbers_on_the_wire(void **state)
{
	static const uint16_t numbers[] = { 5, 2 };
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r;

	double_start(&d, (void (*)(struct udp_double *, struct request *))reply);
	cfg = config(&d);
	cfg.numbers = numbers;
	r = run(&cfg);
	double_stop(&d);
	assert_int_equal(atomic_load(&d.types[5]), r->types[0].due);
	assert_int_equal(atomic_load(&d.types[2]), r->types[1].due);
	load_result_free(r);
}

static void checks_rocksdb(struct udp_double *d, struct request *r)
{
	const uint8_t *p = r->data + WIRE_HEADER_BYTES;
	uint32_t limit;
	uint16_t key_len;
	bool good;

	memcpy(&key_len, p + 2, 2);
	memcpy(&limit, p + 4, 4);
	if (p[0] == WIRE_ROCKSDB_SCAN)
		good = limit == 77 && key_len == 0 && r->h.payload_len == 8;
	else
		good = p[0] == WIRE_ROCKSDB_GET && limit == 0 && key_len == 10 && r->h.payload_len == 18 && memcmp(p + 8, "k000000", 7) == 0;
	reply_with(d, r, good ? WIRE_OK : WIRE_FAILED, 0, 250000);
}

static void rocksdb(void **state)
{
	struct workload *w;
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r = NULL;
	struct hearth_err err = { 0 };

	double_start(&d, checks_rocksdb);
	cfg = config(&d);
	cfg.app = LOAD_ROCKSDB;
	cfg.keys = 1000;
	cfg.scan_limit = 77;
	assert_int_equal(load_run(&cfg, &r, &err), -EINVAL);            /* high-bimodal has no operations */
	assert_non_null(strstr(err.msg, "get, scan or put"));
	assert_int_equal(workload_load("rocksdb", &w, NULL), 0);
	cfg.workload = w;
	r = run(&cfg);
	double_stop(&d);
	assert_int_equal(r->total.ok, r->total.due);
	assert_true(r->total.due > 500);
	/* relative to what the server says that it took */
	assert_int_equal(r->total.slowdown.count, r->total.ok);
	assert_int_equal(r->total.slowdown.max, r->total.latency.max / 250);
	load_result_free(r);
	workload_free(w);
}

static void sends_back(struct udp_double *d, struct request *r)
{
	sendto(d->fd, r->data, r->len, 0, (const struct sockaddr *)&r->from, sizeof(r->from));
}

static void echo(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r;
	struct hearth_err err = { 0 };

	double_start(&d, sends_back);
	cfg = config(&d);
	cfg.app = LOAD_ECHO;
	r = run(&cfg);
	assert_int_equal(r->total.ok, r->total.due);
	load_result_free(r);
	cfg.app = LOAD_SPIN;            /* what comes back is no reply */
	cfg.timeout_ns = 100 * NS_PER_MS;
	assert_int_equal(load_run(&cfg, &r, &err), -EPROTO);
	double_stop(&d);
}

static void reports(void **state)
{
	struct udp_double d;
	struct load_config cfg;
	struct load_result *r;
	json_t *o, *s;
	char *text = NULL;
	size_t len;
	FILE *f;

	double_start(&d, garbled);
	cfg = config(&d);
	cfg.arrivals = LOAD_UNIFORM;
	cfg.duration_ns = 100 * NS_PER_MS;
	cfg.timeout_ns = 2 * NS_PER_S;
	r = run(&cfg);
	double_stop(&d);
	o = load_report_json(&cfg, r);
	assert_non_null(o);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "total"), "lost")), 40);
	s = json_object_get(json_object_get(o, "types"), "short");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(s, "status"), "ok")), (json_int_t)r->types[0].ok);
	assert_true(json_real_value(json_object_get(o, "loss")) > 0.39);
	json_decref(o);
	f = open_memstream(&text, &len);
	load_report_text(f, &cfg, r);
	fclose(f);
	assert_non_null(strstr(text, "overload"));
	assert_non_null(strstr(text, "40 second answers"));
	free(text);
	load_result_free(r);
}

static void wrong_configurations(void **state)
{
	static const struct { const char *target, *why; int rc; } bad[] = {
		{ "127.0.0.1", "ADDRESS:PORT", -EINVAL }, { "127.0.0.1:", "ADDRESS:PORT", -EINVAL }, { ":80", "ADDRESS:PORT", -EINVAL },
		{ "::1:80", "[ADDRESS]:PORT", -EINVAL }, { "[::1", "[ADDRESS]:PORT", -EINVAL }, { "127.0.0.1:0", "1..65535", -EINVAL },
		{ "127.0.0.1:65536", "1..65535", -EINVAL }, { "127.0.0.1:8x", "1..65535", -EINVAL },
		{ "no-such-host.invalid:80", "cannot find the address", -EHOSTUNREACH },
	};
	struct udp_double none = { .address = "127.0.0.1:9" };
	struct load_config cfg = config(&none), c;
	struct load_result *r = NULL;
	struct hearth_err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cfg.target = bad[i].target;
		assert_int_equal(load_run(&cfg, &r, &err), bad[i].rc);
		assert_non_null(strstr(err.msg, bad[i].why));
	}
	cfg.target = none.address;
	c = cfg, c.threads = 0;
	assert_int_equal(load_run(&c, &r, &err), -EINVAL);
	c = cfg, c.flows = LOAD_FLOWS_MAX + 1;
	assert_int_equal(load_run(&c, &r, &err), -EINVAL);
	c = cfg, c.warmup = 1;
	assert_int_equal(load_run(&c, &r, &err), -EINVAL);
	c = cfg, c.timeout_ns = 0;
	assert_int_equal(load_run(&c, &r, &err), -EINVAL);
	c = cfg, c.rate_hz = -1;
	assert_int_equal(load_run(&c, &r, &err), -EINVAL);
	assert_null(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_answered), cmocka_unit_test(bursts), cmocka_unit_test(every_kind_of_answer), cmocka_unit_test(late_answers), cmocka_unit_test(a_stall_is_seen),
		cmocka_unit_test(nobody_answers), cmocka_unit_test(another_protocol), cmocka_unit_test(stopped_early), cmocka_unit_test(numbers_on_the_wire),
		cmocka_unit_test(rocksdb), cmocka_unit_test(echo), cmocka_unit_test(reports), cmocka_unit_test(wrong_configurations),
	};
	int failed;

	if (workload_load("high-bimodal", &workload, NULL) < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	workload_free(workload);
	return failed;
}
