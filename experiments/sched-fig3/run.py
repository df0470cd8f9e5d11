#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fig 3: High Bimodal: DARC against FCFS, per type

Short requests take 1 us, long ones 100, half each; 14 workers, 10 us of network time.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from experiment import Experiment, lines, of_type, rates, slowdown  # noqa: E402


def main():
    e = Experiment('sched-fig3', __doc__, requests=2000000)
    mix = {'workload': 'high-bimodal', 'rtt_us': 10}
    sweep = e.sweep(['d-fcfs-random', 'c-fcfs', 'darc', 'minimax'], [.1, .2, .3, .4, .45, .5, .6, .7, .8, .85, .87, .9, .92, .93], **mix)
    policies = ['c-fcfs', 'darc', 'minimax']
    # shorts in 20 us, and queues that do not grow without end: DARC's shorts are well when its longs starve
    found = rates(e.sims([{**mix, 'policy': p, 'find_max_load': target} for target in ('short:20us', 100) for p in policies]))
    short = [min(pair) for pair in zip(found[:3], [found[0]] + found[4:])]
    e.csv_sweeps({'3': sweep})
    e.plot(lambda axes: [lines(axes[0], sweep, slowdown, 20, 'overall'),
                         lines(axes[1], sweep, of_type('short', 'p999_us'), 20, 'short, 1 us', 'p99.9 latency, us'),
                         lines(axes[2], sweep, of_type('long', 'p999_us'), None, 'long, 100 us', 'p99.9 latency, us')], 3)
    # where DARC keeps up; beyond 260 krps its reserved worker is more than the shorts need and queues of longs grow without end
    for policy, name in (('darc', 'DARC'), ('minimax', 'minimax')):
        gains = [(slowdown(c) / slowdown(d), d) for c, d in zip(sweep['c-fcfs'], sweep[policy])]
        at90 = next(g for g, d in gains if abs(d['load'] - .9) < .001)
        cost = [of_type('long', 'p999_us')(d) / of_type('long', 'p999_us')(c) for c, d in zip(sweep['c-fcfs'], sweep[policy])]
        darc = policy == 'darc'
        e.row(f'{name}: rate with shorts in 20 us, over c-FCFS', 2.3 if darc else None, short[policies.index(policy)] / short[0])
        e.row(f'{name}: krps with shorts in 20 us (measured by reviewers: 250)', None, short[policies.index(policy)])
        e.row(f'{name}: slowdown of c-FCFS over it, 250 krps (90%)', 'up to 15.7' if darc else None, at90)
        e.row(f'{name}: p99.9 of longs over c-FCFS, up to 90%', 'up to 4.2' if darc else None, max(c for c, d in zip(cost, sweep[policy]) if d['load'] < .901))
    e.row('c-FCFS: krps with shorts in 20 us (measured by reviewers: 100)', None, short[0])
    e.finish()


main()
