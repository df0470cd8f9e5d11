#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth experiment ds-*`, those that `hearth ds bench` measures, at small sizes: on the host, and on the fake CUDA driver beside a cuFile. What they say of speed means nothing here."""
import csv
import json
import os
import shutil
import subprocess
import tempfile
import unittest

BUILD = os.environ.get('HEARTH_BUILD', 'build')
HEARTH = os.path.join(BUILD, 'bin', 'hearth')
DRIVER = os.path.join(BUILD, 'tests', 'fake-cuda', 'libcuda.so.1')
FAKE_CUFILE = os.path.join(BUILD, 'tests', 'fake-cufile', 'libfake-cufile.so')
OWN_CUFILE = os.path.join(BUILD, 'src', 'cufile', 'libcufile.so.0')
OURS = "Hearth's own libcufile"
NAMES = {'register': [], 'sync': [], 'threads': ['--threads', '1,8'], 'async': [], 'batch': ['--batches', '1,16'], 'end-to-end': []}
# stands in for a program that would change this machine: it says that it was called
STAND_IN = '''#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
case "${0##*/} $1" in "$BROKEN "*) echo "it is broken" >&2; exit 1 ;; 'losetup --find') echo /dev/loop77 ;; 'ds-nvmeof connect') echo /dev/nvme7n1 ;; esac
'''


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='hearth-ds-', dir='/var/tmp')
        self.addCleanup(shutil.rmtree, self.dir)
        os.mkdir(os.path.join(self.dir, 'machine'))
        self.data = os.path.join(self.dir, 'data')
        os.mkdir(self.data)
        self.host = dict(os.environ, HEARTH_LIBCUDA='/no/such.so')
        self.gpu = dict(os.environ, HEARTH_LIBCUDA=DRIVER, HEARTH_FAKE_CUDA='devices=1,memory=512M', HEARTH_FAKE_CUDA_DIR=os.path.join(self.dir, 'machine'), HEARTH_LIBCUFILE=OWN_CUFILE)

    def experiment(self, name, *words, env, code=0):
        out = os.path.join(self.dir, name)
        done = subprocess.run([HEARTH, '--json', 'experiment', 'ds-' + name, '--out', out, '--dir', self.data, '--bytes', '1048576', '--seconds', '0.02', *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120, check=False, env=env)
        self.assertEqual(done.returncode, code, done)
        # whatever came of it: nothing is left of the data
        self.assertEqual(os.listdir(self.data), [])
        if code:
            return done.stderr
        table = json.loads(done.stdout.splitlines()[-1])
        with open(os.path.join(out, f'ds-{name}.csv'), encoding='utf-8') as file:
            return table['rows'], list(csv.DictReader(file))

    def check(self, name, rows, points, device, path):
        notes = [row['what'] for row in rows if all(value is None for key, value in row.items() if key != 'what')]
        self.assertRegex(notes[0], f'^device {device}; a file of {4 if name == "register" else 1} MiB on ')
        self.assertEqual({point['device'] for point in points if point['who'] == 'ours'}, {device})
        for point in points:
            if name != 'register':
                self.assertGreater(int(point['ops']), 0, point)
                self.assertEqual(point['verified'], point['ops'], point)
            if point['who'] == 'ours' and name != 'register':
                self.assertEqual(point['path'], path)
        measured = [row for row in rows if row['ours'] is not None]
        self.assertGreaterEqual(len(measured), 2)
        return notes, measured


class Here(Case):
    def test_host(self):
        for name, words in NAMES.items():
            rows, points = self.experiment(name, *words, env=self.host)
            notes, measured = self.check(name, rows, points, 'host', 'host')
            self.assertTrue(any(note.startswith('cuFile: skipped: it reads into memory of a GPU') for note in notes), notes)
            self.assertTrue(all(row['cuFile'] is None for row in measured))
            other = 'pread' if name == 'end-to-end' else 'io_uring'
            self.assertTrue(all(row[other] > 0 for row in measured), measured)

    def test_device(self):
        """Where there is a GPU it is taken without being asked for, and cuFile beside it; whose cuFile that is, is said."""
        for name, words in NAMES.items():
            rows, points = self.experiment(name, *words, env=self.gpu)
            notes, measured = self.check(name, rows, points, 'cuda:0', 'stage')
            self.assertTrue(any(note.startswith(f'cuFile: {OURS}, which is not') for note in notes), notes)
            # nothing is compared with itself
            self.assertFalse([row for row in measured if 'cuFile, %' in row['what']], measured)
            self.assertTrue(all(row['cuFile'] > 0 for row in measured if '%' not in row['what']), measured)
            self.assertLessEqual({'ours', 'cuFile'}, {point['who'] for point in points})

    def test_cufile(self):
        """One that does not answer, or answers wrongly, or has no batches, is a line of the table with the reason."""
        for mode, says in (('compat', 'cuFile: compatibility mode'), ('lies', 'cuFile: skipped: what arrived is not what was sent'), ('refuses', 'cuFile: skipped: cuFileHandleRegister: 5027')):
            rows, _ = self.experiment('end-to-end', '--repeat', '2', env=dict(self.gpu, HEARTH_LIBCUFILE=FAKE_CUFILE, HEARTH_FAKE_CUFILE=mode))
            self.assertTrue(any(row['what'].startswith(says) for row in rows), (mode, rows))
            self.assertEqual(next(row['ours'] for row in rows if row['what'].startswith('small: less')) is not None, mode == 'compat', rows)
        rows, _ = self.experiment('batch', '--batches', '4', env=dict(self.gpu, HEARTH_LIBCUFILE=FAKE_CUFILE, HEARTH_FAKE_CUFILE='compat'))
        self.assertIn('cuFile: skipped: this cuFile has no batches and no streams', [row['what'] for row in rows])
        rows, _ = self.experiment('threads', '--threads', '2', '--cache', 'always', env=dict(self.gpu, HEARTH_LIBCUFILE='/no/such.so'))
        self.assertTrue(any(row['what'].startswith('cuFile: skipped: there is no cuFile') for row in rows))

    def test_wrong(self):
        self.assertIn('skipped', self.experiment('sync', '--device', 'cuda:9', env=self.gpu, code=2))
        self.assertIn('--kinds takes', self.experiment('sync', '--kinds', 'fly', env=self.host, code=1))
        self.assertIn('must be 1 MiB', self.experiment('sync', '--bytes', '7', env=self.host, code=1))
        self.assertIn('queues cannot be', self.experiment('threads', '--threads', '1000', env=self.host, code=1))
        self.assertIn('cannot make a folder', self.experiment('sync', '--dir', '/no/such', env=self.host, code=1))


class Elsewhere(Case):
    """NFS and NVMe-oF: what is done to this machine, and undone, by programs that only say so."""

    def setUp(self):
        super().setUp()
        self.bin, self.log = os.path.join(self.dir, 'bin'), os.path.join(self.dir, 'log')
        os.mkdir(self.bin)
        for name in ('ds-nfs', 'ds-nvmeof', 'losetup', 'mkfs.ext4', 'mount', 'umount'):
            with open(os.path.join(self.bin, name), 'w', encoding='utf-8', opener=lambda path, flags: os.open(path, flags, 0o755)) as file:
                file.write(STAND_IN)
        self.env = dict(self.host, PATH=self.bin + ':' + os.environ['PATH'], LOG=self.log, BROKEN='nothing')

    def calls(self):
        with open(self.log, encoding='utf-8') as file:
            lines = file.read().splitlines()
        os.unlink(self.log)
        return [' '.join(line.split()[:2 if line.startswith(('ds-', 'losetup')) else 1]) for line in lines]

    def test_mounted(self):
        self.assertIn('not NFS', self.experiment('nfs', '--mounted', self.data, env=self.env, code=1))
        self.assertIn('not on a disk over NVMe-oF', self.experiment('nvmeof', '--mounted', self.data, env=self.env, code=1))

    @unittest.skipUnless(os.geteuid() == 0, 'it takes root')
    def test_served(self):
        for name, up, down in (('nfs', ['ds-nfs serve', 'ds-nfs mount'], ['umount', 'ds-nfs unserve']),
                               ('nvmeof', ['losetup --find', 'ds-nvmeof serve', 'ds-nvmeof connect', 'mkfs.ext4', 'mount'], ['umount', 'ds-nvmeof disconnect', 'ds-nvmeof unserve', 'losetup --detach'])):
            more = ['--threads', '1,4'] if name == 'nvmeof' else []
            rows, points = self.experiment(name, '--tools', self.bin, *more, env=self.env)
            notes = [row['what'] for row in rows]
            self.assertIn('this machine is the server, too', notes)
            self.assertTrue(all(point['verified'] == point['ops'] and int(point['ops']) > 0 for point in points))
            self.assertEqual(self.calls(), up + down)
            # the last step fails: what was done before is undone
            broken = up[-1].split()[0]
            self.assertIn('skipped: it is broken', self.experiment(name, '--tools', self.bin, *more, env=dict(self.env, BROKEN=broken), code=2))
            found = self.calls()
            self.assertEqual(found, up[:1] if name == 'nfs' else up + down[1:])
        self.assertIn('skipped', self.experiment('nfs', '--tools', '/no/such', env=self.env, code=2))


if __name__ == '__main__':
    unittest.main()
