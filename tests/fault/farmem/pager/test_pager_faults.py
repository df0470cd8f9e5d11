#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The pager is killed at every step of its work, the pool fails: programs see right bytes, wait, or are ended; never zeros."""
import errno
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..', 'e2e', 'farmem', 'pager'))
from pagerlib import ALL, BUILD, EVERYTHING, MIB, PATIENCE_S, PagerCase  # noqa: E402

STEPS = ('pager-asking', 'pager-asked', 'pager-moved', 'pager-read', 'pager-committing', 'pager-half-committed', 'pager-dropped', 'pager-fault', 'pager-fetching', 'pager-fetched', 'pager-prefetched',
         'pager-event', 'pager-forked', 'pager-below')


class Killed(PagerCase):
    def scenario(self, p):
        """All that a pager does."""
        p.lines.line()
        p.do('fill 8')
        self.assertEqual(self.attach(p)['event'], 'attached')
        self.barrier(p, 0)
        self.offload(p)
        self.assertEqual(p.do('check'), 'wrong 0')
        self.offload(p)
        self.begin(p)
        p.do('touch 2')
        self.shell.say(f'end {p.name}')
        self.offload(p)
        self.prefetch(p)
        self.assertEqual(p.do('fork'), 'child 0 wrong 0')
        self.offload(p)
        self.assertEqual(p.do('remap'), 'wrong 0')
        self.offload(p)
        self.assertEqual(p.do('dontneed'), 'nonzero 0 wrong 0')
        self.offload(p)
        self.assertEqual(p.do('unmap'), 'nonzero 0 wrong 0')
        self.assertEqual(self.detach(p)['error'], 0)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_hammered_while_it_is_killed_again_and_again(self):
        p = self.program()
        p.lines.line()
        p.do('fill 16')
        self.attach(p)
        p.do('hammer 8')
        for _ in range(20):
            self.shell.say(f'offload {p.name} {ALL} {EVERYTHING}')
            before = int(p.do('rounds').split()[1])
            while int(p.do('rounds').split()[1]) < before + 500:        # somewhere in the middle
                pass
            pid = self.holders().get('hearth-pager')
            if pid:
                os.kill(pid, signal.SIGKILL)
            while not self.event('offloaded')['flag']:
                pass
        self.assertRegex(p.do('stop'), r'rounds \d+ wrong 0')
        self.assertEqual(p.do('check'), 'wrong 0')
        self.assertGreater(self.downs, 0)


def add_step(step):
    def test(self):
        self.scenario(self.program())
        self.assertGreaterEqual(self.downs, 1, self.pager_log())
    test.__name__ = 'test_' + step.replace('-', '_')
    return test


for name in STEPS:
    case = type('Killed_' + name.replace('-', '_'), (Killed,), {'fault': name, 'test_step': add_step(name), 'test_hammered_while_it_is_killed_again_and_again': None})
    globals()[case.__name__] = case
del case


class Starved(Killed):
    """Who woke a thread gets no processor any more until the guard sees to it: each time."""
    fault = 'fail:pager-below'
    test_hammered_while_it_is_killed_again_and_again = None

    def test_guarded(self):
        self.scenario(self.program())
        self.assertEqual(self.downs, 0)


class Together(PagerCase):
    """Several processors bring pages of one program back."""
    options = ('--fetch-workers', '8')

    def bring(self, until, change='touch 1'):
        p = self.program()
        p.lines.line()
        p.do('fill 32')
        self.attach(p)
        self.barrier(p, 0)
        while not until():
            self.offload(p)
            self.begin(p)
            p.do('touch 1')
            self.shell.say(f'end {p.name}')
            self.offload(p)
            self.shell.say(f'prefetch {p.name} {EVERYTHING}')
            self.killed(p)
            self.assertRegex(p.do(change), ' wrong 0$')
            self.event('prefetched')
        self.assertEqual(self.detach(p)['error'], 0)
        self.assertRegex(p.do(change), ' wrong 0$')

    def killed(self, p):
        pass


class TogetherCopied(Together):
    """Pages are there, and it has not been written down."""
    fault = 'pager-copied'

    def test_step(self):
        self.bring(lambda: self.downs > 0)


@unittest.skipIf(len(os.sched_getaffinity(0)) < 2, 'nobody can help on one processor')
class TogetherHelping(Together):
    fault = 'pager-helping'

    def test_step(self):
        self.bring(lambda: self.downs > 0)


class TogetherAnywhere(Together):
    def killed(self, p):
        pid = self.holders().get('hearth-pager')
        if pid:
            os.kill(pid, signal.SIGKILL)
        self.rounds += 1

    def test_while_it_is_touched(self):
        self.rounds = 0
        self.bring(lambda: self.rounds == 8)

    def test_while_it_changes(self):
        self.rounds = 0
        self.bring(lambda: self.rounds == 8, 'churn 40')


class CutShort(PagerCase):
    fault = 'pager-moved'

    def test_says_so(self):
        """What had been asked for ends, and is told from what ends because no more can leave."""
        p = self.program()
        p.lines.line()
        p.do('fill 8')
        self.attach(p)
        self.barrier(p, 0)
        ends = []
        # a pager that goes on leaves memory alone until it has seen each thread outside of calls that change it: the next one may move nothing yet
        while len(ends) < 2 or (len(ends) < 200 and p.do('resident') != 'resident 0 of 2048'):
            self.shell.say(f'offload {p.name} {ALL} {EVERYTHING}')
            e = self.event('offloaded', name=p.name)
            while not e['flag']:
                e = self.event('offloaded', name=p.name)
            ends.append(e['error'])
        self.assertEqual(ends, [-errno.EAGAIN] + [0] * (len(ends) - 1))
        self.assertEqual(self.downs, 1)
        self.assertEqual(p.do('resident'), 'resident 0 of 2048')
        self.assertEqual(p.do('check'), 'wrong 0')


class Holders(PagerCase):
    def away(self):
        p = self.program()
        p.lines.line()
        p.do('fill 8')
        self.attach(p)
        self.barrier(p, 0)
        self.offload(p)
        return p

    def wait_for_all(self, but=()):
        while True:
            found = self.holders()
            if len(found) == 3 and not set(found.values()) & set(but):
                return found

    def test_spare_is_killed(self):
        p = self.away()
        spare = self.wait_for_all()['pager-spare']
        os.kill(spare, signal.SIGKILL)
        self.wait_for_all(but=[spare])
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_holder_then_worker_are_killed(self):
        p = self.away()
        found = self.wait_for_all()
        self.addCleanup(self.kill_at_once, found['pager-spare'], found['hearth-pager'])
        os.kill(self.pager.pid, signal.SIGKILL)
        self.pager.wait()
        self.assertEqual(p.do('touch 4'), 'touched 512 wrong 0')
        os.kill(found['hearth-pager'], signal.SIGKILL)
        self.event('down')
        self.shell.say('again')
        self.event('up')
        self.assertEqual(p.do('check'), 'wrong 0')
        self.offload(p)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_told_to_end_and_killed(self):
        """The first holder is gone, another is told to end, and the worker is killed before it hears of that: the next one gives all back, and none is left."""
        p = self.away()
        found = self.wait_for_all()
        worker, holder = found['hearth-pager'], found['pager-spare']
        self.addCleanup(self.kill_at_once, holder, worker)
        end = os.pidfd_open(holder)
        self.addCleanup(os.close, end)
        os.kill(self.pager.pid, signal.SIGKILL)
        self.pager.wait()
        os.kill(worker, signal.SIGSTOP)
        os.kill(holder, signal.SIGTERM)
        os.kill(worker, signal.SIGKILL)
        self.assertTrue(select.select([end], [], [], PATIENCE_S)[0], 'it goes on')
        self.assertEqual(p.do('resident'), 'resident 2048 of 2048')
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_all_are_killed_at_once(self):
        p = self.away()
        p.say('check')                              # waits; must not be answered with zeros
        self.stop_pager(self.pager)
        self.event('down')
        self.start_pager()
        self.shell.say('again')
        with self.assertRaisesRegex(AssertionError, 'was killed together with'):
            self.event('attached')
        self.assertEqual(p.process.wait(), -signal.SIGKILL)
        said = p.process.stdout.read()
        self.assertIn(said, (b'', b'wrong 0\n'))     # the latter: it was through before


class Pool(PagerCase):
    def start_with(self, fault):
        """Another pager, and a program of 8 MiB."""
        self.stop_pager(self.pager)
        os.unlink(self.socket)
        self.shell.end()
        self.start_pager(fault)
        self.open_shell()
        p = self.program()
        p.lines.line()
        p.do('fill 8')
        self.attach(p)
        return p

    def test_full(self):
        p = self.start_with('fail:pager-pool-full')
        self.assertEqual(self.offload(p), 0)
        self.assertEqual(p.do('resident'), 'resident 2048 of 2048')
        self.assertEqual(p.do('check'), 'wrong 0')
        self.assertEqual(self.detach(p)['error'], 0)

    def test_page_is_lost(self):
        p = self.start_with('fail:pager-pool-lost')
        self.assertGreater(self.offload(p), 8 * MIB - 1)
        p.say('check')
        with self.assertRaisesRegex(AssertionError, 'does not give back page'):
            self.event('attached')
        self.assertLess(p.process.wait(), 0)        # by SIGBUS, or SIGSEGV where the page is of its stack


class Elsewhere(PagerCase):
    """The pool is another process: nothing is done at once."""

    def setUp(self):
        self.place = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.place)
        self.start_pool()
        super().setUp()

    def start_pool(self):
        self.options = ('--pool', f'unix:{self.place}/pool')
        self.pool = subprocess.Popen([os.path.join(BUILD, 'bin', 'hearth'), 'pool', '--listen', f'unix:{self.place}/pool'], stdout=subprocess.PIPE)
        self.assertTrue(self.pool.stdout.readline())
        self.addCleanup(self.stop_pool, self.pool)

    @staticmethod
    def stop_pool(pool):
        pool.kill()
        pool.wait()
        pool.stdout.close()

    def away(self):
        p = self.program()
        p.lines.line()
        p.do('fill 16')
        self.attach(p)
        self.barrier(p, 0)
        moved = 0
        while moved < 16 * MIB:                     # a pool that does not answer in time gets the rest later
            moved += self.offload(p)
        return p

    def test_everything(self):
        p = self.away()
        self.assertEqual(p.do('resident'), 'resident 0 of 4096')
        self.assertEqual(p.do('check'), 'wrong 0')
        self.offload(p)
        self.begin(p)
        p.do('touch 2')
        self.shell.say(f'end {p.name}')
        self.offload(p)
        self.assertGreater(self.prefetch(p), 7 * MIB)
        self.assertEqual(p.do('fork'), 'child 0 wrong 0')
        self.offload(p)
        self.assertEqual(p.do('remap'), 'wrong 0')
        self.offload(p)
        self.assertEqual(p.do('dontneed'), 'nonzero 0 wrong 0')
        self.offload(p)
        self.assertEqual(self.detach(p)['error'], 0)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_hammered(self):
        p = self.away()
        p.do('hammer 16')
        while int(p.do('rounds').split()[1]) < 4000 or self.stat(p)['faults'] < 1000:
            self.offload(p)
        self.assertRegex(p.do('stop'), r'rounds \d+ wrong 0')

    def test_worker_is_killed(self):
        p = self.away()
        os.kill(self.holders()['hearth-pager'], signal.SIGKILL)
        self.event('up')
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_pool_is_killed(self):
        p = self.away()
        self.stop_pool(self.pool)
        p.say('check')
        with self.assertRaisesRegex(AssertionError, 'does not give back page'):
            self.event('attached')
        self.assertLess(p.process.wait(), 0)

    def test_pool_is_killed_before(self):
        p = self.program()
        p.lines.line()
        p.do('fill 16')
        self.attach(p)
        self.stop_pool(self.pool)
        self.assertEqual(self.offload(p), 0)
        self.assertEqual(p.do('resident'), 'resident 4096 of 4096')
        self.assertEqual(p.do('check'), 'wrong 0')


class Sealed(Elsewhere):
    """The same over TCP, with keys."""

    def start_pool(self):
        self.pool, self.options = self.pool_over_tcp(self.place)
        self.addCleanup(self.stop_pool, self.pool)


class OneProcessor(Elsewhere):
    """The same where nobody looks for an answer, as the pool could not make one meanwhile."""

    def setUp(self):
        all_of_them = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, all_of_them)
        os.sched_setaffinity(0, {min(all_of_them)})
        super().setUp()


if __name__ == '__main__':
    unittest.main()
