#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Memory leaves programs and comes back, whatever they do meanwhile."""
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pagerlib import ALL, BUILD, EVERYTHING, MIB, PAGED, PagerCase  # noqa: E402


class Basics(PagerCase):
    def test_leaves_and_comes_back(self):
        p = self.program()
        p.lines.line()
        p.do('fill 32')
        e = self.attach(p)
        self.assertEqual((e['event'], e['flag']), ('attached', 0))
        self.assertGreaterEqual(self.barrier(p, 0), 32 * MIB)
        self.assertGreaterEqual(self.offload(p), 32 * MIB)
        s = self.stat(p)
        self.assertGreaterEqual(s['remote'][0], 32 * MIB)
        self.assertEqual(sum(s['remote'][1:]), 0)
        self.assertGreaterEqual(s['pool'], 32 * MIB)
        self.assertEqual(p.do('resident'), 'resident 0 of 8192')
        self.assertEqual(p.do('check'), 'wrong 0')
        s = self.stat(p)
        self.assertGreater(s['faults'], 0)
        self.assertGreater(s['fault_p50_ns'], 0)
        self.assertLess(s['pool'], 2 * MIB)         # what came back is not kept
        self.assertEqual(self.detach(p)['error'], 0)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_segments(self):
        p = self.program()
        p.lines.line()
        self.attach(p)
        self.barrier(p, 0)
        p.do('fill 8')
        self.assertGreaterEqual(self.barrier(p, 1), 8 * MIB)
        before = self.stat(p)
        p.do('fill 4')
        moved = self.offload(p, 1 << 1)
        s = self.stat(p)
        self.assertGreaterEqual(moved, 8 * MIB)
        self.assertEqual(s['remote'][0], 0)
        self.assertEqual(s['remote'][1], moved)
        self.assertGreaterEqual(s['resident'][2], 4 * MIB)
        self.assertGreater(before['uncovered'], 0)

    def test_amount_and_coldest_first(self):
        p = self.program()
        p.lines.line()
        p.do('fill 16')
        self.attach(p)
        self.barrier(p, 0)
        self.offload(p)
        self.begin(p)
        self.assertEqual(p.do('touch 8'), 'touched 512 wrong 0')
        self.shell.say(f'end {p.name}')
        self.assertEqual(p.do('check'), 'wrong 0')  # the rest comes back as well, by no request
        resident = self.stat(p)['resident'][0]
        self.assertEqual(self.offload(p, ALL, resident - 3 * MIB), resident - 3 * MIB)
        before = self.stat(p)['faults']
        p.do('touch 8')                             # the 2 MiB that were used were to leave last
        self.assertLess(self.stat(p)['faults'] - before, 128)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_what_is_used_stays_when_segments_leave(self):
        """An offload of segments that was called off is asked for again: that is not to undo what the request between the two touched."""
        p = self.program()
        p.lines.line()
        p.do('fill 32')
        self.attach(p)
        self.barrier(p, 1)
        self.offload(p, 1 << 1)
        self.assertEqual(self.stat(p)['ws'], 0)
        self.begin(p)
        self.assertEqual(p.do('touch 8'), 'touched 1024 wrong 0')
        self.shell.say(f'end {p.name}')
        s = self.stat(p)
        self.assertGreaterEqual(s['ws'], 4 * MIB)
        self.assertEqual(s['ws_remote'], 0)
        self.offload(p, 1 << 1)
        self.assertEqual(self.stat(p)['ws_remote'], 0)
        self.offload(p)
        after = self.stat(p)
        self.assertEqual(after['ws_remote'], after['ws'])
        self.assertGreaterEqual(after['ws'], 4 * MIB)      # of the neighbours, some have been tried
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_working_set_comes_at_once(self):
        p = self.program()
        p.lines.line()
        p.do('fill 32')
        self.attach(p)
        self.barrier(p, 1)
        self.offload(p)
        self.begin(p)
        p.do('touch 4')
        self.shell.say(f'end {p.name}')
        self.offload(p)
        brought = self.prefetch(p)
        self.assertGreater(brought, 7 * MIB)        # 8 MiB but for the sample, and neighbours
        for _ in range(64):                         # of which those that nobody touches leave the set, some each time
            if brought < 10 * MIB:
                break
            self.begin(p)
            self.assertEqual(p.do('touch 4'), 'touched 2048 wrong 0')
            self.shell.say(f'end {p.name}')
            self.offload(p)
            brought = self.prefetch(p)
        self.assertGreater(brought, 7 * MIB)
        before = self.stat(p)
        self.assertLess(before['resident'][1], 10 * MIB)
        self.begin(p)
        self.assertEqual(p.do('touch 4'), 'touched 2048 wrong 0')
        self.shell.say(f'end {p.name}')
        after = self.stat(p)
        self.assertLess(after['faults'] - before['faults'], 256)
        self.assertGreater(after['hits'], 0)
        self.assertEqual(self.prefetch(p, 0), 0)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_neighbours_leave_their_segment(self):
        """What came along with pages of a segment that were used, and is not, is away in the end; what is used is not sent away again."""
        p = self.program()
        p.lines.line()
        p.do('fill 32')
        self.attach(p)
        self.barrier(p, 1)
        for k in range(64):
            self.shell.say(f'rollback {p.name}')
            self.offload(p, 1 << 1)
            self.begin(p)
            before = self.stat(p)['faults']
            self.assertEqual(p.do('touch 24'), 'touched 342 wrong 0')
            self.shell.say(f'end {p.name}')
            after = self.stat(p)
            if k:
                self.assertLess(after['faults'] - before, 128)
            if sum(after['resident']) < 3 * MIB:
                break
        self.assertLess(sum(after['resident']), 3 * MIB)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_front_to_back(self):
        p = self.program()
        p.lines.line()
        p.do('fill 16')
        self.attach(p)
        self.barrier(p, 1)
        self.offload(p)
        before = self.stat(p)['faults']
        self.begin(p)
        self.assertEqual(p.do('touch 1'), 'touched 4096 wrong 0')
        self.shell.say(f'end {p.name}')
        after = self.stat(p)['faults']
        self.assertLess(after - before, 1024)               # what is next came along, the first time already
        self.offload(p)
        self.assertGreater(self.prefetch(p), 15 * MIB)      # and was used, all but what came last and the sample
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_a_request_begins_at_once(self):
        """Its first pages are counted though the pager has much to read before it reads that it has begun."""
        p = self.program()
        p.lines.line()
        p.do('fill 32')
        self.attach(p)
        self.offload(p)
        self.shell.say(f'stat {p.name}\n' * 200 + f'begin {p.name}\necho')
        self.event('echo')
        p.do('touch 4')
        self.shell.say(f'end {p.name}')
        self.offload(p)
        self.assertGreater(self.prefetch(p), 7 * MIB)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_a_request_ends_an_offload(self):
        p = self.program()
        p.lines.line()
        p.do('fill 256')
        self.attach(p)
        self.shell.say(f'offload {p.name} 7 {1 << 40}\nbegin {p.name}')
        while not self.event('offloaded')['flag']:
            pass
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_leaves_though_others_wait(self):
        """Where threads wait for a processor memory leaves later, but it does."""
        p = self.program()
        p.lines.line()
        p.do('fill 16')
        self.attach(p)
        for _ in range(os.cpu_count() + 2):
            busy = subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass'])
            self.addCleanup(busy.wait)
            self.addCleanup(busy.kill)
        self.assertGreater(self.offload(p), 15 * MIB)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_not_preloaded(self):
        p = self.program()
        p.end()
        p = self.program()
        p.end()
        from pagerlib import Program
        plain = Program([PAGED])
        self.addCleanup(plain.end)
        plain.name = 'plain'
        e = self.attach(plain)
        self.assertEqual(e['event'], 'refused')
        self.assertIn('libhearth-warm.so', e['why'])

    def test_two_at_once(self):
        a, b = self.program(), self.program()
        for p in (a, b):
            p.lines.line()
            p.do('fill 16')
        self.shell.say(f'attach {a.name} {a.pid} 1\nattach {b.name} {b.pid} 2')
        self.event('attached')
        self.event('attached')
        self.shell.say(f'offload {a.name} 7 {1 << 40}\noffload {b.name} 7 {1 << 40}')
        ended = set()
        while len(ended) < 2:
            e = self.event('offloaded')
            if e['flag']:
                ended.add(e['name'])
        self.assertEqual((a.do('check'), b.do('check')), ('wrong 0', 'wrong 0'))
        a.say('exit')
        a.process.wait()
        self.assertEqual(self.detach(a, 1)['error'], 0)
        self.offload(b)
        self.assertEqual(b.do('check'), 'wrong 0')

    def test_daemon_killed(self):
        p = self.program()
        p.lines.line()
        p.do('fill 16')
        self.attach(p)
        self.barrier(p, 0)
        away = self.offload(p)
        self.shell.process.kill()
        self.open_shell()
        e = self.attach(p)
        self.assertEqual((e['event'], e['flag']), ('attached', 1))
        self.assertEqual(self.stat(p)['remote'][0] >= away - MIB, True)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_let_go_while_it_is_met(self):
        """What was not attached yet is let go of as a whole: who is told so may checkpoint the program."""
        for _ in range(20):
            p = self.program()
            p.lines.line()
            self.shell.say(f'attach {p.name} {p.pid} {self.numbers}')
            self.assertEqual(self.detach(p)['error'], 0)
            fds = f'/proc/{p.pid}/fd'
            self.assertEqual([fd for fd in os.listdir(fds) if 'userfaultfd' in os.readlink(os.path.join(fds, fd))], [])

    def test_pager_told_to_end(self):
        p = self.program()
        p.lines.line()
        p.do('fill 16')
        self.attach(p)
        self.offload(p)
        self.pager.send_signal(signal.SIGTERM)
        self.assertEqual(self.pager.wait(), 0)
        self.assertEqual(p.do('resident'), 'resident 4096 of 4096')
        self.assertEqual(p.do('check'), 'wrong 0')
        self.event('down')


class OthersFirst(PagerCase):
    """What comes back waits while others want the processors, and whoever touches it; not for longer than it may."""
    FOREVER = 1 << 60
    A_WHILE = 3 * 1000 * 1000 * 1000                # where it ends only as the machine rests, which other tests may not let it do

    def setUp(self):
        super().setUp()
        self.busy = []
        self.p = self.program()
        self.p.lines.line()
        self.p.do('fill 16')
        self.attach(self.p)
        self.barrier(self.p, 0)
        self.offload(self.p)
        self.begin(self.p)
        self.p.do('touch 1')
        self.shell.say(f'end {self.p.name}')
        self.offload(self.p)

    def compute(self):
        """As many as there are processors: the pager's own thread, which looks, is one more."""
        for _ in range(os.cpu_count()):
            self.busy.append(subprocess.Popen(['sh', '-c', 'echo; while :; do :; done'], stdout=subprocess.PIPE))
            self.addCleanup(self.rest)
        for one in self.busy:
            one.stdout.readline()

    def rest(self):
        while self.busy:
            one = self.busy.pop()
            one.kill()
            one.wait()
            one.stdout.close()

    def bring(self, patience_ns):
        """The answer to a question after it says that the pager knows of it."""
        self.shell.say(f'prefetch {self.p.name} {EVERYTHING} {patience_ns}')
        self.p.say('touch 1')
        return self.stat(self.p)

    def come(self):
        e = self.event('prefetched')
        self.assertEqual(self.p.lines.line(), 'touched 4096 wrong 0')
        self.assertEqual(self.p.do('check'), 'wrong 0')
        return e

    def test_until_they_rest(self):
        waited = 0
        while not waited:                           # it may be looked at for the first time when they rest already
            self.offload(self.p)
            self.compute()
            self.bring(self.A_WHILE)
            self.rest()
            waited = self.come()['waited_ns']

    def test_until_its_time_is_over(self):
        self.compute()
        self.bring(20 * 1000 * 1000)
        self.come()
        self.assertEqual([one.poll() for one in self.busy], [None] * os.cpu_count())

    def test_asked_for_again(self):
        """What one waited is not counted to the next, nor what came before either."""
        self.compute()
        began = time.monotonic_ns()
        self.bring(self.A_WHILE)
        for _ in range(8):
            self.shell.say(f'prefetch {self.p.name} {EVERYTHING} {self.A_WHILE}')
            self.stat(self.p)
        self.rest()
        self.assertLessEqual(self.come()['waited_ns'], time.monotonic_ns() - began)

    def test_not_without_others(self):
        self.assertEqual(self.bring(0)['event'], 'stat')
        self.assertEqual(self.come()['waited_ns'], 0)

    def test_all_comes_back_at_once(self):
        """Who is let go of does not wait for anybody."""
        self.compute()
        self.bring(self.FOREVER)
        self.assertEqual(self.detach(self.p)['error'], 0)
        self.assertEqual(self.p.lines.line(), 'touched 4096 wrong 0')

    def test_pager_is_killed(self):
        """The next one knows of no patience: what is touched comes back."""
        self.compute()
        self.bring(self.FOREVER)
        os.kill(self.holders()['hearth-pager'], signal.SIGKILL)
        self.assertEqual(self.p.lines.line(), 'touched 4096 wrong 0')
        self.assertEqual(self.p.do('check'), 'wrong 0')
        self.event('prefetched')

    def test_program_is_killed(self):
        self.compute()
        self.bring(self.FOREVER)
        self.p.process.kill()
        self.p.process.wait()
        self.assertEqual(self.detach(self.p, 1)['error'], 0)

    def test_program_changes(self):
        """Pages that are taken away, moved and copied into a child while nothing is answered."""
        self.compute()
        self.shell.say(f'prefetch {self.p.name} {EVERYTHING} {self.A_WHILE}')
        self.stat(self.p)
        self.p.say('fork')
        self.rest()
        self.event('prefetched')
        self.assertEqual(self.p.lines.line(), 'child 0 wrong 0')
        self.assertEqual(self.p.do('check'), 'wrong 0')


class Changes(PagerCase):
    """What programs do to their address space while memory is away."""

    def away(self, mib=16, fill=None):
        p = self.program()
        p.lines.line()
        self.assertEqual(p.do(fill or f'fill {mib}'), 'ok')
        self.attach(p)
        self.barrier(p, 0)
        self.assertGreater(self.offload(p), 0)
        return p

    def again(self, p):
        """It goes on as any other."""
        self.offload(p)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_fork(self):
        p = self.away()
        self.assertEqual(p.do('fork'), 'child 0 wrong 0')
        self.again(p)

    def test_fork_of_a_fork(self):
        p = self.away()
        self.assertEqual(p.do('forks'), 'child 0 wrong 0')
        self.again(p)

    def test_mremap(self):
        p = self.away()
        self.assertEqual(p.do('remap'), 'wrong 0')
        self.again(p)
        self.assertEqual(p.do('remap'), 'wrong 0')
        self.again(p)

    def test_munmap_and_mmap_again(self):
        p = self.away()
        self.assertEqual(p.do('unmap'), 'nonzero 0 wrong 0')
        self.again(p)

    def test_dontneed(self):
        p = self.away()
        self.assertEqual(p.do('dontneed'), 'nonzero 0 wrong 0')
        self.again(p)
        self.again(p)

    def test_zeros_in_front_of_a_hole(self):
        p = self.away()
        self.assertEqual(p.do('edge'), 'nonzero 0 wrong 0')
        self.again(p)

    def test_transparent_huge_pages(self):
        p = self.away(fill='huge thp')
        self.assertEqual(p.do('check'), 'wrong 0')
        self.again(p)

    def test_hugetlb_is_left_alone(self):
        p = self.program()
        p.lines.line()
        if p.do('huge tlb') == 'none':
            self.skipTest('no huge pages are set aside here')
        self.attach(p)
        self.offload(p)
        self.assertEqual(p.do('resident'), 'resident 2048 of 2048')

    def test_locked_memory_is_left_alone(self):
        p = self.program()
        p.lines.line()
        p.do('fill 8')
        self.assertEqual(p.do('mlock'), 'ok')
        self.attach(p)
        self.offload(p)
        self.assertEqual(p.do('resident'), 'resident 1024 of 2048')
        self.again(p)

    def test_pinned_memory_is_left_alone(self):
        p = self.program()
        p.lines.line()
        p.do('fill 8')
        if p.do('pin') != 'ok':
            self.skipTest('io_uring is not allowed here')
        self.attach(p)
        self.offload(p)
        self.assertEqual(p.do('resident'), 'resident 1024 of 2048')
        self.again(p)

    def test_its_own_userfaultfd(self):
        p = self.program()
        p.lines.line()
        p.do('fill 8')
        self.assertEqual(p.do('uffd'), 'ok')
        self.attach(p)
        self.offload(p)
        self.assertEqual(p.do('resident'), 'resident 1024 of 2048')
        self.again(p)

    def test_exec(self):
        p = self.away()
        self.assertEqual(p.do('exec'), 'ready')
        p.do('fill 8')
        self.barrier(p, 1)                          # finds the new one
        while self.stat(p)['resident'][1] < 8 * MIB:
            self.barrier(p, 1)
        self.assertGreaterEqual(self.offload(p), 8 * MIB)
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_exits_while_it_leaves(self):
        p = self.program()
        p.lines.line()
        p.do('fill 256')
        self.attach(p)
        self.shell.say(f'offload {p.name} 7 {1 << 40}')
        p.say('exit')
        p.process.wait()
        self.assertEqual(self.detach(p, 1)['error'], 0)
        q = self.program()
        q.lines.line()
        q.do('fill 1')
        self.attach(q)
        self.offload(q)
        self.assertLess(self.stat(q)['pool'], 4 * MIB)      # what the other had in the pool is gone
        self.assertEqual(q.do('check'), 'wrong 0')


class Hammer(PagerCase):
    """Many threads that read and write what leaves all the time."""

    def leave_until(self, p, rounds):
        while int(p.do('rounds').split()[1]) < rounds or self.stat(p)['faults'] < 1000:
            self.offload(p)

    def test_sixty_four_threads(self):
        p = self.program()
        p.lines.line()
        p.do('fill 32')
        self.attach(p)
        p.do('hammer 64')
        self.leave_until(p, 20000)
        self.assertRegex(p.do('stop'), r'rounds \d+ wrong 0')
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_pages_thrown_away_are_zeros(self):
        p = self.program()
        p.lines.line()
        self.attach(p)
        p.do('throw 8')
        self.leave_until(p, 20000)
        self.assertRegex(p.do('stop'), r'rounds \d+ wrong 0')


class Together(PagerCase):
    """Many pages come back by several processors at once, whether idle or not."""
    options = ('--fetch-workers', '8')

    def used(self, mib):
        """All of it is away, and of the working set."""
        p = self.program()
        p.lines.line()
        p.do(f'fill {mib}')
        self.attach(p)
        self.barrier(p, 0)
        self.leave_used(p)
        return p

    def leave_used(self, p):
        self.offload(p)
        self.begin(p)
        p.do('touch 1')
        self.shell.say(f'end {p.name}')
        self.offload(p)

    def test_comes_back(self):
        p = self.used(64)
        self.assertGreater(self.prefetch(p), 60 * MIB)
        self.assertEqual(p.do('check'), 'wrong 0')
        self.assertLess(self.stat(p)['pool'], 2 * MIB)      # what came back is not kept
        self.offload(p)
        self.assertEqual(self.detach(p)['error'], 0)
        self.assertEqual(p.do('resident'), 'resident 16384 of 16384')
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_its_memory_changes_meanwhile(self):
        p = self.used(32)
        for _ in range(8):
            self.shell.say(f'prefetch {p.name} {1 << 40}')
            self.assertEqual(p.do('churn 60'), 'churned wrong 0')
            self.event('prefetched')
            self.leave_used(p)
        self.assertEqual(p.do('churn 1'), 'churned wrong 0')
        self.shell.say(f'detach {p.name} 0')
        self.assertEqual(p.do('churn 60'), 'churned wrong 0')
        self.assertEqual(self.event('detached')['error'], 0)
        self.assertEqual(p.do('churn 1'), 'churned wrong 0')

    def test_pages_leave_again_at_once(self):
        """What threads touch while it comes leaves again before all is there."""
        p = self.used(32)
        p.do('hammer 16')
        before = int(p.do('rounds').split()[1])
        while int(p.do('rounds').split()[1]) < before + 20000:
            self.shell.say(f'prefetch {p.name} {1 << 40}')
            self.offload(p)
        self.assertRegex(p.do('stop'), r'rounds \d+ wrong 0')
        self.assertEqual(p.do('check'), 'wrong 0')

    def test_thrown_away_while_it_comes(self):
        p = self.program()
        p.lines.line()
        self.attach(p)
        p.do('throw 32')
        before = int(p.do('rounds').split()[1])
        while int(p.do('rounds').split()[1]) < before + 20000:
            self.offload(p)
            self.shell.say(f'prefetch {p.name} {1 << 40}')
        self.assertRegex(p.do('stop'), r'rounds \d+ wrong 0')

    def test_ends_while_it_comes(self):
        p = self.used(64)
        self.shell.say(f'prefetch {p.name} {1 << 40}')
        p.process.kill()
        p.process.wait()
        self.assertEqual(self.detach(p, 1)['error'], 0)
        q = self.used(8)
        self.assertEqual(q.do('check'), 'wrong 0')
        self.assertLess(self.stat(q)['pool'], 4 * MIB)      # what the other had in the pool is gone

    def test_two_at_once(self):
        a, b = self.used(32), self.used(32)
        self.shell.say(f'prefetch {a.name} {1 << 40}\nprefetch {b.name} {1 << 40}')
        self.assertEqual({self.event('prefetched')['name'], self.event('prefetched')['name']}, {a.name, b.name})
        self.assertEqual((a.do('check'), b.do('check')), ('wrong 0', 'wrong 0'))


if __name__ == '__main__':
    unittest.main()
