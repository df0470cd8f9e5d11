#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""For which functions semi-warm is of use: the share of their instances' lives that they spend so, and what it saves and costs, simulated, by load

After FaaSMem (ASPLOS 2024), which simulates it over 424 functions: 28 of high load (512 calls a day and more), 76 of middle (64 and more) and 320 of low load. Here it is `hearth sim-mem` over the recorded day of
1,000 functions where it is, else over a synthetic one, which is labelled so: this project's policy with and without semi-warm, and FaaSMem with its oracle. An instance is semi-warm from when the memory of the
idle instance begins to leave until it is called or ends.
"""
import concurrent.futures
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import farmem  # noqa: E402
from experiment import Experiment  # noqa: E402

# name: options of hearth sim-mem
WAYS = {'hearth': ['--policy', 'hearth'], 'without': ['--policy', 'hearth', '--no-semiwarm'], 'faasmem-oracle': ['--policy', 'faasmem-oracle']}
# calls a day, from
LOADS = (('high', 512), ('middle', 64), ('low', 0))
COLOURS = {'all': 'tab:red', 'high': 'black', 'middle': 'tab:orange', 'low': 'tab:purple'}


def add_options(parser):
    parser.add_argument('--trace', metavar='PREFIX', help='as of hearth-sim-mem(1); the recorded day of 1,000 functions where it is, else a synthetic one, as with ""')
    parser.add_argument('--functions', type=int, default=1000, metavar='N', help='of a synthetic day (%(default)s)')
    parser.add_argument('--minutes', type=int, default=1440, metavar='N', help='the first of it (%(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='of the model, and of a synthetic day (%(default)s)')


def simulate(args, prefix):
    """Return: {way: JSON}"""
    day = ['--trace', prefix] if prefix else ['--functions', str(args.functions)]
    day += ['--minutes', str(args.minutes), '--seed', str(args.seed), '--jobs', '1', '--json', '--by-function']
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda options: farmem.run('sim-mem', *day, *options), WAYS.values())
        return {way: json.loads(one.stdout) for way, one in zip(WAYS, done)}


def functions_of(days):
    """Return: [{'function', 'load', 'calls_a_day', 'lifetime_s', way: row of the simulation}] of those that were called"""
    minutes = days['hearth']['minutes']
    found = []
    for rows in zip(*(day['by_function'] for day in days.values())):
        ways = dict(zip(days, rows))
        if ways['hearth']['requests'] == 0:
            continue
        calls = ways['hearth']['requests'] * 1440 / minutes
        found.append({'function': ways['hearth']['function'], 'load': next(name for name, least in LOADS if calls >= least), 'calls_a_day': calls,
                      'lifetime_s': ways['hearth']['alive_s'] / max(ways['hearth']['cold_starts'], 1), **ways})
    return found


def share(row):
    """Of its instances' lives: what they were semi-warm, %"""
    return 100 * row['semiwarm_s'] / row['alive_s'] if row['alive_s'] > 0 else 0


def saved(rows, way):
    """Of keep-alive's memory of all these functions, %"""
    kept = sum(row[way]['local_gib_s'] / (1 - row[way]['saved_pct'] / 100) for row in rows if row[way]['saved_pct'] < 100)
    return 100 * (1 - sum(row[way]['local_gib_s'] for row in rows) / kept) if kept > 0 else 0


def by_load(found):
    yield 'all', found
    for name, _ in LOADS:
        yield name, [row for row in found if row['load'] == name]


def table(e, found):
    for name, rows in by_load(found):
        if rows:
            e.row(f'{name} load' if name != 'all' else name, len(rows), farmem.median([share(row['hearth']) for row in rows]), farmem.median([share(row['faasmem-oracle']) for row in rows]),
                  saved(rows, 'hearth'), saved(rows, 'without'), saved(rows, 'faasmem-oracle'), farmem.median([row['hearth']['added_ms']['p95'] for row in rows]),
                  farmem.median([row['without']['added_ms']['p95'] for row in rows]))


def cdf(axis, values, **style):
    values = sorted(values)
    axis.step(values, [(k + 1) / len(values) for k in range(len(values))], where='post', **style)


def draw(axes, found):
    for name, rows in by_load(found):
        if not rows:
            continue
        cdf(axes[0], [share(row['hearth']) for row in rows], color=COLOURS[name], label=f'{name} ({len(rows)})')
        cdf(axes[0], [share(row['faasmem-oracle']) for row in rows], color=COLOURS[name], linestyle=':')
        cdf(axes[1], [row['lifetime_s'] / 60 for row in rows], color=COLOURS[name], label=name)
        cdf(axes[2], [row['hearth']['saved_pct'] - row['without']['saved_pct'] for row in rows], color=COLOURS[name], label=name)
    axes[1].set_xscale('log')
    for axis, label in zip(axes, ('semi-warm, % of lifetime (dotted: FaaSMem with its oracle)', 'mean lifetime of instances, minutes', 'saved by semi-warm, % of keep-alive')):
        axis.set_xlabel(label)
        axis.set_ylabel('functions')
        axis.legend(fontsize=8)


def main():
    e = Experiment('farmem-semiwarm', __doc__, add_options=add_options, simulates=False, columns=(
        'functions', 'semi-warm, % of lifetime', 'the same, FaaSMem', 'saved, %', 'without semi-warm, %', 'FaaSMem, %', 'added P95, ms', 'without, ms'))
    prefix = e.args.trace if e.args.trace is not None else farmem.AZURE_DAY if os.path.exists(farmem.AZURE_DAY + '_inv.csv') else ''
    try:
        days = simulate(e.args, prefix)
    except farmem.Broken as error:
        sys.exit(f'hearth experiment: {error}')
    found = functions_of(days)
    e.row(f"{os.path.basename(prefix) if prefix else 'SYNTHETIC day'}, {days['hearth']['minutes']} minutes; medians of functions, saved of all", *[None] * len(e.columns))
    table(e, found)
    e.csv(['function', 'load', 'calls_a_day', 'lifetime_s', *(f'{way}_{key}' for way in WAYS for key in ('semiwarm_pct', 'saved_pct', 'added_p95_ms', 'cold_starts'))],
          [[*(row[key] for key in ('function', 'load', 'calls_a_day', 'lifetime_s')),
            *(value for way in WAYS for value in (share(row[way]), row[way]['saved_pct'], row[way]['added_ms']['p95'], row[way]['cold_starts']))] for row in found])
    e.plot(lambda axes: draw(axes, found), columns=3)
    e.finish()


main()
