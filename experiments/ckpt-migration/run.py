#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Moving a program to another image store: how long it is down

It is checkpointed and ended, its image copied to a second store, which shares nothing with the first, and it is restored from there: down from its stop to the end of its first step. PhoenixOS
(SOSP 2025) reports 3.3 s for 13B training, 2.3 s for its inference, between machines over RDMA; its baseline 10.2 and 9.8 s. Here both stores are on one machine, in memory; the driver's own way has
its image where it is restored.
"""
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import ckpt  # noqa: E402

PUBLISHED = {'transformer': 3.3, 'decoder': 2.3}


class Move:
    """To a store of its own; remembers how long the copy took."""

    def __init__(self, bench):
        self.store, self.to, self.took = bench.node.memory, os.path.join(bench.work, 'there'), 0

    def __call__(self, image):
        began = time.monotonic()
        shutil.rmtree(self.to, ignore_errors=True)
        shutil.copytree(self.store, self.to)
        self.took = time.monotonic() - began
        return self.to


def main():
    e = ckpt.begin('ckpt-migration', __doc__)
    found, copies = {}, {}
    with ckpt.Bench(e) as bench:
        for program in e.args.programs:
            move = Move(bench)
            found[program] = bench.ours(program, back=move), bench.driver(program)
            copies[program] = move.took
    ckpt.write_csv(e, found)
    e.plot(lambda axes: ckpt.bars(axes[0], found, lambda one: one['down'], 'down, s'))
    for program, (ours, driver) in found.items():
        e.row(f'{program}: down, s', PUBLISHED.get(program), ours['down'], ckpt.of(driver, 'down'))
        e.row(f'{program}: of it copying the store, s', None, copies[program], None)
    e.finish()


main()
