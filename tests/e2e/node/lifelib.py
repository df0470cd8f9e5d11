# SPDX-License-Identifier: Apache-2.0
"""A node of the tests' own: its folders, daemons on them one after another, functions that count their calls."""

import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.normpath(os.path.join(HERE, "..", "..", ".."))
BIN = os.environ.get("HEARTH_BIN", os.path.join(SOURCE, "build", "bin"))
COUNT_NATIVE = os.environ.get("HEARTH_COUNT_NATIVE", os.path.join(SOURCE, "build", "tests", "e2e", "node", "count_native"))
SEAL = os.environ.get("HEARTH_SEAL", os.path.join(SOURCE, "build", "tests", "e2e", "node", "seal"))
CGROUPS = "/sys/fs/cgroup"

LAMBDA = '''
import os, signal, time
count = 0
if os.environ.get("DEAF"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
ballast = bytearray(int(os.environ.get("BALLAST", "0")))
for at in range(0, len(ballast), 4096):
    ballast[at] = at >> 12 & 255
def handler(event, context):
    global count
    if event.get("sleep"):
        time.sleep(event["sleep"])
    if event.get("check"):
        assert all(ballast[at] == at >> 12 & 255 for at in range(0, len(ballast), 4096)), "memory is not what it was"
    count += 1
    return {"count": count, "pid": os.getpid()}
'''

HTTP = '''
import http.server, os, time
count = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global count
        count += 1
        time.sleep(float(self.path.partition("?")[2] or 0))
        body = b'{"count": %d}' % count
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'''


def main():
    """Run the tests as root with a /tmp of their own, where whatever is left is theirs."""
    if os.geteuid() != 0:
        print("skipped: parking needs root")
        raise SystemExit(77)
    below_tmp = any(os.path.realpath(p).startswith("/tmp/") for p in (SOURCE, BIN))
    if not below_tmp and not os.environ.get("HEARTH_OWN_TMP"):
        os.environ["HEARTH_OWN_TMP"] = "yes"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
                              'mount -t tmpfs none /tmp; exec "$@"', "sh", sys.executable, *sys.argv])
    unittest.main(verbosity=2)


def litter():
    """What jobs and CRIU leave in /tmp; known only if nobody else uses it."""
    return set(glob.glob("/tmp/.criu*") + glob.glob("/tmp/cr-*") + glob.glob("/tmp/hearth-wake-*")) if os.environ.get("HEARTH_OWN_TMP") else set()


def wait_for(what, condition, seconds=20):
    """Return condition()'s first true value; polls, as the other side are strangers' processes."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)


def processes(needle):
    """Pids of living processes whose command line contains needle."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            with open(path, "rb") as f:
                if needle.encode() in f.read():
                    found.append(int(path.split("/")[2]))
    return found


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError):
            with open(path) as f:
                found += [int(p) for p in f.read().split()]
    return found


def comm(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    return ""


def state_of(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0]
    return ""


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.start = response.getheader("X-Hearth-Start")
        self.instance = response.getheader("X-Hearth-Instance")
        self.body = response.read()

    @property
    def count(self):
        assert self.status == 200, f"{self.status} {self.body!r}"
        value = json.loads(self.body)
        return value if isinstance(value, int) else value["count"]

    def __repr__(self):
        return f"<{self.status} {self.start} {self.instance} {self.body[:200]!r}>"


class Node:
    """Folders and at most one daemon. Every process it starts ends with close()."""

    def __init__(self, state=None, parent=None):
        self.dir = tempfile.mkdtemp(prefix="hearth-life-", dir=parent)
        self.run, self.code = self.dir + "/run", self.dir + "/code"
        self.state = state or self.dir + "/state"
        self.log = self.dir + "/hearthd.log"
        self.daemon = self.port = None
        self.program = [BIN + "/hearthd"]
        self.ever = []                  # pids of instances seen
        self.trees = []                 # cgroups of all, by hierarchy
        os.mkdir(self.code)
        os.chmod(self.dir, 0o755)
        shutil.copy(os.path.join(SOURCE, "functions/runtime/hearth_runtime.py"), self.code)
        for name, text in (("counter.py", LAMBDA), ("server.py", HTTP)):
            with open(f"{self.code}/{name}", "w") as f:
                f.write(text)
        shutil.copy(COUNT_NATIVE, self.code + "/count_native")

    # ---- the daemon

    def start(self, env=None, args=()):
        ready, tell = os.pipe()
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(
                [*self.program, "--run", self.run, "--state", self.state, "--listen", "127.0.0.1:0", "--log-level", "debug",
                 "--ready-fd", str(tell), *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[tell], env={**os.environ, **(env or {})})
        os.close(tell)
        with os.fdopen(ready, "rb") as f:
            if f.read(1) != b"\n":
                raise AssertionError("hearthd did not start:\n" + self.text()[-3000:])
        node = self.ctl("info")["node"]
        self.port = int(node["gateway"].rpartition(":")[2])
        return self

    def knows(self):
        """Wait until the daemon knows whether it can park; skip where it cannot."""
        wait_for("the probe", lambda: self.text().rpartition(": gateway on port")[2].count("idle instances are "))
        node = self.ctl("info")["node"]
        if not node["can_park"]:
            print("skipped: no parking here:", node["no_park"])
            self.close()
            raise SystemExit(77)
        return self

    def kill(self):
        self.daemon.kill()
        self.daemon.wait()

    def end(self, sig=signal.SIGTERM, seconds=30):
        self.daemon.send_signal(sig)
        assert self.daemon.wait(seconds) == 0, f"hearthd ended with {self.daemon.returncode}"

    def down(self, keep=False, seconds=30):
        self.ctl("down", keep=keep)
        assert self.daemon.wait(seconds) == 0

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def kill_all(self):
        """All are stopped first, as the pager's processes begin each other anew. Return: whether there was anybody."""
        pids = [p for p in processes(self.dir) + self.in_cgroups() if state_of(p) != "Z"]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        return bool(pids)

    def close(self):
        """End everything, whatever state a failed test left it in."""
        if self.daemon and self.daemon.poll() is None:
            self.kill()
        wait_for("everybody's end", lambda: not self.kill_all())
        wait_for("the cgroups' end", lambda: not self.in_cgroups())
        for path in self.cgroups():
            with contextlib.suppress(OSError):
                os.rmdir(path)
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- talking to it

    def ctl(self, op, **more):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(self.run + "/hearthd.sock")
            s.sendall(json.dumps({"op": op, **more}).encode() + b"\n")
            with s.makefile() as f:
                return json.loads(f.readline())

    def ask(self, op, **more):
        reply = self.ctl(op, **more)
        assert reply["ok"], reply
        return reply

    def deploy(self, name, contract="lambda", **more):
        command = {"lambda": ["/usr/bin/python3", "hearth_runtime.py", "counter.handler"], "http": ["/usr/bin/python3", "server.py"],
                   "native": ["./count_native"]}[contract]
        manifest = {"name": name, "directory": self.code, "command": command, "contract": contract, "memory": "128MiB", "timeout": "30s",
                    "init_timeout": "30s", "keep_hot": "1h", "max_instances": 1, **more}
        self.ask("deploy", text=json.dumps(manifest), file="test", base=self.code)
        return name

    def call(self, name, event=None, path=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            if path is not None:
                connection.request("GET", f"/function/{name}{path}")
            else:
                connection.request("POST", f"/2015-03-31/functions/{name}/invocations", json.dumps(event or {}))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def count(self, name, **more):
        path = "/" if self.ask("describe", name=name)["manifest"]["contract"] == "http" else None
        return self.call(name, path=path, **more)

    def instances(self, name=None):
        found = self.ask("ps", **({"name": name} if name else {}))["instances"]
        self.ever += [i["pid"] for i in found if i["pid"]]
        return found

    def functions(self, name):
        return self.ask("ps", name=name)["functions"][0]

    def in_state(self, name, state, seconds=20):
        try:
            return wait_for(f"{name} {state}", lambda: [i for i in self.instances(name) if i["state"] == state], seconds)
        except AssertionError as error:
            with open(self.log, errors="replace") as f:
                raise AssertionError(f"{error}; instances: {self.instances(name)}; the daemon's last words:\n{''.join(f.readlines()[-30:])}") from None

    def park(self, name):
        self.ask("park", name=name)
        return self.in_state(name, "parked")[0]

    # ---- what it leaves

    def images(self, name):
        return sorted(p for p in glob.glob(f"{self.state}/images/{name}/*") if os.path.exists(p + "/manifest.json"))

    def drafts(self, name):
        return [p for p in glob.glob(f"{self.state}/images/{name}/.*") if not p.endswith(".log")]

    def root_cgroup(self):
        """The name of this node's tree, as the daemon derives it."""
        for record in glob.glob(self.run + "/instances/*.json"):
            with open(record) as f:
                return json.JSONDecoder().raw_decode(f.read())[0]["cgroup"].split("/")[0]
        return None

    def cgroups(self):
        if not self.trees:
            name = self.root_cgroup()
            self.trees = glob.glob(f"{CGROUPS}/**/{name}", recursive=True) if name else []
        return [p for tree in self.trees for p in glob.glob(tree + "/*/")]

    def in_cgroups(self):
        pids = set()
        for path in self.cgroups():
            with contextlib.suppress(OSError):
                with open(path + "cgroup.procs") as f:
                    pids |= {int(p) for p in f.read().split()}
        return sorted(pids)

    def leftovers(self):
        """Everything of this node that is neither the daemon nor a living instance."""
        known = {i["pid"] for i in self.instances() if i["pid"]} if self.daemon.poll() is None else set()
        left = [f"cgroup {p}" for p in self.cgroups() if not any(i["id"] in p for i in self.instances() if i["pid"])]
        left += [f"process {p} {comm(p)}" for p in self.in_cgroups() if p not in known and not any(p in children(k) for k in known)]
        left += [f"child {p} {comm(p)} {state_of(p)}" for p in children(self.daemon.pid) if p not in known and comm(p) not in ("hearth-init", "hearth-standby", "hearth-pager", "pager-spare", "pager-holder")]
        left += glob.glob(self.run + "/work/*")
        left += [p for p in glob.glob(self.state + "/images/*/.*") if not p.endswith(".log")]
        return left

    def clean(self, seconds=10):
        try:
            wait_for("nothing left over", lambda: not self.leftovers(), seconds)
        except AssertionError:
            raise AssertionError(f"left over: {self.leftovers()}") from None
