#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Functions that fail in every way: the caller learns why, the node and the other functions go on, nothing is left behind."""
import os
import re
import signal
import threading
import time

from node_harness import NATIVE, PYTHON, SOURCE, alive, descendants, in_parallel, log_has, main, need_full, read_proc, wait_for

NUISANCE = """
import os, signal, sys, time
def handler(event, context):
    what = event.get("do")
    if what == "die":
        os.kill(os.getpid(), event["signal"])
    if what == "exit":
        os._exit(event["status"])
    if what == "sleep":
        time.sleep(event["s"])
    if what == "eat":
        hoard = []
        while True:
            hoard.append(bytearray(b"x" * (1 << 20)))
    if what == "flood":
        line = b"y" * 1023 + b"\\n"
        for _ in range(event["mib"]):
            os.write(1, line * 1024)
    if what == "children":
        for _ in range(event["n"]):
            if os.fork() == 0:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                if os.fork() == 0:
                    time.sleep(600)
                time.sleep(600)
    if what == "bomb":
        made = 0
        try:
            while made < 10000:
                if os.fork() == 0:
                    time.sleep(600)
                made += 1
        except OSError as e:
            return {"made": made, "errno": e.errno}
        return {"made": made}
    return {"pid": os.getpid()}
"""


def nuisance(node, **keys):
    node.deploy_lambda("nuisance", NUISANCE, **{"memory": "128MiB", "max_instances": 1, **keys})
    r = node.invoke("nuisance")
    assert r.status == 200, r
    return r["X-Hearth-Instance"]


def calm(node):
    """Another function that is served all the while."""
    node.deploy("echo_c", ["./echo_c"], directory=NATIVE, contract="native", concurrency=64, memory="64MiB")
    assert node.invoke("echo_c", b"x").body == b"x"


def processes(node):
    """Of the instances: descendants of the daemon."""
    return descendants(node.pid) - node.standing_by() - node.pagers()


def test_lambda_killed_during_a_call(node):
    first = nuisance(node)
    for signum, word in ((signal.SIGKILL, "signal 9"), (signal.SIGSEGV, "signal 11")):
        r = node.invoke("nuisance", {"do": "die", "signal": int(signum)})
        assert r.status == 502 and word in r.json()["Message"], r
    r = node.invoke("nuisance", {"do": "exit", "status": 3})
    assert r.status == 502 and "status 3" in r.json()["Message"], r
    r = node.invoke("nuisance")
    assert r.status == 200 and r["X-Hearth-Instance"] != first, r
    assert node.metric("hearth_function_lost_total", function="nuisance") == 3


def test_http_killed_during_a_call(node):
    node.deploy_python("web", """
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die": os.kill(os.getpid(), 9)
        if self.path == "/half":
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nhalf"); self.wfile.flush(); os.kill(os.getpid(), 9)
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
""", contract="http", concurrency=1)
    assert node.call("web").body == b"ok"
    r = node.call("web", "/die")
    assert r.status == 502 and "signal 9" in r.json()["error"]["message"], r
    assert node.call("web").body == b"ok"
    doomed = node.instances("web")[0]["id"]
    got = node.raw(b"GET /function/web/half HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for("its end", lambda: doomed not in [i["id"] for i in node.instances("web")])
    assert b"200 OK" in got and got.endswith(b"half"), got       # cut off: the client sees fewer bytes than promised
    assert node.call("web").body == b"ok"


def test_native_killed_during_a_call(node):
    calm(node)
    before = node.instances("echo_c")[0]
    programs = [p for p in processes(node) if read_proc(p, "comm") == "echo_c\n"]
    assert programs, "no process of echo_c"
    os.kill(programs[0], signal.SIGSTOP)
    out = []
    t = threading.Thread(target=lambda: out.append(node.invoke("echo_c", b"x")))
    t.start()
    wait_for("a call that runs", lambda: node.instances("echo_c")[0]["inflight"] == 1)
    os.kill(programs[0], signal.SIGKILL)
    t.join(30)
    assert out[0].status == 502 and "signal 9" in out[0].json()["Message"], out
    r = node.invoke("echo_c", b"again")
    assert r.body == b"again" and r["X-Hearth-Instance"] != before["id"], r


def test_init_killed(node):
    nuisance(node)
    pid = node.instances("nuisance")[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not node.instances("nuisance"))
    assert node.invoke("nuisance").status == 200


def test_never_ready(node):
    node.deploy_python("never", "import time\ntime.sleep(600)\n", contract="http", init_timeout="700ms")
    begun = time.monotonic()
    r = node.call("never")
    assert r.status == 502 and "init_timeout" in r.json()["error"]["message"], r
    assert time.monotonic() - begun < 10
    wait_for("its end", lambda: not node.instances("never"))
    assert node.metric("hearth_function_start_failures_total", function="never") >= 1


def test_lambda_never_ready(node):
    node.deploy_python("never", "import time\ntime.sleep(600)\n", contract="lambda", init_timeout="700ms")
    r = node.invoke("never")
    assert r.status == 502 and "init_timeout" in r.json()["Message"], r


def test_exits_at_start(node):
    for name, program, word in (("quits", "import sys\nprint('no use', flush=True)\nsys.exit(7)\n", "status 7"), ("wrong", "import nosuchmodule\n", "status 1")):
        node.deploy_python(name, program, contract="lambda")
        r = node.invoke(name)
        assert r.status == 502 and word in r.json()["Message"] and "hearth logs" in r.json()["Message"], r
    log_has("quits", node, "no use")
    log_has("wrong", node, "ModuleNotFoundError")


def test_initialisation_error_is_reported(node):
    node.deploy_lambda("broken", "raise ValueError('cannot begin')\n")
    r = node.invoke("broken")
    assert r.status == 502 and "cannot begin" in r.json()["Message"], r


def test_missing_interpreter(node):
    node.write("script", "#!/opt/no/such/interpreter\n")
    node.deploy("nointerp", ["./script"], contract="lambda")
    r = node.invoke("nointerp")
    assert r.status == 502 and "status 127" in r.json()["Message"], r
    log_has("nointerp", node, "script")
    node.write("text", "neither a script nor a program\n")
    node.deploy("noformat", ["./text"], contract="lambda")
    r = node.invoke("noformat")
    assert r.status == 502 and "hearth logs" in r.json()["Message"], r
    log_has("noformat", node, "text")


def test_program_removed_after_deployment(node):
    path = node.write("soon", "#!/bin/sh\n")
    node.deploy("soon", ["./soon"], contract="lambda")
    os.unlink(path)
    r = node.invoke("soon")
    assert r.status == 502 and "soon" in r.json()["Message"], r


def log_sizes(node, name):
    logs = os.path.join(node.state, "logs")
    return {f: os.path.getsize(os.path.join(logs, f)) for f in os.listdir(logs) if f.startswith(name)}


def test_log_flood(node):
    """Others are answered while one floods its log, which stays small."""
    calm(node)
    nuisance(node)
    done, floods = threading.Event(), []

    def flood():
        while len(floods) < 5 or not done.is_set():
            floods.append(node.invoke("nuisance", {"do": "flood", "mib": 8}).status)
    t = threading.Thread(target=flood, daemon=True)
    t.start()
    for _ in range(100):
        assert node.invoke("echo_c", b"x").body == b"x"
    done.set()
    t.join()
    assert set(floods) == {200}, floods
    assert 0 < sum(log_sizes(node, "nuisance").values()) < 18 << 20, log_sizes(node, "nuisance")


def test_log_flood_is_counted(node):
    """What does not get through in time is counted: with what is in the log it is all that was written. Too little to turn the log, which would lose track."""
    mib = 7
    node.deploy_lambda("counted", NUISANCE, memory="128MiB", max_instances=1)
    assert node.invoke("counted", {"do": "flood", "mib": mib}).status == 200

    def all_there():
        with open(os.path.join(node.state, "logs", "counted.log"), "rb") as file:
            log = file.read()
        lost = sum(map(int, re.findall(rb"\[hearth: (\d+) bytes of output lost\]", log)))
        kept = re.sub(rb"\[hearth: .*lost\]", b"", log).count(b"y")
        # of a line's 1024 bytes 1023 are counted in the log; lost ones are counted as they were
        assert kept + lost <= mib << 20, (kept, lost)
        return kept + lost >= (mib << 10) * 1023
    wait_for("every byte of the flood, kept or counted", all_there)
    assert set(log_sizes(node, "counted")) == {"counted.log"}


def test_children_are_gone_after_stop(node):
    nuisance(node, stop_timeout="500ms")
    node.invoke("nuisance", {"do": "children", "n": 10})
    # each child forks one of its own, which takes a moment after the answer
    wait_for("the children", lambda: len(processes(node)) >= 20)
    before = processes(node)
    node.note_instances()
    node.remove("nuisance")
    wait_for("the children's end", lambda: not any(alive(p) for p in before))


def test_sigterm_ignored(node):
    node.deploy_python("deaf", """
import http.server, os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
""", contract="http", stop_timeout="700ms")
    assert node.call("deaf").body == b"ok"
    before, begun = processes(node), time.monotonic()
    node.note_instances()
    node.remove("deaf")
    wait_for("its end", lambda: not any(alive(p) for p in before))
    assert 0.6 < time.monotonic() - begun < 5, time.monotonic() - begun


def test_sigterm_is_seen(node):
    node.deploy_python("polite", """
import http.server, os, signal, sys
def bye(*a):
    print("good bye", flush=True); os._exit(0)
signal.signal(signal.SIGTERM, bye)
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
""", contract="http", stop_timeout="20s")
    assert node.call("polite").body == b"ok"
    node.note_instances()
    begun = time.monotonic()
    node.remove("polite")
    wait_for("its end", lambda: not processes(node))
    assert time.monotonic() - begun < 5
    log_has("polite", node, "good bye")


def test_http_garbage(node):
    node.deploy_python("garbage", """
import os, socket, threading
kinds = [b"what?\\r\\n\\r\\n", b"", b"HTTP/1.1 999999 X\\r\\n\\r\\n", b"HTTP/1.1 200 OK\\r\\nContent-Length: x\\r\\n\\r\\n", b"\\x00" * 5000,
         b"HTTP/1.1 200 OK\\r\\n" + b"X-Y: " + b"z" * 200000 + b"\\r\\n\\r\\n", b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\n"]
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    c, _ = server.accept()
    def serve(c=c):
        got = c.recv(65536)
        if got:
            try: c.sendall(kinds[int(got.split()[1][1:])])
            except OSError: pass
        c.close()
    threading.Thread(target=serve, daemon=True).start()
""", contract="http", concurrency=4)
    for kind in range(6):
        r = node.call("garbage", "/%d" % kind)
        assert r.status == 502 and r.json()["error"]["message"], (kind, r)
    got = node.raw(b"GET /function/garbage/6 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert not got.endswith(b"0\r\n\r\n"), got                  # broken off in the middle is not an end
    assert node.http("GET", "/healthz").status == 200 and len(node.instances("garbage")) == 1, node.instances("garbage")


def test_lambda_runtime_garbage(node):
    node.deploy_python("garbage", """
import os, socket, time
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
def say(data):
    s = socket.create_connection((host, int(port)))
    s.sendall(data)
    s.settimeout(5)
    try: got = s.recv(65536)
    except OSError: got = b""
    s.close()
    return got
for data in (b"what?\\r\\n\\r\\n", b"\\x00" * 4000, b"GET /" + b"x" * 100000, b"POST /2018-06-01/runtime/invocation/none/response HTTP/1.1\\r\\nContent-Length: 2\\r\\n\\r\\n{}",
             b"POST /2018-06-01/runtime/invocation/none/response HTTP/1.1\\r\\nContent-Length: 99999999999\\r\\n\\r\\n", b"DELETE / HTTP/1.1\\r\\n\\r\\n"):
    print(say(data)[:12], flush=True)
got = say(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
request = [l.split(b": ")[1] for l in got.split(b"\\r\\n") if l.lower().startswith(b"lambda-runtime-aws-request-id")][0]
print(say(b"POST /2018-06-01/runtime/invocation/" + request + b"/response HTTP/1.1\\r\\nContent-Length: 3\\r\\n\\r\\n\\xff\\x00{"), flush=True)
time.sleep(600)
""", contract="lambda", timeout="10s")
    r = node.invoke("garbage")
    assert (r.status, r.body) == (200, b"\xff\x00{"), r        # what it answers is the caller's business
    assert node.http("GET", "/healthz").status == 200


def test_native_frame_garbage(node):
    node.deploy_python("frames", """
import os, socket, sys, time
kinds = {"zeros": b"\\x00" * 65536, "ones": b"\\xff" * 65536, "text": b"HTTP/1.1 200 OK\\r\\n\\r\\n" * 100, "short": b"x"}
name = "\\0" + [v for k, v in os.environ.items() if k == "NATIVE_NAME"][0]
s = socket.socket(socket.AF_UNIX)
s.bind(name); s.listen(8)
while True:
    c, _ = s.accept()
    try: c.sendall(kinds[os.environ["KIND"]])
    except OSError: pass
    time.sleep(0.2)
    c.close()
""", contract="native", init_timeout="2s", env={"KIND": "zeros", "NATIVE_NAME": native_name()})
    for kind in ("zeros", "ones", "text", "short"):
        node.deploy("frames", [PYTHON, "frames.py"], contract="native", init_timeout="2s", env={"KIND": kind, "NATIVE_NAME": native_name()})
        r = node.invoke("frames")
        assert r.status == 502 and r.json()["Message"], (kind, r)


def native_name():
    with open(os.path.join(SOURCE, "src/fn/inc/fn/wire.h")) as f:
        return re.search(r'FN_NAME_NATIVE\s+"(?:\\0)?([^"]+)"', f.read())[1]


def test_memory_limit(node):
    calm(node)
    nuisance(node, memory="64MiB", timeout="30s")
    r = node.invoke("nuisance", {"do": "eat"})
    assert r.status == 502 and "memory limit of 64 MiB" in r.json()["Message"], r
    assert node.function("nuisance")["oom_kills"] == 1
    assert node.invoke("nuisance").status == 200 and node.invoke("echo_c", b"x").body == b"x"


def test_fork_bomb(node):
    calm(node)
    nuisance(node, pids=40)
    r = node.invoke("nuisance", {"do": "bomb"})
    assert r.status == 200 and r.json()["made"] < 40 and r.json()["errno"] == 11, r
    assert node.invoke("echo_c", b"x").body == b"x"
    before = processes(node)
    node.note_instances()
    node.remove("nuisance")
    wait_for("the bomb's end", lambda: not any(alive(p) and read_proc(p, "comm") != "echo_c\n" for p in before - processes_of(node, "echo_c")))


def processes_of(node, name):
    found = set()
    for i in node.instances(name):
        found |= descendants(i["pid"]) | {i["pid"]}
    return found


def test_many_calls_to_what_cannot_start(node):
    node.deploy_python("quits", "raise SystemExit(1)\n", contract="lambda")
    results = in_parallel(20, lambda i: node.invoke("quits"))
    assert [r.status for r in results] == [502] * 20, results


if __name__ == "__main__":
    need_full()
    main(globals())
