#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth ds` on memory of the process and on the fake CUDA driver: what it says and does, what it refuses, and the GPU machine's speed table at a small size."""
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ.get('HEARTH_BUILD', 'build')
SOURCE = os.environ.get('HEARTH_SOURCE') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
HEARTH = os.path.join(BUILD, 'bin', 'hearth')
DRIVER = os.path.join(BUILD, 'tests', 'fake-cuda', 'libcuda.so.1')
FAKE_CUFILE = os.path.join(BUILD, 'tests', 'fake-cufile', 'libfake-cufile.so')
OWN_CUFILE = os.path.join(BUILD, 'src', 'cufile', 'libcufile.so.0')
SIZE = 5 * (1 << 20) + 333


class Cli(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='hearth-ds-', dir='/var/tmp')
        self.addCleanup(shutil.rmtree, self.dir)
        self.data = random.Random(3).randbytes(SIZE)
        self.file = os.path.join(self.dir, 'data')
        with open(self.file, 'wb') as file:
            file.write(self.data)
        os.mkdir(os.path.join(self.dir, 'machine'))
        self.env = dict(os.environ, HEARTH_LIBCUDA=DRIVER, HEARTH_FAKE_CUDA='devices=2,memory=1G', HEARTH_FAKE_CUDA_DIR=os.path.join(self.dir, 'machine'))

    def ds(self, *words, code=0, **env):
        done = subprocess.run([HEARTH, 'ds', *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=dict(self.env, **env))
        self.assertEqual(done.returncode, code, done)
        return done

    def json(self, *words, code=0, **env):
        return json.loads(self.ds('--json', *words, code=code, **env).stdout.splitlines()[-1])

    def test_probe(self):
        found = self.json('probe', self.file, 'cuda:1')
        self.assertEqual(found['path'], 'stage')
        self.assertEqual(found['paths']['stage'], {'possible': True, 'why': ''})
        for path in ('map', 'cufile', 'host'):
            self.assertFalse(found['paths'][path]['possible'])
            self.assertTrue(found['paths'][path]['why'])
        self.assertEqual(self.json('probe', self.file, 'host')['path'], 'host')
        text = self.ds('probe', self.file, 'cuda:0').stdout.splitlines()
        self.assertEqual(text[0], f'{self.file} -> cuda:0: stage')
        self.assertRegex(text[1], r'^  map +\S.*hearth_p2p')

    def test_copy_to_device(self):
        for device, path in (('host', 'host'), ('cuda:0', 'stage')):
            found = self.json('copy', '--verify', self.file, device)
            self.assertEqual((found['bytes'], found['path'], found['verified']), (SIZE, path, True))
            self.assertEqual(len(found['digest']), 32)
        self.assertIn('both sides are ' + found['digest'], self.ds('copy', '--verify', self.file, 'cuda:1').stdout)

    def test_copy_to_file(self):
        to = os.path.join(self.dir, 'copy')
        with open(to, 'wb') as file:
            file.write(b'x' * (SIZE + 99))
        self.json('copy', '--verify', self.file, to)
        with open(to, 'rb') as file:
            self.assertEqual(file.read(), self.data)
        self.assertIn('same file', self.ds('copy', self.file, self.file, code=1).stderr)
        os.link(self.file, os.path.join(self.dir, 'link'))
        self.ds('copy', self.file, os.path.join(self.dir, 'link'), code=1)
        with open(self.file, 'rb') as file:
            self.assertEqual(file.read(), self.data)
        empty = os.path.join(self.dir, 'empty')
        open(empty, 'wb').close()
        self.assertEqual(self.json('copy', '--verify', empty, 'cuda:0')['bytes'], 0)

    def test_what_cannot_be(self):
        self.assertIn('hearth_p2p', self.ds('copy', '--path', 'map', self.file, 'cuda:0', code=1).stderr)
        self.assertIn('no/such', self.ds('copy', '/no/such', 'host', code=1).stderr)
        self.assertIn('this process sees 2 devices', self.ds('probe', self.file, 'cuda:2', code=1).stderr)
        self.assertIn('driver', self.ds('probe', self.file, 'cuda:0', code=1, HEARTH_LIBCUDA='/no/such.so').stderr)
        self.assertIn('Input/output error', self.ds('copy', self.file, 'cuda:0', code=1, HEARTH_FAULT='fail:ds.eio').stderr)
        self.assertFalse(self.json('copy', self.file, 'cuda:0', code=1, HEARTH_FAULT='fail:ds.ring')['ok'])
        for words in ([], ['fly'], ['probe', self.file], ['copy', self.file], ['copy', '--path', 'wire', self.file, 'host'], ['bench', self.file, self.file], ['bench', '--block', '0', self.file, 'host'],
                      ['bench', '--cache', 'some', self.file, 'host'], ['bench', '--sideways', self.file, 'host']):
            self.ds(*words, code=2)

    def test_bench(self):
        for device in ('host', 'cuda:0'):
            for words in (['--sync'], ['--random', '--block', '4KiB', '--depth', '8'], ['--queues', '2', '--block', '64KiB', '--cache', 'never']):
                found = self.json('bench', '--seconds', '1', *words, self.file, device)
                self.assertGreater(found['ops'], 0)
                self.assertEqual(found['bytes'], found['ops'] * found['block'])
        self.assertIn('register', self.ds('bench', '--handles', self.file, 'cuda:0').stdout)
        self.assertIn('not one block', self.ds('bench', '--block', '1GiB', '--depth', '1', self.file, 'host', code=1).stderr)
        self.json('bench', '--seconds', '1', '--write', '--block', '64KiB', self.file, 'cuda:0')
        self.assertEqual(os.path.getsize(self.file), SIZE)

    def test_bench_beside(self):
        """Every way of reading and writing, one at a time and several: each block of them is verified."""
        env = {'HEARTH_LIBCUFILE': OWN_CUFILE}
        sync, queue, batch, stream, whole = ['--sync'], ['--depth', '8'], ['--depth', '8', '--batch'], ['--depth', '8', '--stream'], ['--end-to-end']
        for by, device, ways in (('hearth', 'host', (sync, queue, batch, stream, whole)), ('hearth', 'cuda:0', (sync, queue, batch, stream, whole)), ('pread', 'host', (sync, whole)),
                                 ('uring', 'host', (queue, batch)), ('cufile', 'cuda:1', (sync, queue, batch, stream, whole))):
            for way in ways:
                for more in (['--random'], ['--write']):
                    found = self.json('bench', '--seconds', '0.05', '--verify', '--block', '64KiB', '--by', by, *way, *more, self.file, device, **env)
                    self.assertEqual((found['by'], found['verified']), (by, found['ops']), (by, way, more))
                    self.assertGreater(found['ops'], 0)
                    self.assertEqual(found['path'], {'hearth': 'stage' if device != 'host' else 'host', 'cufile': "Hearth's own libcufile"}.get(by, 'host'))
            found = self.json('bench', '--handles', '--seconds', '1', '--block', '64KiB', '--by', by, self.file, device, **env)
            self.assertTrue(all(found[key] >= 0 for key in ('start_us', 'open_us', 'register_us', 'release_us', 'close_us', 'stop_us')))
        self.assertIn('are right', self.ds('bench', '--seconds', '0.05', '--verify', '--sync', self.file, 'host').stdout)

    def test_bench_finds_out(self):
        """What did not arrive is noticed, whoever says that it did; and a cuFile that is not there, or cannot do it, is a sentence."""
        words = ('bench', '--seconds', '0.05', '--verify', '--block', '64KiB', '--by', 'cufile', self.file, 'cuda:0')
        fake = {'HEARTH_LIBCUFILE': FAKE_CUFILE}
        self.assertEqual(self.json(*words, '--sync', HEARTH_FAKE_CUFILE='compat', **fake)['path'], 'compatibility mode')
        self.assertEqual(self.json(*words, '--sync', HEARTH_FAKE_CUFILE='direct', **fake)['path'], 'direct')
        self.assertIn('what arrived is not what was sent', self.ds(*words, '--sync', code=1, HEARTH_FAKE_CUFILE='lies', **fake).stderr)
        self.assertIn('what arrived is not what was sent', self.ds(*words, '--sync', '--write', code=1, HEARTH_FAKE_CUFILE='lies', **fake).stderr)
        self.assertIn('cuFileRead: Input/output error', self.ds(*words, '--sync', code=1, HEARTH_FAKE_CUFILE='broken', **fake).stderr)
        self.assertIn('5027: udev', self.ds(*words, '--sync', code=1, HEARTH_FAKE_CUFILE='refuses', **fake).stderr)
        self.assertIn('no batches', self.ds(*words, code=1, HEARTH_FAKE_CUFILE='direct', **fake).stderr)
        self.assertIn('there is no cuFile', self.ds(*words, '--sync', code=1, HEARTH_LIBCUFILE='/no/such.so').stderr)
        self.assertIn('lacks cuFile', self.ds(*words, '--sync', code=1, HEARTH_LIBCUFILE=DRIVER).stderr)
        for words in (['--by', 'pread', '--sync', self.file, 'cuda:0'], ['--by', 'cufile', '--sync', self.file, 'host'], ['--by', 'pread', self.file, 'host'], ['--by', 'uring', '--sync', self.file, 'host'],
                      ['--by', 'uring', '--stream', self.file, 'host'], ['--sync', '--batch', self.file, 'host'], ['--end-to-end', '--queues', '2', self.file, 'host'], ['--by', 'nobody', self.file, 'host'],
                      ['--verify', '--write', '--random', self.file, 'host'], ['--seconds', '0', self.file, 'host'], ['--seconds', 'nan', self.file, 'host']):
            self.ds('bench', *words, code=2)

    def test_speed_table(self):
        out = os.path.join(self.dir, 'out')
        subprocess.run([sys.executable, os.path.join(SOURCE, 'tests', 'gpu', 'ds_speed.py'), '--mib', '8', '--seconds', '1', '--rounds', '1', '--threads', '2', '--disk', self.dir, '--out', out,
                        '--only', 'verified,in order,handles'], stdout=subprocess.DEVNULL, env=self.env, timeout=120, check=False)
        with open(os.path.join(out, 'ds.csv'), encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(rows[0]['pass'], 'True')
        self.assertGreater(len(rows), 8)
        self.assertTrue(all(row['ours'] for row in rows), rows)


if __name__ == '__main__':
    unittest.main()
