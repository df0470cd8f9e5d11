#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs with device memory, on the fake driver: shim, keeper, engine and real CRIU together. What goes on from an image prints what it would have printed."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import programlib
from programlib import Programs, state, until

COUNTER = os.path.join(programlib.BUILD, 'tests', 'programs', 'gpu_counter')
KEEPER = os.path.join(programlib.BUILD, 'bin', 'hearth-keeper')
STEPS = ('ckpt-precopied', 'ckpt-before-dump', 'ckpt-detached', 'ckpt-held', 'ckpt-copied', 'ckpt-released', 'ckpt-attached', 'ckpt-drained')


class Base(Programs):
    MEMORY = '1G'

    def setUp(self):
        super().setUp()
        machine = os.path.join(self.dir, 'machine')
        for folder in (self.run_dir, machine):
            os.makedirs(folder)
        self.ENV = {'LD_LIBRARY_PATH': os.path.join(programlib.BUILD, 'tests', 'fake-cuda'), 'HEARTH_FAKE_CUDA': f'devices=2,memory={self.MEMORY}', 'HEARTH_FAKE_CUDA_DIR': machine,
                    'HEARTH_SHIM': os.path.join(programlib.BUILD, 'src', 'shim', 'libhearth-cuda.so')}
        self.keeper = None
        self.start_keeper()

    def start_keeper(self, *options):
        self.keeper = subprocess.Popen([KEEPER, '--socket', os.path.join(self.run_dir, 'keeper.sock'), *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **self.ENV})
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

    def ask_keeper(self, op):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(os.path.join(self.run_dir, 'keeper.sock'))
            s.send(b'{"op":"%s"}' % op.encode())
            return json.loads(s.recv(65536))['result']

    def known(self):
        """Return: how many processes the keeper has a connection of."""
        return self.ask_keeper('info')['processes']


class Gpu(Base):
    def test_gate_that_is_not_its_own(self):
        """Who could not be woken is not put to sleep."""
        self.start_counter()
        gate = os.path.join(self.run_dir, 'programs', 'g', 'gate')
        with open(gate, 'r+b') as file:
            magic = file.read(4)
            file.seek(0)
            file.write(b'junk')
        self.assertIn(f'{gate} is damaged', self.hearth('checkpoint', 'g', '--to', self.store, code=1).stderr)
        self.goes_on('g', 5)
        with open(gate, 'r+b') as file:
            file.write(magic)
        os.link(gate, gate + '-kept')
        os.unlink(gate)
        self.assertIn('was removed or replaced', self.hearth('checkpoint', 'g', '--to', self.store, code=1).stderr)
        shutil.copy(gate + '-kept', gate)
        self.assertIn('was removed or replaced', self.hearth('checkpoint', 'g', '--to', self.store, code=1).stderr)
        self.goes_on('g', 5)
        os.rename(gate + '-kept', gate)
        self.checkpoint('g')
        self.goes_on('g', 5)
        self.check()

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

    def test_registered_memory_is_there_before_the_driver(self):
        """The rest of the memory still comes when the program runs again; it registers memory that is on its way, too."""
        self.start_counter('--registered', str(192 << 20), '--threads', '2')
        for _ in range(3):
            made = self.checkpoint('g', '--stop')
            self.assertTrue(self.restore(made['image'])['lazy'])
            self.goes_on('g', 200)
        self.check()

    def test_two_devices_fill_a_store_in_memory(self):
        """Segments of the store are mapped, and registered with the driver, by whichever device's copies need them."""
        self.start_counter('--threads', '2', '--devices', '2', '--buffers', '4', '--bytes', str(96 << 20), '--still')
        with tempfile.TemporaryDirectory(dir='/dev/shm') as self.store:
            made = self.checkpoint('g')
            self.assertGreaterEqual(made['gpu']['bytes'], 8 * 96 << 20)
            self.kill('g')
            self.restore(made['image'])
            self.goes_on('g', 5)
            self.check()

    def test_buffers_come_and_go(self):
        """Left running again and again while buffers are made and freed."""
        self.start_counter('--churn')
        for _ in range(8):
            self.checkpoint('g')
            self.goes_on('g', 3)
        self.check()

    def test_memory_is_written_all_the_time(self):
        """It is read while CRIU is at work already, and what is written meanwhile is read again: the program checks each word."""
        def passes():
            return sum(l.startswith('pass ') for l in self.lines('g'))

        def checked():
            begun = passes()
            until(lambda: passes() > begun + 2, 'all of it is checked')

        self.start_counter('--host', str(160 << 20))
        checked()
        for stop in ((), (), ('--stop',)):
            made = self.checkpoint('g', *stop)
            self.assertGreater(made['early_bytes'], 160 << 20)
            if not stop:
                checked()
                self.kill('g')
            self.restore(made['image'])
            checked()
        self.check()

    def test_what_stays_is_stored_once(self):
        self.start_counter('--still', '--bytes', str(4 << 20))
        self.checkpoint('g')
        self.assertLess(self.checkpoint('g')['new_bytes'], 4 << 20)

    def test_compressed(self):
        """Device memory too, whether the store is in memory or not."""
        parts = []
        memory = tempfile.mkdtemp(prefix='hearth-test-', dir='/dev/shm')
        self.addCleanup(shutil.rmtree, memory, ignore_errors=True)
        for self.store in self.store, memory:
            self.start_counter('--still', '--bytes', str(4 << 20))
            made = self.checkpoint('g', '--zstd', '1')
            parts.append(made['stored_bytes'] / made['new_bytes'])
            self.kill('g')
            self.restore(made['image'])
            self.goes_on('g', 5)
            self.check()
            self.kill('g')
        self.assertLess(parts[0], .95)
        self.assertLess(abs(parts[1] - parts[0]), .02)

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
        self.start_words('g', 'env', '-u', 'LD_PRELOAD', COUNTER, '--pace', '2000', '--registered', str(64 << 20))
        self.goes_on('g', 5)
        made = self.checkpoint('g')
        self.assertIn('without the shim', ' '.join(made['notes']))
        self.goes_on('g', 5)
        self.kill('g')
        self.assertFalse(self.restore(made['image'])['lazy'], 'nobody knows what the driver pins')
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
                    self.assertEqual(self.ask_keeper('held'), [], fault)
        image = self.checkpoint('g')['image']
        self.kill('g')
        self.restore(image)
        self.goes_on('g', 10)
        self.check()


class Held(Base):
    """The memory of parked programs stays on the device as long as nobody needs it."""
    BYTES = 8 << 20
    MEMORY = '128M'

    def park(self):
        pid = self.start_counter('--bytes', str(self.BYTES))
        found = self.checkpoint('g', '--stop')
        self.assertIsNone(state(pid))
        self.bytes = found['gpu']['bytes']
        self.assertGreaterEqual(self.bytes, 4 * self.BYTES)
        return found

    def held(self):
        """Return: bytes, as `hearth ps` tells."""
        return self.json('ps', 'g')['programs'][0]['held_bytes']

    def wake(self, held):
        """Return: what was done of device memory."""
        found = self.json('wake', 'g')['gpu']
        self.assertEqual(found['copied_bytes'] == 0, held, found)
        self.goes_on('g', 10)
        self.check()
        self.assertEqual(self.held(), 0)
        self.assertEqual(self.ask_keeper('held'), [])
        return found

    def test_it_is_taken(self):
        for _ in range(2):
            self.assertEqual(self.park()['notes'], [])
            self.assertEqual(self.held(), self.bytes)
            self.assertIn(f'{self.bytes >> 20} MiB', self.hearth('ps', 'g').stdout)
            self.assertEqual(self.wake(True)['bytes'], self.bytes)
            self.kill('g')

    def test_it_goes_with_its_image(self):
        image = self.park()['image']
        self.assertEqual(len(self.ask_keeper('held')), 1)
        self.hearth('images', 'rm', image, '--store', self.store)
        self.assertEqual(self.ask_keeper('held'), [])

    def test_each_image_has_its_own(self):
        """The image before is not what is held."""
        first = self.park()['image']
        self.wake(True)
        self.checkpoint('g', '--stop')
        self.assertGreater(self.restore(first)['gpu']['copied_bytes'], 0)
        self.goes_on('g', 10)
        self.check()
        self.assertEqual(len(self.ask_keeper('held')), 1)

    def test_keeper_killed(self):
        self.park()
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()
        self.assertEqual(self.held(), 0)
        self.assertIn('hearth-keeper', self.hearth('wake', 'g', code=1).stderr)
        self.start_keeper()
        self.assertEqual(self.held(), 0)
        self.assertIn('not held any more', self.wake(False)['notes'])

    def test_another_program_needs_it(self):
        self.park()
        self.start_words('h', COUNTER, '--bytes', str(26 << 20), '--pace', '2000')
        until(lambda: any(l.startswith('step ') for l in self.lines('h')), 'the other runs')
        self.assertEqual(self.held(), 0)
        self.kill('h')
        self.wake(False)

    def test_a_checkpoint_fails(self):
        """What is not parked is not held."""
        self.start_counter()
        self.hearth('checkpoint', 'g', '--to', self.store, '--stop', code=1, env={'HEARTH_FAULT': 'fail:ckpt-drained'})
        self.goes_on('g', 3)
        self.assertEqual(self.ask_keeper('held'), [])
        self.check()

    def test_a_restore_fails(self):
        """What was not taken is still there."""
        self.park()
        for how in ('restore-extracted', 'fail:restore-extracted', 'fail:restore-made'):
            self.assertNotEqual(self.hearth('wake', 'g', code=None, env={'HEARTH_FAULT': how}).returncode, 0)
            until(lambda: self.held() == self.bytes, f'{how}: it is held')
        self.wake(True)

    def test_time(self):
        self.end_keeper()
        self.start_keeper('--hold-time', '1ms')
        self.park()
        until(lambda: self.held() == 0, 'its time is over')
        self.wake(False)

    def test_less_than_that(self):
        for limit, note in (('0', 'may be held'), ('16MiB', 'may be held'), ('40MiB', '')):
            self.end_keeper()
            self.start_keeper('--hold-bytes', limit)
            notes = self.park()['notes']
            self.assertEqual(bool(notes), bool(note), notes)
            self.assertIn(note, ' '.join(notes))
            self.wake(not note)
            self.kill('g')


if __name__ == '__main__':
    unittest.main(verbosity=2)
