# SPDX-License-Identifier: Apache-2.0
"""Programs under test, the driver's own way, and this project's commands, for tests and experiments on a GPU machine.

Programs print a line a step with an exact value (programs/program.py). What a program printed is kept with the time at which it was read. Times are the wall clock's:
the monotonic clock of a restored program goes on where it stopped.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAMS = os.path.join(HERE, 'programs')
# a build folder, or what tools/bundle made; under `hearth experiment` the one of that program
BUILD = os.environ.get('HEARTH_BUILD') or (os.path.dirname(os.path.dirname(os.environ['HEARTH'])) if os.environ.get('HEARTH') else os.path.join(ROOT, 'build'))
STEP = re.compile(r'step (\d+) (\S+)(?: (\S+) (\S+))?$')
PATIENCE = 120
LAST_WORDS = 2


class Broken(Exception):
    """Something did not work: the message says what."""


def fail_with(command, done):
    text = ((done.stderr or '') + (done.stdout or '')).strip()
    raise Broken(f"{' '.join(str(word) for word in command)} ended with {done.returncode}: {text[-600:] or 'no message'}")


class Output:
    """The lines of one program, read in a thread of its own from a pipe that stays open however often the program is killed and restored."""

    def __init__(self, echo=None):
        self.read_fd, self.write_fd = os.pipe()
        self.lines, self.changed, self.echo = [], threading.Condition(), echo
        self.pipe = os.readlink(f'/proc/self/fd/{self.write_fd}')
        threading.Thread(target=self.pump, daemon=True).start()

    def pump(self):
        with os.fdopen(self.read_fd, encoding='utf-8', errors='replace') as file:
            for line in file:
                with self.changed:
                    self.lines.append((time.time(), line.rstrip('\n')))
                    self.changed.notify_all()
                if self.echo:
                    print(line, end='', file=self.echo, flush=True)

    def close(self):
        os.close(self.write_fd)

    def first_step(self, since, after, alive=None):
        """The first step that ended after the time @after: what was printed before that may be read later. Return: (end, seconds)."""
        while True:
            read, match, since = self.wait('step ', since, alive=alive)
            since += 1
            step = STEP.match(match.string)
            seconds, end = (float(step.group(3)), float(step.group(4))) if step and step.group(4) else (0, read)
            if end > after:
                return end, seconds

    def wait(self, pattern, since=0, patience=PATIENCE, alive=None):
        """The first line that matches @pattern. Return: (time, match, its number)."""
        until, ended = time.monotonic() + patience, False
        with self.changed:
            at = since
            while True:
                for number in range(at, len(self.lines)):
                    match = re.match(pattern, self.lines[number][1])
                    if match:
                        return self.lines[number][0], match, number
                at = len(self.lines)
                left = until - time.monotonic()
                gone = alive and not alive()
                if gone and not ended:
                    ended, until = True, time.monotonic() + LAST_WORDS      # who reads its pipe may still have some of it
                elif left <= 0:
                    why = 'cannot come, the program is gone' if gone else 'did not come'
                    raise Broken(f"the line '{pattern}' {why}; the last lines: {' | '.join(text for _, text in self.lines[-6:])}")
                self.changed.wait(max(0, min(left, .2)))

    def count(self):
        with self.changed:
            return len(self.lines)

    def steps(self, since=0):
        """Return: [(step, value, seconds, end)] in the order printed."""
        with self.changed:
            found = [STEP.match(text) for _, text in self.lines[since:]]
        return [(int(m.group(1)), m.group(2), float(m.group(3) or 0), float(m.group(4) or 0)) for m in found if m]


def same_values(ours, reference):
    """Whether every step that was printed has the reference's value. Return: '' or what differs first."""
    wanted = {step: value for step, value, *_ in reference}
    for step, value, *_ in ours:
        if step in wanted and wanted[step] != value:
            return f'step {step}: {value} and not {wanted[step]}'
    return '' if ours else 'no step was printed'


def median(values):
    values = sorted(values)
    return values[len(values) // 2] if values else float('nan')


def step_seconds(steps, skip=2):
    """The usual time of a step: the first ones warm up."""
    return median([seconds for _, _, seconds, _ in steps[skip:]])


def program(name, *args):
    """The command line of a program. @name: of a Python program in programs/, or 'traps' for the compiled ones."""
    if fake_driver():
        return [os.path.join(BUILD, 'tests', 'programs', 'gpu_counter'), '--pace', '20000']
    if name == 'traps':
        return [os.path.join(work_folder(), 'traps'), *map(str, args)]
    return [python(), os.path.join(PROGRAMS, name + '.py'), *map(str, args)]


def fake_driver():
    """Whether the tests' fake CUDA driver takes the GPU's place: then the programs are the one that it can run, and there is no driver's own way."""
    return 'HEARTH_FAKE_CUDA' in os.environ


def python():
    """The python3 that has PyTorch is the one in PATH, which need not be the one that runs this."""
    return os.environ.get('HEARTH_PYTHON') or shutil.which('python3') or 'python3'


def work_folder():
    return os.environ.get('HEARTH_GPU_WORK') or os.path.join(BUILD, 'gpu')


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            return file.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_gone(pid, patience):
    until = time.monotonic() + patience
    while alive(pid):
        if time.monotonic() > until:
            raise Broken(f'process {pid} does not end')
        time.sleep(.005)


class Target:
    """A program: @pid, and @out, its lines."""

    def wait(self, pattern, since=0, patience=PATIENCE):
        return self.out.wait(pattern, since, patience, self.alive)

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)


class Plain(Target):
    """A program that nobody helps: as a shell would start it in the background, in a session of its own, which CRIU needs."""

    def __init__(self, command, env=None, echo=None):
        self.out = Output(echo)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.out.write_fd, stderr=self.out.write_fd, start_new_session=True, env=env)
        self.pid = self.process.pid

    def alive(self):
        return self.process.poll() is None if self.process else alive(self.pid)

    def end(self, patience=PATIENCE):
        """Wait until it ends by itself."""
        if self.process:
            self.process.wait(patience)
        wait_gone(self.pid, patience)
        if self.process and self.process.returncode:
            raise Broken(f"the program ended with {self.process.returncode}: {' | '.join(text for _, text in self.out.lines[-6:])}")

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self.process:
            self.process.wait()
        wait_gone(self.pid, PATIENCE)

    def close(self):
        self.kill()
        self.out.close()


class Driver:
    """cuCheckpointProcess* and CRIU: driver_ckpt.c."""

    def __init__(self, images):
        self.tool, self.images = os.path.join(work_folder(), 'driver_ckpt'), images

    def run(self, *args, pass_fds=()):
        env = {**os.environ, 'HEARTH_CRIU': os.environ.get('HEARTH_CRIU') or os.path.join(BUILD, 'deps', 'criu')}
        command = [self.tool, *map(str, args)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=pass_fds, env=env, check=False)
        if done.returncode:
            fail_with(command, done)
        return {key[:-3]: ns / 1e9 for key, ns in json.loads(done.stdout).items()}

    def dump(self, target, name):
        """Return: seconds of lock, checkpoint, criu, restore, unlock, total, and bytes of the image."""
        folder = os.path.join(self.images, name)
        os.makedirs(folder)
        return {**self.run('dump', target.pid, folder), 'bytes': folder_bytes(folder)}

    def restore(self, target, name):
        """@target: was killed; it lives again, and its lines come where they came before."""
        took = self.run('restore', os.path.join(self.images, name), f'{target.out.write_fd}:{target.out.pipe}', pass_fds=(target.out.write_fd,))
        target.process = None
        return took

    def remove(self, name):
        shutil.rmtree(os.path.join(self.images, name), ignore_errors=True)


def folder_bytes(folder):
    """What a folder takes on its disk."""
    total = 0
    for parent, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(parent, name)).st_blocks * 512 for name in names)
    return total


def build_programs():
    """What is compiled for this machine: the driver's own way and the traps."""
    if fake_driver():
        return
    work = work_folder()
    os.makedirs(work, exist_ok=True)
    nvcc = shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'
    for source, target, more in ((os.path.join(HERE, 'driver_ckpt.c'), 'driver_ckpt', []), (os.path.join(PROGRAMS, 'traps.cu'), 'traps', ['-arch=native'])):
        path = os.path.join(work, target)
        if os.path.exists(path) and os.stat(path).st_mtime > os.stat(source).st_mtime:
            continue
        command = [nvcc, '-O2', *more, '-o', path, source, '-lcuda']
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            fail_with(command, done)


def machine():
    """What the results are of. Return: {'gpu', 'driver', 'kernel', 'cpus', 'memory_bytes', 'torch', 'criu'}; raises Broken where there is no GPU."""
    if fake_driver():
        return {'gpu': 'none: the fake driver', 'driver': 'fake', 'kernel': os.uname().release, 'cpus': os.cpu_count()}
    query = ['nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv,noheader']
    try:
        done = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        raise Broken('nvidia-smi is not installed: there is no GPU here') from None
    if done.returncode:
        fail_with(query, done)
    gpus = [line.split(', ') for line in done.stdout.splitlines()]
    torch = subprocess.run([python(), '-c', 'import torch; print(torch.__version__)'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    if not torch:
        raise Broken(f'{python()} has no PyTorch: put one that has first in PATH, or set HEARTH_PYTHON')
    memory = int(re.search(r'MemTotal:\s+(\d+)', open('/proc/meminfo', encoding='utf-8').read()).group(1)) * 1024
    return {'gpu': f"{len(gpus)} × {gpus[0][0]}, {gpus[0][2]}", 'driver': gpus[0][1], 'kernel': os.uname().release, 'cpus': os.cpu_count(), 'memory_bytes': memory, 'torch': torch}


class Followed(Output):
    """The lines of a program that `hearth run --detach` and `hearth restore --detach` write to its log."""

    def __init__(self, path, echo=None):
        self.path, self.over = path, threading.Event()
        self.lines, self.changed, self.echo = [], threading.Condition(), echo
        threading.Thread(target=self.pump, daemon=True).start()

    def pump(self):
        kept = b''
        with open(self.path, 'rb') as file:
            while True:
                more = file.read(65536)
                if not more:
                    if self.over.wait(.002):
                        return
                    continue
                *whole, kept = (kept + more).split(b'\n')
                with self.changed:
                    self.lines += [(time.time(), line.decode(errors='replace')) for line in whole]
                    self.changed.notify_all()
                for line in whole if self.echo else ():
                    print(line.decode(errors='replace'), file=self.echo, flush=True)

    def close(self):
        self.over.set()


class Ours:
    """A node with folders of its own, and this project's commands on it. @pool_bytes: of memory made ready for images; @memory: the store there (one of its own)."""

    def __init__(self, folder, pool_bytes=0, memory=None):
        self.folder, self.pool_bytes, self.hearth = folder, pool_bytes, os.path.join(BUILD, 'bin', 'hearth')
        self.run_dir, self.memory = os.path.join(folder, 'run'), memory
        self.env = dict(os.environ)
        shim = os.path.join(BUILD, 'src', 'shim', 'libhearth-cuda.so')
        if os.path.exists(shim):
            self.env.setdefault('HEARTH_SHIM', shim)

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        if self.memory and os.path.exists(self.memory):
            raise Broken(f'{self.memory} is there already: somebody else uses it')
        self.memory = self.memory or tempfile.mkdtemp(prefix='hearth-gpu-', dir='/dev/shm')
        os.makedirs(self.memory, exist_ok=True)
        config = os.path.join(self.folder, 'hearth.yaml')
        with open(config, 'w', encoding='utf-8') as file:
            file.write('ckpt_keeper: on\n')
            if self.pool_bytes:
                file.write(f'ckpt_pool_store: {self.memory}\nckpt_pool_bytes: {self.pool_bytes}\n')
        self.call('up', '-d', '--config', config, '--state', os.path.join(self.folder, 'state'), '--listen', '127.0.0.1:0', '--isolation', 'none',
                  '--log', os.path.join(self.folder, 'hearthd.log'), as_json=False)
        self.wait_for_keeper()
        return self

    def keeper(self):
        """What the keeper says of itself."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(os.path.join(self.run_dir, 'keeper.sock'))
            s.send(b'{"op":"info"}')
            return json.loads(s.recv(65536))['result']

    def wait_for_keeper(self):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self.keeper()
            except OSError as error:
                if time.monotonic() > until:
                    raise Broken(f'no keeper answers: {error.strerror}; {self.log()}') from None
            time.sleep(.02)

    def wait_for_pool(self):
        """The memory for images is made ready beside the programs: until it is all there. Return: seconds waited."""
        began = time.monotonic()
        while self.keeper()['pool_ready_bytes'] < self.pool_bytes:
            if time.monotonic() > began + PATIENCE:
                raise Broken(f'the memory for images is not ready: {self.keeper()}; {self.log()}')
            time.sleep(.05)
        return time.monotonic() - began

    def forget(self, store, image):
        self.call('images', 'rm', '--store', store, image, as_json=False)

    def __exit__(self, *_):
        try:
            self.call('down', as_json=False)
        finally:
            shutil.rmtree(self.memory, ignore_errors=True)

    def log(self):
        try:
            with open(os.path.join(self.folder, 'hearthd.log'), encoding='utf-8', errors='replace') as file:
                return file.read()[-2000:]
        except FileNotFoundError:
            return 'no log'

    def call(self, *words, as_json=True):
        """One command. Return: what its last JSON line says; raises Broken with its message."""
        command = [self.hearth, '--run', self.run_dir, *(['--json'] if as_json else []), *map(str, words)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, check=False)
        if done.returncode:
            fail_with(command, done)
        return json.loads(done.stdout.splitlines()[-1]) if as_json and done.stdout.strip() else done.stdout

    def images(self, store):
        return self.call('images', '--store', store)


class Run(Target):
    """A program under `hearth run`, killed and brought back as often as wanted."""

    def __init__(self, ours, name, command, echo=None):
        self.ours, self.name = ours, name
        self.pid = ours.call('run', '--name', name, '--detach', '--', *command)['pid']
        self.out = Followed(os.path.join(ours.run_dir, 'programs', name, 'log'), echo)

    def alive(self):
        return alive(self.pid)

    def checkpoint(self, *options):
        """Return: what `hearth checkpoint` reports, and 'began' and 'ended' on the programs' clock."""
        began = time.time()
        found = self.ours.call('checkpoint', *options, self.name)
        return {**found, 'began': began, 'ended': time.time()}

    def restore(self, store, image, *options):
        began = time.time()
        found = self.ours.call('restore', '--store', store, '--detach', *options, image)
        self.pid = found['pid']
        return {**found, 'began': began, 'ended': time.time()}

    def end(self, patience=PATIENCE):
        wait_gone(self.pid, patience)

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        wait_gone(self.pid, PATIENCE)

    def close(self):
        self.kill()
        self.out.close()
