#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads of 4 KiB by 1 to 128 threads, beside cuFile, pread and io_uring

Phoenix (SC 2025, figure 5): up to 442% more than GDS.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import dsbench  # noqa: E402
from dsbench import CUFILE, OURS, PREAD, URING, Bench, Folder  # noqa: E402


def main():
    e = Bench('ds-threads', __doc__, {'ours': OURS, 'cuFile': CUFILE, 'pread': PREAD, 'io_uring': URING}, dsbench.thread_options)
    with Folder(e) as folder:
        e.begin_table(folder)
        dsbench.show_threads(e, dsbench.by_threads(e, e.make_file(folder), e.args.threads), '..442')
    e.end_table()


main()
