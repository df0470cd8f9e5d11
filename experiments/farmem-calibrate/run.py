#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The simulator's costs measured on a node of this machine, and a stretch of calls both live and simulated: local memory and latency side by side, and by how much they differ

Three steps. A node on which each function is called alone says what a fault, a prefetched page, a cold start and a restore take (costs.json, which `hearth sim-mem --costs` reads), and of each function what the
simulator's model wants to know: its segments, and which shares of them requests touch. Then a stretch of calls is replayed twice, under keep-alive and under this project's policy. Then the same calls are
simulated, by function, with those costs. What leaves (evict_per_s) is not measured here: `make bench-farmem` does that. The simulator knows no other load: what calls take from each other's processors is not in
its figures.
"""
import csv
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import farmem  # noqa: E402
from experiment import Experiment  # noqa: E402

PAGE = 4096
MIB = farmem.MIB
SEGMENTS = ('runtime', 'init', 'execution')
POLICIES = ('keepalive', 'hearth')
# while costs are measured, an idle instance's memory leaves so many times faster
HURRY = 60
RUN_HEADER = ['HashFunction', 'HashApp', 'HashOwner', 'Count', 'Average', 'Minimum', 'Maximum', *(f'percentile_Average_{p}' for p in (0, 1, 25, 50, 75, 99, 100))]
MEM_HEADER = ['HashApp', 'HashOwner', 'SampleCount', 'AverageAllocatedMb', *(f'AverageAllocatedMb_pct{p}' for p in (1, 5, 25, 50, 75, 95, 99, 100))]


def add_options(parser):
    farmem.options(parser)
    parser.set_defaults(functions=['html_server', 'json_dumps_loads', 'image_processing', 'graph_bfs'])
    parser.add_argument('--trace', metavar='FILE', help='of calls, see hearth-trace(1); the Azure sample where it is, else a generated one')
    parser.add_argument('--seed', type=int, default=1, help='of a generated trace, and of the simulation')
    parser.add_argument('--span', type=float, default=1200, metavar='S', help='of the trace, from its begin (%(default)s)')
    parser.add_argument('--compress', type=int, default=10, metavar='N', help='how many times faster (%(default)s)')
    parser.add_argument('--max-instances', type=int, default=8, metavar='N', help='of each function (%(default)s)')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='measurements of each cost with each function (%(default)s)')


# ---- costs ----

def figures(node, name):
    """Return: {'faults', 'fault_s', 'recalled' and 'prefetched' pages, 'resident', 'remote', 'segments'} of a function, so far; bytes are of what the engine has an eye on"""
    memory = next(f for f in node.ps()['functions'] if f['name'] == name)['memory']
    return {'faults': memory['faults'], 'fault_s': node.fault_s().get(name, 0), 'recalled': memory['recalled_bytes'] / PAGE, 'prefetched': memory['prefetched_pages'],
            'resident': sum(memory['resident'].values()), 'remote': sum(memory['remote'].values()), 'segments': {s: memory['resident'][s] + memory['remote'][s] for s in SEGMENTS}}


def at_rest(node, name):
    """Waits until an idle instance is warm, and what is told of it stays the same. Return: figures()"""
    last, same = None, 0

    def rests():
        nonlocal last, same
        found = figures(node, name)
        warm = node.ps()['instances'][0]['state'] == 'warm'
        same = same + 1 if warm and found == last else 0
        last = found
        return same == 5

    farmem.until(rests, f'{name}: its memory does not come to rest', .1)
    return last


def probe(e, name):
    """A function alone on a node. Return: {'run_ms', 'cold_ms', 'restore_ms' or None, 'fault' and 'prefetch': [(s, pages)], 'segments': {name: bytes}, 'left' of them when requests had what they use, 'other_bytes'}

    All of it leaves after every call, so that the next one touches what it needs while that is away: the first time by faults, then, as it is known, brought back at once.
    """
    with farmem.Node(e.args, 'keepalive') as node:
        node.deploy(name, keep_s=3600, max_instances='1')
        cold_ms, _ = node.invoke(name)
        run_ms = sorted(node.invoke(name)[0] for _ in range(2 + e.args.rounds))
    hot_ms = farmem.median(run_ms)
    with farmem.Node(e.args, 'hearth', HURRY) as node:
        node.deploy(name, keep_s=HURRY * 3600, max_instances='1', park='state', keep_warm='24h', farmem='{segments: false, floor: 0, rollback: 24h}')
        node.invoke(name)
        before = first = at_rest(node, name)
        found = {'run_ms': run_ms, 'cold_ms': cold_ms - hot_ms, 'restore_ms': None, 'segments': first['segments'], 'left': None, 'prefetch': [], 'fault': [],
                 'other_bytes': max(node.ps()['instances'][0]['memory_bytes'] - first['resident'], 0)}
        for _ in range(1 + e.args.rounds):
            ms, _ = node.invoke(name)
            after = at_rest(node, name)
            found['left'] = found['left'] or after['segments']
            pages, fault_s = after['prefetched'] - before['prefetched'], after['fault_s'] - before['fault_s']
            if pages > 0:
                found['prefetch'].append(((ms - hot_ms) / 1e3 - fault_s, pages))
            if after['faults'] > before['faults']:
                found['fault'].append((fault_s, after['recalled'] - before['recalled'] - pages))
            before = after
        if node.ps()['node']['can_park']:
            found['restore_ms'] = restore_ms(node, name) - hot_ms
    return found


def restore_ms(node, name):
    node.call('park', name)
    farmem.until(lambda: node.ps()['instances'][0]['state'] == 'parked', f'{name}: it is not parked')
    return node.invoke(name, 'wake')[0]


def per_page_us(pairs):
    """Of (s, pages): the median; None where nothing was measured"""
    return farmem.median([s / n * 1e6 for s, n in pairs if n > 0])


def costs_of(probes):
    found = {'fault_us': per_page_us([pair for p in probes.values() for pair in p['fault']]), 'prefetch_us': per_page_us([pair for p in probes.values() for pair in p['prefetch']]),
             'cold_start_ms': farmem.median([p['cold_ms'] for p in probes.values()]), 'restore_ms': farmem.median([p['restore_ms'] for p in probes.values() if p['restore_ms'] is not None])}
    return {key: round(max(value, 0), 4) for key, value in found.items() if value is not None}


# ---- the stretch ----

def calls_of(e, folder):
    """Return: ({function: [s]}, the path of a trace whose functions are these, what the table says of it). Functions of the trace are laid on ours in the order of their durations, in equal parts."""
    path, what = e.args.trace or farmem.AZURE, 'recorded calls'
    if not e.args.trace and not os.path.exists(path):
        path, what = os.path.join(folder, 'generated.csv'), 'SYNTHETIC calls'
        farmem.run('trace', 'generate', '--seed', str(e.args.seed), '--span', f'{e.args.span:g}', '-o', path)
    with open(path, encoding='utf-8') as file:
        rows = [(row['app'] + row['func'], float(row['end_timestamp']) - float(row['duration']), float(row['duration'])) for row in csv.DictReader(file)]
    took = {}
    for function, _, duration in rows:
        took.setdefault(function, []).append(duration)
    ranked = sorted(took, key=lambda f: (sum(took[f]) / len(took[f]), f))
    names = e.args.functions
    mine = {f: names[k * len(names) // len(ranked)] for k, f in enumerate(ranked)}
    calls = {name: sorted(at for f, at, _ in rows if mine[f] == name and 0 <= at < e.args.span) for name in names}
    return calls, write_trace(os.path.join(folder, 'stretch.csv'), calls), what


def write_trace(path, calls):
    """Durations do nothing but rank: the k-th function's is k ms."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['app', 'func', 'end_timestamp', 'duration'])
        for at, k in sorted((at, k) for k, name in enumerate(calls) for at in calls[name]):
            writer.writerow([f'a{k}', f'f{k}', f'{at + (k + 1) / 1e3:.6f}', f'{(k + 1) / 1e3:.3f}'])
    return path


def live(e, trace, calls):
    """Return: {policy: what farmem.measure() returns}"""
    called = [name for name in e.args.functions if calls[name]]
    return {policy: farmem.measure(e.args, policy, [trace], e.args.compress, called) for policy in POLICIES}


# ---- the same, simulated ----

def spread(values):
    """Run times at the trace's percentiles"""
    return [farmem.quantile(values, q) for q in (0, .01, .25, .5, .75, .99, 1)]


def describe(folder, name, seen, at):
    """The three files of a function; columns are seconds of the live stretch. The first call is the one that measure() makes before it looks. Return: (their prefix, columns)"""
    prefix, columns = os.path.join(folder, name), [1] + [0] * (int(max(at)) + 2)
    for s in at:
        columns[int(s) + 1] += 1
    mib = sum(seen['segments'].values()) / MIB
    files = {'inv': (['HashFunction', 'HashApp', 'HashOwner', *(f'minute_{k + 1}' for k in range(len(columns)))], [name, name, 'o', *columns]),
             'run': (RUN_HEADER, [name, name, 'o', len(seen['run_ms']), farmem.median(seen['run_ms']), seen['run_ms'][0], seen['run_ms'][-1], *spread(seen['run_ms'])]),
             'mem': (MEM_HEADER, [name, 'o', 1, *[f'{mib:.6f}'] * 9])}
    for ending, rows in files.items():
        with open(f'{prefix}_{ending}.csv', 'w', newline='', encoding='utf-8') as file:
            csv.writer(file, lineterminator='\n').writerows(rows)
    return prefix, len(columns)


def simulate(e, folder, name, seen, at, costs):
    """Return: {policy: {'local_mib', 'p50_ms', 'p95_ms', 'mean_ms', 'cold'}}: memory of instances alone, latency that was added"""
    c = e.args.compress
    prefix, columns = describe(folder, name, seen, [s / c for s in at])
    touched = {s: 1 - seen['left'][s] / seen['segments'][s] if seen['segments'][s] > 0 else 0 for s in SEGMENTS}
    # what a request leaves behind, the model has as a part of the init segment that the next one touches
    init = seen['segments']['init'] + seen['segments']['execution']
    hot = (touched['init'] * seen['segments']['init'] + seen['segments']['execution']) / init if init > 0 else 0
    found = {}
    for policy in POLICIES:
        done = farmem.run('sim-mem', '--trace', prefix, '--policy', policy, '--minute', f'{c}s', '--compress', str(c), '--keepalive', f'{farmem.KEEP_S}s', '--costs', costs, '--seed', str(e.args.seed),
                          '--runtime', str(max(int(seen['segments']['runtime']), PAGE)), '--runtime-hot', f"{share(touched['runtime']):.6f}", '--init-hot', f'{share(hot):.6f}', '--overlap', '1',
                          '--json', '--by-function')
        d = json.loads(done.stdout)
        alive_s = d['by_function'][0]['alive_s']
        found[policy] = {'local_mib': (d['local_gib_s'] * 1024 + seen['other_bytes'] / MIB * alive_s) / columns, 'p50_ms': d['added_ms']['p50'], 'p95_ms': d['added_ms']['p95'],
                         'mean_ms': d['added_mean_ms'], 'cold': d['cold_starts'] - 1}
    return found


def share(x):
    return min(max(x, 0), 1)


# ---- side by side ----

def compare(name, lived, simulated):
    """Return: rows (what, live, simulated)"""
    on, off = lived['hearth']['functions'][name], lived['keepalive']['functions'][name]
    rows = [(f'local under {policy}, MiB', lived[policy]['functions'][name]['local_mib'], simulated[policy]['local_mib']) for policy in POLICIES]
    rows.append(('saved, %', 100 * (1 - on['local_mib'] / off['local_mib']), 100 * (1 - simulated['hearth']['local_mib'] / simulated['keepalive']['local_mib'])))
    rows += [(f'{key} added, ms', on[f'{key}_ms'] - off[f'{key}_ms'], simulated['hearth'][f'{key}_ms']) for key in ('p50', 'p95')]
    rows.append(('mean wait for faults and prefetch, ms', on['moved_ms'] / max(on['calls'], 1), simulated['hearth']['mean_ms']))
    rows.append(('cold starts', on['cold'], simulated['hearth']['cold']))
    return [(f'{name}: {what}', a, b) for what, a, b in rows]


def deviation(what, a, b):
    """Of what is simulated from what was measured, %; of latencies, percents and counts there is the difference alone."""
    return 100 * (b / a - 1) if 'MiB' in what and a > 0 else None


def main():
    e = Experiment('farmem-calibrate', __doc__, add_options=add_options, simulates=False, columns=('live', 'simulated', 'difference', 'deviation, %'))
    engine, _ = farmem.engine()
    try:
        with tempfile.TemporaryDirectory(prefix='hearth-fm-') as folder:
            calls, trace, what = calls_of(e, folder)
            probes = {name: probe(e, name) for name in e.args.functions if calls[name]}
            if not probes:
                raise farmem.Broken(f'there is no call in the first {e.args.span:g} s of the trace')
            costs = costs_of(probes)
            path = e.path('-costs.json')
            with open(path, 'w', encoding='utf-8') as file:
                json.dump(costs, file)
                file.write('\n')
            print(f'costs: {costs}', file=sys.stderr, flush=True)
            lived = live(e, trace, calls)
            for one in lived['hearth']['functions'].values():
                one['moved_ms'] = one['fault_ms'] + one['prefetched_pages'] * costs.get('prefetch_us', 0) / 1e3
            simulated = {name: simulate(e, folder, name, seen, calls[name], path) for name, seen in probes.items()}
    except farmem.Broken as error:
        sys.exit(f'hearth experiment: {error}')
    report(e, f"{what}, {e.args.span:g} s, {e.args.compress} times faster; engine {engine}; load of the machine before {lived['hearth']['load']:.1f}", costs, lived, simulated)


def report(e, title, costs, lived, simulated):
    e.row(title, None, None, None, None)
    for key, value in costs.items():
        e.row(f'cost: {key}', value, None, None, None)
    rows = [row for name in simulated for row in compare(name, lived, simulated[name])]
    sums = {policy: (farmem.of_all(lived[policy], 'local_mib'), sum(one[policy]['local_mib'] for one in simulated.values())) for policy in POLICIES}
    rows += [(f'all: local under {policy}, MiB', *sums[policy]) for policy in POLICIES]
    rows.append(('all: saved, %', *(100 * (1 - sums['hearth'][k] / sums['keepalive'][k]) for k in (0, 1))))
    for what, a, b in rows:
        e.row(what, a, b, b - a, deviation(what, a, b))
    e.csv(['what', 'live', 'simulated'], rows)
    e.plot(lambda axes: draw(axes, lived, simulated), columns=2)
    e.finish()


def draw(axes, lived, simulated):
    names = list(simulated)
    for axis, policy in zip(axes, POLICIES):
        for k, (label, values) in enumerate((('live', [lived[policy]['functions'][n]['local_mib'] for n in names]), ('simulated', [simulated[n][policy]['local_mib'] for n in names]))):
            axis.bar([at + k * .4 for at in range(len(names))], values, .38, color=('tab:red', 'tab:gray')[k], label=label)
        axis.set_xticks([at + .2 for at in range(len(names))], names, rotation=30, ha='right', fontsize=7)
        axis.set_ylabel('average local memory, MiB')
        axis.set_title(policy, fontsize=10)
        axis.legend(fontsize=8)


main()
