#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs with device memory, on the fake driver: shim, keeper, engine and real CRIU together. What goes on from an image prints what it would have printed."""
import json
import os
import signal
import socket
import subprocess
import unittest

import programlib
from programlib import Programs, state, until

COUNTER = os.path.join(programlib.BUILD, 'tests', 'programs', 'gpu_counter')
KEEPER = os.path.join(programlib.BUILD, 'bin', 'hearth-keeper')
STEPS = ('ckpt-precopied', 'ckpt-before-dump', 'ckpt-detached', 'ckpt-held', 'ckpt-copied', 'ckpt-released', 'ckpt-attached', 'ckpt-drained')


class Gpu(Programs):
    def setUp(self):
        super().setUp()
        machine = os.path.join(self.dir, 'machine')
        for folder in (self.run_dir, machine):
            os.makedirs(folder)
        self.ENV = {'LD_LIBRARY_PATH': os.path.join(programlib.BUILD, 'tests', 'fake-cuda'), 'HEARTH_FAKE_CUDA': 'devices=2,memory=1G', 'HEARTH_FAKE_CUDA_DIR': machine,
                    'HEARTH_SHIM': os.path.join(programlib.BUILD, 'src', 'shim', 'libhearth-cuda.so')}
        self.keeper = None
        self.start_keeper()

    def start_keeper(self):
        self.keeper = subprocess.Popen([KEEPER, '--socket', os.path.join(self.run_dir, 'keeper.sock')], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **self.ENV})
        self.assertEqual(self.keeper.stdout.readline(), b'\n')
        self.addCleanup(self.end_keeper)

    def end_keeper(self):
        if self.keeper:
            self.end_all()
            self.keeper.kill()
            self.keeper.wait()
            self.keeper.stdout.close()
            self.keeper = None

    def step(self, name='g'):
        lines = [l for l in self.lines(name) if l.startswith('step ')]
        return int(lines[-1].split()[1]) if lines else -1

    def start_counter(self, *words):
        self.words = words
        pid = self.start_words('g', COUNTER, '--pace', '2000', *words)
        self.goes_on('g', 5)
        return pid

    def check(self):
        """Each line is one of the course."""
        lines = [l for l in self.lines('g') if l.startswith('step ')]
        last = max(int(l.split()[1]) for l in lines)
        done = subprocess.run([COUNTER, '--steps', str(last + 1), '--pace', '0', *self.words], env={**os.environ, **self.ENV}, stdout=subprocess.PIPE, check=True, text=True, timeout=60)
        expected = {int(l.split()[1]): l for l in done.stdout.splitlines() if l.startswith('step ')}
        for line in lines:
            self.assertEqual(line, expected[int(line.split()[1])])

    def test_leave_running_killed_and_restored(self):
        for words in ((), ('--graph',), ('--churn', '--pinned'), ('--threads', '3', '--devices', '2')):
            with self.subTest(words=words):
                self.start_counter(*words)
                first = self.checkpoint('g')
                self.assertGreater(first['gpu']['bytes'], 0)
                self.goes_on('g', 5)
                second = self.checkpoint('g')
                self.goes_on('g', 5)
                for made in (first, second):
                    self.kill('g')
                    self.restore(made['image'])
                    self.goes_on('g', 10)
                self.check()
                self.kill('g')

    def test_buffers_come_and_go(self):
        """Left running again and again while buffers are made and freed."""
        self.start_counter('--churn')
        for _ in range(8):
            self.checkpoint('g')
            self.goes_on('g', 3)
        self.check()

    def test_what_stays_is_stored_once(self):
        self.start_counter('--still', '--bytes', str(4 << 20))
        self.checkpoint('g')
        self.assertLess(self.checkpoint('g')['new_bytes'], 4 << 20)

    def test_park_and_wake(self):
        pid = self.start_counter()
        self.checkpoint('g', '--stop')
        self.assertIsNone(state(pid))
        self.hearth('wake', 'g')
        self.goes_on('g', 10)
        self.check()

    def test_another_keeper(self):
        """The one that made the image is gone."""
        self.start_counter()
        image = self.checkpoint('g', '--stop')['image']
        self.end_keeper()
        self.assertIn('hearth-keeper', self.hearth('restore', image, '--store', self.store, '-d', code=1).stderr)
        self.start_keeper()
        self.restore(image)
        self.goes_on('g', 10)
        self.check()

    def known(self):
        """Return: how many processes the keeper has a connection of."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(os.path.join(self.run_dir, 'keeper.sock'))
            s.send(b'{"op":"info"}')
            return json.loads(s.recv(65536))['result']['processes']

    def test_before_its_keeper(self):
        """A program that found no keeper connects when there is one; and is not woken by that once it is detached."""
        self.end_keeper()
        self.start_counter()
        for _ in range(2):
            self.start_keeper()
            until(lambda: self.known() == 1, 'the program has connected')
            made = self.checkpoint('g')
            self.assertGreater(made['gpu']['bytes'], 0)
            self.kill('g')
            self.restore(made['image'])
            self.goes_on('g', 5)
            self.keeper.kill()
            self.keeper.wait()
            self.keeper.stdout.close()
        self.start_keeper()
        self.check()

    def test_the_driver_alone(self):
        """Without the shim: nobody waits for a connection of it."""
        self.words = ()
        self.start_words('g', 'env', '-u', 'LD_PRELOAD', COUNTER, '--pace', '2000')
        self.goes_on('g', 5)
        made = self.checkpoint('g')
        self.assertIn('without the shim', ' '.join(made['notes']))
        self.goes_on('g', 5)
        self.kill('g')
        self.restore(made['image'])
        self.goes_on('g', 10)
        self.check()

    def test_killed_at_every_step(self):
        pid = self.start_counter()
        for stop in ((), ('--stop',)):
            for step in STEPS:
                if stop and step == 'ckpt-attached':
                    continue
                for fault in (step, f'fail:{step}'):
                    done = self.hearth('checkpoint', 'g', '--to', self.store, *stop, code=None, env={'HEARTH_FAULT': fault})
                    self.assertEqual(done.returncode, 1 if fault.startswith('fail:') else -signal.SIGKILL, (fault, done))
                    until(lambda: state(pid) in ('S', 'R', 'D'), f'{fault}: it runs')
                    self.goes_on('g', 3)
                    self.assertEqual(self.images(), [], fault)
        image = self.checkpoint('g')['image']
        self.kill('g')
        self.restore(image)
        self.goes_on('g', 10)
        self.check()


if __name__ == '__main__':
    unittest.main(verbosity=2)
