#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long a checkpoint stops a program that trains or infers, against the driver's own way with the same CRIU

PhoenixOS (SOSP 2025) reports 185 ms for Llama2-13B training on 8 A800 (72 GB), and 3.2 s for its baseline. Ours and the driver's own are measured here, on programs of one GPU, in one run: the
stop is from the gate's closing until the program's calls go through again; of it the data's part, until everything that changed is safe.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import ckpt  # noqa: E402


def main():
    e = ckpt.begin('ckpt-stall', __doc__, ckpt.measured_option)
    found = ckpt.measure(e)
    ckpt.write_csv(e, found)
    e.plot(lambda axes: [ckpt.bars(axes[0], found, lambda one: one['stop'], 'whole stop, s'), ckpt.bars(axes[1], found, lambda one: one['data'], "stop for the data, s")], columns=2)
    for program, (ours, driver) in found.items():
        published = .185 if program == 'transformer' else None
        e.row(f"{program}, {ours['bytes'] / 1e9:.1f} GB: whole stop, s", published, ours['stop'], ckpt.of(driver, 'stop'))
        e.row(f'{program}: of it for the data, s', None, ours['data'], ckpt.of(driver, 'data'))
    e.finish()


main()
