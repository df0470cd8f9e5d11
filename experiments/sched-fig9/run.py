#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fig 9: a classifier that guesses: DARC with types drawn at random is c-FCFS

High Bimodal, 14 workers, 10 us of network time.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from experiment import STYLE, Experiment, lines, slowdown  # noqa: E402

LOADS = [.1, .2, .3, .4, .5, .6, .7, .8, .85, .9]


def main():
    e = Experiment('sched-fig9', __doc__, requests=2000000)
    mix = {'workload': 'high-bimodal', 'rtt_us': 10}
    sweep = e.sweep(['c-fcfs', 'darc'], LOADS, **mix)
    guess = e.sweep(['darc', 'minimax'], LOADS, misclassify=1, **mix)
    e.csv_sweeps({'9': sweep, '9, types at random': guess})

    def draw(axes):
        lines(axes[0], sweep, slowdown)
        lines(axes[0], guess, slowdown, label=lambda p: f'{STYLE[p][1]}, types at random')
        for line in axes[0].get_lines()[len(sweep):]:
            line.set_linestyle('--')
        axes[0].legend(fontsize=8)

    e.plot(draw)
    for load in (.5, .7, .9):
        at = LOADS.index(load)
        c, d, m = (slowdown(r[at]) for r in (sweep['c-fcfs'], guess['darc'], guess['minimax']))
        e.row(f'{load:.0%}: slowdown of DARC with types at random over c-FCFS', 'about 1', d / c)
        e.row(f'{load:.0%}: slowdown of minimax with types at random over c-FCFS', None, m / c)
    e.finish()


main()
