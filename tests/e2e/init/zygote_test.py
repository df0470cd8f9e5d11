#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hearth-init with a zygote: the runtime of functions/, its workers, and what is said of them on the channel."""
import json, os, signal, sys, tempfile, time
from channel import *

RUNTIME = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../functions/runtime/hearth_runtime.py')
FUNCTION = """
import os, sys, time
count = 0
def handler(event, context):
    global count
    count += 1
    os.write(1, b"begins %d\\n" % event["name"])        # at once: workers have one pipe, and print() of an unbuffered Python writes word by word
    while "wait" in event and not os.path.exists(event["wait"]):
        time.sleep(0.002)
    if "exit" in event:
        sys.exit(event["exit"])
    return {"pid": os.getpid(), "count": count, "fds": sorted(os.readlink("/proc/self/fd/" + f) for f in os.listdir("/proc/self/fd")[:-1])}
"""


class Zygote(Instance):
    def __init__(self, concurrency=3, command=None, **more):
        self.folder = tempfile.TemporaryDirectory()
        with open(self.folder.name + '/function.py', 'w') as f:
            f.write(FUNCTION)
        super().__init__('lambda', command or [sys.executable, RUNTIME, 'function.handler'], env={'LAMBDA_TASK_ROOT': self.folder.name, 'OPENBLAS_NUM_THREADS': '1'},
                         api_port=free_port(), concurrency=concurrency, zygote=True, **more)
        self.connect()
        if not command and not self.ch.hello.flags & 2:
            self.ch.expect(LOADED_NOW)
        if not self.ch.hello.flags & 1:
            assert self.ch.expect(READY_NOW).flags == (0 if command else 4)

    def invoke(self, id, **event):
        if 'wait' in event:
            event['wait'] = self.folder.name + '/' + event['wait']
        self.ch.send(INVOKE, id=id, arg=1999999999999, meta={'request_id': f'req-{id}'}, body=json.dumps({'name': id, **event}).encode())

    def result(self):
        return self.ch.expect(RESULT)

    def begun(self, *ids):
        """Until these have said that they run. Their output comes in any order."""
        while not all(b'begins %d\n' % id in self.ch.log[1] for id in ids):
            f = self.ch.frame()
            assert f.kind in (LOG, WORKERS), f
            if f.kind == LOG:
                self.ch.log[f.arg] += f.body
            else:
                self.ch.workers = f.arg

    def let_go(self, name):
        open(self.folder.name + '/' + name, 'w').close()

    def children(self, n):
        """The first is the zygote, the others are n workers, each when the process that forked it has ended."""
        deadline = time.monotonic() + 20
        while True:
            pids = [int(p) for p in open(f'/proc/{self.p.pid}/task/{self.p.pid}/children').read().split()]
            if len(pids) == 1 + n:
                return pids
            assert time.monotonic() < deadline, pids
            time.sleep(0.002)

    def end(self):
        super().end()
        self.folder.cleanup()


def test_several_at_a_time():
    with Zygote() as i:
        assert i.ch.hello.arg == 2
        for n in (1, 2, 3):
            i.invoke(n, wait='go')
        i.invoke(4)
        assert (r := i.result()).id == 4 and r.arg == REFUSED
        i.begun(1, 2, 3)
        assert i.ch.workers == 3
        i.let_go('go')
        found = [i.result() for _ in range(3)]
        assert {r.id for r in found} == {1, 2, 3} and {r.arg for r in found} == {OK}, found
        docs = [json.loads(r.body) for r in found]
        # children of hearth-init, so that it learns of their end; of their zygote they have nothing open
        assert {d['pid'] for d in docs} == set(i.children(3)[1:])
        assert all(sum('socket' in fd for fd in d['fds']) == 1 and sum('pipe' in fd for fd in d['fds']) == 2 for d in docs), docs


def test_who_comes_later_knows_what_runs():
    with Zygote() as i:
        i.invoke(7, wait='seven')
        i.invoke(8, wait='eight')
        i.begun(7, 8)
        i.ch.close()
        ch = i.connect()
        assert ch.hello.flags & 5 == 5 and sorted(ch.running) == [7, 8] and ch.hello.id in (7, 8)
        assert ch.expect(WORKERS).arg == 2
        i.let_go('seven')
        assert i.result().id == 7
        i.let_go('eight')
        assert i.result().id == 8
        ch.close()
        assert i.connect().running == []


def test_cancelled():
    with Zygote() as i:
        i.invoke(1, wait='never')
        i.invoke(2, wait='go')
        i.begun(1, 2)
        i.ch.send(CANCEL, id=1)
        i.ch.send(CANCEL, id=99)
        i.invoke(3)
        i.let_go('go')
        found = sorted(((r := i.result()).id, r.arg) for _ in range(2))
        assert found == [(2, OK), (3, OK)], found


def test_death():
    with Zygote() as i:
        i.invoke(1, exit=3)
        assert json.loads(i.result().body)['errorType'] == 'Runtime.ExitError'
        i.invoke(2, wait='never')
        i.begun(2)
        zygote, worker = i.children(1)
        os.kill(worker, signal.SIGSEGV)
        r = i.result()
        assert (r.id, r.arg, r.body) == (2, WORKER_DIED, b'was killed by signal 11 (Segmentation fault)'), r
        i.invoke(3)
        assert i.result().arg == OK
        os.kill(zygote, signal.SIGKILL)
        assert i.exited() == signal.SIGKILL
        assert not i.ch.s.recv(1)


def test_idle_workers_end():
    with Zygote(worker_idle=50) as i:
        for n in (1, 2, 3):
            i.invoke(n, wait='go')
        i.begun(1, 2, 3)
        i.let_go('go')
        for _ in range(3):
            i.result()
        while i.ch.expect(WORKERS).arg > 1:
            pass
        i.invoke(4)
        assert json.loads(i.result().body)['count'] == 2
        assert i.ch.log[2] == b'', i.ch.log


def test_runtime_that_knows_of_none():
    here = os.path.dirname(os.path.abspath(__file__))
    with Zygote(command=[sys.executable, here + '/runtime.py', 'headers']) as i:
        assert i.ch.hello.arg == 2
        for n in range(1, 4):
            i.invoke(n)
        # no more than one at a time, but who calls need not know
        assert [(r := i.result()).id for _ in range(3)] == [1, 2, 3] and r.arg == OK


def test_stopped():
    with Zygote() as i:
        i.invoke(1)
        i.result()
        i.ch.send(STOP, arg=signal.SIGTERM)
        assert i.exited() == signal.SIGTERM and not os.path.exists(f'/proc/{i.p.pid}/task')


main(globals())
