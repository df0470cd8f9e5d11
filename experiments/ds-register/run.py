#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What opening, registering and closing cost, beside cuFile and io_uring's registered buffers

Phoenix (SC 2025, table 3 and figure 3): opening and closing the library 2.3 us where GDS takes 107,961.7; registering 64 KiB 0.5 us where GDS takes 2,033,194 at first; of 4 KiB to 4 MiB
registering takes 63 to 90% less than with GDS, and taking it back 54 to 75% less. Without a kernel module registering is a note in a table; with hearth_p2p it pins memory. What pread has of it
is opening and closing the file.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import dsbench  # noqa: E402
from dsbench import CUFILE, KIB, MIB, OURS, PREAD, URING, Bench, Folder  # noqa: E402

KEYS = ('start_us', 'first_start_us', 'stop_us', 'open_us', 'register_us', 'release_us', 'close_us')
TABLE = 64 * KIB


def options(parser):
    parser.add_argument('--most', type=lambda s: int(float(s)), default=4 * MIB, metavar='N', help='bytes that are registered: from 4 KiB to so many (4 MiB)')


def main():
    e = Bench('ds-register', __doc__, {'ours': OURS, 'cuFile': CUFILE, 'io_uring': URING, 'pread': PREAD}, options)
    e.args.bytes = max(e.args.bytes, e.args.most, TABLE)
    with Folder(e) as folder:
        e.begin_table(folder)
        sizes = sorted({*dsbench.block_sizes(e, 4 * KIB, e.args.most), TABLE})
        found = e.sweep(e.make_file(folder), {dsbench.shown(n): ['--handles', '--block', str(n)] for n in sizes})
    at = found[dsbench.shown(TABLE)]
    for what, keys, published in (('open and close the library', ('start_us', 'stop_us'), '2.3 (GDS 107962)'), ('open the library for the first time', ('first_start_us',), None),
                                  ('open and close a file', ('open_us', 'close_us'), None), ('register 64 KiB', ('register_us',), '0.5 (GDS 2033194)')):
        e.row(f'{what}, us', published, *[sum(at[column][key] for key in keys) if at[column] else None for column in e.who])
    # of calls of pread there is nothing to register
    registers = {what: {**one, 'pread': None} for what, one in found.items()}
    e.rows_of(registers, 'register, us', 'register_us')
    e.rows_of(registers, 'take it back, us', 'release_us')
    e.between('register: less than cuFile, %', '63..90', e.compared(found, 'register_us', less=True))
    e.between('take it back: less than cuFile, %', '54..75', e.compared(found, 'release_us', less=True))
    e.csv_of(found, KEYS)
    e.plot(lambda axes: [e.lines(axis, registers, key, label) for axis, key, label in zip(axes, ('register_us', 'release_us'), ('register, us', 'take it back, us'))], columns=2)
    e.end_table()


main()
