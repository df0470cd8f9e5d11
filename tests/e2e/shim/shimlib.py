# SPDX-License-Identifier: Apache-2.0
"""A keeper for tests of the shim, and a program under it. Physical memory of the fake driver is a memfd, so the keeper reads and writes a buffer through the descriptor that came with it."""
import mmap
import os
import select
import socket
import struct
import subprocess
import tempfile

WIRE = struct.Struct('=IIIiQQQQQ16sII192s')
HELLO, WELCOME, ALLOC, FREE, REFUSE, UNREFUSE, GATE_CLOSE, GATE_OPEN, DETACH, CREATE = range(1, 11)
GATE = struct.Struct('=IIIII')
MAGIC = 0x68736741
RUNNING, CLOSED, DETACHED, ATTACHING = range(1, 5)
PATIENCE_S = 60


class Packet:
    def __init__(self, data, fd):
        (self.version, self.op, self.seq, self.result, self.id, self.va, self.bytes, self.arg0, self.arg1, self.device, self.flags, self.pid, text) = WIRE.unpack(data)
        self.text = text.split(b'\0')[0].decode()
        self.fd = fd


def pack(op, seq=0, result=0, ident=0, arg0=0, version=1):
    return WIRE.pack(version, op, seq, result, ident, 0, 0, arg0, 0, bytes(16), 0, 0, b'')


class Buffer:
    """a buffer of the program, by the handle it exported"""

    def __init__(self, packet):
        self.id, self.va, self.bytes, self.fd = packet.id, packet.va, packet.bytes, packet.fd

    def read(self):
        with mmap.mmap(self.fd, self.bytes) as m:
            return bytes(m)

    def write(self, data):
        with mmap.mmap(self.fd, self.bytes) as m:
            m[:] = data

    def close(self):
        os.close(self.fd)


class Keeper:
    """listens; accept() takes the shim's connection and answers HELLO"""

    def __init__(self, path, answer_frees=True):
        self.path, self.answer_frees = path, answer_frees
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen(4)
        self.listener.settimeout(PATIENCE_S)
        self.sock, self.buffers, self.refusals, self.seq, self.hello = None, {}, {}, 0, None

    def accept(self, welcome=True):
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(PATIENCE_S)
        self.hello = self.recv()
        assert self.hello.op == HELLO, self.hello.op
        if welcome:
            try:
                self.sock.send(pack(WELCOME, arg0=self.hello.flags))
            except BrokenPipeError:
                pass                                     # the program has ended meanwhile
        return self.hello

    def recv(self):
        data, fds, _, _ = socket.recv_fds(self.sock, WIRE.size + 1, 4)
        if not data:
            raise EOFError('the shim closed the connection')
        assert len(data) == WIRE.size and len(fds) <= 1
        return Packet(data, fds[0] if fds else -1)

    def note(self, p):
        if p.op == ALLOC:
            assert p.fd >= 0 and p.id not in self.buffers and p.id > max(self.buffers, default=0)
            self.buffers[p.id] = Buffer(p)
        elif p.op == FREE:
            self.buffers.pop(p.id).close()
            if self.answer_frees:
                self.sock.send(pack(FREE, ident=p.id))
        elif p.op == REFUSE:
            self.refusals[p.arg0] = p.text
        elif p.op == UNREFUSE:
            del self.refusals[p.arg0]
        else:
            raise AssertionError(f'packet {p.op} out of turn')

    def settle(self):
        """takes what is there already"""
        while select.select([self.sock], [], [], 0)[0]:
            self.note(self.recv())

    def until(self, condition):
        self.settle()
        while not condition():
            self.note(self.recv())

    def ask(self, op, **words):
        self.seq += 1
        self.sock.send(pack(op, self.seq, **words))
        while True:
            p = self.recv()
            if p.op == op and p.seq == self.seq:
                return p
            self.note(p)

    def close(self):
        for b in self.buffers.values():
            b.close()
        self.buffers, self.refusals = {}, {}
        if self.sock:
            self.sock.close()
        self.sock = None

    def end(self):
        self.close()
        self.listener.close()
        os.unlink(self.path)


class Program:
    def __init__(self, folder, shim, program, driver, route='direct', config='devices=2,memory=256M', keeper=True, preload=''):
        self.folder = folder
        self.gate = os.path.join(folder, 'gate')
        with open(self.gate, 'wb') as f:
            f.write(GATE.pack(MAGIC, 1, 0, 0, 0).ljust(4096, b'\0'))
        os.makedirs(os.path.join(folder, 'machine'), exist_ok=True)
        env = dict(os.environ, LD_PRELOAD=(preload + ' ' + shim).strip(), LD_LIBRARY_PATH=driver, HEARTH_FAKE_CUDA=config, HEARTH_FAKE_CUDA_DIR=os.path.join(folder, 'machine'), HEARTH_SHIM_LOG='1')
        if keeper:
            env.update(HEARTH_KEEPER=os.path.join(folder, 'keeper'), HEARTH_GATE=self.gate, HEARTH_PROGRAM='test')
        self.log = tempfile.TemporaryFile(dir=folder)
        self.process = subprocess.Popen([program, route], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1, env=env)

    def send(self, *words):
        self.process.stdin.write(' '.join(str(w) for w in words) + '\n')
        self.process.stdin.flush()

    def answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline().strip() if ready else ''
        assert line, f'no answer (exit {self.process.poll()}): {self.said()}'
        return [int(w) for w in line.split()] if line[0].isdigit() else line

    def do(self, *words):
        self.send(*words)
        ret = self.answer()
        return ret[0] if isinstance(ret, list) and len(ret) == 1 else ret

    def answered(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def waits_on_futex(self):
        """is the main thread in FUTEX_WAIT_BITSET (which locks do not use)"""
        with open(f'/proc/{self.process.pid}/syscall') as f:
            words = f.read().split()
        return words[0] == '202' and int(words[2], 16) & 0x7f == 9

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors='replace')

    def gate_words(self):
        with open(self.gate, 'rb') as f:
            return GATE.unpack(f.read(GATE.size))

    def wake(self):
        with open(self.gate, 'r+b') as f, mmap.mmap(f.fileno(), 4096) as m:
            struct.pack_into('=I', m, 12, struct.unpack_from('=I', m, 12)[0] + 1)
            wake_futex(m)

    def end(self):
        self.process.stdin.close()
        ret = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self.log.close()
        return ret


def wake_futex(m):
    import ctypes
    at = ctypes.addressof(ctypes.c_uint32.from_buffer(m, 12))
    ctypes.CDLL(None, use_errno=True).syscall(202, ctypes.c_void_p(at), 1, 1 << 30, None, None, 0)
