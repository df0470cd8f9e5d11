# SPDX-License-Identifier: Apache-2.0
"""What the experiments with `hearth ds bench` share: a file, a device, who is measured, and a table of it. Every block of every measurement is verified by the bench: digests of both sides."""
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

from experiment import HEARTH, Experiment

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MODES = ('never', 'always')
COLOURS = {'ours': 'tab:red', 'cuFile': 'tab:green', 'pread': 'tab:blue', 'io_uring': 'tab:gray', 'ours, stream': 'tab:orange', 'cuFile, stream': 'tab:olive'}
# who: (--by of the bench, options of its own)
OURS, CUFILE, PREAD, URING = ('hearth', []), ('cufile', []), ('pread', []), ('uring', [])
# what the bench calls a libcufile that is this project's
OWN = "Hearth's own libcufile"
# a measurement that takes so much longer than it was told to is lost
PATIENCE_S = 120
MEASURED = ('gb_s', 'iops', 'mean_us', 'p50_us', 'p99_us', 'p999_us', 'cpu_s_gb', 'ops', 'verified')


def skip(why):
    print(f'hearth experiment: skipped: {why}', file=sys.stderr)
    sys.exit(2)


def shown(nbytes):
    for unit, name in ((GIB, 'GiB'), (MIB, 'MiB'), (KIB, 'KiB')):
        if nbytes >= unit:
            return f'{nbytes / unit:g} {name}'
    return f'{nbytes} bytes'


def data_options(parser):
    """Where the data are, and where they go; the experiments with the loaders have them too."""
    parser.add_argument('--dir', default=tempfile.gettempdir(), help='where the data files go, which are removed at the end (%(default)s)')
    parser.add_argument('--seed', type=int, default=1)


class Folder:
    """A folder for the data, gone afterwards."""

    def __init__(self, experiment):
        try:
            self.path = tempfile.mkdtemp(prefix='hearth-ds-', dir=experiment.args.dir)
        except OSError as error:
            sys.exit(f'hearth experiment: cannot make a folder in {experiment.args.dir}: {error.strerror}')

    def __enter__(self):
        return self.path

    def __exit__(self, *what):
        shutil.rmtree(self.path, ignore_errors=True)


def file_system(path):
    """What the folder is on: (source, type) of the last mount that has it."""
    found = subprocess.run(['findmnt', '-n', '-o', 'SOURCE,FSTYPE', '-T', path], stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    return (found[0], found[-1]) if found else ('', 'unknown')


def lacks(device):
    """Why the library does not have this device; '' where it does."""
    done = subprocess.run([HEARTH, 'ds', 'probe', os.path.abspath(__file__), device], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    return '' if done.returncode == 0 else reason(done)


def reason(done):
    """Why a command failed, in its own words."""
    lines = (done.stderr.strip() or done.stdout.strip() or f'it ended with {done.returncode}').split('\n')
    try:
        return json.loads(lines[-1])['error']
    except (ValueError, KeyError, TypeError):
        return lines[0].removeprefix('hearth: ')


def middle(measurements):
    """The median of them, by the time that an operation took; None where one could not be made."""
    if None in measurements:
        return None
    return sorted(measurements, key=lambda one: one['mean_us'] if 'mean_us' in one else one['register_us'])[len(measurements) // 2]


class Bench(Experiment):
    """One of these experiments. @who: {column: (--by, options)}, the first of them is ours; @small, @large: bytes of the file by default and with --full."""

    def __init__(self, name, doc, who, add_options=None, small=64 * MIB, large=GIB):
        def options(parser):
            data_options(parser)
            parser.add_argument('--device', default=None, metavar='D', help='host or cuda:N (default: cuda:0 where there is one, else host)')
            parser.add_argument('--bytes', type=lambda s: int(float(s)), default=None, metavar='N', help=f'of the file (default: {shown(small)}; with --full {shown(large)})')
            parser.add_argument('--seconds', type=float, default=None, metavar='S', help='of each measurement (default: 0.4; with --full 3)')
            parser.add_argument('--repeat', type=int, default=None, metavar='N', help='measurements of each, in turns, of which the median counts (default: 1; with --full 3)')
            parser.add_argument('--cache', choices=MODES, default='never', help='never: O_DIRECT; always: what is in the page cache (%(default)s)')
            parser.add_argument('--full', action='store_true', help='larger, and longer: what to report')
            if add_options:
                add_options(parser)
        super().__init__(name, doc, add_options=options, simulates=False, columns=('published', *who))
        self.who, self.why, self.paths = who, {}, {}
        args = self.args
        args.bytes = args.bytes or (large if args.full else small)
        args.seconds = args.seconds or (3 if args.full else .4)
        args.repeat = args.repeat or (3 if args.full else 1)
        if args.bytes < MIB or args.seconds < .001 or args.repeat < 1:
            sys.exit('hearth experiment: --bytes must be 1 MiB at least, --seconds 0.001, --repeat 1')
        if args.device is None:
            args.device = 'host' if lacks('cuda:0') else 'cuda:0'
        elif lacks(args.device):
            skip(lacks(args.device))
        if args.device == 'host':
            self.why.update({column: 'it reads into memory of a GPU, and the device is the host' for column, (by, _) in who.items() if by == 'cufile'})

    def make_file(self, folder):
        """What is in it is different everywhere, so that a block in a wrong place is found out. Return: its path."""
        path, left, k = os.path.join(folder, 'data'), self.args.bytes, 0
        with open(path, 'wb') as file:
            while left > 0:
                file.write(random.Random(f'{self.args.seed} {k}').randbytes(min(left, 4 * MIB)))
                left, k = left - 4 * MIB, k + 1
            file.flush()
            os.fsync(file.fileno())
        return path

    # ---- measuring ----

    def device_of(self, by):
        return self.args.device if by in ('hearth', 'cufile') else 'host'

    def one(self, column, file, words):
        """Return: what the bench found, or None, and then self.why has the reason."""
        by, more = self.who[column]
        if column in self.why:
            return None
        command = [HEARTH, '--json', 'ds', 'bench', '--verify', '--by', by, '--seconds', str(self.args.seconds), '--seed', str(self.args.seed), '--cache', self.args.cache, *words, *more, file, self.device_of(by)]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S + 10 * self.args.seconds, check=False)
            why = reason(done)
        except subprocess.TimeoutExpired:
            done, why = None, f'no end in {PATIENCE_S} seconds, as if it had lost an operation'
        if done and done.returncode == 0:
            found = json.loads(done.stdout.splitlines()[-1])
            if '--handles' not in words and found['verified'] != found['ops']:
                sys.exit(f"hearth experiment: {' '.join(command)}: {found['verified']} of {found['ops']} blocks were verified")
            self.paths.setdefault(column, found.get('path'))
            return found
        # what is missing or broken of others is a row of the table; of this project it is the end
        if by != 'cufile':
            sys.exit(f"hearth experiment: {' '.join(command)}: {why}")
        self.failed(column, words, why)
        return None

    def failed(self, column, words, why):
        """A library that is not there, or does not take the file, or hangs, is not asked again."""
        if not self.paths.get(column) or ' lost ' in why:
            self.why[column] = why
        else:
            self.note(f"{column} with {' '.join(words)}: {why}")

    def sweep(self, file, points):
        """@points: {what: options of the bench}. Each point is measured for all, one after the other. Return: {what: {column: what the bench found or None}}."""
        found = {}
        for n, (what, words) in enumerate(points.items()):
            self.show(n, len(points))
            turns = [{column: self.one(column, file, words(column) if callable(words) else words) for column in self.who} for _ in range(self.args.repeat)]
            found[what] = {column: middle([turn[column] for turn in turns]) for column in self.who}
        self.show(len(points), len(points))
        return found

    def show(self, n, of):
        if sys.stderr.isatty():
            print(f'\r\033[K{self.name}: {n} of {of} measured' if n < of else '\r\033[K', end='', file=sys.stderr, flush=True)

    # ---- the table, and the files ----

    def note(self, text):
        self.row(text, *[None] * len(self.columns))

    def begin_table(self, folder):
        source, kind = file_system(folder)
        mode = 'O_DIRECT' if self.args.cache == 'never' else 'page cache'
        self.note(f'device {self.args.device}; a file of {shown(self.args.bytes)} on {kind}, {source}; {mode}; {self.args.seconds:g} s each')

    def end_table(self):
        if self.args.device != 'host' and any(by in ('pread', 'uring') for by, _ in self.who.values()):
            self.note('pread and io_uring read into memory of the host')
        for column, path in self.paths.items():
            if path and self.who[column][0] in ('hearth', 'cufile'):
                self.note(f'{column}: {path}' + (", which is not the vendor's: nothing is compared with it" if path == OWN else ''))
        for column, why in self.why.items():
            self.note(f'{column}: skipped: {why}')
        self.finish()

    def values(self, found, key, scale=1):
        return [found[column][key] * scale if found[column] else None for column in self.who]

    def rows_of(self, sweep, text, key, scale=1):
        for what, found in sweep.items():
            self.row(f'{what}: {text}', None, *self.values(found, key, scale))

    def compared(self, sweep, key, less=False, mine='ours', peer='cuFile'):
        """By how many percent ours has more of it than the peer (or less), at each point that both have; nothing where the peer is this project's own."""
        if self.paths.get(peer) == OWN:
            return []
        both = [(found[mine][key], found[peer][key]) for found in sweep.values() if found.get(mine) and found.get(peer)]
        return [100 * (1 - a / b if less else a / b - 1) for a, b in both if b]

    def between(self, what, published, percents):
        """A row: the least and the most. Nothing is said where there is nothing to compare with."""
        text = f'{min(percents):.0f}..{max(percents):.0f}' if percents else None
        self.row(what, published, text, *[None] * (len(self.who) - 1))

    def csv_of(self, sweep, keys=MEASURED):
        self.csv(['point', 'device', 'who', 'path', *keys], [[what, self.device_of(self.who[column][0]), column, one.get('path', ''), *(one[key] for key in keys)]
                                                             for what, found in sweep.items() for column, one in found.items() if one])

    def lines(self, axis, sweep, key, label, ticks=None, scale=1):
        """A line for each who has been measured, over the points in their order."""
        for column in self.who:
            points = [(k, found[column][key] * scale) for k, found in enumerate(sweep.values()) if found[column]]
            if points:
                axis.plot(*zip(*points), marker='.', color=COLOURS.get(column, 'black'), label=column)
        axis.set_xticks(range(len(sweep)), ticks or list(sweep), rotation=45, ha='right', fontsize=8)
        axis.set_yscale('log')
        axis.set_ylabel(label)
        axis.set_title(f'{self.name}, {self.args.device}', fontsize=10)
        axis.legend(fontsize=8)


# ---- what several of them measure ----

def block_sizes(bench, least, most):
    """Powers of four, as many as the file has room for."""
    sizes = []
    while least <= min(most, bench.args.bytes):
        sizes.append(least)
        least *= 4
    return sizes


def one_thread(column):
    """One read or write at a time; io_uring has no such call, but a queue of one."""
    return ['--depth', '1'] if column == 'io_uring' else ['--sync']


def by_size(bench, file, kinds, most):
    """One thread, one call after the other, over sizes of blocks. Return: {kind: sweep}."""
    return {kind: bench.sweep(file, {f'{kind} {shown(n)}': lambda column, n=n, kind=kind: [*one_thread(column), '--block', str(n), *(['--write'] if kind == 'write' else [])]
                                     for n in block_sizes(bench, 4 * KIB, most)}) for kind in kinds}


def thread_options(parser):
    parser.add_argument('--threads', type=lambda s: [int(v) for v in s.split(',')], default=[1, 2, 4, 8, 16, 32, 64, 128], metavar='N,N...', help='at most 256 (1,2,4,...,128)')


def by_threads(bench, file, counts):
    """4 KiB at random, one call after the other in each of so many threads."""
    return bench.sweep(file, {f'{n} thread' + 's' * (n > 1): lambda column, n=n: [*one_thread(column), '--random', '--block', str(4 * KIB), '--queues', str(n)] for n in counts})


def show_sizes(bench, sweeps, published):
    """@published: {kind: text}"""
    for kind, sweep in sweeps.items():
        bench.rows_of(sweep, 'GB/s', 'gb_s')
    for kind, sweep in sweeps.items():
        bench.between(f'{kind}: more than cuFile, %', published[kind], bench.compared(sweep, 'gb_s'))
    bench.csv_of({what: found for sweep in sweeps.values() for what, found in sweep.items()})
    bench.plot(lambda axes: [bench.lines(axis, sweep, 'gb_s', f'{kind}, GB/s') for axis, (kind, sweep) in zip(axes, sweeps.items())], columns=len(sweeps))


def show_threads(bench, sweep, published):
    bench.rows_of(sweep, 'thousands a second', 'iops', 1e-3)
    bench.between('more than cuFile, %', published, bench.compared(sweep, 'iops'))
    bench.csv_of(sweep)
    bench.plot(lambda axes: bench.lines(axes[0], sweep, 'iops', '4 KiB at random, thousands a second', scale=1e-3))


# ---- storage of other machines ----

def remote_options(parser):
    beside = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *way, 'tools') for way in ((), ('..',))]
    parser.add_argument('--tools', default=next((path for path in beside if os.path.exists(os.path.join(path, 'ds-nfs'))), beside[0]), metavar='DIR', help='where ds-nfs and ds-nvmeof are (%(default)s)')
    parser.add_argument('--mounted', default=None, metavar='DIR', help='a folder on such storage of another machine, mounted already; nothing is set up then, and --dir is not used')
    parser.add_argument('--transport', choices=('tcp', 'rdma'), default='tcp', help='(%(default)s)')
    parser.add_argument('--address', default='127.0.0.1', metavar='A', help='of this machine, where it serves and is its own client (%(default)s)')


def call(*words, out=False):
    """Return: what it printed. Where it cannot be done that is why the experiment is skipped."""
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        skip(f'{words[0]}: {error.strerror}')
    if done.returncode:
        skip(reason(done))
    return done.stdout.strip()


def undo(*words):
    """At the end, and whatever came before it; what it cannot do is said."""
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"hearth experiment: {' '.join(words)}: {done.stderr.strip()}", file=sys.stderr)


class Served:
    """Storage that this machine gives and takes; nothing of it is left behind. set_up(stack) makes it, and returns the folder."""

    def __init__(self, bench):
        self.e, self.stack = bench, None

    def __enter__(self):
        if os.geteuid() != 0:
            skip('to serve storage takes root; --mounted names a folder that is mounted already')
        with contextlib.ExitStack() as stack:
            folder = self.set_up(stack)
            self.stack = stack.pop_all()
        self.e.note('this machine is the server, too')
        return folder

    def __exit__(self, *what):
        self.stack.close()


def storage(bench, served):
    """A folder for the data on storage of another machine: within --mounted, or what @served sets up."""
    if not bench.args.mounted:
        return served(bench)
    bench.args.dir = bench.args.mounted
    return Folder(bench)
