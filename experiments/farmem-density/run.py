#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How many instances of a function fit into a given memory, measured: more and more of them are called in turn until memory or P95 does not hold

Every instance is a function of its own, called once each period, so that it is idle in between. A number of instances fits when what they hold locally never exceeded the limit and P95 is within 10% of what it
is for the first number of keep-alive's. Keep-alive and this project's policy do the same, and what each has to learn of a new instance it learns in calls before those that count. Beside it the formula of
FaaSMem (ASPLOS 2024), which reports 108% to 218% of keep-alive by it: quota / (quota - used * share saved), with the average that was saved at keep-alive's number. What is away is in the embedded pool, whose memory the limit leaves out, as the paper does its other machine's; it is a line of its own.
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import farmem  # noqa: E402
from experiment import Experiment  # noqa: E402

WAYS = ('keepalive', 'hearth')
SLACK = 1.1


def add_options(parser):
    farmem.options(parser)
    parser.set_defaults(functions=['html_server', 'graph_bfs'])
    parser.add_argument('--base', type=int, default=6, metavar='N', help="instances that keep-alive's memory is the limit for, and the first number (%(default)s)")
    parser.add_argument('--grow', type=float, default=1.3, metavar='X', help='each number is so many times the one before (%(default)s)')
    parser.add_argument('--most', type=int, default=24, metavar='N', help='no more than so many (%(default)s)')
    parser.add_argument('--period', type=float, default=200, metavar='S', help='from call to call of an instance, before compression (%(default)s)')
    parser.add_argument('--rounds', type=int, default=6, metavar='N', help='calls of each that count (%(default)s)')
    parser.add_argument('--settle', type=int, default=12, metavar='N', help='calls of each before those (%(default)s)')
    parser.add_argument('--compress', type=int, default=20, metavar='N', help='how many times faster time goes (%(default)s)')


class Packed:
    """A node with more and more instances of one function."""

    def __init__(self, e, way, function):
        self.args, self.function, self.names, self.times, self.broken = e.args, function, [], [], []
        self.node = farmem.Node(e.args, way, e.args.compress)

    def call(self, name, counts):
        try:
            ms, how = self.node.invoke(name)
            if counts and how != 'cold':
                self.times.append(ms)
        except (farmem.Broken, OSError) as error:
            self.broken.append(str(error))

    def around(self, rounds, counts):
        """Every instance in turn, an open loop: a call that is late does not put off the next."""
        period, threads, began = self.args.period / self.args.compress, [], time.monotonic()
        for k in range(rounds * len(self.names)):
            time.sleep(max(0, began + period * k / len(self.names) - time.monotonic()))
            threads.append(threading.Thread(target=self.call, args=(self.names[k % len(self.names)], counts)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def point(self, n):
        """Return: {'n', 'local', 'most', 'pool', 'p95'}, MiB and ms"""
        while len(self.names) < n:
            self.names.append(f'{self.function}-{len(self.names)}')
            self.node.deploy(self.function, name=self.names[-1], max_instances='1')
            self.node.invoke(self.names[-1])
        self.around(self.args.settle, False)
        self.times = []
        self.node.watch()
        try:
            self.around(self.args.rounds, True)
        finally:
            memory, pool, _, most = self.node.watched()
        if self.broken:
            raise farmem.Broken(self.broken[0])
        return {'n': n, 'local': sum(local for local, _ in memory.values()), 'most': most, 'pool': pool, 'p95': farmem.quantile(self.times, .95)}


def pack(e, way, function, limit=None, p95=None):
    """Return: (every point up to the first that does not fit, the limit, P95). @limit: MiB, @p95: ms; None: what the first one takes."""
    points, n = [], e.args.base
    packed = Packed(e, way, function)
    with packed.node:
        while n <= e.args.most:
            points.append(packed.point(n))
            # one more of keep-alive's does not fit, a page more or less does
            limit = limit or points[0]['most'] * (1 + .5 / n)
            p95 = p95 or points[0]['p95']
            p = points[-1]
            p['fits'] = p['most'] <= limit and p['p95'] <= p95 * SLACK
            print(f"{function}, {way}: {n} instances: {p['most']:.0f} of {limit:.0f} MiB, P95 {p['p95']:.1f} of {p95 * SLACK:.1f} ms: {'fits' if p['fits'] else 'does not fit'}", file=sys.stderr, flush=True)
            if not p['fits']:
                break
            n = max(n + 1, int(n * e.args.grow))
    return points, limit, p95


def fitting(points):
    return max((p['n'] for p in points if p['fits']), default=0)


def main():
    e = Experiment('farmem-density', __doc__, add_options=add_options, simulates=False, columns=('keepalive', 'hearth', 'measured, times', 'formula, times'))
    engine, _ = farmem.engine()
    rows, found = [], {}
    e.row(f'called every {e.args.period:g} s, {e.args.compress} times faster; engine {engine}', None, None, None, None)
    try:
        for name in e.args.functions:
            base, limit, p95 = pack(e, 'keepalive', name)
            found[name] = {'keepalive': base, 'hearth': pack(e, 'hearth', name, limit, p95)[0], 'limit': limit}
            rows += [[name, way, limit, *p.values()] for way in WAYS for p in found[name][way]]
    except farmem.Broken as error:
        sys.exit(f'hearth experiment: {error}')
    for name, ways in found.items():
        off, on, limit = ways['keepalive'], ways['hearth'], ways['limit']
        saved = 1 - on[0]['local'] / off[0]['local']
        full = on[-1]['fits']
        e.row(f"{name}: instances in {limit:.0f} MiB{' (or more: --most)' if full else ''}", fitting(off), fitting(on), fitting(on) / max(fitting(off), 1), limit / (limit - off[0]['local'] * saved))
        e.row(f'{name}: P95 with the last that fit, ms', *(next((p['p95'] for p in reversed(ways[way]) if p['fits']), None) for way in WAYS), None, None)
        e.row(f'{name}: in the pool then, MiB', *(next((p['pool'] for p in reversed(ways[way]) if p['fits']), None) for way in WAYS), None, None)
    e.csv(['function', 'policy', 'limit_mib', 'instances', 'local_mib', 'most_mib', 'pool_mib', 'p95_ms', 'fits'], rows)
    e.plot(lambda axes: draw(axes, found), columns=len(found))
    e.finish()


def draw(axes, found):
    for axis, (name, ways) in zip(axes, found.items()):
        for way in WAYS:
            points = ways[way]
            axis.plot([p['n'] for p in points], [p['most'] for p in points], marker='.', color=farmem.COLOURS[way], label=way)
        axis.axhline(ways['limit'], color='black', linewidth=.7, linestyle=':')
        axis.set_xlabel('instances')
        axis.set_ylabel('most local memory, MiB')
        axis.set_title(name, fontsize=10)
        axis.legend(fontsize=8)


main()
