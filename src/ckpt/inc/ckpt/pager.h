/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_PAGER_H
#define CKPT_PAGER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * The pager fills the memory of a woken instance while it runs already: pages that are touched first, everything else in bulk. It takes the place of
 * `criu lazy-pages` and speaks its protocol: `criu restore --lazy-pages` connects to lazy-pages.socket in its work folder and sends, for every process,
 * its pid and a userfaultfd.
 *
 * A page that was not filled in reads as zeros as soon as the last descriptor of its userfaultfd is closed. So there are two processes that hold
 * them: the pager, and a guard that ends the instance should the pager end before everything is filled in. Only then it lets go.
 */
#define PAGER_PIDFILE "pid"             /* in the work folder: where CRIU writes the instance's pid */

struct pager {
	pid_t guard;
	int ctl;                        /* to the guard; CRIU inherits it, so that its end means that both are gone */
};

/**
 * struct pager_source - where pages come from that the image's folder has not got (CRIU's dump with --lazy-pages)
 * @open: the memory of one process, in the pager's process. @read: thread-safe; checked by the source. Return: 0, -errno (the program is ended, and *err told in the log).
 */
struct pager_source {
	void *ctx;
	int (*open)(void *ctx, int pid, void **ret, struct hearth_err *err);
	int (*read)(void *process, uint64_t address, void *buf, size_t bytes, struct hearth_err *err);
};

/**
 * pager_start - fork the guard and the pager
 * @source: NULL: all pages are in the folder
 * @image: folder with the image; @work: CRIU's work folder, where the socket is made; both may be gone once pager_commit() returned
 * Return: 0, -errno.
 */
int pager_start(const char *image, const char *work, const char *id, const struct pager_source *source, struct pager *ret, struct hearth_err *err);
/** pager_commit - the instance is restored: from here on guard and pager live on their own. Return: 0, -EIO (they died: the instance is lost). */
int pager_commit(struct pager *pager, int instance_pidfd);
/** pager_abort - end both and wait for them; the instance must be dead or dying. No effect on an all-zero or committed pager. */
void pager_abort(struct pager *pager);

#endif
