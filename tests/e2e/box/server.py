# SPDX-License-Identifier: Apache-2.0
"""The function of the box tests: remembers things in memory, and says whether it still knows them."""
import http.server
import mmap
import os
import sys
import tempfile

PAGE = 4096
MB = int(os.environ.get("TEST_MB", "0"))
SIZE = max(MB, 1) << 20
region = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(SIZE // PAGE):
    region[page * PAGE:page * PAGE + 8] = (page + 1).to_bytes(8, "little")
count = 0
unlinked = []


def page_is(data, page, want):
    return int.from_bytes(data[page * PAGE:page * PAGE + 8], "little") == want


def check(data, first, last):
    bad = [page for page in range(first, last) if not page_is(data, page, page + 1)]
    return "ok" if not bad else "page %d of %d bad" % (bad[0], len(bad))


def events():
    """Fork, discard, move and unmap while the memory is not there yet."""
    n = SIZE // PAGE
    q = n // 4
    pid = os.fork()
    if pid == 0:
        os._exit(0 if check(region, 0, q) == "ok" and check(region, n - 16, n) == "ok" else 1)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        return "the forked child saw other memory"
    region.madvise(mmap.MADV_DONTNEED, q * PAGE, q * PAGE)
    for page in range(q, 2 * q):
        if not page_is(region, page, 0):
            return "page %d came back after it was discarded" % page
    region[q * PAGE:q * PAGE + 8] = (77).to_bytes(8, "little")
    region.resize(SIZE + (64 << 20))        # moves it
    for first, last in ((0, q), (2 * q, n)):
        result = check(region, first, last)
        if result != "ok":
            return "after the move: " + result
    if not page_is(region, q, 77) or not page_is(region, n + 5, 0):
        return "after the move: new pages are wrong"
    region.resize(2 * q * PAGE)             # unmaps the tail
    return check(region, 0, q)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global count
        count += 1
        text = str(count)
        if self.path == "/touch":
            text = check(region, 0, SIZE // PAGE)
        elif self.path == "/back":
            n = SIZE // PAGE
            bad = [page for page in range(n - 1, -1, -1) if not page_is(region, page, page + 1)]
            text = "ok" if not bad else "page %d bad" % bad[0]
        elif self.path == "/events":
            text = events()
        elif self.path == "/write":
            with open("/tmp/note", "w") as f:
                f.write("kept")
            text = "ok"
        elif self.path == "/unlinked":
            if unlinked:
                unlinked[0].seek(0)
                text = unlinked[0].read()
            else:
                unlinked.append(tempfile.TemporaryFile("w+", dir="/tmp"))
                unlinked[0].write("kept")
                unlinked[0].flush()
                text = "ok"
        elif self.path == "/read":
            text = open("/tmp/note").read()
        elif self.path == "/sandbox":
            status = open("/proc/self/status").read()
            keep = ("CapPrm", "CapBnd", "NoNewPrivs", "Uid", "Groups")
            lines = [line for line in status.splitlines() if line.split(":")[0] in keep]
            for path in ("/x", "/usr/x", "/etc/x", os.getcwd() + "/x", "/proc/sys/kernel/hostname"):
                try:
                    open(path, "w").close()
                    lines.append("wrote " + path)
                except OSError:
                    pass
            lines.append("pids " + " ".join(p for p in os.listdir("/proc") if p.isdigit()))
            lines.append("host " + os.uname().nodename)
            text = "\n".join(lines)
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


Server(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
