/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/proc.h"
#include "ckpt/criu.h"

#define BYTES (16u << 12)
#define SOCKETS_MAX 20000

/* a process some of whose memory a userfaultfd is to bring in, which it hands to @to and (@keep) keeps. One byte on @to: it is so; 'n': not possible here */
static _Noreturn void client(int to, bool keep)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	void *at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = { .range = { (uintptr_t)at, BYTES }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	bool ok = fd >= 0 && at != MAP_FAILED && ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &reg) == 0;

	(void)sock_send_fd(to, ok ? 'y' : 'n', ok ? fd : -1);
	if (!keep)
		fd_close(&fd);
	(void)fd_write_full(to, "k", 1);
	for (;;)
		pause();
}

/* as many as this user may, all of which are closed before what was opened first */
static void open_many(void)
{
	struct rlimit most;

	if (getrlimit(RLIMIT_NOFILE, &most) < 0)
		return;
	most.rlim_cur = most.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &most);
	for (int k = 0; k < SOCKETS_MAX && socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) >= 0; k++)
		;
}

/* what a pager is here: it has the descriptor, and (@many) a lot of others, until @from says so */
static _Noreturn void server(int from, int tell, bool many)
{
	char what = 'n', word;
	int fd = -1;

	(void)sock_recv_fd(from, &what, &fd);
	(void)fd_read_full(from, &word, 1);
	if (many)
		open_many();
	(void)fd_write_full(tell, &what, 1);
	(void)fd_read_full(tell, &word, 1);
	_exit(0);
}

struct pair { pid_t client, server; int to_server; bool possible; };

static struct pair begin(bool keep, bool many)
{
	int a[2], b[2];
	struct pair p;
	char what = 'n';

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
	p.server = fork();
	if (p.server == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(a[0]);
		close(b[0]);
		server(a[1], b[1], many);
	}
	p.client = fork();
	if (p.client == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		client(a[0], keep);
	}
	close(a[0]);
	close(a[1]);
	close(b[1]);
	p.to_server = b[0];
	p.possible = fd_read_full(p.to_server, &what, 1) == 1 && what == 'y';
	return p;
}

static void end(struct pair *p)
{
	kill(p->client, SIGKILL);
	waitpid(p->client, NULL, 0);
	close(p->to_server);
	waitpid(p->server, NULL, 0);
}

static void served_by_another(void **state)
{
	struct pair p = begin(false, false);

	if (p.possible) {
		/* it is told of the end, not of the time */
		assert_int_equal(criu_tree_whole(p.client, 0), -EBUSY);
		assert_int_equal(criu_tree_whole(p.client, 20), -EBUSY);
		assert_int_equal(fd_write_full(p.to_server, "e", 1), 0);
		assert_int_equal(criu_tree_whole(p.client, 3600 * 1000), 0);
	}
	end(&p);
	if (!p.possible)
		skip();
}

static bool is_any(pid_t pid, int fd, const char *link)
{
	return true;
}

/* its descriptors are out of sight long before the kernel has closed all of them, and the memory is let go of */
static void server_on_its_way_out(void **state)
{
	struct pair p = begin(false, true);

	if (p.possible) {
		assert_int_equal(fd_write_full(p.to_server, "e", 1), 0);
		while (proc_any_fd(p.server, is_any))
			;
		assert_int_equal(criu_tree_whole(p.client, 3600 * 1000), 0);
	}
	end(&p);
	if (!p.possible)
		skip();
}

/* its own: nobody's end would change that */
static void its_own(void **state)
{
	struct pair p = begin(true, false);

	if (p.possible) {
		assert_int_equal(fd_write_full(p.to_server, "e", 1), 0);
		assert_int_equal(criu_tree_whole(p.client, 3600 * 1000), -EBUSY);
	}
	end(&p);
	if (!p.possible)
		skip();
}

static void none(void **state)
{
	assert_int_equal(criu_tree_whole(getpid(), 3600 * 1000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(served_by_another),
		cmocka_unit_test(server_on_its_way_out),
		cmocka_unit_test(its_own),
		cmocka_unit_test(none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
