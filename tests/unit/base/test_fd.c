/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

static bool is_nonblock(int fd) { return fcntl(fd, F_GETFL) & O_NONBLOCK; }
static bool is_cloexec(int fd) { return fcntl(fd, F_GETFD) & FD_CLOEXEC; }

static void test_close_keeps_errno(void **state)
{
	int fd = -1;

	errno = EAGAIN;
	fd_close(&fd);
	fd = 1000000;   /* not open: close() fails */
	fd_close(&fd);
	assert_int_equal(fd, -1);
	assert_int_equal(errno, EAGAIN);
}

static void test_full(void **state)
{
	char in[100000], out[100000];
	int sv[2], status;
	pid_t pid;

	memset(in, 'q', sizeof(in));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(sv[0]);
		_exit(fd_write_full(sv[1], in, sizeof(in)) == 0 ? 0 : 1);
	}
	close(sv[1]);
	assert_int_equal(fd_read_full(sv[0], out, 60000), 60000);
	assert_int_equal(fd_read_full(sv[0], out, sizeof(out)), 40000);        /* end of file before n */
	assert_int_equal(fd_read_full(sv[0], out, sizeof(out)), 0);
	close(sv[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(fd_read_full(-1, out, 1), -EBADF);
	assert_int_equal(fd_write_full(-1, out, 1), -EBADF);
	assert_int_equal(fd_pwrite_full(-1, out, 1, 0), -EBADF);
}

static void test_flags(void **state)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(fd_set_nonblock(ends[0], true), 0);
	assert_true(is_nonblock(ends[0]));
	assert_int_equal(fd_set_nonblock(ends[0], false), 0);
	assert_false(is_nonblock(ends[0]));
	assert_int_equal(fd_set_cloexec(ends[0], true), 0);
	assert_true(is_cloexec(ends[0]));
	assert_int_equal(fd_set_cloexec(-1, true), -EBADF);
	close(ends[0]);
	close(ends[1]);
}

static void test_unix_path(void **state)
{
	char dir[64], path[80], file[80];
	struct stat st;
	int fd, again, c;
	pid_t pid;
	uid_t uid;

	temp_folder(dir);
	snprintf(path, sizeof(path), "%s/s", dir);
	fd = sock_unix_listen(path, 0600);
	assert_true(fd >= 0);
	assert_true(is_nonblock(fd) && is_cloexec(fd));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	c = sock_unix_connect(path);
	assert_true(c >= 0);
	assert_false(is_nonblock(c));
	assert_true(is_cloexec(c));
	assert_int_equal(sock_peer_cred(c, &uid, NULL, &pid), 0);
	assert_int_equal(uid, getuid());
	assert_int_equal(pid, getpid());
	assert_int_equal(sock_unix_listen(path, 0600), -EADDRINUSE);   /* live */
	close(c);
	close(fd);
	again = sock_unix_listen(path, 0666);                           /* stale */
	assert_true(again >= 0);
	close(again);
	unlink(path);
	assert_int_equal(sock_unix_connect(path), -ENOENT);
	snprintf(file, sizeof(file), "%s/f", dir);
	assert_int_equal(file_replace(file, "x", 1, 0600, NULL), 0);
	assert_int_equal(sock_unix_listen(file, 0600), -EADDRINUSE);    /* a file stays */
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(dir_remove(dir), 0);
}

static void test_unix_names(void **state)
{
	char name[64], longer[200];
	int fd, c;

	snprintf(name, sizeof(name), "@hearth-test-%d", getpid());
	fd = sock_unix_listen(name, 0);
	assert_true(fd >= 0);
	c = sock_unix_connect(name);
	assert_true(c >= 0);
	close(c);
	assert_int_equal(sock_unix_listen(name, 0), -EADDRINUSE);
	close(fd);
	assert_int_equal(sock_unix_connect(name), -ECONNREFUSED);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(sock_unix_listen(longer, 0600), -ENAMETOOLONG);
	assert_int_equal(sock_unix_connect(longer), -ENAMETOOLONG);
	assert_int_equal(sock_unix_connect(""), -EINVAL);
	assert_int_equal(sock_unix_connect("@"), -EINVAL);
}

static void test_tcp(void **state)
{
	struct pollfd p;
	uint16_t port = 0;
	int fd, c;

	fd = sock_tcp_listen("127.0.0.1", 0, &port);
	assert_true(fd >= 0);
	assert_true(port != 0);
	assert_true(is_nonblock(fd) && is_cloexec(fd));
	assert_int_equal(sock_tcp_listen("127.0.0.1", port, NULL), -EADDRINUSE);
	c = sock_tcp_connect_start("127.0.0.1", port);
	assert_true(c >= 0);
	p = (struct pollfd){ .fd = c, .events = POLLOUT };
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(sock_error(c), 0);
	close(c);
	close(fd);
	assert_int_equal(sock_tcp_connect_start("not-an-address", 1), -EINVAL);
	c = sock_tcp_connect_start("127.0.0.1", port);  /* nobody there any more */
	if (c >= 0) {
		p = (struct pollfd){ .fd = c, .events = POLLOUT };
		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_int_equal(sock_error(c), -ECONNREFUSED);
		close(c);
	} else {
		assert_int_equal(c, -ECONNREFUSED);
	}
	assert_int_equal(sock_error(-1), -EBADF);
}

static void test_pidfd(void **state)
{
	int fd, status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (;;)
			pause();
	}
	fd = pidfd_of(pid);
	assert_true(fd >= 0);
	assert_int_equal(pidfd_signal(fd, 0), 0);
	assert_int_equal(pidfd_signal(fd, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(pidfd_signal(fd, 0), -ESRCH);
	close(fd);
	assert_int_equal(pidfd_of(-1), -EINVAL);
}

static void test_stop_signals(void **state)
{
	struct signalfd_siginfo info;
	sigset_t before;
	int fd;

	sigprocmask(SIG_BLOCK, NULL, &before);
	fd = fd_stop_signals();
	assert_true(fd >= 0 && is_cloexec(fd));
	for (int k = 0; k < 2; k++) {
		int sig = k ? SIGINT : SIGTERM;

		raise(sig);
		assert_int_equal(read(fd, &info, sizeof(info)), sizeof(info));
		assert_int_equal(info.ssi_signo, sig);
	}
	close(fd);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void test_limit(void **state)
{
	struct rlimit before, now;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = (struct rlimit){ before.rlim_max / 2, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	fd_raise_limit();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_int_equal(now.rlim_cur, before.rlim_max);
	assert_int_equal(now.rlim_max, before.rlim_max);
	setrlimit(RLIMIT_NOFILE, &before);
}

static void test_move_up(void **state)
{
	int kept = dup(0), fd, high;

	close(0);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fd, 0);
	fd = fd_move_up(fd);
	assert_true(fd > 2);
	assert_int_equal(fcntl(0, F_GETFD), -1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	high = fd_move_up(fd);
	assert_int_equal(high, fd);
	assert_int_equal(fd_move_up(-1), -1);
	close(fd);
	if (kept >= 0) {
		assert_int_equal(dup2(kept, 0), 0);
		close(kept);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_move_up),
		cmocka_unit_test(test_close_keeps_errno),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_unix_path),
		cmocka_unit_test(test_unix_names),
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_pidfd),
		cmocka_unit_test(test_stop_signals),
		cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
