/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_PAGER_H
#define CKPT_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "ckpt/image.h"

/*
 * The pager fills the memory of a woken instance while it runs already: pages that are touched first, everything else in bulk. It takes the place of
 * `criu lazy-pages` and speaks its protocol: `criu restore --lazy-pages` connects to lazy-pages.socket in its work folder and sends, for every process,
 * its pid and a userfaultfd.
 *
 * A page that was not filled in reads as zeros as soon as the last descriptor of its userfaultfd is closed. So there are two processes that hold
 * them: the pager, and a guard that ends the instance should the pager end before everything is filled in. Only then it lets go.
 *
 * The pager also verifies the files with memory contents, for it has them mapped, and threads that know what is more urgent.
 */
#define PAGER_PIDFILE "pid"             /* in the work folder: where CRIU writes the instance's pid */

struct pager {
	pid_t guard;
	int ctl;                        /* to the guard; CRIU inherits it, so that its end means that both are gone */
	int verdict;                    /* from the pager */
};
#define PAGER_NONE { 0, -1, -1 }

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
 * @folder: with CRIU's images; @work: CRIU's work folder, where the socket is made; both may be gone once pager_commit() returned
 * @img:    what the folder is an image of: the pager verifies its files with memory contents, pager_verified(); NULL: there are none, all memory comes from @source
 * @source: NULL: all pages are in the folder
 * @early:  the instance does not wait for pager_verified(): CRIU gets a processor for itself, and the memory is filled beside the verification
 * Return: 0, -errno.
 */
int pager_start(const char *folder, const struct image *img, const char *work, const char *id, const struct pager_source *source, bool early, struct pager *ret,
		struct hearth_err *err);
/**
 * pager_verified - wait until the files with memory contents have been verified
 * Context: blocks; may be called by another thread than the rest, once. Return: 0, -EBADMSG (the message names the bad file), -errno.
 */
int pager_verified(struct pager *pager, struct hearth_err *err);
/** pager_commit - the instance is restored: from here on guard and pager live on their own. Return: 0, -EIO (they died: the instance is lost). */
int pager_commit(struct pager *pager, int instance_pidfd);
/** pager_abort - end both and wait for them; the instance must be dead or dying. No effect on an all-zero or committed pager. */
void pager_abort(struct pager *pager);

#endif
