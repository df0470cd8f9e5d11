/* SPDX-License-Identifier: Apache-2.0 */
#include "tcp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../img.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"

#define MAGIC_TCP_STREAM 0x51465506u
#define STREAM_MAX (256u << 20)
#define TRIES 100
/* states whose own FIN is part of what the kernel counts in the send queue */
#define FIN_SENT (1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 | 1u << TCP_CLOSING | 1u << TCP_LAST_ACK)

/** struct name - an end's address; those of IPv4 as mapped ones. @port: big-endian */
struct name { struct in6_addr ip; in_port_t port; };

/** struct end - one end of a connection. Sequence numbers as of the kernel: rcv_nxt and write_seq */
struct end {
	uint32_t inode;
	int fd, reuse;                  /* reuse: SO_REUSEADDR */
	bool connected, done;
	struct name local, remote;
	uint32_t in_seq, in_len, out_seq, out_len, fin;
	uint8_t *in, *out;
	struct tcp_repair_window window;
};

struct ends {
	struct end *v;
	size_t n, cap;
};

static void stream_path(const char *dir, uint32_t inode, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/tcp-stream-%x.img", dir, (unsigned)inode);
}

/* ---- which ---- */

static int name_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *), struct name *ret)
{
	union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } a;
	socklen_t len = sizeof(a);

	if (get(fd, &a.any, &len) < 0)
		return -errno;
	if (a.any.sa_family == AF_INET6) {
		*ret = (struct name){ .ip = a.v6.sin6_addr, .port = a.v6.sin6_port };
	} else {
		/* a server that listens on both sees it like that */
		*ret = (struct name){ .ip.s6_addr = { [10] = 0xff, [11] = 0xff }, .port = a.v4.sin_port };
		memcpy(&ret->ip.s6_addr[12], &a.v4.sin_addr, 4);
	}
	return 0;
}

static int add(struct ends *e, const char *dir, uint32_t inode, int pidfd, int fd)
{
	char path[PATH_MAX];
	struct end *end;

	stream_path(dir, inode, path);
	if (access(path, F_OK) < 0)
		return 0;
	for (size_t k = 0; k < e->n; k++)
		if (e->v[k].inode == inode)
			return 0;               /* a descriptor's copy */
	if (array_grow((void **)&e->v, &e->cap, e->n + 1, sizeof(*e->v)) < 0)
		return -ENOMEM;
	end = &e->v[e->n];
	*end = (struct end){ .inode = inode };
	end->fd = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (end->fd < 0)
		return -errno;
	e->n++;
	/* it was reset, or never connected: CRIU notes it as closed or connects it again */
	end->connected = name_of(end->fd, getsockname, &end->local) == 0 && name_of(end->fd, getpeername, &end->remote) == 0;
	return 0;
}

static int add_of(struct ends *e, const char *dir, pid_t pid)
{
	FD_AUTO int pidfd = pidfd_of(pid);
	char path[64], link[64];
	struct dirent *f;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = pidfd < 0 ? NULL : opendir(path);
	while (d && r == 0 && (f = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), f->d_name, link, sizeof(link) - 1);

		link[n < 0 ? 0 : n] = '\0';
		if (n > 0 && !strncmp(link, "socket:[", 8))
			r = add(e, dir, (uint32_t)strtoull(link + 8, NULL, 10), pidfd, atoi(f->d_name));
	}
	if (d)
		closedir(d);
	return r;
}

static bool same(const struct name *a, const struct name *b)
{
	return a->port == b->port && !memcmp(&a->ip, &b->ip, sizeof(a->ip));
}

static struct end *other_end(const struct ends *e, const struct end *one)
{
	for (size_t k = 0; k < e->n; k++)
		if (e->v[k].connected && same(&e->v[k].local, &one->remote) && same(&e->v[k].remote, &one->local))
			return &e->v[k];
	return NULL;
}

/* ---- reading ---- */

static void forget(struct end *e)
{
	free(e->in);
	free(e->out);
	e->in = e->out = NULL;
}

/* Return: 0, -EAGAIN (it changed meanwhile), -errno */
static int read_queue(int fd, int queue, uint32_t *ret_seq, uint32_t len, uint8_t **ret)
{
	socklen_t size = sizeof(*ret_seq);
	uint8_t *buf;
	ssize_t n;

	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) < 0 || getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, ret_seq, &size) < 0)
		return -errno;
	if (!len)
		return 0;
	buf = malloc(len + 1ul);
	if (!buf)
		return -ENOMEM;
	n = recv(fd, buf, len + 1ul, MSG_PEEK | MSG_DONTWAIT);
	if (n == (ssize_t)len) {
		*ret = buf;
		return 0;
	}
	n = n < 0 ? -errno : -EAGAIN;
	free(buf);
	return (int)n;
}

static int read_end(struct end *e)
{
	socklen_t info_len = sizeof(struct tcp_info), window_len = sizeof(e->window);
	int in, out, r;
	struct tcp_info info;

	forget(e);
	if (getsockopt(e->fd, IPPROTO_TCP, TCP_INFO, &info, &info_len) < 0 || ioctl(e->fd, SIOCOUTQ, &out) < 0 || ioctl(e->fd, SIOCINQ, &in) < 0 ||
	    getsockopt(e->fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &e->window, &window_len) < 0)
		return -errno;
	e->fin = out && (1u << info.tcpi_state & FIN_SENT);
	e->in_len = (uint32_t)in;
	e->out_len = (uint32_t)out;
	r = read_queue(e->fd, TCP_RECV_QUEUE, &e->in_seq, e->in_len, &e->in);
	if (r == 0)
		r = read_queue(e->fd, TCP_SEND_QUEUE, &e->out_seq, e->out_len - e->fin, &e->out);
	return r;
}

/* Return: what one end has yet to get, the other still has */
static bool covers(const struct end *from, const struct end *to)
{
	return (int32_t)(to->in_seq - (from->out_seq - from->out_len)) >= 0 && (int32_t)(from->out_seq - to->in_seq) >= 0;
}

/* only in repair mode can queues be looked at. It is left without a window probe, and takes SO_REUSEADDR away. */
static int set_repair(struct end *e, bool on)
{
	int value = on ? TCP_REPAIR_ON : TCP_REPAIR_OFF_NO_WP;
	socklen_t len = sizeof(e->reuse);

	if (on && getsockopt(e->fd, SOL_SOCKET, SO_REUSEADDR, &e->reuse, &len) < 0)
		return -errno;
	if (setsockopt(e->fd, IPPROTO_TCP, TCP_REPAIR, &value, sizeof(value)) < 0)
		return -errno;
	return !on && setsockopt(e->fd, SOL_SOCKET, SO_REUSEADDR, &e->reuse, sizeof(e->reuse)) < 0 ? -errno : 0;
}

/* a packet that was under way or held back may come between the two, and then it is there the next time */
static int read_both(struct end *a, struct end *b)
{
	int r = set_repair(a, true), off;

	if (r == 0 && b)
		r = set_repair(b, true);
	if (r == 0)
		r = -EAGAIN;
	for (int k = 0; k < TRIES && r == -EAGAIN; k++) {
		r = read_end(a);
		if (r == 0 && b)
			r = read_end(b);
		if (r == 0 && b && (!covers(a, b) || !covers(b, a)))
			r = -EAGAIN;
	}
	off = b ? set_repair(b, false) : 0;
	if (r == 0)
		r = off;
	off = set_repair(a, false);
	return r ? r : off;
}

/* ---- writing ---- */

/* a field's new value. Return: false: it stays */
static bool renewed(const struct end *e, unsigned number, uint32_t *ret)
{
	switch (number) {
	case 1: *ret = e->in_len; return true;
	case 2: *ret = e->in_seq; return true;
	case 3: *ret = e->out_len - e->fin; return true;
	case 4: *ret = e->out_seq; return true;
	case 12: *ret = 0; return true;         /* not yet sent */
	case 13: *ret = e->window.snd_wl1; return true;
	case 14: *ret = e->window.snd_wnd; return true;
	case 15: *ret = e->window.max_window; return true;
	case 16: *ret = e->window.rcv_wnd; return true;
	case 17: *ret = e->window.rcv_wup; return true;
	default: return false;
	}
}

/* Return: 0, -EBADMSG, -ENOMEM */
static int renew(const struct end *e, const char *text, size_t len, struct buf *ret)
{
	struct img_span file = { (const uint8_t *)text, (const uint8_t *)text + len }, record;
	struct buf message = { 0 };
	struct img_field f;
	uint32_t value, size;
	int got, r = 0;

	if (!img_open(&file, MAGIC_TCP_STREAM) || img_record(&file, &record) != 1)
		return -EBADMSG;
	for (const uint8_t *at = record.p; r == 0 && (got = img_field(&record, &f)) != 0; at = record.p) {
		if (got < 0)
			r = -EBADMSG;
		else if (f.wire == 0 && renewed(e, f.number, &value))
			r = img_put(&message, f.number, value);
		else
			r = buf_append(&message, at, (size_t)(record.p - at));
	}
	size = (uint32_t)message.len;
	if (r == 0)
		r = buf_append(ret, text, 2 * sizeof(uint32_t)) | buf_append(ret, &size, sizeof(size)) | buf_append(ret, buf_head(&message), message.len);
	if (r == 0 && e->in)
		r = buf_append(ret, e->in, e->in_len);
	if (r == 0 && e->out)
		r = buf_append(ret, e->out, e->out_len - e->fin);
	buf_done(&message);
	return r;
}

static int write_end(const struct end *e, const char *dir, struct hearth_err *err)
{
	char path[PATH_MAX], *text = NULL;
	struct buf b = { 0 };
	size_t len = 0;
	int r;

	stream_path(dir, e->inode, path);
	r = file_read(path, STREAM_MAX, &text, &len);
	if (r == 0)
		r = renew(e, text, len, &b);
	if (r == 0) {
		FD_AUTO int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

		r = fd < 0 ? -errno : fd_write_full(fd, buf_head(&b), b.len);
	}
	free(text);
	buf_done(&b);
	return r < 0 ? err_set(err, r, "cannot note the state of a TCP connection in %s: %s", path, strerror(-r)) : 0;
}

static int reread(struct ends *e, struct end *one, const char *dir, struct hearth_err *err)
{
	struct end *other = other_end(e, one);
	int r = read_both(one, other);

	if (r < 0)
		return err_set(err, r, "cannot read a TCP connection of the program (socket %u): %s", one->inode, strerror(-r));
	r = write_end(one, dir, err);
	if (r == 0 && other)
		r = write_end(other, dir, err);
	forget(one);
	one->done = true;
	if (other) {
		forget(other);
		other->done = true;
	}
	return r;
}

int tcp_reread(pid_t root, const char *dir, struct hearth_err *err)
{
	struct ends e = { 0 };
	pid_t *tree = NULL;
	ssize_t n = proc_tree(root, &tree);
	int r = n < 0 ? (int)n : 0;

	for (ssize_t k = 0; k < n && r == 0; k++)
		r = add_of(&e, dir, tree[k]);
	if (r < 0)
		err_set(err, r, "cannot look at the TCP connections of process %d: %s", (int)root, strerror(-r));
	for (size_t k = 0; k < e.n && r == 0; k++)
		if (!e.v[k].done && e.v[k].connected)
			r = reread(&e, &e.v[k], dir, err);
	for (size_t k = 0; k < e.n; k++) {
		forget(&e.v[k]);
		fd_close(&e.v[k].fd);
	}
	free(e.v);
	free(tree);
	return r;
}
