#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth images` on stores of its own: as text and as JSON, beside writers, on damaged stores, and with wrong command lines."""
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import unittest

HEARTH = os.path.join(os.environ.get('HEARTH_BUILD', 'build'), 'bin', 'hearth')
PUT = os.environ.get('HEARTH_STORE_PUT', os.path.join(os.environ.get('HEARTH_BUILD', 'build'), 'tests', 'e2e', 'ckpt', 'store_put'))
CHUNK = 65536


def run(*words, **keys):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **keys)


class Images(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='hearth-images-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.store = os.path.join(self.dir, 'store')
        self.data = random.Random(1).randbytes(40 * CHUNK)

    def file(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, 'wb') as f:
            f.write(data)
        return path

    def put(self, name, data, store=None):
        done = run(PUT, store or self.store, name, self.file('data', data))
        self.assertEqual(done.returncode, 0, done)
        return json.loads(done.stdout)

    def images(self, *words, code=0, store=True):
        done = run(HEARTH, 'images', *words, *(['--store', self.store] if store else []))
        self.assertEqual(done.returncode, code, done)
        return done

    def json(self, *words, code=0):
        done = self.images('--json', *words, code=code)
        self.assertEqual(done.stdout.count('\n'), 1, done)
        return json.loads(done.stdout)

    def flip(self, path, at):
        with open(os.path.join(self.store, path), 'r+b') as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 4]))

    def test_list(self):
        first = self.put('one', self.data[:20 * CHUNK])
        second = self.put('two', self.data[10 * CHUNK:30 * CHUNK + 5])
        self.assertEqual(first['stored_bytes'], 20 * CHUNK)
        self.assertEqual(second['new_bytes'], 10 * CHUNK + 5)
        listed = self.json()['images']
        self.assertEqual([i['name'] for i in listed], ['one', 'two'])
        self.assertEqual([i['own_bytes'] for i in listed], [10 * CHUNK, 10 * CHUNK + 4096])
        self.assertEqual([i['shared_bytes'] for i in listed], [10 * CHUNK] * 2)
        self.assertEqual(listed[1]['bytes'], 20 * CHUNK + 5)
        self.assertEqual(listed[0]['meta'], {'program': 'one'})
        self.assertEqual(listed[0]['store'], self.store)
        self.assertFalse(listed[0]['damaged'])
        self.assertEqual(self.json('ls')['images'], listed)
        lines = self.images('ls').stdout.splitlines()
        self.assertEqual(len(lines), 3, lines)
        self.assertRegex(lines[1], r'^one .*1\.2 MiB +640 KiB +640 KiB')

    def test_du_and_rm(self):
        self.put('one', self.data[:20 * CHUNK])
        self.put('two', self.data[10 * CHUNK:30 * CHUNK])
        before = self.json('du')['stores'][0]
        self.assertEqual((before['images'], before['packs'], before['live_bytes'], before['damaged']), (2, 2, 30 * CHUNK, 0))
        self.assertGreaterEqual(before['pack_bytes'], 30 * CHUNK)
        self.assertIn(self.store, self.images('du').stdout)
        # a wrong name removes nothing
        self.assertIn('three', self.images('rm', 'one', 'three', code=1).stderr)
        self.assertEqual(len(self.json()['images']), 2)
        self.assertEqual(self.images('rm', 'one').stdout, '')
        after = self.json('du')['stores'][0]
        self.assertEqual(after['live_bytes'], 20 * CHUNK)
        self.assertLessEqual(after['pack_bytes'], before['pack_bytes'] - 10 * CHUNK)
        self.assertEqual(self.images('verify', 'two').stdout, 'two: ok\n')
        self.assertEqual(self.json('rm', 'two')['removed'], ['two'])
        self.assertEqual(self.json('du')['stores'][0]['packs'], 0)
        self.assertEqual(self.json('rm', 'two', code=1)['code'], -2)

    def test_verify(self):
        self.put('one', self.data[:20 * CHUNK])
        self.put('two', self.data[10 * CHUNK:30 * CHUNK])
        self.put('three', self.data[30 * CHUNK:])
        self.assertTrue(self.json('verify', '--all')['ok'])
        self.flip('packs/00000001.pack', 15 * CHUNK + 3)        # in both
        answer = self.json('verify', '--all', code=1)
        self.assertFalse(answer['ok'])
        self.assertEqual({i['name']: i['ok'] for i in answer['images']}, {'one': False, 'two': False, 'three': True})
        self.assertRegex(answer['images'][0]['error'], r'image one: chunk 15 of .*data is damaged \(packs/00000001\.pack')
        done = self.images('verify', 'one', 'three', code=1)
        self.assertEqual(done.stdout, 'three: ok\n')
        self.assertEqual(done.stderr.count('\n'), 1)
        # what is damaged is shared no more
        self.assertEqual(self.put('four', self.data[:20 * CHUNK])['new_bytes'], 20 * CHUNK)
        self.assertEqual(self.images('verify', 'four').stdout, 'four: ok\n')

    def test_damaged(self):
        self.put('one', self.data[:5 * CHUNK])
        self.put('two', self.data[5 * CHUNK:9 * CHUNK])
        self.flip('images/one/manifest.json', 30)
        listed = self.json()['images']
        self.assertEqual({i['name']: i['damaged'] for i in listed}, {'one': True, 'two': False})
        self.assertRegex(self.images().stdout, r'(?m)^one .* damaged ')
        self.assertIn('manifest.json', self.images('verify', 'one', code=1).stderr)
        self.images('rm', 'one')
        self.assertEqual(self.images('verify', '--all').stdout, 'two: ok\n')
        self.flip('store.json', 12)
        self.assertIn('store.json', self.images(code=1).stderr)
        os.unlink(os.path.join(self.store, 'store.json'))
        self.assertRegex(self.images(code=1).stderr, r'store\.json is missing')

    def test_beside_a_writer(self):
        self.put('one', self.data[:20 * CHUNK])
        with subprocess.Popen([PUT, self.store, 'two', self.file('more', self.data[:30 * CHUNK]), '-'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            self.assertEqual(writer.stdout.readline(), 'open\n')
            self.assertEqual([i['name'] for i in self.json()['images']], ['one'])
            self.images('rm', 'one')                            # what the writer shares with it stays
            out, _ = writer.communicate('\n', timeout=60)
        self.assertEqual(json.loads(out)['new_bytes'], 10 * CHUNK)
        self.assertEqual(self.images('verify', '--all').stdout, 'two: ok\n')
        self.images('rm', 'two')
        self.assertEqual(os.listdir(os.path.join(self.store, 'packs')), [])

    def test_default_stores(self):
        home = os.path.join(self.dir, 'home')
        done = run(HEARTH, '--json', 'images', env={'HOME': home, 'XDG_STATE_HOME': home})
        self.assertEqual(done.returncode, 0, done)
        self.assertFalse(os.path.exists(home), 'looking made a store')

    def test_command_lines(self):
        for words in (['what'], ['--what'], ['verify'], ['verify', '--all', 'x'], ['rm'], ['rm', '--all'], ['ls', 'x'], ['du', 'x'], ['--store']):
            done = run(HEARTH, 'images', *words, *([] if words == ['--store'] else ['--store', self.dir]))
            if words in (['verify'], ['verify', '--all', 'x'], ['rm'], ['ls', 'x'], ['du', 'x']):
                self.put('x', b'1')
                done = self.images(*words, code=2)
                self.images('rm', 'x')
            self.assertEqual(done.returncode, 2, (words, done))
            self.assertIn('usage: hearth images', done.stderr)
        self.assertRegex(run(HEARTH, 'images', '--store', self.dir).stderr, 'is no store')
        self.assertTrue(re.match(r'usage: hearth images \[ls', run(HEARTH, 'images', '--help').stdout))
        self.put('x', b'1')
        for name in ('../x', '.', '', 'x/../x'):
            self.assertEqual(run(HEARTH, 'images', 'rm', name, '--store', self.store).returncode, 1)


if __name__ == '__main__':
    unittest.main()
