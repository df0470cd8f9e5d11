# SPDX-License-Identifier: Apache-2.0
"""hearthd's end of the channel, for tests: frames of src/fn/inc/fn/wire.h over an abstract Unix socket."""
import itertools, os, socket, struct, subprocess, sys, time

INVOKE, STOP, CANCEL = 1, 2, 3
LOADED_NOW, WORKERS = 23, 24
HELLO, READY_NOW, RESULT, INIT_ERROR, LOG, LOG_LOST, EXITED = range(16, 23)
OK, FUNCTION_ERROR, REFUSED, WORKER_DIED = 0, 1, 2, 3
HEAD = struct.Struct('<IBBHQQQ')
INIT_PROGRAM = os.environ.get('HEARTH_INIT', 'build/bin/hearth-init')


class Frame:
    def __init__(self, kind, flags, id, arg, meta, body):
        self.kind, self.flags, self.id, self.arg, self.meta, self.body = kind, flags, id, arg, meta, body

    def __repr__(self):
        return f'Frame({self.kind}, id={self.id}, arg={self.arg}, {self.meta}, {self.body[:60]!r})'


def pack(kind, id=0, arg=0, meta=None, body=b''):
    lines = ''.join(f'{k}={v}\n' for k, v in (meta or {}).items()).encode()
    return HEAD.pack(len(lines) + len(body), kind, 0, len(lines), id, arg, 0) + lines + body


class Channel:
    """Connects as soon as the listener is there."""
    def __init__(self, name, suffix, timeout=10, alive=None):
        deadline = time.monotonic() + timeout
        while True:
            self.s = socket.socket(socket.AF_UNIX)
            try:
                self.s.connect(f'\0{name}-{suffix}')
                break
            except ConnectionRefusedError:
                self.s.close()
                if time.monotonic() > deadline or (alive and alive.poll() is not None):
                    raise
                time.sleep(0.002)
        self.s.settimeout(timeout)
        self.buf = b''
        self.log = {1: b'', 2: b''}
        self.lost = self.workers = 0
        self.hello = self.frame()
        assert self.hello.kind == HELLO and self.hello.arg in (1, 2), self.hello
        self.running = list(struct.unpack(f'<{len(self.hello.body) // 8}Q', self.hello.body))

    def _fill(self, n):
        while len(self.buf) < n:
            data = self.s.recv(1 << 18)
            if not data:
                raise EOFError('the instance hung up')
            self.buf += data

    def frame(self):
        self._fill(32)
        length, kind, flags, meta_len, id, arg, reserved = HEAD.unpack(self.buf[:32])
        assert reserved == 0 and meta_len <= length
        self._fill(32 + length)
        payload, self.buf = self.buf[32:32 + length], self.buf[32 + length:]
        meta = dict(line.split('=', 1) for line in payload[:meta_len].decode().splitlines())
        return Frame(kind, flags, id, arg, meta, payload[meta_len:])

    def expect(self, kind):
        """The next frame that is no log, nor says how many workers there are; logs are collected."""
        while True:
            f = self.frame()
            if f.kind == WORKERS and kind != WORKERS:
                self.workers = f.arg
            elif f.kind == LOG:
                self.log[f.arg] += f.body
            elif f.kind == LOG_LOST:
                self.lost += f.arg
            else:
                assert f.kind == kind, f'{f} instead of {kind}; log: {self.log}'
                return f

    def wait_log(self, text, stream=1):
        """Until the function's output ends with text (it may come in pieces)."""
        while not self.log[stream].endswith(text):
            f = self.frame()
            assert f.kind == LOG, f
            self.log[f.arg] += f.body

    def send(self, *args, **kw):
        self.s.sendall(pack(*args, **kw))

    def close(self):
        self.s.close()


_count = itertools.count()


class Instance:
    def __init__(self, contract, command, env=None, wrap=(), inherit=(), **opts):
        self.suffix = f't{os.getpid()}x{next(_count)}'
        args = [*wrap, INIT_PROGRAM, '--contract', contract, '--suffix', self.suffix]
        for k, v in opts.items():
            args += ['--' + k.replace('_', '-')] + ([] if v is True else [str(v)])
        self.p = subprocess.Popen(args + ['--'] + command, env={**os.environ, **(env or {})}, pass_fds=inherit)
        self.ch = None

    def connect(self, name='hearth-init'):
        self.ch = Channel(name, self.suffix, alive=self.p)
        return self.ch

    def ready(self):
        if not self.ch.hello.flags & 1:
            self.ch.expect(READY_NOW)

    def exited(self):
        """Return: the function's wait status; the instance's processes are gone."""
        status = self.ch.expect(EXITED).arg
        self.code = self.p.wait(10)
        return status

    def end(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        if self.ch:
            self.ch.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def main(tests):
    """Run functions named test_*; TAP on standard output."""
    tests = [(n, f) for n, f in tests.items() if n.startswith('test_')]
    print(f'1..{len(tests)}')
    failed = 0
    for i, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f'ok {i} {name}', flush=True)
        except SkipTest as e:
            print(f'ok {i} {name} # SKIP {e}', flush=True)
        except Exception as e:
            import traceback
            traceback.print_exc()
            failed += 1
            print(f'not ok {i} {name}: {e!r}', flush=True)
    sys.exit(failed > 0)


class SkipTest(Exception):
    pass
