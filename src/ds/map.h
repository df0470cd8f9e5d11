/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_MAP_H
#define DS_MAP_H

#include "p2p.h"
#include "priv.h"

/*
 * Device memory that hearth_p2p.ko made addressable: then it is like memory of the process (@m->cpu), but always beside the page cache, as copying there with the processor is slow. Why it cannot
 * be is kept in words, of the device (@d->why_map) and of the memory (@m->why_map).
 */

/** map_device - whether the module provides this device. @pci: its address. Return: 0, -errno; the words are @d->why_map. */
int map_device(struct hearth_ds_device *d, const char *pci);
/** map_device_done - after the memory of the device is gone; its context is current */
void map_device_done(struct hearth_ds_device *d);
/** map_memory - make it addressable, if the module provides the device. Return: 0, -errno with @m->why_map. */
int map_memory(struct hearth_ds_memory *m, struct hearth_err *err);
void map_memory_done(struct hearth_ds_memory *m);
/** map_trusted - "", or why storage of this file and the device do not reach each other. Tried once for both, with bytes. */
void map_trusted(struct hearth_ds_file *f, struct hearth_ds_memory *m, char why[240]);

/** map_arrived - storage wrote into the memory: from here on the device's own work sees it. Return: 0, -errno. */
int map_arrived(struct hearth_ds_memory *m);

#endif
