/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_cuda/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD_MAX 256

static int config_size(const char *text, uint64_t *ret)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (end == text)
		return -EINVAL;
	if (*end == 'K' || *end == 'M' || *end == 'G')
		n <<= *end == 'K' ? 10 : *end == 'M' ? 20 : 30, end++;
	if (*end)
		return -EINVAL;
	*ret = n;
	return 0;
}

int fake_fault_parse(const char *word, struct fake_fault *ret)
{
	static const struct { const char *word; enum fake_fault_kind kind; int fields; } kinds[] = {
		{ "fail=", FAKE_FAULT_FAIL, 3 }, { "delay=", FAKE_FAULT_DELAY, 3 }, { "kill=", FAKE_FAULT_KILL, 2 },
	};

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		struct fake_fault f = { .kind = kinds[k].kind };
		size_t n = strlen(kinds[k].word);

		if (strncmp(word, kinds[k].word, n) != 0)
			continue;
		if (sscanf(word + n, "%55[^:]:%u:%d", f.call, &f.nth, &f.value) != kinds[k].fields)
			return -EINVAL;
		*ret = f;
		return 0;
	}
	return -EINVAL;
}

static int configure_devices(struct fake_machine *m, const char *word)
{
	uint64_t n;
	int major, minor;

	if (strncmp(word, "devices=", 8) == 0) {
		if (config_size(word + 8, &n) < 0 || n > FAKE_DEVICES_MAX)
			return -EINVAL;
		m->devices = (uint32_t)n;
	} else if (strncmp(word, "memory=", 7) == 0) {
		if (config_size(word + 7, &n) < 0)
			return -EINVAL;
		for (int k = 0; k < FAKE_DEVICES_MAX; k++)
			m->device[k].bytes = n;
	} else if (strncmp(word, "cc=", 3) == 0) {
		if (sscanf(word + 3, "%d.%d", &major, &minor) != 2)
			return -EINVAL;
		for (int k = 0; k < FAKE_DEVICES_MAX; k++)
			m->device[k].major = major, m->device[k].minor = minor;
	} else if (strncmp(word, "name=", 5) == 0) {
		for (int k = 0; k < FAKE_DEVICES_MAX; k++)
			snprintf(m->device[k].name, sizeof(m->device[k].name), "%.63s", word + 5);
	} else if (strncmp(word, "machine=", 8) == 0) {
		if (config_size(word + 8, &n) < 0)
			return -EINVAL;
		for (int k = 0; k < FAKE_DEVICES_MAX; k++) {
			memcpy(m->device[k].uuid, "fake-gpu", 8);
			memset(m->device[k].uuid + 8, 0, 8);
			m->device[k].uuid[14] = (uint8_t)n;
			m->device[k].uuid[15] = (uint8_t)k;
		}
	} else {
		return -EINVAL;
	}
	return 0;
}

static int configure_word(struct fake_machine *m, const char *word)
{
	struct fake_fault unused;
	uint64_t n;

	if (strncmp(word, "driver=", 7) == 0) {
		if (config_size(word + 7, &n) < 0)
			return -EINVAL;
		m->driver_version = (int32_t)n;
		return 0;
	}
	if (strncmp(word, "mps=", 4) == 0) {
		if (config_size(word + 4, &n) < 0)
			return -EINVAL;
		m->mps = (uint32_t)n;
		return 0;
	}
	if (fake_fault_parse(word, &unused) == 0)
		return 0;               /* the process's own */
	return configure_devices(m, word);
}

int fake_machine_configure(struct fake_machine *m, const char *config)
{
	char word[WORD_MAX];
	size_t n;

	for (const char *p = config; p && *p; p += n + (p[n] == ',')) {
		n = strcspn(p, ",");
		if (n == 0)
			continue;
		if (n >= sizeof(word))
			return -EINVAL;
		memcpy(word, p, n);
		word[n] = '\0';
		if (configure_word(m, word) < 0)
			return -EINVAL;
	}
	return 0;
}

static void shared_lock_init(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

static void *map_file(const char *path, size_t bytes, int flags)
{
	int fd = open(path, flags | O_RDWR | O_CLOEXEC, 0666), saved;
	struct stat st;
	void *p = MAP_FAILED;

	if (fd < 0)
		return NULL;
	if ((flags & O_CREAT) ? ftruncate(fd, (off_t)bytes) == 0 : fstat(fd, &st) == 0 && (size_t)st.st_size == bytes)
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	else if (!(flags & O_CREAT))
		errno = EPROTO;
	saved = errno;
	close(fd);
	errno = saved;
	return p == MAP_FAILED ? NULL : p;
}

/* made beside its place and linked there, so that whoever opens it sees it whole */
static int machine_make(const char *dir, const char *path, const char *config)
{
	char draft[4096];
	struct fake_machine *m;
	int r = -1;

	snprintf(draft, sizeof(draft), "%s/.machine-%d", dir, getpid());
	m = map_file(draft, sizeof(*m), O_CREAT | O_EXCL);
	if (!m)
		return -1;
	m->magic = FAKE_MACHINE_MAGIC;
	shared_lock_init(&m->lock);
	if (fake_machine_configure(m, "devices=1,memory=4G,driver=13000,cc=9.0,name=Hearth fake GPU,machine=0") < 0 || fake_machine_configure(m, config) < 0)
		errno = EINVAL;
	else
		r = link(draft, path) == 0 || errno == EEXIST ? 0 : -1;
	unlink(draft);
	munmap(m, sizeof(*m));
	return r;
}

struct fake_machine *fake_machine_open(const char *dir, const char *config)
{
	char path[4096];
	struct fake_machine *m;

	snprintf(path, sizeof(path), "%s/machine", dir);
	m = map_file(path, sizeof(*m), 0);
	if (!m && errno == ENOENT && machine_make(dir, path, config) == 0)
		m = map_file(path, sizeof(*m), 0);
	if (m && m->magic != FAKE_MACHINE_MAGIC) {
		munmap(m, sizeof(*m));
		errno = EPROTO;
		return NULL;
	}
	return m;
}

struct fake_process *fake_process_open(const char *dir, pid_t pid, bool create)
{
	char path[4096];
	struct fake_process *p;

	snprintf(path, sizeof(path), "%s/process-%d", dir, (int)pid);
	if (create)
		unlink(path);
	p = map_file(path, sizeof(*p), create ? O_CREAT | O_EXCL : 0);
	if (p && create) {
		p->pid = pid;
		shared_lock_init(&p->lock);
		p->magic = FAKE_MACHINE_MAGIC;
	}
	return p;
}
