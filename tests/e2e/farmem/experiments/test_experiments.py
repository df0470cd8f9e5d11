#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth experiment farmem-*`, tiny: that they run on a real node with a real engine, answer every call, and say what they measured. What they say of memory and latency means nothing here."""
import csv
import json
import os
import shutil
import subprocess
import tempfile
import unittest

BUILD = os.environ.get('HEARTH_BUILD', 'build')
HEARTH = os.path.join(BUILD, 'bin', 'hearth')
POLICIES = ('keepalive', 'tmo', 'cold60', 'hearth')
CALLS = 8


def engine(name=''):
    done = subprocess.run([HEARTH, 'doctor', '--json'], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    return os.geteuid() == 0 and any(c['ok'] for c in json.loads(done.stdout)['items'] if c['name'].startswith('memory ' + name))


class Experiments(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='hearth-fm-')
        self.addCleanup(shutil.rmtree, self.dir)

    def experiment(self, name, *words, code=0):
        out = os.path.join(self.dir, name)
        done = subprocess.run([HEARTH, '--json', 'experiment', 'farmem-' + name, '--out', out, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
        self.assertEqual(done.returncode, code, done)
        if code:
            return done.stderr
        with open(os.path.join(out, f'farmem-{name}.csv'), encoding='utf-8') as file:
            return json.loads(done.stdout.splitlines()[-1])['rows'], list(csv.DictReader(file))

    def trace(self):
        path = os.path.join(self.dir, 'trace.csv')
        subprocess.run([HEARTH, 'trace', 'generate', '--functions', '2', '--invocations', str(CALLS), '--span', '60', '-o', path], check=True, timeout=60)
        return ['--trace', path, '--compress', '60']

    @unittest.skipUnless(engine(), 'nothing moves memory here')
    def test_benchmarks(self):
        rows, points = self.experiment('benchmarks', '--functions', 'html_server,pyaes', *self.trace())
        self.assertIn('SYNTHETIC', rows[0]['what'])
        self.assertEqual([(p['policy'], p['function']) for p in points], [(policy, f) for policy in POLICIES for f in ('html_server', 'pyaes')])
        for policy in POLICIES:
            mine = [p for p in points if p['policy'] == policy]
            self.assertEqual((sum(int(p['calls']) for p in mine), sum(int(p['errors']) for p in mine)), (CALLS, 0))
            self.assertTrue(all(float(p['local_mib']) > 0 for p in mine), mine)
        # keep-alive has nothing that could move memory
        self.assertTrue(all(float(p['away_mib']) == 0 for p in points if p['policy'] == 'keepalive'))
        self.assertIn('html_server', [row['what'] for row in rows])

    @unittest.skipUnless(engine(), 'nothing moves memory here')
    def test_side_by_side(self):
        """The trace twice, by policies that have half of the processors each, or are refused."""
        words = ('--functions', 'html_server', '--policies', 'keepalive,hearth', '--repeat', '2', '--at-once', *self.trace())
        if len(self.cores()) < 2:
            self.assertIn('1 cores are too few for 2 policies at once', self.experiment('benchmarks', *words, code=1))
            return
        rows, points = self.experiment('benchmarks', *words)
        self.assertIn('2 times over', rows[0]['what'])
        self.assertEqual([(p['policy'], int(p['calls']), p['errors']) for p in points], [(policy, 2 * CALLS, '0') for policy in ('keepalive', 'hearth')])

    @staticmethod
    def cores():
        found = set()
        for cpu in os.sched_getaffinity(0):
            with open(f'/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list', encoding='ascii') as file:
                found.add(file.read())
        return found

    @unittest.skipUnless(engine('uffd'), 'nothing moves memory to a pool here')
    def test_pool_elsewhere(self):
        """What is away is there, and not in this machine's pool."""
        rows, points = self.experiment('benchmarks', '--functions', 'html_server', '--policies', 'keepalive,hearth', '--worth', '0', '--pool', 'tcp', *self.trace(), '--compress', '10', '--rounds', '2')
        self.assertEqual([(p['round'], p['policy']) for p in points], [(k, policy) for k in '12' for policy in ('keepalive', 'hearth')])
        least, most = ([row for row in rows if row['what'] == f'the {what} of 2 rounds'] for what in ('least', 'most'))
        self.assertLessEqual(least[0]['hearth P95 ms'], most[0]['hearth P95 ms'])
        [here] = [row for row in rows if row['what'] == 'in the pool of this machine']
        [there] = [row for row in rows if row['what'] == 'in the pool elsewhere']
        self.assertIn('pool tcp', rows[0]['what'])
        self.assertEqual((here['hearth MiB'], there['keepalive MiB']), (0, 0))
        self.assertGreater(there['hearth MiB'], 0)

    @unittest.skipUnless(engine(), 'nothing moves memory here')
    def test_ablation(self):
        rows, points = self.experiment('ablation', '--functions', 'html_server', *self.trace())
        self.assertEqual([row['what'] for row in rows[1:]], ['keepalive', 'all of it', 'without segments', 'without semi-warm', 'without prefetch'])
        self.assertTrue(all(row['errors'] == 0 for row in rows[1:]), rows)
        self.assertEqual({p['variant'] for p in points}, {row['what'] for row in rows[1:]})
        self.assertEqual([row['prefetched pages'] for row in rows if row['what'] in ('keepalive', 'without prefetch')], [0, 0])

    @unittest.skipUnless(engine(), 'nothing moves memory here')
    def test_workloads(self):
        rows, points = self.experiment('workloads', '--functions', 'html_server', '--calls', '3,5', '--compress', '600')
        self.assertIn('SYNTHETIC', rows[0]['what'])
        self.assertEqual([(p['calls'], p['errors']) for p in points], [('3', '0')] * 3 + [('5', '0')] * 3)

    @unittest.skipUnless(engine(), 'nothing moves memory here')
    def test_barrier(self):
        rows, points = self.experiment('barrier', '--functions', 'html_server', '--runs', '2')
        self.assertEqual(len(points), 4)
        self.assertTrue(all(float(p['ms']) > 0 for p in points))
        self.assertEqual(rows[1]['what'], 'html_server')

    @unittest.skipUnless(engine(), 'nothing moves memory here')
    def test_density(self):
        rows, points = self.experiment('density', '--functions', 'html_server', '--base', '1', '--most', '2', '--rounds', '1', '--period', '10')
        self.assertEqual([(p['policy'], p['instances']) for p in points if p['instances'] == '1'], [('keepalive', '1'), ('hearth', '1')])
        self.assertTrue(rows[1]['what'].startswith('html_server: instances in '))

    @unittest.skipUnless(engine(), 'nothing moves memory here')
    def test_calibrate(self):
        rows, points = self.experiment('calibrate', '--functions', 'json_dumps_loads,graph_bfs', '--rounds', '1', *self.trace()[:2], '--span', '60', '--compress', '10')
        self.assertIn('60 s, 10 times faster', rows[0]['what'])
        self.assertEqual({p['what'].split(':')[0] for p in points}, {'json_dumps_loads', 'graph_bfs', 'all'})
        self.assertTrue(all(float(p['live']) > 0 and float(p['simulated']) > 0 for p in points if 'MiB' in p['what']), points)
        costs = os.path.join(self.dir, 'calibrate', 'farmem-calibrate-costs.json')
        with open(costs, encoding='utf-8') as file:
            measured = json.load(file)
        self.assertTrue(measured['fault_us'] > 0 and measured['cold_start_ms'] > 0, measured)
        done = subprocess.run([HEARTH, 'sim-mem', '--functions', '5', '--minutes', '10', '--costs', costs, '--json'], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
        self.assertEqual(json.loads(done.stdout)['costs']['fault_us'], measured['fault_us'])

    @unittest.skipUnless(os.geteuid() == 0, 'isolation needs root')
    def test_zygote(self):
        rows, points = self.experiment('zygote', '--functions', 'json_dumps_loads', '--runs', '1', '--places', '2')
        self.assertEqual([row['what'] for row in rows], ['json_dumps_loads: call to answer, ms', 'json_dumps_loads: 2 at a time, MiB'])
        self.assertEqual({p['way'] for p in points} - {'clone'}, {'cold', 'fork'})
        self.assertLess(rows[1]['forked'], rows[1]['started cold'])
        self.assertIn('html_server has no zygote', self.experiment('zygote', '--functions', 'html_server', code=1))

    def test_semiwarm(self):
        rows, points = self.experiment('semiwarm', '--trace', '', '--functions', '60', '--minutes', '120')
        self.assertIn('SYNTHETIC', rows[0]['what'])
        self.assertEqual(rows[1]['functions'], len(points))
        self.assertEqual(sum(row['functions'] for row in rows[2:]), len(points))
        self.assertTrue(all(0 <= float(p['hearth_semiwarm_pct']) <= 100 and float(p['without_semiwarm_pct']) == 0 for p in points))
        self.assertIn('cannot read nowhere_inv.csv', self.experiment('semiwarm', '--trace', 'nowhere', code=1))

    def test_wrong(self):
        for name in ('ablation', 'barrier', 'benchmarks', 'calibrate', 'density', 'workloads', 'zygote'):
            self.assertIn('invalid list of', self.experiment(name, '--functions', 'no_such', code=2))
        self.assertIn('invalid list of', self.experiment('benchmarks', '--policies', 'magic', code=2))
        self.assertIn('invalid positive', self.experiment('benchmarks', '--rounds', '0', code=2))


if __name__ == '__main__':
    unittest.main()
