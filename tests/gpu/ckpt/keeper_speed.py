#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""By hand, on a machine with a GPU: what the keeper does with so much device memory, and how fast.
usage: keeper_speed.py KEEPER SHIM PROGRAM ENGINE [BUFFERS MIB [STORE]]"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time


class Talker:
    def __init__(self, *command, **how):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **how)

    def do(self, *words):
        self.process.stdin.write(' '.join(str(w) for w in words) + '\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def info(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(path)
        s.send(b'{"op":"info"}')
        return json.loads(s.recv(65536))['result']


def ms(seen, *names):
    return ', '.join(f'{n} {int(seen.get(n + "_ns", 0)) / 1e6:.1f}' for n in names)


def main():
    keeper, shim, program, engine = (os.path.abspath(a) for a in sys.argv[1:5])
    buffers, mib = (int(a) for a in sys.argv[5:7]) if len(sys.argv) > 6 else (60, 256)
    store = sys.argv[7] if len(sys.argv) > 7 else '/dev/shm/hearth-speed'
    run = tempfile.mkdtemp()
    sock, gate = f'{run}/keeper.sock', f'{run}/programs/test/gate'
    total = buffers * mib << 20
    os.makedirs(os.path.dirname(gate))
    with open(gate, 'wb') as f:
        f.write((0x68736741).to_bytes(4, 'little') + (1).to_bytes(4, 'little') + bytes(4088))
    pool = ['--pool-store', store, '--pool-bytes', str(total + total // 4 + (1 << 30))] if store.startswith('/dev/shm') else []
    t = time.monotonic()
    k = subprocess.Popen([keeper, '--socket', sock, *pool], stdout=subprocess.PIPE)
    k.stdout.readline()
    while pool and info(sock)['pool_ready_bytes'] < int(pool[-1]):
        time.sleep(.05)
    print(f'keeper ready after {time.monotonic() - t:.2f} s')
    p = Talker(program, str(buffers), str(mib), env=dict(os.environ, LD_PRELOAD=shim, HEARTH_KEEPER=sock, HEARTH_GATE=gate, HEARTH_PROGRAM='test'))
    assert p.process.stdout.readline() == 'ok\n'
    e = Talker(engine, sock)
    e.process.stdout.readline()
    pid = p.process.pid

    def step(*words, show=()):
        t0 = time.monotonic()
        line = e.do(*words)
        took = time.monotonic() - t0
        seen = {a: b for a, b in re.findall(r'(\w+)=([^=]*?)(?= \w+=|$)', line)}
        print(f'{words[0]:10} {took * 1e3:8.1f} ms  {ms(seen, *show)}  dirty {int(seen.get("dirty", 0)) >> 20} snapshot {int(seen.get("snapshot", 0)) >> 20} '
              f'copied {int(seen.get("copied", 0)) >> 20} known {int(seen.get("known", 0)) >> 20} MiB  {seen.get("notes", "")}' if line.startswith('ok') else f'{words}: {line}', flush=True)
        if not line.startswith('ok'):
            raise SystemExit(1)
        return seen, took

    def check(seed):
        answer = p.do('check', seed)
        print(f'contents: {answer}', flush=True)
        assert answer == 'ok', answer

    assert p.do('fill', 1) == 'ok'
    while f'buffers={buffers}' not in e.do('inspect', pid):
        pass
    step('begin', pid)
    seen, took = step('precopy', store, show=('copy', 'hash'))
    print(f'  pre-copy: {total / 1e9 / (int(seen["copy_ns"]) / 1e9):.1f} GB/s')
    assert p.do('fill', 2) == 'ok'
    step('stop', 1, show=('reserve', 'gate', 'hash', 'snapshot', 'copy'))
    t = time.monotonic()
    step('detach')
    step('checkpoint', show=('lock', 'driver'))
    step('restore', show=('driver',))
    step('attach', show=('wait', 'create', 'gate'))
    print(f'  detach to gates open: {time.monotonic() - t:.3f} s', flush=True)
    assert p.do('launch') == 'ok'
    seen, took = step('drain', store, 'one', show=('copy',))
    print(f'  drain: {total / 1e9 / max(1e-9, int(seen["copy_ns"]) / 1e9):.1f} GB/s')
    step('end')
    check(2)
    for what, where in ('held', ('-', '-', 'aside')), ('image', (store, 'one', '-')):
        step('begin', pid)
        step('stop', 0, show=('gate', 'hash'))
        step('detach')
        step('checkpoint', show=('lock', 'driver'))
        step('hold', 'aside')
        step('end')
        if what == 'image':
            step('release', 'aside')
        t = time.monotonic()
        step('load', *where, f'{pid}:{pid}')
        step('restore', show=('driver',))
        step('attach', show=('wait', 'create', 'copy', 'gate'))
        assert p.do('launch') == 'ok'
        print(f'  {what}: load to first device work {time.monotonic() - t:.3f} s', flush=True)
        step('end')
        check(2)
    p.process.stdin.close()
    p.process.wait()
    k.terminate()
    print('keeper ended with', k.wait())
    shutil.rmtree(run)
    shutil.rmtree(store)


main()
