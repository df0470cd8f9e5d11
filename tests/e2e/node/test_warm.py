#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Warm instances: what the node asks of an engine, and what becomes of an instance whose memory is elsewhere.

The engine is a double (double.c): it counts memory of the real processes, and only says that pages are away.
"""

import concurrent.futures
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lifelib import BIN, Node, comm, litter, main, processes, state_of, wait_for  # noqa: E402

DOUBLE = os.environ.get("HEARTH_DOUBLE_DAEMON")
# idle for 50 ms: half of it leaves each second, all of it in the end, and none comes back but for a call
EAGER = {"min_idle": "50ms", "rate": 0.5, "floor": 0, "prewarm_share": 0}
SOON = {"keep_hot": "100ms", "keep_warm": "1h", "farmem": EAGER}


class Warm(unittest.TestCase):
    def setUp(self):
        self.node = Node()
        self.addCleanup(self.node.close)
        self.node.program = [DOUBLE, "--libexec", BIN]
        self.dir = self.node.dir + "/double"
        os.mkdir(self.dir)
        self.env = {"HEARTH_DOUBLE": self.dir, "HEARTH_CRIU": os.environ.get("HEARTH_CRIU", os.path.join(BIN, "../deps/criu"))}

    def tearDown(self):
        self.assertEqual(litter(), set())

    def start(self, parks=True, **config):
        with open(self.dir + "/node.yaml", "w") as f:
            f.writelines(f"{key}: {value}\n" for key, value in config.items())
        node = self.node.start(env=self.env, args=("--config", self.dir + "/node.yaml"))
        return node.knows() if parks else node

    def tell(self, what):
        with open(f"{self.dir}/{what}", "w"):
            pass

    def untell(self, what):
        os.unlink(f"{self.dir}/{what}")

    def asked(self, word=""):
        try:
            with open(self.dir + "/log") as f:
                return [line for line in f.read().splitlines() if line.startswith(word)]
        except FileNotFoundError:
            return []

    def warm(self, name):
        """Until its memory is away."""
        [inst] = self.node.in_state(name, "warm")
        wait_for("memory that is away", lambda: (self.node.instances(name)[0]["memory"] or {}).get("remote_bytes"))
        return inst

    def wait_for_ends(self):
        """Of requests whose answers are there."""
        wait_for("the requests' ends", lambda: len(self.asked("begin")) == len(self.asked("end")))

    def metric(self, name, **labels):
        connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=30)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        want = ",".join(f'{k}="{v}"' for k, v in labels.items())
        return float(re.search(rf"^{name}(?:{{{want}}})? (\S+)$", text, re.M).group(1))

    def test_each_contract(self):
        node = self.start()
        for contract in ("lambda", "http", "native"):
            node.deploy(contract, contract, **SOON)
            self.assertEqual(node.count(contract).start, "cold")
            inst = self.warm(contract)
            answer = node.count(contract)
            self.assertEqual((answer.count, answer.start, answer.instance), (2, "warm", inst["id"]))
        self.wait_for_ends()
        for contract in ("lambda", "http", "native"):
            lines = [line.split() for line in self.asked() if contract in line]
            self.assertEqual(lines[0][0], "attach")
            self.assertIn(["barrier", lines[0][1], "1"], lines)
            # the first may be over before the engine has it
            begins = [k for k, line in enumerate(lines) if line[0] == "begin"]
            self.assertIn(len(begins), (1, 2))
            self.assertEqual(sum(line[0] == "end" for line in lines), len(begins))
            # read ahead at once: before anything else that the second request brings
            self.assertIn("prefetch", [line[0] for line in lines[begins[-1]:begins[-1] + 3]])
        f = node.functions("lambda")
        self.assertEqual((f["cold"], f["warm"], f["wakes"]), (1, 1, 0))
        self.assertGreater(f["memory"]["offloaded_bytes"], 0)
        self.assertGreater(f["memory"]["prefetched_pages"], 0)
        self.assertEqual(self.metric("hearth_function_starts_total", function="lambda", kind="warm"), 1)
        self.assertEqual(self.metric("hearth_farmem_up", engine="double"), 1)
        self.assertGreater(self.metric("hearth_farmem_offloaded_bytes_total", function="lambda"), 0)
        self.assertEqual(self.metric("hearth_farmem_faults_total", function="lambda"), 1)
        farmem = node.ask("ps")["node"]["farmem"]
        self.assertEqual(farmem["engine"], "double")
        self.assertAlmostEqual(farmem["break_even_s"], self.metric("hearth_farmem_break_even_seconds"), delta=farmem["break_even_s"] / 2)
        self.assertGreater(farmem["break_even_s"], 0)

    def test_figures_after_a_wake(self):
        """Memory is looked at when what is needed has come back, and when the request has ended: not only when a second is over."""
        node = self.start(parks=False)
        node.deploy("f", **SOON)
        node.count("f")
        for count in range(2, 5):
            self.warm("f")
            self.assertEqual(node.count("f").count, count)
            self.wait_for_ends()

        def looked_at():
            words = [line.split()[0] for line in self.asked()]
            ends = [k for k, word in enumerate(words) if word == "end"]
            # from the prefetch to what leaves again: once for either
            wakes = [words[k:words.index("offload", k) if "offload" in words[k:] else None] for k, word in enumerate(words) if word == "prefetch"]
            return all(words[k + 1:k + 2] == ["refresh"] for k in ends) and len(wakes) == 3 and all(wake.count("refresh") >= 2 for wake in wakes)

        wait_for("the looks", looked_at)

    def test_offload_goes_on_after_it_was_cut_short(self):
        """As when the engine's process is killed: at once, and not when it is time for more to leave."""
        self.tell("cut")
        node = self.start(parks=False)
        node.deploy("f", **{**SOON, "farmem": {**EAGER, "segments": False, "rate": 1}})
        node.count("f")
        wait_for("an offload", lambda: self.asked("offload"))
        node.count("f")
        words = [line.split() for line in self.asked() if line.split()[0] in ("offload", "begin")]
        first = next(k for k, line in enumerate(words) if line[0] == "offload")
        self.assertEqual([line[0] for line in words[first:first + 2]], ["offload", "offload"])
        self.assertLessEqual(int(words[first + 1][3]), int(words[first][3]) // 2 + 1)

    def test_floor(self):
        node = self.start(parks=False)
        node.deploy("f", **{**SOON, "farmem": {**EAGER, "floor": "6MiB", "segments": False, "rate": 1}})
        node.count("f")
        self.warm("f")
        wait_for("the floor", lambda: node.instances("f")[0]["memory"]["resident_bytes"] < 7 << 20)
        self.assertGreaterEqual(node.instances("f")[0]["memory"]["resident_bytes"], 5 << 20)

    def test_off(self):
        node = self.start(parks=False)
        node.deploy("f", **{**SOON, "farmem": "off"})
        node.count("f")
        node.in_state("f", "warm")
        self.assertEqual(node.count("f").start, "hot")
        self.assertEqual(self.asked(), [])
        self.assertIsNone(node.instances("f")[0]["memory"])

    def test_refused(self):
        self.tell("refuse")
        node = self.start(parks=False)
        node.deploy("f", **SOON)
        self.assertEqual(node.count("f").count, 1)
        wait_for("the reason in the log", lambda: "its memory stays where it is: the double was told to refuse" in node.text())
        self.assertEqual(node.instances("f")[0]["memory_left_alone"], "the double was told to refuse")
        node.in_state("f", "warm")
        answer = node.count("f")
        self.assertEqual((answer.count, answer.start), (2, "hot"))

    def test_parked_when_warm(self):
        node = self.start()
        node.deploy("f", **SOON)
        node.count("f")
        self.warm("f")
        node.park("f")
        asked = [line.split()[0] for line in self.asked()]
        self.assertLess(asked.index("recall"), asked.index("recalled"))
        node.clean()
        answer = node.count("f")
        self.assertEqual((answer.count, answer.start), (2, "wake"))
        # the restored process is one more that memory is taken of
        self.warm("f")
        self.assertEqual(node.count("f").start, "warm")
        self.assertEqual(len(self.asked("attach")), 2)
        node.clean()

    def test_parked_in_time(self):
        """What is warm is parked when it has been idle for keep_hot and keep_warm together."""
        node = self.start()
        node.deploy("f", keep_hot="200ms", keep_warm="400ms", farmem=EAGER)
        node.count("f")
        node.in_state("f", "parked")
        self.assertEqual(node.count("f").start, "wake")

    def test_call_during_recall(self):
        self.tell("slow")
        node = self.start()
        node.deploy("f", **SOON)
        node.count("f")
        inst = self.warm("f")
        node.ask("park", name="f")
        node.in_state("f", "parking")
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
        connection.request("POST", "/2015-03-31/functions/f/invocations", "{}")
        wait_for("the call to wait", lambda: node.functions("f")["queued"])
        self.untell("slow")
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.getheader("X-Hearth-Instance")), (200, inst["id"]))
        answer.read()
        connection.close()
        self.assertEqual(node.images("f"), [])
        self.warm("f")
        node.clean()

    def test_recall_fails(self):
        self.tell("broken")
        node = self.start()
        node.deploy("f", **SOON)
        node.count("f")
        inst = self.warm("f")
        node.ask("park", name="f")
        wait_for("its end", lambda: not node.instances("f"))
        self.assertIn("it cannot be parked, and not go on: the double was told to lose it", node.text())
        self.assertEqual(node.images("f"), [])
        answer = node.count("f")
        self.assertEqual((answer.count, answer.start), (1, "cold"))
        self.assertNotEqual(answer.instance, inst["id"])
        node.clean()

    def test_killed_during_recall(self):
        self.tell("slow")
        node = self.start()
        node.deploy("f", **SOON)
        node.deploy("g", **SOON)
        for name in "fg":
            node.count(name)
            self.warm(name)
        [inst] = node.instances("f")
        node.ask("park", name="f")
        node.in_state("f", "parking")
        os.kill(inst["pid"], signal.SIGKILL)
        wait_for("its end", lambda: not node.instances("f"))
        wait_for("its pool memory to be freed", lambda: self.asked("ended " + inst["id"]))
        self.untell("slow")
        # the place of the checkpoint that did not come is free again
        node.park("g")
        self.assertEqual(node.count("f").start, "cold")
        node.clean()

    def test_killed_when_warm(self):
        node = self.start(parks=False)
        node.deploy("f", **SOON)
        node.count("f")
        inst = self.warm("f")
        before = node.functions("f")["memory"]["offloaded_bytes"]
        os.kill(inst["pid"], signal.SIGKILL)
        wait_for("its pool memory to be freed", lambda: self.asked("ended " + inst["id"]))
        wait_for("its end", lambda: not node.instances("f"))
        self.assertGreaterEqual(node.functions("f")["memory"]["offloaded_bytes"], before)
        self.assertEqual(node.ask("ps")["node"]["farmem"]["pool_bytes"], 0)
        self.assertEqual(node.count("f").start, "cold")
        node.clean()

    def test_memory_lost(self):
        """The call on it is answered with the reason, the next one starts cold."""
        node = self.start(parks=False)
        node.deploy("f", **SOON)
        node.count("f")
        self.warm("f")
        self.tell("lose")
        answer = node.call("f", {"sleep": 5})
        self.assertEqual(answer.status, 502)
        self.assertIn(b"its memory in the pool is lost: the double was told to lose it", answer.body)
        self.untell("lose")
        answer = node.count("f")
        self.assertEqual((answer.count, answer.start), (1, "cold"))
        node.clean()

    def test_daemon_killed(self):
        node = self.start()
        node.deploy("f", **SOON)
        node.count("f")
        inst = self.warm("f")
        node.kill()
        node.start(env=self.env).knows()
        wait_for("the instance to be in use again", lambda: node.instances("f")[0]["state"] in ("hot", "warm"))
        self.assertEqual(node.instances("f")[0]["pid"], inst["pid"])
        wait_for("its engine to have it again", lambda: len(self.asked("attach " + inst["id"])) == 2)
        self.warm("f")
        answer = node.count("f")
        self.assertEqual((answer.count, answer.start), (2, "warm"))
        node.clean()

    def test_daemon_killed_during_recall(self):
        self.tell("slow")
        node = self.start()
        node.deploy("f", **SOON)
        node.count("f")
        self.warm("f")
        node.ask("park", name="f")
        node.in_state("f", "parking")
        node.kill()
        self.untell("slow")
        node.start(env=self.env).knows()
        answer = node.count("f")
        self.assertEqual(answer.count, 2)
        self.assertEqual(node.images("f"), [])
        node.clean()

    def test_daemon_leaves_and_ends(self):
        node = self.start()
        node.deploy("f", **SOON)
        node.count("f")
        inst = self.warm("f")
        node.end()
        self.assertIn("leave " + inst["id"], self.asked())
        node.start(env=self.env).knows()
        wait_for("the instance to be in use again", lambda: node.instances("f")[0]["state"] in ("hot", "warm"))
        self.warm("f")
        node.down()
        self.assertEqual(len(node.images("f")), 1)
        node.start(env=self.env).knows()
        answer = node.count("f")
        self.assertEqual((answer.count, answer.start), (2, "wake"))

    def test_changed_when_warm(self):
        node = self.start()
        node.deploy("f", **SOON)
        node.count("f")
        inst = self.warm("f")
        node.deploy("f", **{**SOON, "timeout": "29s"})
        wait_for("its end", lambda: not node.instances("f"))
        wait_for("its pool memory to be freed", lambda: self.asked("ended " + inst["id"]))
        self.assertEqual(node.count("f").count, 1)
        node.clean()

    def test_learns(self):
        """What is used again and again within its delay stays: memory leaves after it, not before."""
        node = self.start(parks=False)
        node.deploy("f", keep_hot="1h", farmem={"min_idle": "1h"})
        for k in range(5):
            self.assertEqual(node.count("f").count, k + 1)
        self.assertEqual(node.instances("f")[0]["state"], "hot")
        self.assertFalse([line for line in self.asked("offload") if line.split()[2] == "7"])

    def test_cheap_wake(self):
        """What calls would not notice leaves at once when that is worth it, not little by little."""
        self.tell("records")
        node = self.start(parks=False, farmem_worth=0)
        early = {**EAGER, "rate": 0.0001, "segments": False}
        for name, share in (("f", 0), ("g", 1)):
            node.deploy(name, keep_hot="1h", farmem={**early, "wake_share": share})
            for count in (1, 2):
                self.assertEqual(node.call(name, {"sleep": .5}).count, count)
        for name in ("f", "g"):
            self.warm(name)
        for name, least, most in (("f", 1, 1 << 20), ("g", 4 << 20, 128 << 20)):
            _, _, segments, size = self.asked("offload " + name)[0].split()
            self.assertEqual(segments, "7")
            self.assertTrue(least <= int(size) <= most, size)
        self.assertLess(node.instances("g")[0]["memory"]["resident_bytes"], 4 << 20)
        self.assertEqual(node.call("g").start, "warm")
        self.wait_for_ends()
        self.assertTrue(self.asked("prefetch g"))

    def test_hidden_wake(self):
        """Where calls wait for one another, a call that waits for none is not among the slowest, though its memory has to come back first."""
        self.tell("records")
        node = self.start(parks=False, farmem_worth=0)
        early = {**EAGER, "rate": 0.0001, "segments": False, "wake_share": 0.02}
        for name, together in (("f", 1), ("g", 12)):
            node.deploy(name, keep_hot="1h", max_instances=1, farmem=early)
            node.count(name)
            time.sleep(2)           # idle for so long once, which is what is learnt of it
            with concurrent.futures.ThreadPoolExecutor(together) as pool:
                for answer in pool.map(lambda _, name=name: node.call(name, {"sleep": .2}), range(12)):
                    self.assertEqual(answer.status, 200)
        for name, least, most in (("f", 1, 1 << 20), ("g", 4 << 20, 128 << 20)):
            self.warm(name)
            size = int(self.asked("offload " + name)[0].split()[3])
            self.assertTrue(least <= size <= most, (name, size))

    def unasked(self, name):
        """What was brought back while no request ran."""
        runs, found = 0, []
        for what, inst, *rest in (line.split() for line in self.asked()):
            if inst.startswith(name):
                runs += {"begin": 1, "end": -1}.get(what, 0)
                found += [rest] if what == "prefetch" and not runs else []
        return found

    def test_ahead_of_a_timer(self):
        """What is called regularly is back before its next call, and stays away where that is not wanted."""
        self.tell("records")
        node = self.start(parks=False, farmem_worth=0)
        for name, share in (("f", .1), ("g", 0)):
            node.deploy(name, **{**SOON, "farmem": {**EAGER, "prewarm_share": share}})
        for count in range(1, 13):
            due = time.monotonic() + .5
            for name in ("f", "g"):
                self.assertEqual(node.count(name).count, count)
            time.sleep(max(0, due - time.monotonic()))
        wait_for("memory that comes back by itself", lambda: self.unasked("f"))
        self.assertEqual(self.unasked("g"), [])
        self.assertEqual(node.count("f").count, 13)

    def test_not_worth_it(self):
        """What is parked soon is left alone, and says so; unless no price is put on the time that moving takes."""
        node = self.start()
        node.deploy("f", keep_hot="100ms", keep_warm="1s", farmem=EAGER)
        node.count("f")
        [inst] = node.instances("f")
        self.assertIsNone(inst["memory"])
        self.assertEqual(inst["memory_left_alone"], "it is not likely to live for long enough")
        self.assertEqual(self.metric("hearth_farmem_left_alone", function="f"), 1)
        node.in_state("f", "parked")
        self.assertEqual(node.count("f").start, "wake")
        self.assertEqual(self.asked(), [])
        node.end()
        self.start(farmem_worth=0)
        node.deploy("g", keep_hot="100ms", keep_warm="1s", farmem=EAGER)
        node.count("g")
        self.assertTrue(self.asked("attach g-"))
        node.in_state("g", "parked")
        self.assertTrue(self.asked("recalled g-"))

    def test_parked_early(self):
        """Where its memory is dearer than parking it an instance is not kept for all of keep_warm, if its manifest says so; not before it was seen what parking takes."""
        node = self.start(farmem_worth=1)
        for name, early in (("g", False), ("f", True)):
            node.deploy(name, keep_hot="100ms", keep_warm="1h", park_early=early, farmem="off")
            node.count(name)
            node.in_state(name, "warm")
            node.park(name)
            self.assertEqual(node.count(name).start, "wake")
        node.in_state("g", "warm")
        node.in_state("f", "parked")
        self.assertEqual(node.count("f").count, 3)
        node.in_state("f", "parked")
        self.assertEqual(node.instances("g")[0]["state"], "warm")
        with self.assertRaises(AssertionError) as e:
            node.deploy("h", park_early=True, park="off")
        self.assertIn("park_early is about instances that are parked; with park: off none is", str(e.exception))

    def test_pressure(self):
        """As soon as memory is scarce, what is idle leaves that would have stayed for long."""
        def psi(share):
            with open(self.dir + "/pressure.new", "w") as f:
                f.write(f"some avg10={share} avg60=0.00 avg300=0.00 total=0\n")
            os.rename(self.dir + "/pressure.new", self.dir + "/pressure")
        psi("0.00")
        node = self.start(parks=False, memory_pressure=self.dir + "/pressure")
        node.deploy("f", keep_hot="1h", farmem={**EAGER, "segments": False})
        node.count("f")
        wait_for("its memory to be seen", lambda: (node.instances("f")[0]["memory"] or {}).get("resident_bytes"))
        self.assertEqual(node.instances("f")[0]["state"], "hot")
        psi("60.00")
        self.warm("f")
        self.assertEqual(node.count("f").start, "warm")

    def test_manifest_errors(self):
        node = self.start(parks=False)
        for farmem, words in (({"quantile": 2}, "farmem: quantile is 2"), ({"rate": 0}, "farmem: rate is 0"), ({"wake_share": 1.5}, "farmem: wake_share is 1.5"), ({"wake_share": -1}, "wake_share"), ({"prewarm_share": 2}, "farmem: prewarm_share is 2"), ({"nonsense": 1}, 'unknown key "nonsense"'),
                              ({"mode": "maybe"}, "mode"), ("maybe", "mode"), ({"floor": "much"}, "floor"), (["on"], "mapping"), ({"prefetch": 3}, "prefetch"),
                              ({"quantile": ".nan"}, "quantile")):
            with self.assertRaises(AssertionError, msg=farmem) as e:
                node.deploy("f", farmem=farmem)
            self.assertIn(words, str(e.exception))
        self.assertEqual(node.ask("ps")["functions"], [])
        node.deploy("f", farmem="on")
        self.assertEqual(node.ask("describe", name="f")["manifest"]["farmem"]["mode"], "on")

    def test_on_without_engine(self):
        del self.env["HEARTH_DOUBLE"]
        node = self.start(parks=False)
        with self.assertRaises(AssertionError) as e:
            node.deploy("f", farmem="on")
        self.assertIn("HEARTH_DOUBLE names no folder", str(e.exception))
        node.deploy("f", **SOON)
        node.count("f")
        node.in_state("f", "warm")
        self.assertEqual(node.count("f").start, "hot")


class Moves(unittest.TestCase):
    """The daemon as it is, with its own engine: memory of real processes really leaves."""

    def begin(self, **config):
        node = Node()
        self.addCleanup(node.close)
        config_file = node.dir + "/node.yaml"
        with open(config_file, "w") as f:
            f.writelines(f"{key}: {value}\n" for key, value in config.items())
        node.start(args=("--config", config_file)).knows()
        engine = node.ask("ps")["node"]["farmem"]
        if engine["engine"] != "uffd":
            self.skipTest("idle memory cannot be moved to a pool here: " + engine["detail"])
        wait_for("the engine", lambda: node.ask("ps")["node"]["farmem"]["up"])
        return node

    def tearDown(self):
        self.assertEqual(litter(), set())

    def warm(self, at_least=30 << 20, node=None):
        node = node or self.node
        wait_for("memory that is away", lambda: (node.instances("f")[0]["memory"] or {}).get("remote_bytes", 0) >= at_least)
        return node.in_state("f", "warm")[0]

    def deploy(self, node=None):
        node = node or self.node
        node.deploy("f", keep_hot="200ms", keep_warm="1h", env={"BALLAST": str(40 << 20)}, farmem={"min_idle": "100ms", "rate": 1, "floor": "1MiB", "prewarm_share": 0})
        self.assertEqual(node.count("f").start, "cold")

    def right(self, count, start, node=None):
        """Every byte of it is what it was."""
        answer = (node or self.node).call("f", {"check": True})
        self.assertEqual((answer.count, answer.start), (count, start))

    def pager(self):
        """The pager's processes: the one that works is a child of one of the others."""
        return [p for p in processes(self.node.run + "/pager.sock") if state_of(p) != "Z"]


class Real(Moves):
    """The pool is the pager's own."""

    def setUp(self):
        self.node = self.begin()

    def test_leaves_and_comes_back(self):
        node = self.node
        self.deploy()
        inst = self.warm()
        self.assertLess(inst["memory_bytes"], 20 << 20, "what is away is in its control group still")
        self.right(2, "warm")
        self.warm()
        self.right(3, "warm")
        wait_for("the figures", lambda: sum(node.functions("f")["memory"][k] for k in ("faults", "prefetched_pages")) > 100)  # what is gone through from front to back comes many pages a fault

    def test_parked_and_woken(self):
        node = self.node
        self.deploy()
        self.warm()
        node.park("f")
        self.right(2, "wake")
        self.warm()
        self.right(3, "warm")
        self.warm()
        node.park("f")
        self.assertEqual(node.ask("ps")["node"]["farmem"]["pool_bytes"], 0)
        self.right(4, "wake")

    def test_daemon_killed(self):
        node = self.node
        self.deploy()
        inst = self.warm()
        node.kill()
        node.start().knows()
        wait_for("the instance to be in use again", lambda: node.instances("f")[0]["state"] in ("hot", "warm"))
        self.assertEqual(node.instances("f")[0]["pid"], inst["pid"])
        self.warm()
        self.right(2, "warm")
        node.down()
        wait_for("the pager's end", lambda: not [p for p in processes(node.run + "/pager.sock") if state_of(p) != "Z"])

    def test_uncovered(self):
        self.deploy()
        self.warm()
        memory = self.node.instances("f")[0]["memory"]
        self.assertGreater(memory["uncovered"]["file"], 1 << 20)
        self.assertGreater(memory["uncovered"]["helper"], 0)
        self.assertIsNone(self.node.instances("f")[0]["memory_left_alone"])

    def test_pager_killed_under_load(self):
        """Any of its processes: calls go on and every byte is right."""
        node = self.node
        self.deploy()
        count = 1
        for round_ in range(6):
            self.warm()
            pids = self.pager()
            self.assertGreaterEqual(len(pids), 2)
            answers = []
            caller = threading.Thread(target=lambda: answers.append(node.call("f", {"check": True})))
            caller.start()
            os.kill(pids[round_ % len(pids)], signal.SIGKILL)
            caller.join()
            count += 1
            self.assertEqual(answers[0].status, 200, f"{answers[0].body}, round {round_}\n{node.text()[-3000:]}")
            self.assertIn("count", json.loads(answers[0].body), f"round {round_}\n{node.text()[-1500:]}")
            self.assertEqual((answers[0].count, answers[0].start), (count, "warm"))
            wait_for("the pager to be whole again", lambda n=len(pids): len(self.pager()) >= n)

    def test_down_after_pager_was_killed(self):
        """Whichever of its processes were killed before: none is left."""
        node = self.node
        whole = {"hearth-pager", "pager-holder", "pager-spare"}
        self.deploy()
        for count, victims in enumerate((("pager-holder",), ("pager-spare",), ("pager-holder", "hearth-pager"), ("pager-holder", "pager-holder"))):
            if count:
                node.start().knows()
                self.right(count + 1, "wake")
            self.warm()
            for name in victims:
                wait_for("the pager to be whole", lambda: {comm(p) for p in self.pager()} == whole)
                os.kill(next(p for p in self.pager() if comm(p) == name), signal.SIGKILL)
            node.down()
            self.assertEqual(self.pager(), [], victims)

    def test_whole_pager_killed(self):
        """What was away is lost then: the instance ends and says why; a pager is there for the next."""
        node = self.node
        self.deploy()
        self.warm()
        before = self.pager()
        answers = []
        for pid in before:
            os.kill(pid, signal.SIGSTOP)        # none of them makes another
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        caller = threading.Thread(target=lambda: answers.append(node.call("f", {"check": True})))
        caller.start()
        caller.join()
        self.assertEqual(answers[0].status, 502)
        self.assertIn(b"its memory in the pool is lost", answers[0].body)
        wait_for("another pager", lambda: node.ask("ps")["node"]["farmem"]["up"])
        self.assertFalse(set(before) & set(self.pager()))
        self.assertEqual(node.ask("ps")["node"]["farmem"]["pager_restarts"], 1)
        self.right(1, "cold")
        self.warm()
        self.right(2, "warm")

    def test_instance_killed(self):
        node = self.node
        self.deploy()
        inst = self.warm()
        os.kill(inst["pid"], signal.SIGKILL)
        wait_for("its end", lambda: not node.instances("f"))
        wait_for("its pool memory to be free", lambda: node.ask("ps")["node"]["farmem"]["pool_bytes"] == 0)
        self.right(1, "cold")


class Elsewhere(Moves):
    """The pool is `hearth pool`, over TCP, with keys: what leaves is sealed, and takes nothing of this node's memory."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="hearth-pool-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.secrets, self.access = self.keys("default")
        self.pool, self.place = self.start_pool()

    def keys(self, tenant):
        """Files of the tenant's secret and of its access key."""
        paths = [f"{self.dir}/{tenant}-{what}" for what in ("secret", "access")]
        for path, words in zip(paths, (("--new-key", tenant), ("--print-access", paths[0]))):
            with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                subprocess.run([BIN + "/hearth", "pool", *words], stdout=file, check=True)
        return paths

    def start_pool(self, place="tcp:127.0.0.1:0", memory="512MiB"):
        """Return: a pool that is ready, and where."""
        pool = subprocess.Popen([BIN + "/hearth", "pool", "--listen", place, "--memory", memory, "--key-file", self.access], stdout=subprocess.PIPE, text=True)
        self.addCleanup(pool.stdout.close)
        self.addCleanup(pool.wait)
        self.addCleanup(pool.kill)
        return pool, pool.stdout.readline().strip()

    def held(self):
        done = subprocess.run([BIN + "/hearth", "--json", "pool", "--status", self.place, "--key-file", self.secrets], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)["pages"]

    def begin(self, **config):
        return super().begin(**{"farmem_pool": self.place, "farmem_pool_key": self.secrets, **config})

    def test_leaves_and_comes_back(self):
        node = self.node = self.begin()
        self.assertIn("pool " + self.place, node.ask("ps")["node"]["farmem"]["detail"])
        self.deploy()
        for count in (2, 3):
            self.warm()
            wait_for("pages in the pool", lambda: self.held() > (30 << 20) // 4096)
            self.assertEqual(node.ask("ps")["node"]["farmem"]["pool_bytes"], 0)
            self.right(count, "warm")
        self.warm()
        node.park("f")
        wait_for("the pool to be empty", lambda: self.held() == 0)
        self.right(4, "wake")

    def test_daemon_killed(self):
        node = self.node = self.begin()
        self.deploy()
        inst = self.warm()
        node.kill()
        node.start(args=("--config", node.dir + "/node.yaml")).knows()
        wait_for("the instance to be in use again", lambda: node.instances("f")[0]["state"] in ("hot", "warm"))
        self.assertEqual(node.instances("f")[0]["pid"], inst["pid"])
        self.warm()
        self.right(2, "warm")

    def test_full(self):
        """What it has taken comes back, the rest stays here, and it is said why."""
        self.pool.kill()
        _, self.place = self.start_pool(memory="4MiB")
        node = self.node = self.begin()
        self.deploy()
        wait_for("why not all of it leaves", lambda: "it is full" in (node.instances("f")[0]["memory_left_alone"] or ""))
        self.assertGreater(self.held(), 0)
        node.in_state("f", "warm")      # segments left, and filled it, while it was hot
        self.right(2, "warm")

    def test_two_nodes(self):
        """On one pool, with a function of the same name."""
        nodes = [self.begin(), self.begin()]
        for node in nodes:
            self.deploy(node)
        for node in nodes:
            self.warm(node=node)
        for node in nodes:
            self.right(2, "warm", node)
        nodes[0].down()
        self.warm(node=nodes[1])
        self.right(3, "warm", nodes[1])

    def test_pool_killed(self):
        """What it had is lost: the instance is ended, and says why; the next one uses the pool that came after it."""
        node = self.node = self.begin()
        self.deploy()
        self.warm()
        self.pool.kill()
        self.pool.wait()
        answer = node.call("f", {"check": True})
        self.assertEqual(answer.status, 502)
        self.assertIn(b"its memory in the pool is lost", answer.body)
        self.right(1, "cold")
        _, place = self.start_pool(self.place)
        self.assertEqual(place, self.place)
        self.warm()
        self.right(2, "warm")

    def test_one_of_two_killed(self):
        _, second = self.start_pool()
        self.node = self.begin(farmem_pool=f"{self.place},{second}")
        self.deploy()
        self.warm()
        self.pool.kill()
        self.right(2, "warm")
        self.warm()
        self.right(3, "warm")

    def test_tenant_without_key(self):
        """Its memory stays, and calls go on."""
        node = self.node = self.begin(farmem_pool_key=self.keys("others")[0])
        self.deploy()
        wait_for("why nothing leaves", lambda: "farmem_pool_key has no key of its tenant" in (node.instances("f")[0]["memory_left_alone"] or ""))
        self.right(2, "hot")
        self.assertEqual(self.held(), 0)

    def test_configuration(self):
        """hearthd does not begin with a pool that cannot be; one that is not there yet will do."""
        node = Node()
        self.addCleanup(node.close)
        for config, words in (({"farmem_pool": "nonsense"}, ["farmem_pool", "nonsense", "tcp:HOST:PORT"]), ({"farmem_pool": "tcp:192.0.2.1:4433"}, ["farmem_pool", "file of keys"]),
                              ({"farmem_pool": self.place, "farmem_pool_key": "/no/such/file"}, ["/no/such/file: No such file"]),
                              ({"farmem_pool": self.place, "farmem_pool_key": self.access}, [self.access, "a node needs the secret"]),
                              ({"farmem_pool_key": self.secrets}, ["say which one, with farmem_pool"]),
                              ({"farmem_pool": self.place, "farmem": "reclaim"}, ["with farmem: reclaim nothing goes to a pool"]), ({"farmem_pool": self.place, "farmem": "off"}, ["farmem: off"])):
            with self.subTest(config=config):
                with open(node.dir + "/node.yaml", "w") as f:
                    f.writelines(f"{key}: {value}\n" for key, value in config.items())
                with self.assertRaises(AssertionError) as e:
                    node.start(args=("--config", node.dir + "/node.yaml"))
                self.assertEqual(node.daemon.wait(), 1)
                last = str(e.exception).splitlines()[-1]
                for word in words:
                    self.assertIn(word, last)


if __name__ == "__main__":
    main()
