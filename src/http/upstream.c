/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "conn.h"
#include "upstream_conn.h"

/*
 * Every callback into the caller is the last thing that an event does here, so that it may send again or free the pool.
 */

const char *http_outcome_name(enum http_outcome outcome)
{
	static const char *const names[] = { [HTTP_FORWARDED] = "forwarded", [HTTP_CLIENT_GONE] = "client gone", [HTTP_REFUSED] = "refused",
		[HTTP_DIED] = "died", [HTTP_BAD_RESPONSE] = "bad response", [HTTP_DEADLINE] = "deadline" };

	return names[outcome];
}

/* Connections */

static void uc_disconnect(struct upstream_conn *uc)
{
	ev_io_stop(uc->up->loop, &uc->reader);
	ev_io_stop(uc->up->loop, &uc->writer);
	fd_close(&uc->fd);
}

static void uc_free(struct upstream_conn *uc)
{
	uc_disconnect(uc);
	ev_timer_stop(uc->up->loop, &uc->timer);
	LIST_REMOVE(uc, link);
	if (!uc->idle)
		uc->up->n_busy--;
	buf_done(&uc->out);
	buf_done(&uc->in);
	free(uc);
}

static void uc_arm(struct upstream_conn *uc, uint64_t now_ns)
{
	double s = uc->deadline_ns > now_ns ? (double)(uc->deadline_ns - now_ns) / 1e9 : 0.;

	ev_timer_stop(uc->up->loop, &uc->timer);
	ev_timer_set(&uc->timer, s + 0.001, 0.);
	ev_timer_start(uc->up->loop, &uc->timer);
	uc->armed_ns = uc->deadline_ns;
}

static void uc_deadline(struct upstream_conn *uc, uint64_t at_ns)
{
	uc->deadline_ns = at_ns;
	if (at_ns != 0 && (uc->armed_ns == 0 || at_ns < uc->armed_ns))
		uc_arm(uc, clock_mono_ns());
}

static void uc_set_idle(struct upstream_conn *uc)
{
	struct http_upstream *up = uc->up;

	LIST_REMOVE(uc, link);
	LIST_INSERT_HEAD(&up->idle, uc, link);
	up->n_busy--;
	uc->idle = uc->reused = true;
	ev_io_start(up->loop, &uc->reader);	/* sees it closed by the other side */
	uc_deadline(uc, clock_mono_ns() + up->idle_ns);
}

/* The forward is over: connection first, then the reply, then the caller. */
static void uc_finish(struct upstream_conn *uc, enum http_outcome outcome, const char *why)
{
	struct http_forward fw = uc->fw;
	struct http_conn *c = conn_of(fw.req);
	struct http_result result = { .outcome = outcome, .status = uc->status, .body_bytes = uc->body_bytes, .why = why };
	bool begun = outcome != HTTP_CLIENT_GONE && uc->head_done;

	c->forward = NULL;
	fw.req->on_abort = uc->saved_abort;
	fw.req->on_drain = uc->saved_drain;
	if (outcome == HTTP_FORWARDED && uc->keep && uc->sent && !uc->up->closing)
		uc_set_idle(uc);
	else
		uc_free(uc);
	if (outcome == HTTP_FORWARDED)
		(void)http_reply_end(fw.req);
	else if (begun && !reply_take_back(c))
		http_reply_abort(fw.req);
	else if (outcome != HTTP_CLIENT_GONE)
		result.owed = fw.req;
	fw.done(fw.ctx, &result);
}

static void on_client_gone(struct http_request *req)
{
	uc_finish(conn_of(req)->forward, HTTP_CLIENT_GONE, "the client closed its connection");
}

static void on_client_drained(struct http_request *req)
{
	struct upstream_conn *uc = conn_of(req)->forward;

	ev_io_start(uc->up->loop, &uc->reader);
}

/* Opens the socket in the instance's network namespace; only this thread goes there, and comes back before anything else happens. */
static int socket_in_netns(int netns_fd, const char *ip, uint16_t port)
{
	int own, fd;

	if (netns_fd < 0)
		return sock_tcp_connect_start(ip, port);
	own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return -errno;
	if (setns(netns_fd, CLONE_NEWNET) < 0) {
		fd = -errno;
		close(own);
		return fd;
	}
	fd = sock_tcp_connect_start(ip, port);
	if (setns(own, CLONE_NEWNET) < 0) {
		log_error("http: cannot return to the own network namespace: %s", strerror(errno));
		abort();	/* every socket from here on would be an instance's */
	}
	close(own);
	return fd;
}

/* As much of the request as the socket takes. What fails here the reader finds out: there may be an answer that says why. */
static void uc_push(struct upstream_conn *uc)
{
	struct http_view body = uc->fw.req->body;
	struct iovec iov[2] = { { buf_head(&uc->out), uc->out.len }, { (char *)body.data + uc->body_sent, body.len - uc->body_sent } };
	size_t head = uc->out.len, want = head + iov[1].iov_len;
	ssize_t n = iov[1].iov_len > 0 ? writev(uc->fd, iov, 2) : write(uc->fd, iov[0].iov_base, head);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		ev_io_stop(uc->up->loop, &uc->writer);
		return;
	}
	if (n > 0) {
		buf_consume(&uc->out, (size_t)n < head ? (size_t)n : head);
		uc->body_sent += (size_t)n > head ? (size_t)n - head : 0;
	}
	if (n >= 0 && (size_t)n == want) {
		uc->sent = true;
		if (ev_is_active(&uc->writer))
			ev_io_stop(uc->up->loop, &uc->writer);
	} else {
		ev_io_start(uc->up->loop, &uc->writer);
	}
}

static void on_uc_readable(struct ev_loop *loop, struct ev_io *w, int revents);
static void on_uc_writable(struct ev_loop *loop, struct ev_io *w, int revents);

static int uc_connect(struct upstream_conn *uc)
{
	int fd = socket_in_netns(uc->up->netns_fd, uc->up->ip, uc->up->port);

	if (fd < 0)
		return fd;
	uc->fd = fd;
	uc->connecting = true;
	uc->reused = false;
	ev_io_set(&uc->reader, fd, EV_READ);
	ev_io_set(&uc->writer, fd, EV_WRITE);
	ev_io_start(uc->up->loop, &uc->writer);
	return 0;
}

/* From the top, on a connection that is there or is being made. */
static int uc_start(struct upstream_conn *uc)
{
	int r;

	buf_reset(&uc->out);
	buf_reset(&uc->in);
	uc->body_sent = 0;
	uc->sent = uc->any = uc->head_done = uc->keep = false;
	uc->scan = (struct head_scan){ 0 };
	uc->status = 0;
	uc->body_bytes = 0;
	r = forward_head(&uc->fw, uc->up->host, &uc->out);
	if (r == 0 && !uc->connecting)
		uc_push(uc);
	return r;
}

static bool is_idempotent(struct http_view method)
{
	return !http_view_is(method, "POST") && !http_view_is(method, "PATCH");
}

/* Closed by the other side, before or in the middle of the response. */
static void uc_closed(struct upstream_conn *uc, int error)
{
	const char *why = error != 0 ? strerror(error) : "connection closed";
	int r;

	if (uc->head_done && uc->frame.kind == BODY_TO_EOF && error == 0) {
		uc_finish(uc, HTTP_FORWARDED, "");
		return;
	}
	if (!uc->any && uc->reused && !uc->retried && is_idempotent(uc->fw.req->method)) {
		uc->retried = true;
		uc_disconnect(uc);
		r = uc_connect(uc);
		if (r == 0)
			r = uc_start(uc);
		if (r == 0)
			return;
		why = strerror(-r);
	}
	uc_finish(uc, uc->any ? HTTP_DIED : HTTP_REFUSED, why);
}

static void on_uc_writable(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct upstream_conn *uc = w->data;
	int r;

	if (uc->connecting) {
		r = sock_error(uc->fd);
		if (r < 0) {
			uc_closed(uc, -r);
			return;
		}
		uc->connecting = false;
		ev_io_start(loop, &uc->reader);
	}
	uc_push(uc);
}

static void on_uc_readable(struct ev_loop *loop, struct ev_io *w, int revents)
{
	static char scratch[UPSTREAM_READ_BYTES];	/* one thread; nothing reads inside of a read */
	struct upstream_conn *uc = w->data;
	const char *why = "";
	ssize_t n;
	int r;

	if (uc->idle) {		/* closed, or it talks without having been asked */
		uc_free(uc);
		return;
	}
	n = read(uc->fd, scratch, sizeof(scratch));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		uc_closed(uc, n < 0 ? errno : 0);
		return;
	}
	uc->any = true;
	r = forward_input(uc, scratch, (size_t)n, &why);
	if (r > 0)
		uc_finish(uc, HTTP_FORWARDED, "");
	else if (r < 0)
		uc_finish(uc, HTTP_BAD_RESPONSE, why);
	else if (http_reply_full(uc->fw.req))
		ev_io_stop(loop, &uc->reader);		/* until the client has caught up */
}

static void on_uc_timer(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct upstream_conn *uc = w->data;
	uint64_t now_ns = clock_mono_ns();

	uc->armed_ns = 0;
	if (uc->deadline_ns == 0)
		return;
	if (now_ns < uc->deadline_ns)
		uc_arm(uc, now_ns);
	else if (uc->idle)
		uc_free(uc);
	else
		uc_finish(uc, HTTP_DEADLINE, "no complete response before the deadline");
}

/* The pool */

struct http_upstream *http_upstream_new(struct ev_loop *loop, const struct http_upstream_config *config, struct hearth_err *err)
{
	struct http_upstream *up = calloc(1, sizeof(*up));
	struct in6_addr addr;
	bool v6 = inet_pton(AF_INET6, config->ip, &addr) == 1;
	int r;

	if (up == NULL) {
		err_set(err, -ENOMEM, "upstream %s port %u: out of memory", config->ip, config->port);
		return NULL;
	}
	up->netns_fd = -1;
	if (!v6 && inet_pton(AF_INET, config->ip, &addr) != 1) {
		err_set(err, -EINVAL, "upstream %s port %u: not an IP address", config->ip, config->port);
		goto err;
	}
	if (config->netns_fd >= 0) {
		up->netns_fd = fcntl(config->netns_fd, F_DUPFD_CLOEXEC, 0);
		if (up->netns_fd < 0) {
			r = -errno;
			err_set(err, r, "upstream %s port %u: network namespace: %s", config->ip, config->port, strerror(-r));
			goto err;
		}
	}
	up->loop = loop;
	up->port = config->port;
	up->max = config->max_connections > 0 ? config->max_connections : 64;
	up->idle_ns = config->idle_ns > 0 ? config->idle_ns : 30 * NS_PER_S;
	snprintf(up->ip, sizeof(up->ip), "%s", config->ip);
	snprintf(up->host, sizeof(up->host), v6 ? "[%s]:%u" : "%s:%u", up->ip, (unsigned)config->port);
	LIST_INIT(&up->idle);
	LIST_INIT(&up->busy);
	return up;
err:
	free(up);
	return NULL;
}

struct http_upstream *http_upstream_free(struct http_upstream *up)
{
	struct upstream_conn *uc;

	if (up == NULL || up->closing)
		return NULL;
	up->closing = true;
	while ((uc = LIST_FIRST(&up->busy)) != NULL)
		uc_finish(uc, uc->any ? HTTP_DIED : HTTP_REFUSED, "the instance is going away");
	http_upstream_hangup(up);
	fd_close(&up->netns_fd);
	free(up);
	return NULL;
}

static struct upstream_conn *uc_new(struct http_upstream *up)
{
	struct upstream_conn *uc = malloc(sizeof(*uc));

	if (uc == NULL)
		return NULL;
	memset(uc, 0, offsetof(struct upstream_conn, headers));
	uc->up = up;
	uc->fd = -1;
	ev_init(&uc->reader, on_uc_readable);
	ev_init(&uc->writer, on_uc_writable);
	ev_init(&uc->timer, on_uc_timer);
	/* of what one wakeup finds, what is under way is finished before more is begun */
	ev_set_priority(&uc->reader, 1);
	uc->reader.data = uc->writer.data = uc->timer.data = uc;
	LIST_INSERT_HEAD(&up->busy, uc, link);
	up->n_busy++;
	return uc;
}

/* The connection used last, since its other end is likeliest to be awake and in cache. @probe: ask whether it is still open. */
static struct upstream_conn *uc_take_idle(struct http_upstream *up, bool probe)
{
	struct upstream_conn *uc;
	char byte;

	while ((uc = LIST_FIRST(&up->idle)) != NULL) {
		if (!probe || (recv(uc->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN))
			break;
		uc_free(uc);
	}
	if (uc == NULL)
		return NULL;
	LIST_REMOVE(uc, link);
	LIST_INSERT_HEAD(&up->busy, uc, link);
	up->n_busy++;
	uc->idle = false;
	return uc;
}

int http_upstream_send(struct http_upstream *up, const struct http_forward *fw)
{
	struct upstream_conn *uc;
	int r = forward_check(fw);

	if (r < 0)
		return r;
	if (up->closing)
		return -ECONNREFUSED;
	if (up->n_busy >= up->max)
		return -EAGAIN;
	uc = uc_take_idle(up, !is_idempotent(fw->req->method));
	if (uc == NULL) {
		uc = uc_new(up);
		if (uc == NULL)
			return -ENOMEM;
		r = uc_connect(uc);
	}
	uc->fw = *fw;
	uc->retried = false;
	if (r == 0)
		r = uc_start(uc);
	if (r < 0) {
		uc_free(uc);
		return r;
	}
	uc->saved_abort = fw->req->on_abort;
	uc->saved_drain = fw->req->on_drain;
	fw->req->on_abort = on_client_gone;
	fw->req->on_drain = on_client_drained;
	conn_of(fw->req)->forward = uc;
	uc_deadline(uc, fw->deadline_ns);
	return 0;
}

unsigned http_upstream_hangup(struct http_upstream *up)
{
	struct upstream_conn *uc;

	while ((uc = LIST_FIRST(&up->idle)) != NULL)
		uc_free(uc);
	return up->n_busy;
}

unsigned http_upstream_busy(const struct http_upstream *up)
{
	return up->n_busy;
}
