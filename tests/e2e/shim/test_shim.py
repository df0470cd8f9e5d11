#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libhearth-cuda.so in a program, on the fake driver, with a keeper made of Python: routes to the driver, memory that goes and comes back, the gate, and keepers that die or lie."""
import errno
import os
import random
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimlib import (ATTACHING, CLOSED, CREATE, DETACH, DETACHED, FREE, GATE_CLOSE, GATE_OPEN, RUNNING, WELCOME, WIRE, Buffer, Keeper, Program, pack)  # noqa: E402

SHIM, PROGRAM, DRIVER = os.environ['HEARTH_SHIM'], os.environ['HEARTH_SHIM_PROGRAM'], os.environ['HEARTH_FAKE_DRIVER']
MIB = 1 << 20


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='hearth-shim-')
        self.keeper = Keeper(os.path.join(self.folder, 'keeper'))
        self.programs = []

    def tearDown(self):
        for p in self.programs:
            if p.process.poll() is None:
                p.process.kill()
            p.process.wait()
            p.process.stdin.close()
            p.process.stdout.close()
            p.log.close()
        if self.keeper:
            self.keeper.end()
        shutil.rmtree(self.folder)

    def start(self, accept=True, **words):
        p = Program(self.folder, SHIM, PROGRAM, DRIVER, **words)
        self.programs.append(p)
        self.assertEqual(p.do('init'), 'ok', p.said())
        if accept:
            self.keeper.accept()
        return p

    def finish(self, p):
        p.process.stdin.close()
        self.assertEqual(p.process.wait(60), 0, p.said())

    def buffers(self, n):
        self.keeper.until(lambda: len(self.keeper.buffers) == n)
        return list(self.keeper.buffers.values())

    def close_gate(self, timeout_ms=0):
        return self.keeper.ask(GATE_CLOSE, arg0=timeout_ms)

    def detach(self, p):
        """closes the gate, keeps the contents, lets the memory go. Returns {id: contents}"""
        self.assertEqual(self.close_gate().result, 0)
        data = {b.id: b.read() for b in self.keeper.buffers.values()}
        self.assertEqual(self.keeper.ask(DETACH).result, 0)
        self.assertEqual(p.gate_words()[2], DETACHED)
        self.assertRaises(EOFError, self.keeper.recv)
        self.keeper.close()
        return data

    def create(self, ident, data):
        c = self.keeper.ask(CREATE, ident=ident)
        self.assertEqual(c.result, 0)
        c.bytes = len(data)
        b = Buffer(c)
        b.write(data)
        self.keeper.buffers[ident] = b

    def attach(self, p, data):
        p.wake()
        self.assertEqual(self.keeper.accept().flags, 1)
        for ident in sorted(data, reverse=True):        # any order
            self.create(ident, data[ident])
        self.assertEqual(p.gate_words()[2], ATTACHING)
        self.assertEqual(self.keeper.ask(GATE_OPEN).result, 0)
        self.assertEqual(p.gate_words()[2], RUNNING)


class Routes(Case):
    def route(self, route):
        p = self.start(route=route)
        a = p.do('alloc', 3 * MIB)
        p.do('fill', a, 3 * MIB, 5)
        b = self.buffers(1)[0]
        self.assertEqual((b.va, b.bytes), (a, 4 * MIB))
        self.assertTrue(b.read()[:3 * MIB] == b'\x05' * (3 * MIB))
        self.assertEqual(p.do('free', a), 'ok')
        self.buffers(0)
        self.finish(p)

    def test_linked(self):
        self.route('direct')

    def test_dlsym(self):
        self.route('dlsym')

    def test_proc_address(self):
        self.route('proc1')

    def test_proc_address_v2(self):
        self.route('proc2')

    def test_beside_another_preload(self):
        p = self.start(preload=os.environ['HEARTH_SHIM_NEXT'])
        a = p.do('alloc', 3 * MIB)
        self.assertEqual(self.buffers(1)[0].va, a)       # through the other library, then through the shim
        self.assertEqual(p.do('free', a), 'ok')
        self.finish(p)
        self.assertIn('next: 1 calls', p.said())

    def test_without_keeper(self):
        p = self.start(accept=False, keeper=False)
        a = p.do('alloc', 5 * MIB)
        self.assertEqual(p.do('fill', a, 5 * MIB, 1), 'ok')
        self.assertEqual(p.do('free', a), 'ok')
        self.assertEqual(p.said(), '')
        self.finish(p)

    def test_old_driver(self):
        p = self.start(config='driver=12000,devices=1,memory=64M', route='proc2')
        p.do('alloc', 2 * MIB)
        self.buffers(1)
        self.finish(p)


class Memory(Case):
    def test_small_and_large(self):
        p = self.start()
        rng, live = random.Random(7), {}
        for turn in range(300):
            if live and rng.random() < 0.4:
                at = rng.choice(sorted(live))
                size, value = live.pop(at)
                self.assertEqual(p.do('sum', at, min(size, 64)), self.sum_of(value, min(size, 64)))
                self.assertEqual(p.do('free', at), 'ok')
                continue
            size = rng.choice([1, 511, 512, 513, 4000, 70000, MIB - 1, MIB, MIB + 1, 3 * MIB])
            at, value = p.do('alloc', size), turn % 251
            self.assertEqual(at % 512, 0)
            self.assertFalse(any(at < a + s and a < at + size for a, (s, _) in live.items()))
            self.assertEqual(p.do('range', at + size - 1), [at, size])
            p.do('fill', at, size, value)
            live[at] = (size, value)
        for at in live:
            self.assertEqual(p.do('free', at), 'ok')
        self.buffers(1)                                  # the empty block that is kept
        self.finish(p)

    @staticmethod
    def sum_of(value, n):
        total = 0
        for _ in range(n):
            total = (total * 31 + value) % (1 << 64)
        return total

    def test_wrong_frees(self):
        p = self.start()
        a, b = p.do('alloc', 1000), p.do('alloc', 3 * MIB)
        self.assertEqual(p.do('free', a + 8), 'error 1')
        self.assertEqual(p.do('free', b + 512), 'error 1')
        self.assertEqual(p.do('free', 12345 << 21), 'error 1')
        self.assertEqual([p.do('free', x) for x in (a, b)], ['ok', 'ok'])
        self.assertEqual([p.do('free', x) for x in (a, b)], ['error 1', 'error 1'])
        self.assertEqual(p.do('alloc', 0), 'error 1')
        self.finish(p)

    def test_full_device(self):
        """what the keeper still holds is waited for; what nobody has to give is an error"""
        p = self.start(config='devices=1,memory=64M,fail=cuMemCreate:2:2')
        a = p.do('alloc', 40 * MIB)
        self.buffers(1)
        self.assertEqual(p.do('free', a), 'ok')
        p.send('alloc', 40 * MIB)                        # finds the device full, as the keeper has not read FREE yet
        while not p.waits_on_futex():
            self.assertFalse(p.answered())              # it waits for 2 s at most: whoever looks later than that would look for ever
        self.keeper.until(lambda: 2 in self.keeper.buffers)
        self.assertEqual(p.do('fill', p.answer()[0], 40 * MIB, 1), 'ok')
        self.assertEqual(p.do('alloc', 40 * MIB), 'error 2')
        self.finish(p)

    def test_empty_block_is_given_back(self):
        p = self.start(config='devices=1,memory=64M')
        self.assertEqual(p.do('free', p.do('alloc', 4096)), 'ok')
        self.assertEqual(self.buffers(1)[0].bytes, 2 * MIB)
        p.do('alloc', 64 * MIB)
        self.keeper.until(lambda: 2 in self.keeper.buffers)
        self.assertEqual([b.bytes for b in self.buffers(1)], [64 * MIB])
        self.finish(p)

    def test_driver_without_export(self):
        """memory that cannot be exported stays with the driver, and the program does not notice"""
        p = self.start(config='devices=1,memory=64M,fail=cuMemCreate:0:801')
        a, b = p.do('alloc', 3 * MIB), p.do('alloc', 100)
        self.assertEqual([p.do('fill', a, 3 * MIB, 1), p.do('fill', b, 100, 1)], ['ok', 'ok'])
        self.assertEqual([p.do('free', a), p.do('free', b)], ['ok', 'ok'])
        self.assertIn('stay with the driver', p.said())
        self.finish(p)

    def test_attributes(self):
        p = self.start()
        a = p.do('alloc', 700)
        ctx, start, size = p.do('attr', a + 699)
        self.assertNotEqual(ctx, 0)
        self.assertEqual((start, size), (a, 700))
        self.assertEqual(p.do('retain', a), 'error 1')
        at, pitch = p.do('pitch', 1000, 10)
        self.assertEqual(pitch, 1024)
        self.assertEqual(p.do('range', at + 10239), [at, 10240])
        self.finish(p)

    def test_contexts(self):
        """a context's memory goes with it"""
        p = self.start()
        c = p.do('ctx', 1)
        p.do('alloc', 3 * MIB)
        p.do('alloc', 100)
        self.buffers(2)
        self.assertEqual(p.do('destroy', c), 'ok')
        self.buffers(0)
        self.finish(p)

    def test_copy_between_devices(self):
        """without peer access, as with the driver's own memory"""
        p = self.start()
        a = p.do('alloc', 3 * MIB)
        self.assertEqual(p.do('fill', a, 3 * MIB, 3), 'ok')
        p.do('ctx', 1)
        b = p.do('alloc', 3 * MIB)
        self.assertEqual(p.do('copy', b, a, 3 * MIB), 'ok')
        self.assertTrue(self.buffers(2)[1].read()[:3 * MIB] == b'\x03' * (3 * MIB))
        self.finish(p)

    def test_primary_reset(self):
        p = self.start()
        p.do('alloc', 3 * MIB)
        p.do('alloc', 100)
        self.buffers(2)
        self.assertEqual(p.do('reset', 0), 'ok')
        self.buffers(0)
        self.finish(p)

    def test_refusals(self):
        p = self.start()
        a, b = p.do('managed'), p.do('managed')
        self.keeper.until(lambda: self.keeper.refusals == {1: 'cuMemAllocManaged'})
        self.assertEqual(p.do('free', a), 'ok')
        self.assertEqual(p.do('free', b), 'ok')
        self.keeper.until(lambda: not self.keeper.refusals)
        self.finish(p)

    def test_programs_handles(self):
        p = self.start()
        h = p.do('create', 4 * MIB)
        empty = p.do('create', 2 * MIB)                  # never mapped: the keeper need not know
        a = p.do('map', h, 4 * MIB)
        self.assertEqual(self.buffers(1)[0].va, a)
        p.do('fill', a, 4 * MIB, 9)
        self.assertEqual(p.do('release', h), 'ok')       # still mapped
        self.assertEqual(p.do('retain', a), h)
        self.assertEqual(p.do('release', h), 'ok')
        before = p.do('sum', a, 4 * MIB)
        self.attach(p, self.detach(p))
        self.assertEqual(p.do('sum', a, 4 * MIB), before)
        self.assertEqual(p.do('unmap', a, 4 * MIB), 'ok')
        self.buffers(0)
        b = p.do('map', empty, 2 * MIB)
        self.assertEqual(p.do('fill', b, 2 * MIB, 1), 'ok')
        self.buffers(1)
        own = p.do('alloc', 2 * MIB)
        self.assertEqual(p.do('unmap', own, 2 * MIB), 'error 1')
        self.finish(p)


class Detached(Case):
    def test_contents(self):
        p = self.start()
        sizes = [3 * MIB, 100, 5000, 2 * MIB, 7 * MIB]
        at = [p.do('alloc', s) for s in sizes]
        for i, a in enumerate(at):
            p.do('fill', a, sizes[i], i + 1)
        before = [p.do('sum', a, s) for a, s in zip(at, sizes)]
        for _ in range(3):
            data = self.detach(p)
            self.assertEqual(p.do('fd'), 0)
            self.attach(p, data)
            self.assertEqual([p.do('sum', a, s) for a, s in zip(at, sizes)], before)
        self.assertEqual([p.do('free', a) for a in at], ['ok'] * 5)
        self.buffers(1)
        self.finish(p)

    def test_two_devices_with_access(self):
        p = self.start(config='devices=2,memory=256M')
        first = p.do('ctx', 0)
        a = p.do('alloc', 3 * MIB)
        second = p.do('ctx', 1)
        self.assertEqual(p.do('peer', first), 'ok')
        b = p.do('alloc', 2 * MIB)
        self.assertEqual(p.do('fill', a, 3 * MIB, 3), 'ok')     # from the other device
        self.assertEqual(p.do('fill', b, 2 * MIB, 4), 'ok')
        self.attach(p, self.detach(p))
        self.assertEqual(p.do('fill', a, 3 * MIB, 5), 'ok')
        self.assertEqual(p.do('destroy', second), 'ok')
        self.finish(p)

    def test_calls_wait(self):
        p = self.start()
        a = p.do('alloc', 3 * MIB)
        data = self.detach(p)
        p.send('fill', a, 3 * MIB, 8)
        self.assertFalse(p.answered())
        self.attach(p, data)
        self.assertEqual(p.answer(), 'ok')
        self.assertEqual(self.keeper.buffers[1].read()[0], 8)
        self.finish(p)

    def test_out_of_order(self):
        """wrong requests are answered with errors and change nothing"""
        p = self.start()
        p.do('alloc', 3 * MIB)
        self.buffers(1)
        self.assertEqual(self.keeper.ask(DETACH).result, -errno.EBUSY)
        self.assertEqual(self.keeper.ask(CREATE, ident=1).result, -errno.EBUSY)
        self.assertEqual(self.keeper.ask(GATE_OPEN).result, 0)
        data = self.detach(p)
        p.wake()
        self.keeper.accept()
        self.assertEqual(self.keeper.ask(GATE_CLOSE).result, -errno.EBUSY)
        self.assertEqual(self.keeper.ask(GATE_OPEN).result, -errno.ENODATA)
        self.assertEqual(self.keeper.ask(CREATE, ident=77).result, -errno.ENOENT)
        self.create(1, data[1])
        self.assertEqual(self.keeper.ask(CREATE, ident=1).result, -errno.EEXIST)
        self.assertEqual(self.keeper.ask(GATE_OPEN).result, 0)
        self.finish(p)

    def test_keeper_dies(self):
        """at each moment: running, closed, detached, half attached"""
        p = self.start()
        a = p.do('alloc', 3 * MIB)
        b = p.do('alloc', 5 * MIB)
        p.do('fill', a, 3 * MIB, 1)
        p.do('fill', b, 5 * MIB, 2)
        before = [p.do('sum', a, 3 * MIB), p.do('sum', b, 5 * MIB)]
        self.buffers(2)
        self.keeper.close()                              # running: it begins anew
        self.assertEqual(p.do('fill', a, 3 * MIB, 1), 'ok')
        p.wake()
        self.assertEqual(self.keeper.accept().flags, 0)
        self.assertEqual([x.va for x in self.buffers(2)], [a, b])
        self.assertEqual(self.close_gate().result, 0)
        p.send('fill', a, 3 * MIB, 1)
        self.keeper.close()                              # closed: the gate opens
        self.assertEqual(p.answer(), 'ok')
        p.wake()
        self.keeper.accept()
        self.buffers(2)
        data = self.detach(p)
        for create in (0, 1, 2):                         # detached, half attached, attached but for the gate
            p.wake()
            self.assertEqual(self.keeper.accept().flags, 1)
            for ident in (1, 2)[:create]:
                self.create(ident, bytes(len(data[ident])))
            self.keeper.close()
        p.wake()
        self.keeper.accept()
        for ident in (1, 2):
            self.create(ident, data[ident])
        self.assertEqual(self.keeper.ask(GATE_OPEN).result, 0)
        self.assertEqual([p.do('sum', a, 3 * MIB), p.do('sum', b, 5 * MIB)], before)
        self.finish(p)

    def test_keeper_comes_late(self):
        self.keeper.end()
        p = self.start(accept=False)
        a = p.do('alloc', 3 * MIB)
        self.assertEqual(p.do('fill', a, 3 * MIB, 6), 'ok')
        self.keeper = Keeper(os.path.join(self.folder, 'keeper'))
        p.wake()
        self.keeper.accept()
        self.assertEqual(self.buffers(1)[0].read()[0], 6)
        self.finish(p)

    def test_keeper_sends_away(self):
        p = self.start(accept=False)
        self.keeper.accept(welcome=False)
        self.keeper.sock.send(pack(WELCOME, result=-errno.ENOENT))
        self.assertRaises(EOFError, self.keeper.recv)
        self.assertEqual(p.do('alloc', 4096) % 512, 0)
        self.finish(p)

    def test_keeper_stands_still(self):
        """a keeper that does not read never holds up the program, and learns all when it does"""
        p = self.start()
        at = [p.do('alloc', 2 * MIB) for _ in range(100)]
        for a in at[:50]:
            self.assertEqual(p.do('free', a), 'ok')
        self.buffers(50)
        self.finish(p)


class Gate(Case):
    def test_hammer(self):
        """eight threads that allocate, fill and free: not one call while the gate is closed, none lost"""
        p = self.start()
        self.assertEqual(p.do('hammer', 8), 'ok')
        for turn in range(20):
            self.keeper.settle()
            self.assertEqual(self.close_gate().result, 0)
            calls = p.do('calls')
            contents = {b.id: b.read() for b in self.keeper.buffers.values()}
            self.assertEqual(self.close_gate().result, 0)           # closed already
            self.assertEqual(p.gate_words()[2:], (CLOSED, turn // 5, 1))
            self.assertEqual(p.do('calls'), calls)
            self.assertTrue({b.id: b.read() for b in self.keeper.buffers.values()} == contents)
            if turn % 5 == 4:
                self.attach(p, self.detach(p))
            else:
                self.assertEqual(self.keeper.ask(GATE_OPEN).result, 0)
            while p.do('calls') == calls:
                pass
        self.assertIsInstance(p.do('rest'), int, p.said())
        self.finish(p)

    def test_kernel_that_does_not_end(self):
        p = self.start()
        a = p.do('alloc', 3 * MIB)
        self.assertEqual(p.do('block'), 'ok')
        c = self.close_gate(200)
        self.assertEqual(c.result, -errno.ETIMEDOUT)
        self.assertEqual(p.gate_words()[2], RUNNING)
        self.assertEqual(p.do('unblock'), 'ok')
        self.assertEqual(p.do('fill', a, 3 * MIB, 1), 'ok')
        self.assertEqual(self.close_gate().result, 0)
        self.assertEqual(self.keeper.ask(GATE_OPEN).result, 0)
        self.finish(p)

    def test_capture(self):
        """while a stream is captured the gate stays open; what is freed meanwhile goes afterwards"""
        p = self.start()
        a = p.do('alloc', 3 * MIB)
        self.buffers(1)
        self.assertEqual(p.do('capture'), 'ok')
        self.assertEqual(self.close_gate(200).result, -errno.ETIMEDOUT)
        self.assertEqual(p.do('free', a), 'ok')
        self.assertEqual(p.do('free', a), 'error 1')
        self.keeper.settle()
        self.assertEqual(len(self.keeper.buffers), 1)
        self.assertEqual(p.do('endcapture'), 'ok')
        self.buffers(0)
        self.assertEqual(self.close_gate().result, 0)
        self.finish_closed(p)

    def finish_closed(self, p):
        self.assertEqual(self.keeper.ask(GATE_OPEN).result, 0)
        self.finish(p)

    def test_threads_end(self):
        p = self.start()
        for _ in range(50):
            self.assertEqual(p.do('short'), 'ok')
        self.assertEqual(self.close_gate().result, 0)
        self.finish_closed(p)

    def test_fork_before_first_use(self):
        p = Program(self.folder, SHIM, PROGRAM, DRIVER)
        self.programs.append(p)
        self.assertEqual(p.do('fork'), 0, p.said())
        self.keeper.accept()                             # the child's connection, which it left behind
        self.keeper.close()
        self.assertEqual(p.do('init'), 'ok')
        self.keeper.accept()
        p.do('alloc', 3 * MIB)
        self.buffers(1)
        self.finish(p)

    def test_fork_in_use(self):
        """the driver does not work in such a child; that is all it finds, and its parent does not notice"""
        p = self.start()
        p.do('alloc', 3 * MIB)
        self.buffers(1)
        self.assertIn(p.do('fork'), (0, 1, 2), p.said())
        self.assertEqual(self.close_gate().result, 0)
        self.finish_closed(p)


class Garbage(Case):
    def test_garbage(self):
        """whatever a keeper says, the program runs on"""
        p = self.start(accept=False)
        a = p.do('alloc', 3 * MIB)
        rng = random.Random(3)
        good = pack(GATE_CLOSE, seq=1)
        packets = [b'', b'x', good[:-1], good + b'x', pack(99), pack(0), pack(GATE_CLOSE, version=2), pack(2), pack(1), pack(3), bytes(WIRE.size), rng.randbytes(WIRE.size), rng.randbytes(60000),
                   good[:-192] + b'y' * 192, pack(5), pack(6)]
        for data in packets:
            self.keeper.accept()
            self.keeper.sock.send(data or b'z' * 5)
            with self.assertRaises(EOFError):
                while True:
                    self.keeper.note(self.keeper.recv())
            self.keeper.close()
            self.assertEqual(p.do('fill', a, 100, 1), 'ok')
            p.wake()
        self.keeper.accept()
        self.buffers(1)
        self.keeper.sock.send(pack(FREE, ident=5))       # let go of what was never freed: harmless
        self.assertEqual(self.close_gate().result, 0)
        self.assertEqual(self.keeper.ask(GATE_OPEN).result, 0)
        self.finish(p)

    def test_before_welcome(self):
        p = self.start(accept=False)
        self.keeper.accept(welcome=False)
        self.keeper.sock.send(pack(GATE_CLOSE, seq=1))
        self.assertRaises(EOFError, self.keeper.recv)
        self.assertEqual(p.do('alloc', 4096) % 512, 0)
        self.finish(p)


if __name__ == '__main__':
    unittest.main()
