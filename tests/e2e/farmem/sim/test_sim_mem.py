#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth sim-mem` as its users see it: figures, files, and one clear error for what is wrong.

    test_sim_mem.py HEARTH [--real]     --real: only the recorded day, where there is one ($HEARTH_TEST_AZURE)
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

HEARTH = sys.argv.pop(1)
REAL = '--real' in sys.argv
POLICIES = ['keepalive', 'tmo', 'damon', 'faasmem-oracle', 'hearth']
RUN_HEADER = ('HashFunction,HashApp,HashOwner,Count,Average,Minimum,Maximum,'
              + ','.join(f'percentile_Average_{p}' for p in (0, 1, 25, 50, 75, 99, 100)))
MEM_HEADER = 'HashApp,HashOwner,SampleCount,AverageAllocatedMb,' + ','.join(f'AverageAllocatedMb_pct{p}' for p in (1, 5, 25, 50, 75, 95, 99, 100))


def sim_mem(*args):
    return subprocess.run([HEARTH, 'sim-mem', *args], capture_output=True, text=True, timeout=280, check=False)


def figures(*args):
    done = sim_mem(*args, '--json')
    if done.returncode:
        raise AssertionError(f'{args}: {done.returncode} {done.stdout} {done.stderr}')
    return json.loads(done.stdout)


def write_trace(folder, minutes=60, inv='', run='', mem=''):
    """A trace of two functions, with lines added; its prefix."""
    prefix = os.path.join(folder, 'day')
    files = {
        'inv': ['HashFunction,HashApp,HashOwner,' + ','.join(f'minute_{m + 1}' for m in range(minutes)),
                'f,a,o,' + ','.join('1' for m in range(minutes)), 'g,b,o,' + ','.join('9' if m % 20 == 0 else '0' for m in range(minutes)), inv],
        'run': [RUN_HEADER, 'f,a,o,60,500,1,999,100,200,300,500,700,900,999', 'g,b,o,60,5000,1,9999,100,200,300,5000,7000,9000,9999', run],
        'mem': [MEM_HEADER, 'a,o,60,150,100,110,140,150,160,190,200,210', 'b,o,60,900,700,710,840,850,860,890,900,910', mem],
    }
    for name, lines in files.items():
        with open(f'{prefix}_{name}.csv', 'w', encoding='utf-8') as file:
            file.write('\n'.join(line for line in lines if line) + '\n')
    return prefix


class Synthetic(unittest.TestCase):
    ARGS = ('--functions', '80', '--minutes', '180')

    def test_one_policy(self):
        d = figures('--policy', 'hearth', *self.ARGS)
        self.assertEqual((d['trace'], d['policy'], d['functions']), ('synthetic', 'hearth', 80))
        for key in ('saved_pct', 'local_gib_s', 'cold_starts', 'moved_gib'):
            self.assertGreater(d[key], 0, key)
        self.assertLessEqual(d['added_ms']['p50'], d['added_ms']['p95'])
        self.assertLessEqual(d['added_ms']['p95'], d['added_ms']['p99'])
        self.assertAlmostEqual(d['moved_gib'], d['out_gib'] + d['fault_gib'] + d['prefetch_gib'], places=3)

    def test_all_policies(self):
        d = figures(*self.ARGS)
        self.assertEqual(list(d['policies']), POLICIES)
        self.assertEqual(d['policies']['keepalive']['saved_pct'], 0)
        self.assertEqual(d['policies']['keepalive']['moved_gib'], 0)
        alone = figures('--policy', 'hearth', *self.ARGS)
        del alone['wall_s'], d['policies']['hearth']['wall_s']
        self.assertEqual({k: alone[k] for k in d['policies']['hearth']}, d['policies']['hearth'])

    def test_by_function(self):
        d = figures('--by-function', *self.ARGS)
        self.assertEqual((d['functions'], d['minutes']), (80, 180))
        for name, policy in d['policies'].items():
            rows = policy['by_function']
            self.assertEqual([row['function'] for row in rows], [f'synthetic-{k}' for k in range(80)])
            self.assertAlmostEqual(sum(row['local_gib_s'] for row in rows), policy['local_gib_s'], places=3)
            self.assertEqual(sum(row['cold_starts'] for row in rows), policy['cold_starts'], name)
        self.assertTrue(any(row['semiwarm_s'] > 0 for row in d['policies']['hearth']['by_function']))
        alone = figures('--policy', 'hearth', '--by-function', '--no-semiwarm', *self.ARGS)
        self.assertEqual({row['semiwarm_s'] for row in alone['by_function']}, {0})
        self.assertNotIn('by_function', figures('--policy', 'hearth', *self.ARGS))

    def test_seed_and_jobs(self):
        a, b, c = (figures(*self.ARGS, '--policy', 'hearth', '--seed', s, '--jobs', j) for s, j in (('5', '1'), ('5', '2'), ('6', '2')))
        self.assertEqual(a['local_gib_s'], b['local_gib_s'])
        self.assertNotEqual(a['local_gib_s'], c['local_gib_s'])

    def test_table(self):
        done = sim_mem(*self.ARGS)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout.startswith('synthetic: 80 functions'), done.stdout)
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()[3:8]], POLICIES)

    def test_options_matter(self):
        base = figures(*self.ARGS, '--policy', 'hearth')['local_gib_s']
        for option in (('--quantile', '0.5'), ('--semiwarm-min', '2m'), ('--wake-share', '0'), ('--no-semiwarm',), ('--long-request', '0'), ('--link', '10MiB'), ('--overlap', '0.5'), ('--init-hot', '0.9'), ('--runtime-hot', '1'),
                       ('--runtime', '200MiB'), ('--keepalive', '60s'), ('--arrivals', 'burst'), ('--arrivals', 'even')):
            self.assertNotEqual(figures(*self.ARGS, '--policy', 'hearth', *option)['local_gib_s'], base, option)
        parked = figures(*self.ARGS, '--policy', 'hearth', '--park')
        self.assertGreater(parked['restores'], 0)


class Files(unittest.TestCase):
    def setUp(self):
        # pylint: disable=consider-using-with
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_trace(self):
        prefix = write_trace(self.folder.name)
        d = figures('--trace', prefix)
        self.assertEqual((d['trace'], d['functions'], d['policies']['tmo']['requests']), (prefix, 2, 87))
        self.assertEqual([row['function'] for row in figures('--trace', prefix, '--by-function', '--policy', 'tmo')['by_function']], ['f', 'g'])
        self.assertEqual(figures('--trace', prefix, '--minutes', '10', '--policy', 'tmo')['requests'], 19)

    def test_compress(self):
        args = ('--trace', write_trace(self.folder.name), '--policy', 'hearth', '--arrivals', 'even')
        slow, fast, columns = (figures(*args, *more) for more in ((), ('--compress', '4'), ('--minute', '15s')))
        self.assertEqual((slow['model']['minute_s'], fast['model']['minute_s'], columns['model']['minute_s']), (60, 15, 15))
        self.assertEqual(slow['requests'], fast['requests'])
        # an hour is a quarter of one, and so is what idle instances are kept for; calls take as long as ever
        longer, shorter = (figures(*args, '--policy', 'keepalive', *more)['local_gib_s'] for more in ((), ('--compress', '4')))
        self.assertLess(shorter, longer / 2)
        self.assertGreater(columns['local_gib_s'], fast['local_gib_s'])

    def fails(self, says, *args):
        done = sim_mem(*args)
        self.assertEqual((done.returncode, done.stdout), (1, ''), done)
        self.assertEqual(done.stderr, f'hearth: {says}\n')

    def test_bad_traces(self):
        prefix = os.path.join(self.folder.name, 'day')
        self.fails(f'cannot read {prefix}_inv.csv: No such file or directory', '--trace', prefix)
        write_trace(self.folder.name, minutes=3, inv='h,a,o,1,x,1')
        self.fails(f'{prefix}_inv.csv:4: a number of calls is no number from 0 on', '--trace', prefix)
        write_trace(self.folder.name, minutes=3, inv='h,a,o,1,1,1')
        self.fails(f'{prefix}_inv.csv:4: {prefix}_run.csv has no run times of function h', '--trace', prefix)
        write_trace(self.folder.name, minutes=3, run='h,a,o,1,1')
        self.fails(f'{prefix}_run.csv:4: Minimum is missing', '--trace', prefix)
        write_trace(self.folder.name, minutes=3, mem='b,o,60,900,700,710,840,850,860,890,900,910')
        self.fails(f'{prefix}_mem.csv:4: b is there twice', '--trace', prefix)

    def costs(self, text):
        path = os.path.join(self.folder.name, 'costs.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return path

    def test_costs(self):
        prefix = write_trace(self.folder.name)
        args = ('--trace', prefix, '--policy', 'damon', '--init-hot', '0.2')
        dear = figures(*args, '--costs', self.costs('fault_us: 47\ncold_start_ms: 1000\nevict_per_s: 1GiB\n'))
        cheap = figures(*args, '--costs', self.costs('fault_us: 0\n'))
        self.assertEqual(dear['costs'], {'fault_us': 47, 'prefetch_us': 2.3, 'cold_start_ms': 1000, 'restore_ms': 86, 'evict_per_s': 1 << 30})
        self.assertEqual(cheap['added_mean_ms'], 0)
        self.assertGreater(dear['added_mean_ms'], 0)
        done = sim_mem('--costs', self.costs('fault_us: 47\nfalt: 1\n'))
        self.assertEqual(done.returncode, 1)
        self.assertIn('costs.yaml:2', done.stderr)


class CommandLine(unittest.TestCase):
    def test_wrong(self):
        for args in (('--policy', 'lru'), ('--functions', '0'), ('--trace', 'x', '--functions', '3'), ('--quantile', '0.1'), ('--keepalive', 'long'), ('--arrivals', 'never'),
                     ('--link', '0'), ('--what',), ('--seed',), ('day',), ('--jobs', '99'), ('--semiwarm-min', '1h'), ('--by-function',), ('--compress', '10'), ('--compress', '0'), ('--minute', 'x')):
            done = sim_mem(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ''), args)
            self.assertTrue(done.stderr.startswith('hearth sim-mem: '), done.stderr)
            self.assertEqual(done.stderr.count('\n'), 1, done.stderr)

    def test_help(self):
        done = sim_mem('--help')
        self.assertEqual(done.returncode, 0)
        self.assertIn('--trace PREFIX', done.stdout)


class Real(unittest.TestCase):
    """The day of 1,000 functions: in less than a minute, near what an oracle saves or better, and adding no more."""

    def test_day(self):
        d = figures('--trace', os.environ['HEARTH_TEST_AZURE'])
        self.assertEqual(d['functions'], 1000)
        p = d['policies']
        for name in POLICIES:
            self.assertEqual(p[name]['requests'], 11639447)
        self.assertGreater(p['hearth']['saved_pct'], p['faasmem-oracle']['saved_pct'] - 3)
        self.assertLessEqual(p['hearth']['added_ms']['p95'], p['faasmem-oracle']['added_ms']['p95'])


if __name__ == '__main__':
    if REAL and not os.path.exists(os.environ.get('HEARTH_TEST_AZURE', '') + '_inv.csv'):
        print(f"skipped: no recorded day at {os.environ.get('HEARTH_TEST_AZURE', '$HEARTH_TEST_AZURE')}")
        sys.exit(77)
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(c) for c in ([Real] if REAL else [Synthetic, Files, CommandLine]))
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())
