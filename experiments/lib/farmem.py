# SPDX-License-Identifier: Apache-2.0
"""What the far memory experiments share: the functions, a node whose memory policy is chosen, what its instances hold while a trace is replayed, and calls one by one."""
import csv
import http.client
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from experiment import HEARTH

MIB = 1 << 20
# lightest first: a trace's functions are laid on them in the order of their durations
FUNCTIONS = ('html_server', 'float_operation', 'json_dumps_loads', 'chameleon', 'pyaes', 'linpack', 'matmul', 'image_processing', 'graph_bfs', 'gzip_compression', 'bert')
# name: the node's configuration
POLICIES = {'keepalive': {'farmem': 'off'}, 'tmo': {'farmem_policy': 'tmo'}, 'cold60': {'farmem_policy': 'cold60'}, 'hearth': {}}
COLOURS = {'keepalive': 'tab:gray', 'tmo': 'tab:blue', 'cold60': 'tab:orange', 'hearth': 'tab:red'}
ELSEWHERE = ('tcp', 'unix', 'shm')
KEEP_S = 600
SAMPLE_S = .5
PATIENCE_S = 300
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
AZURE = os.path.join(SOURCE, '..', 'shared', 'data', 'azure', 'Azure2021_200.csv')
AZURE_DAY = os.path.join(SOURCE, '..', 'shared', 'data', 'azure', 'azure2019_1000')


class Broken(Exception):
    pass


def options(parser):
    parser.add_argument('--functions', type=names(FUNCTIONS), default=list(FUNCTIONS), metavar='F,F...', help='of functions/; all of them')
    parser.add_argument('--functions-dir', default=os.path.join(SOURCE, 'functions'), metavar='DIR', help='where they are (%(default)s)')
    parser.add_argument('--pool', choices=('embedded', *ELSEWHERE), default='embedded', help='where idle memory goes: embedded, to this node; tcp, unix, shm, to a `hearth pool` beside it, which is another machine\'s as far as memory counts, '
                        'though not its processors (%(default)s)')


def positive(text):
    """Of an option: 1 or more."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def setting(text):
    """Of an option: a key and its value."""
    key, separator, value = text.partition('=')
    if not key or not separator:
        raise ValueError(text)
    return key, value


def names(of):
    """Of an option: a list of some of these."""
    def parse(text):
        found = text.split(',')
        for name in found:
            if name not in of:
                raise ValueError(name)
        return found
    parse.__name__ = 'list of ' + ', '.join(of)
    return parse


def skip(why):
    print(f'hearth experiment: skipped: {why}', file=sys.stderr)
    sys.exit(2)


def run(*command, check=True):
    done = subprocess.run([HEARTH, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=3600)
    if check and done.returncode:
        raise Broken(f"hearth {' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done


def until(condition, what, every_s=.02):
    """Waits until it is so; @what is said if it does not come to that."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise Broken(what)
        time.sleep(every_s)


def engine():
    """Return: (name, what it uses) of the first engine of this machine; where there is none this says why and exits with 2."""
    checks = json.loads(run('doctor', '--json', check=False).stdout)['items']
    found = [c for c in checks if c['name'].startswith('memory ')]
    for c in found:
        if c['ok']:
            return c['name'].removeprefix('memory '), c['detail']
    return skip('no engine for far memory works here: ' + '; '.join(f"{c['name']}: {c['detail']}" for c in found))


class Pool:
    """A `hearth pool` beside a node, with keys of its own."""

    def __init__(self, folder, kind):
        self.keys = {what: f'{folder}/pool-{what}' for what in ('secret', 'access')}
        for path, words in ((self.keys['secret'], ('--new-key', 'default')), (self.keys['access'], ('--print-access', self.keys['secret']))):
            with open(path, 'w', encoding='ascii', opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(run('pool', *words).stdout)
        place = 'tcp:127.0.0.1:0' if kind == 'tcp' else f'{kind}:{folder}/pool.sock'
        self.process = subprocess.Popen([HEARTH, 'pool', '--listen', place, '--key-file', self.keys['access']], stdout=subprocess.PIPE, text=True)
        self.place = self.process.stdout.readline().strip()
        if not self.place:
            raise Broken(f'hearth pool ended with status {self.end()}')

    def bytes(self):
        """What its contents take."""
        return json.loads(run('--json', 'pool', '--status', self.place, '--key-file', self.keys['secret']).stdout)['stored_bytes']

    def end(self):
        self.process.terminate()
        self.process.stdout.close()
        return self.process.wait()


class Node:
    """A node with folders of its own, and with args.pool one for its pool; what it held is sampled while it is watched."""

    def __init__(self, args, policy=None, compress=1, **config):
        self.args, self.compress = args, compress
        self.config = {**(POLICIES[policy] if policy else {}), 'farmem_compress': compress, **config}
        # a short path, as sockets need it
        self.folder = tempfile.mkdtemp(prefix='hearth-fm-', dir='/tmp')
        self.samples, self.stop = [], threading.Event()
        self.pool = None

    def __enter__(self):
        try:
            if getattr(self.args, 'pool', 'embedded') != 'embedded' and self.config.get('farmem') != 'off':
                self.pool = Pool(self.folder, self.args.pool)
                self.config.update({'farmem_pool': self.pool.place, 'farmem_pool_key': self.pool.keys['secret']})
            self.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *what):
        self.call('down', check=False)
        if self.pool:
            self.pool.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *command, check=True):
        return run('--run', self.folder, *command, check=check)

    def up(self):
        config = os.path.join(self.folder, 'node.yaml')
        with open(config, 'w', encoding='utf-8') as file:
            file.writelines(f'{key}: {value}\n' for key, value in self.config.items())
        self.call('up', '-d', '--config', config, '--state', self.folder + '/state', '--listen', '127.0.0.1:0', '--log', self.folder + '/hearthd.log')
        self.gateway = self.ps()['node']['gateway']

    def ps(self):
        return json.loads(self.call('--json', 'ps').stdout)

    def deploy(self, function, keep_s=KEEP_S, **keys):
        """@keep_s: before compression; @keys: of the manifest. An idle instance is ended after it, as the systems do that this one is compared with, and not parked."""
        keys = {'keep_hot': f'{keep_s / self.compress * 1000:.0f}ms', 'park': 'off', 'init_timeout': '5m', 'queue_timeout': '5m', 'timeout': '5m', **keys}
        words = [word for key, value in keys.items() for word in ('--set', f'{key}={value}')]
        self.call('deploy', *words, os.path.join(self.args.functions_dir, function, 'function.yaml'))

    def invoke(self, name, how=None):
        """One call. @how: it must start so. Return: (ms, how it started)."""
        host, port = self.gateway.rsplit('/', 1)[-1].rsplit(':', 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        began = time.monotonic()
        try:
            connection.request('POST', f'/2015-03-31/functions/{name}/invocations', body='{"replay":0}')
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200 or answer.headers['X-Amz-Function-Error'] or not answer.headers['X-Hearth-Start']:
            raise Broken(f'{name} answers {answer.status}: {body[:200]!r}')
        ms, started = (time.monotonic() - began) * 1e3, answer.headers['X-Hearth-Start']
        if how not in (None, started):
            raise Broken(f'{name}: its start was {started}, not {how}')
        return ms, started

    # ---- memory ----

    def fault_s(self):
        """{function: s that its threads waited for pages that they touched while those were away}"""
        with urllib.request.urlopen(self.gateway + '/metrics', timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
        return {name: float(s) for name, s in re.findall(r'^hearth_farmem_fault_seconds_sum\{function="([^"]*)"\} (\S+)$', text, re.M)}

    def watch(self):
        self.samples, self.stop = [], threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()

    def sample(self):
        while True:
            ps = self.ps()
            held = {}
            for inst in ps['instances']:
                local, away = held.get(inst['function'], (0, 0))
                held[inst['function']] = local + inst['memory_bytes'], away + (inst.get('memory') or {}).get('remote_bytes', 0)
            self.samples.append((time.monotonic(), held, ps['node']['farmem']['pool_bytes'], self.pool.bytes() if self.pool else 0))
            if self.stop.wait(SAMPLE_S):
                return

    def watched(self):
        """Averages in MiB: {function: (local, away)}, what is in this machine's pool, and in the one beside it, each sample counting for the time up to the next; and the most that was local of all."""
        self.stop.set()
        self.thread.join()
        s = self.samples
        spans = [max(b[0] - a[0], 1e-9) for a, b in zip(s, s[1:])] or [1]
        whole = sum(spans)
        def mean(of):
            return sum(span * of(one) for span, one in zip(spans, s)) / whole / MIB
        seen = {f for one in s for f in one[1]}
        return ({f: tuple(mean(lambda one, f=f, k=k: one[1].get(f, (0, 0))[k]) for k in (0, 1)) for f in seen}, mean(lambda one: one[2]), mean(lambda one: one[3]),
                max(sum(local for local, _ in one[1].values()) for one in s) / MIB)

    # ---- a trace ----

    def replay(self, trace, functions):
        """Return: hearth-replay's report. @trace: words that name it."""
        out = self.folder + '/replay'
        # it is told to wait for nothing after the last answer
        done = self.call('replay', '--functions', ','.join(functions), '--gateway', self.gateway, '--compress', str(self.compress), '--keepalive', '1s', '--out', out, *trace, check=False)
        try:
            with open(out + '/report.json', encoding='utf-8') as file:
                return json.load(file)
        except OSError:
            raise Broken(f'hearth replay: {(done.stderr or done.stdout).strip()}') from None


def measure(args, policy, trace, compress, functions, **keys):
    """A node, the functions called once each or as often as args say, and the trace. @keys: of the functions' manifests.
    Return: {'functions': {name: figures}, 'pool', 'elsewhere' (what is kept of it, MiB), 'errors', 'starts', 'wall_s', 'synthetic', 'series': [(s, MiB local)], 'load': of the machine before}"""
    load = os.getloadavg()[0]
    worth = {'farmem_worth': args.worth} if policy == 'hearth' and getattr(args, 'worth', None) else {}
    keys = {**keys, **dict(getattr(args, 'set', []) if policy == 'hearth' else [])}
    with Node(args, policy, compress, **worth) as node:
        for name in functions:
            node.deploy(name, max_instances=str(args.max_instances), **keys)
        for _ in range(getattr(args, 'calls_before', 1)):
            for name in functions:
                node.invoke(name)
        node.watch()
        try:
            report = node.replay(trace, functions)
        finally:
            memory, pool, elsewhere, _ = node.watched()
        moved = {f['name']: f.get('memory') or {} for f in node.ps()['functions']}
        waited = node.fault_s()
    rows = {}
    for f in report['functions']:
        local, away = memory.get(f['name'], (0, 0))
        rows[f['name']] = {'local_mib': local, 'away_mib': away, 'p50_ms': f['p50_ms'], 'p95_ms': f['found_p95_ms'], 'p95_with_starts_ms': f['p95_ms'], 'calls': f['requests'], 'errors': f['errors'],
                           'cold': f['cold'], 'warm': f['warm'], **{key: moved[f['name']].get(key, 0) for key in ('faults', 'prefetched_pages', 'prefetch_hits')}, 'fault_ms': waited.get(f['name'], 0) * 1e3}
    series = [(at - node.samples[0][0], sum(local for local, _ in held.values()) / MIB) for at, held, *_ in node.samples]
    return {'functions': rows, 'pool': pool, 'elsewhere': elsewhere, 'errors': report['errors'], 'starts': report['starts'], 'wall_s': report['wall_s'], 'synthetic': report['synthetic'], 'series': series, 'load': load}


def middle(rounds):
    """Of what measure() returned for one policy in each round: the same of medians, but errors and starts, which are all there were."""
    first = rounds[0]
    functions = {name: {key: median([one['functions'][name][key] for one in rounds]) for key in row} for name, row in first['functions'].items()}
    return {**first, 'functions': functions, **{key: median([one[key] for one in rounds]) for key in ('pool', 'elsewhere', 'load', 'wall_s')},
            'errors': sum(one['errors'] for one in rounds), 'starts': {how: sum(one['starts'][how] for one in rounds) for how in first['starts']}}


def of_all(found, key):
    """The functions' sum."""
    return sum(f[key] for f in found['functions'].values())


def change(found, base, key):
    """To another, in percent: the functions' sum for memory, their mean for a latency."""
    pairs = [(f[key], base['functions'][name][key]) for name, f in found['functions'].items() if base['functions'][name][key] > 0 and f[key] > 0]
    if not pairs:
        return None
    if key == 'local_mib':
        return (sum(a for a, _ in pairs) / sum(b for _, b in pairs) - 1) * 100
    return sum((a / b - 1) * 100 for a, b in pairs) / len(pairs)


def trace_options(parser):
    parser.add_argument('--trace', metavar='FILE', help='of calls, see hearth-trace(1); the Azure sample where it is, else a generated one')
    parser.add_argument('--seed', type=int, default=1, help='of a generated trace')
    parser.add_argument('--repeat', type=positive, default=1, metavar='N', help='the trace, so many times over, whole minutes after one another, so that what is called every minute or five goes on so. Of few calls P95 is the slowest one')
    parser.add_argument('--lite', action='store_true', help='for a quick look: time goes 10 times faster than it was recorded')
    parser.add_argument('--compress', type=int, metavar='N', help='how many times faster; 2, with --lite 10')
    parser.add_argument('--worth', metavar='BYTES', help='farmem_worth of hearthd(8), for the policy hearth. With the embedded pool, what does not compress saves little of this machine, and break-even is up to four times as late; '
                        '2GiB has memory leave as if the pool were elsewhere')
    parser.add_argument('--set', type=setting, action='append', default=[], metavar='KEY=VALUE', help='of the functions\' manifests, for the policy hearth, as `hearth deploy --set` takes it: "farmem={wake_share: 0.2}"')
    parser.add_argument('--calls-before', type=positive, default=1, metavar='N', help='of each function before the trace begins (%(default)s). What its calls need is learnt in the first ones, which of 3 to 36 calls in all are P95')
    parser.add_argument('--max-instances', type=int, default=2, metavar='N', help='of each function: calls that come in a burst wait rather than start many (%(default)s)')


def repeated(path, times, to):
    """Writes a trace so often, one after the other; the next one begins whole minutes after the one before, and after its last call has begun."""
    with open(path, newline='', encoding='utf-8') as file:
        header, *calls = list(csv.reader(file))
    starts = [float(end) - float(duration) for _, _, end, duration in calls]
    period = (math.floor((max(starts) - min(starts)) / 60) + 1) * 60
    with open(to, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows([app, name, f'{float(end) + k * period:.9f}', duration] for k in range(times) for app, name, end, duration in calls)


def trace_of(args, folder):
    """@folder: for what is written here, and is needed as long as the trace is. Return: (words for hearth replay, what the table says of it)."""
    path = args.trace or (AZURE if os.path.exists(AZURE) else None)
    words, what = ([path], f'trace {os.path.basename(path)}') if path else (['--synthetic', '--seed', str(args.seed)], f'SYNTHETIC trace, generated with seed {args.seed}')
    if args.repeat == 1:
        return words, what
    own = os.path.join(folder, 'trace.csv')
    if path:
        run('trace', 'info', path)      # which says what is wrong with it
    else:
        path = os.path.join(folder, 'once.csv')
        run('trace', 'generate', '--seed', str(args.seed), '-o', path)
    repeated(path, args.repeat, own)
    return [own], f'{what}, {args.repeat} times over'


def factor(args):
    return args.compress or (10 if args.lite else 2)


def processors(n):
    """Those that this process may use, in n parts of whole cores, the first cores left over being nobody's."""
    cores = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        try:
            with open(f'/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list', encoding='ascii') as file:
                core = file.read()
        except OSError:
            core = cpu
        cores.setdefault(core, []).append(cpu)
    each = len(cores) // n
    if not each:
        raise Broken(f'{len(cores)} cores are too few for {n} policies at once')
    cores = list(cores.values())[-each * n:]
    return [[cpu for core in cores[k * each:(k + 1) * each] for cpu in core] for k in range(n)]


def quantile(values, q):
    """Of a list: the smallest one that so large a share does not exceed."""
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -int(-q * len(values) // 1) - 1))] if values else None


def median(values):
    return statistics.median(values) if values else None
