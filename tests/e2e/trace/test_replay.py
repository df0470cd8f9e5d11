#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth replay` and `hearth trace` against a fake node (fake_node.py): what is sent when, what is counted, what the report says.

    test_replay.py PROGRAM REPORT_PY
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_node import MIB, Node  # noqa: E402

PROGRAM, REPORT_PY = sys.argv[1:3]
HEADER = "app,func,end_timestamp,duration\n"


def hearth(run_dir, *args, env=None):
    return subprocess.run([PROGRAM, *args], env={**os.environ, "HEARTH_RUN_DIR": run_dir, **(env or {})}, capture_output=True, text=True, timeout=60)


class Case(unittest.TestCase):
    def setUp(self):
        self.temp = tempfile.TemporaryDirectory()
        self.dir = self.temp.name
        self.node = None

    def tearDown(self):
        if self.node:
            self.node.stop()
        self.temp.cleanup()

    def start(self, **functions):
        memory = {n: (i + 1) * 10 * MIB for i, n in enumerate(functions)}
        self.node = Node(self.dir, functions, memory)

    def trace(self, text):
        path = os.path.join(self.dir, "t.csv")
        with open(path, "w") as f:
            f.write(text)
        return path

    def replay(self, *args, env=None):
        out = os.path.join(self.dir, "out")
        done = hearth(self.dir, "replay", *args, "--gateway", self.node.url, "--out", out, env=env)
        path = os.path.join(out, "report.json")
        report = None
        if os.path.exists(path):
            with open(path) as f:
                report = json.load(f)
        return done, report


class Replay(Case):
    def test_sends_in_time_and_counts(self):
        self.start(light=dict(contract="lambda", delay=0.01), heavy=dict(contract="http", delay=0.6))
        # one long call must not hold up the short ones; times compressed by 10: 0, 0.1, 0.2, 0.3, 2.0 s
        path = self.trace(HEADER + "a,slow,30,30\na,quick,2,1\na,quick,3,1\na,quick,4,1\na,quick,21,1\n")
        done, r = self.replay(path, "--functions", "light,heavy", "--compress", "10", "--keepalive", "20s", env={"http_proxy": "http://127.0.0.1:1"})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((r["requests"], r["errors"], r["synthetic"], r["trace"]), (5, 0, False, "t.csv"))
        self.assertEqual(r["starts"], {"cold": 2, "wake": 1, "warm": 0, "hot": 2})
        seen = self.node.seen
        first = seen[0][0]
        for (at, *_), due in zip(seen, (0, 0.1, 0.2, 0.3, 2.0)):
            self.assertAlmostEqual(at - first, due, delta=0.09)
        self.assertEqual([s[4] for s in seen], ["heavy", "light", "light", "light", "light"])
        self.assertEqual(seen[0][1:3], ("GET", "/function/heavy/"))
        self.assertEqual(seen[1][1:3], ("POST", "/2015-03-31/functions/light/invocations"))
        self.assertEqual(json.loads(seen[1][3]), {"replay": 1})
        self.assertGreaterEqual(r["latency_ms"]["max"], 600)
        self.assertLess(r["latency_by_start"]["hot"]["p50"], 100)
        self.assertEqual(r["latency_by_start"]["wake"]["count"], 1)
        by_name = {f["name"]: f for f in r["functions"]}
        self.assertEqual([by_name["light"][k] for k in ("requests", "cold", "wake", "hot", "hot_bytes")], [4, 1, 1, 2, 10 * MIB])
        self.check_memory(r)

    def check_memory(self, r):
        """Against what the fake node did: heavy 20 MiB for 0.6 + 0.5 s; light 10 MiB for 0.8 s, and in the tail 0.5 s more; hearthd 8 MiB."""
        self.assertEqual(r["keepalive_cold_starts"], 2)
        m, tail = r["memory"], r["memory_with_tail"]
        horizon = m["horizon_s"]
        self.assertAlmostEqual(horizon, 2.01, delta=0.09)
        self.assertAlmostEqual(tail["horizon_s"], horizon + 2, delta=0.002)
        # keep-alive: heavy from 0 to 2.6 s, light from 0.1 to 4.0 s
        self.assertAlmostEqual(m["keepalive_gib_s"] * 1024, 20 * horizon + 10 * (horizon - 0.1), delta=1.5)
        self.assertAlmostEqual(tail["keepalive_gib_s"] * 1024, 20 * 2.6 + 10 * 3.9, delta=3)
        # Hearth, sampled every 250 ms: each edge may be that far off
        self.assertAlmostEqual(m["hearth_gib_s"] * 1024, 20 * 1.1 + 10 * 0.8 + 8 * horizon, delta=10)
        self.assertAlmostEqual(m["hearthd_gib_s"] * 1024, 8 * horizon, delta=0.3)
        self.assertAlmostEqual(m["saved_pct"], 100 * (1 - m["hearth_gib_s"] / m["keepalive_gib_s"]), delta=0.5)
        self.assertGreater(tail["saved_pct"], m["saved_pct"])
        last = r["series"][-1]
        self.assertEqual((last["hearth_bytes"], last["hot"], last["parked"]), (8 * MIB, 0, 2))
        self.assertGreaterEqual(r["samples"]["taken"], 8)

    def test_errors_are_counted_and_listed(self):
        self.start(f=dict(contract="lambda", delay=0, fail={1: 502, 2: "function", 3: "no-header"}))
        rows = "".join(f"a,x,{i},0\n" for i in range(5))
        done, r = self.replay(self.trace(HEADER + rows), "--functions", "f", "--compress", "10", "--keepalive", "5s")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(r["errors"], 3)
        self.assertEqual([e["error"][:22] for e in r["error_list"]], ["HTTP 502: {\"errorMessa", "the function failed: {", "the answer has no X-He"])
        self.assertEqual(r["latency_ms"]["count"], 2)
        self.assertIn("the function failed", done.stdout)

    def test_gateway_gone(self):
        self.start(f=dict(contract="lambda", delay=0))
        self.node.stop_gateway()
        done, r = self.replay(self.trace(HEADER + "a,x,1,0\na,x,2,0\n"), "--functions", "f", "--compress", "10", "--keepalive", "1s")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(r["errors"], 2)
        self.assertIn("Failed to connect", r["error_list"][0]["error"])

    def test_generated_trace_burst(self):
        """The whole generated trace, 199 calls with its bursts, in 6 s; labelled synthetic in the report and on the page."""
        self.start(a=dict(contract="lambda", delay=0.002), b=dict(contract="native", delay=0.02), c=dict(contract="http", delay=0.1))
        weights = os.path.join(self.dir, "w.json")
        with open(weights, "w") as f:
            json.dump({"c": 9, "a": 0.5, "b": 2}, f)
        done, r = self.replay("--synthetic", "--seed", "3", "--map", weights, "--compress", "200", "--keepalive", "600s")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((r["requests"], r["errors"], r["synthetic"], r["seed"]), (199, 0, True, 3))
        self.assertEqual(sum(r["starts"].values()), 199)
        self.assertEqual([f["name"] for f in r["functions"]], ["a", "b", "c"])
        self.assertTrue(all(f["requests"] for f in r["functions"]))
        self.assertIn("SYNTHETIC", done.stdout)
        self.assertLess(r["send_late_ms"]["p50"], 20)
        page = subprocess.run([sys.executable, REPORT_PY, os.path.join(self.dir, "out", "report.json")], capture_output=True, text=True)
        self.assertEqual(page.returncode, 0, page.stderr)
        with open(os.path.join(self.dir, "out", "report.html")) as f:
            html = f.read()
        self.assertIn("Synthetic trace", html)
        self.assertNotIn("http://", html.replace("http://www.w3.org/2000/svg", ""))
        self.assertNotIn("https://", html)

    def test_not_deployed(self):
        self.start(f=dict(contract="lambda", delay=0))
        done, r = self.replay(self.trace(HEADER + "a,x,1,0\n"), "--functions", "f,g")
        self.assertEqual((done.returncode, r), (1, None))
        self.assertIn("function g is not deployed", done.stderr)
        self.assertEqual(self.node.seen, [])


class Usage(Case):
    def test_wrong_command_lines(self):
        for args, says in ((["--functions", "f"], "--out"), (["--out", "o"], "either --map or --functions"),
                           (["--out", "o", "--functions", "f", "--compress", "0"], "--compress must be"),
                           (["--out", "o", "--functions", "f", "--gateway", "https://x"], "--gateway must be"),
                           (["--out", "o", "--functions", "f", "--seed", "-1"], "--seed must be"), (["--nope"], "nope")):
            done = hearth(self.dir, "replay", *args)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn(says, done.stderr)

    def test_no_node(self):
        done = hearth(self.dir, "replay", "--synthetic", "--functions", "f", "--out", self.dir)
        self.assertEqual(done.returncode, 1)
        self.assertIn("hearthd.sock", done.stderr)

    def test_trace_generate_and_info(self):
        a, b = (os.path.join(self.dir, n) for n in "ab")
        self.assertEqual(hearth(self.dir, "trace", "generate", "--seed", "5", "-o", a).returncode, 0)
        self.assertEqual(hearth(self.dir, "trace", "generate", "--seed", "5", "--output", b).returncode, 0)
        with open(a) as x, open(b) as y:
            self.assertEqual(x.read(), y.read())
        info = json.loads(hearth(self.dir, "trace", "info", a, "--json").stdout)
        self.assertEqual((info["invocations"], info["functions"], info["generated"]), (199, 31, True))
        some = hearth(self.dir, "trace", "generate", "--invocations", "50", "--functions", "5", "--span", "2m").stdout
        self.assertEqual(len(some.splitlines()), 51)
        bad = hearth(self.dir, "trace", "info", self.trace(HEADER + "a,b,1,x\n"))
        self.assertEqual(bad.returncode, 1)
        self.assertIn("t.csv:2: duration is no decimal number", bad.stderr)
        self.assertEqual(hearth(self.dir, "trace", "generate", "--span", "x").returncode, 2)
        self.assertEqual(hearth(self.dir, "trace", "generate", "--invocations", "3").returncode, 1)
        self.assertEqual(hearth(self.dir, "trace").returncode, 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
