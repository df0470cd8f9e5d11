// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "base/fd.h"
#include "dpdk_eal.h"

#define WORDS_MAX 64
#define WORD_BYTES 4096

static bool started;
static char complaint[256];     /* the first that it said while it started, if any */

/* Return: free huge pages of all sizes */
static unsigned long huge_pages(void)
{
	unsigned long total = 0, n;
	glob_t found;

	if (glob("/sys/kernel/mm/hugepages/*/free_hugepages", 0, NULL, &found) != 0)
		return 0;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		FILE *f = fopen(found.gl_pathv[i], "re");

		if (f != NULL && fscanf(f, "%lu", &n) == 1)
			total += n;
		if (f != NULL)
			fclose(f);
	}
	globfree(&found);
	return total;
}

const char *dpdk_eal_memory(void)
{
	return huge_pages() > 0 ? "huge pages are free" : "no huge pages: name --no-huge -m 256 for its EAL, or reserve some (sysctl vm.nr_hugepages)";
}

int dpdk_eal_usable(struct hearth_err *err)
{
	if (started)
		return err_set(err, -EOPNOTSUPP, "DPDK: already in use in this process");
	return 0;
}

static bool has_word(char *const *words, const char *word)
{
	for (; words != NULL && *words != NULL; words++)
		if (!strcmp(*words, word))
			return true;
	return false;
}

static bool names_cores(char *const *words)
{
	for (; words != NULL && *words != NULL; words++)
		if (!strncmp(*words, "-l", 2) || !strncmp(*words, "-c", 2) || !strncmp(*words, "--lcores", 8))
			return true;
	return false;
}

/* "0@(1,3)": one core of DPDK's, on any CPU of ours */
static void write_cores(const cpu_set_t *cpus, char *out, size_t n)
{
	size_t at = (size_t)snprintf(out, n, "0@(");
	const char *comma = "";

	for (int cpu = 0; cpu < CPU_SETSIZE && at + 8 < n; cpu++)
		if (CPU_ISSET(cpu, cpus)) {
			at += (size_t)snprintf(out + at, n - at, "%s%d", comma, cpu);
			comma = ",";
		}
	snprintf(out + at, n - at, ")");
}

const char *dpdk_eal_complaint(void)
{
	return complaint;
}

/* A descriptor leads to nowhere for a while. Return: what brings it back; -1: nothing was done. */
static int mute(int fd)
{
	FD_AUTO int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int kept = null >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

	if (kept >= 0)
		dup2(null, fd);
	return kept;
}

static void unmute(int fd, int kept)
{
	if (kept >= 0)
		dup2(kept, fd);
	fd_close(&kept);
}

/* While it starts, its log goes to memory, and the pages of usage that it prints when it does not like a word to nowhere. */
static int init(int argc, char **argv, struct hearth_err *err)
{
	char *log = NULL;
	size_t log_bytes;
	FILE *f = open_memstream(&log, &log_bytes);
	int out, r;

	if (f == NULL)
		return err_set(err, -ENOMEM, "DPDK: out of memory");
	fflush(stdout);
	out = mute(STDOUT_FILENO);
	rte_openlog_stream(f);
	r = rte_eal_init(argc, argv) < 0 ? -rte_errno : 0;
	rte_openlog_stream(NULL);
	fflush(stdout);
	unmute(STDOUT_FILENO, out);
	fclose(f);
	/* the first line is what went wrong, the others are what followed from it */
	snprintf(complaint, sizeof(complaint), "%.*s", log != NULL ? (int)strcspn(log, "\n") : 0, log);
	free(log);
	if (r < 0)
		err_set(err, r, "DPDK does not start (%s): %s; its EAL was given:", rte_strerror(-r), complaint);
	return r;
}

static void append(struct hearth_err *err, const char *word)
{
	size_t n = err != NULL ? strlen(err->msg) : 0;

	if (err != NULL)
		snprintf(err->msg + n, sizeof(err->msg) - n, " %s", word);
}

int dpdk_eal_start(char *const *words, struct hearth_err *err)
{
	static char name[] = "hearth", in_memory[] = "--in-memory", no_shconf[] = "--no-shconf", no_telemetry[] = "--no-telemetry", quiet[] = "--log-level=error", lcores[] = "--lcores";
	static char cores[WORD_BYTES];
	static char *argv[WORDS_MAX + 8];       /* the EAL puts them into another order */
	int argc = 0, own, r;
	cpu_set_t cpus;

	if (started)
		return err_set(err, -EALREADY, "DPDK starts once in a process, and has already: use one server of it in a process");
	CPU_ZERO(&cpus);
	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return err_set(err, -errno, "DPDK: which CPUs are ours: %s", strerror(errno));
	argv[argc++] = name;
	argv[argc++] = has_word(words, "--no-huge") ? no_shconf : in_memory;
	argv[argc++] = no_telemetry;
	argv[argc++] = quiet;
	if (!names_cores(words)) {
		write_cores(&cpus, cores, sizeof(cores));
		argv[argc++] = lcores;
		argv[argc++] = cores;
	}
	own = argc;
	for (size_t i = 0; words != NULL && words[i] != NULL; i++) {
		if (argc - own == WORDS_MAX)
			return err_set(err, -E2BIG, "DPDK: more than %d words for its EAL", WORDS_MAX);
		argv[argc++] = words[i];
	}
	argv[argc] = NULL;
	started = true;         /* even if it fails: half of it is there then */
	r = init(argc, argv, err);
	(void)sched_setaffinity(0, sizeof(cpus), &cpus);
	for (; r < 0 && words != NULL && *words != NULL; words++)
		append(err, *words);
	return r;
}

void dpdk_eal_stop(void)
{
	rte_eal_cleanup();
}

int dpdk_eal_shared(const void *memory, struct hearth_err *err)
{
	uintptr_t from, to, at = (uintptr_t)memory;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], flags[5] = "";
	bool found = false;

	while (maps != NULL && !found && fgets(line, sizeof(line), maps) != NULL)
		found = sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, flags) == 3 && from <= at && at < to;
	if (maps != NULL)
		fclose(maps);
	if (found && flags[3] == 's')
		return 0;
	return err_set(err, -EOPNOTSUPP, "DPDK's memory is not shared with the workers' processes here; leave out --legacy-mem and --single-file-segments, or use "
		       "--no-huge on a kernel with memfd_create");
}
