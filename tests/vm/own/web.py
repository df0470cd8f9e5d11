# SPDX-License-Identifier: Apache-2.0
"""The http contract with the standard library alone."""
import http.server
import os


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("page %s\n" % self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
