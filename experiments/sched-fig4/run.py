#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fig 4: how many workers to reserve: High and Extreme Bimodal at 90% load

0 reserved is fixed priority. 14 workers, 10 us of network time.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from experiment import STYLE, Experiment, slowdown  # noqa: E402

MIXES = (('a', 'high-bimodal'), ('b', 'extreme-bimodal'))


def main():
    e = Experiment('sched-fig4', __doc__, requests=4000000)
    reserved = list(range(0, 14))
    runs = [{'workload': mix, 'rtt_us': 10, 'load': .9, **({'policy': 'darc-static', 'reserved': n} if n else {'policy': 'fp'})} for _, mix in MIXES for n in reserved]
    others = [{'workload': mix, 'rtt_us': 10, 'load': .9, 'policy': p} for _, mix in MIXES for p in ('darc', 'minimax')]
    results = e.sims(runs + others)
    static = {fig: results[i * len(reserved):(i + 1) * len(reserved)] for i, (fig, _) in enumerate(MIXES)}
    rest = results[len(runs):]
    e.csv(['figure', 'reserved', 'slowdown_p999', 'short_p999_us', 'long_p999_us'],
          [[fig, n, r['slowdown_p999'], r['types'][0]['p999_us'], r['types'][1]['p999_us']] for fig, _ in MIXES for n, r in zip(reserved, static[fig])])

    def draw(axes):
        for axis, (fig, mix), i in zip(axes, MIXES, (0, 2)):
            axis.plot(reserved, [slowdown(r) for r in static[fig]], marker='o', color=STYLE['darc-static'][0], label='DARC-static')
            for r, policy in zip(rest[i:i + 2], ('darc', 'minimax')):
                axis.axhline(slowdown(r), color=STYLE[policy][0], linestyle='--', label=STYLE[policy][1])
            axis.set_yscale('log')
            axis.set_xlabel('workers reserved for short requests')
            axis.set_ylabel('p99.9 slowdown')
            axis.set_title(f'{mix} at 90% load', fontsize=10)
            axis.legend(fontsize=8)

    e.plot(draw, 2)
    a, b = ([slowdown(r) for r in static[fig]] for fig, _ in MIXES)
    e.row('4a: slowdown with 0 reserved over 1 reserved', 4.4, a[0] / a[1])
    e.row('4a: slowdown, 0 reserved (measured by reviewers: ~75)', None, a[0])
    e.row('4a: slowdown, 1 reserved (measured by reviewers: ~13)', None, a[1])
    e.row('4a: best number to reserve', 1, min(range(len(a)), key=lambda i: a[i]))
    e.row('4b: best number to reserve (DARC: 2)', None, min(range(len(b)), key=lambda i: b[i]))
    e.row('4b: slowdown with that many (20 of it is network time)', None, min(b))
    for fig, i in (('4a', 0), ('4b', 2)):
        e.row(f'{fig}: slowdown, DARC', None, slowdown(rest[i]))
        e.row(f'{fig}: slowdown, minimax', None, slowdown(rest[i + 1]))
    e.finish()


main()
