#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads of 4 KiB by 1 to 128 threads from a disk over NVMe-oF, beside cuFile, pread and io_uring

Phoenix (SC 2025, figure 10), over RDMA: at least 10% more than GDS. Without --mounted this machine serves itself a file as a disk (tools/ds-nvmeof; root and the kernel's nvmet and nvme-tcp or
nvme-rdma are needed): then what is measured is one machine's processor.
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import dsbench  # noqa: E402
from dsbench import CUFILE, MIB, OURS, PREAD, URING, Bench, Folder, call, undo  # noqa: E402

# what a file system takes for itself
ROOM = 64 * MIB


class Disk(dsbench.Served):
    """A file system on a disk that this machine gives and takes."""

    def set_up(self, stack):
        tool, args, name = os.path.join(self.e.args.tools, 'ds-nvmeof'), self.e.args, f'nqn.2025-01.org.hearth:experiment-{os.getpid()}'
        folder = stack.enter_context(Folder(self.e))
        image, taken = os.path.join(folder, 'disk'), os.path.join(folder, 'taken')
        os.mkdir(taken)
        with open(image, 'wb') as file:
            os.posix_fallocate(file.fileno(), 0, args.bytes + ROOM)
        loop = call('losetup', '--find', '--show', image)
        stack.callback(undo, 'losetup', '--detach', loop)
        call(tool, 'serve', name, loop, args.address, args.transport)
        stack.callback(undo, tool, 'unserve', name)
        disk = call(tool, 'connect', name, args.address, args.transport)
        stack.callback(undo, tool, 'disconnect', name)
        call('mkfs.ext4', '-q', '-F', disk)
        call('mount', disk, taken)
        stack.callback(undo, 'umount', taken)
        return taken


def transport(folder):
    """Of the disk that the folder is on: '' where that is not NVMe."""
    found = re.fullmatch(r'/dev/(nvme\d+)n\d+(p\d+)?', dsbench.file_system(folder)[0])
    try:
        with open(f'/sys/class/nvme/{found[1]}/transport', encoding='ascii') as file:
            return file.read().strip()
    except (TypeError, OSError):
        return ''


def options(parser):
    dsbench.remote_options(parser)
    dsbench.thread_options(parser)


def main():
    e = Bench('ds-nvmeof', __doc__, {'ours': OURS, 'cuFile': CUFILE, 'pread': PREAD, 'io_uring': URING}, options)
    if e.args.mounted and transport(e.args.mounted) not in ('tcp', 'rdma', 'fc'):
        sys.exit(f'hearth experiment: {e.args.mounted} is not on a disk over NVMe-oF')
    with dsbench.storage(e, Disk) as folder:
        e.begin_table(folder)
        dsbench.show_threads(e, dsbench.by_threads(e, e.make_file(folder), e.args.threads), '10..')
    e.end_table()


main()
