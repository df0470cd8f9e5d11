#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hearth serve against a bare echo on the same packet backend: throughput under flood, and round trips one at a time.

usage: bench-serve.py BUILD [--workers N] [--seconds S] [--rounds N] [--json]

The two take turns, so that both see the same machine, and medians are compared. Wanted: at least 0.8 of the echo's throughput, and at most 1 us plus one
crossing of a ring more at the median round trip. That takes a core each for the client, the dispatcher and the workers: with fewer than four cores threads share
them, and the figures say more about the kernel's scheduler; they are printed, but nothing is demanded.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import tempfile

RING_NS = 309   # there and back between two cores, as measured where this was developed; given on the command line elsewhere


class Bench:
    def __init__(self, args):
        self.args = args
        self.cores = sorted(os.sched_getaffinity(0))
        self.enough = len(self.cores) >= 4
        self.workers = args.workers or max(1, min(4, len(self.cores) - 2))

    def program(self, name):
        return os.path.join(self.args.build, *name)

    def client(self, *words):
        pin = ['--cpu', str(self.cores[0])] if self.enough else []
        done = subprocess.run([self.program(('bench', 'bench_echo')), *words, *pin], stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout)

    def measure(self, command, address_of):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                address = address_of(server.stdout.readline())
                flood = self.client('flood', address, '--seconds', str(self.args.seconds))
                ping = self.client('ping', address, '--count', '20000')
            finally:
                server.send_signal(signal.SIGTERM)
                server.communicate(timeout=60)
        return flood, ping

    def echo(self):
        pin = ['--cpu', str(self.cores[1])] if self.enough else ['--sleep']
        return self.measure([self.program(('bench', 'bench_echo')), 'serve', '--listen', '127.0.0.1:0', *pin], lambda line: line.split()[1])

    def serve(self):
        config = {'listen': '127.0.0.1:0', 'workers': self.workers, 'policy': self.args.policy, 'types': [{'name': 'a'}]}
        if self.enough:
            config.update(idle='poll', dispatcher_cpu=self.cores[1], cpus=[str(c) for c in self.cores[2:2 + self.workers]])
        else:
            config.update(oversubscribe=True)
        with tempfile.NamedTemporaryFile('w', suffix='.yaml', encoding='utf-8') as file:
            json.dump(config, file)
            file.flush()
            return self.measure([self.program(('bin', 'hearth')), 'serve', '--json', file.name], lambda line: json.loads(line)['listen'])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('build')
    parser.add_argument('--workers', type=int)
    parser.add_argument('--policy', default='minimax')
    parser.add_argument('--seconds', type=float, default=2)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--ring-ns', type=float, default=RING_NS)
    parser.add_argument('--json', action='store_true')
    bench = Bench(parser.parse_args())
    pairs = [(bench.echo(), bench.serve()) for _ in range(bench.args.rounds)]
    rate = [statistics.median(p[i][0]['rps'] for p in pairs) for i in (0, 1)]
    trip = [statistics.median(p[i][1]['p50_us'] for p in pairs) for i in (0, 1)]
    result = {'workers': bench.workers, 'cores': len(bench.cores), 'echo_rps': rate[0], 'serve_rps': rate[1], 'ratio': rate[1] / rate[0], 'echo_p50_us': trip[0],
              'serve_p50_us': trip[1], 'added_p50_us': trip[1] - trip[0], 'judged': bench.enough}
    if bench.args.json:
        print(json.dumps(result))
    else:
        print(f'udp, {bench.workers} workers on {len(bench.cores)} cores: {rate[1]:,.0f} answers/s, bare echo {rate[0]:,.0f}: {result["ratio"]:.2f} of it (wanted: 0.8)')
        print(f'round trip p50 {trip[1]:.2f} us, bare echo {trip[0]:.2f}: {result["added_p50_us"]:.2f} us added (wanted: {1 + bench.args.ring_ns / 1e3:.2f})'
              + ('' if bench.enough else '; too few cores to judge'))
    missed = result['ratio'] < .8 or result['added_p50_us'] > 1 + bench.args.ring_ns / 1e3
    return 1 if bench.enough and missed else 0


if __name__ == '__main__':
    raise SystemExit(main())
