#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth load` over HTTP against a double: a web server in this process that answers as each test says."""
import http.server
import threading
import time
import unittest

from load_lib import LoadTest

PATIENT = ('--timeout', '60s')


class Double(http.server.ThreadingHTTPServer):
    """act(handler, n) answers the n-th request (from 0)."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, act):
        self.act, self.lock, self.n, self.connections = act, threading.Lock(), 0, 0
        self.seen = []
        super().__init__(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server_address[1]}'

    def handle_error(self, request, client_address):
        """A client that goes in the middle is part of some tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def answer(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        with self.server.lock:
            n = self.server.n
            self.server.n += 1
            self.server.seen.append((self.command, self.path, dict(self.headers), body))
        self.server.act(self, n)

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def reply(self, status=200, body=b'fine', **headers):
        self.send_response(status)
        for name, value in {'Content-Length': str(len(body)), **headers}.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def log_message(self, *args):
        pass


class Http(LoadTest):
    def double(self, act=lambda h, n: h.reply()):
        server = Double(act)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def test_connections_are_kept(self):
        server = self.double()
        got = self.load(server.url + '/a/b?c=d', '--rate', 300, '--duration', '1s', '--flows', 4, '--threads', 2, *PATIENT)
        self.assertEqual(got['total']['status'], {'200': got['total']['due']})
        self.assertEqual(server.connections, 8)
        self.assertEqual(got['generator']['connection_errors'], 0)
        self.assertEqual({s[:2] for s in server.seen}, {('GET', '/a/b?c=d')})
        self.assertEqual(len(server.seen), got['generator']['sent'])
        self.assertNotIn('slowdown', got['total'])

    def test_statuses(self):
        def act(h, n):
            if n % 4 == 3:
                h.reply(200, X_Amz_Function_Error='Unhandled')
            else:
                h.reply([200, 503, 429][n % 4], X_Hearth_Start='hot', X_Hearth_Wait_Ms='1.5')
        got = self.load(self.double(act).url, '--rate', 400, '--duration', '1s', '--arrivals', 'uniform', '--warmup', 0, *PATIENT)
        self.assertEqual(got['total']['status'], {'200': 200, '503': 100, '429': 100})
        self.assertEqual(got['total']['ok'], 100)
        self.assertEqual(got['starts'], {'cold': 0, 'wake': 0, 'warm': 0, 'hot': 300})
        self.assertAlmostEqual(got['total']['queue_us']['p50'], 1500, delta=15)

    def test_bodies_methods_headers(self):
        server = self.double()
        got = self.load(server.url + '/x', '--workload', 'high-bimodal', '--rate', 100, '--duration', '500ms', '-X', 'PUT', '-H', 'X-Key: 7', '-H', 'content-type: text/plain',
                        '-d', '{"t":"{type}","ns":{service_ns}}', *PATIENT)
        self.assertGreater(got['total']['slowdown']['count'], 0)
        for method, path, headers, body in server.seen:
            self.assertEqual((method, path, headers['X-Key'], headers['content-type']), ('PUT', '/x', '7', 'text/plain'))
            self.assertIn(body, (b'{"t":"short","ns":1000}', b'{"t":"long","ns":100000}'))

    def test_head_and_chunks_and_close(self):
        self.assertEqual(self.load(self.double().url, '-X', 'HEAD', '--rate', 200, '--duration', '300ms', *PATIENT)['loss'], 0)

        def chunks(h, n):
            h.send_response(200)
            h.send_header('Transfer-Encoding', 'chunked')
            h.end_headers()
            for part in (b'3\r\nabc\r\n', b'1\r\nd\r\n', b'0\r\n\r\n'):
                h.wfile.write(part)
        self.assertEqual(self.load(self.double(chunks).url, '--rate', 200, '--duration', '300ms', *PATIENT)['loss'], 0)

        def close(h, n):
            h.reply(Connection='close')
            h.close_connection = True
        got = self.load(self.double(close).url, '--rate', 200, '--duration', '500ms', '--flows', 8, *PATIENT)
        self.assertEqual((got['loss'], got['generator']['connection_errors']), (0, 0))

        def until_the_end(h, n):
            h.wfile.write(b'HTTP/1.1 200 OK\r\n\r\nas long as it lasts')
            h.close_connection = True
        got = self.load(self.double(until_the_end).url, '--rate', 200, '--duration', '500ms', '--flows', 8, *PATIENT)
        self.assertEqual((got['loss'], got['generator']['connection_errors']), (0, 0))

    def test_broken_connections_are_lost_requests(self):
        def act(h, n):
            if n % 10 == 5:
                h.close_connection = True       # without a word
            elif n % 10 == 6:
                h.wfile.write(b'HTTP/1.1 2x0 what\r\n\r\n')
            else:
                h.reply()
        got = self.load(self.double(act).url, '--rate', 400, '--duration', '1s', '--arrivals', 'uniform', '--warmup', 0, '--flows', 4, *PATIENT)
        self.assertEqual((got['total']['lost'], got['generator']['connection_errors'], got['total']['ok']), (80, 80, 320))

    def test_timeouts(self):
        wait = threading.Event()
        self.addCleanup(wait.set)

        def act(h, n):
            if n == 7:
                wait.wait()
            h.reply()
        got = self.load(self.double(act).url, '--rate', 100, '--duration', '500ms', '--arrivals', 'uniform', '--warmup', 0, '--timeout', '2s')
        # a machine that stands still for two seconds may lose others
        self.assertGreaterEqual(got['total']['lost'], 1)
        self.assertEqual(got['generator']['connection_errors'], 0)

    def test_a_stall_is_seen(self):
        """No coordinated omission, though the two connections could only measure two requests of the stall."""
        stalled = threading.Lock()

        def act(h, n):
            with stalled:
                if n == 100:
                    time.sleep(0.4)             # the fault
            h.reply()
        got = self.load(self.double(act).url, '--rate', 300, '--duration', '1s', '--arrivals', 'uniform', '--warmup', 0, '--flows', 2, *PATIENT)
        self.assertEqual(got['total']['ok'], 300)
        self.assertGreater(got['total']['latency_us']['p99'], 300e3)
        self.assertGreater(got['total']['latency_us']['mean'], 40e3)
        self.assertGreater(got['generator']['connection_wait_us']['p99'], 250e3)

    def test_search_needs_a_metric(self):
        self.refused(1, 'there is no slowdown', self.double().url, '--rate', 50, '--duration', '200ms', '--min-rate', 25, '--find-max-load', 10, *PATIENT)
        self.search(self.double().url, '--rate', 50, '--duration', '200ms', '--min-rate', 25, '--metric', 'latency_p99', *PATIENT, target=1e9)

    def test_nobody_there(self):
        server = Double(None)
        server.server_close()
        self.refused(1, 'cannot connect to 127.0.0.1:', server.url, '--rate', 10)


if __name__ == '__main__':
    unittest.main()
