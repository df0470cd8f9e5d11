#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth serve` with the application rocksdb: GET, SCAN and PUT over UDP on a real database, which outlives the server."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

BIN = os.environ['HEARTH_BIN']
HEADER = struct.Struct('<4sBBHQIHHII')
OK, MALFORMED, UNKNOWN, FAILED = 0, 2, 3, 5
GET, SCAN, PUT = 1, 2, 3
MASK = (1 << 64) - 1


def filled_in(number, n):
    """The value that the server makes for a key, by its documentation."""
    out, state = b'', number
    while len(out) < n:
        state = (state + 0x9e3779b97f4a7c15) & MASK
        z = ((state ^ state >> 30) * 0xbf58476d1ce4e5b9) & MASK
        z = ((z ^ z >> 27) * 0x94d049bb133111eb) & MASK
        out += struct.pack('<Q', z ^ z >> 31)
    return out[:n]


class RocksDB(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.next_id = 0
        self.server = None
        self.addCleanup(self.stop)

    def start(self, workers=2, env=None, **options):
        config = os.path.join(self.dir.name, 'serve.yaml')
        with open(config, 'w', encoding='utf-8') as file:
            json.dump({'listen': '127.0.0.1:0', 'workers': workers, 'oversubscribe': True, 'idle': 'sleep', 'app': 'rocksdb',
                       'control': os.path.join(self.dir.name, 'control'), 'types': [{'name': 'get'}, {'name': 'scan'}],
                       'app_options': {'path': os.path.join(self.dir.name, 'db'), **options}}, file)
        self.server = subprocess.Popen([os.path.join(BIN, 'hearth'), 'serve', '--json', config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        line = self.server.stdout.readline()
        if not line.startswith('{"ready"'):
            _, err = self.server.communicate(timeout=60)
            return json.loads(line)['error'] + err if line else err
        host, port = json.loads(line)['listen'].rsplit(':', 1)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.settimeout(30)
        self.socket.connect((host, int(port)))
        return None

    def stop(self, how=signal.SIGTERM):
        if self.server is not None:
            if self.server.poll() is None:
                self.server.send_signal(how)
            self.server.communicate(timeout=60)
            self.server = None

    def ask(self, op, key=b'', value=b'', limit=0, raw=None):
        """Return: status, keys, bytes, value."""
        payload = struct.pack('<BBHI', op, 0, len(key), limit) + key + value if raw is None else raw
        self.next_id += 1
        self.socket.send(HEADER.pack(b'HRTH', 1, 1, int(op == SCAN), self.next_id, len(payload), 0, 0, 0, 0) + payload)
        data = self.socket.recv(2048)
        head = HEADER.unpack(data[:32])
        self.assertEqual((head[2], head[4], head[5]), (2, self.next_id, len(data) - 32))
        if head[6] != OK:
            return (head[6],)
        return (OK, *struct.unpack('<II', data[32:40]), data[40:])

    def test_answers(self):
        self.assertIsNone(self.start(keys=1000, value_bytes=100))
        for i in (0, 1, 500, 999):
            self.assertEqual(self.ask(GET, b'key%010d' % i), (OK, 1, 100, filled_in(i, 100)))
        self.assertEqual(self.ask(GET, b'key%010d' % 1000), (OK, 0, 0, b''))
        self.assertEqual(self.ask(SCAN), (OK, 1000, 100000, b''))
        self.assertEqual(self.ask(SCAN, b'key%010d' % 990), (OK, 10, 1000, b''))
        self.assertEqual(self.ask(SCAN, b'key%010d' % 10, limit=25), (OK, 25, 2500, b''))
        self.assertEqual(self.ask(PUT, b'mine', b'some value'), (OK, 1, 10, b''))
        self.assertEqual(self.ask(GET, b'mine'), (OK, 1, 10, b'some value'))
        self.assertEqual(self.ask(PUT, b'long', b'x' * 1400), (OK, 1, 1400, b''))
        self.assertEqual(self.ask(GET, b'long'), (OK, 1, 1400, b'x' * 1400))
        self.assertEqual(self.ask(0, raw=b''), (MALFORMED,))
        self.assertEqual(self.ask(0, raw=struct.pack('<BBHI', GET, 0, 9, 0) + b'k'), (MALFORMED,))
        self.assertEqual(self.ask(7, b'k'), (UNKNOWN,))

    def test_outlives_the_server(self):
        self.assertIsNone(self.start(keys=10))
        self.assertEqual(self.ask(PUT, b'a', b'1')[0], OK)
        self.stop()
        self.assertIsNone(self.start(keys=99))
        self.assertEqual(self.ask(GET, b'a'), (OK, 1, 1, b'1'))
        self.assertEqual(self.ask(SCAN)[1], 11)
        self.assertEqual(self.ask(PUT, b'b', b'2')[0], OK)
        self.stop(signal.SIGKILL)
        self.assertIsNone(self.start(read_only='yes'))
        self.assertEqual(self.ask(GET, b'b'), (OK, 1, 1, b'2'))
        self.assertEqual(self.ask(PUT, b'c', b'3'), (FAILED,))
        self.assertEqual([n for n in os.listdir(self.dir.name) if n.startswith('db')], ['db'])

    def test_refuses(self):
        self.assertIn('option keys: "none" is not', self.start(keys='none'))
        self.assertIn('no option "size"', self.start(size='1'))
        self.assertIn('option path', self.start(path='/proc/nothing/db'))


def main():
    if not os.path.exists(os.path.join(BIN, 'hearth-app-rocksdb.so')):
        print('SKIP: built without RocksDB (librocksdb-dev)')
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == '__main__':
    main()
