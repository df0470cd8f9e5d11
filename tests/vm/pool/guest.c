/* SPDX-License-Identifier: Apache-2.0 */
/* Programs and a pool over RDMA, in a guest (tools/vm-pool). What the pool's client does when things go wrong: tests/fault/farmem/pool, which runs there too. usage: pool-guest ADDRESS */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "farmem/pool.h"

#define PAGES 4096u
#define BATCH 256u

static const char *address;
static const struct farmem_object object = { 1, 2, 3 };

/* ---- programs ---- */

struct program {
	pid_t pid;
	FILE *in, *out;
	char log[64];
};

static struct program begin(const char *const *argv)
{
	static unsigned number;
	struct program p;
	int in[2], out[2];

	snprintf(p.log, sizeof(p.log), "/tmp/log-%u", number++);
	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	p.pid = fork();
	if (!p.pid) {
		int log = open(p.log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	p.in = fdopen(in[1], "w");
	p.out = fdopen(out[0], "r");
	assert_true(p.pid > 0 && p.in && p.out);
	setlinebuf(p.in);
	return p;
}

#define BEGIN(...) begin((const char *const[]){ __VA_ARGS__, NULL })

/* Return: its exit status, or -1: a signal ended it */
static int end(struct program *p, int sig)
{
	int status;

	if (sig)
		kill(p->pid, sig);
	fclose(p->in);
	fclose(p->out);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *line(struct program *p)
{
	static char text[4096];

	assert_non_null(fgets(text, sizeof(text), p->out));
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static bool logged(const struct program *p, const char *text)
{
	char *all;
	bool found;

	assert_int_equal(file_read(p->log, 1 << 20, &all, NULL), 0);
	found = strstr(all, text) != NULL;
	if (!found)
		fprintf(stderr, "# %s lacks \"%s\":\n%s", p->log, text, all);
	free(all);
	return found;
}

static void print_to(const char *path, const char *option, const char *value)
{
	struct program p = BEGIN("/bin/hearth", "pool", option, value);
	FILE *f = fopen(path, "w");

	fprintf(f, "%s\n", line(&p));
	fclose(f);
	assert_int_equal(end(&p, 0), 0);
}

static int keys(void **state)
{
	umask(077);
	print_to("/tmp/secret", "--new-key", "1");
	print_to("/tmp/access", "--print-access", "/tmp/secret");
	return 0;
}

/* @ret_uri: where it listens: RDMA, and TCP */
static struct program pool(const char *listen, char ret_uri[2][64])
{
	char tcp[64];
	struct program p;

	snprintf(tcp, sizeof(tcp), "tcp:%s:0", address);
	p = BEGIN("/bin/hearth", "pool", "--listen", listen, "--listen", tcp, "--memory", "128MiB", "--key-file", "/tmp/access");
	snprintf(ret_uri[0], 64, "%.63s", line(&p));
	snprintf(ret_uri[1], 64, "%.63s", line(&p));
	return p;
}

static const char *anywhere(void)
{
	static char uri[64];

	snprintf(uri, sizeof(uri), "rdma:%s:0", address);
	return uri;
}

/* ---- the command line ---- */

static void test_commands(void **state)
{
	char uri[2][64];
	struct program p = pool(anywhere(), uri), s;

	assert_non_null(strstr(uri[0], "rdma:"));
	s = BEGIN("/bin/hearth", "pool", "--status", uri[0], "--key-file", "/tmp/secret");
	assert_string_equal(line(&s), "0 pages (0 of zeros, 0 shared), 0 B of 128 MiB");
	assert_int_equal(end(&s, 0), 0);
	s = BEGIN("/bin/hearth", "pool", "--status", uri[0]);
	assert_int_equal(end(&s, 0), 1);
	assert_true(logged(&s, "needs a file of keys"));
	s = BEGIN("/bin/hearth", "pool", "--listen", "rdma:127.0.0.1:0");
	assert_int_equal(end(&s, 0), 1);
	assert_true(logged(&s, "--key-file"));
	s = BEGIN("/bin/hearth", "pool", "--listen", "rdma:192.0.2.1:7", "--key-file", "/tmp/access");
	assert_int_equal(end(&s, 0), 1);
	assert_true(logged(&s, "rdma:192.0.2.1:7: "));
	assert_int_equal(end(&p, SIGTERM), 0);
	assert_true(logged(&p, "0 refused"));
}

/* ---- pages ---- */

struct batch {
	struct pool_op op;
	struct pool_ref ref[BATCH];
	void *page[BATCH];
	int status[BATCH];
	bool done;
};

static uint8_t memory[PAGES][POOL_PAGE_BYTES], back[PAGES][POOL_PAGE_BYTES];

static void ended(struct pool_op *op)
{
	((struct batch *)op->ctx)->done = true;
}

static void finish(struct pool *p, struct batch *b)
{
	pool_submit(p, &b->op);
	while (!b->done) {
		struct pollfd fd = { .fd = pool_fd(p), .events = POLLIN };

		assert_int_not_equal(poll(&fd, 1, 60000), 0);
		pool_work(p);
	}
}

static void move(struct pool *p, enum pool_kind kind, unsigned first, unsigned n)
{
	static struct batch b;

	for (unsigned k = 0; k < n; k++) {
		b.ref[k] = (struct pool_ref){ first + k, 1 };
		b.page[k] = kind == POOL_PUT ? memory[first + k] : back[first + k];
	}
	b.done = false;
	b.op = (struct pool_op){ .kind = kind, .object = object, .refs = b.ref, .pages = b.page, .status = b.status, .n = n, .done = ended, .ctx = &b };
	finish(p, &b);
	assert_int_equal(b.op.result, 0);
}

static struct pool *client(const char *uri)
{
	struct pool_options o = { .key_file = "/tmp/secret", .timeout_ns = 60 * NS_PER_S };
	struct hearth_err err;
	struct pool *p = NULL;

	assert_int_equal(pool_open(uri, &o, &p, &err), 0);
	return p;
}

/* Return: us a page */
static double some(struct pool *p, enum pool_kind kind, unsigned pages, unsigned batch)
{
	uint64_t t = clock_mono_ns();

	for (unsigned k = 0; k < pages; k += batch)
		move(p, kind, k, batch);
	return (double)(clock_mono_ns() - t) / pages / 1e3;
}

static double all(struct pool *p, enum pool_kind kind)
{
	return some(p, kind, PAGES, BATCH);
}

static void test_read_not_asked_for(void **state)
{
	char uri[2][64];
	struct program s = pool(anywhere(), uri);
	struct pool *p = client(uri[0]), *q = client(uri[1]);
	uint64_t x = 1;

	for (size_t k = 0; k < sizeof(memory); k += 8) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		memcpy((uint8_t *)memory + k, &x, 8);
	}
	all(p, POOL_PUT);
	/* the pool has nothing to do with it */
	kill(s.pid, SIGSTOP);
	printf("# a page, RDMA: alone %.1f us, of many %.1f us\n", some(p, POOL_GETV, BATCH, 1), all(p, POOL_GETV));
	kill(s.pid, SIGCONT);
	assert_memory_equal(memory, back, sizeof(memory));
	memset(back, 0, sizeof(back));
	printf("# a page, TCP: alone %.1f us, of many %.1f us\n", some(q, POOL_GETV, BATCH, 1), all(q, POOL_GETV));
	assert_memory_equal(memory, back, sizeof(memory));
	pool_close(p);
	pool_close(q);
	assert_int_equal(end(&s, SIGTERM), 0);
	assert_true(logged(&s, "4096 pages put, 4352 given"));          /* those by TCP */
}

/* What clients could read is the kernel's again when the last of them is gone. */
static void test_memory_goes_back(void **state)
{
	char uri[2][64], path[64];
	struct program s = pool(anywhere(), uri);
	struct pool *p = client(uri[0]);
	struct batch del = { .op = { .kind = POOL_DEL, .object = object, .done = ended, .ctx = &del } };
	char *text;

	all(p, POOL_PUT);
	finish(p, &del);
	pool_close(p);
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)s.pid);
	/* the index has some */
	for (unsigned long kib = PAGES * 4; kib >= PAGES * 4;) {
		assert_int_equal(file_read(path, 1 << 16, &text, NULL), 0);
		assert_int_equal(sscanf(strstr(text, "Pss_Shmem:"), "Pss_Shmem: %lu", &kib), 1);
		free(text);
		(void)poll(NULL, 0, 200);
	}
	assert_int_equal(end(&s, SIGTERM), 0);
}

/* ---- a process whose pages are there ---- */

/* The next event of a kind; a loss fails. */
static char *event(struct program *shell, const char *kind)
{
	char want[48], *e;

	snprintf(want, sizeof(want), "{\"event\":\"%s\"", kind);
	do {
		e = line(shell);
		if (!strncmp(e, "{\"event\":\"lost\"", 15) || !strncmp(e, "{\"event\":\"error\"", 16) || !strncmp(e, "{\"event\":\"refused\"", 18))
			fail_msg("%s", e);
	} while (strncmp(e, want, strlen(want)));
	return e;
}

static char *ask(struct program *p, const char *text)
{
	fprintf(p->in, "%s\n", text);
	return line(p);
}

static void test_pager(void **state)
{
	char uri[2][64], text[128];
	struct program s = pool(anywhere(), uri), pager, shell, paged;

	pager = BEGIN("/bin/hearth-pager", "--socket", "/tmp/pager", "--pool", uri[0], "--pool-key", "/tmp/secret");
	assert_string_equal(line(&pager), "");
	shell = BEGIN("/bin/engine_shell", "/tmp/pager", "/bin");
	if (strstr(line(&shell), "unsupported")) {
		end(&shell, SIGKILL);
		end(&pager, SIGTERM);
		end(&s, SIGTERM);
		skip();
	}
	setenv("LD_PRELOAD", "/bin/libhearth-warm.so", 1);
	setenv("HEARTH_WARM", "paged", 1);
	paged = BEGIN("/bin/paged");
	unsetenv("LD_PRELOAD");
	line(&paged);
	assert_string_equal(ask(&paged, "fill 4"), "ok");
	fprintf(shell.in, "attach paged %d 1\n", (int)paged.pid);
	event(&shell, "attached");
	fprintf(shell.in, "barrier paged 0\noffload paged 7 %llu\n", 1ull << 60);
	while (!strstr(event(&shell, "offloaded"), "\"flag\":1"))
		;
	assert_string_equal(ask(&paged, "resident"), "resident 0 of 1024");
	/* it comes back, though the pool's process stands still */
	kill(s.pid, SIGSTOP);
	assert_string_equal(ask(&paged, "check"), "wrong 0");
	kill(s.pid, SIGCONT);
	fprintf(shell.in, "detach paged 0\n");
	event(&shell, "detached");
	assert_string_equal(ask(&paged, "check"), "wrong 0");
	end(&paged, SIGKILL);
	end(&shell, SIGKILL);
	end(&pager, SIGTERM);
	assert_int_equal(end(&s, SIGTERM), 0);
	snprintf(text, sizeof(text), ", 0 given");
	assert_true(logged(&s, text));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_commands), cmocka_unit_test(test_read_not_asked_for), cmocka_unit_test(test_pager), cmocka_unit_test(test_memory_goes_back) };

	address = argc > 1 ? argv[1] : "";
	setvbuf(stdout, NULL, _IOLBF, 0);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, keys, NULL);
}
