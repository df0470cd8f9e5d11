#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hearth-keeper with real shims on the fake driver: dumps and restores of device memory, and whoever dies in between."""
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
KEEPER = os.environ.get('HEARTH_KEEPER_BIN', '')
SHIM = os.environ.get('HEARTH_SHIM', '')
PROGRAM = os.environ.get('HEARTH_SHIM_PROGRAM', '')
DRIVER = os.environ.get('HEARTH_FAKE_DRIVER', '')
ENGINE = os.environ.get('HEARTH_KEEPER_ENGINE', '')
PATIENCE_S = 60
MIB = 1 << 20
CHUNK = 65536


def sum_of(bytes_, value):
    """what shim_program says of so many bytes of one value: it multiplies by 31 and adds, modulo 2^64"""
    return value * ((pow(31, bytes_, 30 << 64) - 1) // 30) % (1 << 64)


class Talker:
    """a process that answers a line with a line"""

    def __init__(self, *command, **how):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **how)
        self.pid = self.process.pid

    def send(self, *words):
        self.process.stdin.write(' '.join(str(w) for w in words) + '\n')
        self.process.stdin.flush()

    def answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline().strip() if ready else ''
        assert line, f'no answer (exit {self.process.poll()})'
        return line

    def do(self, *words):
        self.send(*words)
        return self.answer()

    def kill(self):
        self.process.kill()
        self.end()

    def end(self):
        if not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


class Engine(Talker):
    def __init__(self, path):
        super().__init__(ENGINE, path)
        first = self.answer()
        assert first == 'ok', first

    def ok(self, *words):
        line = self.do(*words)
        assert line.startswith('ok'), f'{words}: {line}'
        return {k: int(v) if v.isdigit() else v for k, v in re.findall(r'(\w+)=([^=]*?)(?= \w+=|$)', line)}

    def fails(self, *words):
        line = self.do(*words)
        assert line.startswith('error'), f'{words}: {line}'
        return int(line.split()[1]), line.split(' ', 2)[2] if line.count(' ') > 1 else ''


class Program(Talker):
    def __init__(self, node, name='test', config=None):
        folder = os.path.join(node.run, 'programs', name)
        os.makedirs(folder, exist_ok=True)
        self.gate = os.path.join(folder, 'gate')
        with open(self.gate, 'wb') as f:
            f.write((0x68736741).to_bytes(4, 'little') + (1).to_bytes(4, 'little') + bytes(4088))
        env = dict(node.env, LD_PRELOAD=SHIM, HEARTH_KEEPER=node.socket, HEARTH_GATE=self.gate, HEARTH_PROGRAM=name, SHIM_HANDLE=os.path.join(node.run, 'handle'))
        super().__init__(PROGRAM, 'direct', env=env)
        self.node = node
        self.do('init')
        self.do('ctx', 0)
        self.buffers = {}

    def alloc(self, bytes_, value):
        at = int(self.do('alloc', bytes_))
        self.do('fill', at, bytes_, value)
        self.buffers[at] = (bytes_, value)
        return at

    def fill(self, at, value):
        self.do('fill', at, self.buffers[at][0], value)
        self.buffers[at] = (self.buffers[at][0], value)

    def free(self, at):
        self.do('free', at)
        del self.buffers[at]

    def right(self):
        """everything is as it was; and has been written when this returns, as fills do not wait"""
        for at, (bytes_, value) in self.buffers.items():
            got = int(self.do('sum', at, bytes_))
            assert got == sum_of(bytes_, value), f'buffer {at:x} is not what it was'

    def known(self, engine, n=None):
        """until the keeper has been told of as many buffers"""
        n = len(self.buffers) if n is None else n
        for _ in range(2000):
            if engine.ok('inspect', self.pid)['buffers'] == n:
                return
            select.select([], [], [], 0.01)
        raise AssertionError(f'the keeper does not know of {n} buffers')


class Node:
    def __init__(self, config='devices=2,memory=512M'):
        self.run = tempfile.mkdtemp(prefix='hearth-keeper-')
        self.socket = os.path.join(self.run, 'keeper.sock')
        self.store = os.path.join(self.run, 'store')
        os.makedirs(os.path.join(self.run, 'machine'))
        self.env = dict(os.environ, LD_LIBRARY_PATH=DRIVER, HEARTH_FAKE_CUDA=config, HEARTH_FAKE_CUDA_DIR=os.path.join(self.run, 'machine'))
        self.keeper = None

    def start(self, *options, **env):
        self.log = open(os.path.join(self.run, 'keeper.log'), 'a')
        self.keeper = subprocess.Popen([KEEPER, '--socket', self.socket, '--log-level', 'debug', *options], stdout=subprocess.PIPE, stderr=self.log, env=dict(self.env, **env))
        assert self.keeper.stdout.readline() == b'\n', self.said()

    def said(self):
        with open(os.path.join(self.run, 'keeper.log')) as f:
            return f.read()

    def stop(self):
        if self.keeper:
            self.keeper.terminate()
            code = self.keeper.wait(PATIENCE_S)
            self.keeper.stdout.close()
            self.log.close()
            self.keeper = None
            return code
        return None

    def remove(self):
        shutil.rmtree(self.run, ignore_errors=True)


class Case(unittest.TestCase):
    config = 'devices=2,memory=512M'

    def setUp(self):
        self.node = Node(self.config)
        self.addCleanup(self.node.remove)
        self.addCleanup(self.stop)
        self.talkers = []
        self.node.start()

    def stop(self):
        for t in self.talkers:
            t.kill()
        code = self.node.stop()
        if code not in (0, None):
            print(self.node.said(), file=sys.stderr)
        assert code in (0, None), f'keeper ended with {code}'

    def program(self, *args, **kw):
        p = Program(self.node, *args, **kw)
        self.talkers.append(p)
        return p

    def engine(self):
        e = Engine(self.node.socket)
        self.talkers.append(e)
        return e

    def busy(self):
        """a program with some memory, and an engine"""
        p, e = self.program(), self.engine()
        for k in range(4):
            p.alloc((2 + 2 * k) * MIB, k + 1)
        p.alloc(4 * MIB, 0)
        p.known(e)
        p.right()
        return p, e

    def back(self, p, e):
        e.ok('detach')
        e.ok('checkpoint')
        e.ok('restore')
        e.ok('attach')
        p.right()


class Dump(Case):
    def test_inspect(self):
        p, e = self.busy()
        seen = e.ok('inspect', p.pid)
        self.assertEqual((seen['bytes'], seen['refusals'], seen['shim']), (24 * MIB, 0, 1))
        self.assertEqual(e.fails('inspect', 999999)[0], -3)

    def test_leave_running(self):
        p, e = self.busy()
        e.ok('begin', p.pid)
        first = e.ok('precopy', self.node.store)
        self.assertEqual(first['bytes'], 24 * MIB)
        self.assertEqual(first['copied'] + first['known'] + first['zero'], 24 * MIB)
        stop = e.ok('stop', 1)
        self.assertEqual(stop['dirty'], 0)
        self.back(p, e)
        e.ok('drain', self.node.store, 'one')
        e.ok('end')
        p.right()

    def test_all_dirty(self):
        p, e = self.busy()
        e.ok('begin', p.pid)
        e.ok('precopy', self.node.store)
        for k, at in enumerate(list(p.buffers)):
            p.fill(at, 40 + k)
        stop = e.ok('stop', 1)
        self.assertEqual((stop['dirty'], stop['snapshot']), (24 * MIB, 24 * MIB))
        self.back(p, e)
        wanted = dict(p.buffers)
        for at in list(p.buffers):          # what is drained now is what was there at the stop
            p.fill(at, 99)
        e.ok('drain', self.node.store, 'one')
        e.ok('end')
        p.buffers = wanted
        self.loaded(p, e, '-')

    def loaded(self, p, e, hold):
        """the process, which gave up its memory, gets that of image one, as if CRIU had brought it back"""
        e.ok('begin', p.pid)
        e.ok('stop', 0)
        e.ok('detach')
        e.ok('checkpoint')
        e.ok('hold', 'aside')
        e.ok('end')
        e.ok('load', self.node.store, 'one', hold, f'{p.pid}:{p.pid}')
        e.ok('restore')
        seen = e.ok('attach')
        p.right()
        e.ok('end')
        return seen

    def test_from_what_is_held(self):
        p, e = self.busy()
        e.ok('begin', p.pid)
        e.ok('precopy', self.node.store)
        e.ok('drain', self.node.store, 'one')
        e.ok('end')
        p.fill(list(p.buffers)[0], 31)
        p.right()
        self.assertEqual(self.loaded(p, e, 'aside')['copied'], 0)
        self.assertEqual(e.ok('info')['held'], 0)

    def test_hold_is_not_there(self):
        p, e = self.busy()
        e.ok('begin', p.pid)
        e.ok('precopy', self.node.store)
        e.ok('drain', self.node.store, 'one')
        e.ok('end')
        self.assertGreater(self.loaded(p, e, 'elsewhere')['copied'], 0)

    def test_image_in_memory(self):
        self.node.store = f'/dev/shm/hearth-keeper-{os.getpid()}'
        self.addCleanup(shutil.rmtree, self.node.store, True)
        self.test_all_dirty()

    def test_one_byte(self):
        p, e = self.busy()
        e.ok('begin', p.pid)
        e.ok('precopy', self.node.store)
        at = list(p.buffers)[2]
        p.do('fill', at + 3 * CHUNK + 77, 1, 200)
        stop = e.ok('stop', 1)
        self.assertEqual((stop['dirty'], stop['snapshot']), (CHUNK, CHUNK))
        self.back_but(p, e, at)
        e.ok('drain', self.node.store, 'one')
        e.ok('end')

    def back_but(self, p, e, at):
        bytes_, value = p.buffers.pop(at)
        self.back(p, e)
        self.assertEqual(int(p.do('sum', at, bytes_)), (sum_of(bytes_, value) + (200 - value) * pow(31, bytes_ - 1 - 3 * CHUNK - 77, 1 << 64)) % (1 << 64))

    def test_buffers_come_and_go(self):
        p, e = self.busy()
        e.ok('begin', p.pid)
        e.ok('precopy', self.node.store)
        p.free(list(p.buffers)[1])
        p.alloc(8 * MIB, 77)
        p.known(e)
        stop = e.ok('stop', 1)
        self.assertEqual(stop['dirty'], 8 * MIB)
        self.back(p, e)
        e.ok('drain', self.node.store, 'one')
        e.ok('end')

    def test_without_precopy(self):
        p, e = self.busy()
        e.ok('begin', p.pid)
        self.assertEqual(e.ok('stop', 1)['dirty'], 24 * MIB)
        self.back(p, e)
        e.ok('drain', self.node.store, 'one')
        e.ok('end')

    def test_second_image_shares(self):
        p, e = self.busy()
        for name in 'one', 'two':
            e.ok('begin', p.pid)
            seen = e.ok('precopy', self.node.store)
            e.ok('stop', 1)
            self.back(p, e)
            e.ok('drain', self.node.store, name)
            e.ok('end')
        self.assertEqual(seen['copied'], 0)

    def test_order(self):
        p, e = self.busy()
        for words in ('stop', 1), ('detach',), ('attach',), ('end',):
            self.assertEqual(e.fails(*words)[0], -71)
        e.ok('begin', p.pid)
        for words in ('detach',), ('checkpoint',), ('restore',), ('attach',):
            self.assertEqual(e.fails(*words)[0], -71)
        e.ok('stop', 1)
        self.assertEqual(e.fails('end')[0], -71)
        e.ok('abort')
        p.right()

    def test_busy(self):
        p, e = self.busy()
        other = self.engine()
        e.ok('begin', p.pid)
        self.assertEqual(other.fails('begin', p.pid)[0], -16)
        e.ok('end')
        other.ok('begin', p.pid)

    def test_two_programs(self):
        p, e = self.busy()
        q = self.program('other')
        q.alloc(6 * MIB, 9)
        q.known(e)
        other = self.engine()
        e.ok('begin', p.pid)
        other.ok('begin', q.pid)
        e.ok('stop', 1)
        other.ok('stop', 1)
        self.back(q, other)
        self.back(p, e)

    def test_refused(self):
        p, e = self.busy()
        p.do('managed')
        for _ in range(2000):
            if e.ok('inspect', p.pid)['refusals']:
                break
            select.select([], [], [], 0.01)
        code, why = e.fails('begin', p.pid)
        self.assertEqual(code, -95)
        self.assertIn('managed memory', why)
        p.right()


    def refused(self, e, pid):
        for _ in range(2000):
            seen = e.ok('inspect', pid)['refusals']
            if seen:
                return seen
            select.select([], [], [], 0.01)
        raise AssertionError('nothing is refused')

    def test_shared_by_handle(self):
        """cuIpc*: another process sees the memory, also after a small part of a block was shared; neither can be checkpointed meanwhile"""
        a, b, e = self.program('a'), self.program('b'), self.engine()
        for size in 3 * MIB, 700:
            at = a.alloc(size, 5)
            a.right()
            self.assertEqual(a.do('ipc', at), 'ok')
            there = int(b.do('openipc'))
            self.assertEqual(int(b.do('sum', there, size)), sum_of(size, 5))
            self.assertEqual(b.do('fill', there, size, 9), 'ok')
            a.buffers[at] = (size, 9)
            a.right()
            self.assertEqual(self.refused(e, a.pid), 2)
            self.assertEqual(self.refused(e, b.pid), 2)
            self.assertEqual(b.do('closeipc', there), 'ok')
            self.assertEqual(b.do('closeipc', there), 'error 1')
            while e.ok('inspect', b.pid)['refusals']:
                select.select([], [], [], 0.01)
        code, why = e.fails('begin', a.pid)
        self.assertEqual(code, -95)
        self.assertIn('CUDA IPC', why)
        a.kill()
        self.assertEqual(b.do('openipc'), 'error 1')


class Short(Case):
    """so little device memory that the snapshot does not fit, and no second copy of the largest buffer"""
    config = 'devices=1,memory=64M'

    def test_small_snapshot(self):
        p, e = self.program(), self.engine()
        for k in range(3):
            p.alloc(14 * MIB, k + 1)
        p.known(e)
        p.right()
        e.ok('begin', p.pid)
        e.ok('precopy', self.node.store)
        for k, at in enumerate(list(p.buffers)):
            p.fill(at, 50 + k)
        stop = e.ok('stop', 1)
        self.assertEqual(stop['dirty'], 42 * MIB)
        self.assertLess(stop['snapshot'], 42 * MIB)
        self.assertIn('short', stop['notes'])
        e.ok('detach')
        e.ok('checkpoint')
        e.ok('restore')
        e.ok('drain', self.node.store, 'one')
        e.ok('attach')
        p.right()
        e.ok('end')

    def test_over_the_host(self):
        p, e = self.program(), self.engine()
        p.alloc(36 * MIB, 5)
        p.known(e)
        e.ok('begin', p.pid)
        e.ok('stop', 0)
        e.ok('detach')
        e.ok('checkpoint')
        e.ok('restore')
        self.assertIn('over the host', e.ok('attach')['notes'])
        p.right()


class Deaths(Case):
    STEPS = [('begin',), ('precopy',), ('stop', 1), ('detach',), ('checkpoint',), ('restore',), ('attach',)]

    def walk(self, p, e, steps):
        for words in steps:
            e.ok(*(words + ((p.pid,) if words == ('begin',) else (self.node.store,) if words == ('precopy',) else ())))

    def test_engine_at_every_step(self):
        p, e = self.busy()
        for n in range(1, len(self.STEPS) + 1):
            with self.subTest(after=self.STEPS[n - 1]):
                self.walk(p, e, self.STEPS[:n])
                e.kill()
                p.right()           # waits for the gate, if need be
                e = self.engine()
                for _ in range(2000):
                    if e.do('begin', p.pid).startswith('ok'):
                        break
                    select.select([], [], [], 0.01)
                e.ok('end')

    def test_program_at_every_step(self):
        for n in range(1, len(self.STEPS) + 1):
            with self.subTest(after=self.STEPS[n - 1]):
                p, e = self.busy()
                self.walk(p, e, self.STEPS[:n])
                p.kill()
                e.kill()
                e = self.engine()
                for _ in range(2000):
                    seen = e.ok('info')
                    if seen['processes'] == 0 and seen['operations'] == 0:
                        break
                    select.select([], [], [], 0.01)
                self.assertEqual((seen['processes'], seen['bytes'], seen['held_bytes']), (0, 0, 0))

    def test_keeper_at_every_step(self):
        for n in range(1, 4):
            with self.subTest(after=self.STEPS[n - 1]):
                p, e = self.busy()
                self.walk(p, e, self.STEPS[:n])
                self.node.keeper.kill()
                self.node.keeper.wait()
                self.node.keeper.stdout.close()
                p.right()
                self.assertEqual(e.fails('info')[0], -32)
                self.node.start()


class Held(Case):
    def test_hold_and_release(self):
        p, e = self.busy()
        e.ok('begin', p.pid)
        e.ok('stop', 0)
        e.ok('detach')
        e.ok('checkpoint')
        e.ok('hold', 'parked')
        p.kill()
        e.ok('drain', self.node.store, 'one')
        e.ok('end')
        seen = e.ok('info')
        self.assertEqual((seen['held'], seen['held_bytes']), (1, 24 * MIB))
        e.ok('release', 'parked')
        self.assertEqual(e.fails('release', 'parked')[0], -2)
        self.assertEqual(e.ok('info')['held_bytes'], 0)

    def hold(self, name, megabytes):
        p, e = self.program(name), self.engine()
        p.alloc(megabytes * MIB, 1)
        p.known(e)
        e.ok('begin', p.pid)
        e.ok('stop', 0)
        e.ok('detach')
        e.ok('checkpoint')
        e.ok('hold', name)
        p.kill()
        e.ok('end')
        return e

    def test_the_oldest_goes_first(self):
        for name, megabytes in (('one', 100), ('two', 150), ('three', 200)):
            e = self.hold(name, megabytes)
        p = self.program('four')
        p.alloc(120 * MIB, 4)           # of 512 MiB
        p.right()
        self.assertEqual(e.fails('release', 'one')[0], -2)
        self.assertEqual(e.ok('info')['held_bytes'], 350 * MIB)
        p.alloc(180 * MIB, 5)
        p.right()
        self.assertEqual(e.fails('release', 'two')[0], -2)
        e.ok('release', 'three')
        with self.assertRaises(ValueError):
            p.alloc(300 * MIB, 6)       # there is nothing left to give back
        p.right()

    def parked(self, *megabytes):
        """a program that gave up its memory, which is in image one and nowhere else"""
        p, e = self.program(), self.engine()
        for k, m in enumerate(megabytes):
            p.alloc(m * MIB, k + 1)
        p.known(e)
        p.right()
        e.ok('begin', p.pid)
        e.ok('stop', 0)
        e.ok('detach')
        e.ok('checkpoint')
        e.ok('hold', 'aside')
        e.ok('drain', self.node.store, 'one')
        e.ok('end')
        return p, e

    def comes_back(self, p, e):
        e.ok('load', '-', '-', '-', f'{p.pid}:{p.pid}')
        e.ok('restore')
        seen = e.ok('attach')
        p.right()
        e.ok('end')
        return seen

    def test_made_ready_beforehand(self):
        p, e = self.parked(20, 2, 10)
        e.ok('release', 'aside')
        for _ in range(2):
            self.assertEqual(e.ok('stage', self.node.store, 'one')['bytes'], 32 * MIB)
            self.assertEqual(e.fails('stage', self.node.store, 'one')[0], -71)
            self.assertEqual(e.fails('attach')[0], -71)
            self.assertIn('what it is called now', e.fails('load', '-', '-', '-', f'{os.getpid()}:{os.getpid()}')[1])      # and the operation is over
        e.ok('stage', self.node.store, 'one')
        seen = self.comes_back(p, e)
        self.assertEqual(seen['copied'] + seen['zero'], 32 * MIB)

    def test_held_until_it_is_taken(self):
        p, e = self.parked(20, 2)
        e.ok('stage', self.node.store, 'one', 'aside')
        self.assertEqual(e.ok('info')['held'], 0)
        self.assertIn('not held any more', self.engine().ok('stage', self.node.store, 'one', 'aside')['notes'])
        e.kill()                        # the hold is there again
        e = self.engine()
        for _ in range(2000):
            if e.ok('info')['held']:
                break
            select.select([], [], [], 0.01)
        e.ok('stage', self.node.store, 'one', 'aside')
        self.assertEqual(self.comes_back(p, e)['copied'], 0)

    def test_engine_killed_while_it_is_made_ready(self):
        p, e = self.parked(100)
        e.ok('release', 'aside')
        for _ in range(3):
            e.ok('stage', self.node.store, 'one')
            e.kill()
            e = self.engine()
        e.ok('stage', self.node.store, 'one')
        self.comes_back(p, e)

    def test_a_wake_needs_it(self):
        """memory comes back from an image, where there is no room beside what is held for another"""
        for stage in (False, True):
            p, e = self.parked(150, 150)
            e.ok('release', 'aside')
            self.hold('other', 300)
            if stage:
                e.ok('stage', self.node.store, 'one')
            else:
                e.ok('load', self.node.store, 'one', 'elsewhere', f'{p.pid}:{p.pid}')
                e.ok('restore')
                e.ok('attach')
                p.right()
                e.ok('end')
            if stage:
                self.comes_back(p, e)
            self.assertEqual(e.fails('release', 'other')[0], -2)
            p.kill()
            shutil.rmtree(self.node.store)

    def test_damaged(self):
        """what lies ready was checked; what is damaged is told in the end"""
        p, e = self.parked(20)
        e.ok('release', 'aside')
        pack = os.path.join(self.node.store, 'packs', os.listdir(os.path.join(self.node.store, 'packs'))[0])
        with open(pack, 'r+b') as f:
            f.seek(77)
            byte = f.read(1)[0]
            f.seek(77)
            f.write(bytes([byte ^ 1]))
        e.ok('stage', self.node.store, 'one')
        e.ok('load', '-', '-', '-', f'{p.pid}:{p.pid}')
        e.ok('restore')
        self.assertEqual(e.fails('attach')[0], -74)

    def test_no_more_than_that(self):
        self.node.stop()
        self.node.start('--hold-bytes', '300MiB')
        for name, megabytes in (('one', 100), ('two', 150), ('three', 200)):
            e = self.hold(name, megabytes)
        self.assertEqual(e.ok('info')['held_bytes'], 200 * MIB)
        self.assertEqual(e.fails('release', 'one')[0], -2)
        self.assertEqual(e.fails('release', 'two')[0], -2)

    def test_time(self):
        self.node.stop()
        self.node.start('--hold-time', '50ms')
        e = self.hold('one', 10)
        for _ in range(2000):
            if e.ok('info')['held'] == 0:
                break
            select.select([], [], [], 0.01)
        self.assertEqual(e.ok('info')['held_bytes'], 0)


class Garbage(Case):
    def test_both_roles(self):
        p, e = self.busy()
        for data in (b'', b'x', b'{', b'{}', b'{"op":"stop"}', b'{"op":"none"}', b'{"op":"begin","pids":[1,1]}', bytes(312), b'\1' + bytes(311), os.urandom(312), b'[' * 60000, os.urandom(70000)):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.connect(self.node.socket)
            try:
                s.send(data)
            except OSError:
                pass
            s.close()
        e.ok('begin', p.pid)
        e.ok('stop', 1)
        self.back(p, e)


if __name__ == '__main__':
    if not all(os.path.exists(f) for f in (KEEPER, SHIM, PROGRAM, DRIVER, ENGINE)):
        print('skipped: no fake driver here')
        raise SystemExit(77)
    if os.geteuid() != 0:
        print('skipped: needs root')
        raise SystemExit(77)
    unittest.main(verbosity=2)
