/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_FILES_H
#define CKPT_ENGINE_FILES_H

#include "base/err.h"
#include "ckpt/store.h"

/** files_extract - CRIU's files out of an image into a folder, by several threads, checked as they are read. Return: 0, -EBADMSG, -ENOSPC, -errno. */
int files_extract(struct store_image *img, const char *dir, struct hearth_err *err);

#endif
