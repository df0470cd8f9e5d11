#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""python/hearth_ds.py: what it loads is what was written, nobody copies it, and its memory is given back by whoever has it last, whatever happens before."""
import ctypes
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import loadlib

SOURCE = os.environ.get('HEARTH_SOURCE', os.path.join(os.path.dirname(os.path.abspath(__file__)), *['..'] * 4))
sys.path.insert(0, os.path.join(SOURCE, 'python'))
import hearth_ds  # noqa: E402

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None


def mapped(address):
    """Whether this process has memory at that address."""
    with open('/proc/self/maps', encoding='ascii') as file:
        return any(int(line.split('-')[0], 16) <= address < int(line.split('-')[1].split()[0], 16) for line in file)


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='hearth-ds-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.named = loadlib.tensors(1, large=3 << 20)
        self.path = loadlib.write(os.path.join(self.dir, 'file.safetensors'), self.named, {'format': 'pt', 'note': 'é'})

    def address(self, exported):
        return hearth_ds._lib().loaded_at(exported._loaded.handle, exported._k).contents.at


@unittest.skipUnless(numpy, 'numpy is not installed')
class Numpy(Case):
    def test_loads(self):
        loaded = hearth_ds.load_safetensors(self.path, 'cpu', framework='numpy')
        self.assertEqual(set(loaded), set(self.named))
        for name, (dtype, shape, data) in self.named.items():
            self.assertEqual(loaded[name].shape, tuple(shape), name)
            self.assertEqual(loaded[name].dtype, numpy.dtype(hearth_ds.NUMPY[dtype]), name)
            self.assertEqual(loaded[name].tobytes(), data, name)
            if data:
                self.assertEqual(loaded[name].ctypes.data % 256, 0)
                loaded[name].reshape(-1)[:1] = 0

    def test_set_and_filters(self):
        index = loadlib.write_set(self.dir, self.named)
        for path in (index, self.dir):
            loaded = hearth_ds.load_safetensors(path, 'host', ['layers.1*', 'scalar'], 'numpy')
            self.assertEqual(set(loaded), {name for name in self.named if name.startswith('layers.1') or name == 'scalar'})
            for name, array in loaded.items():
                self.assertEqual(array.tobytes(), self.named[name][2])

    def test_save(self):
        arrays = {'a': numpy.arange(24, dtype='f4').reshape(2, 3, 4), 'b': numpy.array(True), 'none': numpy.zeros((3, 0), 'i8'), 'c': numpy.arange(5, dtype='c8')}
        arrays['read only'] = numpy.frombuffer(b'\1\2\3\4', 'u2')
        path = os.path.join(self.dir, 'saved')
        hearth_ds.save_safetensors(path, arrays, {'key': 'value'})
        self.assertEqual(hearth_ds.list_safetensors(path)[1], {'key': 'value'})
        loaded = hearth_ds.load_safetensors(path, 'host', framework='numpy')
        for name, array in arrays.items():
            self.assertTrue(numpy.array_equal(array, loaded[name]) and array.dtype == loaded[name].dtype and array.shape == loaded[name].shape, name)
        with self.assertRaisesRegex(TypeError, 'no type for float128'):
            hearth_ds.save_safetensors(path, {'x': numpy.zeros(1, 'f16')})
        self.assertEqual(os.listdir(self.dir).count('saved'), 1)
        self.assertFalse([name for name in os.listdir(self.dir) if name.startswith('.tmp')])

    def test_last_one_frees(self):
        loaded = hearth_ds.load_safetensors(self.path, 'host', framework='numpy')
        large, scalar = loaded['large'], loaded['scalar']
        address = large.ctypes.data
        del loaded
        part = large[100:200][::2]
        del large
        gc.collect()
        self.assertTrue(mapped(address))
        self.assertEqual(part.tobytes(), b''.join(self.named['large'][2][k:k + 2] for k in range(200, 400, 4)))
        del scalar
        self.assertTrue(mapped(address))
        del part
        self.assertFalse(mapped(address))

    def test_from_dlpack(self):
        exported = hearth_ds.load_safetensors(self.path, 'host', 'large', 'dlpack')['large']
        address, again = self.address(exported), numpy.from_dlpack(exported)
        first = numpy.from_dlpack(exported)
        self.assertEqual(first.ctypes.data, address)
        self.assertEqual(first.tobytes(), self.named['large'][2])
        del exported, first
        self.assertEqual(again[-1], self.named['large'][2][-1])
        cycle = [again]
        cycle.append(cycle)
        del again, cycle
        gc.collect()
        self.assertFalse(mapped(address))


class Capsules(Case):
    """A capsule that nobody takes, or that is taken by someone who fails, gives its reference back once."""

    def export(self):
        exported = hearth_ds.load_safetensors(self.path, 'host', 'large', 'dlpack')['large']
        return exported, self.address(exported)

    def test_not_taken(self):
        exported, address = self.export()
        capsules = [exported.capsule() for _ in range(100)]
        del exported
        self.assertTrue(mapped(address))
        while capsules:
            self.assertTrue(mapped(address))
            capsules.pop(len(capsules) // 2)
        self.assertFalse(mapped(address))

    def test_exceptions(self):
        exported, address = self.export()

        def fails(capsule):
            raise RuntimeError('no')
        for _ in range(10):
            with self.assertRaises(RuntimeError):
                fails(exported.__dlpack__(stream=None, max_version=(1, 0)))
        self.assertTrue(mapped(address))
        del exported
        gc.collect()
        self.assertFalse(mapped(address))

    def test_other_threads(self):
        exported, address = self.export()
        holders = [[exported.capsule()] for _ in range(8)]
        del exported
        threads = [threading.Thread(target=holder.clear) for holder in holders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertFalse(mapped(address))

    def test_taken(self):
        """As a framework does it: rename, use, and call the deleter itself, on a thread that Python knows nothing of."""
        exported, address = self.export()
        capsule = exported.capsule()
        api = ctypes.pythonapi
        api.PyCapsule_GetPointer.restype, api.PyCapsule_GetPointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
        managed, used = api.PyCapsule_GetPointer(capsule, b'dltensor'), ctypes.c_char_p(b'used_dltensor')
        self.assertEqual(ctypes.c_void_p.from_address(managed).value, address)
        api.PyCapsule_SetName(capsule, used)
        del capsule, exported
        self.assertTrue(mapped(address))
        # struct DLTensor has 48 bytes; the context and the deleter follow
        deleter = ctypes.c_void_p.from_address(managed + 56).value
        libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
        self.assertEqual(libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(deleter), ctypes.c_void_p(managed)), 0)
        libc.pthread_join(thread, None)
        self.assertFalse(mapped(address))

    def run_script(self, script):
        done = subprocess.run([sys.executable, '-c', f'import sys; sys.path.insert(0, {os.path.join(SOURCE, "python")!r}); path = {self.path!r}\n' + script], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''), script)
        return done.stdout

    def test_exit(self):
        """The interpreter ends while tensors live: in globals, in cycles, in what is torn down last, in a thread."""
        begin = 'import hearth_ds\nx = hearth_ds.load_safetensors(path, "host", framework="dlpack")\nc = [v.capsule() for v in x.values() if v.nbytes]\n'
        self.run_script(begin)
        self.run_script(begin + 'x["self"] = [x]; c.append(c)\ndel x, c')
        self.run_script(begin + 'sys.kept = c; import builtins; builtins.kept = x')
        self.run_script(begin + 'sys.exit(0)')
        self.run_script(begin + 'import threading\nthreading.Thread(target=lambda: x["large"].capsule(), daemon=True).start()')
        self.run_script(begin + 'import atexit; atexit.register(c.clear)')
        self.run_script(begin + 'del hearth_ds; del sys.modules["hearth_ds"]')

    def test_fork(self):
        """A child that drops what the parent loaded takes nothing from the parent, and may load itself."""
        found = self.run_script('''import os, warnings, hearth_ds
warnings.simplefilter('ignore', DeprecationWarning)    # Python 3.12: of forks beside threads
x = hearth_ds.load_safetensors(path, "host", framework="dlpack")
pid = os.fork()
if pid == 0:
    del x
    y = hearth_ds.load_safetensors(path, "host", "scalar", "dlpack")
    os._exit(0 if len(y) == 1 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), bytes(hearth_ds._lib().loaded_at(x["large"]._loaded.handle, x["large"]._k).contents.tensor.contents.name).decode())
''')
        self.assertEqual(found, '0 large\n')


@unittest.skipUnless(torch, 'torch is not installed')
class Torch(Case):
    def test_loads(self):
        loaded = hearth_ds.load_safetensors(self.path, 'cpu', [name for name, (dtype, _, _) in self.named.items() if hasattr(torch, hearth_ds.TORCH[dtype])])
        self.assertGreater(len(loaded), 10)
        for name, tensor in loaded.items():
            dtype, shape, data = self.named[name]
            self.assertEqual(tensor.dtype, getattr(torch, hearth_ds.TORCH[dtype]))
            self.assertEqual(tensor.shape, torch.Size(shape))
            if data:
                self.assertEqual(bytes(tensor.reshape(-1).view(torch.uint8).numpy()), data, name)

    def test_last_one_frees(self):
        loaded = hearth_ds.load_safetensors(self.path, 'cpu', ['large', 'scalar'])
        address, part = loaded['large'].data_ptr(), loaded['large'][5:9]
        del loaded
        gc.collect()
        self.assertTrue(mapped(address))
        part.add_(1)
        del part
        gc.collect()
        self.assertFalse(mapped(address))

    def test_save(self):
        path = os.path.join(self.dir, 'saved')
        tensors = {'a': torch.arange(12).reshape(3, 4), 'b': torch.ones(3, dtype=torch.bfloat16), 's': torch.tensor(2.5)}
        hearth_ds.save_safetensors(path, tensors)
        loaded = hearth_ds.load_safetensors(path, 'cpu')
        self.assertTrue(all(torch.equal(tensor, loaded[name]) for name, tensor in tensors.items()))


class Devices(Case):
    def test_fake_cuda(self):
        """A device of the tests' fake driver: the tensor says where it is, the bytes are there, and its memory is the device's again when it is gone."""
        fake = os.path.join(os.environ.get('HEARTH_BUILD', 'build'), 'tests', 'fake-cuda', 'libcuda.so.1')
        machine = os.path.join(self.dir, 'machine')
        os.mkdir(machine)
        env = {**os.environ, 'HEARTH_LIBCUDA': fake, 'HEARTH_FAKE_CUDA': 'devices=2,memory=16M', 'HEARTH_FAKE_CUDA_DIR': machine}
        with open(os.path.join(self.dir, 'large'), 'wb') as file:
            file.write(self.named['large'][2])
        script = f'''import sys, os
sys.path.insert(0, {os.path.join(SOURCE, "python")!r})
import hearth_ds
for _ in range(10):      # more than the device has memory for
    x = hearth_ds.load_safetensors({self.path!r}, 'cuda:1', 'large', 'dlpack')['large']
    assert x.__dlpack_device__() == (2, 1)
    kept = x.capsule()
    placed = hearth_ds._lib().loaded_at(x._loaded.handle, x._k).contents
    with hearth_ds.File({os.path.join(self.dir, "out")!r}, 'w') as file:
        hearth_ds._lib().check(hearth_ds._lib().write(file.handle, placed.memory, placed.offset, 0, x.nbytes))
    del x, kept
try:
    hearth_ds.load_safetensors({self.path!r}, 'cuda:2')
except hearth_ds.Error as error:
    assert 'sees 2 devices' in str(error)
'''
        done = subprocess.run([sys.executable, '-c', script], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        with open(os.path.join(self.dir, 'out'), 'rb') as file:
            self.assertEqual(file.read(), self.named['large'][2])


class Files(Case):
    def test_read_and_write(self):
        path, data = os.path.join(self.dir, 'data'), bytes(range(256)) * 40
        with hearth_ds.File(path, 'w') as file:
            self.assertEqual(file.write(bytearray(data), 3), len(data))
            self.assertEqual(file.nbytes(), 3 + len(data))
            memory = hearth_ds.Memory(20000)
            self.assertEqual(file.read(memory, 3), len(data))
            self.assertEqual(bytes(memory.buffer()[:len(data)]), data)
            room = bytearray(10)
            self.assertEqual(file.read(room, 3 + 5, 4, 2), 4)
            self.assertEqual(room, bytes(2) + data[5:9] + bytes(4))
            self.assertEqual(file.read(room, 1 << 40), 0)
            with self.assertRaisesRegex(hearth_ds.Error, '.'):
                file.read(room, 0, 11)
            with self.assertRaises(ValueError):
                file.write(b'read only')
        with self.assertRaisesRegex(ValueError, 'closed'):
            file.read(room)

    def test_probe(self):
        found = hearth_ds.probe(self.path, 'cpu')
        self.assertEqual((found['path'], found['why']['host']), ('host', ''))
        self.assertTrue(all(found['why'][path] for path in ('map', 'cufile', 'stage')))

    def test_errors(self):
        for wrong, says in (('/nowhere/x', 'cannot read /nowhere/x'), (self.dir, 'neither model.safetensors.index.json')):
            with self.assertRaisesRegex(hearth_ds.Error, says) as caught:
                hearth_ds.load_safetensors(wrong, 'host')
            self.assertEqual(caught.exception.errno, 2)
        with self.assertRaisesRegex(hearth_ds.Error, 'no device'):
            hearth_ds.load_safetensors(self.path, 'tpu:0')
        with self.assertRaisesRegex(hearth_ds.Error, "matches 'nobody'"):
            hearth_ds.load_safetensors(self.path, 'host', 'nobody')
        with self.assertRaises(ValueError):
            hearth_ds.load_safetensors(self.path, 'cuda:0', framework='numpy')


class Blocks(Case):
    def test_store(self):
        path, memory = os.path.join(self.dir, 'kv'), hearth_ds.Memory(8 * 4096)
        with hearth_ds.KVStore(path, 'x', 4096, layers=2, checked=True) as store:
            memory.buffer()[:] = bytes(k // 4096 + 1 for k in range(8 * 4096))
            store.put(store.batch([(k // 2 + 10, k % 2, k * 4096) for k in range(8)], memory))
            store.commit()
            self.assertEqual(store.drop(11), 2)
        with hearth_ds.KVStore(path) as store:
            self.assertEqual(store.keys(), [(k // 2 + 10, k % 2) for k in range(8)])
            self.assertEqual(store.check(), 0)
            room = bytearray(3 * 4096)
            batch = store.batch([(13, 1, 0), (99, 0, 4096), (10, 0, 8192)], room)
            self.assertEqual(store.get(batch), [4096, -2, 4096])
            self.assertEqual(room, bytes([8]) * 4096 + bytes(4096) + bytes([1]) * 4096)
            with self.assertRaisesRegex(hearth_ds.Error, 'reading only'):
                store.put(batch)
        with self.assertRaises(hearth_ds.Error):
            hearth_ds.KVStore(path, 'x', 4096)


if __name__ == '__main__':
    unittest.main()
