#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads from NFS, over sizes of blocks, beside cuFile, pread and io_uring

Phoenix (SC 2025, figure 9), over RDMA: 2 to 23% faster than GDS. Without --mounted this machine serves itself (tools/ds-nfs; root and the kernel's nfsd and nfsv4 are needed): then what is
measured is one machine's processor, and what was read before comes from the server's page cache.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import dsbench  # noqa: E402
from dsbench import CUFILE, GIB, OURS, PREAD, URING, Bench, Folder, call, undo  # noqa: E402


class Export(dsbench.Served):
    """A folder that this machine gives and takes."""

    def set_up(self, stack):
        tool, args = os.path.join(self.e.args.tools, 'ds-nfs'), self.e.args
        given, taken = stack.enter_context(Folder(self.e)), stack.enter_context(Folder(self.e))
        call(tool, 'serve', given, args.address, *(['rdma'] if args.transport == 'rdma' else []))
        stack.callback(undo, tool, 'unserve', given, args.address)
        call(tool, 'mount', args.address, taken, args.transport)
        stack.callback(undo, 'umount', taken)
        return taken


def main():
    e = Bench('ds-nfs', __doc__, {'ours': OURS, 'cuFile': CUFILE, 'pread': PREAD, 'io_uring': URING}, dsbench.remote_options)
    if e.args.mounted and dsbench.file_system(e.args.mounted)[1] not in ('nfs', 'nfs4'):
        sys.exit(f'hearth experiment: {e.args.mounted} is {dsbench.file_system(e.args.mounted)[1]}, not NFS')
    with dsbench.storage(e, Export) as folder:
        e.begin_table(folder)
        dsbench.show_sizes(e, dsbench.by_size(e, e.make_file(folder), ['read'], GIB), {'read': '2..23'})
    e.end_table()


main()
