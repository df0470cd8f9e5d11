#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hearth-init as a process: output, signals, orphans, readiness, exit."""
import os, re, signal, sys, time, subprocess
from channel import *

PY = sys.executable
SH = ['/bin/sh', '-c']


def gone(pid, timeout=5):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[0] == 'Z':
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def rss_kib(pid):
    return int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{pid}/status').read())[1])


def test_exit_at_start():
    with Instance('lambda', SH + ['echo out; echo err >&2; exit 3'], api_port=free_port()) as i:
        ch = i.connect()
        assert i.exited() == 3 << 8 and i.code == 3
        assert ch.log == {1: b'out\n', 2: b'err\n'} and not ch.hello.flags & 1


def test_missing_program():
    with Instance('native', ['/nonexistent/program']) as i:
        ch = i.connect()
        assert i.exited() == 127 << 8 and i.code == 127
        assert b'/nonexistent/program: No such file' in ch.log[2]


def test_nobody_connects():
    begin = time.monotonic()
    with Instance('native', ['/bin/true']) as i:
        assert i.p.wait(10) == 0 and time.monotonic() - begin < 5


def test_environment_and_streams():
    code = "import os,sys,signal; print(os.environ['PORT'], os.environ['HEARTH_SUFFIX'], os.readlink('/proc/self/fd/0'), os.getsid(0) == os.getpid(), " \
           "sorted(int(f) for f in os.listdir('/proc/self/fd'))[:3], signal.getsignal(signal.SIGPIPE), open('/proc/self/status').read().split('SigBlk:')[1].split()[0])"
    with Instance('http', [PY, '-c', code], port=free_port()) as i:
        ch = i.connect()
        i.exited()
        text = ch.log[1].decode()
        assert i.suffix in text and '/dev/null True [0, 1, 2]' in text and text.rstrip().endswith('0' * 16), text


def test_http_readiness_comes_with_the_listener():
    port = free_port()
    code = f"import time,socket; time.sleep(0.3); s=socket.socket(); s.setsockopt(1,2,1); s.bind(('127.0.0.1',{port})); s.listen(); print('listening', flush=True); time.sleep(60)"
    with Instance('http', [PY, '-c', code], port=port) as i:
        ch = i.connect()
        assert not ch.hello.flags & 1
        i.ready()
        ch.close()
        assert i.connect().hello.flags == 1
        i.ch.send(STOP, arg=signal.SIGTERM)
        assert i.exited() == signal.SIGTERM


def test_log_flood_is_bounded_and_counted():
    total = 100_000_000
    code = f"import os\nd=b'x'*999+b'\\n'\nfor _ in range({total // 100000}): os.write(1, d*100)\n"
    with Instance('native', [PY, '-c', code]) as i:
        ch = i.connect()        # and nothing is read until the function has written everything
        peak = 0
        while any(PY in c for c in children(i.p.pid)):
            peak = max(peak, rss_kib(i.p.pid))
            time.sleep(0.05)
        i.exited()
        got = len(ch.log[1])
        assert got + ch.lost == total and ch.lost > 0, (got, ch.lost)
        assert 200_000 < got < 3_000_000 and peak < 2048, (got, peak)
        print(f'# flood: {got} bytes relayed, {ch.lost} counted as lost, peak RSS {peak} KiB')


def children(pid):
    out = []
    try:
        for c in open(f'/proc/{pid}/task/{pid}/children').read().split():
            out.append(open(f'/proc/{c}/cmdline').read())
    except FileNotFoundError:
        pass
    return out


def test_log_flood_with_a_reader():
    code = "import os\nd=b'y'*99999+b'\\n'\nfor _ in range(300): os.write(1, d)\n"
    with Instance('native', [PY, '-c', code]) as i:
        ch = i.connect()
        i.exited()
        assert len(ch.log[1]) + ch.lost == 30_000_000


def test_log_before_the_connection_is_kept():
    with Instance('native', SH + ['echo early; sleep 60']) as i:
        time.sleep(0.3)         # the line is to be there before us
        ch = i.connect()
        f = ch.frame()
        assert (f.kind, f.arg, f.body) == (LOG, 1, b'early\n')
        ch.send(STOP, arg=9)
        assert i.exited() == 9 and i.code == 137


def test_orphans_are_reaped_and_killed():
    # Grandchildren in sessions of their own, some ending at once, some never.
    with Instance('native', SH + ['setsid sleep 1000 & echo $!; setsid sh -c "sleep 1000 & echo \\$!"; for n in 1 2 3 4 5 6; do sh -c "sh -c true & exit 0"; done; echo ok; exec sleep 1000']) as i:
        ch = i.connect()
        ch.wait_log(b'ok\n')
        pids = [int(x) for x in ch.log[1].split()[:2]]
        time.sleep(0.2)         # for init to have reaped
        zombies = [c for c in open(f'/proc/{i.p.pid}/task/{i.p.pid}/children').read().split() if open(f'/proc/{c}/stat').read().rsplit(')', 1)[1].split()[0] == 'Z']
        assert not zombies
        ch.send(STOP, arg=signal.SIGTERM)
        assert i.exited() == signal.SIGTERM
        assert all(gone(p) for p in pids), pids


def test_ignores_sigterm_then_killed():
    with Instance('native', [PY, '-c', "import signal,time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\nwhile 1: time.sleep(1)"]) as i:
        ch = i.connect()
        ch.wait_log(b'deaf\n')
        ch.send(STOP, arg=signal.SIGTERM)
        ch.s.settimeout(0.3)
        try:
            assert False, ch.frame()
        except TimeoutError:
            pass
        ch.s.settimeout(10)
        ch.send(STOP, arg=signal.SIGKILL)
        assert i.exited() == signal.SIGKILL


def test_sigterm_to_init_is_forwarded():
    with Instance('native', [PY, '-c', "import signal,sys,time; signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit(5))); print('up', flush=True); time.sleep(60)"]) as i:
        ch = i.connect()
        ch.wait_log(b'up\n')
        i.p.send_signal(signal.SIGTERM)
        assert i.exited() == 5 << 8 and ch.log[1] == b'up\nbye\n'


def test_new_connection_replaces_the_old():
    with Instance('native', ['/bin/sleep', '60']) as i:
        old = i.connect()
        i.connect()
        try:
            assert False, old.frame()
        except EOFError:
            pass
        i.ch.send(STOP, arg=9)
        i.exited()


def test_strangers_are_not_let_in():
    if os.geteuid() != 0 or not all(map(os.path.exists, ('/usr/bin/setpriv', '/usr/bin/python3'))):
        raise SkipTest('needs root, /usr/bin/setpriv and /usr/bin/python3')
    code = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('\\0hearth-init-'+sys.argv[1]); s.settimeout(10)\n" \
           "try: print(len(s.recv(100)))\nexcept ConnectionResetError: print(0)"
    with Instance('native', ['/bin/sleep', '60']) as i:
        ch = i.connect()
        r = subprocess.run(['/usr/bin/setpriv', '--reuid', '65534', '--clear-groups', '/usr/bin/python3', '-c', code, i.suffix], capture_output=True, text=True)
        assert r.stdout == '0\n', r
        ch.send(STOP, arg=9)    # and the connection that was there still is
        assert i.exited() == 9


def test_native_invocations_do_not_come_this_way():
    with Instance('native', ['/bin/sleep', '60']) as i:
        ch = i.connect()
        ch.send(INVOKE, id=4)
        r = ch.expect(RESULT)
        assert (r.id, r.arg) == (4, REFUSED)
        print(f'# idle RSS: {rss_kib(i.p.pid)} KiB; descriptors: {len(os.listdir(f"/proc/{i.p.pid}/fd"))}')
        assert rss_kib(i.p.pid) < 1024


def test_as_pid_1():
    if os.geteuid() != 0 or subprocess.run(['unshare', '-pf', '--mount-proc', 'true'], capture_output=True).returncode != 0:
        raise SkipTest('PID namespaces need root')
    with Instance('native', SH + ['setsid sleep 1000 & trap "exit 7" TERM; echo $$; while :; do sleep 0.05; done'], wrap=['unshare', '-pf', '--kill-child', '--mount-proc']) as i:
        ch = i.connect()
        ch.wait_log(b'2\n')
        ch.send(STOP, arg=signal.SIGTERM)
        assert i.exited() == 7 << 8 and i.code == 7


def test_nothing_of_the_caller_stays_open():
    r, w = os.pipe()
    os.set_inheritable(w, True)
    with Instance('native', ['/bin/sleep', '60'], inherit=[w]) as i:
        os.close(w)
        ch = i.connect()
        assert os.read(r, 1) == b''     # end of file: neither init nor the function has it
        os.close(r)
        fds = {f: os.readlink(f'/proc/{i.p.pid}/fd/{f}') for f in os.listdir(f'/proc/{i.p.pid}/fd')}
        assert all(fds[f] == '/dev/null' for f in '012'), fds
        assert all(re.match(r'(socket|pipe|anon_inode):', x) for f, x in fds.items() if int(f) > 2), fds
        ch.send(STOP, arg=9)
        assert i.exited() == 9


def test_strict_command_line():
    for args, text in ((['--contract', 'ftp', '--', 'x'], 'there are lambda'), (['--', 'x'], '--contract is missing'), (['--contract', 'http'], 'no command'),
                       (['--contract', 'http', '--port', '0', '--', 'x'], '--port 0'), (['--contrct', 'http', '--', 'x'], 'no such option'),
                       (['--contract', 'lambda', '--concurrency', '2', '--', 'x'], 'one invocation at a time'), (['--contract', 'http', '--zygote', '--', 'x'], 'lambda contract only'),
                       (['--contract', 'lambda', '--zygote', '--worker-idle', '0', '--', 'x'], '--worker-idle 0')):
        r = subprocess.run([INIT_PROGRAM] + args, capture_output=True, text=True)
        assert r.returncode == 2 and text in r.stderr, (args, r)
    assert 'usage: hearth-init' in subprocess.run([INIT_PROGRAM, '--help'], capture_output=True, text=True, check=True).stdout


main(globals())
