/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOX_PAGER_H
#define BOX_PAGER_H

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
 * pager_start - fork the guard and the pager
 * @img: its folder, and @work, CRIU's work folder, where the socket is made, may be gone once pager_commit() returned
 * Return: 0, -errno.
 */
int pager_start(const struct image *img, const char *work, const char *id, struct pager *ret, struct hearth_err *err);
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
