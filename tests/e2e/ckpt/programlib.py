# SPDX-License-Identifier: Apache-2.0
"""Programs under `hearth run`, for the tests of checkpoints: a folder for the run, a store, a tree whose course is known beforehand."""
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BUILD = os.environ.get('HEARTH_BUILD', 'build')
HEARTH = os.path.join(BUILD, 'bin', 'hearth')
TREE = os.path.join(BUILD, 'tests', 'e2e', 'ckpt', 'tree')
CRIU = os.environ.get('HEARTH_CRIU', os.path.join(BUILD, 'deps', 'criu'))
PATIENCE_S = 60


def can_checkpoint():
    return os.geteuid() == 0 and os.access(CRIU, os.X_OK)


@functools.lru_cache(maxsize=None)
def course(steps, mib):
    """Every line that the tree will ever print."""
    done = subprocess.run([TREE, str(steps), str(mib), '0'], stdout=subprocess.PIPE, check=False, text=True, timeout=PATIENCE_S)
    assert done.returncode == 7, done
    return done.stdout.splitlines()


def until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f'{what}: not within {PATIENCE_S} s')


def state(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            return file.read().rsplit(')', 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


class Programs(unittest.TestCase):
    STEPS, MIB = 100000, 8
    ENV = {}                    # of every command

    def setUp(self):
        if not can_checkpoint():
            self.skipTest('needs root and CRIU')
        self.dir = tempfile.mkdtemp(prefix='hearth-programs-')
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.run_dir, self.store = os.path.join(self.dir, 'run'), os.path.join(self.dir, 'store')
        self.addCleanup(self.end_all)

    def end_all(self):
        folder = os.path.join(self.run_dir, 'programs')
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if not name.startswith('.'):
                self.kill(name)

    def hearth(self, *words, code=0, env=None, **keys):
        done = subprocess.run([HEARTH, '--run', self.run_dir, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False, text=True,
                              timeout=PATIENCE_S, env={**os.environ, **self.ENV, **(env or {})}, **keys)
        if code is not None:
            self.assertEqual(done.returncode, code, done)
        return done

    def json(self, *words, **keys):
        return json.loads(self.hearth(*words, '--json', **keys).stdout.splitlines()[-1])

    def start(self, name='t', steps=None, mib=None, pause_us=2000):
        return self.start_words(name, TREE, str(steps or self.STEPS), str(mib or self.MIB), str(pause_us))

    def start_words(self, name, *words):
        return json.loads(self.hearth('--json', 'run', '--name', name, '-d', '--', *words).stdout)['pid']

    def checkpoint(self, name='t', *words, **keys):
        return self.json('checkpoint', name, '--to', self.store, *words, **keys)

    def restore(self, image, *words, **keys):
        return self.json('restore', image, '--store', self.store, '-d', *words, **keys)

    def record(self, name='t'):
        with open(os.path.join(self.run_dir, 'programs', name, 'program.json'), encoding='utf-8') as file:
            return json.JSONDecoder().raw_decode(file.read())[0]

    def lines(self, name='t'):
        """Whole lines of the log."""
        try:
            with open(os.path.join(self.run_dir, 'programs', name, 'log'), encoding='utf-8') as file:
                return file.read().rpartition('\n')[0].splitlines()
        except FileNotFoundError:
            return []

    def step(self, name='t'):
        lines = self.lines(name)
        return int(lines[-1].split()[0]) if lines else -1

    def goes_on(self, name='t', by=20):
        start = self.step(name)
        until(lambda: self.step(name) >= start + by, f'{name} goes on from step {start}')

    def kill(self, name='t'):
        """The whole tree, until nothing of it is left, not even a zombie."""
        try:
            pid = self.record(name)['pid']
        except (FileNotFoundError, KeyError, ValueError):
            return
        tree = [pid]
        for p in tree:
            try:
                for task in os.listdir(f'/proc/{p}/task'):
                    with open(f'/proc/{p}/task/{task}/children', encoding='utf-8') as file:
                        tree += [int(c) for c in file.read().split()]
            except (FileNotFoundError, ProcessLookupError):
                pass
        for p in tree:
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        until(lambda: all(state(p) is None for p in tree), f'{name} is gone')

    def check_course(self, name='t', mib=None):
        """Every line that was written, by whichever incarnation, is one of the only course there is. Return: the lines."""
        lines = self.lines(name)
        numbers = [int(line.split()[0]) for line in lines]
        steps = 4096
        while steps <= max(numbers, default=0):
            steps *= 2
        expected = course(steps, mib or self.MIB)
        for number, line in zip(numbers, lines):
            self.assertEqual(line, expected[number])
        return lines

    def images(self):
        return [i['name'] for i in json.loads(self.hearth('images', '--json', '--store', self.store).stdout)['images']]
