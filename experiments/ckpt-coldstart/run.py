#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From nothing to the first step: started anew, restored by the driver's own way, and restored from an image in memory

PhoenixOS (SOSP 2025) reports 622 ms for a 13B model's inference (26 GB), on average 24 times shorter than cuda-checkpoint. The last row's published value is that factor.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import ckpt  # noqa: E402


def main():
    e = ckpt.begin('ckpt-coldstart', __doc__, ckpt.measured_option)
    found = ckpt.measure(e)
    ckpt.write_csv(e, found)
    e.plot(lambda axes: ckpt.bars(axes[0], found, lambda one: one['first'], 'to the end of the first step, s'))
    for program, (ours, driver) in found.items():
        e.row(f'{program}: started anew, to the first step, s', None, ours['cold'], ckpt.of(driver, 'cold'))
        e.row(f'{program}: restored, s', .622 if program == 'decoder' else None, ours['restore'], ckpt.of(driver, 'restore'))
        e.row(f'{program}: restored, to the end of the first step, s', None, ours['first'], ckpt.of(driver, 'first'))
        if driver:
            e.row(f'{program}: times shorter than the driver\'s own', 24 if program == 'decoder' else None, driver['first'] / ours['first'], 1)
    e.finish()


main()
