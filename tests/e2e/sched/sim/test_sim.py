#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth sim` as its users see it: figures, files, and one clear error for what is wrong.

    test_sim.py HEARTH
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

HEARTH = sys.argv.pop(1)


def sim(*args):
    return subprocess.run([HEARTH, 'sim', *args], capture_output=True, text=True, timeout=100, check=False)


def figures(*args):
    done = sim(*args, '--json')
    if done.returncode:
        raise AssertionError(f'{args}: {done.returncode} {done.stdout} {done.stderr}')
    return json.loads(done.stdout)


class Figures(unittest.TestCase):
    """What the issue asks for, word for word."""

    ARGS = ('--workload', 'extreme-bimodal', '--workers', '14', '--load', '0.9', '--requests', '1000000', '--rtt-us', '0', '--seed', '1')

    def test_minimax_and_darc(self):
        minimax, darc = (figures('--policy', p, *self.ARGS) for p in ('minimax', 'darc'))
        self.assertLess(minimax['slowdown_p999'], 4.5)
        self.assertGreater(darc['slowdown_p999'], 30)
        self.assertEqual([g['reserved'] for g in darc['reservations']], [[0, 1], list(range(2, 14))])
        for d in (minimax, darc):
            self.assertEqual([t['name'] for t in d['types']], ['short', 'long'])
            self.assertEqual(d['dropped'], 0)
            self.assertAlmostEqual(d['throughput_rps'] / 4.2035e6, 1, delta=0.01)
            for t in d['types']:
                self.assertLessEqual(t['p50_us'], t['p99_us'])
                self.assertLessEqual(t['p99_us'], t['p999_us'])
                self.assertGreaterEqual(t['slowdown_p999'], 1)
        self.assertGreater(darc['stolen'], 0)

    def test_same_seed_same_figures(self):
        a, b, c = (figures('--requests', '50000', '--seed', s) for s in ('5', '5', '6'))
        for d in (a, b, c):
            del d['wall_s']
        self.assertEqual(a, b)
        self.assertNotEqual(a['slowdown_mean'], c['slowdown_mean'])

    def test_rate_is_load(self):
        a, b = figures('--requests', '1e5', '--load', '0.5'), figures('--requests', '1e5', '--rate', str(7 / 50.5e-6))
        self.assertAlmostEqual(a['rate_rps'], b['rate_rps'], places=3)
        self.assertAlmostEqual(b['load'], 0.5)
        self.assertEqual(a['slowdown_p999'], b['slowdown_p999'])

    def test_every_policy(self):
        names = next(line for line in sim('--help').stdout.splitlines() if line.startswith('Policies:')).split(':')[1]
        for policy in (n.strip() for n in names.split(',')):
            d = figures('--policy', policy, '--requests', '20000', *(['--reserved', '1'] if policy == 'darc-static' else []))
            self.assertEqual(d['requests'], 20000, policy)

    def test_every_workload(self):
        text = sim('--help').stdout
        names = text[text.index('Workloads:') + 10:text.index('Policies:')].replace('\n', ' ')
        names = [n.strip() for n in names.split(',')]
        self.assertIn('tpcc', names)
        for name in names:
            self.assertEqual(figures('--workload', name, '--requests', '20000')['requests'], 20000, name)

    def test_find_max_load(self):
        d = figures('--workload', 'rocksdb', '--policy', 'c-fcfs', '--find-max-load', '20', '--requests', '200000')
        self.assertLess(d['slowdown_p999'], 20)
        self.assertAlmostEqual(d['max_load'], d['load'])
        self.assertLess(d['max_load'], 0.6)
        d = figures('--workload', 'rocksdb', '--policy', 'darc', '--find-max-load', 'get:20us', '--requests', '200000', '--jobs', '3')
        self.assertLess(d['types'][0]['p999_us'], 20)
        d = figures('--rtt-us', '10', '--find-max-load', '5', '--requests', '20000')
        self.assertEqual(d['max_load'], 0)

    def test_time_series(self):
        d = figures('--workload', 'phases', '--requests', '200000', '--interval', '100ms')
        self.assertGreater(len(d['intervals']), 5)
        self.assertAlmostEqual(d['intervals'][3]['from_s'], 0.3)
        self.assertTrue(d['reservation_changes'])

    def test_for_people(self):
        done = sim('--workload', 'tpcc', '--requests', '200000', '--load', '0.85')
        self.assertEqual(done.returncode, 0)
        for words in ('new-order', 'p99.9', 'reserved 0-1', 'million events/s'):
            self.assertIn(words, done.stdout)
        self.assertEqual(done.stderr, '')


class Files(unittest.TestCase):
    def setUp(self):
        self.temp = tempfile.TemporaryDirectory()
        self.addCleanup(self.temp.cleanup)

    def write(self, name, text):
        path = os.path.join(self.temp.name, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return path

    def test_workload(self):
        self.write('times', '1000\n3000\n')
        path = self.write('w.yaml', 'types:\n- { name: a, service: 1us, ratio: 0.5 }\n- { name: b, samples: times, ratio: 0.25 }\n'
                                    '- { name: c, service: 1us, high: 9us, high_ratio: 0.5, ratio: 0.25 }\n')
        d = figures('--workload', path, '--policy', 'c-fcfs', '--load', '0.01', '--workers', '64', '--requests', '50000')
        self.assertAlmostEqual(d['types'][1]['mean_us'], 2, delta=0.05)
        self.assertAlmostEqual(d['types'][2]['mean_us'], 5, delta=0.1)

    def test_wrong_workload(self):
        path = self.write('w.yaml', 'types:\n- { name: a, service: 1us, ration: 0.5 }\n')
        done = sim('--workload', path)
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn('w.yaml:2: a type has no key "ration"', done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_trace(self):
        path = self.write('t.csv', 't_ns,type,service_ns\n' + ''.join(f'{i * 1000},{"GET" if i % 3 else "SCAN"},{500 if i % 3 else 5000}\n' for i in range(3000)))
        d = figures('--trace', path, '--policy', 'c-fcfs', '--workers', '8')
        self.assertEqual(d['requests'], 3000)
        self.assertAlmostEqual(d['rate_rps'], 1e6, delta=1)
        self.assertEqual({t['name']: t['p999_us'] for t in d['types']}, {'GET': 0.5, 'SCAN': 5.0})
        self.assertAlmostEqual(figures('--trace', path, '--load', '0.5')['load'], 0.5)

    def test_wrong_trace(self):
        done = sim('--trace', self.write('t.csv', 't_ns,type,service_ns\n5,a,1\n4,a,1\n'))
        self.assertEqual(done.returncode, 1)
        self.assertIn('t.csv:3: t_ns goes back', done.stderr)
        done = sim('--trace', os.path.join(self.temp.name, 'none'), '--json')
        self.assertEqual((done.returncode, json.loads(done.stdout)['ok']), (1, False))


class Wrong(unittest.TestCase):
    """One line, which says what is wrong with which value; exit status 2."""

    def test_values(self):
        for args, why in (
                (['--policy', 'darcc'], 'there is no policy "darcc"'),
                (['--workload', 'tpcb'], 'no workload "tpcb": there are high-bimodal'),
                (['--workers', '0'], '--workers must be a whole number from 1 to 256'),
                (['--workers', '2.5'], '--workers'),
                (['--load', 'high'], '--load must be a number from'),
                (['--load', '0'], '--load must be a number from'),
                (['--load', 'nan'], '--load'),
                (['--load', '0.5', '--rate', '5'], 'one --load or one --rate'),
                (['--rate', '-5'], '--rate must be'),
                (['--requests', '1e12'], '--requests must be a whole number from 1 to 1000000000'),
                (['--requests', '1.5'], '--requests'),
                (['--seed', '-1'], '--seed'),
                (['--rtt-us', '1e10'], '--rtt-us'),
                (['--overhead-ns', 'x'], '--overhead-ns'),
                (['--quantum-us', '0'], '--quantum-us'),
                (['--scv', '-1'], '--scv'),
                (['--hold-max', '0.5'], '--hold-max'),
                (['--slowdown', 'both'], '--slowdown must be request or mean'),
                (['--ts-queues', '3'], '--ts-queues must be single or multi'),
                (['--interval', '5'], '--interval must be a time like 10ms'),
                (['--find-max-load', '0.5'], '--find-max-load must be a slowdown from 1 on'),
                (['--find-max-load', 'medium:5us'], 'high-bimodal has no type "medium"'),
                (['--find-max-load', 'short:5'], '"5" is no time'),
                (['--find-max-load', '5', '--load', '0.5'], 'neither with --load'),
                (['--policy', 'darc-static'], 'reserved'),
                (['--policy', 'darc-static', '--reserved', '14'], 'reserved'),
                (['--trace', 'x', '--workload', 'tpcc'], '--workload or --trace'),
                (['--load'], '--load needs a value'),
                (['--lode', '1'], 'no option --lode'),
                (['tpcc'], 'what is "tpcc"?')):
            done = sim(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ''), args)
            self.assertIn(why, done.stderr, args)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_help(self):
        done = sim('--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for words in ('extreme-bimodal', 'minimax', '--find-max-load', 'usage: hearth sim'):
            self.assertIn(words, done.stdout)


if __name__ == '__main__':
    unittest.main()
