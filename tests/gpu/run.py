#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of real GPU programs: correctness, and speed beside the driver's own way, in one run on one machine

usage: tests/gpu/run.py [--only SUITE[,SUITE]] [--out DIR] [--without-driver] [--disk DIR] [--time-limit S]
Suites: train (the transformer: stop, restore, step time), traps, programs (small PyTorch programs), decoder (a second image), disk. One table at the end; exit status 1 if a row failed, 2 where there is
no GPU. HEARTH_BUILD is a build folder or what tools/bundle made; HEARTH_PYTHON a python3 with PyTorch. The table is written to DIR as gpu.csv and gpu.txt.
"""
import argparse
import concurrent.futures
import csv
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import gpulib  # noqa: E402
from gpulib import Broken, Driver, Ours, Plain, Run, program, same_values, step_seconds  # noqa: E402

GIB = 1 << 30
TRAPS_AT_A_TIME = 4
WRITERS, SOURCE_MIB = 4, 2048                   # plain writes to a disk
TIMED_STEPS = 28                                # of the transformer, with and without the shim
TURNS = 4                                       # in which they are timed
MEMORY_STORE = '/dev/shm/hearth/store'          # where `hearth park` puts what it parks, if it is there
REFUSED = {'managed': 'managed memory', 'ipc': 'CUDA IPC', 'ranks': 'CUDA IPC'}


class Table:
    """Rows: item, ours, driver's own, ratio, bar, pass."""

    def __init__(self):
        self.rows = []

    def add(self, item, ours, unit='', driver=None, bar=None, passed=None, at_least=False):
        ratio = driver / ours if driver and ours and isinstance(ours, float) else None
        if passed is None and bar is not None:
            passed = ours >= bar if at_least else ours <= bar
        self.rows.append({'item': item, 'ours': ours, 'unit': unit, 'driver': driver, 'ratio': ratio, 'bar': None if bar is None else ('≥ ' if at_least else '≤ ') + f'{bar:g}', 'pass': passed})
        print('  ' + ' | '.join(self.cells(self.rows[-1])), flush=True)

    @staticmethod
    def cells(row):
        def number(value):
            return '–' if value is None else value if isinstance(value, str) else f'{value:.4g}'
        return [row['item'], number(row['ours']), row['unit'], number(row['driver']), number(row['ratio']), row['bar'] or '', {True: 'pass', False: 'FAILED', None: ''}[row['pass']]]

    def text(self):
        cells = [['item', 'ours', '', "driver's own", 'ratio', 'bar', '']] + [self.cells(row) for row in self.rows]
        wide = [max(len(c[i]) for c in cells) for i in range(7)]
        return '\n'.join(' | '.join(text.ljust(wide[i]) if i in (0, 2, 6) else text.rjust(wide[i]) for i, text in enumerate(c)).rstrip() for c in cells)

    def failed(self):
        return [row for row in self.rows if row['pass'] is False]


class Suites:
    def __init__(self, options, table):
        self.table, self.options, self.until = table, options, time.monotonic() + options.time_limit
        self.work = tempfile.mkdtemp(prefix='hearth-gpu-', dir='/dev/shm')

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)

    def attempt(self, what, function, *args):
        """One row's worth of work: what breaks fails its row and lets the others go on."""
        if time.monotonic() > self.until:
            self.table.add(what, 'not run: no time left', passed=False)
            return None
        try:
            return function(*args)
        except (Broken, OSError, subprocess.TimeoutExpired, KeyError) as error:
            print(f'{what}: {error!r}', flush=True)
            self.table.add(what, f'broken: …{str(error)[-150:]}'.replace('\n', ' '), passed=False)
            return None

    # ---- train: 15 GiB that change in every step ----

    def train(self):
        driver = self.attempt('driver\'s own way with the transformer', self.train_driver)
        with Ours(os.path.join(self.work, 'node'), 40 * GIB, MEMORY_STORE) as node:
            self.attempt('step time', self.step_time, node)
            self.attempt('transformer training', self.train_ours, node, driver)

    def train_driver(self):
        """Return: {'dump', 'restore', 'first' (parked to the first step's end), 'steps'}."""
        tool = Driver(os.path.join(self.work, 'driver'))
        target = Plain(program('transformer', '--steps', str(TIMED_STEPS + 12)))
        try:
            target.wait(f'step {TIMED_STEPS} ')
            if self.options.without_driver:
                target.wait('end')
                return {'dump': None, 'steps': target.out.steps()}
            dump = tool.dump(target, 'train')
            target.wait('step', target.out.count())
            target.kill()
            seen = target.out.count()
            began = time.time()
            back = tool.restore(target, 'train')
            first, _ = target.out.first_step(seen, began, target.alive)
            target.wait('end', seen)
            return {'dump': dump, 'restore': back, 'first': first - began, 'steps': target.out.steps()}
        finally:
            target.close()
            tool.remove('train')

    def step_time(self, node):
        """With and without the shim in turns, while the other is stopped: a card's clock depends on how warm it is."""
        command = program('transformer', '--steps', '600')
        plain, under = Plain(command), Run(node, 'steps', command)
        try:
            for target in (plain, under):
                target.wait('step 2 ')
                target.pause()
            node.wait_for_pool()
            taken = {plain: [], under: []}
            for _ in range(TURNS):
                for target in (plain, under):
                    taken[target] += self.turn(target)
            self.table.add('step time under the shim / without', gpulib.median(taken[under]) / gpulib.median(taken[plain]), '×', bar=1.01)
        finally:
            plain.close()
            under.close()

    @staticmethod
    def turn(target):
        """Return: seconds of whole steps. The first may have been cut in two by the pause before."""
        seen, at = target.out.count(), 0
        target.resume()
        for step in range(1 + TIMED_STEPS // TURNS):
            at = target.wait('step', at if step else seen)[2] + 1
        target.pause()
        return [seconds for _, _, seconds, _ in target.out.steps(seen)[1:]]

    def train_ours(self, node, driver):
        target = Run(node, 'train', program('transformer', '--steps', '600'))
        try:
            target.wait(f'step {TIMED_STEPS} ')
            self.rows_of_stop(self.best_stop(target, node), driver)
            target.wait('step', target.out.count())
            kept = self.checkpoint_and_end(target, node)
            node.wait_for_pool()
            self.wake(target, node, kept, driver)
            node.forget(node.memory, kept['image'])
            self.attempt('hearth park and wake', self.park_and_wake, target, node)
            target.wait(f'step {TIMED_STEPS + 11} ', 0)
            differ = same_values([s for s in target.out.steps() if s[0] < TIMED_STEPS + 12], driver['steps']) if driver else 'no reference'
            self.table.add('losses after checkpoints, kill and restore: those of an undisturbed run', differ or 'bit-identical', passed=not differ)
        finally:
            target.close()

    def best_stop(self, target, node):
        """Three times, with the memory for images ready each time, and the one in the middle. The first is of memory that no image has; so are the others, as each step changes all of it."""
        found = []
        for _ in range(3):
            print(f'the memory for images was ready after {node.wait_for_pool():.1f} s', flush=True)
            found.append(self.stop(target, node))
            node.forget(node.memory, found[-1]['image'])
        return sorted(found, key=lambda f: f['ms']['stop'])[1]

    def stop(self, target, node):
        """Return: a leave-running checkpoint's report, with 'seen': the longest pause between two steps beyond a step."""
        seen = target.out.count()
        found = target.checkpoint('--to', node.memory)
        target.wait('step', target.out.count())
        ends = [s[3] for s in target.out.steps(max(0, seen - 1))]
        gaps = [b - a for a, b in zip(ends, ends[1:])]
        found['seen'] = max(gaps) - step_seconds(target.out.steps(), 4) if gaps else float('nan')
        print('checkpoint:', found, flush=True)
        return found

    def rows_of_stop(self, found, driver):
        gpu, ms = found['gpu'], found['ms']
        data = (gpu['gate'] + gpu['hash'] + gpu['snapshot'] + gpu['copy']) / 1e3        # from the first call held up
        dump = driver and driver['dump'] or {}
        whole = dump.get('total')
        self.table.add(f"stop for the data, {gpu['bytes'] / 1e9:.1f} GB, {gpu['dirty_bytes'] / 1e9:.1f} GB changed", data, 's', dump.get('checkpoint'), .05)
        self.table.add('whole leave-running stop', ms['stop'] / 1e3, 's', whole, 1.2)
        if whole:
            self.table.add("driver's own stop / ours", whole / (ms['stop'] / 1e3), '×', bar=8, at_least=True)
        self.table.add('the same, as the program saw it', found['seen'], 's')
        self.table.add('pre-copy into memory', gpu['bytes'] / 1e9 / (gpu['precopy'] / 1e3), 'GB/s', bar=45, at_least=True)

    def checkpoint_and_end(self, target, node):
        found = target.checkpoint('--stop', '--to', node.memory)
        print('stopped:', found, flush=True)
        gpulib.wait_gone(target.pid, gpulib.PATIENCE)
        return found

    def wake(self, target, node, kept, driver):
        seen = target.out.count()
        back = target.restore(node.memory, kept['image'])
        print('restored:', back, flush=True)
        first, _ = target.out.first_step(seen, back['began'], target.alive)
        self.table.add('parked, image in memory, to running again', back['ended'] - back['began'], 's', driver['restore']['total'] if driver and driver['dump'] else None, 1.5)
        self.table.add('the same, to the end of the step that it was stopped in', first - back['began'], 's', driver.get('first') if driver else None)

    def park_and_wake(self, target, node):
        """Woken at once, while the keeper may still have its memory."""
        print('parked:', node.call('park', target.name), flush=True)
        gpulib.wait_gone(target.pid, gpulib.PATIENCE)
        seen, began = target.out.count(), time.time()
        target.pid = node.call('wake', target.name)['pid']
        ended = time.time()
        print('woken, then printed:', ended - began, [(text, read - began) for read, text in target.out.lines[seen:seen + 6]], flush=True)
        first, _ = target.out.first_step(seen, began, target.alive)
        self.table.add('hearth park, then hearth wake at once: to running again', ended - began, 's', bar=.8)
        self.table.add('the same, to the end of the step that it was stopped in', first - began, 's')

    # ---- traps and small programs: killed and brought back, they print what they would have printed ----

    def traps(self):
        names = subprocess.run(program('traps', '--list'), stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        self.together({f'trap: {name}': (program('traps', name), 30, 60) for name in names})

    def programs(self):
        small = {name: program(*name.split(), '--size', 'small') for name in ('transformer', 'resnet', 'decoder', 'decoder --graph', 'kernels', 'devices', 'ranks')}
        self.together({f'PyTorch: {name}': (command, 10, 30) for name, command in small.items()})
        self.together({'PyTorch: devices, 1 GiB on each': (program('devices'), 10, 30)})

    def together(self, jobs):
        with Ours(os.path.join(self.work, 'node')) as node, concurrent.futures.ThreadPoolExecutor(TRAPS_AT_A_TIME) as pool:
            futures = [pool.submit(self.attempt, what, self.same, node, what, *job) for what, job in jobs.items()]
            concurrent.futures.wait(futures)

    def same(self, node, what, command, at, steps):
        """Held before step @at, it is dumped and goes on; dumped again while it runs, killed, and brought back."""
        gate = os.path.join(tempfile.mkdtemp(dir=self.work), 'go')
        command = [*command, '--steps', str(steps)]
        reference = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=gpulib.PATIENCE)
        if reference.returncode == 77:
            self.table.add(what, 'skipped: ' + reference.stdout.strip(), passed=None)
            return
        expected = [(int(m.group(1)), m.group(2)) for m in map(gpulib.STEP.match, reference.stdout.splitlines()) if m]
        if not expected:
            raise Broken(f'without a checkpoint it ended with {reference.returncode}: {reference.stdout[-300:]}')
        name = ''.join(c if c.isalnum() else '-' for c in what)
        target = Run(node, name, [*command, '--hold', f'{at}:{gate}'])
        try:
            target.wait(f'hold {at}')
            refused = REFUSED.get(what.rsplit(' ', 1)[-1])
            message = self.expect_refusal(target, node, refused) if refused else ''
            if not refused:
                kept = target.checkpoint('--to', node.memory)
                target.kill()
                target.restore(node.memory, kept['image'])
            with open(gate, 'w', encoding='utf-8'):
                pass
            target.wait('end')
            differ = same_values(target.out.steps(), expected)
            self.table.add(what, differ or message or 'the same values', passed=not differ)
        finally:
            target.close()

    @staticmethod
    def expect_refusal(target, node, why):
        try:
            target.checkpoint('--to', node.memory)
        except Broken as error:
            return f'refused ({why}): {error}'[-110:]
        raise Broken(f'{why} was not refused')

    # ---- decoder: most of the memory stays as it is ----

    def decoder(self):
        with Ours(os.path.join(self.work, 'node'), 24 * GIB) as node:
            self.attempt('decoder with a KV cache', self.decoder_ours, node)

    def decoder_ours(self, node):
        node.wait_for_pool()
        first, second = self.ten_steps(node, 'decoder', node.memory)
        self.table.add('second image after 10 steps of inference / the first, stored bytes', second['stored_bytes'] / first['stored_bytes'], '', bar=.1)
        other = tempfile.mkdtemp(dir=self.work)
        first, second = self.ten_steps(node, 'compressed', other, '--zstd', '1')
        self.table.add('the same, both compressed (--zstd 1)', second['stored_bytes'] / first['stored_bytes'], '', bar=.1)
        shutil.rmtree(other)

    def ten_steps(self, node, name, store, *options):
        """Return: the reports of two images with ten steps between them."""
        gates = [os.path.join(self.work, f'{name}-{k}') for k in range(2)]
        target = Run(node, name, program('decoder', '--steps', '2000', '--hold', f'20:{gates[0]}', '--hold', f'30:{gates[1]}'))
        found = []
        try:
            for hold, gate in zip((20, 30), gates):
                target.wait(f'hold {hold}')
                found.append(target.checkpoint(*options, '--to', store))
                print(f'{name}:', found[-1], flush=True)
                open(gate, 'w', encoding='utf-8').close()
            if not options:
                target.wait('step 40 ')
                node.wait_for_pool()
                self.table.add('whole leave-running stop, decoder', self.stop(target, node)['ms']['stop'] / 1e3, 's')
        finally:
            target.close()
        return found

    # ---- disk: a dump as fast as the drive ----

    def disk(self):
        folder = tempfile.mkdtemp(prefix='hearth-gpu-', dir=self.options.disk)
        try:
            with Ours(os.path.join(self.work, 'node')) as node:
                self.attempt('dump to disk', self.disk_ours, node, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def disk_rate(source, folder):
        """Bytes a second of several plain direct writes at a time. Each has bytes of its own: some disks know what they have already."""
        mib = os.path.getsize(source) >> 20
        began = time.monotonic()
        running = [subprocess.Popen(['dd', f'if={source}', f'of={folder}/plain{k}', 'bs=16M', f'skip={k * mib // WRITERS // 16}', f'count={mib // WRITERS // 16}', 'oflag=direct', 'conv=fsync'],
                                    stderr=subprocess.DEVNULL) for k in range(WRITERS)]
        if any([p.wait() for p in running]):
            raise Broken('dd failed')
        seconds = time.monotonic() - began
        for k in range(WRITERS):
            os.unlink(f'{folder}/plain{k}')
        print(f'disk: {(mib << 20) / seconds / 1e9:.2f} GB/s by plain direct writes', flush=True)
        return (mib << 20) / seconds

    def disk_ours(self, node, folder):
        """Plain writes before and after: the rate of a disk that others use too is not the same for long."""
        source = os.path.join(self.work, 'source')
        with open(source, 'wb') as file:
            for _ in range(SOURCE_MIB // 256):
                file.write(os.urandom(256 << 20))
        target = Run(node, 'disk', program('decoder', '--steps', '2000'))
        try:
            target.wait('step 5 ')
            before = self.disk_rate(source, folder)
            found = target.checkpoint('--to', os.path.join(folder, 'store'))
            print('disk:', found, flush=True)
            rate = (before + self.disk_rate(source, folder)) / 2
            self.table.add('pre-copy to disk / plain direct writes', found['gpu']['precopied_bytes'] / (found['gpu']['precopy'] / 1e3) / rate, '×', bar=.9, at_least=True)
        finally:
            target.close()
            os.unlink(source)


def commit():
    done = subprocess.run(['git', '-C', gpulib.ROOT, 'rev-parse', '--short', 'HEAD'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return os.environ.get('HEARTH_COMMIT') or done.stdout.strip() or 'unknown'


def write(out, table, facts):
    os.makedirs(out, exist_ok=True)
    about = [f'{key}: {value}' for key, value in facts.items()]
    with open(os.path.join(out, 'gpu.csv'), 'w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['item', 'ours', 'unit', 'driver', 'ratio', 'bar', 'pass'])
        rows.writerows([[f'{v:.6g}' if isinstance(v, float) else '' if v is None else v for v in row.values()] for row in table.rows])
    with open(os.path.join(out, 'gpu.txt'), 'w', encoding='utf-8') as file:
        file.write('\n'.join(about) + '\n\n' + table.text() + '\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--only', type=lambda s: s.split(','), default=['train', 'traps', 'programs', 'decoder', 'disk'], metavar='SUITE,...')
    parser.add_argument('--out', default='hearth-results/gpu', metavar='DIR')
    parser.add_argument('--disk', default=None, metavar='DIR', help='a folder on the disk to be measured (a temporary one)')
    parser.add_argument('--without-driver', action='store_true', help='leave out the driver\'s own way, which takes a minute')
    parser.add_argument('--time-limit', type=float, default=3600, metavar='S', help='begin nothing after so long')
    options = parser.parse_args()
    try:
        facts = {'date': datetime.datetime.now(datetime.timezone.utc).strftime('%F %R UTC'), **gpulib.machine(), 'commit': commit()}
        gpulib.build_programs()
    except Broken as error:
        print(f'tests/gpu/run.py: {error}', file=sys.stderr)
        sys.exit(2)
    table = Table()
    suites = Suites(options, table)
    try:
        for name in options.only:
            print(f'== {name}', flush=True)
            suites.attempt(name, getattr(suites, name))
    finally:
        suites.close()
    write(options.out, table, facts)
    print(table.text())
    failed = len(table.failed())
    print(f'{sum(row["pass"] is True for row in table.rows)} passed, {failed} failed; written to {options.out}')
    sys.exit(1 if failed else 0)


main()
