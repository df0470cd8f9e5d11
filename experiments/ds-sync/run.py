#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One thread, one read or write after the other, over sizes of blocks, beside cuFile, pread and io_uring

Phoenix (SC 2025, figure 4), 4 KiB to 1 GiB: reads are 1 to 76% faster than with GDS, writes up to 65%.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import dsbench  # noqa: E402
from dsbench import CUFILE, GIB, OURS, PREAD, URING, Bench, Folder  # noqa: E402


def options(parser):
    parser.add_argument('--kinds', type=lambda s: s.split(','), default=['read', 'write'], metavar='K,K', help='of read, write')


def main():
    e = Bench('ds-sync', __doc__, {'ours': OURS, 'cuFile': CUFILE, 'pread': PREAD, 'io_uring': URING}, options)
    if not e.args.kinds or set(e.args.kinds) - {'read', 'write'}:
        sys.exit('hearth experiment: --kinds takes read, write')
    with Folder(e) as folder:
        e.begin_table(folder)
        dsbench.show_sizes(e, dsbench.by_size(e, e.make_file(folder), e.args.kinds, GIB), {'read': '1..76', 'write': '..65'})
    e.end_table()


main()
