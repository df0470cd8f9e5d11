#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scheduling between functions: the node's slots, who gets them, and what is said about it.

Who waits for whom is arranged by gates, files that a call waits for, so nothing here depends on how fast anything is. A call answers when it began, by the
machine's monotonic clock: that is the order of starts.
"""
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

import test_gateway
from node_harness import BIN, NATIVE, Node, in_parallel, main, need_full, wait_for

GATED = """
import os, time
def handler(event, context):
    begun = time.monotonic_ns()
    gate = event.get("gate")
    while gate and not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), gate)):
        time.sleep(0.005)
    time.sleep(event.get("s", 0))
    return {"n": event.get("n"), "begun": begun, "ended": time.monotonic_ns(), "version": os.environ.get("VERSION")}
"""


class Calls:
    """Calls in threads of their own, and the gates that they wait at."""

    def __init__(self, node):
        self.node, self.threads, self.answers, self.gates = node, {}, {}, []

    def start(self, name, n, gate=None, **event):
        """A call that answers under the name @n."""
        def run():
            try:
                self.answers[n] = self.node.invoke(name, {"n": n, "gate": gate and "gate-" + gate, **event})
            except (OSError, http.client.HTTPException) as e:       # shown by whoever looks at the answers
                self.answers[n] = e
        if gate and gate not in self.gates:
            self.gates.append(gate)
        self.threads[n] = threading.Thread(target=run, daemon=True)
        self.threads[n].start()

    def open(self, *gates):
        for gate in gates:
            path = os.path.join(self.node.programs, "gate-" + gate)
            with open(path, "w"):
                pass

    def answer(self, n):
        self.threads[n].join(60)
        return self.answers[n]

    def begun(self, n):
        r = self.answer(n)
        assert r.status == 200, (n, r)
        return r.json()["begun"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Every gate opens: nothing may be left behind for the next test."""
        self.open(*self.gates)
        for thread in self.threads.values():
            thread.join(60)
        for gate in self.gates:
            path = os.path.join(self.node.programs, "gate-" + gate)
            if os.path.exists(path):
                os.unlink(path)


def sched(node, *args):
    return node.json("sched", *args)["sched"]


def explain(node, *args):
    return node.json("explain", *args)


def state(node):
    return explain(node)["sched"]


def type_of(node, name):
    return next(t for t in state(node)["types"] if t["name"] == name)


def wait_counts(node, busy, waiting):
    wait_for("%d calls that run and %d that wait for a slot" % (busy, waiting), lambda: (lambda s: (s["busy"], s["waiting"]) == (busy, waiting))(state(node)))


def gated(node, *names, instances=4, **keys):
    """Functions with their instances there already: what a call waits for is a slot."""
    for name in names:
        node.deploy_lambda(name, GATED, min_instances=instances, max_instances=instances, **keys)
    for name in names:
        node.wait_state(name, "hot", instances)


def short_and_long(node, **keys):
    """Two functions whose times are known, while there is no limit."""
    sched(node, "--slots", "0")
    gated(node, "short", "long", **keys)
    for i in range(3):
        assert node.invoke("short", {"n": i}).status == 200
        assert node.invoke("long", {"n": i, "s": 0.2}).status == 200
    assert type_of(node, "short")["service_ms"] * 2 < type_of(node, "long")["service_ms"]


# ---- who gets a slot ----


def both_slots_long_then(node, calls):
    """Two longs run, a third waits, and then a short one."""
    for n in "ab":
        calls.start("long", n, gate=n)
    wait_counts(node, 2, 0)
    calls.start("long", "c", gate="c")
    wait_counts(node, 2, 1)
    calls.start("short", "short")
    wait_counts(node, 2, 2)


def test_first_come_first_served_makes_shorts_wait(node):
    short_and_long(node)
    sched(node, "--slots", "2", "--policy", "c-fcfs")
    with Calls(node) as calls:
        both_slots_long_then(node, calls)
        calls.open("a")
        wait_for("the third long one's start", lambda: type_of(node, "long")["started"] == 3)
        assert type_of(node, "short")["waiting"] == 1
        calls.open("b")
        assert calls.begun("short") > max(calls.begun("a"), calls.begun("b"))
        calls.open("c")
        assert calls.begun("c") < calls.begun("short")


def test_fixed_priority_lets_shorts_pass(node):
    short_and_long(node)
    sched(node, "--slots", "2", "--policy", "fp")
    with Calls(node) as calls:
        both_slots_long_then(node, calls)
        calls.open("a")
        begun = calls.begun("short")
        calls.open("b", "c")
        assert begun < calls.begun("c")


def test_minimax_lets_shorts_pass(node):
    short_and_long(node)
    sched(node, "--slots", "2", "--policy", "minimax")
    for i in range(80):                                 # until there is a model
        assert node.invoke("short", {"n": i}).status == 200
    assert state(node)["updates"] >= 1
    with Calls(node) as calls:
        for i, n in enumerate("abc", 1):
            calls.start("long", n, gate=n)
            wait_for("%d long ones" % i, lambda i=i: (lambda s: s["busy"] + s["waiting"] == i)(state(node)))
        calls.start("short", "short")
        # it has held one of the slots, or lets the short one go first when the next is free
        wait_for("the short one", lambda: "short" in calls.answers or type_of(node, "short")["waiting"] == 1)
        calls.open("a")
        begun = calls.begun("short")
        calls.open("b", "c")
        assert begun < calls.begun("c")


def test_what_minimax_holds_starts_by_itself(node):
    """One slot may be kept for short ones while a long one waits; but not for ever, and nothing need happen for that to end."""
    short_and_long(node)
    sched(node, "--slots", "2", "--policy", "minimax")
    for i in range(80):
        assert node.invoke("short", {"n": i}).status == 200
    with Calls(node) as calls:
        for n in "ab":
            calls.start("long", n, gate=n)
        wait_for("both to run", lambda: state(node)["busy"] == 2)


def test_a_slot_reserved_for_shorts(node):
    short_and_long(node)
    sched(node, "--slots", "2", "--policy", "darc-static", "--reserved", "1")
    with Calls(node) as calls:
        for n in "abc":
            calls.start("long", n, gate=n)
        wait_counts(node, 1, 2)
        for i in range(5):
            assert node.invoke("short", {"n": i}).status == 200
        s = state(node)
        assert (s["busy"], s["waiting"]) == (1, 2), s
        assert s["groups"][0]["types"] == ["short"] and s["groups"][0]["reserved"] == [0], s["groups"]
        assert node.metric("hearth_sched_reserved_slots", type="short") == 1
        assert node.metric("hearth_sched_depth", type="long") == 2
        text = node.cli("explain").stdout.decode()
        assert re.search(r"short .*reserved 0", text), text
        calls.open("a", "b", "c")
        assert sorted((calls.begun(n), n) for n in "abc") == [(calls.begun(n), n) for n in sorted("abc", key=calls.begun)]


def test_never_more_run_than_there_are_slots(node):
    """What a call says of its time is within the time that it held its slot."""
    sched(node, "--slots", "0")
    gated(node, "one", "two", "three", instances=3)
    for policy in ("c-fcfs", "minimax", "darc", "d-fcfs-rr"):
        sched(node, "--slots", "2", "--policy", policy)
        answers = in_parallel(12, lambda i: [node.invoke(("one", "two", "three")[(i + k) % 3], {"s": 0.01 * (i % 3)}).json() for k in range(4)])
        moments = sorted(m for a in answers for r in a for m in ((r["begun"], 1), (r["ended"], -1)))
        assert len(moments) == 96
        at_a_time = most = 0
        for _, change in moments:
            at_a_time += change
            most = max(most, at_a_time)
        assert most == 2, (policy, most)


def test_functions_of_one_type(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "one", "two", instances=2, type="pair")
    with Calls(node) as calls:
        calls.start("one", "first", gate="first")
        wait_counts(node, 1, 0)
        calls.start("two", "second", gate="second")
        wait_counts(node, 1, 1)
        t = type_of(node, "pair")
        assert (t["functions"], t["waiting"], t["running"]) == (2, 1, 1), t
        calls.open("first", "second")
        assert calls.begun("first") < calls.begun("second")
    assert {f["name"]: f["type"] for f in node.ps()["functions"]} == {"one": "pair", "two": "pair"}
    assert node.metric("hearth_sched_latency_seconds_count", type="pair") == 2


def test_calls_that_need_no_slot(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "computes", instances=2)
    gated(node, "waits", instances=2, slot=False)
    with Calls(node) as calls:
        calls.start("computes", "a", gate="a")
        wait_counts(node, 1, 0)
        for i in range(4):
            assert node.invoke("waits", {"n": i}).status == 200
        assert state(node)["busy"] == 1


# ---- what takes no slot, and gives one back ----


def test_a_cold_start_takes_no_slot(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "ready", instances=1)
    node.deploy_lambda("cold", """
import os, time
while not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "gate-init")):
    time.sleep(0.005)
""" + GATED)
    with Calls(node) as calls:
        calls.gates.append("init")
        calls.start("cold", "cold")
        wait_for("an instance that starts", lambda: node.instances("cold", "starting"))
        for i in range(3):
            assert node.invoke("ready", {"n": i}).status == 200
        s = state(node)
        assert (s["busy"], s["waiting"]) == (0, 0) and node.function("cold")["queued"] == 1, s
        calls.open("init")
        r = calls.answer("cold")
        assert r.status == 200 and r["X-Hearth-Start"] == "cold", r
    assert type_of(node, "cold")["completed"] == 1


def test_no_more_instances_than_slots(node):
    """Long calls get an instance each where there is no limit; with one, others than so many would only wait for it."""
    node.deploy_lambda("many", GATED, max_instances=6)
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    with Calls(node) as calls:
        for n in "abcd":
            calls.start("many", n, gate=n)
        wait_for("one that runs and three that wait", lambda: (state(node)["busy"], node.function("many")["queued"]) == (1, 3))
        time.sleep(0.5)                                 # more than one look at what is right to start
        assert len(node.instances("many")) == 1
        sched(node, "--slots", "0")
        wait_for("an instance for each", lambda: len(node.instances("many")) == 4)
        calls.open(*"abcd")


def test_an_instance_is_kept_for_its_call(node):
    """However short its time as hot: what waits for a slot has its instance."""
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "long", instances=1)
    node.deploy_lambda("brief", GATED, keep_hot="0s", park="off")
    with Calls(node) as calls:
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        calls.start("brief", "b")
        wait_counts(node, 1, 1)
        only = node.instances("brief")[0]["id"]
        done = node.cli("park", "brief")
        assert done.returncode == 1, done
        assert node.instances("brief")[0]["inflight"] == 0, "it runs nothing yet"
        calls.open("a")
        assert calls.answer("b")["X-Hearth-Instance"] == only
    assert node.function("brief")["cold"] == 1


def test_a_killed_instance_gives_its_slot_back(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "long", "short", instances=2)
    before = type_of(node, "long")
    with Calls(node) as calls:
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        calls.start("short", "b")
        wait_counts(node, 1, 1)
        node.kill(next(i["pid"] for i in node.instances("long") if i["inflight"]), signal.SIGKILL)
        assert calls.answer("a").status == 502
        assert calls.answer("b").status == 200
    t = type_of(node, "long")
    assert (t["lost"] - before["lost"], t["completed"] - before["completed"], t["running"]) == (1, 0, 0), t
    assert node.metric("hearth_sched_lost_total", type="long") == t["lost"]


def test_a_killed_instance_whose_call_waits_for_a_slot(node):
    """The call has lost nothing but its place: it runs elsewhere."""
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "long", instances=1)
    gated(node, "short", instances=1)
    with Calls(node) as calls:
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        calls.start("short", "b")
        wait_counts(node, 1, 1)
        first = node.instances("short")[0]
        node.kill(first["pid"], signal.SIGKILL)
        wait_for("another instance", lambda: [i for i in node.instances("short", "hot") if i["id"] != first["id"]])
        wait_counts(node, 1, 1)
        calls.open("a")
        r = calls.answer("b")
        assert r.status == 200 and r["X-Hearth-Instance"] != first["id"], r


def test_a_client_that_leaves(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "long", "short", instances=2)
    before = node.metric("hearth_sched_cancelled_total", type="short")
    with Calls(node) as calls:
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        socks = []
        for _ in range(2):
            s = socket.create_connection(("127.0.0.1", node.port), timeout=30)
            s.sendall(b"POST /2015-03-31/functions/short/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            socks.append(s)
        wait_counts(node, 1, 2)
        for s in socks:
            s.close()
        wait_counts(node, 1, 0)
        assert node.function("short")["queued"] == 0
        assert node.metric("hearth_sched_cancelled_total", type="short") == before + 2
        calls.open("a")
        assert calls.answer("a").status == 200
        assert node.invoke("short", {"n": 1}).json()["n"] == 1
    assert sum(i["served"] for i in node.instances("short")) == 1


def test_a_full_queue(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "long", "short", instances=1, queue=2)
    before = node.metric("hearth_sched_dropped_total", type="short")
    with Calls(node) as calls:
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        for n in "bc":
            calls.start("short", n)
        wait_for("two that wait", lambda: node.function("short")["queued"] == 2)
        r = node.invoke("short", {"n": "d"})
        assert r.status == 429, r
        assert node.metric("hearth_sched_dropped_total", type="short") == before + 1
        calls.open("a")
        assert [calls.answer(n).status for n in "abc"] == [200] * 3


def test_deadlines(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "long", instances=1, timeout="2s")
    gated(node, "short", instances=1, queue_timeout="300ms")
    with Calls(node) as calls:
        calls.start("long", "a", gate="never")
        wait_counts(node, 1, 0)
        r = node.invoke("short", {"n": 1})
        assert r.status == 504 and "slot of the node" in r.json()["Message"], r
        assert calls.answer("a").status == 504
        assert node.invoke("short", {"n": 2}).status == 200
        assert state(node)["busy"] == 0


def test_deployed_again_while_a_call_waits(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "long", instances=1)
    gated(node, "short", instances=1, env={"VERSION": "1"})
    with Calls(node) as calls:
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        calls.start("short", "b")
        wait_counts(node, 1, 1)
        node.deploy_lambda("short", GATED, min_instances=1, max_instances=2, env={"VERSION": "2"}, type="other-type")
        wait_counts(node, 1, 1)
        calls.open("a")
        assert calls.answer("b").json()["version"] == "2"


def test_removed_while_a_call_waits(node):
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    gated(node, "long", "short", instances=1)
    with Calls(node) as calls:
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        for n in "bcd":
            calls.start("short", n)
        wait_for("three that wait", lambda: node.function("short")["queued"] == 3)
        node.remove("short")
        assert [calls.answer(n).status for n in "bcd"] == [404] * 3
        calls.open("a")
        assert calls.answer("a").status == 200


# ---- switched while it runs ----


def test_switched_while_calls_wait_and_run(node):
    gated(node, "one", "two", instances=4)
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    with Calls(node) as calls:
        calls.start("one", "0", gate="first")
        wait_counts(node, 1, 0)
        for i in range(1, 7):
            calls.start("one" if i < 4 else "two", str(i))
        wait_counts(node, 1, 6)
        for policy in ("fp", "edf", "minimax", "darc", "d-fcfs-rr", "d-fcfs-random", "c-fcfs"):
            s = sched(node, "--policy", policy)
            assert (s["policy"], s["waiting"], s["busy"]) == (policy, 6, 1), s
        # another slot: they run through it one after the other; the first still stands at its gate
        sched(node, "--slots", "2")
        for i in range(1, 7):
            assert calls.answer(str(i)).json()["n"] == str(i)
        wait_counts(node, 1, 0)
        calls.open("first")
        assert calls.answer("0").status == 200
    assert node.function("one")["errors"] + node.function("two")["errors"] == 0
    assert sum(i["served"] for f in ("one", "two") for i in node.instances(f)) == 7


def test_fewer_slots_than_calls_run(node):
    gated(node, "one", "two", instances=4)
    sched(node, "--slots", "3", "--policy", "c-fcfs")
    with Calls(node) as calls:
        for n in "abc":
            calls.start("one", n, gate=n)
        wait_counts(node, 3, 0)
        calls.start("two", "d", gate="d")
        wait_counts(node, 3, 1)
        sched(node, "--slots", "1")
        calls.open("c", "a")
        wait_counts(node, 1, 1)
        assert "d" not in calls.answers
        calls.open("b")
        wait_counts(node, 1, 0)
        calls.open("d")
        assert calls.begun("d") > calls.begun("b")


def test_no_limit_any_more(node):
    gated(node, "one", instances=4)
    sched(node, "--slots", "1", "--policy", "minimax")
    with Calls(node) as calls:
        for n in "abcd":
            calls.start("one", n, gate=n)
        wait_counts(node, 1, 3)
        s = sched(node, "--slots", "0")
        assert (s["slots"], s["busy"], s["waiting"]) == (0, 0, 0), s
        wait_for("all four to run", lambda: sum(i["inflight"] for i in node.instances("one")) == 4)
        # those that run already hold none of the slots that there are now
        sched(node, "--slots", "1")
        calls.start("one", "e", gate="e")
        wait_for("a fifth that waits for an instance", lambda: node.function("one")["queued"] == 1)
        assert state(node)["busy"] == 0
        calls.open(*"abcde")
        assert [calls.answer(n).status for n in "abcde"] == [200] * 5
    wait_counts(node, 0, 0)


def test_settings_that_cannot_be(node):
    before = sched(node, "--slots", "2", "--policy", "fp", "--reserved", "0")
    for args, word in ((("--policy", "ts"), "simulator"), (("--policy", "best"), "c-fcfs"), (("--slots", "257"), "256"),
                       (("--policy", "darc-static"), "reserved"), (("--policy", "darc-static", "--reserved", "2"), "1"),
                       (("--record", "/nonexistent/x.csv"), "/nonexistent/x.csv")):
        for command in ("sched", "explain") if args[0] != "--record" else ("sched",):
            done = node.cli(command, *args)
            assert done.returncode == 1 and word in done.stderr.decode(), done
    for args in (("--slots", "many"), ("--slots", "-1"), ("--slots",), ("--what",), ("extra",)):
        for command in ("sched", "explain"):
            assert node.cli(command, *args).returncode == 2, args
    assert node.cli("explain", "--record", "x").returncode == 2
    after = sched(node)
    assert (after["slots"], after["policy"], after["reserved"]) == (before["slots"], before["policy"], before["reserved"])


def test_a_dry_run(node):
    short_and_long(node)
    sched(node, "--slots", "2", "--policy", "c-fcfs")
    o = explain(node, "--policy", "darc", "--slots", "4")
    assert (o["would"]["policy"], o["would"]["slots"]) == ("darc", 4)
    groups = o["would"]["groups"]
    assert [g["types"] for g in groups] == [["short"], ["long"]] and groups[0]["reserved"] == [0], groups
    assert (o["sched"]["policy"], o["sched"]["slots"], o["sched"]["groups"]) == ("c-fcfs", 2, [])
    text = node.cli("explain", "--policy", "darc", "--slots", "4").stdout.decode()
    assert "slots 2, policy c-fcfs" in text and "slots 4, policy darc" in text and "reserved 0" in text, text
    assert sched(node)["policy"] == "c-fcfs"


# ---- what it tells ----


def test_metrics_with_slots(node):
    sched(node, "--slots", "2", "--policy", "minimax")
    test_gateway.test_metrics_are_prometheus_text(node)
    for i in range(4):
        assert node.invoke("echo_c", b"%d" % i).status == 200
    assert node.metric("hearth_sched_slots") == 2
    assert node.metric("hearth_sched_slowdown_count", type="echo_c") >= 4
    assert node.metric("hearth_sched_slowdown_bucket", type="echo_c", le="+Inf") == node.metric("hearth_sched_completed_total", type="echo_c")


def test_more_functions_than_types(node):
    """They are one type, that is served like the others; a place that becomes free is taken."""
    sched(node, "--slots", "2", "--policy", "minimax")
    count = 259
    for i in range(count):
        node.write("many-%d.yaml" % i, "name: many-%d\ndirectory: %s\ncommand: [./echo_c]\ncontract: native\nconcurrency: 64\nmemory: 64MiB\n" % (i, NATIVE), 0o644)
    done = node.cli("deploy", *(os.path.join(node.programs, "many-%d.yaml" % i) for i in range(count)))
    assert done.returncode == 0, done
    s = state(node)
    left_out = s["types_left_out"]
    assert left_out >= 3 and len(s["types"]) == 257, (left_out, len(s["types"]))
    assert node.invoke("many-%d" % (count - 1), b"x").body == b"x"
    assert type_of(node, "_other")["completed"] == 1
    with open(node.log) as f:
        assert "many-%d: there are 256 types of calls already" % (count - 1) in f.read()
    node.remove("many-0")
    node.deploy("late", ["./echo_c"], directory=NATIVE, contract="native", memory="64MiB")
    wait_for("a type of its own", lambda: any(t["name"] == "late" for t in state(node)["types"]))
    assert node.invoke("late", b"y").body == b"y"


def test_recorded_calls(node):
    sched(node, "--slots", "2", "--policy", "c-fcfs")
    node.deploy("echo_c", ["./echo_c"], directory=NATIVE, contract="native", concurrency=64, memory="64MiB", type="echoes")
    path = os.path.join(node.dir, "calls.csv")
    node.invoke("echo_c", b"before")
    sched(node, "--record", path)
    for i in range(20):
        assert node.invoke("echo_c", b"%d" % i).status == 200
    assert sched(node)["recorded"] == 20
    s = sched(node, "--record", "off")
    assert s["record"] is None
    node.invoke("echo_c", b"after")
    with open(path) as f:
        lines = f.read().splitlines()
    assert lines[0] == "t_ns,type,service_ns" and len(lines) == 21, lines
    for line in lines[1:]:
        t, name, service = line.split(",")
        assert int(t) >= 0 and name == "echoes" and int(service) > 0, line
    o = node.json("sim", "--trace", path, "--policy", "minimax", "--workers", "2", "--warmup", "0")
    assert o["requests"] == 20 or o["completed"] == 20, o


def test_seen_in_ps_and_top(node):
    gated(node, "one", instances=3)
    sched(node, "--slots", "1", "--policy", "c-fcfs")
    with Calls(node) as calls:
        for n in "abc":
            calls.start("one", n, gate=n)
        wait_counts(node, 1, 2)
        f = node.function("one")
        assert (f["queued"], f["placed"]) == (2, 2), f
        o = node.ps()["node"]
        assert (o["slots"], o["slots_busy"], o["slots_waiting"], o["policy"]) == (1, 1, 2, "c-fcfs"), o
        assert sorted(i["inflight"] for i in node.instances("one")) == [0, 0, 1]
        calls.open(*"abc")


def test_a_daemon_that_was_killed(_):
    """The next one has the configuration's slots; calls of before hold none of them."""
    with Node(config="slots: 1\npolicy: fp\n") as node, Calls(node) as calls:
        gated(node, "long", instances=2)
        node.deploy("echo_c", ["./echo_c"], directory=NATIVE, contract="native", concurrency=64, memory="64MiB")
        sched(node, "--slots", "2", "--policy", "c-fcfs")
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        node.kill(node.pid, signal.SIGKILL)
        calls.threads["a"].join(60)
        node.up()
        s = state(node)
        assert (s["slots"], s["policy"], s["busy"], s["waiting"]) == (1, "fp", 0, 0), s
        for i in range(3):
            assert node.invoke("echo_c", b"%d" % i).body == b"%d" % i
        assert [i["inflight"] for i in node.instances("long") if i["inflight"]] == [1]
        calls.open("a")
        wait_for("the old call's end", lambda: not any(i["inflight"] for i in node.instances("long")))
        assert node.invoke("long", {"n": 1}).json()["n"] == 1
        assert state(node)["busy"] == 0


def test_the_daemon_ends_while_calls_wait(_):
    with Node(config="slots: 1\npolicy: minimax\n") as node, Calls(node) as calls:
        gated(node, "long", "short", instances=1)
        calls.start("long", "a", gate="a")
        wait_counts(node, 1, 0)
        for n in "bc":
            calls.start("short", n)
        wait_for("two that wait", lambda: node.function("short")["queued"] == 2)
        end = threading.Thread(target=node.down, daemon=True)
        end.start()
        assert [calls.answer(n).status for n in "bc"] == [503, 503]
        calls.open("a")
        assert calls.answer("a").status == 200
        end.join(60)
        assert not end.is_alive()


def test_any_history(node):
    """Calls, clients that leave, instances that are killed, settings that change, all at once: every call is answered once, and in the end no slot is held."""
    chance = random.Random(int(os.environ.get("HEARTH_SEED", "7")))
    sched(node, "--slots", "2", "--policy", "minimax")
    gated(node, "short", "long", instances=3)
    node.deploy("echo_c", ["./echo_c"], directory=NATIVE, contract="native", concurrency=8, memory="64MiB")
    plans = [[(chance.choice(("short", "long", "echo_c")), chance.random() < 0.15) for _ in range(30)] for _ in range(8)]
    states, running = [], [True]

    def client(plan):
        for name, leaves in plan:
            body = b'{"s": %s}' % (b"0.03" if name == "long" else b"0")
            if leaves:
                with socket.create_connection(("127.0.0.1", node.port), timeout=30) as s:
                    s.sendall(b"POST /2015-03-31/functions/%s/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (name.encode(), len(body), body))
            else:
                states.append(node.invoke(name, body).status)

    def trouble():
        while running[0]:
            instances = [i for f in ("short", "long", "echo_c") for i in node.instances(f) if i["pid"]]
            what = chance.randrange(4)
            if what == 0 and instances:
                node.kill(chance.choice(instances)["pid"])
            elif what == 1:
                node.cli("park", chance.choice(("short", "long", "echo_c")))
            else:
                slots = chance.randrange(1, 4)
                sched(node, "--slots", slots, "--policy", chance.choice(("c-fcfs", "fp", "edf", "minimax", "darc", "d-fcfs-rr")))

    clients = [threading.Thread(target=client, args=(plan,), daemon=True) for plan in plans]
    other = threading.Thread(target=trouble, daemon=True)
    for t in clients + [other]:
        t.start()
    for t in clients:
        t.join(100)
    running[0] = False
    other.join(30)
    assert not any(t.is_alive() for t in clients + [other])
    assert len(states) == sum(not leaves for plan in plans for _, leaves in plan)
    assert set(states) <= {200, 502} and states.count(200) > len(states) // 2, {s: states.count(s) for s in set(states)}
    wait_counts(node, 0, 0)
    for name in ("short", "long", "echo_c"):
        assert node.invoke(name, b"{}").status == 200
        f = node.function(name)
        assert (f["queued"], f["placed"]) == (0, 0), f
    for t in state(node)["types"]:
        assert (t["waiting"], t["running"]) == (0, 0), t


def test_a_configuration_that_cannot_be(node):
    for text, word in (("policy: ts\n", "simulator"), ("policy: best\n", "policy"), ("slots: 257\n", "slots"), ("slots: -1\n", "slots"),
                       ("slots: 2\npolicy: darc-static\n", "reserved"), ("slots: 2\npolicy: darc-static\npolicy_reserved: 2\n", "reserved"),
                       ("record_calls: here.csv\n", "absolute"), ("policy_window: 0\n", "policy_window")):
        path = node.write("wrong.yaml", text, 0o644)
        run = os.path.join(node.dir, "other-run")
        done = subprocess.run([os.path.join(BIN, "hearthd"), "--config", path, "--run", run, "--state", os.path.join(node.dir, "other-state"), "--listen", "127.0.0.1:0"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == 1 and word in done.stderr.decode(), (text, done)


def make_node():
    return Node(config="slots: 2\npolicy: c-fcfs\n")


if __name__ == "__main__":
    need_full()
    main(globals(), make_node)
