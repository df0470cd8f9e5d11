#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""minimax against DARC, fixed priority and c-FCFS: nine mixes, seven loads

p99.9 slowdown over all requests, 14 workers, no network time. Figures are means over the seeds.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from experiment import STYLE, Experiment, slowdown  # noqa: E402

MIXES = ('high-bimodal', 'extreme-bimodal', 'tpcc', 'rocksdb', 'three-types', 'low-dispersion', 'geometric-8', 'flat-8', 'rare-long')
LOADS = (.1, .3, .5, .7, .8, .9, .95)
POLICIES = ('darc', 'fp', 'c-fcfs', 'minimax')
# ns of the one dispatcher's time for each request: what enqueue, decisions and completion cost minimax at 50% and at 90% load, measured on a machine of 2026
COSTS = {'high-bimodal': (55, 125), 'extreme-bimodal': (20, 30), 'tpcc': (85, 240), 'rocksdb': (45, 105), 'three-types': (60, 310), 'low-dispersion': (25, 60),
         'geometric-8': (95, 480), 'flat-8': (170, 840), 'rare-long': (25, 50)}
COST_OTHERS = 20


def cost_ns(mix, load, policy):
    low, high = COSTS[mix]
    return round(low + (high - low) * min(1, max(0, (load - .5) / .4))) if policy == 'minimax' else COST_OTHERS

def options(parser):
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='seeds, from --seed on; default 1')
    parser.add_argument('--mixes', metavar='A,B', help='only these')
    parser.add_argument('--scv', type=float, metavar='X', help='all service times vary within their type: 0.1 a little, 1 exponential')
    parser.add_argument('--slowdown', choices=('request', 'mean'), default='mean', help='with --scv: of the request\'s own service time, or of its type\'s mean (default)')
    parser.add_argument('--cost', action='store_true', help='charge what the policies\' decisions cost the dispatcher')
    parser.add_argument('--label', default='', metavar='TEXT', help='a column of the CSV file: say, the commit')


def main():
    e = Experiment('sched-minimax', __doc__, requests=4000000, add_options=options)
    a = e.args
    mixes = [m for m in MIXES if not a.mixes or m in a.mixes.split(',')] or sys.exit(f'hearth experiment: --mixes: there are {", ".join(MIXES)}')
    cells = [(mix, load, policy, seed) for mix in mixes for load in LOADS for policy in POLICIES for seed in range(a.seed, a.seed + a.seeds)]
    more = {'scv': a.scv, 'slowdown': a.slowdown} if a.scv is not None else {}
    results = e.sims([{'workload': m, 'load': load, 'policy': p, 'seed': s, **more,
                       **({'dispatch_ns': cost_ns(m, load, p)} if a.cost else {})} for m, load, p, s in cells])
    values = dict(zip(cells, map(slowdown, results)))
    of = {(m, load, p): sum(values[m, load, p, a.seed + i] for i in range(a.seeds)) / a.seeds for m in mixes for load in LOADS for p in POLICIES}
    rows, worst = [], []
    for m in mixes:
        for load in LOADS:
            four = [of[m, load, p] for p in POLICIES]
            behind = four[3] / min(four[:3]) - 1
            worst.append((behind, m, load))
            rows.append([a.label, a.seed, a.seeds, a.requests, '' if a.scv is None else a.scv, '' if a.scv is None else a.slowdown, int(a.cost), m, load, *four, round(behind, 4)])
            e.row(f'{m} at {load:.0%}: DARC, fixed priority, c-FCFS | minimax', ', '.join(f'{v:.4g}' for v in four[:3]), f'{four[3]:.4g} ({behind:+.1%})')
    e.csv(['label', 'seed', 'seeds', 'requests', 'scv', 'slowdown_of', 'cost', 'mix', 'load', 'darc', 'fp', 'c_fcfs', 'minimax', 'behind_best'], rows)

    def draw(axes):
        for axis, m in zip(axes, mixes):
            for p in POLICIES:
                axis.plot(LOADS, [of[m, load, p] for load in LOADS], marker='.', color=STYLE[p][0], label=STYLE[p][1])
            axis.set_yscale('log')
            axis.set_ylim(0.9, 1000)
            axis.set_title(m, fontsize=10)
            axis.set_xlabel('load')
        for axis in axes[:len(mixes)]:
            axis.set_ylabel('p99.9 slowdown')
        for axis in axes[len(mixes):]:
            axis.remove()
        axes[0].legend(fontsize=8)

    e.plot(draw, min(3, len(mixes)), (len(mixes) + 2) // 3)
    behind, m, load = max(worst)
    e.row('farthest behind the best of the three', 'at most 5%', f'{behind:+.1%} ({m} at {load:.0%})')
    e.finish()


main()
