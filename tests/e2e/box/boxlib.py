# SPDX-License-Identifier: Apache-2.0
"""What the tests of hearth-box share: running jobs, calling instances, counting what is left behind."""
import ctypes
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
BOX = os.environ["HEARTH_BOX"]
INIT = os.environ["HEARTH_TESTINIT"]
LIBC = ctypes.CDLL(None, use_errno=True)


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def find_criu():
    for path in (os.environ.get("HEARTH_CRIU"), os.environ.get("HEARTH_BUILD", "") + "/deps/criu", shutil.which("criu")):
        if path and os.access(path, os.X_OK):
            out = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.split()
            if len(out) > 1 and [int(x) for x in out[1].split(".")[:2]] >= [4, 2]:
                return path
    return None


def job(spec, env=None):
    # standard error is not a pipe: the pager of a lazy wake keeps it open for what it may have to say later
    out = subprocess.run([BOX], input=json.dumps(spec), stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}, timeout=120)
    if not out.stdout:
        return {"ok": False, "error": "no result, status %d" % out.returncode, "died": True}
    result = json.loads(out.stdout)
    assert (out.returncode == 0) == result["ok"], (out.returncode, result)
    return result


def begin(spec, env=None):
    """A job that is not waited for."""
    box = subprocess.Popen([BOX], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    box.stdin.write(json.dumps(spec))
    box.stdin.close()
    box.stdin = None
    return box


def of_its_own(pid, comm=None, timeout=10.0):
    """The first child of a process, as soon as there is one (of that name)."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for path in glob.glob("/proc/%d/task/*/children" % pid):
            for child in open(path).read().split():
                if not comm or open("/proc/%s/comm" % child).read().strip() == comm:
                    return int(child)
        time.sleep(0.005)
    raise AssertionError("process %d has no child" % pid)


class Standby:
    """A hearth-box that stands by for a job."""

    def __init__(self, group, env=None):
        self.box = subprocess.Popen([BOX, "--stand-by", group], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.group = "%s/.standby-%d" % (group, self.box.pid)

    def give(self, spec):
        out = self.box.communicate(json.dumps(spec) if spec else "", timeout=120)[0]
        return json.loads(out) if out else None


def become_subreaper():
    LIBC.prctl(36, 1, 0, 0, 0)          # as hearthd is: instances must come to us, so that we see them end


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def call(pid, path, timeout=20.0):
    """GET from inside the instance's network name space; waits for the listener to appear."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    its = os.open("/proc/%d/ns/net" % pid, os.O_RDONLY)
    deadline = time.monotonic() + timeout
    try:
        if LIBC.setns(its, 0x40000000) < 0:
            raise OSError(ctypes.get_errno(), "setns")
        while True:
            s = socket.socket()
            s.settimeout(timeout)
            try:
                s.connect(("127.0.0.1", 8080))
                break
            except ConnectionRefusedError:
                s.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    finally:
        LIBC.setns(own, 0x40000000)
        os.close(own)
        os.close(its)
    with s:
        s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
        data = b""
        while True:
            part = s.recv(65536)
            if not part:
                break
            data += part
    if b"\r\n\r\n" not in data:
        raise ConnectionError("no answer")
    return data.split(b"\r\n\r\n", 1)[1].decode()


def state(pid):
    try:
        return open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def gone(pid, timeout=10.0):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        reap()
        if state(pid) is None:
            return True
        time.sleep(0.005)
    return False


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    assert gone(pid), "process %d does not end" % pid


def children():
    reap()
    found = []
    for task in os.listdir("/proc/self/task"):
        found += open("/proc/self/task/%s/children" % task).read().split()
    return [int(pid) for pid in found]


class Place:
    """A temporary node: a folder for a function, roots and images, and a cgroup prefix."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="hearth-box-test-")
        os.chmod(self.dir, 0o755)
        self.work = os.path.join(self.dir, "work")
        self.fn = os.path.join(self.dir, "fn")
        self.images = os.path.join(self.dir, "images")
        os.mkdir(self.work)
        os.mkdir(self.fn)
        os.chmod(self.fn, 0o755)
        shutil.copy(os.path.join(HERE, "server.py"), self.fn)
        self.root = os.path.join(self.dir, "root")
        self.group = "hearth-test-%d" % os.getpid()
        self.criu = find_criu()

    def limits(self, name):
        return {"cgroup": "%s/%s" % (self.group, name), "memory_max_bytes": 1 << 30, "cpu_max": 2, "pids_max": 100}

    def start_spec(self, name, mb=0, **more):
        return {"job": "start", "id": name, "function": "server", "root": self.root, "init": INIT, "directory": self.fn,
                "command": ["/usr/bin/python3", "server.py"], "env": ["TEST_MB=%d" % mb, "PORT=8080"], "contract": "http", "port": 8080,
                "tmp_max_bytes": 16 << 20, **self.limits(name), **more}

    def start(self, name, mb=0, **more):
        result = job(self.start_spec(name, mb, **more))
        assert result["ok"], result
        return result["pid"]

    def image(self, name):
        return os.path.join(self.images, name)

    def park_spec(self, name, pid, **more):
        return {"job": "park", "id": name, "function": "server", "pid": pid, "image": self.image(name), "criu": self.criu, **more}

    def park(self, name, pid, env=None, **more):
        return job(self.park_spec(name, pid, **more), env)

    def wake(self, name, image, env=None, **more):
        return job({"job": "wake", "id": name, "function": "server", "image": self.image(image), "criu": self.criu, "root": self.root,
                    "work": os.path.join(self.work, name), **self.limits(name), **more}, env)

    def groups(self):
        return [d for pattern in ("*", ".*") for d in glob.glob("/sys/fs/cgroup/**/%s/%s/" % (self.group, pattern), recursive=True)]

    def remove_groups(self):
        for d in self.groups() + glob.glob("/sys/fs/cgroup/**/%s/" % self.group, recursive=True):
            os.rmdir(d)

    def leftovers(self):
        """Everything that must not be there once all instances have ended."""
        deadline = time.monotonic() + 5
        while children() and time.monotonic() < deadline:
            time.sleep(0.01)
        left = ["process %d" % pid for pid in children()]
        left += [line.split()[4] for line in open("/proc/self/mountinfo") if self.dir in line.split()[4]]
        left += os.listdir(self.work)
        if os.path.isdir(self.images):
            left += [n for n in os.listdir(self.images) if n.startswith(".tmp-")]
        return left

    def close(self):
        self.remove_groups()
        shutil.rmtree(self.dir, ignore_errors=True)


def needs(criu=True):
    if os.geteuid() != 0:
        skip("needs root")
    become_subreaper()
    probe = job({"job": "probe", "criu": find_criu()})
    checks = {c["name"]: c for c in probe["checks"]}
    if not checks["namespaces"]["ok"]:
        skip("name spaces: " + checks["namespaces"]["detail"])
    if criu and not checks.get("criu check", {"ok": False})["ok"]:
        skip("criu: " + checks.get("criu check", checks["criu"])["detail"])
    return checks


def main(cases, criu=True):
    checks = needs(criu)
    failed = 0
    for case in cases:
        place = Place()
        try:
            case(place, checks)
            left = place.leftovers()
            assert not left, "left behind: %s" % left
            print("ok   ", case.__name__, flush=True)
        except Exception as e:  # report every case, and clean up after it
            failed += 1
            print("FAIL ", case.__name__, repr(e), traceback.extract_tb(e.__traceback__)[1:], flush=True)
            for pid in children():
                end(pid)
        place.close()
    sys.exit(1 if failed else 0)
