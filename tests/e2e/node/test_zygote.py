#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""zygote: true: concurrent calls of a lambda function, in workers that share memory; whoever of them dies, and whatever becomes of the daemon."""

import concurrent.futures
import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lifelib import BIN, SOURCE, Node, litter, main, state_of, wait_for  # noqa: E402

MIB = 1 << 20
# Whoever is to be somewhere at a time makes a file in /tmp, which is the instance's, and waits for another.
FUNCTION = '''
import glob, os, random, sys, threading, time
try:
    import numpy
except ImportError:
    numpy = None
ballast = bytearray(int(os.environ.get("BALLAST", "0")))
for at in range(0, len(ballast), 4096):
    ballast[at:at + 4] = (at >> 12).to_bytes(4, "little")
if os.environ.get("THREAD"):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True, name="x").start()
count = 0
def handler(event, context):
    global count
    count += 1
    open(f"/tmp/{event.get('name', 'one')}-{os.getpid()}", "w").close()
    while "meet" in event and len(glob.glob(f"/tmp/{event['name']}-*")) < event["meet"]:
        time.sleep(0.002)
    while "wait" in event and not os.path.exists("/tmp/" + event["wait"]):
        time.sleep(0.002)
    if "exit" in event:
        os._exit(event["exit"])
    if "grow" in event:
        more = bytearray(event["grow"])
        more[::4096] = bytes([1]) * len(range(0, len(more), 4096))
    if "check" in event:
        for at in range(0, len(ballast), 4096):
            assert ballast[at:at + 4] == (at >> 12).to_bytes(4, "little"), at
    print("worker", os.getpid(), "has counted", count)
    return {"count": count, "pid": os.getpid(), "random": random.random(), "numpy": numpy and numpy.random.random(), "threads": threading.active_count()}
'''
# hearth-init of another day
STRANGE_INIT = '''#!/usr/bin/python3
import os, socket, struct, time
listener = socket.socket(socket.AF_UNIX)
listener.bind("\\0hearth-init")
listener.listen()
null = os.open("/dev/null", os.O_RDWR)
for fd in range(3):
    os.dup2(null, fd)
peer, _ = listener.accept()
peer.sendall(struct.pack("<IBBHQQQ", 0, 16, 1, 0, 0, 9, 0))
time.sleep(1000)
'''
HOT = {"keep_hot": "1h"}
# idle for 50 ms: half of it leaves each second, all of it in the end
EAGER = {"min_idle": "50ms", "rate": 0.5, "floor": 0, "prewarm_share": 0}


class Zygote(unittest.TestCase):
    def setUp(self):
        self.node = Node()
        self.addCleanup(self.node.close)
        with open(self.node.code + "/zygote.py", "w") as f:
            f.write(FUNCTION)
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        self.addCleanup(self.pool.shutdown)

    def tearDown(self):
        self.assertEqual(litter(), set())

    def deploy(self, name="f", concurrency=4, **more):
        self.node.deploy(name, command=["/usr/bin/python3", "hearth_runtime.py", "zygote.handler"], zygote=True, concurrency=concurrency, **{**HOT, **more})

    def answer(self, event=None, name="f"):
        answer = self.node.call(name, event)
        self.assertEqual(answer.status, 200, answer)
        return {**json.loads(answer.body), "instance": answer.instance, "start": answer.start}

    def later(self, event, name="f"):
        return self.pool.submit(self.node.call, name, event)

    def meet(self, n, name):
        """n calls, of which none ends before all have begun."""
        return [f.result() for f in [self.pool.submit(self.answer, {"meet": n, "name": name}) for _ in range(n)]]

    def instance(self):
        [inst] = self.node.instances("f")
        return inst

    def members(self):
        """{number in its name space: pid} of the instance's processes, hearth-init is 1"""
        found = {}
        for pid in self.node.in_cgroups():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as f:
                if (at := re.search(r"^NSpid:.*\s(\d+)$", f.read(), re.M)):
                    found[int(at.group(1))] = pid
        return found

    def zygote(self):
        [first] = [p for inner, p in self.members().items() if inner == 2]
        return first

    def tmp(self, pattern):
        return [path for inst in self.node.instances("f") for path in glob.glob(f"/proc/{inst['pid']}/root/tmp/{pattern}")]

    def let_go(self, name):
        for inst in self.node.instances("f"):
            with open(f"/proc/{inst['pid']}/root/tmp/{name}", "w"):
                pass

    def begun(self, name, n=1):
        """Until n calls of that name run. Return: their processes' numbers."""
        wait_for(f"{n} calls {name}", lambda: len(self.tmp(name + "-*")) >= n)
        return [int(path.rpartition("-")[2]) for path in self.tmp(name + "-*")]

    def log(self):
        with open(self.node.state + "/logs/f.log") as f:
            return f.read()

    def workers(self, n):
        wait_for(f"{n} workers", lambda: self.instance()["workers"] == n)

    def settled(self):
        """Until those that are there are those that the daemon knows: none is being forked, none has ended and not been told of. Return: their processes."""
        def known():
            there = [p for inner, p in self.members().items() if inner > 2]
            return there if len(there) == self.instance()["workers"] else None
        return wait_for("workers that are all known", known)

    def test_concurrent_calls(self):
        node = self.node.start()
        self.deploy()
        self.assertEqual(self.answer()["start"], "cold")
        answers = self.meet(4, "a")
        self.assertEqual(len({a["pid"] for a in answers}), 4)
        self.assertEqual({a["instance"] for a in answers}, {self.instance()["id"]})
        for numbers in ("random", "numpy"):
            self.assertTrue(len({a[numbers] for a in answers}) == 4 or answers[0][numbers] is None, answers)
        # they are the ones that take the next calls, too: none is begun without need
        again = self.meet(4, "b")
        self.assertEqual({a["pid"] for a in again}, {a["pid"] for a in answers})
        self.assertEqual(self.instance()["workers"], 4)
        self.assertEqual(node.functions("f")["cold"], 1)
        log = self.log()
        for a in answers:
            self.assertIn(f"worker {a['pid']} has counted", log)
        # the zygote and its workers are all of it, and hearth-init's children
        self.assertEqual(len(self.members()), 6)

    def test_more_calls_than_workers(self):
        self.node.start()
        self.deploy(concurrency=2, max_instances=1)
        done = [f.result() for f in [self.later({}) for _ in range(40)]]
        self.assertEqual([a.status for a in done], [200] * 40)
        self.assertLessEqual(self.instance()["workers"], 2)
        self.assertEqual(self.instance()["served"], 40)

    def test_memory_is_shared(self):
        self.node.start()
        self.deploy(memory="512MiB", env={"BALLAST": str(64 * MIB)})
        self.meet(4, "a")
        pss = 0
        for pid in self.members().values():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                pss += int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M).group(1)) << 10
        print(f"4 workers with 64 MiB: PSS {pss / MIB:.1f} MiB, charged {self.instance()['memory_bytes'] / MIB:.1f} MiB")
        self.assertLess(pss, 140 * MIB)
        self.assertLess(self.instance()["memory_bytes"], 140 * MIB)

    def test_worker_killed(self):
        self.node.start()
        self.deploy()
        other = self.later({"name": "other", "wait": "go"})
        victim = self.later({"name": "victim", "wait": "never"})
        [pid] = self.begun("victim")
        self.begun("other")
        before = self.instance()["id"]
        os.kill(self.members()[pid], signal.SIGKILL)
        answer = victim.result()
        self.assertEqual(answer.status, 502)
        self.assertIn(b"the worker for the call was killed by signal 9 (Killed)", answer.body)
        self.assertIn(b"WorkerDied", answer.body)
        self.assertNotEqual(self.answer()["pid"], pid)
        self.let_go("go")
        self.assertEqual(other.result().status, 200)
        self.assertEqual(self.instance()["id"], before)
        # by its own doing
        answer = self.node.call("f", {"exit": 7})
        self.assertEqual(answer.status, 502)
        self.assertIn(b"exited with status 7", answer.body)
        # one that has nothing to do is not missed
        workers = self.settled()
        os.kill(workers[0], signal.SIGKILL)
        self.workers(len(workers) - 1)
        self.assertEqual(len({a["pid"] for a in self.meet(4, "all")}), 4)
        self.assertEqual(self.instance()["id"], before)

    def test_zygote_killed(self):
        node = self.node.start()
        self.deploy()
        calls = [self.later({"name": "x", "wait": "never"}) for _ in range(2)]
        self.begun("x", 2)
        os.kill(self.zygote(), signal.SIGKILL)
        for call in calls:
            self.assertEqual(call.result().status, 502)
            self.assertIn(b"killed by signal 9", call.result().body)
        self.assertEqual(self.answer()["start"], "cold")
        node.clean()

    def test_timeout(self):
        self.node.start()
        self.deploy(timeout="5s")
        self.answer()
        before = self.instance()["id"]
        hangs = self.later({"name": "hangs", "wait": "never"})
        [pid] = self.begun("hangs")
        self.assertEqual(hangs.result().status, 504)
        wait_for("the worker's end", lambda: pid not in self.members())
        answers = self.meet(4, "next")
        self.assertNotIn(pid, {a["pid"] for a in answers})
        self.assertEqual(self.instance()["id"], before)
        self.assertEqual(self.node.functions("f")["cold"], 1)

    def test_stuck_zygote(self):
        """One that does not fork when it has to is worth no more than a program that hangs."""
        node = self.node.start()
        self.deploy(timeout="5s")
        self.answer()
        busy = self.later({"name": "busy", "wait": "never"})
        self.begun("busy")
        before = self.instance()["id"]
        os.kill(self.zygote(), signal.SIGSTOP)
        self.assertEqual(self.later({}).result().status, 504)
        self.assertIn(busy.result().status, (502, 504))
        wait_for("its end", lambda: before not in [i["id"] for i in node.instances("f")])
        answer = self.answer()
        self.assertEqual(answer["start"], "cold")
        self.assertNotEqual(answer["instance"], before)
        node.clean()

    def test_memory_limit(self):
        node = self.node.start()
        self.deploy(memory="96MiB")
        self.answer()
        before = self.instance()["id"]
        answer = node.call("f", {"grow": 200 * MIB})
        self.assertEqual(answer.status, 502)
        self.assertIn(b"used more than its memory limit of 96 MiB", answer.body)
        self.assertEqual(self.answer()["instance"], before)
        self.assertEqual(node.functions("f")["oom_kills"], 1)
        # what ended before does not explain what ends now
        self.assertIn(b"exited with status 3", node.call("f", {"exit": 3}).body)

    def test_idle_workers_end(self):
        self.node.start()
        self.deploy(worker_idle="300ms")
        pids = {a["pid"] for a in self.meet(4, "a")}
        self.workers(1)
        wait_for("their end", lambda: len(self.members()) == 3)
        a = self.answer()
        self.assertIn(a["pid"], pids)
        self.assertEqual(a["count"], 2)
        self.assertEqual(len({b["pid"] for b in self.meet(3, "b")}), 3)

    def test_parked_with_workers(self):
        node = self.node.start().knows()
        self.deploy(env={"BALLAST": str(8 * MIB)}, memory="512MiB", worker_idle="1h")
        pids = {a["pid"] for a in self.meet(3, "a")}
        node.park("f")
        node.clean()
        answers = self.meet(3, "b")
        self.assertEqual({a["pid"] for a in answers}, pids)
        self.assertEqual({a["count"] for a in answers}, {2})
        self.assertEqual({a["start"] for a in answers}, {"wake"})
        self.assertEqual(self.instance()["workers"], 3)
        # and its zygote still forks
        self.assertEqual(len({a["pid"] for a in self.meet(4, "c")}), 4)
        self.answer({"check": True})
        node.park("f")
        self.assertEqual(self.answer({"check": True})["start"], "wake")

    def test_parked_without_workers(self):
        """What they share has to be there for each of them after a wake. Where the limit would not hold that they end before."""
        node = self.node.start().knows()
        self.deploy(env={"BALLAST": str(64 * MIB)}, memory="192MiB", worker_idle="1h")
        self.meet(4, "a")
        node.park("f")
        image = self.instance()["image_bytes"]
        self.assertLess(image, 128 * MIB)
        a = self.answer({"check": True})
        self.assertEqual((a["start"], a["count"]), ("wake", 1))
        self.assertEqual(len({a["pid"] for a in self.meet(4, "b")}), 4)
        self.assertEqual(node.functions("f")["oom_kills"], 0)
        node.clean()

    def test_calls_while_workers_end(self):
        """Whatever comes while it is being parked is answered, by it or by what is woken."""
        node = self.node.start().knows()
        self.deploy(env={"BALLAST": str(48 * MIB)}, memory="128MiB", worker_idle="1h", keep_hot="1h")
        for _ in range(5):
            self.meet(3, "a")
            node.ctl("park", name="f")
            done = [f.result().status for f in [self.later({"check": True}) for _ in range(4)]]
            self.assertEqual(done, [200] * 4)
        node.clean()

    def test_clones(self):
        node = self.node.start().knows()
        self.deploy(park="snapshot", max_instances=3, concurrency=2, env={"BALLAST": str(8 * MIB)})
        wait_for("the snapshot", lambda: node.functions("f")["snapshot"])
        calls = [self.pool.submit(self.answer, {"name": "x", "wait": "go", "check": True}) for _ in range(6)]
        wait_for("three instances that run two calls each", lambda: [i["inflight"] for i in node.instances("f")] == [2, 2, 2])
        self.begun("x", 6)              # else a worker that is done early takes the second one as well
        self.let_go("go")
        answers = [c.result() for c in calls]
        self.assertEqual(len({a["instance"] for a in answers}), 3)
        self.assertEqual({a["start"] for a in answers}, {"wake"})
        self.assertEqual({i["workers"] for i in node.instances("f")}, {2})

    def test_daemon_killed(self):
        node = self.node.start()
        self.deploy(concurrency=3)
        calls = [self.later({"name": "x", "wait": "go"}) for _ in range(2)]
        self.begun("x", 2)
        before = self.instance()["id"]
        node.kill()
        for call in calls:
            self.assertIsInstance(call.exception(), OSError)
        node.start()
        node.in_state("f", "hot")
        inst = self.instance()
        self.assertEqual((inst["id"], inst["adopted"], inst["inflight"], inst["workers"]), (before, True, 2, 2))
        # there is place for one more, and only one
        self.assertEqual(self.answer()["instance"], before)
        third = self.later({"name": "third", "wait": "go"})
        self.begun("third")
        self.assertEqual(self.instance()["inflight"], 3)
        fourth = self.later({"name": "fourth"})
        wait_for("one that waits", lambda: node.functions("f")["queued"] == 1)
        self.assertFalse(self.tmp("fourth-*"))
        self.let_go("go")
        self.assertEqual((third.result().status, fourth.result().status), (200, 200))
        wait_for("the earlier daemon's calls' end", lambda: self.instance()["inflight"] == 0)
        self.assertEqual(len({a["pid"] for a in self.meet(3, "after")}), 3)

    def test_daemon_killed_and_worker_too(self):
        """What dies of an earlier daemon's calls gives its place back as well."""
        node = self.node.start()
        self.deploy(concurrency=2)
        calls = [self.later({"name": "x", "wait": "never"}) for _ in range(2)]
        pids = self.begun("x", 2)
        node.kill()
        os.kill(self_pid := self.members()[pids[0]], signal.SIGKILL)
        wait_for("its end", lambda: state_of(self_pid) in ("", "Z"))
        node.start()
        node.in_state("f", "hot")
        os.kill(self.members()[pids[1]], signal.SIGKILL)
        self.assertEqual(len({a["pid"] for a in self.meet(2, "after")}), 2)
        self.assertTrue(all(isinstance(c.exception(), OSError) for c in calls))

    def test_runtime_with_threads(self):
        node = self.node.start()
        self.deploy(env={"THREAD": "yes"}, max_instances=2)
        done = [f.result() for f in [self.later({}) for _ in range(4)]]
        self.assertEqual([a.status for a in done], [200] * 4)
        self.assertIsNone(self.node.instances("f")[0]["workers"])
        wait_for("why", lambda: "1 threads that a fork would lose" in self.log())
        self.assertEqual(node.text().count("its runtime does not fork workers, or cannot"), 1)

    def test_threads_of_openblas(self):
        """They end before a fork, and each worker has its own when it needs them: functions/bert, one layer of it."""
        if subprocess.run(["/usr/bin/python3", "-c", "import numpy"], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("no numpy")
        node = self.node.start()
        manifest = {"name": "f", "directory": os.path.join(SOURCE, "functions"), "command": ["/usr/bin/python3", "runtime/hearth_runtime.py", "bert/function.handler"], "zygote": True,
                    "concurrency": 3, "memory": "1GiB", "max_instances": 1, "env": {"OPENBLAS_NUM_THREADS": "2", "BERT_LAYERS": "1", "BERT_SEED": "1"}}
        node.ask("deploy", text=json.dumps(manifest), file="test", base=node.code)
        first = node.call("f", {})
        self.assertEqual(first.status, 200, first)
        answers = [f.result() for f in [self.later({}) for _ in range(12)]]
        self.assertEqual({(a.status, a.body) for a in answers}, {(200, first.body)})
        self.assertGreaterEqual(self.instance()["workers"], 1)

    def test_bad_manifests(self):
        node = self.node.start()
        for more, text in (({"contract": "http"}, "zygote: is of the lambda contract"), ({"contract": "native"}, "takes concurrent calls itself"),
                           ({"concurrency": 0}, "concurrency"), ({"concurrency": 257}, "too many for one zygote"), ({"zygote": False}, "takes one invocation at a time"),
                           ({"zygote": "often"}, "zygote"), ({"pids": 11}, "pids: 11 is too few"), ({"nofile": 50}, "nofile: 50 is too few"), ({"worker_idle": 0}, "worker_idle")):
            manifest = {"name": "f", "directory": node.code, "command": ["/usr/bin/python3"], "zygote": True, "concurrency": 4, **more}
            reply = node.ctl("deploy", text=json.dumps(manifest), file="test", base=node.code)
            self.assertFalse(reply["ok"], more)
            self.assertIn(text, json.dumps(reply), more)

    def test_another_version(self):
        """An instance that speaks a version of the channel which the daemon does not know is ended, and that is said."""
        node = self.node
        libexec = node.dir + "/libexec"
        os.mkdir(libexec)
        for name in os.listdir(BIN):
            if name != "hearth-init":
                os.symlink(os.path.join(BIN, name), f"{libexec}/{name}")
        with open(libexec + "/hearth-init", "w") as f:
            f.write(STRANGE_INIT)
        os.chmod(libexec + "/hearth-init", 0o755)
        node.start(args=("--libexec", libexec))
        self.deploy()
        answer = node.call("f")
        self.assertEqual(answer.status, 502)
        self.assertIn(b"it speaks version 9 of the channel, and this hearthd 1 to 2", answer.body)

    def pages(self):
        """A node whose pager takes memory, or skip."""
        node = self.node.start()
        if (node.ask("ps")["node"].get("farmem") or {}).get("engine") != "uffd":
            self.skipTest("no pager here")
        return node

    def test_fork_while_memory_is_away(self):
        node = self.pages()
        self.deploy(concurrency=3, env={"BALLAST": str(16 * MIB), "OPENBLAS_NUM_THREADS": "1"}, keep_hot="100ms", keep_warm="1h", min_instances=1, farmem=EAGER)
        wait_for("memory that is away", lambda: [i for i in node.instances("f") if (i["memory"] or {}).get("remote_bytes", 0) > 8 * MIB])
        calls = [self.pool.submit(self.answer, {"name": "x", "meet": 3, "check": True}) for _ in range(3)]
        self.assertEqual(len({c.result()["pid"] for c in calls}), 3)
        # and the zygote's own is what it was: whoever comes next has it from there
        for pid in [p for inner, p in self.members().items() if inner > 2]:
            os.kill(pid, signal.SIGKILL)
        self.workers(0)
        self.answer({"check": True})

    def test_shared_memory_stays(self):
        """What a fork has shared is kept by the kernel, and counted as that."""
        self.pages()
        self.deploy(env={"BALLAST": str(16 * MIB), "OPENBLAS_NUM_THREADS": "1"}, keep_hot="100ms", keep_warm="1h", farmem=EAGER)
        self.answer({"check": True})
        wait_for("pages that are refused", lambda: (self.instance()["memory"] or {}).get("refused_bytes", 0) > 8 * MIB)
        self.assertLess(self.instance()["memory"]["remote_bytes"], 8 * MIB)
        self.answer({"check": True})


if __name__ == "__main__":
    main()
