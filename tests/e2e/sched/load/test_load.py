#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth load` against a real `hearth serve`, over UDP."""
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../dispatch'))
from load_lib import HEARTH, WAIT_S, LoadTest       # noqa: E402
from serve_lib import Server                        # noqa: E402

# Sleeping programs on a machine that others use may be late by a lot: no test says how fast anything is.
PATIENT = ('--timeout', '60s')


class Serves(LoadTest):
    def serve(self, *args, **keys):
        server = Server(*args, **keys)
        self.addCleanup(server.abandon)
        server.target = server.ready['listen']
        return server

    def test_mix(self):
        server = self.serve()
        got = self.load(server.target, '--workload', 'high-bimodal', '--dilate', 10, '--rate', '3k', '--duration', '2s', '--threads', 2, '--flows', 3, *PATIENT)
        end = server.end()
        self.assertEqual(got['loss'], 0)
        self.assertEqual(got['total']['status'], {'ok': got['total']['due']})
        self.assertEqual(sum(t['completed'] for t in end['types']), got['generator']['sent'])
        self.assertEqual(got['warmup']['due'] + got['total']['due'], got['generator']['sent'])
        for name, service_us in (('short', 10), ('long', 1000)):
            one = got['types'][name]
            self.assertGreaterEqual(one['service_us']['p50'], service_us)
            self.assertGreaterEqual(one['latency_us']['p50'], service_us)
            self.assertGreaterEqual(one['slowdown']['p50'], 1)
            self.assertLessEqual(one['latency_us']['p50'], one['latency_us']['p999'])
        self.assertGreater(got['generator']['lag_us']['count'], 0)

    def test_order_of_the_types(self):
        server = self.serve(types=('other', 'long', 'short'))
        got = self.load(server.target, '--workload', 'high-bimodal', '--types', 'other,long,short', '--rate', 500, '--duration', '1s', '--warmup', 0, *PATIENT)
        done = {t['name']: t['completed'] for t in server.end()['types']}
        self.assertEqual((done['short'], done['long']), (got['types']['short']['ok'], got['types']['long']['ok']))
        self.refused(1, 'lacks short', '127.0.0.1:9', '--workload', 'high-bimodal', '--types', 'long', '--rate', 500)

    def test_recorded_trace_is_sent_again(self):
        trace = os.path.join(self.dir, 'trace.csv')
        server = self.serve(record=trace)
        first = self.load(server.target, '--workload', 'high-bimodal', '--rate', 1000, '--duration', '1s', '--warmup', 0, *PATIENT)
        server.end()
        server = self.serve()
        again = self.load(server.target, '--trace', trace, '--types', 'short,long', '--warmup', 0, *PATIENT)
        server.end()
        self.assertEqual({n: t['due'] for n, t in again['types'].items()}, {n: t['due'] for n, t in first['types'].items()})
        self.assertEqual((again['arrivals'], again['loss']), ('trace', 0))

    @unittest.skipUnless(glob.glob(os.path.join(os.environ['HEARTH_BIN'], '*rocksdb*.so')), 'built without RocksDB')
    def test_rocksdb(self):
        server = self.serve(types=('get', 'scan', 'put'), app='rocksdb', app_options={'path': os.path.join(self.dir, 'db'), 'keys': '1000'})
        mix = self.file('w.yaml', 'types:\n' + ''.join(f'  - {{ name: {n}, service: 1us, ratio: {r} }}\n' for n, r in (('get', .6), ('scan', .2), ('put', .2))))
        got = self.load(server.target, '--workload', mix, '--app', 'rocksdb', '--keys', 1000, '--scan-limit', 300, '--rate', 500, '--duration', '1s', *PATIENT)
        server.end()
        self.assertEqual(got['total']['status'], {'ok': got['total']['due']})
        self.assertEqual(set(got['types']), {'get', 'scan', 'put'})
        self.assertEqual(got['types']['scan']['slowdown']['count'], got['types']['scan']['ok'])

    def test_azure_trace(self):
        rows = ''.join(f'app,{"fg"[i % 2]}{"0" * 40},{i * 0.001 + 0.0002},0.0002\n' for i in range(200))
        server = self.serve(types=('a', 'b'))
        got = self.load(server.target, '--azure', self.file('azure.csv', 'app,func,end_timestamp,duration\n' + rows), '--dilate', 2, '--warmup', 0, *PATIENT)
        server.end()
        self.assertEqual([t['ok'] for t in got['types'].values()], [100, 100])
        self.assertGreater(got['measured']['end_s'], 0.39)

    def test_phases(self):
        path = self.file('w.yaml', 'types:\n  - { name: short, service: 1us, ratio: 1 }\n  - { name: long, service: 50us, ratio: 0 }\n'
                         'phases:\n  - { duration: 500ms, rate: 400 }\n  - { duration: 500ms, load: 0.5, ratio: { long: 1 } }\n')
        server = self.serve()
        got = self.load(server.target, '--workload', path, '--rate', 1000, '--arrivals', 'uniform', '--warmup', 0, *PATIENT)
        server.end()
        self.assertEqual([{n: t['ok'] for n, t in p['types'].items()} for p in got['phases']], [{'short': 200}, {'long': 250}])

    def test_overload_is_counted(self):
        server = self.serve(workers=1, types=[{'name': 'short', 'queue_max': 1}, {'name': 'long', 'queue_max': 1}])
        args = (server.target, '--workload', 'high-bimodal', '--dilate', 1000, '--rate', '300k', '--duration', '1s', *PATIENT)
        got = self.load(*args)
        self.assertGreater(got['total']['status']['overload'], 0)
        self.assertGreater(got['loss'], 0)
        done = self.run_load(*args, '--max-loss', 0)
        self.assertEqual(done.returncode, 1)
        self.assertIn('--max-loss allows 0%', done.stderr)
        self.assertIn('overload', done.stdout)
        server.end()

    def test_search(self):
        server = self.serve()
        args = (server.target, '--workload', 'high-bimodal', '--rate', 200, '--duration', '300ms', *PATIENT)
        got = self.search(*args, '--min-rate', 50, target=1e9, max_loss=1)
        self.assertEqual(got['trials'][0]['rate_rps'], 50)
        if len(got['trials']) > 1:              # the lowest rate was good: then the highest
            self.assertEqual(got['trials'][1]['rate_rps'], 200)
        # nothing is fast enough for this
        got = self.search(*args, '--metric', 'latency_p50_long', '--min-rate', 50, target=0.001)
        self.assertEqual((got['max_rate_rps'], len(got['trials'])), (0, 1))
        self.refused(1, 'no request was due', *args, '--find-max-load', 1, '--min-rate', 0.001)
        self.refused(1, 'no metric', *args, '--min-rate', 50, '--find-max-load', 1, '--metric', 'latency_p98')
        server.end()

    def test_interrupted(self):
        server = self.serve()
        load = subprocess.Popen([HEARTH, 'load', server.target, '--workload', 'high-bimodal', '--rate', '500', '--duration', '1h', '--warmup', '0', '--json', *PATIENT],
                                stdout=subprocess.PIPE, text=True)
        self.addCleanup(load.kill)
        server.wait_for(lambda state: sum(t['completed'] for t in state['types']) > 50)
        load.send_signal(signal.SIGINT)
        out, _ = load.communicate(timeout=WAIT_S)
        got = json.loads(out)
        server.end()
        self.assertEqual((load.returncode, got['stopped']), (0, True))
        self.assertGreaterEqual(got['total']['ok'], 50)
        self.assertEqual(got['total']['lost'], 0)

    def test_ipv6(self):
        try:
            socket.create_server(('::1', 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest('no IPv6 here')
        server = self.serve(listen='[::1]:0')
        got = self.load(server.target, '--workload', 'tpcc', '--rate', 300, '--duration', '300ms', *PATIENT)
        server.end()
        self.assertEqual((server.target[:6], got['loss']), ('[::1]:', 0))

    def test_text(self):
        server = self.serve()
        done = self.run_load(server.target, '--workload', 'tpcc', '--rate', 500, '--duration', '500ms', *PATIENT)
        server.end()
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for words in ('payment', 'stock-level', 'all', 'generator: ', 'p99.9'):
            self.assertIn(words, done.stdout)

    def test_nobody_there(self):
        server = self.serve()
        server.end()
        self.refused(1, f'no reply from {server.target} in ', server.target, '--workload', 'tpcc', '--rate', 100, '--duration', '200ms', '--timeout', '100ms')
        self.refused(1, 'is hearth serve running there?', server.target, '--workload', 'tpcc', '--rate', 100, '--duration', '200ms', '--timeout', '100ms')


class Refuses(LoadTest):
    def test_command_lines(self):
        for words, *args in (
                ('where to?',), ('say what to send', 'h:1'), ('one target', 'h:1', 'h:2', '--workload', 'tpcc'), ('--rate', 'h:1', '--rate', '0'),
                ('--rate', 'h:1', '--rate', '1G'), ('--rate', 'h:1', '--rate', 'nan'), ('--duration', 'h:1', '--duration', '10'), ('--warmup', 'h:1', '--warmup', '0.95'),
                ('--threads', 'h:1', '--threads', '0'), ('--flows', 'h:1', '--flows', '10001'), ('--dilate', 'h:1', '--dilate', '-1'), ('--app', 'h:1', '--app', 'redis'),
                ('--arrivals', 'h:1', '--arrivals', 'bursty'), ('--timeout', 'h:1', '--timeout', '0'), ('--seed', 'h:1', '--seed', '-1'), ('--spin', 'h:1', '--spin', 'never'),
                ('TLS', 'https://h/', '--rate', '1'), ('for HTTP', 'h:1', '--workload', 'tpcc', '--function', 'f'), ('-H must be', 'http://h/', '-H', 'nonsense'),
                ('is enough', 'h:1', '--workload', 'tpcc', '--trace', 'x'), ('its own times', 'h:1', '--trace', 'x', '--rate', '5'),
                ('needs --rate', 'h:1', '--workload', 'tpcc', '--find-max-load', '10')):
            with self.subTest(args):
                self.refused(2, words, *args)

    def test_what_cannot_be_done(self):
        ratios = self.file('w.yaml', 'types:\n  - { name: a, service: 1us, ratio: 0.5 }\n')
        empty = self.file('empty.csv', 't_ns,type,service_ns\n')
        unsorted = self.file('unsorted.csv', 't_ns,type,service_ns\n5,a,1\n4,a,1\n')
        for words, *args in (
                ('no workload "tpcd"', '--workload', 'tpcd', '--rate', '1'), ('add to 0.5', '--workload', ratios, '--rate', '1'), ('not one request in it', '--trace', empty),
                ('unsorted.csv:3: t_ns goes back', '--trace', unsorted),
                ('cannot read', '--trace', empty + 'x'), ('no rate', '--workload', 'tpcc'), ('get, scan or put', '--workload', 'tpcc', '--rate', '1', '--app', 'rocksdb')):
            with self.subTest(args):
                self.refused(1, words, '127.0.0.1:9', *args)
        self.refused(1, 'cannot find the address', 'no-such-host.invalid:1', '--workload', 'tpcc', '--rate', '1')
        self.refused(1, 'is no address', '127.0.0.1', '--workload', 'tpcc', '--rate', '1')


if __name__ == '__main__':
    unittest.main()
