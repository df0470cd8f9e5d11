/* SPDX-License-Identifier: Apache-2.0 */
/* Storage of other machines, here the guest itself: NVMe over TCP and over soft RDMA, NFS. To the kernel the pages of the device look like any. */
#include "guest.h"

#include <fcntl.h>
#include <hearth/ds.h>
#include <linux/netlink.h>
#include <rdma/rdma_netlink.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "hearth"
#define AT (24 * MIB)
#define BYTES (4 * MIB)
/* of the disk "far", which has the words of DATA; behind it each test writes a part of its own */
#define WRITE_AT (8 * MIB)

static void shell(const char *command)
{
	int status = system(command);

	if (status)
		FAIL("%s: status %d", command, WEXITSTATUS(status));
}

static void attribute(struct nlmsghdr *h, uint16_t type, const char *text)
{
	struct nlattr *a = (struct nlattr *)((char *)h + h->nlmsg_len);

	a->nla_type = type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + strlen(text) + 1);
	memcpy((char *)a + NLA_HDRLEN, text, strlen(text) + 1);
	h->nlmsg_len += NLA_ALIGN(a->nla_len);
}

/* soft_rdma - what `rdma link add rxe0 type rxe netdev NETDEV` does */
static void soft_rdma(const char *netdev)
{
	char room[512] = "";
	struct nlmsghdr *h = (struct nlmsghdr *)room;
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA);

	CHECK(s >= 0);
	h->nlmsg_len = NLMSG_HDRLEN;
	h->nlmsg_type = RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, RDMA_NLDEV_CMD_NEWLINK);
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	attribute(h, RDMA_NLDEV_ATTR_DEV_NAME, "rxe0");
	attribute(h, RDMA_NLDEV_ATTR_LINK_TYPE, "rxe");
	attribute(h, RDMA_NLDEV_ATTR_NDEV_NAME, netdev);
	CHECK(send(s, room, h->nlmsg_len, 0) > 0);
	CHECK(recv(s, room, sizeof(room), 0) >= (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)));
	SAME(((struct nlmsgerr *)NLMSG_DATA(h))->error, 0);
	close(s);
}

static void set_up(void)
{
	shell("while read -r m; do insmod /modules/$m || exit 1; done </modules/remote");
	shell("ip link set lo up && ip addr add 10.9.0.1/24 dev dummy0 && ip link set dummy0 up");
	shell("mount -t configfs none /sys/kernel/config");
	soft_rdma("dummy0");
	/* long before it is used: it has its clients wait at first */
	shell("ds-nfs serve /mnt 127.0.0.1 && ds-nfs serve /mnt 10.9.0.1 rdma");
}

/* connect_disk - the disk "far" again, over a network. @ret: its name here */
static void connect_disk(const char *transport, const char *address, char *ret, int bytes)
{
	char command[160];
	FILE *p;

	snprintf(command, sizeof(command), "ds-nvmeof serve " NAME " $(readlink /dev/far) %s %s", address, transport);
	shell(command);
	snprintf(command, sizeof(command), "ds-nvmeof connect " NAME " %s %s", address, transport);
	p = popen(command, "r");
	CHECK(p && fgets(ret, bytes, p));
	ret[strcspn(ret, "\n")] = '\0';
	SAME(pclose(p), 0);
}

static void disconnect_disk(void)
{
	shell("ds-nvmeof disconnect " NAME);
	shell("ds-nvmeof unserve " NAME);
}

/* both_ways - a file or disk of data, into the device and, changed, back */
static void both_ways(const char *remote, const char *local, uint64_t write_at, uint64_t flip)
{
	struct region r = region_new(node_open(O_RDWR), AT, BYTES);
	int fd = open_direct(remote, O_RDWR), behind;
	uint64_t *word = (uint64_t *)r.at, *back = pages(BYTES);

	memset(r.at, 0, BYTES);
	read_all(fd, r.at, BYTES, MIB);
	CHECK(expect_data(r.at, MIB, BYTES));
	read_all(fd, r.at + PAGE, 512, 3 * 512);
	CHECK(expect_data(r.at + PAGE, 3 * 512, 512));
	for (size_t i = 0; i < BYTES / 8; i++)
		word[i] = mix(i) ^ flip;
	write_all(fd, r.at, BYTES, write_at);
	CHECK(!fsync(fd));
	behind = open_direct(local, O_RDONLY);
	read_all(behind, back, BYTES, write_at);
	for (size_t i = 0; i < BYTES / 8; i++)
		SAME(back[i], mix(i) ^ flip);
	close(fd);
	close(behind);
	region_end(&r);
}

/* by_library - path map, whatever the network: the bytes arrive, and nothing more can be known of the way */
static void by_library(const char *remote)
{
	struct region see = region_new(node_open(O_RDWR), AT, BYTES);
	struct hearth_p2p_device d;
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	struct hearth_ds_report report;
	struct hearth_ds_file *file;
	struct hearth_ds *ds;
	char uri[64];

	CHECK(device_find(see.node, "ivshmem", &d));
	snprintf(uri, sizeof(uri), "ivshmem:%s", d.pci);
	CHECK(!hearth_ds_open(NULL, &ds) && !hearth_ds_device(ds, uri, &device) && !hearth_ds_register(device, AT, BYTES, &memory));
	CHECK(!hearth_ds_file(ds, AT_FDCWD, remote, O_RDONLY, &file));
	CHECK(!hearth_ds_probe(file, memory, &report));
	if (report.path != HEARTH_DS_MAP)
		FAIL("the path is not map: %s", report.why[HEARTH_DS_MAP]);
	memset(see.at, 0, BYTES);
	SAME(hearth_ds_read(file, memory, 8, 4096 + 24, 3 * MIB + 16), 3 * MIB + 16);
	CHECK(expect_data(see.at + 8, 4096 + 24, 3 * MIB + 16));
	SAME(see.at[7], 0);
	hearth_ds_file_close(file);
	hearth_ds_release(memory);
	hearth_ds_close(ds);
}

static void nvme_tcp(void)
{
	char disk[32];

	connect_disk("tcp", "127.0.0.1", disk, sizeof(disk));
	both_ways(disk, "/dev/far", WRITE_AT, 1);
	by_library(disk);
	disconnect_disk();
}

static void nvme_rdma(void)
{
	char disk[32];

	connect_disk("rdma", "10.9.0.1", disk, sizeof(disk));
	both_ways(disk, "/dev/far", WRITE_AT + BYTES, 2);
	by_library(disk);
	disconnect_disk();
}

static void nfs(const char *transport, const char *address, uint64_t flip)
{
	char command[160];

	mkdir("/tmp/nfs", 0755);
	snprintf(command, sizeof(command), "ds-nfs mount %s /tmp/nfs %s", address, transport);
	shell(command);
	by_library("/tmp/nfs/data");
	both_ways("/tmp/nfs/copy", "/mnt/copy", WRITE_AT, flip);
	CHECK(!umount("/tmp/nfs"));
}

static void nfs_tcp(void)
{
	nfs("tcp", "127.0.0.1", 3);
}

static void nfs_rdma(void)
{
	nfs("rdma", "10.9.0.1", 4);
	/* then the file system is free to be unmounted */
	shell("ds-nfs unserve /mnt 127.0.0.1");
}

const struct test remote_set_up[] = {
	{ "remote: networks, modules, NFS server", set_up },
	{ 0 },
};

const struct test remote_tests[] = {
	{ "remote: NVMe over TCP", nvme_tcp },
	{ "remote: NVMe over RDMA", nvme_rdma },
	{ "remote: NFS over TCP", nfs_tcp },
	{ "remote: NFS over RDMA", nfs_rdma },
	{ 0 },
};
