#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The eleven functions under a trace, live: average local memory and P95 latency by keep-alive, TMO's formula, cold for 60 s, and this project's policy

All four run in the same node with the same engine, which moves memory; what differs is the policy (hearthd(8), farmem_policy), and keep-alive has no engine at all. Idle instances end after 600 s. Of a trace
that is replayed N times faster, keep-alive and every time of every policy are so much shorter and rates higher; how long calls and faults take is not, and a function has two instances at most, as bursts that come so much faster would start many. Each function is called once before the trace begins (--calls-before),
and P95 is that of calls that found an instance: how many came before theirs was ready is a line of its own. Of 3 to 36 calls a function P95 is one call or two, and chance decides what else the processors did then: with
--rounds the policies run by turns so many times, figures are medians of the rounds (those of each are in the CSV), and two more lines say how far apart the mean of P95 was from round to round. --repeat has
the trace so many times over. With --at-once they run side by side, each on its part of the processors, so that a machine that is faster in one hour than in the next is so for all.
FaaSMem (ASPLOS 2024) reports 9.9% to 79.8% less local memory than keep-alive. Its pool is another machine's; the embedded one takes memory of this machine, which is a line of its own, and so is what one elsewhere (--pool) takes of its machine.
"""
import concurrent.futures
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import farmem  # noqa: E402
from experiment import Experiment  # noqa: E402


def add_options(parser):
    farmem.options(parser)
    farmem.trace_options(parser)
    parser.add_argument('--rounds', type=farmem.positive, default=1, metavar='N', help='all policies, so many times (%(default)s)')
    parser.add_argument('--at-once', action='store_true', help='the policies of a round side by side, each on its part of the processors')
    parser.add_argument('--policies', type=farmem.names(farmem.POLICIES), default=list(farmem.POLICIES), metavar='P,P...', help=', '.join(farmem.POLICIES))


def both(found, memory, p95):
    """The columns of a row. @memory, @p95: of what measure() returned."""
    return [value for one in found.values() for value in (memory(one), p95(one))]


def spread(rounds, policy):
    """Return: the least and the most, of all rounds, that the mean of P95 was above the same round's keep-alive, in percent."""
    found = [change for one in rounds if (change := farmem.change(one[policy], one['keepalive'], 'p95_ms')) is not None]
    return min(found, default=None), max(found, default=None)


def table(e, found, rounds):
    for name in e.args.functions:
        e.row(name, *both(found, lambda one, name=name: one['functions'][name]['local_mib'], lambda one, name=name: one['functions'][name]['p95_ms'] or None))
    e.row('all', *both(found, lambda one: farmem.of_all(one, 'local_mib'), lambda one: None))
    e.row('in the pool of this machine', *both(found, lambda one: one['pool'], lambda one: None))
    e.row('in the pool elsewhere', *both(found, lambda one: one['elsewhere'], lambda one: None))
    base = found.get('keepalive')
    if base:
        e.row('to keep-alive, % (P95: mean of the functions)', *both(found, lambda one: farmem.change(one, base, 'local_mib'), lambda one: farmem.change(one, base, 'p95_ms')))
        if len(rounds) > 1:
            for k, what in enumerate(('least', 'most')):
                e.row(f'the {what} of {len(rounds)} rounds', *[v for policy in found for v in (None, spread(rounds, policy)[k])])
    # what else the machine did: where these differ much, latencies say little
    e.row('load of the machine before it', *both(found, lambda one: None, lambda one: one['load']))
    e.row('calls that waited for a start | errors', *both(found, lambda one: one['starts']['cold'], lambda one: one['errors']))


def draw(axes, found, functions):
    for axis, key, label in ((axes[0], 'local_mib', 'average local memory, MiB'), (axes[1], 'p95_ms', 'P95 latency, ms')):
        for k, (policy, one) in enumerate(found.items()):
            axis.bar([at + k * .2 for at in range(len(functions))], [one['functions'][f][key] for f in functions], .19, color=farmem.COLOURS[policy], label=policy)
        axis.set_xticks([at + .3 for at in range(len(functions))], functions, rotation=60, ha='right', fontsize=7)
        axis.set_yscale('log')
        axis.set_ylabel(label)
        axis.legend(fontsize=8)


def measure(args, policy, trace, cpus):
    """@cpus: the thread's, and so those of all that it starts."""
    if cpus:
        os.sched_setaffinity(0, cpus)
    one = farmem.measure(args, policy, trace, farmem.factor(args), args.functions)
    print(f"{policy}: {one['wall_s']:.0f} s, {one['errors']} errors", file=sys.stderr, flush=True)
    return one


def rounds_of(args, trace):
    """Return: [{policy: what farmem.measure returned}]"""
    n = len(args.policies) if args.at_once else 1
    parts = farmem.processors(n) * (len(args.policies) // n) if args.at_once else [None] * len(args.policies)
    rounds = []
    for _ in range(args.rounds):
        with concurrent.futures.ThreadPoolExecutor(n) as threads:
            rounds.append(dict(zip(args.policies, threads.map(lambda policy, cpus: measure(args, policy, trace, cpus), args.policies, parts))))
    return rounds


def main():
    e = Experiment('farmem-benchmarks', __doc__, add_options=add_options, simulates=False)
    e.columns = tuple(f'{policy} {what}' for policy in e.args.policies for what in ('MiB', 'P95 ms'))
    name, _ = farmem.engine()
    try:
        with tempfile.TemporaryDirectory(prefix='hearth-fm-') as folder:
            trace, what = farmem.trace_of(e.args, folder)
            rounds = rounds_of(e.args, trace)
    except farmem.Broken as error:
        sys.exit(f'hearth experiment: {error}')
    first = rounds[0]
    keys = list(next(iter(next(iter(first.values()))['functions'].values())))
    e.csv(['round', 'policy', 'function', *keys], [[k, policy, f, *row.values()] for k, one in enumerate(rounds, 1) for policy, of in one.items() for f, row in of['functions'].items()])
    found = {policy: farmem.middle([one[policy] for one in rounds]) for policy in e.args.policies}
    e.plot(lambda axes: draw(axes, found, e.args.functions), columns=2)
    before = f', {e.args.calls_before} calls before' if e.args.calls_before > 1 else ''
    own = ''.join(f', {key}={value}' for key, value in e.args.set)
    e.row(f'{what}{" (SYNTHETIC)" if "SYNTHETIC" not in what and next(iter(first.values()))["synthetic"] else ""}, {farmem.factor(e.args)} times faster; engine {name}, pool {e.args.pool}{before}{own}', *[None] * len(e.columns))
    table(e, found, rounds)
    e.finish()


main()
