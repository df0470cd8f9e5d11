# SPDX-License-Identifier: Apache-2.0
"""What every experiment needs: simulations in parallel, a CSV file, a plot when matplotlib is there, and the last table."""
import argparse
import concurrent.futures
import csv
import json
import os
import subprocess
import sys

HEARTH = os.environ.get('HEARTH') or os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bin', 'hearth')
# colour and name of each policy, the same in every plot
STYLE = {
    'd-fcfs-random': ('tab:gray', 'd-FCFS'), 'c-fcfs': ('tab:blue', 'c-FCFS'), 'ws': ('tab:cyan', 'work stealing (Shenango)'),
    'ts': ('tab:orange', 'time sharing (Shinjuku)'), 'fp': ('tab:purple', 'fixed priority'), 'darc-static': ('tab:brown', 'DARC-static'),
    'darc': ('tab:red', 'DARC'), 'minimax': ('tab:green', 'minimax'),
}


class Experiment:
    """One run of an experiment: options, simulations, files and the table."""

    def __init__(self, name, doc, requests=1000000, add_options=None, simulates=True, columns=('published', 'ours')):
        parser = argparse.ArgumentParser(prog=f'hearth experiment {name}', description=doc.split('\n', maxsplit=1)[0])
        parser.add_argument('--out', default=os.path.join('hearth-results', name), metavar='DIR', help='where the files go (%(default)s)')
        if simulates:
            parser.add_argument('--requests', type=lambda s: int(float(s)), default=requests, metavar='N', help='requests of each simulation (%(default)s)')
            parser.add_argument('--seed', type=int, default=1, metavar='S', help='of the first; default 1')
            parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, metavar='N', help='simulations at a time (%(default)s)')
        parser.add_argument('--json', action='store_true', help='the table as JSON')
        if add_options:
            add_options(parser)
        self.args = parser.parse_args()
        if simulates and (self.args.requests < 1000 or self.args.jobs < 1):
            parser.error('--requests must be 1000 at least, --jobs 1')
        self.name, self.rows, self.files, self.columns = name, [], [], columns
        try:
            os.makedirs(self.args.out, exist_ok=True)
        except OSError as error:
            sys.exit(f'hearth experiment: cannot make {self.args.out}: {error.strerror}')

    # ---- simulations ----

    def sim(self, **options):
        """One simulation. Options as of `hearth sim`, with _ for -; True stands for an option without value. Return: its JSON."""
        options.setdefault('seed', self.args.seed)
        if 'requests' not in options:
            options['requests'] = self.args.requests
        command = [HEARTH, 'sim', '--json', '--jobs', '1']
        for key, value in options.items():
            if value is not None:
                command += ['--' + key.replace('_', '-')] + ([] if value is True else [str(value)])
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"hearth experiment: {' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
        return json.loads(done.stdout)

    def sims(self, runs):
        """Many simulations at a time. @runs: a list of options. Return: their JSON, in order."""
        results = [None] * len(runs)
        with concurrent.futures.ThreadPoolExecutor(self.args.jobs) as pool:
            futures = {pool.submit(self.sim, **run): i for i, run in enumerate(runs)}
            for n, future in enumerate(concurrent.futures.as_completed(futures), 1):
                try:
                    results[futures[future]] = future.result()
                except SystemExit:
                    pool.shutdown(cancel_futures=True)
                    raise
                self.progress(n, len(runs))
        return results

    def progress(self, n, of):
        if sys.stderr.isatty():
            print(f'\r{self.name}: {n} of {of} simulations ' + ('\r\033[K' if n == of else ''), end='', file=sys.stderr, flush=True)

    def sweep(self, policies, loads, **options):
        """Simulations of every policy at every load. @policies: names, or (name, options). Return: {policy: [JSON by load]}."""
        policies = [p if isinstance(p, tuple) else (p, {}) for p in policies]
        runs = [{**options, 'policy': p, 'load': load, **more} for p, more in policies for load in loads]
        results = self.sims(runs)
        return {p: results[i * len(loads):(i + 1) * len(loads)] for i, (p, _) in enumerate(policies)}

    # ---- files ----

    def path(self, suffix):
        path = os.path.join(self.args.out, self.name + suffix)
        self.files.append(path)
        return path

    def csv(self, header, rows, suffix='.csv'):
        with open(self.path(suffix), 'w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(header)
            writer.writerows([f'{v:.6g}' if isinstance(v, float) else v for v in row] for row in rows)

    def csv_sweeps(self, sweeps):
        """@sweeps: {title: what sweep() returned}"""
        rows = []
        for title, sweep in sweeps.items():
            for policy, results in sweep.items():
                for r in results:
                    for t in [None] + r['types']:
                        of = t or r
                        rows.append([title, policy, r['load'], r['rate_rps'], t['name'] if t else 'all', t['p50_us'] if t else '', t['p99_us'] if t else '',
                                     t['p999_us'] if t else '', of['slowdown_p999'], of['dropped']])
        self.csv(['figure', 'policy', 'load', 'rate_rps', 'type', 'p50_us', 'p99_us', 'p999_us', 'slowdown_p999', 'dropped'], rows)

    def plot(self, draw, columns=1, rows=1):
        """@draw: gets a list of matplotlib axes, @columns * @rows of them"""
        try:
            import matplotlib
            matplotlib.use('Agg')
            from matplotlib import pyplot
        except ImportError:
            print('no plot: Python\'s matplotlib is not installed (Debian: python3-matplotlib)', file=sys.stderr)
            return
        figure, axes = pyplot.subplots(rows, columns, figsize=(6.4 * columns, 4.4 * rows), squeeze=False)
        draw(list(axes.flat))
        figure.tight_layout()
        for suffix in ('.png', '.svg'):
            figure.savefig(self.path(suffix), dpi=110)
        pyplot.close(figure)

    # ---- the table ----

    def row(self, what, *values):
        """@values: one for each column; None: there is none."""
        self.rows.append({'what': what, **dict(zip(self.columns, values))})

    def finish(self):
        if self.args.json:
            print(json.dumps({'experiment': self.name, 'rows': self.rows, 'files': self.files}))
            return
        cells = [(r['what'], *('–' if v is None else v if isinstance(v, str) else f'{v:.4g}' for v in (r[column] for column in self.columns))) for r in self.rows]
        cells.insert(0, (self.name, *self.columns))
        wide = [max(len(c[i]) for c in cells) for i in range(len(cells[0]))]
        for i, c in enumerate(cells):
            print(' | '.join(f'{text:<{wide[0]}}' if k == 0 else f'{text:>{wide[k]}}' for k, text in enumerate(c)))
            if i == 0:
                print('-|-'.join('-' * w for w in wide))
        print('files: ' + ', '.join(self.files))


# ---- drawing ----

def lines(axis, sweep, y, target=None, title=None, ylabel='p99.9 slowdown', unit=1e3, label=None):
    """A line a policy over the rate. @y: of a simulation's JSON. Bottom and top of a logarithmic axis suit the target."""
    for policy, results in sweep.items():
        colour, name = STYLE[policy]
        axis.plot([r['rate_rps'] / unit for r in results], [y(r) for r in results], marker='.', color=colour, label=label(policy) if label else name)
    axis.set_yscale('log')
    if target:
        axis.axhline(target, color='black', linewidth=0.7, linestyle=':')
        axis.set_ylim(top=target * 50)
    axis.set_xlabel('offered load, krps' if unit == 1e3 else 'offered load, Mrps')
    axis.set_ylabel(ylabel)
    axis.legend(fontsize=8)
    if title:
        axis.set_title(title, fontsize=10)


def slowdown(result):
    return result['slowdown_p999']


def of_type(name, key):
    return lambda result: next(t[key] for t in result['types'] if t['name'] == name)


def rates(found, unit=1e3):
    """Highest rates of searches, in krps or Mrps; 0: not even the lowest load"""
    return [f['max_rate_rps'] / unit for f in found]
