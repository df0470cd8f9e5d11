#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the two barriers between runtime, init and execution cost a function's start: eleven functions, ten starts each with and without them

A start here is a call that starts an instance, to its answer. With them means: the program is watched by the engine, and both barriers are set; without: the node has no engine. The two take turns, so that what
the machine does besides is the same for both. In FaaSMem (ASPLOS 2024) a barrier is an ageing of MGLRU, whose time its experiment reports; ours walks the page table of a process while that goes on.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import farmem  # noqa: E402
from experiment import Experiment  # noqa: E402

WAYS = ('keepalive', 'hearth')


def add_options(parser):
    farmem.options(parser)
    parser.add_argument('--runs', type=int, default=10, metavar='N', help='starts of each (%(default)s)')


def start(node, name):
    """ms of a call that starts an instance; those before have ended."""
    farmem.until(lambda: not any(inst['function'] == name for inst in node.ps()['instances']), f'{name}: its instance does not end')
    return node.invoke(name, 'cold')[0]


def measure(e, name):
    """Return: {way: [ms]}"""
    times = {way: [] for way in WAYS}
    with farmem.Node(e.args, WAYS[0]) as without, farmem.Node(e.args, WAYS[1]) as watched:
        nodes = dict(zip(WAYS, (without, watched)))
        for node in nodes.values():
            node.deploy(name, keep_s=.001)
            start(node, name)           # files are in the page cache from here on
        for _ in range(e.args.runs):
            for way, node in nodes.items():
                times[way].append(start(node, name))
    return times


def main():
    e = Experiment('farmem-barrier', __doc__, add_options=add_options, simulates=False, columns=('without, ms', 'with, ms', 'overhead, ms', 'overhead, %'))
    engine, _ = farmem.engine()
    found = {}
    e.row(f'medians of {e.args.runs} starts; engine {engine}', None, None, None, None)
    try:
        for name in e.args.functions:
            found[name] = measure(e, name)
    except farmem.Broken as error:
        sys.exit(f'hearth experiment: {error}')
    for name, times in found.items():
        off, on = (farmem.median(times[way]) for way in WAYS)
        e.row(name, off, on, on - off, (on / off - 1) * 100)
    e.csv(['function', 'engine', 'run', 'ms'], [[name, 'none' if way == 'keepalive' else engine, k, ms] for name, times in found.items() for way in WAYS for k, ms in enumerate(times[way])])
    e.plot(lambda axes: draw(axes[0], found))
    e.finish()


def draw(axis, found):
    for k, way in enumerate(WAYS):
        axis.bar([at + k * .4 for at in range(len(found))], [farmem.median(times[way]) for times in found.values()], .38, color=farmem.COLOURS[way], label=('without', 'with')[k])
    axis.set_xticks([at + .2 for at in range(len(found))], list(found), rotation=60, ha='right', fontsize=7)
    axis.set_ylabel('start to answer, ms')
    axis.legend(fontsize=8)


main()
