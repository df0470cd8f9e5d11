# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces with a veth pair between them, sockets in either, and frames made by hand: a second implementation of the headers."""
import contextlib
import ctypes
import os
import socket
import struct
import subprocess

SERVER_IP, CLIENT_IP = '10.77.0.1', '10.77.0.2'
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
ETH_P_ALL, ETH_P_IP, ETH_P_ARP = 3, 0x800, 0x806


def ip(*words):
    return subprocess.run(['ip', *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout


class Skip(Exception):
    """This machine cannot do it; the reason."""


class Link:
    """server side: `server`, its interface hs0; client side: `client`, hc0."""

    def __init__(self):
        self.server, self.client = f'hearth-{os.getpid()}-s', f'hearth-{os.getpid()}-c'
        self.made = []

    def up(self):
        if os.geteuid() != 0:
            raise Skip('network namespaces need root')
        for name in (self.server, self.client):
            try:
                ip('netns', 'add', name)
            except FileNotFoundError as e:
                raise Skip('iproute2 is not installed') from e
            except subprocess.CalledProcessError as e:
                raise Skip(f'no network namespaces here: {e.stderr.strip()}') from e
            self.made.append(name)
            ip('-n', name, 'link', 'set', 'lo', 'up')
        one_queue = ('numrxqueues', '1', 'numtxqueues', '1')
        try:
            ip('link', 'add', 'hs0', 'netns', self.server, *one_queue, 'type', 'veth', 'peer', 'name', 'hc0', 'netns', self.client, *one_queue)
        except subprocess.CalledProcessError as e:
            raise Skip(f'no veth here: {e.stderr.strip()}') from e
        for name, interface, address in ((self.server, 'hs0', SERVER_IP), (self.client, 'hc0', CLIENT_IP)):
            # what a kernel sends by itself would be among the answers
            with contextlib.suppress(FileNotFoundError), self.inside(name), open(f'/proc/sys/net/ipv6/conf/{interface}/disable_ipv6', 'w', encoding='ascii') as file:
                file.write('1')
            ip('-n', name, 'address', 'add', address + '/24', 'dev', interface)
            ip('-n', name, 'link', 'set', interface, 'up')
        self.server_mac, self.client_mac = self.mac(self.server, 'hs0'), self.mac(self.client, 'hc0')

    def down(self):
        for name in self.made:
            ip('netns', 'delete', name)

    @contextlib.contextmanager
    def inside(self, name):
        """This thread is in a namespace for a while; what it opens there stays there."""
        with open('/proc/thread-self/ns/net', 'rb') as home, open(f'/run/netns/{name}', 'rb') as there:
            if LIBC.setns(there.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), 'setns')
            try:
                yield
            finally:
                LIBC.setns(home.fileno(), CLONE_NEWNET)

    def mac(self, name, interface):
        with self.inside(name):
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.bind((interface, 0))
            with s:
                return s.getsockname()[4]

    def socket(self, *args, name=None, timeout=20):
        with self.inside(name or self.client):
            s = socket.socket(*args)
        s.settimeout(timeout)
        return s

    def udp(self, port):
        s = self.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect((SERVER_IP, port))
        return s

    def raw(self, protocol):
        s = self.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        s.bind(('hc0', protocol))
        return s

    def server_address(self, there):
        ip('-n', self.server, 'address', 'add' if there else 'delete', SERVER_IP + '/24', 'dev', 'hs0')

    def xdp_program(self):
        """Is one on the server's interface?"""
        return 'prog/xdp' in ip('-n', self.server, '-d', 'link', 'show', 'dev', 'hs0')


# ---- frames by hand ----


def ones_sum(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def ipv4(source, destination, payload, protocol=17, frag=0x4000, ttl=64, ident=0, version=4, options=b'', length=None, checksum=None, tos=0):
    words = 5 + len(options) // 4
    head = struct.pack('>BBHHHBBH4s4s', version << 4 | words, tos, 4 * words + len(payload) if length is None else length, ident, frag, ttl, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(destination)) + options
    total = ~ones_sum(head) & 0xffff if checksum is None else checksum
    return head[:10] + struct.pack('>H', total) + head[12:] + payload


def pseudo(source, destination, udp_length):
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack('>HH', 17, udp_length)


def udp(source, destination, source_port, port, payload, length=None, checksum=None):
    length = 8 + len(payload) if length is None else length
    head = struct.pack('>HHHH', source_port, port, length, 0)
    if checksum is None:
        checksum = ~ones_sum(pseudo(source, destination, length) + head + payload) & 0xffff or 0xffff
    return head[:6] + struct.pack('>H', checksum) + payload


def ethernet(destination, source, payload, kind=ETH_P_IP):
    return destination + source + struct.pack('>H', kind) + payload
