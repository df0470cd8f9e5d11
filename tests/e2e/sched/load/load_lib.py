# SPDX-License-Identifier: Apache-2.0
"""`hearth load` as its users start it."""
import json
import os
import subprocess
import tempfile
import unittest

HEARTH = os.path.join(os.environ['HEARTH_BIN'], 'hearth')
WAIT_S = 120    # for what must happen; never waited out


class LoadTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return path

    def run_load(self, *args):
        return subprocess.run([HEARTH, 'load', *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=WAIT_S, check=False)

    def load(self, *args, status=0):
        """The JSON of a run."""
        done = self.run_load(*args, '--json')
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        result = json.loads(done.stdout)
        if 'total' in result:
            for series in [result['total'], *result['types'].values()]:
                self.assertEqual(series['due'], series['unsent'] + series['answered'] + series['lost'], series)
                self.assertEqual(series['answered'], sum(series['status'].values()), series)
        return result

    def refused(self, status, words, *args):
        done = self.run_load(*args)
        self.assertEqual((done.returncode, done.stdout), (status, ''), done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def search(self, *args, target, max_loss=0.001):
        """The JSON of a search. Whether a busy machine let the generator keep up is not for a test to say: only that the result is what the trials were."""
        got = self.load(*args, '--find-max-load', target, '--max-loss', max_loss)
        for t in got['trials']:
            self.assertEqual(t['good'], t['value'] <= target and t['loss'] <= max_loss and not t['generator_limit'], t)
        self.assertEqual(got['max_rate_rps'], max((t['rate_rps'] for t in got['trials'] if t['good']), default=0))
        self.assertEqual(bool(got.get('best')), got['max_rate_rps'] > 0)
        return got
