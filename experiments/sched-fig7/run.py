#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fig 7: RocksDB: GET 1.5 us and SCAN 635 us, at a slowdown of 20

Shinjuku: quantum of 15 us, with one queue and with one a type. 14 workers, 10 us of network time.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from experiment import Experiment, lines, of_type, rates, slowdown  # noqa: E402


def main():
    e = Experiment('sched-fig7', __doc__)
    mix = {'workload': 'rocksdb', 'rtt_us': 10}
    ts = {'quantum_us': 15}
    policies = [('ws', {}), ('ts', {**ts, 'ts_queues': 'single'}), ('darc', {}), ('minimax', {})]
    sweep = e.sweep(policies, [.1, .2, .3, .35, .4, .45, .5, .6, .65, .7, .75, .8, .85, .9, .93, .96], **mix)
    runs = policies + [('ts', {**ts, 'ts_queues': 'multi'})]
    found = rates(e.sims([{**mix, 'policy': p, **o, 'find_max_load': 20} for p, o in runs]))
    e.csv_sweeps({'7': sweep})
    e.plot(lambda axes: [lines(axes[0], sweep, slowdown, 20, 'overall'), lines(axes[1], sweep, of_type('get', 'p999_us'), None, 'GET', 'p99.9 latency, us'),
                         lines(axes[2], sweep, of_type('scan', 'p999_us'), None, 'SCAN', 'p99.9 latency, us')], 3)
    for name, value in zip(('Shenango (work stealing)', 'Shinjuku, one queue', 'DARC', 'minimax', 'Shinjuku, a queue a type'), found):
        e.row(f'{name}: krps at 20x', None, value)
    e.row('DARC over Shenango', 2.3, found[2] / found[0])
    e.row('DARC over Shinjuku (one queue)', 1.3, found[2] / found[1])
    e.row('DARC over Shinjuku (a queue a type)', None, found[2] / found[4])
    e.row('minimax over Shenango', None, found[3] / found[0])
    e.finish()


main()
