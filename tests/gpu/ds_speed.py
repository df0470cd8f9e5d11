#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How fast files get into device memory, beside fio, cuFile's compatibility mode and the Python safetensors loader, each pair in turns in one run.

Prints one table, item | ours | peer | ratio | bar | pass, and writes it as CSV. Where fio is not installed the peer is this project's own O_DIRECT reader into memory of the process
(`hearth ds bench FILE host`). A folder on the drive to be measured is needed, with room for the file.
"""
import argparse
import csv
import ctypes
import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from statistics import median

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get('HEARTH_BUILD') or os.path.join(os.path.dirname(os.path.dirname(HERE)), 'build')
HEARTH = os.path.join(BUILD, 'bin', 'hearth')
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
NO_FS_TYPE = 5027
HIDDEN, INNER = 4096, 14336                     # of Llama-3-8B: what the file's tensors are like
LIBRARY = [path for path in (os.path.join(BUILD, 'lib', 'libhearth-ds.so.0'), os.path.join(BUILD, 'src', 'ds', 'libhearth-ds.so.0')) if os.path.exists(path)]


class Broken(Exception):
    """Something could not be measured: the message says what."""


# ---- the table ----

class Rows:
    """What was measured. A row without a bar is for information."""

    def __init__(self):
        self.rows = []

    def add(self, item, ours, unit='', peer=None, bar=None, most=False):
        """@bar: of the ratio ours / peer where there is a peer, else of ours; @most: it is an upper one."""
        value = ours / peer if peer else ours
        row = {'item': item, 'ours': ours, 'unit': unit, 'peer': peer, 'ratio': value if peer else None, 'bar': bar,
               'pass': None if bar is None else value <= bar if most else value >= bar}
        self.rows.append(row)
        print('  ' + '  '.join(text for text in self.line(row) if text), flush=True)

    def skip(self, item, why):
        self.rows.append({'item': item, 'ours': None, 'unit': f'skipped: {why}', 'peer': None, 'ratio': None, 'bar': None, 'pass': None})
        print(f'  {item}: skipped: {why}', flush=True)

    def fail(self, item, why):
        self.rows.append({'item': item, 'ours': None, 'unit': why, 'peer': None, 'ratio': None, 'bar': None, 'pass': False})
        print(f'  {item}: {why}', flush=True)

    @staticmethod
    def line(row):
        number = [('' if row[key] is None else f'{row[key]:.4g}') for key in ('ours', 'peer', 'ratio', 'bar')]
        return [row['item'], f"{number[0]} {row['unit']}".strip(), *number[1:], {True: 'pass', False: 'FAIL', None: ''}[row['pass']]]

    def text(self):
        lines = [['item', 'ours', 'peer', 'ratio', 'bar', 'pass']] + [self.line(row) for row in self.rows]
        width = [max(len(line[k]) for line in lines) for k in range(6)]
        return '\n'.join('  '.join(cell.ljust(width[k]) for k, cell in enumerate(line)).rstrip() for line in lines)

    def write(self, path):
        with open(path, 'w', newline='', encoding='utf-8') as file:
            rows = csv.writer(file, lineterminator='\n')
            rows.writerow(['item', 'ours', 'unit', 'peer', 'ratio', 'bar', 'pass'])
            rows.writerows([[f'{v:.6g}' if isinstance(v, float) else '' if v is None else v for v in row.values()] for row in self.rows])


# ---- who is measured ----

def ask(*words, patience=600):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=patience, check=False)
    if done.returncode:
        raise Broken(((done.stderr or done.stdout).strip().splitlines() or [f'{words[0]} ended with {done.returncode}'])[-1][:120])
    return done.stdout


def ours(file, device, seconds, *options):
    lines = ask(HEARTH, '--json', 'ds', 'bench', '--seconds', str(seconds), *options, file, device).splitlines()
    return json.loads(lines[-1])


def by_fio(file, seconds, block, depth, order):
    words = ['fio', '--name=peer', f'--filename={file}', f'--rw={order}', f'--bs={block}', f'--iodepth={depth}', '--direct=1', '--time_based', f'--runtime={seconds}', '--readonly', '--output-format=json']
    try:
        text = ask(*words, '--ioengine=io_uring')
    except Broken:
        text = ask(*words, '--ioengine=libaio')
    job = json.loads(text[text.index('{'):])['jobs'][0]
    cpu = (job['usr_cpu'] + job['sys_cpu']) / 100 * job['job_runtime'] / 1e3
    return {'gb_s': job['read']['bw_bytes'] / 1e9, 'iops': job['read']['iops'], 'cpu_s_gb': cpu / (job['read']['io_bytes'] / 1e9)}


def drive(file, seconds, block, depth, order):
    """What the drive gives with O_DIRECT into memory of the process."""
    if shutil.which('fio'):
        return by_fio(file, seconds, block, depth, order)
    return ours(file, 'host', seconds, '--cache', 'never', '--block', str(block), '--depth', str(depth), *(['--random'] if order == 'randread' else []))


# ---- cuFile, in a process of its own ----

class Status(ctypes.Structure):
    _fields_ = [('err', ctypes.c_int), ('cu', ctypes.c_int)]


class Descr(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('handle', ctypes.c_void_p), ('ops', ctypes.c_void_p)]


def must(what, code):
    if code:
        raise Broken(f'{what}: {code}')


class CuFile:
    def __init__(self, path, ordinal, block):
        self.cuda = ctypes.CDLL(os.environ.get('HEARTH_LIBCUDA') or 'libcuda.so.1')
        self.lib = ctypes.CDLL(os.environ.get('HEARTH_LIBCUFILE') or 'libcufile.so.0')
        context, self.memory, self.handle = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_void_p()
        must('cuInit', self.cuda.cuInit(0))
        must('cuDevicePrimaryCtxRetain', self.cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), ordinal))
        must('cuCtxSetCurrent', self.cuda.cuCtxSetCurrent(context))
        must('cuMemAlloc', self.cuda.cuMemAlloc_v2(ctypes.byref(self.memory), ctypes.c_size_t(block)))
        for name in ('cuFileDriverOpen', 'cuFileHandleRegister'):
            getattr(self.lib, name).restype = Status
        self.lib.cuFileRead.restype = ctypes.c_ssize_t
        self.lib.cuFileRead.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, ctypes.c_int64]
        must('cuFileDriverOpen', self.lib.cuFileDriverOpen().err)
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        descr = Descr(1, self.fd, None)
        code = self.lib.cuFileHandleRegister(ctypes.byref(self.handle), ctypes.byref(descr)).err
        if code == NO_FS_TYPE:
            raise Broken(f'cuFile does not take the file ({code}): udev knows no ID_FS_TYPE of its drive; --udev-hint tells it')
        must('cuFileHandleRegister', code)
        self.block, self.bytes = block, os.path.getsize(path)

    def read(self, at):
        got = self.lib.cuFileRead(self.handle, self.memory.value, self.block, at, 0)
        if got < 0:
            raise Broken(f'cuFileRead: {got}')
        return got


def cufile_child(path, ordinal, block, seconds, order, cold):
    """Print what one thread gets, as `hearth ds bench --json` does."""
    c = CuFile(path, ordinal, block)
    blocks, dice = c.bytes // block, random.Random(1)
    c.read(0)
    if cold:
        os.posix_fadvise(c.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    before, began, done, ops = resource.getrusage(resource.RUSAGE_SELF), time.monotonic(), 0, 0
    while time.monotonic() - began < seconds:
        if cold and order == 'read' and ops and ops % blocks == 0:
            os.posix_fadvise(c.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        done += c.read((dice.randrange(blocks) if order == 'randread' else ops % blocks) * block)
        ops += 1
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({'gb_s': done / 1e9 / took, 'iops': ops / took, 'cpu_s_gb': cpu / (done / 1e9)}))


def cufile(options, file, block, order='read', cold=True):
    text = ask(sys.executable, os.path.abspath(__file__), '--cufile-child', file, str(options.device.split(':')[1]), str(block), str(options.seconds), order, '1' if cold else '0')
    return json.loads(text.splitlines()[-1])


# ---- the Python safetensors loader and ours, in a process of their own ----

def header_of(room):
    """A safetensors header with tensors of a language model for @room bytes, itself included; what is left over is one more tensor. Return: bytes."""
    hidden, inner = (HIDDEN, INNER) if room >= GIB else (HIDDEN // 64, INNER // 64)
    layer = {'q_proj': (hidden, hidden), 'k_proj': (hidden // 4, hidden), 'v_proj': (hidden // 4, hidden), 'o_proj': (hidden, hidden), 'gate_proj': (inner, hidden), 'up_proj': (inner, hidden),
             'down_proj': (hidden, inner), 'input_layernorm': (hidden,)}
    layer_bytes = sum(2 * (shape[0] * shape[1] if len(shape) == 2 else shape[0]) for shape in layer.values())
    layers = (room - MIB) // layer_bytes
    length, at, header = 8 + (layers + 1) * 1024 // 8 * 8, 0, {'__metadata__': {'format': 'pt'}}
    for n in range(layers):
        for name, shape in layer.items():
            nbytes = 2 * (shape[0] * shape[1] if len(shape) == 2 else shape[0])
            header[f'model.layers.{n}.{name}.weight'] = {'dtype': 'F16', 'shape': list(shape), 'data_offsets': [at, at + nbytes]}
            at += nbytes
    header['rest'] = {'dtype': 'U8', 'shape': [room - length - 8 - at], 'data_offsets': [at, room - length - 8]}
    text = json.dumps(header).encode()
    return struct.pack('<Q', length) + text + b' ' * (length - len(text))


def into_cache(path):
    for _ in range(2):
        with open(path, 'rb', buffering=0) as file:
            while file.read(64 * MIB):
                pass


def out_of_cache(path):
    with open(path, 'rb') as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def safetensors_child(path, device, rounds):
    """Print the median seconds of each loader, in turns, with a page cache that is cold and one that is warm; and whether both gave the same bytes."""
    try:
        import torch
        from safetensors.torch import load_file
    except ImportError as error:
        print(json.dumps({'missing': str(error)}))
        return
    if LIBRARY:
        os.environ.setdefault('HEARTH_DS_LIBRARY', LIBRARY[0])
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), 'python'))
    import hearth_ds
    torch.zeros(1, device=device)
    loaders = {'ours': lambda: hearth_ds.load_safetensors(path, device), 'peer': lambda: load_file(path, device=device)}
    first = {name: load() for name, load in loaders.items()}
    found = {'same': set(first['ours']) == set(first['peer']) and all(torch.equal(tensor.view(torch.uint8), first['peer'][name].view(torch.uint8)) for name, tensor in first['ours'].items())}
    del first
    for cache, prepare in (('cold', out_of_cache), ('warm', into_cache)):
        took = {name: [] for name in loaders}
        for _ in range(rounds):
            for name, load in loaders.items():
                torch.cuda.empty_cache()
                prepare(path)
                began = time.monotonic()
                tensors = load()
                torch.cuda.synchronize()
                took[name].append(time.monotonic() - began)
                del tensors
        found[cache] = {name: median(seconds) for name, seconds in took.items()}
    print(json.dumps(found))


def udev_hint(folder):
    """Tell cuFile, through udev's database, which file system the drive has. Return: the file written, or None."""
    st = os.stat(folder)
    path = f'/run/udev/data/b{os.major(st.st_dev)}:{os.minor(st.st_dev)}'
    if os.path.exists(path):
        return None
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        file.write('E:ID_FS_TYPE=ext4\nE:ID_FS_USAGE=filesystem\n')
    return path


# ---- the suite ----

class Suite:
    def __init__(self, options, rows):
        self.options, self.rows = options, rows
        self.folder = tempfile.mkdtemp(prefix='hearth-ds-speed-', dir=options.disk)
        self.file = os.path.join(self.folder, 'data')

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_file(self):
        """No two pieces alike: some disks know what they have already."""
        header = header_of(self.options.bytes)
        left = self.options.bytes - len(header)
        with open(self.file, 'wb') as file:
            file.write(header)
            while left > 0:
                left -= file.write(os.urandom(min(left, 16 * MIB)))
            file.flush()
            os.fsync(file.fileno())

    def cold(self):
        out_of_cache(self.file)

    def warm(self):
        into_cache(self.file)

    def bench(self, *words, device=None):
        return ours(self.file, device or self.options.device, self.options.seconds, *[str(w) for w in words])

    def threads(self):
        return ['--threads', self.options.threads] if self.options.threads else []

    def turns(self, mine, peer, times=1):
        """Both, several times, by turns first. @times: as many of the rounds. Return: medians of each key."""
        sides = [[], []]
        for k in range(self.options.rounds * times):
            for side in (k % 2, 1 - k % 2):
                sides[side].append((mine, peer)[side]())
        return [{key: median([one[key] for one in found]) for key in ('gb_s', 'iops', 'cpu_s_gb')} for found in sides]

    def attempt(self, item, measure):
        print(f'== {item}', flush=True)
        try:
            measure()
        except (Broken, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            self.rows.fail(item, str(error).replace('\n', ' ')[:200])

    def verified(self):
        text = ask(HEARTH, '--json', 'ds', 'copy', '--verify', self.file, self.options.device).splitlines()[-1]
        self.rows.add('verified copy of the whole file, 1 = both digests are the same', float(json.loads(text)['verified']), bar=1)
        report = json.loads(ask(HEARTH, '--json', 'ds', 'probe', self.file, self.options.device))
        for path in ('map', 'cufile'):
            print(f"  not {path}: {report['paths'][path]['why']}", flush=True)
        self.rows.add('probe says stage', float(report['path'] == 'stage'))

    def in_order(self):
        self.cold()
        mine, peer = self.turns(lambda: self.bench('--cache', 'never', '--block', MIB, '--depth', 16), lambda: drive(self.file, self.options.seconds, MIB, 16, 'read'))
        self.rows.add('in order, O_DIRECT, queue of 16 x 1 MiB / the drive', mine['gb_s'], 'GB/s', peer['gb_s'], .95)
        mine, peer = self.turns(lambda: self.bench('--cache', 'never', '--block', 256 * MIB if self.options.bytes >= GIB else MIB, '--sync'), lambda: drive(self.file, self.options.seconds, MIB, 16, 'read'))
        self.rows.add('in order, O_DIRECT, one long call at a time / the drive', mine['gb_s'], 'GB/s', peer['gb_s'], .95)
        self.rows.add('the same, CPU seconds a GB / the drive', mine['cpu_s_gb'], 's/GB', peer['cpu_s_gb'])
        mine = self.bench('--cache', 'never', '--block', MIB, '--sync')
        self.rows.add('in order, O_DIRECT, calls of 1 MiB one after the other', mine['gb_s'], 'GB/s')

    def page_cache(self):
        self.warm()
        large = 256 * MIB if self.options.bytes >= GIB else MIB
        for name, words in (('calls of 1 GiB, one at a time', ['--block', min(GIB, large * 4), '--sync']), (f'calls of {large // MIB} MiB, one at a time', ['--block', large, '--sync']), ('queue of 64 x 1 MiB', ['--block', MIB, '--depth', 64]), ('queue of 16 x 16 MiB', ['--block', min(16 * MIB, large), '--depth', 16])):
            mine = median([self.bench(*words, *self.threads())['gb_s'] for _ in range(self.options.rounds)])
            self.rows.add(f'page cache, {name}', mine, 'GB/s', bar=45 if name == 'calls of 1 GiB, one at a time' else None)

    def at_random(self):
        for block in (4 * KIB, 64 * KIB):
            self.cold()
            # more of them: from second to second the same drive gives as many as a quarter more or fewer of these
            mine, peer = self.turns(lambda b=block: self.bench('--cache', 'never', '--random', '--block', b, '--depth', 128, '--io-depth', 64), lambda b=block: drive(self.file, self.options.seconds, b, 64, 'randread'), times=3)
            self.rows.add(f'random {block // KIB} KiB, 64 reads at the drive, a second / the drive', mine['iops'], '/s', peer['iops'], .9)
            self.rows.add('the same, CPU seconds a GB / the drive', mine['cpu_s_gb'], 's/GB', peer['cpu_s_gb'])
            mine = self.bench('--cache', 'never', '--random', '--block', block, '--depth', 64)
            self.rows.add('64 operations under way, copies included', mine['iops'], '/s')

    def beside_cufile(self):
        self.cold()
        large = min(16 * MIB, self.options.bytes)
        mine, peer = self.turns(lambda: self.bench('--cache', 'never', '--block', large, '--sync'), lambda: cufile(self.options, self.file, large))
        self.rows.add('in order, cold / cuFile, calls of 16 MiB', mine['gb_s'], 'GB/s', peer['gb_s'], 1)
        self.warm()
        mine, peer = self.turns(lambda: self.bench('--block', large, '--sync', *self.threads()), lambda: cufile(self.options, self.file, large, cold=False))
        self.rows.add('in order, warm / cuFile, calls of 16 MiB', mine['gb_s'], 'GB/s', peer['gb_s'], 1)
        for block in (4 * KIB, 64 * KIB):
            self.cold()
            mine, peer = self.turns(lambda b=block: self.bench('--cache', 'never', '--random', '--block', b, '--sync'), lambda b=block: cufile(self.options, self.file, b, 'randread'))
            self.rows.add(f'random {block // KIB} KiB, one at a time / cuFile', mine['iops'], '/s', peer['iops'], 1)
            queued = self.bench('--cache', 'never', '--random', '--block', block, '--depth', 64)
            self.rows.add(f'random {block // KIB} KiB, depth 64, CPU seconds a GB / cuFile', queued['cpu_s_gb'], 's/GB', peer['cpu_s_gb'], 1, most=True)

    def safetensors(self):
        """Ratios of rates: the same file, so of seconds."""
        text = ask(sys.executable, os.path.abspath(__file__), '--safetensors-child', self.file, self.options.device, str(self.options.rounds))
        found, gb = json.loads(text.splitlines()[-1]), self.options.bytes / 1e9
        if 'missing' in found:
            self.rows.skip('safetensors', found['missing'])
            return
        self.rows.add('safetensors, 1 = both loaders gave the same bytes', float(found['same']), bar=1)
        for cache, bar in (('warm', 7), ('cold', 1.9)):
            self.rows.add(f'safetensors, {gb:.1f} GB, {cache} / safetensors.torch.load_file', gb / found[cache]['ours'], 'GB/s', gb / found[cache]['peer'], bar)
        # more than the drive gives nobody can load
        self.cold()
        self.rows.add('the same, cold / the drive, 64 x 1 MiB', gb / found['cold']['ours'], 'GB/s', median([drive(self.file, self.options.seconds, MIB, 64, 'read')['gb_s'] for _ in range(self.options.rounds)]))

    def handles(self):
        found = self.bench('--handles', '--block', MIB)
        for name in ('open', 'register', 'release', 'close'):
            self.rows.add(f'{name}, median', found[f'{name}_us'], 'us', bar=50, most=True)

    def run(self):
        self.attempt('file', self.make_file)
        for name, measure in (('verified', self.verified), ('in order', self.in_order), ('page cache', self.page_cache), ('random', self.at_random), ('beside cuFile', self.beside_cufile), ('safetensors', self.safetensors), ('handles', self.handles)):
            if not self.options.only or name in self.options.only:
                self.attempt(name, measure)


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--disk', default=None, metavar='DIR', help='a folder on the drive to be measured (default: that of temporary files)')
    parser.add_argument('--device', default='cuda:0')
    parser.add_argument('--mib', type=int, default=5 * 1024, help='size of the file')
    parser.add_argument('--seconds', type=int, default=4, help='of each measurement')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=0, help='that copy from the page cache (default: the library decides)')
    parser.add_argument('--only', type=lambda s: s.split(','), default=None, metavar='NAME,...', help='verified, in order, page cache, random, beside cuFile, safetensors, handles')
    parser.add_argument('--out', default='hearth-results/ds', metavar='DIR')
    parser.add_argument('--udev-hint', action='store_true', help='make an entry in udev\'s database, if there is none, without which cuFile takes no file; as root')
    options = parser.parse_args(words)
    options.bytes = options.mib * MIB
    return options


def main():
    if len(sys.argv) > 1 and sys.argv[1] == '--safetensors-child':
        try:
            safetensors_child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        except OSError as error:
            sys.exit(f'{error}')
        return
    if len(sys.argv) > 1 and sys.argv[1] == '--cufile-child':
        path, ordinal, block, seconds, order, cold = sys.argv[2:]
        try:
            cufile_child(path, int(ordinal), int(block), int(seconds), order, cold == '1')
        except (Broken, OSError) as error:
            sys.exit(f'{error}')
        return
    options, rows = parse(), Rows()
    hint = None
    suite = Suite(options, rows)
    try:
        if options.udev_hint:
            hint = udev_hint(suite.folder)
        suite.run()
    finally:
        suite.close()
        if hint:
            os.unlink(hint)
    os.makedirs(options.out, exist_ok=True)
    rows.write(os.path.join(options.out, 'ds.csv'))
    text = rows.text()
    with open(os.path.join(options.out, 'ds.txt'), 'w', encoding='utf-8') as file:
        file.write(text + '\n')
    print(text)
    failed = sum(row['pass'] is False for row in rows.rows)
    print(f"{sum(row['pass'] is True for row in rows.rows)} passed, {failed} failed; written to {options.out}")
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
