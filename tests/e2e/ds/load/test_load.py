#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth ds load`: files and stores into memory of the host and of the fake CUDA driver's devices; damaged ones; wrong command lines; and the experiments."""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import loadlib

BUILD = os.environ.get('HEARTH_BUILD', 'build')
SOURCE = os.environ.get('HEARTH_SOURCE', os.path.join(os.path.dirname(os.path.abspath(__file__)), *['..'] * 4))
HEARTH = os.path.join(BUILD, 'bin', 'hearth')
FAKE = os.path.join(BUILD, 'tests', 'fake-cuda', 'libcuda.so.1')
sys.path.insert(0, os.path.join(SOURCE, 'python'))
import hearth_ds  # noqa: E402

try:
    import numpy
except ImportError:
    numpy = None


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='hearth-ds-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.named = loadlib.tensors(3)
        self.bytes = sum(len(data) for _, _, data in self.named.values())
        machine = os.path.join(self.dir, 'machine')
        os.mkdir(machine)
        self.env = {**os.environ, 'HEARTH_LIBCUDA': FAKE, 'HEARTH_FAKE_CUDA': 'devices=2,memory=256M', 'HEARTH_FAKE_CUDA_DIR': machine}

    def hearth(self, *words, code=0):
        done = subprocess.run([HEARTH, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, timeout=120, check=False)
        self.assertEqual(done.returncode, code, done)
        return done

    def load(self, *words):
        return json.loads(self.hearth('--json', 'ds', 'load', *words).stdout.splitlines()[-1])

    def devices(self):
        yield 'host', 'host'
        for device in ('cuda:0', 'cuda:1'):
            yield device, 'stage'


class Tensors(Case):
    def test_devices(self):
        index = loadlib.write_set(self.dir, self.named)
        one = loadlib.write(os.path.join(self.dir, 'one.safetensors'), self.named)
        for device, path in self.devices():
            for file in (index, self.dir, one):
                found = self.load(file, device, '--verify')
                self.assertEqual((found['ok'], found['tensors'], found['bytes'], found['carried']), (True, len(self.named), self.bytes, {path: self.bytes}))
                self.assertEqual(len(found['digest']), 32)
        # the same bytes in the same order have one digest, wherever they are
        self.assertEqual(len({self.load(one, device, '--verify')['digest'] for device, _ in self.devices()}), 1)

    def test_reads(self):
        """Tensors side by side are one read where each stays aligned."""
        named = {f't{k}': ('F32', [64], os.urandom(256)) for k in range(50)}
        path = loadlib.write(os.path.join(self.dir, 'even'), named)
        self.assertEqual(self.load(path, 'host')['reads'], 1)
        self.assertEqual(self.load(path, 'host', '--filter', 't[02468]')['reads'], 5)
        named = {f't{k}': ('U8', [255], os.urandom(255)) for k in range(50)}
        path = loadlib.write(os.path.join(self.dir, 'odd'), named)
        self.assertEqual(self.load(path, 'host', '--verify')['reads'], 50)

    def test_filters_and_list(self):
        path = loadlib.write(os.path.join(self.dir, 'one'), self.named, {'format': 'pt'})
        chosen = {name for name in self.named if name.startswith('layers.2') or name == 'scalar'}
        self.assertEqual(self.load(path, 'host', '--filter', 'layers.2*', '--filter', 'scalar')['tensors'], len(chosen))
        found = self.load('--list', path, '--filter', 'layers.2*', '--filter', 'scalar')
        self.assertEqual({t['name'] for t in found['tensors']}, chosen)
        self.assertEqual(found['metadata'], {'format': 'pt'})
        for t in found['tensors']:
            self.assertEqual((t['dtype'], t['shape'], t['bytes']), (*self.named[t['name']][:2], len(self.named[t['name']][2])))
            with open(path, 'rb') as file:
                file.seek(t['offset'])
                self.assertEqual(file.read(t['bytes']), self.named[t['name']][2])
        text = self.hearth('ds', 'load', '--list', path).stdout
        self.assertEqual(len(text.splitlines()), len(self.named) + 1)
        self.assertIn('scalar', text)
        self.assertIn(f'-> host: {len(self.named)} tensors', self.hearth('ds', 'load', path, 'host').stdout)

    def test_errors(self):
        path = loadlib.write(os.path.join(self.dir, 'one'), self.named)
        with open(path, 'rb') as file:
            whole = file.read()
        n = struct.unpack('<Q', whole[:8])[0]
        for name, data, says in (('short', whole[:-1], 'the file is cut off'), ('long', whole + b'x', 'longer than it may be'), ('header', whole[:n // 2], 'cut off'), ('empty', b'', 'too short'),
                                 ('text', b'version https://git-lfs', 'this is no safetensors file')):
            wrong = os.path.join(self.dir, name)
            with open(wrong, 'wb') as file:
                file.write(data)
            done = self.hearth('ds', 'load', wrong, 'host', code=1)
            self.assertIn(says, done.stderr)
            self.assertIn(wrong, done.stderr)
            self.assertEqual(done.stderr.count('\n'), 1)
        self.assertIn("matches 'nobody'", self.hearth('ds', 'load', path, 'host', '--filter', 'nobody', code=1).stderr)
        self.assertIn('cuda:7', self.hearth('ds', 'load', path, 'cuda:7', code=1).stderr)
        self.assertIn('by the path that was asked for: map: ', self.hearth('ds', 'load', path, 'host', '--path', 'map', code=1).stderr)
        index = loadlib.write_set(self.dir, self.named)
        os.unlink(os.path.join(self.dir, 'model-00002-of-00003.safetensors'))
        self.assertIn('model-00002-of-00003.safetensors: No such file', self.hearth('ds', 'load', index, 'host', code=1).stderr)

    def test_usage(self):
        for words in ((), ('file',), ('file', 'host', 'more'), ('--list',), ('file', 'host', '--path', 'nowhere'), ('file', 'host', '--what'), ('--kv', 'store', 'host', '--filter', 'x'),
                      ('--list', 'file', '--verify')):
            self.assertIn('usage', self.hearth('ds', 'load', *words, code=2).stderr, words)


class Blocks(Case):
    def store(self, n=300, checked=True):
        path = os.path.join(self.dir, 'kv')
        with hearth_ds.KVStore(path, 'x', 4096, layers=2, checked=checked) as store:
            room = bytearray(os.urandom(n * 4096))
            store.put(store.batch([(k // 2, k % 2, k * 4096) for k in range(n)], room))
            store.commit()
        return path

    def test_load(self):
        path = self.store()
        for device, _ in self.devices():
            found = self.load('--kv', path, device, '--verify')
            self.assertEqual((found['blocks'], found['bytes'], found['layers'], found['checked'], found['verified'], found['recovered']), (300, 300 * 4096, 2, True, True, 0))
        self.assertEqual(self.load('--kv', '--list', path)['keys'], [[k // 2, k % 2] for k in range(300)])
        self.assertIn('300 blocks of 4.0 KiB in 2 layers', self.hearth('ds', 'load', '--kv', path, 'host').stdout)

    def test_damaged(self):
        path = self.store()
        with open(os.path.join(path, 'data'), 'r+b') as file:
            file.seek(5 * 4096 + 7)
            byte = file.read(1)[0]
            file.seek(5 * 4096 + 7)
            file.write(bytes([byte ^ 1]))
        self.hearth('ds', 'load', '--kv', path, 'host')
        done = self.hearth('ds', 'load', '--kv', path, 'host', '--verify', code=1)
        self.assertIn('block 2, layer 1: it is damaged', done.stderr)
        self.assertIn('1 blocks are damaged', done.stderr)
        with open(os.path.join(path, 'index'), 'r+b') as file:
            file.seek(300)
            file.write(b'\xff\xfe')
        self.assertIn('index: it is damaged at byte', self.hearth('ds', 'load', '--kv', path, 'host', code=1).stderr)

    def test_in_use(self):
        path = self.store()
        with hearth_ds.KVStore(path, 'r+'):
            self.assertIn('in use by another', self.hearth('ds', 'load', '--kv', path, 'host', code=1).stderr)
        with hearth_ds.KVStore(path):
            self.load('--kv', path, 'host')

    def test_empty(self):
        path = os.path.join(self.dir, 'kv')
        hearth_ds.KVStore(path, 'x', 4096).close()
        self.assertEqual(self.load('--kv', path, 'host', '--path', 'auto')['blocks'], 0)


@unittest.skipUnless(numpy, 'numpy is not installed')
class Experiments(Case):
    def run_one(self, name, *words):
        out = os.path.join(self.dir, name)
        done = self.hearth('--json', 'experiment', name, '--out', out, '--dir', self.dir, '--device', 'host', '--repeat', '1', *words)
        found = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(found['experiment'], name)
        with open(os.path.join(out, name + '.csv'), encoding='utf-8') as file:
            return found['rows'], file.read().splitlines()

    def test_safetensors(self):
        rows, lines = self.run_one('ds-safetensors', '--models', 'opt-2.7b', '--bytes', '1')
        self.assertEqual(len(lines), 2)
        self.assertTrue(all(row['ours'] > 0 for row in rows if row['what'].startswith('opt')))

    def test_kvcache(self):
        for traces in ('/nowhere', self.dir):
            if traces == self.dir:
                with open(os.path.join(self.dir, 'quality.txt'), 'w', encoding='utf-8') as file:
                    file.write('Seq1 (conversation id: x):\nRound 1-human: [0, 1, 2, 7]\nRound 2-gpt: [5]\n\nSeq2 (conversation id: y):\nRound 1-human: [3, 4, 6]\n')
            rows, lines = self.run_one('ds-kvcache', '--traces', traces, '--names', 'quality', '--sizes', '8,64', '--blocks', '100')
            self.assertEqual(len(lines), 3)
            self.assertEqual(lines[1].split(',')[:5], ['quality', '1', '8', '100', lines[1].split(',')[4]] if traces == '/nowhere' else ['quality', '0', '8', '8', '3'])
            self.assertEqual('synthetic' in rows[0]['what'], traces == '/nowhere')
            self.assertTrue(all(row['ours'] > 0 and row['one by one'] > 0 and row['mmap'] > 0 for row in rows[:2]))


if __name__ == '__main__':
    unittest.main()
