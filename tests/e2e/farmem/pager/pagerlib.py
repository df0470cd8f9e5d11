# SPDX-License-Identifier: Apache-2.0
"""A pager, an engine driven by hand, and programs whose memory is taken away."""
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import unittest

BUILD = os.environ.get('HEARTH_BUILD', 'build')
PAGER = os.path.join(BUILD, 'bin', 'hearth-pager')
WARM = os.path.join(BUILD, 'bin', 'libhearth-warm.so')
SHELL = os.path.join(BUILD, 'tests', 'programs', 'engine_shell')
PAGED = os.path.join(BUILD, 'tests', 'programs', 'paged')
MIB = 1 << 20
ALL = 7
EVERYTHING = 1 << 60
PATIENCE_S = float(os.environ.get('PATIENCE', 120))        # for what must come, however slow the machine; nothing depends on how long it takes


class Lines:
    """Lines of a program's output, each waited for."""

    def __init__(self, process):
        self.process, self.data = process, b''

    def line(self):
        while b'\n' not in self.data:
            if not select.select([self.process.stdout], [], [], PATIENCE_S)[0]:
                raise AssertionError(f'{self.process.args} says nothing')
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise EOFError(f'{self.process.args} ended: {self.process.wait()}')
            self.data += more
        line, self.data = self.data.split(b'\n', 1)
        return line.decode()


class Program:
    """One that is told what to do by lines."""

    def __init__(self, args, name=None, env=None):
        self.env = dict(os.environ, **(env or {}))
        if name:
            self.env.update(LD_PRELOAD=os.path.realpath(WARM), HEARTH_WARM=name)
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.env)
        self.lines = Lines(self.process)
        self.pid = self.process.pid

    def say(self, text):
        self.process.stdin.write(text.encode() + b'\n')
        self.process.stdin.flush()

    def do(self, text):
        self.say(text)
        return self.lines.line()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class PagerCase(unittest.TestCase):
    """A pager for each test."""
    fault = None
    options = ()

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest('paging other processes needs root')
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.socket = os.path.join(self.folder, 'pager.sock')
        self.log = open(os.path.join(self.folder, 'log'), 'w+', encoding='utf-8')
        self.addCleanup(self.log.close)
        self.numbers = self.downs = 0
        self.names = f't{os.getpid()}'
        self.start_pager()
        self.open_shell()

    def start_pager(self, fault=None):
        env = dict(os.environ)
        env.pop('HEARTH_FAULT', None)
        if fault or self.fault:
            env['HEARTH_FAULT'] = fault or self.fault
        self.pager = subprocess.Popen([PAGER, '--socket', self.socket, *self.options], stdout=subprocess.PIPE, stderr=self.log, env=env)
        self.assertEqual(self.pager.stdout.read(1), b'\n')
        self.addCleanup(self.stop_pager, self.pager)

    @staticmethod
    def pool_over_tcp(folder):
        """A pool on loopback, with keys that it makes in a folder. Return: its process, options of a pager."""
        hearth, secret, access = os.path.join(BUILD, 'bin', 'hearth'), os.path.join(folder, 'secret'), os.path.join(folder, 'access')
        for path, args in ((secret, ('--new-key', '1')), (access, ('--print-access', secret))):
            with open(path, 'wb', opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                subprocess.run([hearth, 'pool', *args], stdout=file, check=True)
        pool = subprocess.Popen([hearth, 'pool', '--listen', 'tcp:127.0.0.1:0', '--key-file', access], stdout=subprocess.PIPE)
        return pool, ('--pool', pool.stdout.readline().decode().strip(), '--pool-key', secret)

    @staticmethod
    def family(pid):
        """A process and its descendants."""
        found = [pid]
        for p in found:
            try:
                for task in os.listdir(f'/proc/{p}/task'):
                    with open(f'/proc/{p}/task/{task}/children', encoding='ascii') as f:
                        found += [int(c) for c in f.read().split()]
            except OSError:
                pass
        return found

    def holders(self):
        """Pids of the pager's processes by what they are: hearth-pager works."""
        found = {}
        for p in self.family(self.pager.pid):
            try:
                with open(f'/proc/{p}/comm', encoding='ascii') as f:
                    found[f.read().strip()] = p
            except OSError:
                pass
        return found

    def kill_at_once(self, *roots):
        """Those and what they have started; stopped first, as they start each other anew."""
        done, ends = set(), []
        while True:
            found = {p for r in roots for p in self.family(r)} - done
            if not found:
                break
            for p in found:
                try:
                    ends.append(os.pidfd_open(p))
                except ProcessLookupError:
                    continue
                self.signal(p, signal.SIGSTOP)
            done |= found
        for p in done:
            self.signal(p, signal.SIGKILL)
        for end in ends:
            select.select([end], [], [], PATIENCE_S)
            os.close(end)

    @staticmethod
    def signal(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def stop_pager(self, pager):
        if pager.poll() is None:
            self.kill_at_once(pager.pid)
        pager.wait()
        pager.stdout.close()

    def open_shell(self):
        self.shell = Program([SHELL, self.socket, os.path.join(BUILD, 'bin')])
        self.addCleanup(self.shell.end)
        first = json.loads(self.shell.lines.line())
        if first['event'] == 'unsupported':
            self.skipTest(first['why'])

    def program(self, args=(PAGED,), env=None):
        self.numbers += 1
        name = f'{self.names}-{self.numbers}'
        p = Program(list(args), name, env)
        p.name = name
        self.addCleanup(p.end)
        return p

    def event(self, *kinds, name=None):
        """The next event of such a kind; others are passed over, but not the loss of memory."""
        while True:
            e = json.loads(self.shell.lines.line())
            if e['event'] == 'down' and 'down' not in kinds:
                self.downs += 1
                self.shell.say('again')
            if e['event'] in kinds and name in (None, e.get('name')):
                return e
            if e['event'] in ('lost', 'error'):
                with open(self.log.name, encoding='utf-8') as f:
                    raise AssertionError(f'{e}\n{f.read()}')

    def attach(self, p):
        self.shell.say(f'attach {p.name} {p.pid} {self.numbers}')
        return self.event('attached', 'refused')

    def barrier(self, p, segment):
        self.shell.say(f'barrier {p.name} {segment}')
        return self.event('barrier')['bytes']

    def offload(self, p, segments=ALL, amount=EVERYTHING):
        """Return: bytes that have left."""
        self.shell.say(f'offload {p.name} {segments} {amount}')
        moved = 0
        while True:
            e = self.event('offloaded', name=p.name)
            moved += e['bytes']
            if e['flag']:
                return moved

    def prefetch(self, p, amount=EVERYTHING):
        self.shell.say(f'prefetch {p.name} {amount}')
        return self.event('prefetched')['bytes']

    def begin(self, p):
        """A request. The answer to the question after it says that the pager knows of it."""
        self.shell.say(f'begin {p.name}')
        self.stat(p)

    def stat(self, p):
        self.shell.say(f'stat {p.name}')
        return self.event('stat', name=p.name)

    def detach(self, p, how=0):
        self.shell.say(f'detach {p.name} {how}')
        return self.event('detached')

    def pager_log(self):
        with open(self.log.name, encoding='utf-8') as f:
            return f.read()
