#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The real dispatcher: High Bimodal over loopback UDP, c-FCFS against DARC and minimax: load sustained at a slowdown of 20

A `hearth serve` with 14 workers and a `hearth load` on the same machine. With 16 cores or more everything is in real time: workers, dispatcher and generator
poll on cores of their own, and requests burn their service time. Latencies are taken from end to end, so the network stack and the machine's own hiccups are part of
them. The paper's 1 us and 100 us leave no room for those at a slowdown of 20; so it is first found out how many times longer both must be, of 1, 3, 10, 30 and 100,
for the slowdown to be at most 5 where nothing waits (a tenth of the peak). The ratio of the two types, and with it the problem, stays the same. With fewer cores
time is dilated: a request waits asleep for 1000 times its service time, to the scheduler the same thing in slow motion, and 14 workers fit two cores.

Each policy's load is raised step by step; the load that it sustains is the highest before two steps in a row miss the target, and between a step that holds it and the
next that does not, slowdowns are interpolated on a logarithmic scale.
"""
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from experiment import HEARTH, Experiment, lines, slowdown  # noqa: E402

WORKERS = 14
MEANS_US = {'short': 1, 'long': 100}
PEAK_RPS = WORKERS / (sum(MEANS_US.values()) / len(MEANS_US)) * 1e6
POLICIES = ('c-fcfs', 'darc', 'minimax')
SCALES = (1, 3, 10, 30, 100)
FLOOR = 5
LOADS = (.2, .3, .4, .45, .5, .6, .7, .8, .87, .93, .96, .98)


def options(parser):
    parser.add_argument('--scale', type=float, metavar='N', help='service times are N times the paper\'s (found out; 1000 in dilated time)')
    parser.add_argument('--dilated', action='store_true', help='dilated time even with 16 cores')
    parser.add_argument('--duration', type=float, metavar='S', help='seconds of each step (for 12000 requests, 3 to 15; dilated 14)')
    parser.add_argument('--target', type=float, default=20, metavar='X', help='p99.9 slowdown; default 20')
    parser.add_argument('--time-limit', type=float, default=450, metavar='S', help='begin no step after so long; default 450')
    parser.add_argument('--loads', type=lambda s: [float(x) for x in s.split(',')], default=list(LOADS), metavar='L,L...', help='steps, as shares of the peak')
    parser.add_argument('--policies', type=lambda s: s.split(','), default=list(POLICIES), metavar='P,P...')


class Live:
    def __init__(self, experiment):
        self.args = experiment.args
        self.cores = sorted(os.sched_getaffinity(0))
        self.dilated = self.args.dilated or len(self.cores) < WORKERS + 2
        self.until = time.monotonic() + self.args.time_limit
        self.scale = self.args.scale or (1000 if self.dilated else self.calibrate())

    def calibrate(self):
        """The smallest scale at which this machine lets short requests through undisturbed."""
        for self.scale in SCALES:
            r = self.step('c-fcfs', .1)
            print(f"times {self.scale:3}: slowdown p99.9 {r['slowdown_p999']:8.1f} at a tenth of the peak", file=sys.stderr, flush=True)
            if r['slowdown_p999'] <= FLOOR and r['loss'] == 0:
                break
        return self.scale

    def duration(self, rate):
        """Seconds; @rate: requests a second, as they are sent."""
        if self.args.duration or self.dilated:
            return self.args.duration or 14
        return min(15, max(3, 12000 / rate))

    def config(self, policy):
        """The server's: core 0 of ours is the generator's, the next the dispatcher's, then one for each worker."""
        types = [{'name': name, 'mean': f'{us * self.scale:g}us', 'ratio': 1 / len(MEANS_US)} for name, us in MEANS_US.items()]
        config = {'listen': '127.0.0.1:0', 'workers': WORKERS, 'policy': policy, 'types': types, 'hang_timeout': '0', 'drain': '1s', 'queue_max': 4096}
        if self.dilated:
            return {**config, 'oversubscribe': True, 'idle': 'sleep', 'app_options': {'dilate': '1'}}
        return {**config, 'idle': 'poll', 'dispatcher_cpu': self.cores[1], 'cpus': [str(c) for c in self.cores[2:2 + WORKERS]]}

    def load(self, address, rate):
        """Return: the generator's JSON."""
        duration = self.duration(rate / self.scale)
        command = [HEARTH, 'load', address, '--json', '--workload', 'high-bimodal', '--rate', f'{rate:g}', '--dilate', f'{self.scale:g}',
                   '--duration', f'{duration:g}s', '--warmup', '.25', '--timeout', '3s', '--seed', str(self.args.seed), '--flows', '16']
        if not self.dilated:
            command += ['--spin', 'always']
        pin = None if self.dilated else lambda: os.sched_setaffinity(0, self.cores[:1])
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, preexec_fn=pin, timeout=duration + 60)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise SystemExit(f"hearth experiment: {' '.join(command)} failed: {(done.stderr or done.stdout).strip()}") from None

    def step(self, policy, share):
        """A server, a load, and what came of it."""
        with tempfile.NamedTemporaryFile('w', suffix='.yaml', encoding='utf-8') as file:
            json.dump(self.config(policy), file)
            file.flush()
            with subprocess.Popen([HEARTH, 'serve', '--json', file.name], stdout=subprocess.PIPE, text=True) as server:
                try:
                    ready = json.loads(server.stdout.readline() or '{}')
                    if not ready.get('ready'):
                        raise SystemExit(f'hearth experiment: hearth serve does not start: {ready.get("error", "no reason given")}')
                    found = self.load(ready['listen'], share * PEAK_RPS)
                    server.send_signal(signal.SIGTERM)
                    state = json.loads(server.communicate(timeout=60)[0].splitlines()[-1])
                finally:
                    if server.poll() is None:
                        server.kill()
        inside = {t['name']: t for t in state['types']}
        return {'policy': policy, 'load': share, 'rate_rps': share * PEAK_RPS, 'slowdown_p999': found['slowdown_p999'], 'loss': found['loss'],
                'limited': found['generator']['limit'], 'types': found['types'], 'inside': inside}

    def sweep(self, policy):
        """Steps until two in a row miss the target, or the time is over."""
        steps, missed = [], 0
        for share in self.args.loads:
            if missed == 2 or time.monotonic() + self.duration(share * PEAK_RPS / self.scale) + 4 > self.until:
                break
            r = self.step(policy, share)
            steps.append(r)
            missed = 0 if self.holds(r) else missed + 1
            print(f"{policy:>8} {share:5.0%} {r['rate_rps'] / 1e3 / self.scale:8.2f} krps: slowdown p99.9 {r['slowdown_p999']:8.1f}, lost {r['loss']:.2%}"
                  + (', generator late' if r['limited'] else ''), file=sys.stderr, flush=True)
        return steps

    def holds(self, r):
        return r['slowdown_p999'] <= self.args.target and r['loss'] <= .001

    def sustained(self, steps):
        """The load at which the slowdown crosses the target for good."""
        best = max((i for i, r in enumerate(steps) if self.holds(r)), default=None)
        if best is None:
            return 0
        here, there = steps[best], steps[best + 1] if best + 1 < len(steps) else None
        if there is None or there['loss'] > .001 or there['slowdown_p999'] <= self.args.target:
            return here['load']
        part = math.log(self.args.target / here['slowdown_p999']) / math.log(there['slowdown_p999'] / here['slowdown_p999'])
        return here['load'] + part * (there['load'] - here['load'])


def main():
    e = Experiment('sched-live', __doc__, add_options=options)
    live = Live(e)
    sweeps = {policy: live.sweep(policy) for policy in e.args.policies}
    rows = [[r['policy'], r['load'], r['rate_rps'] / live.scale, name, t['latency_us']['p50'], t['latency_us']['p99'], t['latency_us']['p999'], t['slowdown']['p999'],
             r['inside'][name]['slowdown_p999'], r['slowdown_p999'], r['loss'], int(r['limited'])]
            for steps in sweeps.values() for r in steps for name, t in r['types'].items()]
    e.csv(['policy', 'load', 'rate_rps', 'type', 'p50_us', 'p99_us', 'p999_us', 'slowdown_p999', 'slowdown_p999_inside', 'slowdown_p999_all', 'loss', 'generator_late'], rows)
    e.plot(lambda axes: lines(axes[0], sweeps, slowdown, e.args.target, f'live, {"dilated" if live.dilated else "real"} time, x{live.scale:g}'))
    found = {policy: live.sustained(steps) for policy, steps in sweeps.items()}
    e.row(f'{"dilated" if live.dilated else "real"} time, {len(live.cores)} cores, service times x{live.scale:g}', None, '')
    for policy, share in found.items():
        e.row(f'{policy}: load sustained at {e.args.target:g}x, of the peak', {'c-fcfs': .43, 'darc': .9}.get(policy) if e.args.target == 20 else None, share)
    for policy in ('darc', 'minimax'):
        if found.get('c-fcfs') and policy in found:
            e.row(f'{policy} over c-fcfs', 2.1 if policy == 'darc' else None, found[policy] / found['c-fcfs'])
    e.finish()


main()
