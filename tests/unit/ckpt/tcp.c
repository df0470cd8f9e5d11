/* SPDX-License-Identifier: Apache-2.0 */
#include "tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../img.h"
#include "base/fd.h"
#include "base/file.h"

#define MAGIC_COMMON 0x54564319u
#define MAGIC_TCP_STREAM 0x51465506u

/* as CRIU writes it: lengths and numbers of another moment, 3 bytes not sent, 5 = options, 9 = a time that stays */
static const uint8_t stale[] = { 0x08, 2, 0x10, 7, 0x18, 3, 0x20, 9, 0x28, 7, 0x30, 10, 0x38, 0xd7, 0xff, 0x03, 0x40, 10, 0x48, 0xe8, 0x07, 0x60, 3, 0x68, 1, 0x70, 2, 0x78, 3, 0x80, 0x01, 4, 0x88, 0x01, 5, };

struct fixture {
	char dir[64];
	int a, b;               /* ends of one connection */
};

/* what a stream's file says */
struct seen { uint64_t v[18]; const uint8_t *queues; size_t queues_n; char *text; };

static void path_of(const struct fixture *f, int fd, char path[128])
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(path, 128, "%s/tcp-stream-%x.img", f->dir, (unsigned)st.st_ino);
}

static void put_stale(const struct fixture *f, int fd, size_t message)
{
	uint32_t head[3] = { MAGIC_COMMON, MAGIC_TCP_STREAM, (uint32_t)message };
	uint8_t text[sizeof(head) + sizeof(stale) + 5];
	char path[128];

	memcpy(text, head, sizeof(head));
	memcpy(text + sizeof(head), stale, sizeof(stale));
	memcpy(text + sizeof(head) + sizeof(stale), "ioooo", 5);
	path_of(f, fd, path);
	assert_int_equal(file_replace(path, text, sizeof(text), 0600, NULL), 0);
}

static struct seen see(const struct fixture *f, int fd)
{
	struct seen s = { .v = { 0 } };
	struct img_span file, record;
	struct img_field field;
	char path[128];
	size_t n;
	int r;

	path_of(f, fd, path);
	assert_int_equal(file_read(path, 64u << 20, &s.text, &n), 0);
	file = (struct img_span){ (uint8_t *)s.text, (uint8_t *)s.text + n };
	assert_true(img_open(&file, MAGIC_TCP_STREAM));
	assert_int_equal(img_record(&file, &record), 1);
	while ((r = img_field(&record, &field)) > 0) {
		assert_int_equal(field.wire, 0);
		assert_in_range(field.number, 1, 17);
		s.v[field.number] = field.value;
	}
	assert_int_equal(r, 0);
	s.queues = file.p;
	s.queues_n = (size_t)(file.end - file.p);
	return s;
}

static int setup(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	struct fixture *f = calloc(1, sizeof(*f));
	int on = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*state = f;
	if (!f)
		return -1;
	strcpy(f->dir, "/tmp/hearth-tcp-XXXXXX");
	if (!mkdtemp(f->dir) || bind(server, (struct sockaddr *)&at, len) < 0 || listen(server, 1) < 0 || getsockname(server, (struct sockaddr *)&at, &len) < 0)
		return -1;
	f->a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(f->a, (struct sockaddr *)&at, len) < 0)
		return -1;
	f->b = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	close(server);
	setsockopt(f->b, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return f->b < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->a);
	close(f->b);
	dir_remove(f->dir);
	free(f);
	return 0;
}

static void needs_root(void)
{
	if (geteuid() != 0)
		skip();
}

/* as it is now, whatever was noted; and the connection goes on */
static void both_ends(void **state)
{
	struct fixture *f = *state;
	struct hearth_err err = { 0 };
	struct seen a, b;
	socklen_t len = sizeof(int);
	char word[16];
	int on = 1, reuse = 0, repair = 1;

	needs_root();
	/* corked: not sent */
	assert_int_equal(setsockopt(f->b, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)), 0);
	assert_int_equal(fd_write_full(f->a, "question", 8), 0);
	assert_int_equal(fd_write_full(f->b, "answer", 6), 0);
	put_stale(f, f->a, sizeof(stale));
	put_stale(f, f->b, sizeof(stale));
	assert_int_equal(tcp_reread(getpid(), f->dir, &err), 0);
	a = see(f, f->a);
	b = see(f, f->b);
	assert_int_equal(a.v[1], 0);
	assert_int_equal(b.v[1], 8);
	assert_int_equal(b.v[3], 6);
	assert_int_equal(b.v[12], 0);           /* as if sent */
	assert_int_equal(b.v[9], 1000);         /* not ours: as it was */
	assert_int_equal(b.v[5], 7);
	assert_int_equal(b.queues_n, 14);
	assert_memory_equal(b.queues, "questionanswer", 14);
	assert_int_equal(a.queues_n, a.v[3]);
	/* what one end has yet to get, the other has */
	assert_int_equal((uint32_t)(b.v[4] - b.v[3]), a.v[2]);
	assert_in_range((uint32_t)(b.v[2] - (a.v[4] - a.v[3])), 0, a.v[3]);
	free(a.text);
	free(b.text);
	assert_int_equal(getsockopt(f->b, SOL_SOCKET, SO_REUSEADDR, &reuse, &len), 0);
	assert_int_equal(reuse, 1);
	assert_int_equal(getsockopt(f->b, IPPROTO_TCP, TCP_REPAIR, &repair, &len), 0);
	assert_int_equal(repair, 0);
	on = 0;
	assert_int_equal(setsockopt(f->b, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)), 0);
	assert_int_equal(fd_read_full(f->a, word, 6), 6);
	assert_memory_equal(word, "answer", 6);
}

/* a side that has said its last word */
static void half_closed(void **state)
{
	struct fixture *f = *state;
	struct hearth_err err = { 0 };
	struct seen a, b;

	needs_root();
	assert_int_equal(fd_write_full(f->a, "question", 8), 0);
	assert_int_equal(shutdown(f->a, SHUT_WR), 0);
	put_stale(f, f->a, sizeof(stale));
	put_stale(f, f->b, sizeof(stale));
	assert_int_equal(tcp_reread(getpid(), f->dir, &err), 0);
	a = see(f, f->a);
	b = see(f, f->b);
	assert_int_equal(b.v[1], 8);            /* without the end itself */
	assert_int_equal(b.v[2], a.v[4]);
	assert_memory_equal(b.queues, "question", 8);
	free(a.text);
	free(b.text);
}

static void damaged(void **state)
{
	struct fixture *f = *state;
	struct hearth_err err = { 0 };

	needs_root();
	put_stale(f, f->a, 5);                  /* ends in the middle of a field */
	assert_int_equal(tcp_reread(getpid(), f->dir, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, f->dir));
	put_stale(f, f->a, sizeof(stale) + 100);
	assert_int_equal(tcp_reread(getpid(), f->dir, &err), -EBADMSG);
}

/* no file: CRIU did not think it one */
static void others_are_left_alone(void **state)
{
	struct fixture *f = *state;
	struct hearth_err err = { 0 };
	struct stat st;
	char path[128];

	assert_int_equal(tcp_reread(getpid(), f->dir, &err), 0);
	path_of(f, f->a, path);
	assert_int_equal(stat(path, &st), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(half_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(others_are_left_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
