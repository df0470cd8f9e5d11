#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sixteen reads at a time, in a queue and in a stream's order, over sizes of blocks, beside cuFile and io_uring

Phoenix (SC 2025, figure 6): 2 to 467% more than GDS; the order of a stream costs 3 to 80% of what plain io_uring gives. In a stream the sixteen are submitted, the stream is waited for, and so on;
a queue is kept full. On the host there are no streams: there each is done at once.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import dsbench  # noqa: E402
from dsbench import CUFILE, MIB, KIB, OURS, URING, Bench, Folder  # noqa: E402

STREAM = ['--stream']


def options(parser):
    parser.add_argument('--depth', type=int, default=16, metavar='N', help='reads at a time (%(default)s)')


def main():
    e = Bench('ds-async', __doc__, {'ours': OURS, 'ours, stream': (OURS[0], STREAM), 'cuFile': CUFILE, 'cuFile, stream': (CUFILE[0], STREAM), 'io_uring': URING}, options)
    with Folder(e) as folder:
        e.begin_table(folder)
        sizes = dsbench.block_sizes(e, 4 * KIB, 16 * MIB if e.args.full else MIB)
        found = e.sweep(e.make_file(folder), {dsbench.shown(n): ['--depth', str(e.args.depth), '--block', str(n), '--random'] for n in sizes})
    e.rows_of(found, 'GB/s', 'gb_s')
    e.between('a queue: more than cuFile, %', '2..467', e.compared(found, 'gb_s'))
    e.between('a stream: more than cuFile, %', '2..467', e.compared(found, 'gb_s', mine='ours, stream', peer='cuFile, stream'))
    # on the host the two do not do the same: there is nothing that could be compared
    lost = e.compared(found, 'gb_s', less=True, mine='ours, stream', peer='io_uring') if e.args.device != 'host' else []
    e.between('a stream: less than io_uring, %', '3..80', lost)
    e.csv_of(found)
    e.plot(lambda axes: e.lines(axes[0], found, 'gb_s', 'GB/s'))
    e.end_table()


main()
