#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The three contracts, from the gateway to the function and back."""
import base64
import os
import shutil

from node_harness import NATIVE, SOURCE, SkipTest, in_parallel, main, need_full

HTTP_ECHO = """
import http.server, json, os
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while n := int(self.rfile.readline(), 16):
                body += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = json.dumps({"method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()},
                           "body": body.decode("latin-1"), "service": os.environ.get("K_SERVICE")}).encode()
        self.send_response(int(self.headers.get("X-Want", 200)))
        bodiless = self.headers.get("X-Want") in ("204", "304")
        if not bodiless:
            self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Mine", "yes")
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            self.wfile.write(text)
    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = answer
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
"""


def test_bash_bootstrap_of_the_aws_documentation(node):
    if not os.access("/usr/bin/curl", os.X_OK):
        raise SkipTest("curl is not installed")
    shutil.copy(os.path.join(SOURCE, "tests/e2e/init/bootstrap.sh"), os.path.join(node.programs, "bootstrap"))
    node.deploy("bash", ["./bootstrap"], contract="lambda")
    for n in range(3):
        r = node.invoke("bash", '{"n":%d}' % n)
        assert (r.status, r.body) == (200, b"Echoing request: '{\"n\":%d}'" % n), r
        assert r["X-Hearth-Start"] == ("hot" if n else "cold") and r["X-Hearth-Instance"].startswith("bash"), r


def test_python_lambda(node):
    node.deploy_lambda("py", """
import os
calls = 0
def handler(event, context):
    global calls
    calls += 1
    if event.get("fail"):
        raise KeyError("as asked")
    return {"event": event, "calls": calls, "id": context.aws_request_id, "arn": context.invoked_function_arn,
            "left_ms": context.get_remaining_time_in_millis(), "name": context.function_name, "mine": os.environ.get("MINE")}
""", env={"MINE": "a value"}, timeout="9s")
    for n in range(1, 4):
        r = node.invoke("py", {"text": "h\u00e9", "n": n})
        o = r.json()
        assert r.status == 200 and o["event"] == {"text": "h\u00e9", "n": n} and o["calls"] == n and o["mine"] == "a value", r
        assert o["id"] == r["X-Amzn-RequestId"] and o["arn"].endswith(":function:py") and 0 < o["left_ms"] <= 9000 and o["name"] == "py", r
        assert r["X-Amz-Function-Error"] is None and r["X-Amz-Executed-Version"] == "$LATEST", r
    r = node.invoke("py", {"fail": 1})
    assert r.status == 200 and r["X-Amz-Function-Error"] == "Unhandled" and r.json()["errorType"] == "KeyError", r
    assert node.invoke("py").json()["calls"] == 5, "the instance was lost to an exception"
    assert node.function("py")["function_errors"] == 1


def test_http_any_method_path_query_headers(node):
    node.deploy_python("web", HTTP_ECHO, contract="http", concurrency=8)
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        r = node.call("web", "/a/b%20c?x=1&x=2&y=%ff", method, b"body of " + method.encode() if method != "GET" else None, {"X-Custom": "v 1", "Cookie": "a=b"})
        o = r.json()
        assert r.status == 200 and r["X-Mine"] == "yes", r
        assert (o["method"], o["path"]) == (method, "/a/b%20c?x=1&x=2&y=%ff") and o["headers"]["x-custom"] == "v 1" and o["headers"]["cookie"] == "a=b", r
        assert o["body"] == ("body of " + method if method != "GET" else "") and o["service"] == "web", r
    assert node.call("web", "").json()["path"] == "/" and node.call("web", "?q=1").json()["path"] == "/?q=1"
    r = node.call("web", "/h", "HEAD")
    assert r.status == 200 and r.body == b"" and int(r["Content-Length"]) > 0, r
    for status in (204, 304, 404, 500):
        assert node.call("web", "/", headers={"X-Want": str(status)}).status == status
    r = node.invoke("web", '{"a":1}')
    assert r.status == 200 and r.json()["method"] == "POST" and r.json()["path"] == "/" and r.json()["body"] == '{"a":1}', r


def test_http_chunked_body(node):
    node.deploy_python("web", HTTP_ECHO, contract="http", concurrency=8)
    parts = [b"x" * n for n in (1, 10, 1000, 70000)]
    r = node.call("web", "/up", "POST", iter(parts), {"Transfer-Encoding": "chunked"})
    assert r.status == 200 and r.json()["body"] == "x" * 71011, r


def test_http_one_connection_many_requests(node):
    node.deploy_python("web", HTTP_ECHO, contract="http", concurrency=8)
    node.call("web")
    one = b"GET /function/web/%d HTTP/1.1\r\nHost: x\r\n\r\n"
    got = node.raw(b"".join(one % i for i in range(20)) + b"GET /function/web/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    at = [got.index(b'"/%d"' % i) for i in range(20)] + [got.index(b'"/last"')]
    assert at == sorted(at), "answers of pipelined requests are out of order"


def native(node, name, **keys):
    return node.deploy(name, ["./" + name], directory=NATIVE, contract="native", **{"concurrency": 64, "memory": "64MiB", **keys})


def test_native_functions(node):
    native(node, "echo_c")
    native(node, "wordcount_c")
    for size in (0, 1, 4096, 1 << 20):
        body = os.urandom(size)
        r = node.invoke("echo_c", body)
        assert (r.status, r.body) == (200, body), (size, r)
    assert node.call("echo_c", "/x", "POST", b"by path").body == b"by path"
    r = node.invoke("wordcount_c", b"one two\nthree\n")
    assert [r.json()[k] for k in ("lines", "words", "bytes")] == [2, 3, 14], r


def test_native_calls_are_pipelined(node):
    native(node, "echo_c", max_instances=1)
    node.invoke("echo_c")

    def job(i):
        bodies = [b"%d-%d" % (i, k) for k in range(50)]
        return all(node.invoke("echo_c", b).body == b for b in bodies)
    assert in_parallel(16, job) == [True] * 16
    assert len(node.instances("echo_c")) == 1 and node.instances("echo_c")[0]["served"] >= 801


LAMBDA_WEB = """
import base64
def handler(event, context):
    what = event["rawPath"]
    if what == "/event":
        return {"statusCode": 200, "body": __import__("json").dumps(event)}
    if what == "/teapot":
        return {"statusCode": 418, "headers": {"X-A": "1", "Content-Type": "text/tea"}, "body": "short and stout"}
    if what == "/binary":
        return {"statusCode": 200, "isBase64Encoded": True, "headers": {"content-type": "image/x"}, "body": base64.b64encode(bytes(range(256))).decode()}
    if what == "/cookies":
        return {"statusCode": 200, "cookies": ["a=1", "b=2; Secure"], "body": "c"}
    if what == "/text":
        return "only text"
    if what == "/object":
        return {"only": "an object"}
    if what == "/empty":
        return {"statusCode": 204}
    if what == "/bad64":
        return {"statusCode": 200, "isBase64Encoded": True, "body": "***"}
    if what == "/badstatus":
        return {"statusCode": 7, "body": "x"}
    if what == "/split":
        return {"statusCode": 200, "headers": {"X-A": "1\\r\\nX-B: 2"}, "body": "x"}
    if what == "/length":
        return {"statusCode": 200, "headers": {"Content-Length": "500", "Transfer-Encoding": "chunked", "Connection": "close"}, "body": "x"}
    if what == "/number":
        return {"statusCode": "201", "headers": {"X-Number": 5, "X-True": True}, "body": "n"}
    raise ValueError("what?")
"""


def test_lambda_gets_payload_format_2(node):
    node.deploy_lambda("site", LAMBDA_WEB)
    e = node.call("site", "/event?a=1&b=x%20y&a=2", "PUT", b"hello", {"X-Mixed-Case": "V", "Cookie": "k=v; l=w", "User-Agent": "me"}).json()
    assert e["version"] == "2.0" and e["routeKey"] == "$default" and e["rawPath"] == "/event" and e["rawQueryString"] == "a=1&b=x%20y&a=2", e
    assert e["headers"]["x-mixed-case"] == "V" and e["body"] == "hello" and e["isBase64Encoded"] is False, e
    assert e["requestContext"]["http"]["method"] == "PUT" and e["requestContext"]["http"]["path"] == "/event", e
    assert e["requestContext"]["http"]["sourceIp"] == "127.0.0.1" and e["requestContext"]["http"]["userAgent"] == "me", e
    assert e["queryStringParameters"] == {"a": "1,2", "b": "x y"} and e["cookies"] == ["k=v", "l=w"], e
    e = node.call("site", "/event", "POST", b"\xff\x00\xfe").json()
    assert e["isBase64Encoded"] is True and base64.b64decode(e["body"]) == b"\xff\x00\xfe", e
    e = node.call("site", "/event").json()
    assert "body" not in e and e["rawQueryString"] == "" and "queryStringParameters" not in e and "cookies" not in e, e


def test_lambda_answers_in_format_2(node):
    node.deploy_lambda("site", LAMBDA_WEB)
    r = node.call("site", "/teapot")
    assert (r.status, r["X-A"], r["Content-Type"], r.body) == (418, "1", "text/tea", b"short and stout"), r
    r = node.call("site", "/binary")
    assert (r.status, r["Content-Type"], r.body) == (200, "image/x", bytes(range(256))), r
    r = node.call("site", "/cookies")
    assert r.headers.get_all("Set-Cookie") == ["a=1", "b=2; Secure"], r
    r = node.call("site", "/text")
    assert (r.status, r.body) == (200, b"only text"), r
    r = node.call("site", "/object")
    assert (r.status, r.json(), r["Content-Type"]) == (200, {"only": "an object"}, "application/json"), r
    r = node.call("site", "/empty")
    assert (r.status, r.body) == (204, b""), r
    r = node.call("site", "/number")
    assert (r.status, r["X-Number"], r["X-True"], r.body) == (201, "5", "true", b"n"), r


def test_lambda_bad_answers_are_502(node):
    node.deploy_lambda("site", LAMBDA_WEB)
    for path in ("/bad64", "/badstatus", "/split", "/raise"):
        r = node.call("site", path)
        assert r.status == 502 and r["X-B"] is None, (path, r)
    r = node.call("site", "/length")        # the length is the gateway's to say
    assert r.status in (200, 502) and (r.status != 200 or (r.body == b"x" and r.headers.get_all("Content-Length") == ["1"])), r
    assert node.call("site", "/text").status == 200


if __name__ == "__main__":
    need_full()
    main(globals())
