# SPDX-License-Identifier: Apache-2.0
"""Files into device memory by the shortest path there is: libhearth-ds from Python.

    tensors = hearth_ds.load_safetensors('model.safetensors', 'cuda:0')     # {name: torch tensor}, without a copy

A device is 'host' (or 'cpu'), 'cuda' or 'cuda:N', or a torch device. Torch and numpy are imported only by what returns their tensors. Memory of loaded tensors is one block for each
file (and device): it is given back when the last tensor of that load is gone. $HEARTH_DS_LIBRARY names the library where it is not installed.

Errors are hearth_ds.Error, an OSError whose text says what, on what, why, and what to do. Nothing of one process may be used in a fork of it; the functions themselves may.
"""
import ctypes
import os
import threading
import weakref

__all__ = ['Error', 'File', 'KVStore', 'Memory', 'load_safetensors', 'list_safetensors', 'save_safetensors', 'probe']

PATHS = ('auto', 'map', 'cufile', 'stage', 'host')
DTYPES = ('BOOL', 'U8', 'I8', 'U16', 'I16', 'U32', 'I32', 'U64', 'I64', 'F16', 'BF16', 'F32', 'F64', 'C64', 'F8_E4M3', 'F8_E5M2', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ', 'F6_E2M3',
          'F6_E3M2', 'F4')
TORCH = {'BOOL': 'bool', 'U8': 'uint8', 'I8': 'int8', 'U16': 'uint16', 'I16': 'int16', 'U32': 'uint32', 'I32': 'int32', 'U64': 'uint64', 'I64': 'int64', 'F16': 'float16', 'BF16': 'bfloat16',
         'F32': 'float32', 'F64': 'float64', 'C64': 'complex64', 'F8_E4M3': 'float8_e4m3fn', 'F8_E5M2': 'float8_e5m2', 'F8_E8M0': 'float8_e8m0fnu', 'F8_E4M3FNUZ': 'float8_e4m3fnuz',
         'F8_E5M2FNUZ': 'float8_e5m2fnuz', 'F4': 'float4_e2m1fn_x2'}
# numpy has no small floats: their bits come as unsigned numbers
NUMPY = {'BOOL': 'bool', 'U8': 'u1', 'I8': 'i1', 'U16': 'u2', 'I16': 'i2', 'U32': 'u4', 'I32': 'i4', 'U64': 'u8', 'I64': 'i8', 'F16': 'f2', 'BF16': 'u2', 'F32': 'f4', 'F64': 'f8', 'C64': 'c8',
         'F8_E4M3': 'u1', 'F8_E5M2': 'u1', 'F8_E8M0': 'u1', 'F8_E4M3FNUZ': 'u1', 'F8_E5M2FNUZ': 'u1'}
# what torch and numpy call the types that hearth_ds can save
NAMES = {**{name: key for key, name in TORCH.items() if key != 'F4'}}
READ, WRITE = 0, 1


class Error(OSError):
    """What failed, on what, why, what to do."""


# ---- the library ----

class _Buffer(ctypes.Structure):
    _fields_ = [('device', ctypes.c_void_p), ('memory', ctypes.c_void_p), ('at', ctypes.c_uint64), ('bytes', ctypes.c_size_t), ('base', ctypes.c_uint64)]


class _Tensor(ctypes.Structure):
    _fields_ = [('name', ctypes.c_char_p), ('dtype', ctypes.c_int), ('dims', ctypes.c_uint32), ('shape', ctypes.POINTER(ctypes.c_uint64)), ('file', ctypes.c_uint32), ('zero', ctypes.c_uint32),
                ('offset', ctypes.c_uint64), ('bytes', ctypes.c_uint64)]


class _Placed(ctypes.Structure):
    _fields_ = [('tensor', ctypes.POINTER(_Tensor)), ('device', ctypes.c_void_p), ('memory', ctypes.c_void_p), ('offset', ctypes.c_uint64), ('at', ctypes.c_uint64)]


class _LoadOptions(ctypes.Structure):
    _fields_ = [('device', ctypes.c_void_p), ('filters', ctypes.POINTER(ctypes.c_char_p)), ('filters_n', ctypes.c_size_t), ('place', ctypes.c_void_p), ('ready', ctypes.c_void_p),
                ('progress', ctypes.c_void_p), ('ctx', ctypes.c_void_p), ('align', ctypes.c_uint32), ('depth', ctypes.c_uint32), ('piece_bytes', ctypes.c_uint64), ('zero', ctypes.c_uint64 * 4)]


class _Save(ctypes.Structure):
    _fields_ = [('name', ctypes.c_char_p), ('dtype', ctypes.c_int), ('dims', ctypes.c_uint32), ('shape', ctypes.POINTER(ctypes.c_uint64)), ('memory', ctypes.c_void_p), ('offset', ctypes.c_uint64)]


class _Report(ctypes.Structure):
    _fields_ = [('path', ctypes.c_int), ('offset_align', ctypes.c_uint32), ('memory_align', ctypes.c_uint32), ('bytes_align', ctypes.c_uint32), ('carried', ctypes.c_uint64 * len(PATHS)),
                ('why', (ctypes.c_char * 240) * len(PATHS))]


class _KVOptions(ctypes.Structure):
    _fields_ = [('block_bytes', ctypes.c_uint64), ('blocks_max', ctypes.c_uint64), ('layers', ctypes.c_uint32), ('checked', ctypes.c_uint32), ('zero', ctypes.c_uint64 * 4)]


class _KVBlock(ctypes.Structure):
    _fields_ = [('id', ctypes.c_uint64), ('layer', ctypes.c_uint32), ('zero', ctypes.c_uint32), ('memory', ctypes.c_void_p), ('memory_offset', ctypes.c_uint64), ('result', ctypes.c_int64)]


class _KVKey(ctypes.Structure):
    _fields_ = [('id', ctypes.c_uint64), ('layer', ctypes.c_uint32), ('zero', ctypes.c_uint32)]


_P, _S, _U64, _SIZE, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int
_OUT = ctypes.POINTER(_P)
# name: (result, arguments)
_CALLS = {
    'error': (_S, []), 'open': (_INT, [_P, _OUT]), 'device': (_INT, [_P, _S, _OUT]), 'register': (_INT, [_P, _U64, _SIZE, _OUT]), 'release': (_P, [_P]),
    'file': (_INT, [_P, _INT, _S, _INT, _OUT]), 'file_bytes': (ctypes.c_int64, [_P]), 'file_close': (_P, [_P]),
    'read': (ctypes.c_ssize_t, [_P, _P, _SIZE, _U64, _SIZE]), 'write': (ctypes.c_ssize_t, [_P, _P, _SIZE, _U64, _SIZE]), 'probe': (_INT, [_P, _P, ctypes.POINTER(_Report)]),
    'alloc': (_INT, [_P, _SIZE, ctypes.POINTER(_Buffer)]), 'free': (None, [ctypes.POINTER(_Buffer)]),
    'tensors_open': (_INT, [_P, _S, _OUT]), 'tensors_close': (_P, [_P]), 'tensors_count': (_SIZE, [_P]), 'tensors_at': (ctypes.POINTER(_Tensor), [_P, _SIZE]),
    'tensors_meta': (_S, [_P, _SIZE, ctypes.POINTER(_S)]), 'load': (_INT, [_P, ctypes.POINTER(_LoadOptions), _OUT]), 'loaded_count': (_SIZE, [_P]),
    'loaded_at': (ctypes.POINTER(_Placed), [_P, _SIZE]), 'loaded_unref': (_P, [_P]), 'loaded_dlpack': (_P, [_P, _SIZE]), 'capsule_done': (None, [_P]),
    'save': (_INT, [_P, _S, ctypes.POINTER(_Save), _SIZE, ctypes.POINTER(_S), _SIZE]),
    'kv_create': (_INT, [_P, _S, ctypes.POINTER(_KVOptions), _OUT]), 'kv_open': (_INT, [_P, _S, _INT, _OUT]), 'kv_close': (_P, [_P]),
    'kv_put': (_INT, [_P, ctypes.POINTER(_KVBlock), _SIZE]), 'kv_get': (ctypes.c_int64, [_P, ctypes.POINTER(_KVBlock), _SIZE]), 'kv_drop': (ctypes.c_int64, [_P, _U64]),
    'kv_commit': (_INT, [_P]), 'kv_list': (ctypes.c_int64, [_P, ctypes.POINTER(_KVKey), _SIZE]), 'kv_check': (ctypes.c_int64, [_P, _P, _P]),
}


class _Library:
    """The functions, without their prefix."""

    def __init__(self):
        name = os.environ.get('HEARTH_DS_LIBRARY') or 'libhearth-ds.so.0'
        try:
            self.lib = ctypes.CDLL(name)
        except OSError as error:
            raise ImportError(f'cannot load {name}: {error}; install Hearth, or set HEARTH_DS_LIBRARY') from None
        for call, (result, arguments) in _CALLS.items():
            function = getattr(self.lib, 'hearth_ds_' + call)
            function.restype, function.argtypes = result, arguments
            setattr(self, call, function)
        # of capsules: a C function, which works on any thread and at any time in the life of the interpreter; the name of a capsule must outlive it, so it is never freed
        self.capsule_name = b'dltensor'
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.capsule_name))
        self.capsule_new = ctypes.pythonapi.PyCapsule_New
        self.capsule_new.restype, self.capsule_new.argtypes = ctypes.py_object, [_P, _S, _P]
        self.destructor = ctypes.cast(self.capsule_done, _P)

    def check(self, result):
        if result is not None and result < 0:
            raise Error(-result, self.error().decode(errors='replace') or os.strerror(-result))
        return result

    def make(self, function, *arguments):
        """What a function gives out by its last argument."""
        out = _P()
        self.check(function(*arguments, ctypes.byref(out)))
        return out


_lock = threading.Lock()
_state = {'library': None, 'context': None, 'pid': 0}


def _lib():
    with _lock:
        if not _state['library']:
            _state['library'] = _Library()
        return _state['library']


def _context():
    """One for the process, for as long as it runs: tensors may be the last to go."""
    lib = _lib()
    with _lock:
        if _state['pid'] != os.getpid():
            _state['context'], _state['pid'] = lib.make(lib.open, None), os.getpid()
        return _state['context']


def _uri(device):
    text = str(device)
    return {'cpu': 'host', 'cuda': 'cuda:0'}.get(text, text)


def _device(device):
    lib = _lib()
    return lib.make(lib.device, _context(), _uri(device).encode())


def _when_gone(owner, close, handle):
    """Close what the owner has when nobody has the owner any more; not at exit, when others may still use it, and not in a fork, where it is not ours."""
    def end(pid):
        if pid == os.getpid():
            close(handle)
    finalizer = weakref.finalize(owner, end, os.getpid())
    finalizer.atexit = False
    return finalizer


# ---- memory ----

class Memory:
    """Memory of a device that the library knows. Memory(n, device) allocates n bytes; Memory.of(x) is that of a torch tensor, a numpy array, or anything else that is a writable buffer."""

    def __init__(self, nbytes, device='host'):
        lib = _lib()
        self.device, self.owner, buffer = _uri(device), None, _Buffer()
        lib.check(lib.alloc(_device(device), nbytes, ctypes.byref(buffer)))
        self.handle, self.address, self.nbytes = _P(buffer.memory), buffer.at, nbytes
        self._end = _when_gone(self, lib.free, ctypes.byref(buffer))

    @classmethod
    def of(cls, owner):
        if isinstance(owner, Memory):
            return owner
        lib, self = _lib(), cls.__new__(cls)
        if hasattr(owner, 'data_ptr'):
            if not owner.is_contiguous():
                raise ValueError('the tensor is not contiguous')
            self.device, self.address, self.nbytes = _uri(owner.device), owner.data_ptr(), owner.numel() * owner.element_size()
        else:
            view = memoryview(owner)
            if view.readonly or not view.c_contiguous:
                raise ValueError('the buffer is not writable, or not contiguous')
            # for as long as this lives, the buffer stays where it is
            owner = (ctypes.c_char * view.nbytes).from_buffer(view.cast('B')) if view.nbytes else owner
            self.device, self.address, self.nbytes = 'host', ctypes.addressof(owner) if view.nbytes else 0, view.nbytes
        self.owner = owner
        self.handle = lib.make(lib.register, _device(self.device), self.address, self.nbytes) if self.nbytes else None
        self._end = _when_gone(self, lib.release, self.handle)
        return self

    def release(self):
        """Gives it back now. Nothing of it may be used any more."""
        self._end()
        self.owner = self.handle = None

    def buffer(self):
        """A memoryview of it, on the host. It must not be used after release()."""
        if self.device != 'host':
            raise ValueError(f'{self.device}: only memory of the host can be looked at')
        array = (ctypes.c_char * self.nbytes).from_address(self.address)
        array.memory = self
        return memoryview(array).cast('B')


# ---- files ----

class File:
    """A file that is read into memory of any device, and written from it, at any offset."""

    def __init__(self, path, mode='r'):
        flags = {'r': os.O_RDONLY, 'r+': os.O_RDWR, 'w': os.O_RDWR | os.O_CREAT | os.O_TRUNC}
        if mode not in flags:
            raise ValueError("mode is 'r', 'r+' or 'w'")
        lib = _lib()
        self.path = os.fspath(path)
        self.handle = lib.make(lib.file, _context(), -100, os.fsencode(path), flags[mode] | os.O_CLOEXEC)        # AT_FDCWD
        self._end = _when_gone(self, lib.file_close, self.handle)

    def _move(self, function, memory, offset, nbytes, at):
        if not self.handle:
            raise ValueError('the file is closed')
        memory = Memory.of(memory)
        nbytes = memory.nbytes - at if nbytes is None else nbytes
        return _lib().check(function(self.handle, memory.handle, at, offset, nbytes)) if nbytes else 0

    def read(self, into, offset=0, nbytes=None, at=0):
        """Up to nbytes (default: all that fits) from offset of the file into memory, from at on. Return: bytes, fewer only where the file ends."""
        return self._move(_lib().read, into, offset, nbytes, at)

    def write(self, source, offset=0, nbytes=None, at=0):
        """nbytes (default: all) of memory, from at on, to offset of the file. Return: bytes."""
        return self._move(_lib().write, source, offset, nbytes, at)

    def nbytes(self):
        return _lib().check(_lib().file_bytes(self.handle))

    def probe(self, memory):
        """Which path the next operation takes, and why not the others."""
        report, memory = _Report(), Memory.of(memory)
        _lib().check(_lib().probe(self.handle, memory.handle, ctypes.byref(report)))
        return {'path': PATHS[report.path], 'why': {name: report.why[k].value.decode() for k, name in enumerate(PATHS) if k}, 'offset_align': report.offset_align,
                'memory_align': report.memory_align, 'bytes_align': report.bytes_align, 'carried': {name: report.carried[k] for k, name in enumerate(PATHS) if k}}

    def close(self):
        self._end()
        self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()


def probe(path, device='cuda:0'):
    """Which path there is between a file and a device, and why not the others."""
    memory = Memory(2 << 20, device)
    try:
        with File(path) as file:
            return file.probe(memory)
    finally:
        memory.release()


# ---- safetensors ----

class _Handle:
    """Something of the library that is closed when the last one lets go of it."""

    def __init__(self, handle, close):
        self.handle = handle
        self._end = _when_gone(self, close, handle)


class Exported:
    """A tensor's bytes for any framework that takes DLPack: one dimension, unsigned 8 bit. Its type and shape are beside it."""

    def __init__(self, loaded, k, device):
        tensor = _lib().loaded_at(loaded.handle, k).contents.tensor.contents
        self.name, self.dtype, self.shape, self.nbytes, self.device = tensor.name.decode(), DTYPES[tensor.dtype], tuple(tensor.shape[:tensor.dims]), tensor.bytes, device
        self._loaded, self._k = loaded, k

    def capsule(self):
        lib = _lib()
        managed = lib.loaded_dlpack(self._loaded.handle, self._k)
        if not managed:
            raise Error(95, f'{self.device}: memory of this device cannot be handed over by DLPack')
        return lib.capsule_new(managed, lib.capsule_name, lib.destructor)

    def __dlpack__(self, stream=None, **more):
        return self.capsule()

    def __dlpack_device__(self):
        return (2, int(self.device.partition(':')[2])) if self.device.startswith('cuda:') else (1, 0)

    def torch(self):
        import torch
        dtype = getattr(torch, TORCH.get(self.dtype, ''), None)
        if dtype is None:
            raise TypeError(f'tensor {self.name}: this torch has no type for {self.dtype}')
        shape = self.shape
        if self.dtype == 'F4':          # two in a byte
            if not shape or shape[-1] % 2:
                raise TypeError(f'tensor {self.name}: torch has F4 in pairs, and its last dimension is odd')
            shape = (*shape[:-1], shape[-1] // 2)
        if self.nbytes == 0:
            return torch.empty(shape, dtype=dtype, device='cpu' if self.device == 'host' else self.device)
        return torch.utils.dlpack.from_dlpack(self.capsule()).view(dtype).reshape(shape)

    def numpy(self):
        import numpy
        if self.dtype not in NUMPY:
            raise TypeError(f'tensor {self.name}: numpy has no type for {self.dtype}')
        dtype = numpy.dtype(NUMPY[self.dtype])
        if self.nbytes == 0:
            return numpy.empty(self.shape, dtype)
        # not from_dlpack(), whose arrays older versions make read-only
        array = (ctypes.c_char * self.nbytes).from_address(_lib().loaded_at(self._loaded.handle, self._k).contents.at)
        array.loaded = self._loaded
        return numpy.frombuffer(array, dtype).reshape(self.shape)


def _open_tensors(path):
    lib = _lib()
    return _Handle(lib.make(lib.tensors_open, _context(), os.fsencode(path)), lib.tensors_close)


def list_safetensors(path):
    """Return: ({name: (dtype, shape)}, metadata) of a file, a set's index, or a folder; nothing but headers is read."""
    lib, tensors = _lib(), _open_tensors(path)
    found, meta, key, pair = {}, {}, _S(), 0
    for k in range(lib.tensors_count(tensors.handle)):
        tensor = lib.tensors_at(tensors.handle, k).contents
        found[tensor.name.decode()] = (DTYPES[tensor.dtype], tuple(tensor.shape[:tensor.dims]))
    while True:
        value = lib.tensors_meta(tensors.handle, pair, ctypes.byref(key))
        if value is None:
            return found, meta
        meta[key.value.decode()], pair = value.decode(), pair + 1


def load_safetensors(path, device='cuda:0', filters=None, framework='torch'):
    """Load a safetensors file, a set (its index, or a folder with it), or those tensors whose names match one of filters.

    framework: 'torch'; 'numpy' (device 'host'; types that numpy lacks come as unsigned numbers); 'dlpack': objects with __dlpack__ that hold the bytes. Return: {name: tensor}.
    """
    if framework not in ('torch', 'numpy', 'dlpack'):
        raise ValueError("framework is 'torch', 'numpy' or 'dlpack'")
    lib, uri = _lib(), _uri(device)
    if framework == 'numpy' and uri != 'host':
        raise ValueError("numpy's arrays are on the host: device must be 'host'")
    filters = [filters] if isinstance(filters, str) else list(filters or [])
    patterns = (_S * max(1, len(filters)))(*[f.encode() for f in filters])
    tensors = _open_tensors(path)
    options = _LoadOptions(device=_device(uri), filters=patterns, filters_n=len(filters))
    loaded = _Handle(lib.make(lib.load, tensors.handle, ctypes.byref(options)), lib.loaded_unref)
    result = {}
    for k in range(lib.loaded_count(loaded.handle)):
        exported = Exported(loaded, k, uri)
        result[exported.name] = exported if framework == 'dlpack' else getattr(exported, framework)()
    return result


def save_safetensors(path, tensors, metadata=None):
    """Write {name: torch tensor or numpy array} to a file, from where they are: complete and synced, or not at all."""
    lib, keep, save = _lib(), [], (_Save * max(1, len(tensors)))()
    for k, (name, tensor) in enumerate(tensors.items()):
        dtype = NAMES.get(str(tensor.dtype).replace('torch.', ''))
        if dtype is None:
            raise TypeError(f'tensor {name}: there is no type for {tensor.dtype} in safetensors')
        # numpy's may be read-only, which a registration does not mind, but its buffer does
        memory = Memory.of(tensor if hasattr(tensor, 'data_ptr') or tensor.flags.writeable else tensor.copy())
        shape = (ctypes.c_uint64 * max(1, len(tensor.shape)))(*tensor.shape)
        keep += [memory, shape]
        save[k] = _Save(name.encode(), DTYPES.index(dtype), len(tensor.shape), shape, memory.handle, 0)
    pairs = [text.encode() for pair in (metadata or {}).items() for text in pair]
    lib.check(lib.save(_context(), os.fsencode(path), save, len(tensors), (_S * max(1, len(pairs)))(*pairs), len(pairs) // 2))
    del keep


# ---- blocks of a KV cache ----

class KVStore:
    """A store of blocks, each under an id and a layer. mode: 'r', 'r+', or 'x' to make one (then with block_bytes and layers)."""

    def __init__(self, path, mode='r', block_bytes=0, layers=1, blocks_max=0, checked=False):
        lib = _lib()
        if mode == 'x':
            options = _KVOptions(block_bytes=block_bytes, blocks_max=blocks_max, layers=layers, checked=int(checked))
            self.handle = lib.make(lib.kv_create, _context(), os.fsencode(path), ctypes.byref(options))
        elif mode in ('r', 'r+'):
            self.handle = lib.make(lib.kv_open, _context(), os.fsencode(path), int(mode == 'r+'))
        else:
            raise ValueError("mode is 'r', 'r+' or 'x'")
        self._end = _when_gone(self, lib.kv_close, self.handle)

    def batch(self, blocks, memory):
        """@blocks: of each block (id, layer, offset in memory). What put() and get() take, to be used any number of times."""
        memory = Memory.of(memory)
        array = (_KVBlock * max(1, len(blocks)))()
        for k, (block, layer, offset) in enumerate(blocks):
            array[k].id, array[k].layer, array[k].memory, array[k].memory_offset = block, layer, memory.handle, offset
        array.memory, array.count = memory, len(blocks)
        return array

    def put(self, batch):
        _lib().check(_lib().kv_put(self.handle, batch, batch.count))

    def get(self, batch):
        """Return: the results of each: bytes, or -errno (-2: there is no such block)."""
        _lib().check(_lib().kv_get(self.handle, batch, batch.count))
        return [batch[k].result for k in range(batch.count)]

    def drop(self, block):
        return _lib().check(_lib().kv_drop(self.handle, block))

    def commit(self):
        _lib().check(_lib().kv_commit(self.handle))

    def keys(self):
        n = _lib().check(_lib().kv_list(self.handle, None, 0))
        array = (_KVKey * max(1, n))()
        n = min(n, _lib().check(_lib().kv_list(self.handle, array, n)))
        return [(array[k].id, array[k].layer) for k in range(n)]

    def check(self):
        """Return: how many blocks differ from their digests."""
        return _lib().check(_lib().kv_check(self.handle, None, None))

    def close(self):
        self._end()
        self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()
