# SPDX-License-Identifier: Apache-2.0
"""The proxy path of the gateway (bench_http) between hostile clients and hostile instances. usage: test_proxy.py BENCH_HTTP"""
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

CRLF = b"\r\n"


class Instance:
    """Plays the function: one thread a connection, the path chooses the behaviour."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.gone = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            conn, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        with conn, conn.makefile("rb") as stream:
            while line := stream.readline():
                path = line.split()[1].decode()
                length = 0
                while (header := stream.readline()) not in (CRLF, b""):
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                if not self.answer(conn, path, stream.read(length)):
                    return

    def answer(self, conn, path, body):
        if path == "/die":
            return False
        if path == "/half":
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            return False
        if path == "/garbage":
            conn.sendall(b"what?\r\n\r\n")
            return False
        if path == "/chunks":
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(10):
                conn.sendall(b"3\r\n<%d>\r\n" % i)
            conn.sendall(b"0\r\n\r\n")
            return True
        if path == "/endless":
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    conn.sendall(b"x" * 65536)
            except OSError:
                self.gone.set()
            return False
        text = path.encode() + b" " + str(len(body)).encode()
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        return path != "/last"


def ask(port, data, until_closed=False, pieces=1):
    """Everything that comes back until the connection closes, or until the first response with a length is complete."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as s:
        try:
            for i in range(pieces):
                s.sendall(data[i * len(data) // pieces:(i + 1) * len(data) // pieces])
        except OSError:
            pass
        got = b""
        while True:
            try:
                more = s.recv(65536)
            except ConnectionResetError:
                return got + b"[reset]"
            got += more
            match = re.search(rb"Content-Length: (\d+).*?\r\n\r\n", got, re.S)
            if not more or (not until_closed and match and len(got) >= match.end() + int(match[1])):
                return got


def get(port, path, extra=b""):
    return ask(port, b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n" + extra + b"\r\n")


def check(name, ok, got):
    print(("ok " if ok else "FAILED ") + name + ("" if ok else ": %r" % got[:400]), flush=True)
    return ok


def slow_loris(port):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(b"GET / HTTP/1.1\r\n")
        s.settimeout(0.5)
        got = b""
        while time.monotonic() - began < 20:
            try:
                s.sendall(b"X: y\r\n")
                more = s.recv(4096)
                got += more
                if not more:
                    break
            except socket.timeout:
                continue
            except OSError:
                break
    return b" 408 " in got and time.monotonic() - began < 15, got


def tests(port, instance, gateway):
    got = get(port, b"/a")
    yield check("a request is forwarded", b"/a 0" in got and b"X-Hearth-Start: hot" in got, got)
    got = ask(port, b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n%s\r\n" % (i, b"Connection: close\r\n" if i == 49 else b"") for i in range(50)), True)
    yield check("pipelined requests are answered in order", re.findall(rb"/(\d+) 0", got) == [b"%d" % i for i in range(50)], got)
    body = b"".join(b"%x\r\n%s\r\n" % (n, b"b" * n) for n in range(1, 500)) + b"0\r\n\r\n"
    got = ask(port, b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body, pieces=37)
    yield check("a chunked body arrives whole", b"/c 124750" in got, got)
    got = ask(port, b"POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: 6000000\r\n\r\n" + b"z" * 6000000)
    yield check("six megabytes pass", b"/big 6000000" in got, got)
    got = ask(port, b"GET /chunks HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", True)
    yield check("a chunked response passes", b"<9>" in got and got.endswith(b"0\r\n\r\n"), got)
    got = ask(port, b"GET /chunks HTTP/1.0\r\n\r\n", True)
    yield check("and without chunks to HTTP/1.0", got.endswith(b"<0><1><2><3><4><5><6><7><8><9>"), got)
    got = ask(port, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7000000\r\n\r\n" + b"z" * 7000000, True)
    yield check("seven are 413, and the client gets to read it", b" 413 " in got, got)
    got = ask(port, b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 10000, True)
    yield check("an oversized head is 431", b" 431 " in got, got)
    for path, want in ((b"/die", b" 502 "), (b"/garbage", b" 502 ")):
        got = get(port, path)
        yield check("%s is 502 with a JSON error" % path.decode(), want in got and b'{"error":{' in got, got)
    got = ask(port, b"GET /half HTTP/1.1\r\nHost: h\r\n\r\n", True)
    yield check("an instance dying in mid-response breaks the client's connection off", b"half" in got or b"[reset]" in got, got)
    get(port, b"/last")
    got = get(port, b"/after")
    yield check("a closed idle connection is not noticed by the next", b"/after 0" in got, got)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
        s.recv(4096)
        rss = int(re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % gateway.pid).read())[1])
    yield check("a client leaving in mid-response ends the instance's side", instance.gone.wait(10), b"")
    yield check("an unread response is not piled up in memory", rss < 65536, b"%d KiB" % rss)
    ok, got = slow_loris(port)
    yield check("a slow loris is 408 in time", ok, got)
    fds = len(os.listdir("/proc/%d/fd" % gateway.pid))
    yield check("no descriptors are left behind", fds < 40, b"%d" % fds)


def main():
    instance = Instance()
    gateway = subprocess.Popen([sys.argv[1], "0", str(instance.port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        port = int(gateway.stdout.readline().split()[-1])
        ok = all(list(tests(port, instance, gateway)))
    finally:
        gateway.send_signal(signal.SIGTERM)
        ended = gateway.wait(10)
    return 0 if ok and ended == 0 else 1


sys.exit(main())
