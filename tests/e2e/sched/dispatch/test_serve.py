#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth serve` as its users see it."""
import json
import os
import signal
import socket
import subprocess
import unittest
import urllib.request

from serve_lib import FAILED, FAULTY, HEARTH, MALFORMED, OK, OVERLOAD, UNKNOWN, WORDS, ServeTest, message, spin


class Serves(ServeTest):
    def test_spin(self):
        server = self.serve()
        client = self.client(server)
        for us in (0, 1, 100, 5000):
            reply = client.call(spin(us), type_=us > 10)
            self.assertEqual((reply.status, reply.payload, reply.type), (OK, b'', us > 10))
            self.assertGreaterEqual(reply.service_ns, us * 1000)
        for payload in (b'', b'1234567', b'123456789', b'\xff' * 8):
            self.assertEqual(client.call(payload).status, MALFORMED)
        end = server.end()
        self.assertEqual([t['completed'] for t in end['types']], [6, 2, 0])

    def test_every_policy(self):
        for policy in ('c-fcfs', 'd-fcfs-random', 'd-fcfs-rr', 'd-fcfs-hash', 'fp', 'edf', 'darc', 'minimax'):
            with self.subTest(policy):
                server = self.serve(policy=policy, types=[{'name': 'a', 'mean': '1us', 'ratio': 0.5}, {'name': 'b', 'mean': '50us', 'ratio': 0.5}])
                client = self.client(server)
                ids = {client.send(spin(1 + 49 * (i % 2)), i % 2) for i in range(200)}
                got = [client.receive() for _ in ids]
                self.assertEqual({r.id for r in got}, ids)
                self.assertTrue(all(r.status == OK for r in got))
                self.assertEqual(server.end()['policy'], policy)

    def test_idle_modes_and_isolation(self):
        for idle in ('poll', 'sleep', 'adaptive'):
            for isolation in ('process', 'shared'):
                with self.subTest(idle=idle, isolation=isolation):
                    server = self.serve(idle=idle, isolation=isolation, app=FAULTY)
                    client = self.client(server)
                    pids = set()
                    for _ in range(20):
                        ids = [client.send(b'p') for _ in range(4)]
                        pids |= {int(client.receive().payload) for _ in ids}
                    state = server.explain()
                    self.assertLessEqual(pids, set(state['pids']))
                    self.assertEqual(len(set(state['pids'])), 1 if isolation == 'shared' else 2)
                    server.end()
                    for pid in state['pids'] + [state['nursery']]:
                        self.assertFalse(os.path.exists(f'/proc/{pid}'), 'still there')

    def test_shared_object(self):
        server = self.serve(app=WORDS)
        client = self.client(server)
        self.assertEqual(client.call(b'to be or not').payload, b'4')
        self.assertEqual(client.call(b'stressed', 1).payload, b'desserts')
        self.assertEqual(client.call(b'?', 7).status, UNKNOWN)
        server.end()

    def test_statuses_of_an_application(self):
        server = self.serve(app=FAULTY)
        client = self.client(server)
        for payload, status in ((b'f', FAILED), (b'm', MALFORMED), (b'u', UNKNOWN), (b'w', FAILED), (b'o', FAILED), (b'e', OK)):
            reply = client.call(payload)
            self.assertEqual((reply.status, reply.payload), (status, payload if status == OK else b''))
        self.assertEqual(client.call(b'b' * 1440).payload, b'B' * 1440)
        server.end()

    def test_ipv6_and_wildcard(self):
        try:
            socket.create_server(('::1', 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest('no IPv6 here')
        server = self.serve(listen='[::]:0')
        for address in ('::1', '::ffff:127.0.0.1', '::ffff:127.0.0.9'):
            server.address = (address, server.address[1])
            self.assertEqual(self.client(server).call(spin(0)).status, OK)
        server.end()

    def test_as_many_as_there_can_be(self):
        server = self.serve(types=[f't{i}' for i in range(256)], workers=256)
        client = self.client(server)
        ids = {client.send(spin(1), i % 300) for i in range(3000)}
        got = [client.receive() for _ in ids]
        self.assertEqual({(r.status) for r in got}, {OK})
        self.assertEqual({r.id for r in got}, ids)
        self.assertEqual(len(set(server.explain()['pids'])), 256)
        self.assertEqual([t['completed'] for t in server.end()['types']], [10] * 256 + [440])

    def test_pinned(self):
        cores = sorted(os.sched_getaffinity(0))
        server = self.serve(cpus=[str(cores[-1]), str(cores[0])], dispatcher_cpu=cores[0])
        self.assertEqual(self.client(server).call(spin(1)).status, OK)
        self.assertEqual([os.sched_getaffinity(pid) for pid in server.explain()['pids']], [{cores[-1]}, {cores[0]}])
        server.end()

    def test_dilated_time(self):
        server = self.serve(app_options={'dilate': '1000'}, workers=14)
        client = self.client(server)
        ids = [client.send(spin(50)) for _ in range(28)]
        got = [client.receive() for _ in ids]
        self.assertTrue(all(r.service_ns >= 50_000_000 for r in got))
        server.end()


class Classifies(ServeTest):
    def types_of(self, server, requests):
        client = self.client(server)
        for payload, type_ in requests:
            client.call(payload, type_)
        return [t['completed'] for t in server.end()['types']]

    def test_by_type(self):
        self.assertEqual(self.types_of(self.serve(app=FAULTY), [(b'', 0), (b'', 1), (b'', 1), (b'', 2), (b'', 65535)]), [1, 2, 2])

    def test_by_mapped_type(self):
        types = [{'name': 'a', 'match': ['7', '100-200']}, {'name': 'b', 'match': '0x10'}]
        self.assertEqual(self.types_of(self.serve(types=types, app=FAULTY), [(b'', 7), (b'', 150), (b'', 16), (b'', 0)]), [2, 1, 1])

    def test_by_byte(self):
        types = [{'name': 'a', 'match': '65'}, {'name': 'b', 'match': '66-90'}]
        server = self.serve(types=types, app=FAULTY, classify='byte', offset=2)
        self.assertEqual(self.types_of(server, [(b'..A', 9), (b'..B', 9), (b'..Z', 0), (b'..a', 0), (b'..', 0)]), [1, 2, 2])

    def test_by_field(self):
        types = [{'name': 'a', 'match': '0x102'}, {'name': 'b', 'match': '0x0201'}]
        server = self.serve(types=types, app=FAULTY, classify='field', offset=1, width=2, mask='0x0fff', big_endian=True)
        self.assertEqual(self.types_of(server, [(b'.\xf1\x02', 0), (b'.\x01\x02', 0), (b'.\x02\x01', 0), (b'.\x01', 0)]), [2, 1, 1])

    def test_by_path(self):
        types = [{'name': 'api', 'match': ['/api/', '/v2']}, {'name': 'slow', 'match': '/api/slow'}]
        requests = [(b'GET /api/x HTTP/1.1\r\n', 0), (b'POST /v2?a=/api/slow HTTP/1.1', 0), (b'GET /api/slow/1 HTTP/1.1', 0), (b'GET / HTTP/1.1', 0),
                    (b'nonsense', 0), (b'GET', 0)]
        self.assertEqual(self.types_of(self.serve(types=types, app=FAULTY, classify='path'), requests), [2, 1, 3])

    def test_by_the_application(self):
        server = self.serve(app=FAULTY, classify='app')
        self.assertEqual(self.types_of(server, [(b'.0', 1), (b'.1', 0), (b'.1', 0), (b'.9', 0), (b'', 0)]), [1, 2, 2])

    def test_unknown_is_rejected(self):
        server = self.serve(unknown='reject')
        client = self.client(server)
        self.assertEqual(client.call(spin(1), 9).status, UNKNOWN)
        self.assertEqual(client.call(spin(1), 1).status, OK)
        self.assertEqual([t['enqueued'] for t in server.end()['types']], [0, 1, 0])


class Refuses(ServeTest):
    """What is no valid message: counted, answered only where the sender speaks the protocol, never with more than came in."""

    def test_malformed(self):
        answered = [message(length=5, payload=b'1234'), message(length=1 << 31), message(status=1), message(reserved=1), message(queue=1),
                    message(payload=b'x' * 1441), message(status=77)]
        silent = [b'', b'H', message()[:31], message(magic=b'HTRH'), message(version=2), message(kind=2), message(kind=0), b'GET / HTTP/1.0\r\n\r\n' * 9,
                  os.urandom(1400), message(kind=2, status=1, service=5), b'\0' * 60000]
        server = self.serve()
        client = self.client(server)
        for data in answered + silent:
            client.raw(data)
        # a reply to this one is the last: whatever was answered to those before is there by then
        client.call_id = client.send(spin(0))
        got = []
        while not got or got[-1].status != OK:
            got.append(client.receive())
        self.assertEqual([r.status for r in got], [MALFORMED] * len(answered) + [OK])
        self.assertTrue(all(r.payload == b'' for r in got))
        client.sock.settimeout(0)
        self.assertRaises(BlockingIOError, client.receive)
        server.end()

    def test_overflow(self):
        for overload in ('reply', 'drop'):
            with self.subTest(overload):
                server = self.serve(app=FAULTY, workers=1, queue_max=4, hang_timeout='0', overload=overload)
                client = self.client(server)
                # one runs and waits for ever, four wait, ten are refused
                client.send(b'h')
                server.wait_for(lambda s: s['idle'] == 0)
                for _ in range(14):
                    client.send(b'e')
                state = server.wait_for(lambda s: s['types'][0]['dropped'] == 10)
                self.assertEqual(state['types'][0]['depth'], 4)
                if overload == 'reply':
                    self.assertEqual([client.receive().status for _ in range(10)], [OVERLOAD] * 10)
                client.sock.settimeout(0)
                self.assertRaises(BlockingIOError, client.receive)
                client.sock.settimeout(60)
                os.kill(state['pids'][0], signal.SIGKILL)
                self.assertEqual(sorted(client.receive().status for _ in range(5)), [OK] * 4 + [4])
                server.end()

    def test_configurations(self):
        good = {'listen': '127.0.0.1:0', 'workers': 1, 'oversubscribe': True, 'types': [{'name': 'a'}]}
        cores = len(os.sched_getaffinity(0))
        bad = [
            ({'workers': cores, 'oversubscribe': False}, 'oversubscribe: true'),
            ({'workers': 0}, 'out of range'), ({'workers': 257}, 'out of range'), ({'workers': None}, 'workers'),
            ({'polcy': 'darc'}, 'did you mean "policy"'), ({'policy': 'dark'}, 'did you mean "darc"'), ({'policy': 'ts'}, 'simul'),
            ({'types': []}, 'types'), ({'types': [{'name': 'a'}, {'name': 'a'}]}, 'two types'), ({'types': [{'name': 'unknown'}]}, 'unknown'),
            ({'types': [{'name': 'a b'}]}, 'letters'), ({'types': [{'name': 'a', 'ratio': 2}]}, 'out of range'),
            ({'backend': 'pigeon'}, 'no backend'), ({'listen': 'nowhere'}, 'ADDRESS:PORT'), ({'app': 'spln'}, 'no application'),
            ({'app': '/nowhere/x.so'}, '/nowhere/x.so'), ({'app_options': {'speed': '1'}}, 'no option'), ({'app_options': {'dilate': '0'}}, 'dilate'),
            ({'cpus': ['0-x']}, 'cpus'), ({'cpus': ['1023']}, 'not there'), ({'cpus': ['0'], 'workers': 2}, 'one for each'),
            ({'classify': 'byte'}, 'no `match`'), ({'types': [{'name': 'a', 'match': 'x'}]}, 'neither a number'),
            ({'types': [{'name': 'a', 'match': '1-5'}, {'name': 'b', 'match': '5'}]}, 'both match 5'), ({'mask': 'ff'}, 'mask'),
            ({'classify': 'app'}, 'no classify'), ({'buffers': 100}, 'power of two'), ({'policy': 'darc-static', 'reserved': 5}, 'reserved'),
            ({'app': FAULTY, 'app_options': {'mode': 'refuse'}}, 'told to refuse'), ({'app': FAULTY, 'app_options': {'mode': 'refuse-worker'}}, 'told to refuse'),
            ({'app': FAULTY, 'app_options': {'mode': 'crash'}}, 'ended the process'),
            ({'app': FAULTY, 'app_options': {'mode': 'crash-worker'}}, 'died while it began'), ({'metrics': 'x'}, 'HOST:PORT'),
        ]
        for change, words in bad:
            with self.subTest(change):
                server = self.serve(expect_ready=False)
                server.keys = {**good, **change}
                server.process.kill()
                server.process.wait()
                server.write()
                done = subprocess.run([HEARTH, 'serve', server.config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, text=True, timeout=60)
                self.assertEqual(done.returncode, 1, done)
                self.assertIn(words, done.stderr)
        for words in ([], ['a', 'b'], ['--what', 'a']):
            self.assertEqual(subprocess.run([HEARTH, 'serve', *words], stderr=subprocess.DEVNULL, check=False).returncode, 2)

    def test_check(self):
        server = self.serve(expect_ready=False)
        done = subprocess.run([HEARTH, 'serve', '--check', server.config], stdout=subprocess.PIPE, check=False, text=True)
        self.assertEqual(done.returncode, 0)
        self.assertIn('policy minimax, 2 types', done.stdout)
        server.write(policy='darc-static', reserved=7)
        done = subprocess.run([HEARTH, 'serve', '--check', server.config], stderr=subprocess.PIPE, check=False, text=True)
        self.assertEqual(done.returncode, 1)


class Operates(ServeTest):
    def test_metrics(self):
        server = self.serve(metrics='127.0.0.1:0')
        client = self.client(server)
        for _ in range(10):
            client.call(spin(20), 0)
        with urllib.request.urlopen(f'http://127.0.0.1:{server.ready["metrics_port"]}/metrics') as answer:
            text = answer.read().decode()
        values = {line.rsplit(' ', 1)[0]: float(line.rsplit(' ', 1)[1]) for line in text.splitlines() if not line.startswith('#')}
        self.assertEqual(values['hearth_serve_requests_total{type="short",status="ok"}'], 10)
        self.assertEqual(values['hearth_serve_latency_seconds_count{type="short"}'], 10)
        self.assertEqual(values['hearth_serve_slowdown_bucket{type="short",le="+Inf"}'], 10)
        self.assertGreaterEqual(values['hearth_serve_latency_seconds_sum{type="short"}'], 10 * 20e-6)
        self.assertEqual(values['hearth_serve_received_total'], 10)
        # buckets only grow, and every family says what it is
        for name in ('hearth_serve_latency_seconds', 'hearth_serve_slowdown'):
            rows = [v for k, v in values.items() if k.startswith(name + '_bucket{type="short"')]
            self.assertEqual(rows, sorted(rows))
            self.assertGreater(len(rows), 20)
        families = {line.split()[2] for line in text.splitlines() if line.startswith('# TYPE')}
        for key in values:
            name = key.split('{')[0]
            self.assertTrue(name in families or name.rsplit('_', 1)[0] in families, key)
        server.end()

    def test_reload(self):
        server = self.serve(policy='c-fcfs', app=FAULTY, types=[{'name': 'a', 'match': '0'}, {'name': 'b', 'match': '1'}])
        client = self.client(server)
        client.call(b'e', 0)
        server.write(policy='fp', workers=9, types=[{'name': 'a', 'match': '1', 'queue_max': 10}, {'name': 'b', 'match': '0'}], unknown='reject')
        server.process.send_signal(signal.SIGHUP)
        state = server.wait_for(lambda s: s['policy'] == 'fp')
        self.assertEqual(state['workers'], 2)
        self.assertEqual(client.call(b'e', 0).status, OK)
        self.assertEqual(client.call(b'e', 7).status, UNKNOWN)
        self.assertEqual([t['completed'] for t in server.explain()['types']], [1, 1, 0])
        # one that is wrong changes nothing, and says so
        server.write(policy='nonsense')
        server.process.send_signal(signal.SIGHUP)
        for _ in range(10):
            client.call(b'e', 0)
        self.assertEqual(server.explain()['policy'], 'fp')
        log = server.logged()
        server.end()
        self.assertIn('stays as it was', log)
        self.assertIn('unchanged: workers', log)

    def test_reload_while_requests_wait(self):
        server = self.serve(policy='c-fcfs', workers=1, app=FAULTY, hang_timeout='0')
        client = self.client(server)
        client.send(b'h')
        server.wait_for(lambda s: s['idle'] == 0)
        for i in range(50):
            client.send(b'e', i % 3)
        server.wait_for(lambda s: s['waiting'] == 50)
        for policy in ('darc', 'minimax', 'd-fcfs-rr', 'edf', 'fp'):
            server.write(policy=policy)
            server.process.send_signal(signal.SIGHUP)
            state = server.wait_for(lambda s, p=policy: s['policy'] == p)
            self.assertEqual(state['waiting'], 50)
        os.kill(state['pids'][0], signal.SIGKILL)
        self.assertEqual(sorted(client.receive().status for _ in range(51)), [OK] * 50 + [4])
        server.end()

    def test_record(self):
        path = os.path.join(os.environ.get('TMPDIR', '/tmp'), f'record-{os.getpid()}.csv')
        self.addCleanup(lambda: os.path.exists(path) and os.remove(path))
        server = self.serve(record=path)
        client = self.client(server)
        for i in range(300):
            client.call(spin(10 * (i % 2 + 1)), i % 2)
        server.end()
        with open(path, encoding='ascii') as file:
            lines = file.read().splitlines()
        self.assertEqual(lines[0], 't_ns,type,service_ns')
        rows = [line.split(',') for line in lines[1:]]
        times = [int(r[0]) for r in rows]
        self.assertEqual(times, sorted(times))
        self.assertEqual([r[1] for r in rows], ['short', 'long'] * 150)
        self.assertTrue(all(int(r[2]) >= 10_000 * (i % 2 + 1) for i, r in enumerate(rows)))
        done = subprocess.run([HEARTH, 'sim', '--trace', path, '--policy', 'darc', '--workers', '2', '--json'], stdout=subprocess.PIPE, check=True, text=True)
        simulated = json.loads(done.stdout)
        self.assertEqual({t['name'] for t in simulated['types']}, {'short', 'long'})
        self.assertEqual(simulated['dropped'], 0)

    def test_control_socket(self):
        server = self.serve()
        for line, start in ((b'explain\n', b'ok\n'), (b'metrics\n', b'ok\n# HELP'), (b'what\n', b'error no question'), (b'\n', b'error'), (b'x' * 300, b''), (b'', b'')):
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(server.control)
            peer.sendall(line)
            peer.shutdown(socket.SHUT_WR)
            got = b''
            try:
                while part := peer.recv(65536):
                    got += part
            except ConnectionResetError:
                self.assertEqual(len(line), 300)
            self.assertEqual(got[:len(start)], start)
            peer.close()
        # silent ones do not keep others out
        silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for peer in silent:
            peer.connect(server.control)
        self.assertEqual(server.explain()['ready'], 2)
        for peer in silent:
            peer.close()
        done = subprocess.run([HEARTH, 'explain', '--serve', server.control], stdout=subprocess.PIPE, check=True, text=True)
        self.assertIn('policy minimax', done.stdout)
        server.end()
        done = subprocess.run([HEARTH, 'explain', '--serve', server.control], stderr=subprocess.PIPE, check=False, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn('is `hearth serve` running', done.stderr)


if __name__ == '__main__':
    unittest.main()
