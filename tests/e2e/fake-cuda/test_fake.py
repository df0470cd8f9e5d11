#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The fake driver with real CRIU: a program is checkpointed as cuda-checkpoint does it, dumped, killed, brought back, and goes on as if nothing had been."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ['HEARTH_BUILD']
CRIU = os.environ.get('HEARTH_CRIU', os.path.join(BUILD, 'deps', 'criu'))
COUNTER = os.path.join(BUILD, 'tests', 'programs', 'gpu_counter')
CKPT = os.path.join(BUILD, 'tests', 'programs', 'cuda_ckpt')
CHECKPOINTED, ILLEGAL_STATE = 2, 401


class Fake(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='fake-cuda-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.env = dict(os.environ, HEARTH_FAKE_CUDA_DIR=self.dir, HEARTH_FAKE_CUDA='devices=2,memory=1G')

    def reference(self, steps, *words):
        out = subprocess.run([COUNTER, '--steps', str(steps), '--pace', '0', *words], env=self.env, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
        return out.stdout.splitlines()

    def start(self, *words):
        """A running program whose first step is out. Its output is a pipe: CRIU brings back an end of a pipe whose other end we have."""
        p = subprocess.Popen([COUNTER, *words], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.lines = [p.stdout.readline().decode().rstrip('\n')]
        return p

    def ckpt(self, word, pid):
        out = subprocess.run([CKPT, word, str(pid)], env=self.env, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
        return int(out.stdout)

    def rest(self, pipe):
        while not self.lines[-1].startswith('end'):
            line = pipe.readline().decode()
            self.assertTrue(line, 'the program ended early')
            self.lines.append(line.rstrip('\n'))
        return self.lines

    def goes_on(self, *words):
        p = self.start('--steps', '60', *words)
        self.assertEqual([self.ckpt(w, p.pid) for w in ('lock', 'checkpoint', 'state')], [0, 0, CHECKPOINTED])
        self.assertEqual(self.ckpt('lock', p.pid), ILLEGAL_STATE)
        self.assertEqual([self.ckpt(w, p.pid) for w in ('restore', 'unlock')], [0, 0])
        self.assertEqual(self.rest(p.stdout), self.reference(60, *words))

    def test_left_running(self):
        for words in ((), ('--graph',), ('--churn', '--pinned'), ('--threads', '3', '--devices', '2')):
            with self.subTest(words=words):
                self.goes_on(*words)

    def test_criu(self):
        if os.geteuid() != 0 or not os.access(CRIU, os.X_OK):
            self.skipTest('needs root and CRIU')
        for words in (('--graph',), ('--threads', '2', '--devices', '2')):
            with self.subTest(words=words):
                self.round_trip(*words)

    def round_trip(self, *words):
        image = tempfile.mkdtemp(dir=self.dir)
        p = self.start('--steps', '60', *words)
        name = os.readlink(f'/proc/{p.pid}/fd/1')
        self.assertEqual([self.ckpt(w, p.pid) for w in ('lock', 'checkpoint')], [0, 0])
        self.criu('dump', image, '-t', str(p.pid))
        p.wait(60)
        ours = os.open(f'/proc/self/fd/{p.stdout.fileno()}', os.O_WRONLY)
        self.criu('restore', image, '-d', '--inherit-fd', f'fd[{ours}]:{name}', pass_fds=(ours,))
        os.close(ours)
        try:
            self.assertEqual([self.ckpt(w, p.pid) for w in ('restore', 'unlock')], [0, 0])
            self.assertEqual(self.rest(p.stdout), self.reference(60, *words))
        finally:
            if os.path.exists(f'/proc/{p.pid}/fd/1') and os.readlink(f'/proc/{p.pid}/fd/1') == name:
                os.kill(p.pid, signal.SIGKILL)

    def criu(self, verb, image, *words, pass_fds=()):
        r = subprocess.run([CRIU, verb, '-D', image, '-o', 'log', '-v3', *words], pass_fds=pass_fds, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120)
        if r.returncode:
            with open(os.path.join(image, 'log'), encoding='utf-8', errors='replace') as f:
                self.fail(f'criu {verb}: {r.stdout}' + ''.join(f.readlines()[-20:]))


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
