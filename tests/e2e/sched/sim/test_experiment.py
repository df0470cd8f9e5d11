#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth experiment`: lists, runs, writes its files, ends with its table; with few requests, so that the figures mean nothing here.

    test_experiment.py HEARTH
"""
import csv
import json
import os
import subprocess
import sys
import tempfile
import unittest

HEARTH = os.path.abspath(sys.argv.pop(1))


def experiment(*args, cwd=None, env=None):
    return subprocess.run([HEARTH, 'experiment', *args], capture_output=True, text=True, timeout=110, check=False, cwd=cwd, env={**os.environ, **(env or {})})


class Experiments(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.dir = temp.name

    def test_list(self):
        done = experiment()
        self.assertEqual(done.returncode, 0)
        for n in (1, 3, 4, 5, 6, 7, 8, 9):
            self.assertRegex(done.stdout, rf'(?m)^sched-fig{n} +Fig {n}: ')
        names = [e['name'] for e in json.loads(experiment('--json').stdout)]
        self.assertIn('sched-minimax', names)

    def test_each_runs(self):
        for name in ('sched-fig1', 'sched-fig3', 'sched-fig5', 'sched-fig6', 'sched-fig7', 'sched-fig9'):
            out = os.path.join(self.dir, name)
            done = experiment(name, '--requests', '2000', '--out', out)
            self.assertEqual(done.returncode, 0, done.stderr)
            header = done.stdout.splitlines()[0]
            self.assertRegex(header, rf'^{name} +\| +published \| +ours$')
            with open(os.path.join(out, name + '.csv'), encoding='utf-8') as file:
                rows = list(csv.DictReader(file))
            self.assertGreater(len(rows), 20)
            self.assertTrue(all(float(r['slowdown_p999']) >= 1 for r in rows))
            if 'no plot' not in done.stderr:
                for suffix in ('.png', '.svg'):
                    self.assertGreater(os.path.getsize(os.path.join(out, name + suffix)), 5000)

    def test_json_and_default_folder(self):
        done = experiment('sched-fig4', '--requests', '2000', '--json', cwd=self.dir)
        self.assertEqual(done.returncode, 0, done.stderr)
        table = json.loads(done.stdout)
        self.assertEqual(table['experiment'], 'sched-fig4')
        self.assertEqual(table['rows'][0]['published'], 4.4)
        for file in table['files']:
            self.assertTrue(os.path.exists(os.path.join(self.dir, file)), file)

    def test_without_matplotlib(self):
        broken = os.path.join(self.dir, 'matplotlib')
        os.mkdir(broken)
        with open(os.path.join(broken, '__init__.py'), 'w', encoding='utf-8') as file:
            file.write('raise ImportError("no")\n')
        done = experiment('sched-fig4', '--requests', '1000', '--out', os.path.join(self.dir, 'x'), env={'PYTHONPATH': self.dir})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('no plot', done.stderr)
        self.assertIn('published', done.stdout)
        self.assertEqual(os.listdir(os.path.join(self.dir, 'x')), ['sched-fig4.csv'])

    def test_wrong(self):
        for args, why in ((['sched-fig99'], 'no experiment "sched-fig99"'), (['../sched-fig1'], 'no experiment'), (['--out', 'x'], 'the name of an experiment comes first'),
                          (['sched-fig4', '--requests', '5'], '--requests must be'), (['sched-fig4', '--nonsense'], 'unrecognized')):
            done = experiment(*args, cwd=self.dir)
            self.assertEqual((done.returncode, done.stdout), (2, ''), args)
            self.assertIn(why, done.stderr)
        done = experiment('sched-fig4', '--out', '/proc/no/such', '--requests', '1000')
        self.assertEqual(done.returncode, 1)
        self.assertIn('cannot make /proc/no/such', done.stderr)
        self.assertEqual(experiment(env={'HEARTH_EXPERIMENTS': '/no/such'}).returncode, 1)


if __name__ == '__main__':
    unittest.main()
