#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and restores that are killed, fail, or meet damage at every step: the program runs on unharmed, or a complete image is there; nothing is half-restored."""
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'e2e', 'ckpt'))
from programlib import Programs, state, until  # noqa: E402 pylint: disable=wrong-import-position

STEPS = ('ckpt-inspected', 'ckpt-armed', 'ckpt-precopied', 'ckpt-before-dump', 'ckpt-held', 'ckpt-copied', 'ckpt-released', 'ckpt-drained')


def helpers():
    """Processes of ours that a killed checkpoint may leave for a moment."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/comm', encoding='utf-8') as file:
                if file.read().strip() in ('hearth-minder', 'hearth-inject'):
                    found.append(int(pid))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


class Killed(Programs):
    def checkpoint_with(self, fault, *words):
        before = set(helpers())
        done = self.hearth('checkpoint', 't', '--to', self.store, *words, code=None, env={'HEARTH_FAULT': fault})
        until(lambda: not set(helpers()) - before, f'{fault}: the minder ends')
        return done

    def runs_on(self, pid, fault):
        until(lambda: state(pid) in ('S', 'R', 'D'), f'{fault}: it runs')
        self.goes_on(by=5)
        self.check_course()
        for fd in os.listdir(f'/proc/{pid}/fd'):
            self.assertNotIn('userfaultfd', os.readlink(f'/proc/{pid}/fd/{fd}'), fault)

    def at_every_step(self, *words):
        pid = self.start()
        self.goes_on(by=5)
        for step in STEPS:
            done = self.checkpoint_with(step, *words)
            self.assertEqual(done.returncode, -signal.SIGKILL, (step, done))
            self.runs_on(pid, step)
            self.assertEqual(self.images(), [], step)
            self.assertEqual(sorted(os.listdir(os.path.join(self.run_dir, 'programs'))), ['.lock', 't'], step)
            done = self.checkpoint_with(f'fail:{step}', *words)
            self.assertEqual(done.returncode, 1, (step, done))
            self.assertIn(f'injected failure at {step}', done.stderr)
            self.runs_on(pid, step)
            self.assertEqual(self.images(), [], step)
        return pid

    def then_restores(self, image):
        self.kill()
        self.restore(image)
        self.goes_on(by=10)
        self.check_course()

    def test_leave_running(self):
        self.at_every_step()
        self.then_restores(self.checkpoint()['image'])

    def test_stop(self):
        pid = self.at_every_step('--stop')
        # the image is safe, the program not ended yet: both are there
        self.assertEqual(self.checkpoint_with('ckpt-committed', '--stop').returncode, -signal.SIGKILL)
        self.runs_on(pid, 'ckpt-committed')
        self.assertEqual(self.json('ps', 't')['programs'][0]['state'], 'running')
        self.then_restores(self.images()[0])

    def test_criu_killed_while_it_holds_the_tree(self):
        pid = self.start()
        self.goes_on(by=5)
        for words in ((), ('--stop',)):
            done = self.checkpoint_with('fail:ckpt-criu-killed', *words)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn('killed by signal 9', done.stderr)
            self.runs_on(pid, words)
            self.assertEqual(self.images(), [])

    def test_criu_fails(self):
        """Its own named faults: it ends itself right after its code is in the process; reading pages fails."""
        pid = self.start()
        self.goes_on(by=5)
        for fault in ('1', '131'):
            done = self.hearth('checkpoint', 't', '--to', self.store, code=None, env={'CRIU_FAULT': fault})
            if done.returncode:
                self.assertIn('criu', done.stderr)
            self.runs_on(pid, fault)
        self.then_restores(self.checkpoint()['image'])

    def test_kernel_that_does_not_track(self):
        self.start()
        self.goes_on(by=5)
        for words in ((), ('--stop',)):
            made = self.checkpoint('t', *words, env={'HEARTH_FAULT': 'fail:track-unsupported'})
            self.assertIn('stood still', ' '.join(made['notes']))
            self.assertEqual(made['rounds'], 0)
        done = self.hearth('wake', 't')
        self.assertIn('runs again', done.stderr)
        self.goes_on(by=5)
        self.assertIn('Linux 6.7', self.hearth('checkpoint', 't', '--to', self.store, '--pre-dump', code=1, env={'HEARTH_FAULT': 'fail:track-unsupported'}).stderr)
        self.goes_on(by=5)
        self.check_course()

    def test_restore_fails_at_the_end(self):
        self.start()
        self.goes_on(by=5)
        image = self.checkpoint()['image']
        self.kill()
        done = self.hearth('restore', image, '--store', self.store, '-d', code=1, env={'HEARTH_FAULT': 'fail:restore-made'})
        self.assertIn('injected', done.stderr)
        self.then_restores(image)

    def test_restore_killed(self):
        """What it left in memory goes with the next one."""
        self.start()
        self.goes_on(by=5)
        image = self.checkpoint()['image']
        self.kill()
        before = set(glob.glob('/dev/shm/hearth-dump-*'))
        self.hearth('restore', image, '--store', self.store, '-d', code=1, env={'HEARTH_FAULT': 'restore-extracted'})
        left = set(glob.glob('/dev/shm/hearth-dump-*')) - before
        self.assertEqual(len(left), 1)
        self.then_restores(image)
        self.assertFalse(left & set(glob.glob('/dev/shm/hearth-dump-*')))


class Full(Programs):
    def test_no_space(self):
        """A store on a file system that is too small."""
        small = os.path.join(self.dir, 'small')
        os.mkdir(small)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=12m', 'none', small], check=False).returncode:
            self.skipTest('nothing can be mounted here')
        self.addCleanup(subprocess.run, ['umount', '-l', small], check=False)
        pid = self.start(mib=32)
        self.goes_on(by=5)
        for words in ((), ('--stop',)):
            done = self.hearth('checkpoint', 't', '--to', os.path.join(small, 'store'), *words, code=1)
            self.assertEqual(done.stderr.count('\n'), 1, done)
            self.assertRegex(done.stderr, 'space|full|room')
            until(lambda: state(pid) in ('S', 'R', 'D'), 'it runs')
            self.goes_on(by=5)
        self.check_course(mib=32)


class Drive(Programs):
    """What libhearth-ds meets below the store: a drive that fails, and what it must do without."""

    def test_cannot_be_written(self):
        pid = self.start()
        self.goes_on(by=5)
        for words in ((), ('--stop',)):
            done = self.hearth('checkpoint', 't', '--to', self.store, *words, code=1, env={'HEARTH_FAULT': 'fail:ds.eio'})
            self.assertEqual(done.stderr.count('\n'), 1, done)
            self.assertIn(f'cannot write to {self.store}: Input/output error', done.stderr)
            until(lambda: state(pid) in ('S', 'R', 'D'), 'it runs')
            self.goes_on(by=5)
            self.assertEqual(self.images(), [])
            self.assertEqual(os.listdir(os.path.join(self.store, 'packs')), [])
        image = self.checkpoint()['image']
        self.kill()
        self.restore(image)
        self.goes_on(by=5)
        self.check_course()

    def test_cannot_be_read(self):
        pid = self.start(mib=48)                # lazily, and all at once
        self.goes_on(by=5)
        image = self.checkpoint()['image']
        self.kill()
        for words in ((), ('--eager',), ('--verify',)):
            done = self.hearth('restore', image, '--store', self.store, *words, code=1, env={'HEARTH_FAULT': 'fail:ds.eio'})
            self.assertEqual(done.stderr.count('\n'), 1, done)
            self.assertIn(f'image {image}', done.stderr)
            self.assertIn('Input/output error', done.stderr)
            until(lambda: state(pid) is None, 'it is ended')
        self.restore(image)
        self.goes_on(by=5)
        self.check_course(mib=48)

    def test_other_paths(self):
        """No O_DIRECT, no io_uring, reads and writes that end early: all goes another way."""
        self.start()
        self.goes_on(by=5)
        for fault in ('ds.direct', 'ds.uring', 'ds.short'):
            env = {'HEARTH_FAULT': f'fail:{fault}'}
            image = self.checkpoint('t', env=env)['image']
            self.kill()
            self.restore(image, '--verify', env=env)
            self.goes_on(by=5)
        self.check_course()


class Damaged(Programs):
    def flip(self, path, at):
        with open(path, 'r+b') as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << at % 8]))

    def files(self, store):
        return sorted(os.path.join(d, f) for d, _, names in os.walk(store) for f in names if f != 'lock' and os.path.getsize(os.path.join(d, f)))

    def test_a_flipped_bit(self):
        """In any file of the image: either one clear error and no process, or it hit what nobody uses, and the course is right."""
        rng = random.Random(7)
        pid = self.start(mib=4)
        self.goes_on(by=5)
        image = self.checkpoint()['image']
        self.kill()
        good, refused = self.store, 0
        self.store = os.path.join(self.dir, 'damaged')
        for file in self.files(good):
            for _ in range(3):
                shutil.rmtree(self.store, True)
                shutil.copytree(good, self.store)
                at = rng.randrange(os.path.getsize(file))
                self.flip(os.path.join(self.store, os.path.relpath(file, good)), at)
                done = self.hearth('restore', image, '--store', self.store, '-d', code=None)
                if done.returncode:
                    refused += 1
                    self.assertEqual(done.stderr.count('\n'), 1, (file, at, done))
                    self.assertIsNone(state(pid), (file, at, done))
                else:
                    self.goes_on(by=3)
                    self.check_course(mib=4)
                    self.kill()
        self.assertGreater(refused, 5)

    def test_damaged_memory_that_comes_in_later(self):
        pid = self.start(mib=48)
        self.goes_on(by=5)
        image = self.checkpoint()['image']
        self.kill()
        packs = [f for f in self.files(self.store) if f.endswith('.pack')]
        biggest = max(packs, key=os.path.getsize)
        for at in range(20 << 20, os.path.getsize(biggest), 65536):
            self.flip(biggest, at)
        done = self.hearth('restore', image, '--store', self.store, code=1)
        self.assertRegex(done.stderr, 'damaged|digest')
        until(lambda: state(pid) is None, 'it is ended')
        done = self.hearth('restore', image, '--store', self.store, '--verify', '-d', code=1)
        self.assertRegex(done.stderr, 'damaged|digest')
        self.assertIsNone(state(pid))


if __name__ == '__main__':
    unittest.main(verbosity=2)
