/* SPDX-License-Identifier: Apache-2.0 */
/* Ends that nobody asked for: of the process, of the device, of the module; and two processes. */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRIVER "/sys/bus/pci/drivers/hearth_p2p"
#define MODULE "/modules/hearth_p2p.ko"

static void pci_of_device(char *ret, size_t bytes)
{
	struct hearth_p2p_device d;
	int node = node_open(O_RDWR);

	CHECK(device_find(node, "ivshmem", &d));
	snprintf(ret, bytes, "%s", d.pci);
	close(node);
}

static void unbind(const char *pci)
{
	write_text(DRIVER "/unbind", pci);
}

static void bind(const char *pci)
{
	write_text(DRIVER "/bind", pci);
}

/* works - the device is there, and storage reaches it */
static void works(void)
{
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY);
	struct region r = region_new(node, 0, MIB);

	read_all(fd, r.at, MIB, MIB);
	CHECK(expect_data(r.at, MIB, MIB));
	region_end(&r);
	close(node);
	close(fd);
}

struct busy {
	struct region r;
	volatile long done;             /* reads that ended well */
	volatile bool failing;          /* reads end with EFAULT now */
	volatile bool stop;
};

static void *read_on(void *arg)
{
	struct busy *b = arg;
	int fd = open_direct(DATA, O_RDONLY);

	for (uint64_t i = (uintptr_t)&fd; !b->stop; i = mix(i)) {
		ssize_t n = pread(fd, b->r.map + i % 31 * 128 * KIB, 128 * KIB, (off_t)(i % 15 * MIB));

		if (n < 0)
			SAME(errno, EFAULT);
		b->failing |= n < 0;
		__atomic_add_fetch(&b->done, n > 0, __ATOMIC_RELAXED);
	}
	close(fd);
	return NULL;
}

static void begin_reading(struct busy *b, pthread_t *thread)
{
	for (int t = 0; t < 3; t++)
		CHECK(!pthread_create(&thread[t], NULL, read_on, b));
}

static bool has_read(void *arg)
{
	return ((struct busy *)arg)->done >= 6;
}

static bool is_failing(void *arg)
{
	return ((struct busy *)arg)->failing;
}

static void killed(void)
{
	char pci[24];
	struct busy *b = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pci_of_device(pci, sizeof(pci));
	for (int i = 0; i < 5; i++) {
		pid_t pid;
		int status;

		b->done = 0;
		pid = fork();
		if (!pid) {
			pthread_t thread[3];

			b->r = region_new(node_open(O_RDWR), 0, 4 * MIB);
			begin_reading(b, thread);
			pause();
		}
		wait_until("the child reads", has_read, b);
		kill(pid, SIGKILL);
		SAME(waitpid(pid, &status, 0), pid);
		SAME(WTERMSIG(status), SIGKILL);
	}
	/* nothing of them is left that would keep the device */
	unbind(pci);
	bind(pci);
	works();
}

static void two_processes(void)
{
	int node = node_open(O_RDWR), fd = open_direct(DATA, O_RDONLY), status;
	struct region r = region_new(node, 0, 4 * MIB);
	struct busy *b = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();

	if (!pid) {
		pthread_t thread[3];
		struct region theirs = region_new(node_open(O_RDWR), MIB, GRANULE);

		/* the parent's object is not this one's */
		SAME(release_id(theirs.node, theirs.id + 1), -ENOENT);
		theirs.at[0] = 123;
		b->r = region_new(theirs.node, 8 * MIB, 4 * MIB);
		begin_reading(b, thread);
		pause();
	}
	wait_until("the child reads", has_read, b);
	SAME(r.at[MIB], 123);
	/* both at the same time */
	for (int i = 0; i < 10; i++) {
		read_all(fd, r.at, 512 * KIB, (uint64_t)i * MIB);
		CHECK(expect_data(r.at, (uint64_t)i * MIB, 512 * KIB));
	}
	/* the end of one is nothing to the other */
	kill(pid, SIGKILL);
	SAME(waitpid(pid, &status, 0), pid);
	SAME(r.at[MIB], 123);
	read_all(fd, r.at, MIB, 0);
	CHECK(expect_data(r.at, 0, MIB));
	region_end(&r);
}

static void unbound(void)
{
	struct busy b = { .r = region_new(node_open(O_RDWR), 0, 4 * MIB) };
	struct hearth_p2p_register r;
	pthread_t thread[3];
	uint32_t device = device_find(b.r.node, "ivshmem", NULL);
	char pci[24];

	pci_of_device(pci, sizeof(pci));
	begin_reading(&b, thread);
	wait_until("reads", has_read, &b);
	unbind(pci);
	wait_until("reads fail", is_failing, &b);
	SAME(touch(b.r.map), SIGBUS);
	SAME(reg(b.r.node, device, 0, 1, 0, &r), -ENODEV);
	SAME(device_find(b.r.node, "ivshmem", NULL), 0);
	bind(pci);
	b.stop = true;
	for (int t = 0; t < 3; t++)
		pthread_join(thread[t], NULL);
	/* the device is another one now, and what was of the old one stays gone */
	SAME(touch(b.r.map), SIGBUS);
	SAME(release_id(b.r.node, b.r.id), 0);
	works();
}

static void *unbind_thread(void *arg)
{
	unbind(arg);
	return NULL;
}

/* A pipe holds a page of the device: it must not go before the pipe lets go of it. */
static void unbind_waits(void)
{
	int node = node_open(O_RDWR), pipes[2];
	struct region r = region_new(node, 0, GRANULE);
	struct iovec iov = { r.at, PAGE };
	uint8_t *got = pages(PAGE);
	struct timespec soon;
	pthread_t thread;
	char pci[24];

	pci_of_device(pci, sizeof(pci));
	memset(r.at, 0x77, PAGE);
	CHECK(!pipe(pipes));
	SAME(vmsplice(pipes[1], &iov, 1, 0), PAGE);
	CHECK(!pthread_create(&thread, NULL, unbind_thread, pci));
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec++;
	SAME(pthread_timedjoin_np(thread, NULL, &soon), ETIMEDOUT);
	SAME(touch(r.at), SIGBUS);
	SAME(read(pipes[0], got, PAGE), PAGE);
	SAME(got[PAGE - 1], 0x77);
	SAME(pthread_join(thread, NULL), 0);
	bind(pci);
	works();
}

static int module_unload(void)
{
	return syscall(SYS_delete_module, "hearth_p2p", O_NONBLOCK) ? -errno : 0;
}

static void module_load(void)
{
	int fd = open(MODULE, O_RDONLY | O_CLOEXEC);

	SAME(syscall(SYS_finit_module, fd, "", 0) ? -errno : 0, 0);
	close(fd);
}

static void *unload_thread(void *arg)
{
	SAME(module_unload(), 0);
	return NULL;
}

/* Open: it stays. Closed, but a page of it is still held: it goes when that is let go. */
static void unloaded(void)
{
	int node = node_open(O_RDWR), pipes[2];
	struct region r = region_new(node, 0, GRANULE);
	struct iovec iov = { r.at, PAGE };
	pthread_t thread;

	r.at[0] = 1;
	CHECK(!pipe(pipes));
	SAME(vmsplice(pipes[1], &iov, 1, 0), PAGE);
	SAME(module_unload(), -EAGAIN);
	close(node);
	SAME(module_unload(), -EAGAIN);
	munmap(r.map, r.mapped);
	CHECK(!pthread_create(&thread, NULL, unload_thread, NULL));
	SAME(read(pipes[0], pages(PAGE), PAGE), PAGE);
	SAME(pthread_join(thread, NULL), 0);
	SAME(access(HEARTH_P2P_NODE, F_OK) ? -errno : 0, -ENOENT);
	module_load();
	works();
}

const struct test end_tests[] = {
	{ "end: kill -9 during I/O", killed },
	{ "end: two processes", two_processes },
	{ "end: unbind while mapped, under I/O", unbound },
	{ "end: unbind waits for pins", unbind_waits },
	{ "end: the module is unloaded", unloaded },
	{ 0 },
};
