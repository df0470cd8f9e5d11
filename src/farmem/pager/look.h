/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_LOOK_H
#define FARMEM_PAGER_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What can be seen of a process from outside. */

/** enum look_reason - why a mapping is left alone */
enum look_reason {
	LOOK_COVERED,           /* it is not: its pages can leave */
	LOOK_FILE,              /* of a file, shared, or huge pages: .data too */
	LOOK_BSS,               /* the rest of the C library's data, which may be needed while pages are moved */
	LOOK_PROTECTION,        /* not readable and writable, or executable */
	LOOK_OWN,               /* libhearth-warm's */
	LOOK_SPECIAL,           /* vdso and such */
	LOOK_REASONS
};

struct look_span { uint64_t start, end; };

/** struct look_spans - a growing list; all zero is empty */
struct look_spans {
	struct look_span *v;
	size_t n, cap;
};

/** look_mapping - why a line of /proc/PID/maps is covered or not. @before_end: where the C library's mapping before it ends, 0 if that is none; brought up to date. Return: reason, or -EINVAL. */
int look_mapping(const char *line, uint64_t *before_end, struct look_span *ret);
/**
 * look_mappings - those that can be paged, ascending, without @own
 * @bytes: per reason, of addresses; may be NULL
 * Return: 0, -ESRCH, -ENOMEM, -errno
 */
int look_mappings(pid_t pid, const struct look_span *own, size_t own_n, struct look_spans *ret, uint64_t bytes[LOOK_REASONS]);
/** look_present - runs of pages with contents in [start, end) (Linux 6.7). @pagemap: of pagemap_open(). Added to @ret. Return: 0, -errno. */
int look_present(int pagemap, struct look_span in, struct look_spans *ret);
/**
 * look_outside - whether no thread of a process is in a system call that takes pages away, each looked at once
 * A thread that runs is not known to be outside. Return: true only if all were seen outside.
 */
bool look_outside(pid_t pid);
/** look_running - threads of this machine that run or could, this one too; 0: it is not known */
unsigned look_running(void);
/** look_crowded - whether threads of this machine wait for a processor */
bool look_crowded(void);
/** look_cpu - the processor a thread last ran on; -1 if it is gone */
int look_cpu(pid_t pid, pid_t tid);
/** look_resident - bytes of memory, files' too. Return: 0 if it is gone. */
uint64_t look_resident(pid_t pid);

/** look_uncovered - resident bytes per reason, LOOK_COVERED's left out. @pagemap: /proc/PID/pagemap. Return: 0, -ESRCH, -errno. */
int look_uncovered(pid_t pid, int pagemap, const struct look_span *own, size_t own_n, uint64_t ret[LOOK_REASONS]);
void look_spans_done(struct look_spans *s);
int look_spans_add(struct look_spans *s, uint64_t start, uint64_t end);

#endif
