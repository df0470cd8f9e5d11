# SPDX-License-Identifier: Apache-2.0
"""A fake node for testing the client of `hearth replay`: a gateway and a control socket that answer like hearthd, with invented instances.

Nothing runs behind it. One instance a request in flight; an instance is hot for KEEP_HOT seconds after its last request, then parked.
"""
import json
import os
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEEP_HOT = 0.5
MIB = 1 << 20


class Node:
    def __init__(self, run_dir, functions, memory_bytes, daemon_bytes=8 * MIB):
        self.functions = functions          # name -> {"contract", "delay" of a request in s, "fail": n-th requests that fail and how}
        self.memory_bytes, self.daemon_bytes = memory_bytes, daemon_bytes
        self.lock = threading.Lock()
        self.instances = []                 # {"id", "function", "busy", "idle_since"}
        self.seen = []                      # (time, method, path, body, function)
        self.counts = {}
        node = self

        class Gateway(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                node.serve(self, b"")

            def do_POST(self):
                node.serve(self, self.rfile.read(int(self.headers["Content-Length"])))

        class Control(socketserver.StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    assert json.loads(line) == {"op": "ps"}
                    self.wfile.write(json.dumps(node.ps()).encode() + b"\n")

        class Listener(ThreadingHTTPServer):
            request_queue_size = 256        # a burst of the trace arrives at once

        self.gateway = Listener(("127.0.0.1", 0), Gateway)
        self.control = socketserver.ThreadingUnixStreamServer(os.path.join(run_dir, "hearthd.sock"), Control)
        self.control.daemon_threads = True
        self.servers = [self.gateway, self.control]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self.gateway.server_port

    def stop(self):
        while self.servers:
            server = self.servers.pop()
            server.shutdown()
            server.server_close()

    def stop_gateway(self):
        self.servers.remove(self.gateway)
        self.gateway.shutdown()
        self.gateway.server_close()

    def state(self, i):
        return "hot" if i["busy"] or time.monotonic() - i["idle_since"] < KEEP_HOT else "parked"

    def ps(self):
        with self.lock:
            return {"ok": True, "node": {"memory_bytes": self.daemon_bytes},
                    "functions": [{"name": n, "contract": f["contract"]} for n, f in self.functions.items()],
                    "instances": [{"id": i["id"], "function": i["function"], "state": self.state(i),
                                   "memory_bytes": self.memory_bytes[i["function"]] if self.state(i) == "hot" else 0}
                                  for i in self.instances]}

    def take(self, name):
        """An instance for a request, and how it started."""
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            idle = [i for i in self.instances if i["function"] == name and not i["busy"]]
            if idle:
                i = max(idle, key=lambda x: x["idle_since"])
                start = "hot" if self.state(i) == "hot" else "wake"
            else:
                i, start = {"id": f"{name}-{len(self.instances)}", "function": name}, "cold"
                self.instances.append(i)
            i["busy"], i["idle_since"] = True, 0
            return i, start, self.counts[name]

    def serve(self, http, body):
        parts = http.path.split("/")
        name = parts[3] if parts[1] == "2015-03-31" else parts[2]
        with self.lock:
            self.seen.append((time.monotonic(), http.command, http.path, body, name))
        i, start, count = self.take(name)
        time.sleep(self.functions[name]["delay"])       # the invented function's work
        with self.lock:
            i["busy"], i["idle_since"] = False, time.monotonic()
        how = self.functions[name].get("fail", {}).get(count)
        answer = b'{"errorMessage":"invented"}' if how else b"{}"
        http.send_response(how if isinstance(how, int) else 200)
        if how == "function":
            http.send_header("X-Amz-Function-Error", "Unhandled")
        if how != "no-header":
            http.send_header("X-Hearth-Start", start)
        http.send_header("X-Hearth-Instance", i["id"])
        http.send_header("Content-Length", str(len(answer)))
        http.end_headers()
        http.wfile.write(answer)
