#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three applications under six traces: local memory and P95 latency of keep-alive, TMO's formula and this project's policy, live

The applications are FaaSMem's (ASPLOS 2024): bert, a graph and a web page. Its traces are six functions of Azure's of low to high load; here they are generated, one seed each, with from few to many calls, and
labelled synthetic. Otherwise as farmem-benchmarks: see there.
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import farmem  # noqa: E402
from experiment import HEARTH, Experiment  # noqa: E402

POLICIES = ('keepalive', 'tmo', 'hearth')
CALLS = (10, 20, 40, 80, 160, 320)


def add_options(parser):
    farmem.options(parser)
    parser.set_defaults(functions=['html_server', 'graph_bfs', 'bert'])
    parser.add_argument('--seed', type=int, default=1, help='of the first trace')
    parser.add_argument('--max-instances', type=int, default=2, metavar='N', help='of each function (%(default)s)')
    parser.add_argument('--calls', type=lambda s: [int(n) for n in s.split(',')], default=list(CALLS), metavar='N,N...', help='of each trace, over 20 minutes before compression')
    parser.add_argument('--lite', action='store_true', help='three of the traces, 40 times faster')
    parser.add_argument('--compress', type=int, metavar='N', help='how many times faster; 2, with --lite 40')


def measure(e, folder, compress):
    """Return: {(calls, function): {policy: what farmem.measure() returns}}"""
    found = {}
    for seed, calls in enumerate(e.args.calls[::2] if e.args.lite else e.args.calls, e.args.seed):
        path = os.path.join(folder, f'{calls}.csv')
        subprocess.run([HEARTH, 'trace', 'generate', '--seed', str(seed), '--invocations', str(calls), '--functions', '1', '-o', path], check=True, stdout=subprocess.DEVNULL)
        for name in e.args.functions:
            found[calls, name] = {policy: farmem.measure(e.args, policy, [path], compress, [name]) for policy in POLICIES}
    return found


def main():
    e = Experiment('farmem-workloads', __doc__, add_options=add_options, simulates=False, columns=tuple(f'{p} {what}' for p in POLICIES for what in ('MiB', 'P95 ms')))
    compress = e.args.compress or (40 if e.args.lite else 2)
    engine, _ = farmem.engine()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(e, folder, compress)
    except farmem.Broken as error:
        sys.exit(f'hearth experiment: {error}')
    e.row(f'SYNTHETIC traces, {compress} times faster; engine {engine}', *[None] * len(e.columns))
    for (calls, name), ones in found.items():
        e.row(f'{name}, {calls} calls', *[one['functions'][name][key] for one in ones.values() for key in ('local_mib', 'p95_ms')])
    keys = list(next(iter(next(iter(found.values()))['hearth']['functions'].values())))
    e.csv(['calls', 'function', 'policy', *keys], [[calls, name, policy, *one['functions'][name].values()] for (calls, name), ones in found.items() for policy, one in ones.items()])
    e.plot(lambda axes: draw(axes, found, e.args.functions), columns=len(e.args.functions))
    e.finish()


def draw(axes, found, functions):
    for axis, name in zip(axes, functions):
        for policy in POLICIES:
            points = [(calls, ones[policy]['functions'][name]['local_mib']) for (calls, f), ones in found.items() if f == name]
            axis.plot([x for x, _ in points], [y for _, y in points], marker='.', color=farmem.COLOURS[policy], label=policy)
        axis.set_xscale('log')
        axis.set_xlabel('calls')
        axis.set_ylabel('average local memory, MiB')
        axis.set_title(name, fontsize=10)
        axis.legend(fontsize=8)


main()
