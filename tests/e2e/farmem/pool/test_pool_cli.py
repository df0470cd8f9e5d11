#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth pool`: where it listens, what it says, its keys, and whom it refuses. What it does with pages: tests/fault/farmem/pool."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

HEARTH = os.path.join(os.environ.get('HEARTH_BUILD', 'build'), 'bin', 'hearth')


class Pool(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='hearth-pool-')
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def pool(self, *words, code=0):
        done = subprocess.run([HEARTH, '--run', self.dir, 'pool', *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, code, done)
        return done

    def start(self, *words):
        """A pool that is ready. Return: its process, its places."""
        process = subprocess.Popen([HEARTH, '--run', self.dir, '--json', 'pool', '--memory', '8MiB', *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process, json.loads(process.stdout.readline())['places']

    def end(self, process):
        process.terminate()
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, errors)
        return errors

    def keys(self, name, tenant):
        with open(self.path(name), 'w', encoding='ascii') as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(self.pool('--new-key', str(tenant)).stdout)
        return self.path(name)

    def access(self, secrets):
        with open(self.path('access'), 'w', encoding='ascii') as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(self.pool('--print-access', secrets).stdout)
        return self.path('access')

    def test_default_place(self):
        process, places = self.start()
        self.assertEqual(places, [f'unix:{self.dir}/pool.sock'])
        self.assertEqual(os.stat(self.path('pool.sock')).st_mode & 0o777, 0o600)
        status = json.loads(self.pool('--json', '--status', places[0]).stdout)
        self.assertEqual(status, {'pages': 0, 'zero_pages': 0, 'shared_pages': 0, 'stored_bytes': 0, 'memory_bytes': 8 << 20})
        self.assertIn('0 pages', self.pool('--status', places[0]).stdout)
        self.end(process)
        self.assertIn('hearth: ', self.pool('--status', places[0], code=1).stderr)

    def test_several_places(self):
        process, places = self.start('--listen', 'tcp:127.0.0.1:0', '--listen', f'unix:{self.path("here")}', '--listen', 'tcp:127.0.0.1:0')
        self.assertEqual(len(set(places)), 3)
        for place in places:
            self.pool('--status', place)
        # a place that is taken, by a pool that lives
        for place in places[:2]:
            self.pool('--listen', place, code=1)
        self.end(process)

    def test_keys(self):
        secrets, strangers = self.keys('secrets', 7), self.keys('strangers', 7)
        access = self.access(secrets)
        process, places = self.start('--listen', 'tcp:0.0.0.0:0', '--key-file', access)
        place = places[0].replace('0.0.0.0', '127.0.0.1')
        self.pool('--status', place, '--key-file', secrets)
        self.assertIn('keys', self.pool('--status', place, '--key-file', strangers, code=1).stderr)
        self.assertIn('--key-file', self.pool('--status', place, code=1).stderr)
        errors = self.end(process)
        self.assertIn('is refused: it does not know the key of a tenant', errors)
        with open(secrets, encoding='ascii') as ours, open(access, encoding='ascii') as theirs:
            self.assertNotIn(ours.read().split()[2], theirs.read())

    def test_tenants_by_name(self):
        """A name and its digest are the same tenant."""
        secrets = self.keys('secrets', 'alice')
        access = self.access(secrets)
        with open(secrets, encoding='ascii') as ours, open(access, encoding='ascii') as theirs:
            (name, _, secret), (number, _, _) = ours.read().split(), theirs.read().split()
        self.assertEqual(name, 'alice')
        with open(self.path('numbered'), 'w', encoding='ascii', opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(f'{number} secret {secret}\n')
        process, [place] = self.start('--listen', 'tcp:127.0.0.1:0', '--key-file', access)
        for known in (secrets, self.path('numbered')):
            self.pool('--status', place, '--key-file', known)
        self.assertIn('keys', self.pool('--status', place, '--key-file', self.keys('bobs', 'bob'), code=1).stderr)
        self.end(process)
        with open(secrets, 'a', encoding='ascii') as file:
            file.write(f'{number} secret {secret}\n')
        self.assertIn(f'tenant {number} has a key already', self.pool('--print-access', secrets, code=1).stderr)

    def test_refuses(self):
        secrets = self.keys('secrets', 7)
        self.assertIn('needs the keys', self.pool('--listen', 'tcp:0.0.0.0:0', code=1).stderr)
        self.assertIn('a secret would let the pool read pages', self.pool('--key-file', secrets, code=1).stderr)
        os.chmod(secrets, 0o644)
        self.assertIn('others can read it', self.pool('--print-access', secrets, code=1).stderr)
        self.assertIn('no such', self.pool('--print-access', self.path('none'), code=1).stderr.lower())
        self.assertIn('on another machine', self.pool('--status', 'tcp:192.0.2.1:9', code=1).stderr)
        for words in (['--memory', '0'], ['--memory', 'much'], ['--lease', '-1'], ['--new-key', '-x'], ['--new-key', '7x'], ['--new-key', 'a b'], ['--new-key', ''], ['word'], ['--nothing'], ['--status', 'unix:/x', '--new-key', '1'], ['--listen', 'unix:/x'] * 9):
            self.pool(*words, code=2)


if __name__ == '__main__':
    unittest.main()
