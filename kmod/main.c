// SPDX-License-Identifier: GPL-2.0-only
/* The node: descriptors, commands, start and end of the module. */
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "p2p.h"

#define HP_FS_MAGIC 0x48703270

union hp_cmd {
	__u32 size;
	struct hearth_p2p_info info;
	struct hearth_p2p_device device;
	struct hearth_p2p_register reg;
	struct hearth_p2p_release release;
	struct hearth_p2p_check check;
};

/* --- address spaces --- */

static struct vfsmount *hp_mount;

static int hp_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, HP_FS_MAGIC) ? 0 : -ENOMEM;
}

/* without an owner: its only mount is the module's own, and would keep it loaded */
static struct file_system_type hp_fs = {
	.name = "hearth_p2p",
	.init_fs_context = hp_fs_context,
	.kill_sb = kill_anon_super,
};

/* --- descriptors --- */

static int hp_open(struct inode *inode, struct file *file)
{
	struct hp_ctx *ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);

	if (!ctx)
		return -ENOMEM;
	ctx->inode = alloc_anon_inode(hp_mount->mnt_sb);
	if (IS_ERR(ctx->inode)) {
		int err = PTR_ERR(ctx->inode);

		kfree(ctx);
		return err;
	}
	xa_init_flags(&ctx->objects, XA_FLAGS_ALLOC1);
	ctx->mm = current->mm;
	mmgrab(ctx->mm);
	file->private_data = ctx;
	file->f_mapping = ctx->inode->i_mapping;
	return 0;
}

/* No mapping is left: each held the file. I/O may be: whoever closes does not wait for it. */
static int hp_release(struct inode *inode, struct file *file)
{
	struct hp_ctx *ctx = file->private_data;
	struct hp_object *obj;
	unsigned long id;

	xa_for_each(&ctx->objects, id, obj) {
		xa_erase(&ctx->objects, id);
		hp_object_abandon(obj);
	}
	xa_destroy(&ctx->objects);
	file->f_mapping = inode->i_mapping;
	iput(ctx->inode);
	mmdrop(ctx->mm);
	kfree(ctx);
	return 0;
}

static int hp_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct hp_ctx *ctx = file->private_data;

	if (ctx->mm != current->mm)
		return -EPERM;
	return hp_map(ctx, vma);
}

/* --- commands --- */

static int hp_reply(void __user *user, const union hp_cmd *cmd, size_t bytes)
{
	return copy_to_user(user, cmd, min_t(size_t, cmd->size, bytes)) ? -EFAULT : 0;
}

static int hp_cmd_info(struct file *file, union hp_cmd *cmd, void __user *user)
{
	if (cmd->info.flags)
		return -EOPNOTSUPP;
	cmd->info.abi = HEARTH_P2P_ABI;
	cmd->info.zero = 0;
	return hp_reply(user, cmd, sizeof(cmd->info));
}

static int hp_cmd_device(struct file *file, union hp_cmd *cmd, void __user *user)
{
	struct hearth_p2p_device *d = &cmd->device;
	struct hp_device *dev;

	if (d->flags)
		return -EOPNOTSUPP;
	dev = hp_device_next(d->device);
	if (!dev)
		return -ENOENT;
	d->device = dev->id;
	d->state = hp_device_state(dev);
	d->granule = dev->provider->granule;
	d->zero = 0;
	d->bytes = dev->bytes;
	strscpy_pad(d->provider, dev->provider->name, sizeof(d->provider));
	strscpy_pad(d->pci, pci_name(dev->pdev), sizeof(d->pci));
	hp_device_put(dev);
	return hp_reply(user, cmd, sizeof(*d));
}

static int hp_cmd_register(struct file *file, union hp_cmd *cmd, void __user *user)
{
	struct hearth_p2p_register *r = &cmd->reg;
	struct hp_ctx *ctx = file->private_data;
	struct hp_device *dev;
	struct hp_object *obj;
	int err;

	if (r->flags & ~HEARTH_P2P_WRITE)
		return -EOPNOTSUPP;
	if ((r->flags & HEARTH_P2P_WRITE) && !(file->f_mode & FMODE_WRITE))
		return -EACCES;
	if (!r->bytes)
		return -EINVAL;
	dev = hp_device_get(r->device);
	if (!dev)
		return -ENODEV;
	obj = hp_object_new(ctx, dev, r->at, r->bytes, r->flags);
	hp_device_put(dev);
	if (IS_ERR(obj))
		return PTR_ERR(obj);

	/* an id that nobody finds until the caller has been told of it; cyclic, so that one that was released twice is seldom another's */
	err = xa_alloc_cyclic(&ctx->objects, &obj->id, NULL, XA_LIMIT(1, HP_OBJECTS_MAX), &ctx->next, GFP_KERNEL_ACCOUNT);
	if (err < 0) {
		err = err == -EBUSY ? -ENOSPC : err;
		goto end;
	}
	r->id = obj->id;
	r->offset = (u64)obj->id << HP_OBJECT_SHIFT;
	r->mapped = obj->pin.bytes;
	r->skew = r->at - obj->pin.at;
	err = hp_reply(user, cmd, sizeof(*r));
	if (err)
		goto release;
	xa_store(&ctx->objects, obj->id, obj, GFP_KERNEL);	/* the slot is there */
	return 0;
release:
	xa_release(&ctx->objects, obj->id);
end:
	hp_object_abandon(obj);
	return err;
}

static int hp_cmd_release(struct file *file, union hp_cmd *cmd, void __user *user)
{
	struct hp_ctx *ctx = file->private_data;
	struct hp_object *obj = hp_object_get(ctx, cmd->release.id);
	int err;

	if (!obj)
		return -ENOENT;
	hp_object_revoke(obj);
	err = hp_object_drain(obj, true);
	/* of two that release it at a time, one finds it gone */
	if (!err && xa_cmpxchg(&ctx->objects, obj->id, obj, NULL, 0) != obj)
		err = -ENOENT;
	if (!err) {
		hp_object_end(obj);
		hp_object_put(obj);
	}
	hp_object_put(obj);
	return err;
}

static int hp_cmd_check(struct file *file, union hp_cmd *cmd, void __user *user)
{
	struct hearth_p2p_check *c = &cmd->check;
	struct hp_ctx *ctx = file->private_data;
	struct hp_object *obj;
	struct fd f;
	int err;

	if (c->flags & ~(HEARTH_P2P_READ | HEARTH_P2P_WRITE))
		return -EOPNOTSUPP;
	obj = hp_object_get(ctx, c->id);
	if (!obj)
		return -ENOENT;
	f = fdget(c->fd);
	err = -EBADF;
	if (!hp_fd_file(f))
		goto put;
	err = hp_check(obj, hp_fd_file(f), c);
	fdput(f);
	if (!err)
		err = hp_reply(user, cmd, sizeof(*c));
put:
	hp_object_put(obj);
	return err;
}

/* @min: of the command's first version, for ever */
static const struct hp_command {
	u32 size;
	u32 min;
	int (*run)(struct file *file, union hp_cmd *cmd, void __user *user);
} hp_commands[] = {
	[HEARTH_P2P_CMD_INFO - HEARTH_P2P_CMD_INFO] = {
		sizeof(struct hearth_p2p_info), offsetofend(struct hearth_p2p_info, zero), hp_cmd_info },
	[HEARTH_P2P_CMD_DEVICE - HEARTH_P2P_CMD_INFO] = {
		sizeof(struct hearth_p2p_device), offsetofend(struct hearth_p2p_device, pci), hp_cmd_device },
	[HEARTH_P2P_CMD_REGISTER - HEARTH_P2P_CMD_INFO] = {
		sizeof(struct hearth_p2p_register), offsetofend(struct hearth_p2p_register, skew), hp_cmd_register },
	[HEARTH_P2P_CMD_RELEASE - HEARTH_P2P_CMD_INFO] = {
		sizeof(struct hearth_p2p_release), offsetofend(struct hearth_p2p_release, id), hp_cmd_release },
	[HEARTH_P2P_CMD_CHECK - HEARTH_P2P_CMD_INFO] = {
		sizeof(struct hearth_p2p_check), offsetofend(struct hearth_p2p_check, hops), hp_cmd_check },
};

static long hp_ioctl(struct file *file, unsigned int nr, unsigned long arg)
{
	struct hp_ctx *ctx = file->private_data;
	const struct hp_command *command;
	void __user *user = (void __user *)arg;
	union hp_cmd cmd = {};
	u32 size;
	int err;

	if (_IOC_TYPE(nr) != HEARTH_P2P_TYPE || _IOC_NR(nr) < HEARTH_P2P_CMD_INFO ||
	    _IOC_NR(nr) - HEARTH_P2P_CMD_INFO >= ARRAY_SIZE(hp_commands) || nr != _IO(HEARTH_P2P_TYPE, _IOC_NR(nr)))
		return -ENOTTY;
	if (ctx->mm != current->mm)
		return -EPERM;
	command = &hp_commands[_IOC_NR(nr) - HEARTH_P2P_CMD_INFO];
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < command->min)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	err = copy_struct_from_user(&cmd, command->size, user, size);
	if (err)
		return err;
	cmd.size = size;	/* a second read may have found another */
	return command->run(file, &cmd, user);
}

static const struct file_operations hp_fops = {
	.owner = THIS_MODULE,
	.open = hp_open,
	.release = hp_release,
	.mmap = hp_mmap,
	.unlocked_ioctl = hp_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice hp_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hearth_p2p",
	.fops = &hp_fops,
	.mode = 0600,
};

/* --- the module --- */

static int __init hp_init(void)
{
	int err;

	hp_mount = kern_mount(&hp_fs);
	if (IS_ERR(hp_mount))
		return PTR_ERR(hp_mount);
	err = hp_objects_init();
	if (err)
		goto unmount;
	err = hp_nvidia_init();
	if (err)
		goto objects;
	err = hp_ivshmem_init();
	if (err)
		goto nvidia;
	err = misc_register(&hp_misc);
	if (err)
		goto ivshmem;
	return 0;
ivshmem:
	hp_ivshmem_done();
nvidia:
	hp_nvidia_done();
objects:
	hp_objects_done();
unmount:
	kern_unmount(hp_mount);
	return err;
}

static void __exit hp_exit(void)
{
	misc_deregister(&hp_misc);
	hp_ivshmem_done();
	hp_nvidia_done();
	hp_objects_done();
	kern_unmount(hp_mount);
}

module_init(hp_init);
module_exit(hp_exit);
MODULE_DESCRIPTION("Memory of PCI devices, mapped for direct I/O");
MODULE_AUTHOR("The Hearth project");
MODULE_LICENSE("GPL");
MODULE_SOFTDEP("pre: nvidia");
