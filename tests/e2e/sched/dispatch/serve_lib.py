# SPDX-License-Identifier: Apache-2.0
"""A real `hearth serve` over loopback UDP, and a client of its wire format written from docs/wire.md."""
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

HEARTH = os.path.join(os.environ['HEARTH_BIN'], 'hearth')
FAULTY = os.environ['HEARTH_FAULTY']
WORDS = os.environ['HEARTH_WORDS']
OK, OVERLOAD, MALFORMED, UNKNOWN, LOST, FAILED = range(6)
HEADER = struct.Struct('<4sBBHQIHHII')
WAIT_S = 60     # for what must happen; never waited out


def message(kind=1, type_=0, id_=0, payload=b'', magic=b'HRTH', version=1, length=None, status=0, reserved=0, queue=0, service=0):
    return HEADER.pack(magic, version, kind, type_, id_, len(payload) if length is None else length, status, reserved, queue, service) + payload


class Reply:
    def __init__(self, data):
        (self.magic, self.version, self.kind, self.type, self.id, self.length, self.status, self.reserved, self.queue_ns,
         self.service_ns) = HEADER.unpack(data[:32])
        self.payload = data[32:]


def spin(us):
    return struct.pack('<Q', int(us * 1000))


class Server:
    """`hearth serve` of a configuration; keys of the file as keyword arguments."""

    def __init__(self, types=('short', 'long'), expect_ready=True, **keys):
        self.dir = tempfile.TemporaryDirectory()
        self.control = os.path.join(self.dir.name, 'control')
        self.config = os.path.join(self.dir.name, 'serve.yaml')
        self.keys = {'listen': '127.0.0.1:0', 'workers': 2, 'oversubscribe': True, 'idle': 'sleep', 'control': self.control,
                     'types': [t if isinstance(t, dict) else {'name': t} for t in types], **keys}
        self.write()
        self.log = open(os.path.join(self.dir.name, 'log'), 'w+', encoding='utf-8')
        self.process = subprocess.Popen([HEARTH, 'serve', '--json', self.config], stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.ready = None
        if expect_ready:
            line = self.process.stdout.readline()
            assert line.startswith('{"ready"'), line + self.logged()
            self.ready = json.loads(line)
            host, port = self.ready['listen'].rsplit(':', 1)
            self.address = (host.strip('[]'), int(port))

    def write(self, **changes):
        """JSON is YAML."""
        self.keys.update(changes)
        with open(self.config, 'w', encoding='utf-8') as file:
            json.dump({k: v for k, v in self.keys.items() if v is not None}, file)

    def logged(self):
        self.log.flush()
        with open(self.log.name, encoding='utf-8') as file:
            return file.read()

    def explain(self):
        done = subprocess.run([HEARTH, 'explain', '--serve', self.control, '--json'], stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout)

    def wait_for(self, what):
        """Ask until it is so."""
        for _ in range(2000):
            state = self.explain()
            if what(state):
                return state
        raise AssertionError(f'never came: {state}\n{self.logged()}')

    def end(self):
        """Return: the final figures."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=WAIT_S)
        log = self.logged()
        self.log.close()
        self.dir.cleanup()
        assert self.process.returncode == 0, log
        return json.loads(out.splitlines()[-1])

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        elif not self.process.stdout.closed:
            self.process.communicate()
        if not self.log.closed:
            self.log.close()
        self.dir.cleanup()


class Client:
    def __init__(self, address):
        self.sock = socket.socket(socket.AF_INET6 if ':' in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(address)
        self.next = 0

    def send(self, payload=b'', type_=0):
        self.next += 1
        self.sock.send(message(type_=type_, id_=self.next, payload=payload))
        return self.next

    def raw(self, data):
        self.sock.send(data)

    def receive(self):
        return Reply(self.sock.recv(65536))

    def call(self, payload=b'', type_=0):
        id_ = self.send(payload, type_)
        reply = self.receive()
        assert (reply.magic, reply.version, reply.kind, reply.reserved, reply.id) == (b'HRTH', 1, 2, 0, id_), vars(reply)
        assert reply.length == len(reply.payload)
        return reply

    def close(self):
        self.sock.close()


class ServeTest(unittest.TestCase):
    def serve(self, *args, **keys):
        server = Server(*args, **keys)
        self.addCleanup(server.abandon)
        return server

    def client(self, server):
        client = Client(server.address)
        self.addCleanup(client.close)
        return client
