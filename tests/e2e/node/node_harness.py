# SPDX-License-Identifier: Apache-2.0
"""A node of the real programs in folders of its own, for the tests beside this file.

$HEARTH_BUILD names the build tree (default: build). Isolation is full and needs root; where that is not to be had, need_full() ends the
test with exit status 77 and says why. Everything here has a time limit.
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
BUILD = os.path.abspath(os.environ.get("HEARTH_BUILD", os.path.join(SOURCE, "build")))
BIN = os.path.join(BUILD, "bin")
HEARTH = os.path.join(BIN, "hearth")
PYTHON = "/usr/bin/python3"
RUNTIME = os.path.join(SOURCE, "functions/runtime/hearth_runtime.py")
NATIVE = os.path.join(BUILD, "functions/native")
TIMEOUT_S = 60


class SkipTest(Exception):
    """This test cannot be run here; the text says why."""


def skip(why):
    """The whole file cannot be run here."""
    print("1..0 # SKIP " + why)
    sys.exit(0)             # of a TAP test; 77 would be an error


def need_full():
    if os.geteuid() != 0:
        skip("isolation needs root")
    if subprocess.run(["unshare", "-mnpiuf", "true"], stderr=subprocess.DEVNULL, timeout=20).returncode:
        skip("no name spaces can be made here")


def wait_for(what, predicate, timeout_s=20.0):
    """Until predicate() is true; its value is returned. @what is for the message."""
    end = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %.3g s: %s (last: %r)" % (timeout_s, what, value))
        time.sleep(0.02)


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __getitem__(self, name):
        return self.headers.get(name)

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return "<%d %s %r>" % (self.status, dict(self.headers), self.body[:400])


def read_proc(pid, name):
    try:
        with open("/proc/%s/%s" % (pid, name)) as f:
            return f.read()
    except OSError:
        return ""


def alive(pid):
    """Is there such a process, and is it no zombie?"""
    stat = read_proc(pid, "stat")
    return bool(stat) and stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def parents():
    """{pid: parent's pid} of every process."""
    table = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        stat = read_proc(pid, "stat")
        if stat:
            table[int(pid)] = int(stat.rsplit(")", 1)[1].split()[1])
    return table


def descendants(pid):
    table, found = parents(), {pid}
    while True:
        more = {child for child, parent in table.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


class Node:
    """with Node() as node: ... - a daemon in a folder that every user may look into, ended and removed afterwards."""

    def __init__(self, *args, isolation="full", run_as=None, config=None, log_level="info"):
        self.dir = tempfile.mkdtemp(prefix="hearth-test-")
        os.chmod(self.dir, 0o755)
        self.run, self.state, self.programs = (os.path.join(self.dir, d) for d in ("run", "state", "programs"))
        os.mkdir(self.programs)
        self.isolation, self.args, self.pid, self.run_as = isolation, list(args), None, list(run_as or [])
        if run_as:
            os.chmod(self.dir, 0o777)
        if config:
            path = os.path.join(self.dir, "hearth.yaml")
            with open(path, "w") as f:
                f.write(config)
            self.args += ["--config", path]
        self.args += ["--log-level", log_level]
        self.log = os.path.join(self.dir, "hearthd.log")

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.pid and alive(self.pid):
                self.down()
        finally:
            for pid in descendants(self.pid) if self.pid else ():
                self.kill(pid)
            if self.pid and alive(self.pid):
                self.kill(self.pid)
            if kind and not issubclass(kind, SkipTest):
                self.show_log()
            if os.environ.get("HEARTH_TEST_KEEP"):
                print("# kept: " + self.dir)
            else:
                shutil.rmtree(self.dir, ignore_errors=True)

    @staticmethod
    def kill(pid, sig=signal.SIGKILL):
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass

    def show_log(self, lines=40):
        try:
            with open(self.log, errors="replace") as f:
                print("".join("# log: " + line for line in f.readlines()[-lines:]))
        except OSError:
            pass

    # ---- the daemon ----

    def up(self):
        done = self.cli("up", "-d", "--state", self.state, "--listen", "127.0.0.1:0", "--isolation", self.isolation, "--log", self.log, *self.args, json_out=True)
        assert done.returncode == 0, (done, self.show_log())
        self.pid = json.loads(done.stdout)["pid"]
        self.port = int(self.ps()["node"]["gateway"].rsplit(":", 1)[1])
        return self

    def down(self, *args):
        done = self.cli("down", *args, timeout=120)
        assert done.returncode == 0, done
        if "--keep" not in args:
            wait_for("hearthd's end", lambda: not alive(self.pid))
        return done

    def cli(self, *args, json_out=False, stdin=b"", timeout=TIMEOUT_S, env=None):
        """hearth ARGS; the finished process, its output as bytes."""
        line = self.run_as + [HEARTH, "--run", self.run] + (["--json"] if json_out else []) + [str(a) for a in args]
        return subprocess.run(line, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, env={**os.environ, **(env or {})})

    def json(self, *args, **kw):
        """hearth --json ARGS, which must work; the answer."""
        done = self.cli(*args, json_out=True, **kw)
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def ps(self, *name):
        return self.json("ps", *name)

    def instances(self, name, *states):
        return [i for i in self.ps(name)["instances"] if not states or i["state"] in states]

    def function(self, name):
        return next(f for f in self.ps(name)["functions"] if f["name"] == name)

    def wait_state(self, name, state, count=1, timeout_s=20.0):
        return wait_for("%d %s of %s" % (count, state, name), lambda: (lambda i: len(i) >= count and i)(self.instances(name, state)), timeout_s)

    # ---- functions ----

    def write(self, name, text, mode=0o755):
        path = os.path.join(self.programs, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def manifest(self, name, command, **keys):
        """A manifest file; values are written as JSON, which YAML contains."""
        lines = ["name: " + name, "command: " + json.dumps(command)]
        lines += ["%s: %s" % (k, json.dumps(v)) for k, v in keys.items()]
        return self.write(name + ".yaml", "\n".join(lines) + "\n", 0o644)

    def deploy(self, name, command, *args, **keys):
        done = self.cli("deploy", *args, self.manifest(name, command, **keys))
        assert done.returncode == 0, done
        return name

    def deploy_python(self, name, program, **keys):
        """A program in Python; $PORT serves it when the contract is http."""
        self.write(name + ".py", program)
        return self.deploy(name, [PYTHON, name + ".py"], **keys)

    def deploy_lambda(self, name, handler, **keys):
        """A module with handler(event, context), run by functions/runtime."""
        self.write(name + ".py", handler)
        shutil.copy(RUNTIME, os.path.join(self.programs, "hearth_runtime.py"))
        return self.deploy(name, [PYTHON, "hearth_runtime.py", name + ".handler"], contract="lambda", **keys)

    def remove(self, *names):
        """Functions, and wait until nothing of them runs."""
        done = self.cli("rm", *names)
        assert done.returncode == 0, done

    # ---- the gateway ----

    def http(self, method, path, body=None, headers=None, timeout=TIMEOUT_S):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            conn.request(method, path, body, headers or {}, encode_chunked="Transfer-Encoding" in (headers or {}))
            answer = conn.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            conn.close()

    def invoke(self, name, body=b"{}", headers=None, timeout=TIMEOUT_S):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        return self.http("POST", "/2015-03-31/functions/%s/invocations" % name, body, headers, timeout)

    def call(self, name, path="/", method="GET", body=None, headers=None, timeout=TIMEOUT_S):
        return self.http(method, "/function/" + name + path, body, headers, timeout)

    def raw(self, data, timeout=TIMEOUT_S):
        """Bytes to the gateway, and all that comes back until it closes: the last request should ask it to."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            s.sendall(data)
            got = b""
            try:
                while part := s.recv(65536):
                    got += part
            except ConnectionResetError:        # that, too, is an end
                pass
            return got

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in self.http("GET", "/metrics").body.decode().splitlines():
            m = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if m and m[1] == name and all('%s="%s"' % (k, v) in (m[2] or "") for k, v in labels.items()):
                total += float(m[3])
        return total

    # ---- leaks ----

    def cgroups(self):
        """Folders of instances below this daemon's group in every hierarchy."""
        group = None
        for place in sorted({line.split()[1] for line in read_proc("self", "mounts").splitlines() if line.split()[2] in ("cgroup", "cgroup2")}):
            for base in {place, place + next((c.split(":", 2)[2] for c in read_proc(self.pid, "cgroup").splitlines() if place.endswith("/" + c.split(":")[1])), "")}:
                if os.path.isdir(base):
                    for root, dirs, _ in os.walk(base):
                        for d in dirs:
                            if re.fullmatch(r"hearth-[0-9a-f]{8}", os.path.basename(root)):
                                group = group or []
                                group.append(os.path.join(root, d))
        return set(group or ())

    def fds(self):
        """Open descriptors of the daemon, by kind, without the two pipes of the hearth-box that stands by."""
        kinds = {}
        for fd in os.listdir("/proc/%d/fd" % self.pid):
            try:
                target = os.readlink("/proc/%d/fd/%s" % (self.pid, fd))
            except OSError:
                continue
            kind = re.sub(r"[:\[(].*", "", target)
            kinds[kind] = kinds.get(kind, 0) + 1
        kinds["pipe"] = kinds.get("pipe", 0) - 2 * len(self.standing_by())
        return kinds

    def standing_by(self):
        """The hearth-box that waits for the next wake: sometimes there, sometimes not yet again."""
        return {pid for pid in descendants(self.pid) if read_proc(pid, "comm") == "hearth-standby\n"}

    def pagers(self):
        """hearth-pager and its two, where idle memory can be moved: there from the beginning, started again should it end."""
        return {pid for pid in descendants(self.pid) if read_proc(pid, "comm").strip() in ("hearth-pager", "pager-spare", "pager-holder")}

    def held(self):
        """What a leak would make more of; the cgroups of other daemons are left out, and so is the hearth-box that stands by."""
        roots = os.path.join(self.run, "roots")
        return {"processes": sorted(descendants(self.pid) - self.standing_by() - self.pagers()), "fds": self.fds(), "cgroups": sorted(g for g in self.cgroups() if self.mine(g)),
                "roots": sorted(os.listdir(roots)) if os.path.isdir(roots) else []}

    def mine(self, group):
        return getattr(self, "seen", None) is not None and os.path.basename(group) in self.seen

    def note_instances(self):
        """Remember the names of the instances that there are: their cgroups are looked for later."""
        self.seen = getattr(self, "seen", set())
        self.seen |= {i["id"] for i in self.ps()["instances"]}

    def clear(self):
        """Every function is removed."""
        self.note_instances()
        names = [f["name"] for f in self.ps()["functions"]]
        if names:
            self.remove(*names)


def leak_check(node, before):
    """Everything removed, the daemon holds what it held before."""
    node.clear()
    wait_for("no leak: before %r" % before, lambda: (lambda now: now == before or (print_late(now), False)[1])(node.held()), 30)


LATE = {}


def print_late(now):
    LATE["held"] = now


def log_has(name, node, text, timeout_s=10.0):
    """Until a function's log holds the text; the log is returned."""
    def look():
        done = node.cli("logs", "-n", "1000", name)
        return done.stdout.decode(errors="replace") if text in done.stdout.decode(errors="replace") else None
    return wait_for("%r in the log of %s" % (text, name), look, timeout_s)


def in_parallel(count, job):
    """job(i) in threads of their own; the results in order; an exception is a result."""
    results = [None] * count

    def run(i):
        try:
            results[i] = job(i)
        except Exception as e:                  # shown by whoever looks at the results
            results[i] = e
    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(TIMEOUT_S * 2)
    return results


def _too_long(_signum, _frame):
    raise TimeoutError("the test took too long")


def run_one(test, *args, limit_s=120):
    """One test with a time limit. Return: a TAP result."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(limit_s)
    try:
        test(*args)
        return "ok", ""
    except SkipTest as e:
        return "ok", " # SKIP %s" % e
    except Exception:
        print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="")
        return "not ok", ""
    finally:
        signal.alarm(0)


def warm_up(node):
    """What the daemon does once and keeps: its probe has ended, the first instance has come and gone."""
    node.deploy("warm_up", ["./echo_c"], directory=NATIVE, contract="native")
    assert node.invoke("warm_up", b"x").body == b"x"
    node.clear()
    wait_for("a quiet node", lambda: not any(node.held()[k] for k in ("processes", "cgroups", "roots")))


def main(names, make_node=None):
    """Every test_NAME(node) of a module on one node, each followed by a count of what the daemon holds; make_node=False: tests take nothing.

    usage: FILE [WORD...] runs those whose name contains one of the words.
    """
    tests = [(n, f) for n, f in names.items() if n.startswith("test_") and callable(f)]
    tests = [t for t in tests if not sys.argv[1:] or any(w in t[0] for w in sys.argv[1:])]
    failed = 0
    print("1..%d" % len(tests), flush=True)

    def report(number, name, result):
        print("%s %d - %s%s" % (result[0], number, name[5:], result[1]), flush=True)
        return result[0] != "ok"

    if make_node is False:
        failed = sum(report(i, n, run_one(f)) for i, (n, f) in enumerate(tests, 1))
        sys.exit(failed != 0)

    def with_leaks(test, node):
        test(node)
        node.note_instances()
        LATE.clear()
        try:
            leak_check(node, before)
        except AssertionError as e:
            raise AssertionError("%s\nnow: %r" % (e, LATE.get("held"))) from None

    with (make_node or Node)() as node:
        warm_up(node)
        before = node.held()
        for i, (n, f) in enumerate(tests, 1):
            bad = report(i, n, run_one(with_leaks, f, node))
            if bad:
                failed += 1
                node.show_log(15)
                try:
                    node.clear()
                    wait_for("a quiet node", lambda: node.held() == before, 20)
                except Exception as e:
                    print("# the node does not come to rest: %s" % e)
                    if not alive(node.pid):
                        print("Bail out! hearthd has ended")
                        break
    sys.exit(failed != 0)
