# SPDX-License-Identifier: Apache-2.0
"""What the checkpoint experiments share: one program measured under `hearth run` and under the driver's own way, on this machine."""
import csv
import os
import shutil
import sys
import tempfile
import time

# beside the experiments where they are installed or linked, in tests/ in the source
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, next((path for path in (os.path.join(HERE, 'gpu'), os.path.join(HERE, '..', 'tests', 'gpu')) if os.path.isdir(path)), HERE))

import gpulib  # noqa: E402
from experiment import Experiment  # noqa: E402

COLUMNS = ('published', 'ours', "driver's own")
PROGRAMS = ('transformer', 'resnet', 'decoder')
WHO = COLUMNS[1:]
KEYS = ('cold', 'stop', 'data', 'down', 'restore', 'first', 'bytes', 'new_bytes')
POOL_BYTES = 40 << 30
# one program runs until it has been measured
ENDLESS = '1000000'


def options(parser):
    parser.add_argument('--programs', type=lambda s: s.split(','), default=list(PROGRAMS), metavar='P,P...', help='of transformer, resnet, decoder')
    parser.add_argument('--size', choices=('small', 'large'), default='large')
    parser.add_argument('--repeat', type=int, default=2, metavar='N', help='checkpoints of each; the last counts (%(default)s)')
    parser.add_argument('--without-driver', action='store_true', help="leave out the driver's own way")


def measured_option(parser):
    parser.add_argument('--measured', metavar='FILE', help='measure nothing: the CSV file of an earlier ckpt-stall, ckpt-frequency or ckpt-coldstart')


def begin(name, doc, add_options=None):
    """Return: the experiment. Where there is no GPU, and nothing that was measured before, this says so and exits with 2."""
    def all_options(parser):
        options(parser)
        if add_options:
            add_options(parser)
    experiment = Experiment(name, doc, add_options=all_options, simulates=False, columns=COLUMNS)
    if getattr(experiment.args, 'measured', None):
        return experiment
    if gpulib.fake_driver():
        experiment.args.without_driver = True
    try:
        experiment.machine = gpulib.machine()
        gpulib.build_programs()
    except gpulib.Broken as error:
        print(f'hearth experiment: skipped: {error}', file=sys.stderr)
        sys.exit(2)
    if gpulib.fake_driver():
        experiment.row("the tests' fake driver: this shows that it runs, and measures nothing", None, None, None)
    return experiment


class Bench:
    """A node, and folders that go with it."""

    def __init__(self, experiment):
        self.args = experiment.args
        self.work = tempfile.mkdtemp(prefix='hearth-ckpt-', dir='/dev/shm')
        self.node = gpulib.Ours(os.path.join(self.work, 'node'), 0 if gpulib.fake_driver() else POOL_BYTES)

    def __enter__(self):
        self.node.__enter__()
        return self

    def __exit__(self, *what):
        self.node.__exit__(*what)
        shutil.rmtree(self.work, ignore_errors=True)

    def command(self, program):
        return gpulib.program(program, '--size', self.args.size, '--steps', ENDLESS)

    def ours(self, program, store=None, back=None):
        """Checkpoints that leave it running, then one that ends it, and its restore. @store: default the node's memory; @back: told of the image, returns the store it comes back from.
        Return: {'stop', 'data', 'down', 'restore', 'first', 'cold', 'bytes', 'new_bytes'}, seconds and bytes."""
        store = store or self.node.memory
        began = time.time()           # as the times of the lines
        target = gpulib.Run(self.node, program, self.command(program))
        try:
            cold, _, _ = target.wait('step 0 ')
            target.wait('step 5 ')
            for _ in range(self.args.repeat):
                found = target.checkpoint('--to', store)
                target.wait('step', target.out.count())
            end = target.checkpoint('--stop', '--to', store)
            gpulib.wait_gone(target.pid, gpulib.PATIENCE)
            stopped = time.time()
            source = back(end) if back else store
            seen = target.out.count()
            restored = target.restore(source, end['image'])
            first, _ = target.out.first_step(seen, restored['began'], target.alive)
            return {'cold': cold - began, 'stop': found['ms']['stop'] / 1e3, 'data': sum(found['gpu'][k] for k in ('gate', 'hash', 'snapshot', 'copy')) / 1e3,
                    'down': first - stopped + end['ms']['stop'] / 1e3, 'restore': restored['ended'] - restored['began'], 'first': first - restored['began'],
                    'bytes': found['bytes'], 'new_bytes': found['new_bytes']}
        finally:
            target.close()

    def driver(self, program):
        """Return: the same, as far as it has it; None when it is left out."""
        if self.args.without_driver:
            return None
        tool = gpulib.Driver(os.path.join(self.work, 'driver'))
        began = time.time()           # as the times of the lines
        target = gpulib.Plain(self.command(program))
        try:
            cold, _, _ = target.wait('step 0 ')
            target.wait('step 5 ')
            dump = tool.dump(target, program)
            target.wait('step', target.out.count())
            target.kill()
            seen, again = target.out.count(), time.time()
            back = tool.restore(target, program)
            first, _ = target.out.first_step(seen, again, target.alive)
            return {'cold': cold - began, 'stop': dump['total'], 'data': dump['checkpoint'], 'down': dump['lock'] + dump['checkpoint'] + dump['criu'] + first - again,
                    'restore': back['total'], 'first': first - again, 'bytes': dump['bytes'], 'new_bytes': dump['bytes']}
        finally:
            target.close()
            tool.remove(program)


def read_csv(experiment, path):
    """What write_csv() wrote; a clear end if it is not that."""
    found = {}
    try:
        with open(path, newline='', encoding='utf-8') as file:
            for row in csv.DictReader(file):
                experiment.machine = {'gpu': row['gpu'], 'driver': row['driver']}
                pair = found.setdefault(row['program'], [None, None])
                pair[WHO.index(row['who'])] = {key: float(row[key]) for key in KEYS}
        if not found or not all(pair[0] for pair in found.values()):
            raise ValueError('it has no measurements of ours')
    except (OSError, KeyError, TypeError, ValueError) as error:
        sys.exit(f'hearth experiment: {path} is not what ckpt-stall writes: {error!r}')
    return found


def measure(experiment):
    """Return: {program: (ours, driver's own or None)}, measured or from --measured"""
    if experiment.args.measured:
        return read_csv(experiment, experiment.args.measured)
    with Bench(experiment) as bench:
        return {program: (bench.ours(program), bench.driver(program)) for program in experiment.args.programs}


def of(found, key):
    return found[key] if found else None


def bars(axis, found, value, label):
    """Two bars a program, on a logarithmic scale."""
    for at, (program, pair) in enumerate(found.items()):
        for side, (one, colour, name) in enumerate(zip(pair, ('tab:red', 'tab:gray'), ('ours', "driver's own"))):
            if one:
                axis.bar(at + .4 * side, value(one), .38, color=colour, label=name if at == 0 else None)
    axis.set_xticks([at + .2 for at in range(len(found))], list(found))
    axis.set_yscale('log')
    axis.set_ylabel(label)
    axis.legend(fontsize=8)


def write_csv(experiment, found):
    experiment.csv(['program', 'who', 'gpu', 'driver', *KEYS], [[program, who, experiment.machine['gpu'], experiment.machine['driver'], *(one[k] for k in KEYS)]
                                                                for program, pair in found.items() for who, one in zip(WHO, pair) if one])
