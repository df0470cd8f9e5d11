#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How often to checkpoint, and how much GPU time is wasted: from the stalls measured here, by the paper's formula

N GPUs, of which each fails F times an hour; a checkpoint stops them for O hours, and a failure costs a restore of R hours and on average half an interval. With f checkpoints an hour the share of
time that is wasted is f O + N F (R + 1/(2 f)), least at f = sqrt(N F / (2 O)): J. W. Young, A first order approximation to the optimum checkpoint interval, CACM 17(9), 1974. With N = 8 and
F = 1 it gives PhoenixOS's (SOSP 2025) published 279 and 67 an hour from its published stalls, 185 ms and 3.2 s.
"""
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import ckpt  # noqa: E402

RATES = (.01, .03, .1, .3, 1, 3)


def options(parser):
    ckpt.measured_option(parser)
    parser.add_argument('--gpus', type=int, default=8, metavar='N', help='default 8')
    parser.add_argument('--failures', type=float, default=1, metavar='F', help='of each GPU an hour; default 1')


def best(one, gpus, failures):
    return math.sqrt(gpus * failures / (2 * one['stop'] / 3600))


def wasted(one, gpus, failures):
    f = best(one, gpus, failures)
    return f * one['stop'] / 3600 + gpus * failures * (one['restore'] / 3600 + 1 / (2 * f))


def draw(axis, found, gpus):
    for program, pair in found.items():
        for one, style in zip(pair, ('-', ':')):
            if one:
                axis.plot(RATES, [100 * min(1, wasted(one, gpus, rate)) for rate in RATES], style, marker='.', label=f"{program}, {'ours' if style == '-' else 'driver'}")
    axis.set_xscale('log')
    axis.set_yscale('log')
    axis.set_xlabel('failures of a GPU, per hour')
    axis.set_ylabel('GPU time wasted, %')
    axis.legend(fontsize=8)


def main():
    e = ckpt.begin('ckpt-frequency', __doc__, options)
    found = ckpt.measure(e)
    ckpt.write_csv(e, found)
    n, rate = e.args.gpus, e.args.failures
    e.plot(lambda axes: draw(axes[0], found, n))
    e.row(f'formula check: checkpoints an hour from the published stalls ({n} GPUs, {rate:g}/h): 0.185 s', 279 if (n, rate) == (8, 1) else None, best({'stop': .185}, n, rate), None)
    for program, (ours, driver) in found.items():
        e.row(f'{program}: best checkpoints an hour', None, best(ours, n, rate), driver and best(driver, n, rate))
        e.row(f'{program}: GPU time wasted, %', None, 100 * wasted(ours, n, rate), driver and 100 * wasted(driver, n, rate))
    e.finish()


main()
