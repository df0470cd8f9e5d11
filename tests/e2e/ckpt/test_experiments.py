#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checkpoint experiments: on the fake driver from end to end, and what they say on a machine without a GPU."""
import csv
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import programlib

HEARTH = os.path.join(programlib.BUILD, 'bin', 'hearth')
EXPERIMENTS = ('ckpt-stall', 'ckpt-frequency', 'ckpt-coldstart', 'ckpt-migration')


class Experiments(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='hearth-experiments-')
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def run_one(self, name, env):
        command = [HEARTH, '--json', 'experiment', name, '--out', os.path.join(self.dir, name), '--programs', 'transformer']
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}, timeout=120, check=False)

    @unittest.skipUnless(os.geteuid() == 0, 'CRIU needs root')
    def test_on_the_fake_driver(self):
        machine = os.path.join(self.dir, 'machine')
        os.mkdir(machine)
        env = {'LD_LIBRARY_PATH': os.path.join(programlib.BUILD, 'tests', 'fake-cuda'), 'HEARTH_FAKE_CUDA': 'devices=1,memory=1G', 'HEARTH_FAKE_CUDA_DIR': machine}
        for name in EXPERIMENTS:
            with self.subTest(name):
                done = self.run_one(name, env)
                self.assertEqual(done.returncode, 0, done.stderr)
                found = json.loads(done.stdout.splitlines()[-1])
                self.assertIn('fake driver', found['rows'][0]['what'])
                self.assertTrue(all(set(row) == {'what', 'published', 'ours', "driver's own"} for row in found['rows']))
                self.assertTrue(any(isinstance(row['ours'], float) and row['ours'] > 0 for row in found['rows']))
                with open(os.path.join(self.dir, name, name + '.csv'), encoding='utf-8') as file:
                    measured, = csv.DictReader(file)
                for column in ('cold', 'stop', 'data', 'down', 'restore', 'first'):
                    self.assertTrue(0 < float(measured[column]) < 120, f'{column}: {measured}')

    def test_from_what_was_measured_before(self):
        path = os.path.join(self.dir, 'before.csv')
        with open(path, 'w', encoding='utf-8') as file:
            file.write("program,who,gpu,driver,cold,stop,data,down,restore,first,bytes,new_bytes\nresnet,ours,G,1,9,0.5,0.02,1,0.4,0.5,1e9,1e9\nresnet,driver's own,G,1,9,5,4,10,5,6,1e9,1e9\n")
        for name, row in (('ckpt-stall', 'resnet, 1.0 GB: whole stop, s'), ('ckpt-coldstart', "resnet: times shorter than the driver's own"), ('ckpt-frequency', 'resnet: GPU time wasted, %')):
            command = [HEARTH, '--json', 'experiment', name, '--out', os.path.join(self.dir, name), '--measured', path]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
            self.assertIn(row, [r['what'] for r in json.loads(done.stdout.splitlines()[-1])['rows']])
        with open(path, 'w', encoding='utf-8') as file:
            file.write('program,who\nresnet,nobody\n')
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('is not what ckpt-stall writes', done.stderr)

    @unittest.skipIf(shutil.which('nvidia-smi'), 'there may be a GPU here')
    def test_without_a_gpu(self):
        for name in EXPERIMENTS:
            with self.subTest(name):
                done = self.run_one(name, {})
                self.assertEqual(done.returncode, 2)
                self.assertIn('no GPU', done.stderr)


if __name__ == '__main__':
    unittest.main()
