/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HP_NVIDIA_P2P_H
#define HP_NVIDIA_P2P_H

#include <linux/types.h>

/*
 * What the vendor's driver exports for pinning device memory, as far as it is used here: its documented ABI ("GPUDirect RDMA"), declared, not included. The driver is found
 * at run time.
 */
#define NVIDIA_P2P_TABLE_MAJOR 1        /* of nvidia_p2p_page_table.version >> 16: another one has another layout */
#define NVIDIA_P2P_TABLE_MINOR 2        /* of its low half: this or a later one */
#define NVIDIA_P2P_PAGE_64K 1           /* nvidia_p2p_page_table.page_size */

struct nvidia_p2p_page {
	u64 physical_address;
	u32 registers[6];
};

struct nvidia_p2p_page_table {
	u32 version;
	u32 page_size;
	struct nvidia_p2p_page **pages;
	u32 entries;
	u8 *gpu_uuid;
};

/* @address, @length: multiples of 64 KiB. @freed: called when the memory is freed under it; put_pages must not be called from there. */
int nvidia_p2p_get_pages(u64 token, u32 space, u64 address, u64 length, struct nvidia_p2p_page_table **table, void (*freed)(void *data), void *data);
int nvidia_p2p_put_pages(u64 token, u32 space, u64 address, struct nvidia_p2p_page_table *table);
int nvidia_p2p_free_page_table(struct nvidia_p2p_page_table *table);

#endif
