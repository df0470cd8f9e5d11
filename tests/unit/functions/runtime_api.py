# SPDX-License-Identifier: Apache-2.0
"""A Runtime API server that hands out what a test put in and keeps what a runtime answers."""

import http.server
import json
import os
import queue
import subprocess
import threading
import time

PYTHON = "/usr/bin/python3"
FUNCTIONS = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../../functions"))
RUNTIME = os.path.join(FUNCTIONS, "runtime/hearth_runtime.py")
PREFIX = "/2018-06-01/runtime/"
WAIT_S = 60


class Post:
    """What a runtime posted."""

    def __init__(self, path, headers, body):
        self.path, self.headers, self.body = path, headers, body

    def json(self):
        return json.loads(self.body)


class _Requests(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.api.connections += 1

    def do_GET(self):
        api = self.server.api
        if self.path == PREFIX + "hearth/fork":
            api.fork_calls.put(dict(self.headers))
            status = api.forks.get()
            if status is None:
                self.close_connection = True
                return None
            return self.answer(status, b"{}")
        api.next_calls += 1
        api.asked.put(dict(self.headers))
        if self.path != PREFIX + "invocation/next":
            return self.answer(404, b"{}")
        invocation = api.invocations.get()
        if invocation is None:
            # The end of a test: the connection ends without an answer.
            self.close_connection = True
            return None
        status, headers, body = invocation
        return self.answer(status, body, headers)

    def do_POST(self):
        api = self.server.api
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == PREFIX + "hearth/loaded":       # what AWS says to what is not of its API
            self.answer(404, b"{}")
            return None
        status = api.statuses.pop(0) if api.statuses else 202
        self.answer(status, b'{"status":"OK"}' if status == 202 else b'{"errorMessage":"scripted"}')
        # A server may close without saying so in the answer, which a client sees when it uses the connection again.
        self.close_connection |= api.close_after_post
        api.posts.put(Post(self.path[len(PREFIX) :] if self.path.startswith(PREFIX) else self.path, self.headers, body))
        return None

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format, *arguments):
        pass


class RuntimeApiServer:
    """Use it as a context manager. put() an invocation, start() a runtime, take() its answers."""

    def __init__(self):
        self.invocations, self.posts, self.forks = queue.Queue(), queue.Queue(), queue.Queue()
        self.fork_calls, self.asked = queue.Queue(), queue.Queue()
        self.statuses, self.close_after_post, self.next_calls, self.connections = [], False, 0, 0
        self.children = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Requests)
        self.server.api = self
        self.address = "127.0.0.1:%d" % self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        for child in self.children:
            child.kill()
            child.communicate()
            self.invocations.put(None)
            self.forks.put(None)
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def put(self, body=b"{}", request_id="id-1", status=200, **headers):
        """Queue an invocation; keyword arguments are Lambda-Runtime-* headers (client_context=... and so on)."""
        fields = {"Lambda-Runtime-" + name.replace("_", "-").title(): value for name, value in headers.items()}
        fields["Lambda-Runtime-Aws-Request-Id"] = request_id
        fields.setdefault("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 30_000))
        self.invocations.put((status, fields, body if isinstance(body, bytes) else json.dumps(body).encode()))

    def start(self, command, directory, env=None):
        """Start a runtime against this server."""
        # Not what the tester's shell or the test itself sets: a manifest that forgot it, or output that is never flushed, would go unseen.
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONUNBUFFERED", "OPENBLAS_NUM_THREADS")}
        environment = {**inherited, **(env or {}), "AWS_LAMBDA_RUNTIME_API": self.address}
        child = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.children.append(child)
        return child

    def take(self):
        """The next thing posted."""
        return self.posts.get(timeout=WAIT_S)
