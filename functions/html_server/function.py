#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A web page rendered by Jinja for each request (SeBS's dynamic-html), under the HTTP contract: the program listens on $PORT itself.

    GET /?rows=N&seed=N&title=TEXT     the page: a table of N orders drawn from the seed
    GET /health                        "ok", once it serves

Connections are kept alive (HTTP/1.1). Each has a thread of its own, so that an open connection on which nothing happens does not keep
others waiting.
"""

import http.server
import os
import random
import signal
import socket
import sys
import urllib.parse

import jinja2

DEFAULT_ROWS = 500
MAX_ROWS = 100_000
MAX_BODY_BYTES = 8 << 20

FOLDER = os.path.dirname(os.path.abspath(__file__))
TEMPLATE = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True).get_template("page.html")
NAMES = ("Ada", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Ida & Sons", "<John>")


def render(rows=DEFAULT_ROWS, seed=1, title="Orders"):
    """The page, as bytes. The same arguments give the same page."""
    generator = random.Random(seed)
    orders = [{"number": i + 1, "customer": generator.choice(NAMES), "amount": generator.randrange(10**6) / 100} for i in range(rows)]
    return TEMPLATE.render(title=title, orders=orders).encode()


def number(query, name, default, limit):
    """A whole number of the query. Raises ValueError saying which one is wrong."""
    text = query.get(name, [str(default)])[-1]
    if not text.isascii() or not text.isdigit() or int(text) > limit:
        raise ValueError(f"{name}: '{text}' is not a whole number in 0..{limit}")
    return int(text)


def handler(event, context):
    """The page's arguments from a query string; returns (status, content type, body)."""
    url = urllib.parse.urlsplit(event)
    if url.path == "/health":
        return 200, "text/plain; charset=utf-8", b"ok\n"
    if url.path != "/":
        return 404, "text/plain; charset=utf-8", b"no such page\n"
    query = urllib.parse.parse_qs(url.query)
    try:
        rows = number(query, "rows", DEFAULT_ROWS, MAX_ROWS)
        seed = number(query, "seed", 1, 2**63 - 1)
    except ValueError as error:
        return 400, "text/plain; charset=utf-8", f"{error}\n".encode()
    return 200, "text/html; charset=utf-8", render(rows, seed, query.get("title", ["Orders"])[-1])


class Requests(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # The head and the body of an answer leave together; without either, the second would wait for the peer's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        if not self.skip_body():
            return
        status, content_type, body = handler(self.path, None)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_GET

    def skip_body(self):
        """Read past the request's body, of which the page makes no use; the next request begins after it. False: refused."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers:
            self.send_error(411, "a body needs a Content-Length here")
        elif not length.isascii() or not length.isdigit():
            self.send_error(400, "bad Content-Length")
        elif int(length) > MAX_BODY_BYTES:
            self.send_error(413)
        else:
            left = int(length)
            while left:
                block = self.rfile.read(min(left, 65536))
                if not block:
                    break
                left -= len(block)
            self.close_connection |= left > 0
            return left == 0
        self.close_connection = True
        return False

    def log_message(self, format, *arguments):
        # Errors only: an access log is the gateway's.
        pass

    def log_error(self, format, *arguments):
        print("html_server: " + format % arguments, file=sys.stderr, flush=True)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = socket.SOMAXCONN


def main():
    server = Server((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080"))), Requests)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with server:
        # No polling: the signal's exception ends the wait, and an idle server uses no processor time.
        server.serve_forever(poll_interval=None)


if __name__ == "__main__":
    main()
