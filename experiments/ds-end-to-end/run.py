#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From opening a file to closing it: open, register, read, take back, close, beside cuFile and pread

Phoenix (SC 2025, figure 8): 47 to 61% less time than GDS for small files, 4.11 times as fast for large ones. The library is open already (ds-register measures that).
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import dsbench  # noqa: E402
from dsbench import CUFILE, KIB, MIB, OURS, PREAD, Bench, Folder  # noqa: E402

SMALL, LARGE = [4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB], [16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB]


def main():
    e = Bench('ds-end-to-end', __doc__, {'ours': OURS, 'cuFile': CUFILE, 'pread': PREAD})
    parts = {name: [n for n in sizes if n <= e.args.bytes] for name, sizes in (('small', SMALL), ('large', LARGE))}
    with Folder(e) as folder:
        e.begin_table(folder)
        file = e.make_file(folder)
        found = {name: e.sweep(file, {dsbench.shown(n): ['--end-to-end', '--block', str(n)] for n in sizes}) for name, sizes in parts.items()}
    for sweep in found.values():
        e.rows_of(sweep, 'mean, us', 'mean_us')
    e.between('small: less time than cuFile, %', '47..61', e.compared(found['small'], 'mean_us', less=True))
    times = [1 + percent / 100 for percent in e.compared(found['large'], 'gb_s')]
    e.row('large: times as fast as cuFile, at most', 4.11, max(times) if times else None, None, None)
    both = {what: one for sweep in found.values() for what, one in sweep.items()}
    e.csv_of(both)
    e.plot(lambda axes: e.lines(axes[0], both, 'mean_us', 'from open to close, mean, us'))
    e.end_table()


main()
