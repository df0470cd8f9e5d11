/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_PAGES_H
#define CKPT_ENGINE_PAGES_H

#include "base/err.h"
#include "ckpt/store.h"

/**
 * pages_complete - make a dump with --lazy-pages one without: every pagemap-PID.img says that all is there, and its pages file is made anew, with the memory out of the image in its place
 * @dir: folder with CRIU's files out of @img. Return: 0, -EBADMSG, -ENOSPC, -errno.
 */
int pages_complete(struct store_image *img, const char *dir, struct hearth_err *err);

#endif
