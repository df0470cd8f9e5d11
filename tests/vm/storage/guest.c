/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEST_S 60
/* behind the file system: read to say where a phase begins and ends */
#define MARKS_AT (112 * MIB)

static const char *disk;        /* NVMe with the file system */
static unsigned *phase;         /* shared by the tests' processes */

void fail_at(const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	char text[400];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("vm-test:     %s:%d: %s\n", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, text);
	fflush(stdout);
	_exit(1);
}

void NOTE(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* --- the module --- */

int command(int node, unsigned long request, void *arg)
{
	return ioctl(node, request, arg) < 0 ? -errno : 0;
}

int node_open(int flags)
{
	int node = open(HEARTH_P2P_NODE, flags | O_CLOEXEC);

	if (node < 0)
		FAIL("cannot open the node: %s", strerror(errno));
	return node;
}

uint32_t device_find(int node, const char *provider, struct hearth_p2p_device *ret)
{
	struct hearth_p2p_device d = { .size = sizeof(d) };

	for (; !command(node, HEARTH_P2P_DEVICE, &d); d.device++) {
		if (strcmp(d.provider, provider))
			continue;
		if (ret)
			*ret = d;
		return d.device;
	}
	return 0;
}

int reg(int node, uint32_t device, uint64_t at, uint64_t bytes, uint32_t flags, struct hearth_p2p_register *ret)
{
	*ret = (struct hearth_p2p_register){ .size = sizeof(*ret), .flags = flags, .device = device, .at = at, .bytes = bytes };
	return command(node, HEARTH_P2P_REGISTER, ret);
}

int release_id(int node, uint32_t id)
{
	struct hearth_p2p_release r = { .size = sizeof(r), .id = id };

	return command(node, HEARTH_P2P_RELEASE, &r);
}

struct region region_of(int node, const char *provider, uint64_t at, size_t bytes)
{
	struct hearth_p2p_register r;
	struct region region;

	SAME(reg(node, device_find(node, provider, NULL), at, bytes, HEARTH_P2P_WRITE, &r), 0);
	region = (struct region){ .node = node, .id = r.id, .bytes = bytes, .mapped = r.mapped };
	region.map = mmap(NULL, r.mapped, PROT_READ | PROT_WRITE, MAP_SHARED, node, (off_t)r.offset);
	if (region.map == MAP_FAILED)
		FAIL("mmap: %s", strerror(errno));
	region.at = region.map + r.skew;
	return region;
}

struct region region_new(int node, uint64_t at, size_t bytes)
{
	return region_of(node, "ivshmem", at, bytes);
}

void region_end(struct region *r)
{
	munmap(r->map, r->mapped);
	SAME(release_id(r->node, r->id), 0);
}

/* --- storage --- */

uint64_t mix(uint64_t index)
{
	uint64_t z = index * 0x9e3779b97f4a7c15ull + 0x1234567;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	return z ^ (z >> 27);
}

bool expect_data(const void *got, uint64_t offset, size_t bytes)
{
	const uint8_t *p = got;

	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t word = mix((offset + i) / 8);

		if (memcmp(p + i, &word, bytes - i < 8 ? bytes - i : 8))
			return false;
	}
	return true;
}

int open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT | O_CLOEXEC, 0644);

	if (fd < 0)
		FAIL("cannot open %s: %s", path, strerror(errno));
	return fd;
}

void read_all(int fd, void *to, size_t bytes, uint64_t offset)
{
	ssize_t n = pread(fd, to, bytes, (off_t)offset);

	if (n != (ssize_t)bytes)
		FAIL("pread of %zu bytes: %zd %s", bytes, n, n < 0 ? strerror(errno) : "");
}

void write_all(int fd, const void *from, size_t bytes, uint64_t offset)
{
	ssize_t n = pwrite(fd, from, bytes, (off_t)offset);

	if (n != (ssize_t)bytes)
		FAIL("pwrite of %zu bytes: %zd %s", bytes, n, n < 0 ? strerror(errno) : "");
}

void *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void mark(unsigned which)
{
	int fd = open_direct(disk, O_RDONLY);
	void *sector = pages(PAGE);

	read_all(fd, sector, 512, MARKS_AT + which * 512ul);
	munmap(sector, PAGE);
	close(fd);
}

void dma_begin(void)
{
	sync();
	mark(*phase * 2);
}

void dma_end(const char *what, size_t asked)
{
	mark(*phase * 2 + 1);
	NOTE("vm-dma: phase %u %zu %s", *phase, asked, what);
	++*phase;
}

/* --- the rest --- */

static __thread sigjmp_buf touched;
static __thread volatile bool touching;

static void on_touch(int sig)
{
	if (touching)
		siglongjmp(touched, sig);
	signal(sig, SIG_DFL);   /* the instruction is done again, and ends the test */
}

int touch(const volatile void *at)
{
	struct sigaction sa = { .sa_handler = on_touch };
	int sig;

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sig = sigsetjmp(touched, 1);
	touching = !sig;
	if (!sig)
		(void)*(const volatile uint8_t *)at;
	touching = false;
	return sig;
}

int in_child(void (*run)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		run(arg);
		_exit(0);
	}
	SAME(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

void write_text(const char *path, const char *text)
{
	int rc = put_text(path, text);

	if (rc)
		FAIL("cannot write %s to %s: %s", text, path, strerror(-rc));
}

void wait_until(const char *what, bool (*is)(void *), void *arg)
{
	for (int i = 0; i < 4000; i++) {
		if (is(arg))
			return;
		usleep(5000);
	}
	FAIL("not within 20 s: %s", what);
}

/* run - a test as a process group of its own. Return: whether it passed. */
static bool run(const struct test *t)
{
	struct timespec a, b;
	int status = 0;
	pid_t pid;

	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &a);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		alarm(TEST_S);
		t->run();
		exit(0);
	}
	waitpid(pid, &status, 0);
	kill(-pid, SIGKILL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (WIFSIGNALED(status))
		printf("vm-test:     ended by signal %d\n", WTERMSIG(status));
	printf("vm-test: %s %s (%.1f s)\n", status ? "not ok" : "ok", t->name, (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9);
	fflush(stdout);
	return !status;
}

/* usage: guest DISK [WORD]: tests whose name has the word */
int main(int argc, char **argv)
{
	const struct test *const groups[] = { remote_set_up, node_tests, map_tests, io_tests, check_tests, lib_tests, load_tests, end_tests, nvidia_tests, remote_tests };
	unsigned passed = 0, failed = 0;

	disk = argv[1];
	phase = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (size_t g = 0; g < sizeof(groups) / sizeof(*groups); g++)
		for (const struct test *t = groups[g]; t->name; t++)
			if (argc < 3 || strstr(t->name, argv[2]))
				*(run(t) ? &passed : &failed) += 1;
	printf("vm-test: %u passed, %u failed\n", passed, failed);
	return failed != 0;
}
