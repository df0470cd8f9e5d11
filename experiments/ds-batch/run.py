#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Batches of 1 to 256 reads of 4 KiB: how long one takes, beside cuFile and io_uring

Phoenix (SC 2025, figure 7): up to 76% less than with GDS. cuFile takes no more than 128 in a batch unless its configuration says otherwise.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import dsbench  # noqa: E402
from dsbench import CUFILE, KIB, OURS, URING, Bench, Folder  # noqa: E402


def options(parser):
    parser.add_argument('--batches', type=lambda s: [int(v) for v in s.split(',')], default=[1, 4, 16, 64, 128, 256], metavar='N,N...', help='reads in each (1,4,16,64,128,256)')


def main():
    e = Bench('ds-batch', __doc__, {'ours': OURS, 'cuFile': CUFILE, 'io_uring': URING}, options)
    with Folder(e) as folder:
        e.begin_table(folder)
        found = e.sweep(e.make_file(folder), {f'batch of {n}': ['--batch', '--depth', str(n), '--block', str(4 * KIB), '--random'] for n in e.args.batches})
    e.rows_of(found, 'median, us', 'p50_us')
    e.rows_of(found, 'p99, us', 'p99_us')
    e.between('less time than cuFile, %', '..76', e.compared(found, 'p50_us', less=True))
    e.csv_of(found)
    e.plot(lambda axes: e.lines(axes[0], found, 'p50_us', 'a batch, median, us'))
    e.end_table()


main()
