#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Workers that die or hang under `hearth serve`: what they had is reported lost, their slots are replaced, nothing else stops."""
import contextlib
import os
import signal
import time
import unittest

from serve_lib import FAULTY, LOST, OK, OVERLOAD, WAIT_S, ServeTest, spin


def gone(pid):
    """The process has ended. (A zombie has, too.)"""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as file:
            return file.read().rsplit(')', 1)[1].split()[0] == 'Z'
    except FileNotFoundError:
        return True


def wait_gone(pid):
    until = time.monotonic() + WAIT_S
    while not gone(pid):
        if time.monotonic() > until:
            raise AssertionError(f'{pid} lives')
        time.sleep(.01)


class Dies(ServeTest):
    def test_every_way(self):
        """Crash by crash; between them everything works, with the same client, and no reply is missing."""
        server = self.serve(app=FAULTY)
        client = self.client(server)
        for n, way in enumerate((b'a', b's', b'k', b'x') * 2, 1):
            self.assertEqual(client.call(way).status, LOST)
            self.assertEqual(client.call(b'e').status, OK)
            state = server.wait_for(lambda s, n=n: s['ready'] == 2)
            self.assertEqual(state['died'], n)
        end = server.end()
        self.assertEqual((end['types'][0]['lost'], end['types'][0]['completed']), (8, 8))

    def test_others_go_on(self):
        """One worker crashes again and again while the other serves."""
        server = self.serve(app=FAULTY)
        client = self.client(server)
        lost = [client.send(b'a') for _ in range(10)]
        fine = [client.send(b'e', 1) for _ in range(200)]
        got = {r.id: r.status for r in (client.receive() for _ in lost + fine)}
        self.assertEqual([got[i] for i in lost], [LOST] * 10)
        self.assertEqual([got[i] for i in fine], [OK] * 200)
        server.end()

    def test_killed_from_outside(self):
        """kill -9 in the middle of a request, and of an idle worker."""
        server = self.serve(app_options={'dilate': '1'})
        client = self.client(server)
        for _ in range(5):
            client.send(spin(30_000_000))
            state = server.wait_for(lambda s: s['idle'] == 1)
            self.assertGreater(min(state['pids']), 0)
            for pid in state['pids']:
                os.kill(pid, signal.SIGKILL)
            self.assertEqual(client.receive().status, LOST)
            server.wait_for(lambda s, old=state: s['ready'] == 2 and not set(s['pids']) & set(old['pids']))
        self.assertEqual(client.call(spin(1)).status, OK)
        end = server.end()
        self.assertEqual((end['died'], end['types'][0]['lost']), (10, 5))

    def test_storm(self):
        """Workers are killed at any moment under load: every request is answered, and answered well or reported lost."""
        server = self.serve(app_options={'dilate': '1'}, workers=4)
        client = self.client(server)
        statuses = []
        for _ in range(40):
            ids = {client.send(spin(200), 0) for _ in range(40)}
            for pid in filter(None, server.explain()['pids'][:2]):
                with contextlib.suppress(ProcessLookupError):   # of a life before
                    os.kill(pid, signal.SIGKILL)
            # where a worker died between sending and saying so, its request may be answered twice
            while ids:
                reply = client.receive()
                ids.discard(reply.id)
                statuses.append(reply.status)
        self.assertLessEqual(set(statuses), {OK, LOST})
        self.assertGreater(statuses.count(OK), 1000)
        server.wait_for(lambda s: s['ready'] == 4)
        end = server.end()
        # completed or lost, each once
        self.assertEqual(sum(t['completed'] + t['lost'] for t in end['types']), 1600)

    def test_shared_process(self):
        server = self.serve(app=FAULTY, isolation='shared', workers=3)
        client = self.client(server)
        client.send(b'h')
        server.wait_for(lambda s: s['idle'] == 2)
        client.send(b'a')
        self.assertEqual(sorted((client.receive().status, client.receive().status)), [LOST, LOST])
        state = server.wait_for(lambda s: s['ready'] == 3)
        self.assertEqual((state['died'], len(set(state['pids']))), (3, 1))
        self.assertEqual(client.call(b'e').status, OK)
        server.end()

    def test_nursery(self):
        """The process that forks the workers is killed: it and they begin anew."""
        server = self.serve(app=FAULTY)
        client = self.client(server)
        client.send(b'h')
        state = server.wait_for(lambda s: s['idle'] == 1)
        os.kill(state['nursery'], signal.SIGKILL)
        self.assertEqual(client.receive().status, LOST)
        server.wait_for(lambda s: s['ready'] == 2 and s['nursery'] not in (0, state['nursery']))
        for pid in state['pids']:
            wait_gone(pid)
        self.assertEqual(client.call(b'e').status, OK)
        server.end()

    def test_server(self):
        """The server is killed: nothing of it stays behind."""
        server = self.serve(app=FAULTY)
        client = self.client(server)
        client.send(b'l')
        state = server.wait_for(lambda s: s['idle'] == 1)
        server.process.kill()
        server.process.wait()
        for pid in state['pids'] + [state['nursery']]:
            wait_gone(pid)


class Hangs(ServeTest):
    def test_in_the_application(self):
        for way in (b'h', b'l'):
            with self.subTest(way):
                server = self.serve(app=FAULTY, hang_timeout='200ms')
                client = self.client(server)
                hung = client.send(way)
                fine = [client.send(b'e', 1) for _ in range(50)]
                got = {r.id: r.status for r in (client.receive() for _ in range(51))}
                self.assertEqual(got[hung], LOST)
                self.assertEqual([got[i] for i in fine], [OK] * 50)
                state = server.wait_for(lambda s: s['ready'] == 2)
                self.assertEqual((state['hung'], state['died']), (1, 1))
                server.end()

    def test_stopped(self):
        """SIGSTOP in the middle of a request, and of an idle worker, which is noticed at its next request."""
        server = self.serve(app_options={'dilate': '1'}, hang_timeout='300ms', workers=1)
        client = self.client(server)
        for busy in (True, False):
            state = server.wait_for(lambda s: s['ready'] == 1)
            self.assertGreater(state['pids'][0], 0)
            if busy:
                client.send(spin(20_000_000))
                server.wait_for(lambda s: s['idle'] == 0)
            os.kill(state['pids'][0], signal.SIGSTOP)
            if not busy:
                client.send(spin(1))
            self.assertEqual(client.receive().status, LOST)
        server.wait_for(lambda s: s['ready'] == 1)
        self.assertEqual(client.call(spin(1)).status, OK)
        self.assertEqual(server.end()['hung'], 2)

    def test_end_with_a_hung_worker(self):
        """The server ends in its time; what runs is reported lost, what waits refused."""
        server = self.serve(app=FAULTY, hang_timeout='0', drain='200ms', workers=1)
        client = self.client(server)
        hung = client.send(b'h')
        server.wait_for(lambda s: s['idle'] == 0)
        waiting = [client.send(b'e') for _ in range(20)]
        server.wait_for(lambda s: s['waiting'] == 20)
        server.end()
        got = {r.id: r.status for r in (client.receive() for _ in range(21))}
        self.assertEqual(got[hung], LOST)
        self.assertEqual([got[i] for i in waiting], [OVERLOAD] * 20)

    def test_end_drains(self):
        server = self.serve(app_options={'dilate': '1'}, workers=1)
        client = self.client(server)
        ids = {client.send(spin(5000)) for _ in range(50)}
        server.wait_for(lambda s: sum(t['enqueued'] for t in s['types']) == 50)
        server.end()
        got = [client.receive() for _ in ids]
        self.assertEqual({r.id for r in got}, ids)
        self.assertTrue(all(r.status == OK for r in got))


if __name__ == '__main__':
    unittest.main()
