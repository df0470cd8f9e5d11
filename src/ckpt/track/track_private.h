/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_TRACK_PRIVATE_H
#define CKPT_TRACK_PRIVATE_H

#include "ckpt/track.h"

/** track_mappings - private anonymous mappings of a process, each by itself, all dirty. Return: 0, -ESRCH, -ENOMEM, -errno. */
int track_mappings(pid_t pid, struct track_spans *ret);
/** track_scan_pages - track_scan() of one process, with its userfaultfd (-1: none). Return: 0, -ESRCH, -ENOMEM, -errno (-ENOTTY: no PAGEMAP_SCAN). */
int track_scan_pages(pid_t pid, int uffd, bool protect, struct track_spans *ret);

#endif
