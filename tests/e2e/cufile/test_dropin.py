#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Programs that know nothing of Hearth get libcufile.so.0 of ours through LD_LIBRARY_PATH, and work: linked with the vendor's library (with and without versions of names), and by dlopen."""
import os
import re
import subprocess
import tempfile
import unittest

OURS, DRIVER, SAMPLE, SAMPLE_VERSIONED, POOL, VENDOR, VENDOR_VERSIONED, CALLS, HEARTH = (os.environ['HEARTH_CUFILE_' + name] for name in
    ('OURS', 'DRIVER', 'SAMPLE', 'SAMPLE_VERSIONED', 'POOL', 'VENDOR', 'VENDOR_VERSIONED', 'CALLS', 'HEARTH'))


class Dropin(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.file = os.path.join(self.folder, 'file')
        os.mkdir(os.path.join(self.folder, 'machine'))

    def vendor(self, library):
        """a folder in which the vendor's library has its name"""
        path = os.path.join(self.folder, 'vendor')
        os.mkdir(path)
        os.symlink(library, os.path.join(path, 'libcufile.so.0'))
        return path

    def run_with(self, library, *command, fake='devices=1,memory=64M', **more):
        env = dict(os.environ, **more, LD_LIBRARY_PATH=f'{library}:{DRIVER}', HEARTH_FAKE_CUDA=fake, HEARTH_FAKE_CUDA_DIR=os.path.join(self.folder, 'machine'))
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)

    def pattern(self):
        with open(self.file, 'wb') as file:
            file.write(bytes((k * 2654435761 & 0xffffffff) >> 11 & 255 for k in range(9 * (1 << 20) + 12345)))

    def test_linked(self):
        """the same program, without and with ours in the path"""
        vendor = self.vendor(VENDOR)
        without = self.run_with(vendor, SAMPLE, self.file)
        self.assertEqual((without.returncode, without.stderr.split(' (')[0]), (1, 'cuFileDriverOpen: 5007'))
        with_ours = self.run_with(OURS, SAMPLE, self.file)
        self.assertEqual((with_ours.returncode, with_ours.stderr), (0, ''))

    def test_linked_with_versions(self):
        """the loader says that ours has no versions, and goes on"""
        self.assertEqual(self.run_with(self.vendor(VENDOR_VERSIONED), SAMPLE_VERSIONED, self.file).returncode, 1)
        with_ours = self.run_with(OURS, SAMPLE_VERSIONED, self.file)
        self.assertEqual(with_ours.returncode, 0, with_ours.stderr)
        self.assertIn('no version information available', with_ours.stderr)

    def test_pool(self):
        self.pattern()
        result = self.run_with(OURS, POOL, self.file)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, 'ok\n', ''))

    def test_copies_are_made(self):
        """device memory of the fake driver can be read by the processor: were it taken for the host's, nobody would notice"""
        result = self.run_with(OURS, SAMPLE, self.file, fake='devices=1,memory=64M,fail=cuMemcpyDtoHAsync:0:700')
        self.assertEqual(result.returncode, 1)
        self.assertIn('cuFileWrite: -1 (errno 5)', result.stderr)

    def test_idle(self):
        """loaded and opened it costs no thread, no descriptor, and no driver"""
        result = self.run_with(OURS, POOL, 'idle')
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, 'threads 1 descriptors 0 driver 0\n', ''))

    def test_not_the_vendor(self):
        """libhearth-ds, which looks for the vendor's library, knows ours when it finds that"""
        self.pattern()
        result = self.run_with(OURS, HEARTH, 'ds', 'probe', self.file, 'cuda:0', HEARTH_LIBCUFILE='libcufile.so.0')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"(?m)^  cufile +libcufile.so.0 is Hearth's own$")

    def test_exports(self):
        """the interface, the marker, and nothing else; the name that programs look for"""
        with open(CALLS, encoding='utf-8') as file:
            calls = set(re.findall(r'\b(cuFile\w+),', file.read()))
        library = os.path.join(OURS, 'libcufile.so.0')
        names = subprocess.run(['nm', '-D', '--defined-only', '--format=posix', library], capture_output=True, text=True, check=True).stdout
        self.assertEqual({line.split()[0] for line in names.splitlines()}, calls | {'hearth_cufile_marker'})
        dynamic = subprocess.run(['readelf', '-d', '-W', library], capture_output=True, text=True, check=True).stdout
        self.assertIn('[libcufile.so.0]', dynamic)
        self.assertNotRegex(dynamic, r'NEEDED.*(cuda|hearth)')


if __name__ == '__main__':
    unittest.main(verbosity=2)
