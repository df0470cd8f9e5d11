# SPDX-License-Identifier: Apache-2.0
"""What the experiments with loaders of libhearth-ds share: the module, a device, files that are in the page cache or not, and a look at what is on the device."""
import os
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# beside the experiments in the source and the build folder; where it is installed, Python finds it
sys.path += [path for path in (os.path.join(HERE, '..', 'python'), os.path.join(HERE, 'python')) if os.path.exists(os.path.join(path, 'hearth_ds.py'))]
# likewise its library: in a build folder, in one that tools/bundle made
BESIDE = os.path.join(os.path.dirname(os.path.abspath(os.environ.get('HEARTH', os.path.join(HERE, '..', 'bin', 'hearth')))), '..')
for path in (os.path.join(BESIDE, *words, 'libhearth-ds.so.0') for words in (('src', 'ds'), ('lib',))):
    if os.path.exists(path):
        os.environ.setdefault('HEARTH_DS_LIBRARY', path)

try:
    import numpy  # noqa: E402
except ImportError:
    sys.exit('hearth experiment: Python\'s numpy is not installed (Debian: python3-numpy)')

import hearth_ds  # noqa: E402
from dsbench import Folder, data_options, skip  # noqa: E402,F401
from experiment import Experiment  # noqa: E402

try:
    import torch
except ImportError:
    torch = None


def begin(name, doc, columns, add_options):
    def options(parser):
        parser.add_argument('--device', default='cuda:0' if torch and torch.cuda.is_available() else 'host', help='host or cuda:N (%(default)s)')
        data_options(parser)
        parser.add_argument('--repeat', type=int, default=3, metavar='N', help='the best of so many (%(default)s)')
        add_options(parser)
    experiment = Experiment(name, doc, add_options=options, simulates=False, columns=columns)
    if experiment.args.repeat < 1:
        sys.exit('hearth experiment: --repeat must be 1 at least')
    try:
        hearth_ds.Memory(4096, experiment.args.device).release()
    except hearth_ds.Error as error:
        skip(error.strerror)
    return experiment


def out_of_cache(path):
    """What is not in the page cache comes from the drive."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def settle(path):
    """What was just written is slower for whoever reads it first: nobody's time."""
    out_of_cache(path)
    into_cache(path)


def into_cache(path):
    with open(path, 'rb', buffering=0) as file:
        room = bytearray(16 << 20)
        while file.readinto(room):
            pass


def in_turns(repeat, ways, before=lambda: None, check=lambda name, result: None):
    """The shortest time of each way, in seconds; each is run in its turn, so that what changes meanwhile meets all of them. @ways: {name: function, or None: it cannot be had here}."""
    found = {name: None for name in ways}
    for _ in range(repeat):
        for name, run in ways.items():
            if not run:
                continue
            before()
            began = time.perf_counter()
            result = run()
            seconds = time.perf_counter() - began
            check(name, result)
            del result
            found[name] = seconds if found[name] is None else min(seconds, found[name])
    return found


def contents(memory):
    """What is in memory of a device: a numpy array of bytes, by way of a file in memory where the processor cannot look at it itself."""
    if memory.device == 'host':
        return numpy.frombuffer(memory.buffer(), 'u1')
    fd = os.memfd_create('hearth-ds-look')
    try:
        with hearth_ds.File(f'/proc/self/fd/{fd}', 'r+') as file:
            file.write(memory)
        return numpy.fromfile(f'/proc/self/fd/{fd}', 'u1')
    finally:
        os.close(fd)


def wrong(what):
    sys.exit(f'hearth experiment: {what}: what was read is not what was written')
