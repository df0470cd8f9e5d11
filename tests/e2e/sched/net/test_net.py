#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Packet backends between two network namespaces: what comes in, what must not, what goes out byte for byte, and that nothing stays behind."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from netlib import CLIENT_IP, ETH_P_ARP, ETH_P_IP, SERVER_IP, Link, Skip, ethernet, ip, ipv4, ones_sum, pseudo, udp

ECHO = os.environ['HEARTH_ECHO']
HEARTH = os.path.join(os.environ['HEARTH_BIN'], 'hearth')
FAULTY = os.environ['HEARTH_FAULTY']
PORT, SOURCE_PORT = 7001, 40000
EAL = ['--no-huge', '-m', '128', '--no-pci', '--vdev=net_af_packet0,iface=hs0']
HEADER = struct.Struct('<4sBBHQIHHII')
OK, LOST = 0, 4
LINK = Link()


def in_server(*command, **how):
    return subprocess.Popen(['ip', 'netns', 'exec', LINK.server, *command], stdout=subprocess.PIPE, text=True, **how)


class Echo:
    """bench_echo serve"""
    started = []

    def __init__(self, backend, *more, listen=f'{SERVER_IP}:{PORT}'):
        words = {'udp': [], 'xdp': ['--interface', 'hs0'], 'dpdk': ['--eal', ' '.join(EAL)]}[backend]
        self.errors = tempfile.TemporaryFile('w+')
        self.process = in_server(ECHO, 'serve', '--backend', backend, '--listen', listen, *words, *more, stderr=self.errors)
        Echo.started.append(self.process)
        self.ready = self.process.stdout.readline()

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def end(self, how=signal.SIGTERM):
        """Return: what it counted."""
        self.process.send_signal(how)
        out, _ = self.process.communicate(timeout=60)
        self.errors.close()
        return json.loads(out) if out else None


class NetTest(unittest.TestCase):
    backend = None

    @classmethod
    def setUpClass(cls):
        if cls.backend is None:
            raise unittest.SkipTest('the common part')
        done = subprocess.run([HEARTH, 'doctor', '--json'], stdout=subprocess.PIPE, text=True, check=False)
        rows = {i['name']: i for i in json.loads(done.stdout)['items']}
        if not rows[f'net {cls.backend}']['ok']:
            raise unittest.SkipTest(rows[f'net {cls.backend}']['detail'])

    def setUp(self):
        self.server = None

    def start(self, *more, **how):
        self.server = Echo(self.backend, *more, **how)
        self.assertTrue(self.server.ready.startswith(f'ready {SERVER_IP}:'), self.server.said())
        self.addCleanup(self.stop)
        return self.server

    def stop(self):
        if self.server:
            counted = self.server.end()
            self.server = None
            return counted
        return None


class Echoes:
    """What every backend does."""

    def test_sizes(self):
        self.start()
        with LINK.udp(PORT) as s:
            for n in (0, 1, 2, 31, 32, 33, 64, 1000, 1439, 1440, 1471, 1472):
                data = bytes((i * 7 + n) & 255 for i in range(n))
                s.send(data)
                self.assertEqual(s.recv(2048), data)
        counted = self.stop()
        self.assertEqual((counted['rx'], counted['tx'], counted['rx_bytes'], counted['tx_bytes']), (12, 12, 6985, 6985))
        self.assertEqual((counted['rx_dropped'], counted['tx_dropped'], counted['rx_malformed']), (0, 0, 0))

    def test_many_flows(self):
        """More datagrams than there are buffers, from several sockets, in order within each."""
        self.start('--buffers', '128')
        sockets = [LINK.udp(PORT) for _ in range(8)]
        for n in range(200):
            for i, s in enumerate(sockets):
                s.send(struct.pack('<II', i, n))
            for i, s in enumerate(sockets):
                self.assertEqual(s.recv(2048), struct.pack('<II', i, n))
        for s in sockets:
            s.close()
        self.assertEqual(self.stop()['tx'], 1600)

    def test_oversized(self):
        """A datagram that the client's kernel has to cut in pieces is not answered; the next one is."""
        self.start()
        with LINK.udp(PORT) as s:
            s.send(b'x' * 1473 if self.backend != 'udp' else b'x')
            s.send(b'y' * 9000 if self.backend != 'udp' else b'y')
            s.send(b'z')
            self.assertEqual(s.recv(16384)[-1:], b'x' if self.backend == 'udp' else b'z')

    def test_again(self):
        """The port, the interface and its queue are free as soon as the server has ended, however it ended."""
        for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            server = Echo(self.backend)
            self.assertTrue(server.ready.startswith('ready'), server.said())
            with LINK.udp(PORT) as s:
                s.send(b'again')
                self.assertEqual(s.recv(64), b'again')
            server.end(how)

    def test_refuses(self):
        for listen, word in (('10.77.0.1', 'ADDRESS:PORT'), ('nonsense', 'ADDRESS:PORT'), ('10.77.0.1:99999', 'ADDRESS:PORT')):
            server = Echo(self.backend, listen=listen)
            self.assertEqual(server.ready, '')
            said = server.said()
            self.assertTrue(word in said or 'IPv4 address and a port' in said, said)
            server.end()


class RawFrames:
    """Backends that read the headers themselves: frames made by hand, answers compared with what they must be."""

    def good(self, payload, **change):
        datagram = udp(CLIENT_IP, SERVER_IP, SOURCE_PORT, PORT, payload, **{k: v for k, v in change.items() if k in ('length', 'checksum')})
        return ethernet(LINK.server_mac, LINK.client_mac, ipv4(CLIENT_IP, SERVER_IP, datagram, **{k: v for k, v in change.items() if k in ('ttl', 'ident', 'tos', 'frag')}))

    def answer(self, payload):
        return ethernet(LINK.client_mac, LINK.server_mac, ipv4(SERVER_IP, CLIENT_IP, udp(SERVER_IP, CLIENT_IP, PORT, SOURCE_PORT, payload)))

    def receive(self, s):
        """The next frame from the server's port."""
        while True:
            frame, address = s.recvfrom(4096)
            if address[2] != socket.PACKET_OUTGOING and frame[23] == 17 and frame[34:36] == struct.pack('>H', PORT):
                return frame

    def exchange(self, s, payload, **change):
        s.send(self.good(payload, **change))
        self.assertEqual(self.receive(s).hex(), self.answer(payload).hex())

    def test_byte_for_byte(self):
        self.start()
        with LINK.raw(ETH_P_IP) as s:
            for payload in (b'', b'a', b'ab', bytes(range(256)), b'\xff' * 1472):
                self.exchange(s, payload)
            self.exchange(s, b'ttl', ttl=1, ident=4711, tos=0xb8)
            self.exchange(s, b'may be fragmented', frag=0)
            self.exchange(s, b'no checksum', checksum=0)
            self.exchange(s, b'unfinished', checksum=ones_sum(pseudo(CLIENT_IP, SERVER_IP, 8 + 10)))
            # the checksum of an answer that comes out as 0 goes as its other form
            zero = next(p for p in (struct.pack('>H', i) for i in range(65536))
                        if ones_sum(pseudo(SERVER_IP, CLIENT_IP, 10) + struct.pack('>HHHH', PORT, SOURCE_PORT, 10, 0) + p) == 0xffff)
            self.exchange(s, zero)
            # Ethernet's padding, and bytes behind UDP's length, are not part of it
            s.send(self.good(b'pad') + b'\0' * 15)
            self.assertEqual(self.receive(s), self.answer(b'pad'))
            inner = udp(CLIENT_IP, SERVER_IP, SOURCE_PORT, PORT, b'cut') + b'tail'
            s.send(ethernet(LINK.server_mac, LINK.client_mac, ipv4(CLIENT_IP, SERVER_IP, inner)))
            self.assertEqual(self.receive(s), self.answer(b'cut'))
        self.assertEqual(self.stop()['rx_malformed'], 0)

    def bad(self):
        """Frames for our port that must not be answered, and are counted."""
        def frame(inner, source=CLIENT_IP, source_mac=LINK.client_mac, **change):
            return ethernet(LINK.server_mac, source_mac, ipv4(source, SERVER_IP, inner, **change))

        def datagram(source=CLIENT_IP, source_port=SOURCE_PORT, **change):
            return udp(source, SERVER_IP, source_port, PORT, b'malformed', **change)

        yield frame(datagram(), checksum=0x1234)
        yield frame(datagram(), length=20 + 17 + 1)
        yield frame(datagram(), length=27)
        yield frame(datagram(), length=10)
        yield frame(datagram(), version=5)
        yield frame(datagram(), options=b'\1\1\1\1')
        yield frame(datagram(), options=b'\1' * 40)
        yield frame(datagram(length=18))
        yield frame(datagram(length=7))
        yield frame(datagram(length=0xffff))
        yield frame(datagram(checksum=0x1234))
        yield frame(datagram('0.0.0.1'), '0.0.0.1')
        yield frame(datagram('127.0.0.1'), '127.0.0.1')
        yield frame(datagram('224.0.0.1'), '224.0.0.1')
        yield frame(datagram('255.255.255.255'), '255.255.255.255')
        yield frame(datagram(SERVER_IP), SERVER_IP)
        yield frame(datagram(source_port=0))
        yield frame(datagram(), source_mac=b'\3' + LINK.client_mac[1:])

    def test_malformed(self):
        self.start()
        frames = list(self.bad())
        with LINK.raw(ETH_P_IP) as s:
            for n, frame in enumerate(frames):
                s.send(frame)
                self.exchange(s, b'after %d' % n)       # the next answer is this one's
        counted = self.stop()
        self.assertEqual((counted['rx'], counted['tx'], counted['rx_malformed']), (len(frames), len(frames), len(frames)))

    def test_not_ours(self):
        """Left alone and not counted: another port, protocol, MAC, VLAN, and frames of any length that are nothing."""
        self.start()
        inner = udp(CLIENT_IP, SERVER_IP, SOURCE_PORT, PORT, b'other')
        frames = [
            ethernet(b'\2\2\2\2\2\2', LINK.client_mac, ipv4(CLIENT_IP, SERVER_IP, inner)),
            ethernet(LINK.server_mac, LINK.client_mac, ipv4(CLIENT_IP, '10.77.0.99', inner)),
            ethernet(LINK.server_mac, LINK.client_mac, ipv4(CLIENT_IP, SERVER_IP, inner, protocol=132)),
            ethernet(LINK.server_mac, LINK.client_mac, struct.pack('>HH', 5, ETH_P_IP) + ipv4(CLIENT_IP, SERVER_IP, inner), kind=0x8100),
            ethernet(LINK.server_mac, LINK.client_mac, b'', kind=ETH_P_IP),
            ethernet(LINK.server_mac, LINK.client_mac, b'\x45' * 19, kind=ETH_P_IP),
            ethernet(LINK.server_mac, LINK.client_mac, os.urandom(100), kind=0x88b5),
        ]
        with LINK.raw(ETH_P_IP) as s:
            for n, frame in enumerate(frames):
                s.send(frame)
                self.exchange(s, b'after %d' % n)
        self.assertEqual(self.stop()['rx_malformed'], 0)

    def fragments(self, payload):
        inner = udp(CLIENT_IP, SERVER_IP, SOURCE_PORT, PORT, payload)
        return [ethernet(LINK.server_mac, LINK.client_mac, ipv4(CLIENT_IP, SERVER_IP, inner[:16], frag=0x2000, ident=99)),
                ethernet(LINK.server_mac, LINK.client_mac, ipv4(CLIENT_IP, SERVER_IP, inner[16:], frag=2, ident=99))]

    def test_fragments(self):
        self.start()
        with LINK.raw(ETH_P_IP) as s:
            for frame in self.fragments(b'a datagram in two pieces'):
                s.send(frame)
            # the kernel puts the pieces together for itself, and the whole is dropped and counted; for net_af_packet (PACKET_FANOUT_FLAG_DEFRAG) too
            if self.backend == 'dpdk':
                self.assertEqual(self.receive(s), self.answer(b'a datagram in two pieces'))
            self.exchange(s, b'after')
        self.assertEqual(self.stop()['rx_malformed'], {'xdp': 1, 'dpdk': 0}[self.backend])

    def test_fragments_alone(self):
        """A first and a later piece of different datagrams: nothing comes of them."""
        self.start()
        with LINK.raw(ETH_P_IP) as s:
            s.send(self.fragments(b'the first of two pieces')[0])
            self.exchange(s, b'between')
            s.send(self.fragments(b'the last of other pieces')[1].replace(struct.pack('>H', 99), struct.pack('>H', 98), 1))
            self.exchange(s, b'after')


class Udp(Echoes, NetTest):
    backend = 'udp'


class Xdp(Echoes, RawFrames, NetTest):
    backend = 'xdp'

    def tearDown(self):
        self.stop()
        self.assertFalse(LINK.xdp_program())

    def test_sleeping(self):
        """The same with a server that sleeps between datagrams."""
        self.start('--sleep')
        with LINK.udp(PORT) as s:
            for n in range(500):
                s.send(b'%d' % n)
                self.assertEqual(s.recv(64), b'%d' % n)

    def test_says_how(self):
        self.assertRegex(self.start().ready, 'AF_XDP on hs0 queue 0: (native|generic) program, (copy mode|zero-copy)$')
        self.assertTrue(LINK.xdp_program())

    def test_any_port_and_address(self):
        """Port 0 asks for any, 0.0.0.0 for the interface's own address."""
        server = self.start(listen='0.0.0.0:0')
        host, port = server.ready.split()[1].rsplit(':', 1)
        self.assertEqual(host, SERVER_IP)
        with LINK.udp(int(port)) as s:
            s.send(b'any')
            self.assertEqual(s.recv(64), b'any')

    def test_generic(self):
        """On an interface whose driver runs no programs the kernel runs it, and copies."""
        try:
            ip('-n', LINK.server, 'link', 'add', 'hm0', 'link', 'hs0', 'type', 'macvlan', 'mode', 'bridge')
        except subprocess.CalledProcessError as e:
            self.skipTest(f'no macvlan here: {e.stderr.strip()}')
        self.addCleanup(ip, '-n', LINK.server, 'link', 'delete', 'hm0')
        ip('-n', LINK.server, 'address', 'add', '10.77.0.3/24', 'dev', 'hm0')
        ip('-n', LINK.server, 'link', 'set', 'hm0', 'up')
        # hs0 would answer for this address, too
        mac = ':'.join(f'{b:02x}' for b in LINK.mac(LINK.server, 'hm0'))
        ip('-n', LINK.client, 'neighbour', 'replace', '10.77.0.3', 'lladdr', mac, 'dev', 'hc0')
        server = Echo('xdp', '--interface', 'hm0', listen='10.77.0.3:7001')
        self.assertIn('generic program, copy mode', server.ready, server.said())
        with LINK.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(('10.77.0.3', 7001))
            for n in (0, 1, 100, 1472):
                s.send(b'x' * n)
                self.assertEqual(s.recv(2048), b'x' * n)
        self.assertEqual(server.end()['tx'], 4)

    def test_kernel_beside_it(self):
        """ARP, ping and other ports are the kernel's as before."""
        self.start()
        ip('-n', LINK.client, 'neighbour', 'flush', 'dev', 'hc0')
        with LINK.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
            echo = struct.pack('>BBHHH', 8, 0, 0, 7, 1) + b'ping'
            s.sendto(echo[:2] + struct.pack('>H', ~ones_sum(echo) & 0xffff) + echo[4:], (SERVER_IP, 0))
            while True:
                packet = s.recv(2048)
                if packet[20] == 0 and packet[24:26] == b'\0\7':
                    break
            self.assertEqual(packet[28:], b'ping')
        self.assertIn('lladdr', ip('-n', LINK.client, 'neighbour', 'show', SERVER_IP))
        with LINK.socket(socket.AF_INET, socket.SOCK_DGRAM, name=LINK.server) as other, LINK.udp(PORT + 1) as s:
            other.bind((SERVER_IP, PORT + 1))
            s.send(b'to the kernel')
            data, sender = other.recvfrom(64)
            other.sendto(data, sender)
            self.assertEqual(s.recv(64), b'to the kernel')
        with LINK.udp(PORT) as s:
            s.send(b'and to us')
            self.assertEqual(s.recv(64), b'and to us')

    def test_taken(self):
        """Another program on the port, another XDP program on the interface: said, with what to do."""
        with LINK.socket(socket.AF_INET, socket.SOCK_DGRAM, name=LINK.server) as other:
            other.bind((SERVER_IP, PORT))
            server = Echo('xdp')
            self.assertEqual(server.ready, '')
            self.assertIn('another program has this port', server.said())
            server.end()
        self.start()
        server = Echo('xdp', listen=f'{SERVER_IP}:{PORT + 1}')
        self.assertEqual(server.ready, '')
        self.assertIn('has another XDP program', server.said())
        server.end()
        with LINK.udp(PORT) as s:
            s.send(b'still here')
            self.assertEqual(s.recv(64), b'still here')

    def test_wrong_interface(self):
        for interface, word in (('nope0', 'ip link'), ('lo', 'loopback'), ('x' * 20, 'no name')):
            server = Echo('xdp', '--interface', interface)
            self.assertEqual(server.ready, '')
            self.assertIn(word, server.said())
            server.end()
        server = Echo('xdp', '--queue', '7')
        self.assertEqual(server.ready, '')
        self.assertIn('queue 7', server.said())
        server.end()


class Dpdk(Echoes, RawFrames, NetTest):
    """No kernel has the address here: DPDK answers ARP itself."""
    backend = 'dpdk'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        LINK.server_address(False)
        cls.addClassCleanup(LINK.server_address, True)

    def test_arp(self):
        self.start()
        ip('-n', LINK.client, 'neighbour', 'flush', 'dev', 'hc0')
        with LINK.udp(PORT) as s:
            s.send(b'who are you')
            self.assertEqual(s.recv(64), b'who are you')
        self.assertIn(':'.join(f'{b:02x}' for b in LINK.server_mac), ip('-n', LINK.client, 'neighbour', 'show', SERVER_IP))
        ask = struct.pack('>HHBBH6s4s6s4s', 1, ETH_P_IP, 6, 4, 1, LINK.client_mac, socket.inet_aton(CLIENT_IP), bytes(6), socket.inet_aton(SERVER_IP))
        with LINK.raw(ETH_P_ARP) as s:
            s.send(ethernet(b'\xff' * 6, LINK.client_mac, ask, ETH_P_ARP))
            while True:
                frame, address = s.recvfrom(2048)
                if address[2] != socket.PACKET_OUTGOING:
                    break
        self.assertEqual(frame[:42], ethernet(LINK.client_mac, LINK.server_mac, struct.pack(
            '>HHBBH6s4s6s4s', 1, ETH_P_IP, 6, 4, 2, LINK.server_mac, socket.inet_aton(SERVER_IP), LINK.client_mac, socket.inet_aton(CLIENT_IP)), ETH_P_ARP))

    def test_wrong_words(self):
        for words, said in ((['--no-huge', '-m', '64', '--no-pci'], 'DPDK has no device'), (['--no-huge', '--no-pci', '--bogus'], 'does not start'),
                            (['--no-huge', '-m', '64', '--no-pci', '--vdev=net_af_packet0,iface=nope0'], 'DPDK has no device'),
                            (['--no-huge', '-m', '8', '--no-pci', '--vdev=net_af_packet0,iface=hs0'], 'more memory')):
            server = Echo('dpdk', '--eal', ' '.join(words))
            self.assertEqual(server.ready, '')
            self.assertIn(said, server.said())
            server.end()


class Serve(NetTest):
    """`hearth serve`: workers are processes, and one that dies takes nothing with it, on AF_XDP and DPDK too."""
    backend = 'xdp'
    keys = {'interface': 'hs0'}

    def setUp(self):
        super().setUp()
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def serve(self, **more):
        config = os.path.join(self.dir.name, 'serve.yaml')
        keys = {'listen': f'{SERVER_IP}:{PORT}', 'backend': self.backend, 'workers': 2, 'oversubscribe': True, 'control': os.path.join(self.dir.name, 'control'),
                'types': [{'name': 'short'}, {'name': 'long'}], **self.keys, **more}
        with open(config, 'w', encoding='utf-8') as file:
            json.dump(keys, file)
        server = in_server(HEARTH, 'serve', '--json', config)
        self.addCleanup(self.finish, server)
        line = server.stdout.readline()
        self.assertTrue(line.startswith('{"ready"'), line)
        return server

    def finish(self, server):
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        out, _ = server.communicate(timeout=60)
        if self.backend == 'xdp':
            self.assertFalse(LINK.xdp_program())
        return out

    def call(self, s, id_, payload, type_=0):
        s.send(HEADER.pack(b'HRTH', 1, 1, type_, id_, len(payload), 0, 0, 0, 0) + payload)
        data = s.recv(2048)
        head = HEADER.unpack(data[:32])
        self.assertEqual((head[0], head[2], head[4]), (b'HRTH', 2, id_))
        return head[6], data[32:]

    def test_spin(self):
        self.serve(app='spin')
        with LINK.udp(PORT) as s:
            for n in range(300):
                self.assertEqual(self.call(s, n, struct.pack('<Q', 1000 * (n % 20)), n % 2), (OK, b''))

    def test_killed(self):
        """A server that is killed leaves neither workers nor a program on the interface; the next one has all of it."""
        for _ in range(3):
            server = self.serve(app='spin')
            server.send_signal(signal.SIGKILL)
            server.wait()
            # its workers have the descriptor that holds the program until they are gone too
            until = time.monotonic() + 60
            while LINK.xdp_program() and time.monotonic() < until:
                time.sleep(.01)
            self.assertFalse(LINK.xdp_program())
        self.serve(app='spin')
        with LINK.udp(PORT) as s:
            self.assertEqual(self.call(s, 1, struct.pack('<Q', 1000)), (OK, b''))

    def test_workers_die(self):
        """More often than there are buffers for it to go unnoticed if a death cost one."""
        self.serve(app=FAULTY, queue_max=8, buffers=64)
        with LINK.udp(PORT) as s:
            for n in range(0, 160, 2):
                self.assertEqual(self.call(s, n, b'k')[0], LOST)
                self.assertEqual(self.call(s, n + 1, b'echo'), (OK, b'echo'))

    def test_workers_die_in_a_crowd(self):
        """Requests of others, on their way while a worker dies, are answered."""
        self.serve(app=FAULTY)
        with LINK.udp(PORT) as s:
            for round_ in range(10):
                ids = range(round_ * 32, round_ * 32 + 32)
                for i in ids:
                    payload = b'x' if i % 16 == 7 else b'echo %d' % i
                    s.send(HEADER.pack(b'HRTH', 1, 1, 0, i, len(payload), 0, 0, 0, 0) + payload)
                answers = {}
                while len(answers) < 32:
                    data = s.recv(2048)
                    head = HEADER.unpack(data[:32])
                    answers[head[4]] = (head[6], data[32:])
                for i in ids:
                    self.assertEqual(answers[i], (LOST, b'') if i % 16 == 7 else (OK, b'echo %d' % i))


class ServeDpdk(Serve):
    backend = 'dpdk'
    keys = {'eal': EAL}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        LINK.server_address(False)
        cls.addClassCleanup(LINK.server_address, True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))      # a test that takes too long leaves nothing behind either
    try:
        LINK.up()
    except Skip as e:
        LINK.down()
        print(f'SKIP: {e}')
        sys.exit(77)
    try:
        result = unittest.main(exit=False, verbosity=2).result
    finally:
        # those of tests that failed half way
        for process in Echo.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        LINK.down()
    if result.skipped and len(result.skipped) >= result.testsRun and result.wasSuccessful():
        print(f'SKIP: {result.skipped[0][1]}')
        sys.exit(77)
    left = [n for n in os.listdir('/run/netns') if n in (LINK.server, LINK.client)]
    if left:
        print(f'left behind: {left}')
    sys.exit(1 if left or not result.wasSuccessful() else 0)


if __name__ == '__main__':
    main()
