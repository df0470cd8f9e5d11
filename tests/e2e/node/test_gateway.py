#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the gateway promises its clients: the Invoke API, errors, limits, and clients that misbehave."""
import os
import re
import socket
import threading
import time

from node_harness import NATIVE, in_parallel, main, need_full, read_proc, wait_for

INVOKE = "/2015-03-31/functions/%s/invocations"
MAX_BODY = 6 * 1024 * 1024

# sleeps as long as the event says, and says so in a file first
SLEEPER = """
import sys, time
def handler(event, context):
    print("run", event.get("n"), flush=True)
    time.sleep(event.get("s", 0))
    return event
"""


def echo(node):
    return node.deploy("echo_c", ["./echo_c"], directory=NATIVE, contract="native", concurrency=64, memory="64MiB")


def sleeper(node, **keys):
    return node.deploy_lambda("sleeper", SLEEPER, **keys)


def test_invocation_types(node):
    sleeper(node)
    r = node.invoke("sleeper", {"n": 1}, {"X-Amz-Invocation-Type": "RequestResponse"})
    assert (r.status, r.json()) == (200, {"n": 1}), r
    r = node.invoke("sleeper", {"n": 1}, {"X-Amz-Invocation-Type": "DryRun"})
    assert (r.status, r.body) == (204, b""), r
    r = node.invoke("sleeper", {"n": 1}, {"X-Amz-Invocation-Type": "Later"})
    assert r.status == 400 and r["X-Amzn-ErrorType"] == "InvalidParameterValueException" and r.json()["Type"], r
    assert node.function("sleeper")["requests"] == 1, "a dry run ran"


def test_event_is_accepted_then_runs(node):
    sleeper(node)
    begun = time.monotonic()
    r = node.invoke("sleeper", {"n": "event-77", "s": 1}, {"X-Amz-Invocation-Type": "Event"})
    assert (r.status, r.body) == (202, b"") and r["X-Amzn-RequestId"], r
    assert time.monotonic() - begun < 1, "the event was waited for"
    wait_for("the event's end", lambda: node.instances("sleeper") and node.instances("sleeper")[0]["served"] == 1)
    assert b"run event-77" in node.cli("logs", "sleeper").stdout


def test_function_error_header(node):
    node.deploy_lambda("bad", "def handler(event, context):\n    raise RuntimeError('on purpose')\n")
    r = node.invoke("bad")
    assert r.status == 200 and r["X-Amz-Function-Error"] == "Unhandled", r
    assert r.json()["errorType"] == "RuntimeError" and r.json()["errorMessage"] == "on purpose", r


def test_arns_and_qualifiers(node):
    echo(node)
    for name in ("echo_c", "echo_c:$LATEST", "echo_c:prod", "123456789012:function:echo_c", "arn:aws:lambda:eu-west-1:123456789012:function:echo_c",
                 "arn:aws:lambda:eu-west-1:123456789012:function:echo_c:$LATEST", "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aecho_c"):
        r = node.invoke(name, b"x")
        assert (r.status, r.body) == (200, b"x"), (name, r)
    r = node.http("POST", INVOKE % "echo_c" + "?Qualifier=%24LATEST", b"x")
    assert (r.status, r.body) == (200, b"x"), r


def test_errors_are_json(node):
    echo(node)
    for method, path, status in (("GET", "/", 404), ("GET", "/nothing", 404), ("GET", "/function/", 404), ("GET", "/function/none/x", 404),
                                 ("POST", "/healthz", 405), ("DELETE", "/metrics", 405), ("GET", "/function/" + "n" * 300, 404)):
        r = node.http(method, path)
        assert r.status == status and r.json()["error"]["type"] and r.json()["error"]["message"], (method, path, r)
    for method, path, status, kind in (("POST", INVOKE % "none", 404, "ResourceNotFoundException"), ("GET", INVOKE % "echo_c", 405, "MethodNotAllowedException"),
                                       ("POST", "/2015-03-31/functions/echo_c", 404, "ResourceNotFoundException"), ("POST", INVOKE % "", 404, "ResourceNotFoundException"),
                                       ("POST", INVOKE % ("x" * 500), 404, "ResourceNotFoundException"), ("POST", INVOKE % "a/b", 404, "ResourceNotFoundException"),
                                       ("POST", INVOKE % "arn:aws:lambda:::function:", 404, "ResourceNotFoundException")):
        r = node.http(method, path, b"")
        assert r.status == status and r["X-Amzn-ErrorType"] == kind and r.json()["Type"], (method, path, r)
    for text in (b"what?\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                 b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"):
        got = node.raw(text)
        assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 ")) and b'"error"' in got, (text, got)


def test_body_limit(node):
    echo(node)
    body = os.urandom(MAX_BODY)
    assert node.invoke("echo_c", body).body == body, "6 MB do not pass"
    r = node.raw(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % ((INVOKE % "echo_c").encode(), MAX_BODY + 1))
    assert r.startswith(b"HTTP/1.1 413 "), r[:200]
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % (INVOKE % "echo_c").encode()
    with socket.create_connection(("127.0.0.1", node.port), timeout=30) as s:
        s.sendall(head)
        try:
            for _ in range(8):
                s.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        except OSError:
            pass
        assert s.recv(100).startswith(b"HTTP/1.1 413 ")
    assert node.invoke("echo_c", b"after").body == b"after"


def test_queue_full_is_429(node):
    sleeper(node, max_instances=1, queue=3)
    node.invoke("sleeper")
    results = in_parallel(10, lambda i: node.invoke("sleeper", {"s": 0.3}))
    states = sorted(r.status for r in results)
    assert states.count(200) == 4 and states.count(429) == 6, results
    refused = next(r for r in results if r.status == 429)
    assert refused["X-Amzn-ErrorType"] == "TooManyRequestsException" and "queue" in refused.json()["Message"], refused
    assert node.metric("hearth_function_rejected_total", function="sleeper") == 6


def test_event_queue_full_is_429(node):
    sleeper(node, max_instances=1, queue=2)
    node.invoke("sleeper")
    states = [node.invoke("sleeper", {"s": 0.5}, {"X-Amz-Invocation-Type": "Event"}).status for _ in range(6)]
    assert states.count(202) == 3 and states.count(429) == 3, states
    wait_for("the events' end", lambda: node.instances("sleeper")[0]["served"] == 4)


def test_timeout_is_504_and_the_instance_is_replaced(node):
    sleeper(node, timeout="500ms")
    first = node.invoke("sleeper")["X-Hearth-Instance"]
    begun = time.monotonic()
    r = node.invoke("sleeper", {"s": 30})
    assert r.status == 504 and "timeout" in r.json()["Message"], r
    assert 0.4 < time.monotonic() - begun < 5
    r = node.invoke("sleeper", {"n": 2})
    assert r.status == 200 and r["X-Hearth-Instance"] != first and r["X-Hearth-Start"] == "cold", r
    wait_for("the old instance's end", lambda: [i["id"] for i in node.instances("sleeper")] == [r["X-Hearth-Instance"]])
    assert node.metric("hearth_function_timeouts_total", function="sleeper") == 1


def test_queue_timeout_is_504(node):
    sleeper(node, max_instances=1, queue_timeout="300ms")
    node.invoke("sleeper")
    a, b = in_parallel(2, lambda i: (time.sleep(i * 0.1), node.invoke("sleeper", {"s": 1}))[1])
    assert a.status == 200 and b.status == 504 and "free" in b.json()["Message"], (a, b)


def test_http_timeout(node):
    node.deploy_python("slow", """
import http.server, os, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(self.path[1:] or 0))
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
""", contract="http", timeout="500ms", concurrency=1)
    first = node.call("slow", "/0")
    assert first.status == 200
    r = node.call("slow", "/20")
    assert r.status == 504 and r.json()["error"]["type"] == "Timeout", r
    again = node.call("slow", "/0")
    assert again.status == 200 and again["X-Hearth-Instance"] != first["X-Hearth-Instance"], again


def test_healthz(node):
    r = node.http("GET", "/healthz")
    assert (r.status, r.body) == (200, b"ok\n"), r
    r = node.http("HEAD", "/healthz")
    assert (r.status, r.body) == (200, b""), r


def test_metrics_are_prometheus_text(node):
    echo(node)
    sleeper(node)
    for _ in range(5):
        node.invoke("echo_c")
        node.invoke("sleeper")
    r = node.http("GET", "/metrics")
    assert r.status == 200 and r["Content-Type"].startswith("text/plain; version=0.0.4"), r
    text = r.body.decode()
    assert text.endswith("\n")
    label = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*"'
    types, seen, finished, last = {}, set(), set(), None
    for line in text.splitlines():
        if m := re.fullmatch(r"# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)", line):
            if m[1] == "TYPE":
                assert m[2] not in types and m[3] in ("counter", "gauge", "histogram", "summary"), line
                types[m[2]] = m[3]
            continue
        m = re.fullmatch(r"([a-zA-Z_:][\w:]*)(\{%s(?:,%s)*\})? (-?[\d.]+(?:e[+-]?\d+)?|\+Inf|NaN)" % (label, label), line)
        assert m, line
        family = next((m[1][:-len(s)] for s in ("_bucket", "_sum", "_count") if m[1].endswith(s) and types.get(m[1][:-len(s)]) in ("histogram", "summary")), m[1])
        assert family in types, line
        assert family == last or family not in finished, "samples of %s are not together" % family
        finished.add(last)
        last = family
        assert (m[1], m[2]) not in seen, line
        seen.add((m[1], m[2]))
    assert node.metric("hearth_function_requests_total", function="echo_c") == 5
    assert node.metric("hearth_request_seconds_count", function="echo_c") == 5
    assert node.metric("hearth_request_seconds_bucket", function="echo_c", le="+Inf") == 5
    buckets = [float(b) for b in re.findall(r'hearth_request_seconds_bucket\{function="echo_c",start="hot",le="[^"]+"\} (\d+)', text)]
    assert buckets == sorted(buckets) and len(buckets) == 17, buckets


def test_names_that_do_not_exist_cost_nothing(node):
    idle = node.fds().get("socket", 0)
    node.http("GET", "/healthz")

    def memory():
        return int(re.search(r"VmRSS:\s+(\d+)", read_proc(node.pid, "status"))[1])

    def burst(connections, each):
        def job(i):
            with socket.create_connection(("127.0.0.1", node.port), timeout=30) as s, s.makefile("rb") as stream:
                for k in range(each):
                    s.sendall(b"GET /function/no%d-%d HTTP/1.1\r\nHost: x\r\n\r\n" % (i, k))
                    assert b" 404 " in stream.readline()
                    length = 0
                    while (line := stream.readline()) != b"\r\n":
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    stream.read(length)
            return each
        assert sum(in_parallel(connections, job)) == connections * each
    burst(10, 100)
    wait_for("the connections' end", lambda: node.metric("hearth_gateway_connections") == 1)
    wait_for("the asker's own, too", lambda: node.fds().get("socket", 0) <= idle)
    fds, before = node.fds(), memory()
    burst(10, 1000)
    wait_for("the descriptors of before", lambda: node.fds() == fds)
    assert memory() - before < 1024, "%d KiB more" % (memory() - before)


def test_slow_clients_hold_nobody_up(node):
    echo(node)
    node.invoke("echo_c")
    slow = []
    for i in range(100):
        s = socket.create_connection(("127.0.0.1", node.port), timeout=30)
        s.sendall(b"POST /function/echo_c HTTP/1.1\r\nHost: x\r\n" + (b"Content-Length: 10\r\n\r\nab" if i % 2 else b"X-Slow: "))
        slow.append(s)
    for k in range(20):
        begun = time.monotonic()
        assert node.invoke("echo_c", b"%d" % k).body == b"%d" % k
        assert time.monotonic() - begun < 2
        slow[k].sendall(b"z")
    for s in slow:
        s.close()


def test_client_leaves_the_queue(node):
    sleeper(node, max_instances=1)
    node.invoke("sleeper")
    running = threading.Thread(target=node.invoke, args=("sleeper", {"s": 1, "n": "first"}))
    running.start()
    wait_for("a call that runs", lambda: node.instances("sleeper")[0]["inflight"] == 1)
    socks = []
    for i in range(5):
        s = socket.create_connection(("127.0.0.1", node.port), timeout=30)
        s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{\"n\":\"gone\"}" % (INVOKE % "sleeper").encode())
        socks.append(s)
    wait_for("five that wait", lambda: node.function("sleeper")["queued"] == 5)
    for s in socks:
        s.close()
    wait_for("an empty queue", lambda: node.function("sleeper")["queued"] == 0)
    running.join(30)
    assert node.invoke("sleeper", {"n": "after"}).status == 200
    log = node.cli("logs", "sleeper").stdout
    assert b"run first" in log and b"run after" in log and b"run gone" not in log, log


def test_client_leaves_while_it_runs(node):
    sleeper(node, max_instances=1)
    first = node.invoke("sleeper")["X-Hearth-Instance"]
    s = socket.create_connection(("127.0.0.1", node.port), timeout=30)
    s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n{\"s\":0.5,\"n\":\"lo\"}" % (INVOKE % "sleeper").encode())
    wait_for("a call that runs", lambda: node.instances("sleeper")[0]["inflight"] == 1)
    s.close()
    r = node.invoke("sleeper", {"n": "next"})
    assert r.status == 200 and r["X-Hearth-Instance"] == first and r.json() == {"n": "next"}, r
    assert node.instances("sleeper")[0]["served"] == 3


if __name__ == "__main__":
    need_full()
    main(globals())
