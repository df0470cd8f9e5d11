#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An unmodified CPython function: its memory leaves, and the next requests are answered as before."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from pagerlib import MIB, PagerCase  # noqa: E402

RUNTIME, INIT = 1 << 0, 1 << 1
FUNCTION = (sys.executable, '-S', os.path.join(HERE, 'json_function.py'))


class CPython(PagerCase):
    def start(self):
        p = self.program(FUNCTION)
        self.assertEqual(p.lines.line(), 'ready')
        self.assertEqual(self.attach(p)['event'], 'attached')
        self.barrier(p, 0)
        self.assertEqual(p.do('init').split()[0], 'ok')
        self.barrier(p, 1)
        return p

    def request(self, p, number):
        self.begin(p)
        answer = p.do(str(number)).split()[0]
        self.shell.say(f'end {p.name}')
        return answer

    def test_answers_are_the_same(self):
        p = self.start()
        expected = [self.request(p, 0) for _ in range(3)][0]
        self.assertGreater(self.offload(p), 20 * MIB)
        s = self.stat(p)
        self.assertLess(sum(s['resident']), MIB)
        self.assertEqual(self.request(p, 0), expected)      # by faults
        self.offload(p)
        brought = self.prefetch(p)
        self.assertGreater(brought, MIB)
        before = self.stat(p)['faults']
        self.assertEqual(self.request(p, 0), expected)      # brought back at once, but for the sample and what is tried
        after = self.stat(p)
        self.assertLess(after['faults'] - before, brought / 4096 / 4)
        self.assertEqual(self.detach(p)['error'], 0)
        self.assertEqual(p.do('0').split()[0], expected)

    def test_runtime_and_init_stay_away(self):
        p = self.start()
        self.request(p, 0)
        self.offload(p, RUNTIME | INIT)
        for _ in range(3):
            self.request(p, 0)
        s = self.stat(p)
        away, here = sum(s['remote'][:2]), sum(s['resident'][:2])
        self.assertGreater(away / (away + here), 0.9)


if __name__ == '__main__':
    unittest.main()
