/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

void fd_close(int *fd)
{
	int saved = errno;

	/* Linux frees the number even when close() reports an error, so it is never tried again */
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

ssize_t fd_read_full(int fd, void *data, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(fd, (char *)data + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t fd_pread_full(int fd, void *data, size_t n, off_t at)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = pread(fd, (char *)data + done, n - done, at + (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int fd_pwrite_full(int fd, const void *data, size_t n, off_t at)
{
	size_t done = 0;

	while (done < n) {
		ssize_t put = pwrite(fd, (const char *)data + done, n - done, at + (off_t)done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		done += (size_t)put;
	}
	return 0;
}

int fd_write_full(int fd, const void *data, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = write(fd, (const char *)data + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -EIO;    /* a device that takes nothing and says nothing would hold us here for ever */
		done += (size_t)r;
	}
	return 0;
}

static int flag_set(int fd, int get, int set, int flag, bool on)
{
	int flags = fcntl(fd, get), want;

	if (flags < 0)
		return -errno;
	want = on ? flags | flag : flags & ~flag;
	if (want != flags && fcntl(fd, set, want) < 0)
		return -errno;
	return 0;
}

int fd_move_up(int fd)
{
	int saved = errno, up;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	up = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (up >= 0)
		fd_close(&fd);
	errno = saved;
	return up >= 0 ? up : fd;
}

int fd_set_nonblock(int fd, bool on)
{
	return flag_set(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_set_cloexec(int fd, bool on)
{
	return flag_set(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

/* @ret_len: without a trailing NUL for abstract names, where every byte counts */
static int unix_address(const char *path, struct sockaddr_un *ret, socklen_t *ret_len)
{
	size_t n = strlen(path);

	if (n == 0 || strcmp(path, "@") == 0)
		return -EINVAL;
	if (n >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	memcpy(ret->sun_path, path, n);
	if (path[0] == '@')
		ret->sun_path[0] = '\0';
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '@' ? 0 : 1));
	return 0;
}

/*
 * Remove a socket that nobody listens on. Two processes that start in the same instant may both find it stale; whoever must not run twice holds a lock
 * of its own. Anything but a socket is left alone.
 */
static int unix_remove_stale(const char *path, const struct sockaddr_un *sa, socklen_t len, int type)
{
	int fd FD_AUTO = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)sa, len) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

static int unix_listen(const char *path, mode_t mode, int type)
{
	bool bound = false, named = path[0] != '@';
	struct sockaddr_un sa;
	socklen_t len;
	int fd, r;

	r = unix_address(path, &sa, &len);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = bind(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
	if (r == -EADDRINUSE && named) {
		r = unix_remove_stale(path, &sa, len, type);
		if (r == 0 && bind(fd, (struct sockaddr *)&sa, len) < 0)
			r = -errno;
	}
	if (r < 0)
		goto err;
	bound = true;
	/* nobody connects before listen(), so there is no moment with wider permissions */
	if (named && chmod(path, mode) < 0) {
		r = -errno;
		goto err;
	}
	if (listen(fd, SOMAXCONN) < 0) {
		r = -errno;
		goto err;
	}
	return fd;
err:
	if (bound && named)
		unlink(path);
	close(fd);
	return r;
}

int sock_unix_listen(const char *path, mode_t mode)
{
	return unix_listen(path, mode, SOCK_STREAM);
}

int sock_unix_listen_packets(const char *path, mode_t mode)
{
	return unix_listen(path, mode, SOCK_SEQPACKET);
}

static int unix_connect(const char *path, int type)
{
	struct sockaddr_un sa;
	socklen_t len;
	int fd, r;

	r = unix_address(path, &sa, &len);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* a Unix connect happens at once or not at all: after EINTR it may simply be repeated */
	do {
		r = connect(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
	} while (r == -EINTR);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int sock_unix_connect(const char *path)
{
	return unix_connect(path, SOCK_STREAM);
}

int sock_unix_connect_packets(const char *path)
{
	return unix_connect(path, SOCK_SEQPACKET);
}

int sock_unix_connect_packets_now(const char *path)
{
	return unix_connect(path, SOCK_SEQPACKET | SOCK_NONBLOCK);
}

int sock_packet_send(int fd, const void *data, size_t n, int pass, bool wait)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	ssize_t sent;

	if (pass >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass, sizeof(int));
	}
	do {
		sent = sendmsg(fd, &m, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* every descriptor that came, wanted or not; the first is kept */
static void packet_take_fds(struct msghdr *m, int *ret_fd)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = c->cmsg_len >= CMSG_LEN(0) ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t k = 0; k < n; k++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + k * sizeof(int), sizeof(int));
			if (*ret_fd < 0)
				*ret_fd = fd;
			else
				fd_close(&fd);
		}
	}
}

ssize_t sock_packet_recv(int fd, void *data, size_t n, int *ret_fd, bool wait)
{
	char control[CMSG_SPACE(4 * sizeof(int))];
	struct iovec iov = { .iov_base = data, .iov_len = n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t got;

	*ret_fd = -1;
	do {
		got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	packet_take_fds(&m, ret_fd);
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		fd_close(ret_fd);
		return -EMSGSIZE;
	}
	return got;
}

static int address_error(int code)
{
	switch (code) {
	case EAI_SYSTEM:
		return errno != 0 ? -errno : -EIO;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_AGAIN:
		return -EAGAIN;
	default:
		return -EADDRNOTAVAIL;
	}
}

static int tcp_listen_on(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, r;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static int local_port(int fd, uint16_t *ret_port)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	*ret_port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port : ((struct sockaddr_in *)&ss)->sin_port);
	return 0;
}

int sock_tcp_listen(const char *host, uint16_t port, uint16_t *ret_port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
	int fd = -EADDRNOTAVAIL, r;
	char service[6];

	snprintf(service, sizeof(service), "%u", port);
	r = getaddrinfo(host, service, &hints, &list);
	if (r != 0)
		return address_error(r);
	for (const struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next)
		fd = tcp_listen_on(ai);
	freeaddrinfo(list);
	if (fd < 0 || ret_port == NULL)
		return fd;
	r = local_port(fd, ret_port);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int sock_tcp_connect_start(const char *ip, uint16_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	bool is_v4 = inet_pton(AF_INET, ip, &v4.sin_addr) == 1;
	int fd, one = 1, r;

	if (!is_v4 && inet_pton(AF_INET6, ip, &v6.sin6_addr) != 1)
		return -EINVAL;
	fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		goto err;
	r = is_v4 ? connect(fd, (struct sockaddr *)&v4, sizeof(v4)) : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
	if (r < 0 && errno != EINPROGRESS && errno != EINTR)
		goto err;
	return fd;
err:
	r = -errno;
	close(fd);
	return r;
}

int sock_error(int fd)
{
	socklen_t len = sizeof(int);
	int code;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		return -errno;
	return -code;
}

int sock_peer_cred(int fd, uid_t *ret_uid, gid_t *ret_gid, pid_t *ret_pid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	if (ret_uid != NULL)
		*ret_uid = cred.uid;
	if (ret_gid != NULL)
		*ret_gid = cred.gid;
	if (ret_pid != NULL)
		*ret_pid = cred.pid;
	return 0;
}

void fd_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int fd_stop_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* of the thread, also where there are several */
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int pidfd_of(pid_t pid)
{
	int fd = pidfd_open(pid, 0);

	return fd < 0 ? -errno : fd;
}

int pidfd_signal(int pidfd, int sig)
{
	return pidfd_send_signal(pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

int sock_send_fd(int sock, char what, int fd)
{
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c = { 0 };
	struct iovec iov = { &what, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = c.buf;
		m.msg_controllen = sizeof(c.buf);
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);

		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(int));
	}
	while (sendmsg(sock, &m, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int sock_recv_fd(int sock, char *ret_what, int *ret_fd)
{
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c;
	struct iovec iov = { ret_what, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf) };
	struct cmsghdr *h;
	ssize_t n;

	*ret_fd = -1;
	while ((n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC)) < 0)
		if (errno != EINTR)
			return errno == ECONNRESET ? 0 : -errno;
	for (h = CMSG_FIRSTHDR(&m); n > 0 && h; h = CMSG_NXTHDR(&m, h))
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
			memcpy(ret_fd, CMSG_DATA(h), sizeof(int));
	return n > 0;
}
