# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest, as root: Hearth, as installed, on a stock kernel with systemd and cgroup v2.

Every line for tools/vm begins with "vm-test: "; the last is "N passed, N failed". On the kernel's command line vm.only=WORD chooses the
scenarios whose name has that word.
"""
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time
import traceback

GROUPS = "/sys/fs/cgroup"
OWN = "/usr/local/vm/own"
NATIVE = "/usr/local/vm/native"
RUNTIME = "/usr/local/share/hearth/hearth_runtime.py"
MIB = 1 << 20
COMMAND_S = 60

count = {"ok": 0, "not ok": 0}


def say(text):
    print("vm-test: " + text, flush=True)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read().strip()


def command(*args, check=True):
    done = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_S, check=False, text=True)
    if check and done.returncode:
        raise AssertionError("%s: exit status %d: %s" % (" ".join(args), done.returncode, done.stdout))
    return done.stdout


def wait_for(what, predicate, timeout_s=40.0):
    end = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (timeout_s, what))
        time.sleep(0.05)


def same(what, got, expected):
    if got != expected:
        raise AssertionError("%s: %r instead of %r" % (what, got, expected))


def group_of(pid):
    """The folder of a process's cgroup."""
    return GROUPS + re.search(r"^0::(.*)$", read("/proc/%d/cgroup" % pid), re.M).group(1)


def groups_left():
    return [p for p in glob.glob(GROUPS + "/**/hearth-????????/**", recursive=True) if os.path.isdir(p)]


def manifest(name, contract, cmd, **settings):
    path = "/tmp/%s.yaml" % name
    with open(path, "w", encoding="utf-8") as f:
        f.write("name: %s\ncontract: %s\ncommand: [%s]\ndirectory: %s\n" % (name, contract, ", ".join(cmd), NATIVE if contract == "native" else OWN))
        for key, value in settings.items():
            f.write("%s: %s\n" % (key, value))
    return path


def state_function(name, **settings):
    settings.setdefault("memory", "128MiB")
    return manifest(name, "lambda", ["/usr/bin/python3", RUNTIME, "state.handler"], max_instances=1, **settings)


# how a call starts whose instance lives: its memory may leave when it was idle for ten seconds, and a slow guest makes ten of one
ALIVE = "hot or warm"


class Node:
    """A daemon, however it was started."""

    def __init__(self, run):
        self.run = run

    def hearth(self, *args, check=True):
        return command("hearth", "--run", self.run, *args, check=check)

    def ps(self):
        return json.loads(self.hearth("--json", "ps"))

    def instance(self, name):
        found = [i for i in self.ps()["instances"] if i["function"] == name]
        return found[0] if found else {"state": "none", "pid": 0}

    def invoke(self, name, event=None):
        """Return: (status, start, body)"""
        out = self.hearth("invoke", name, "-i", *(["-d", json.dumps(event)] if event is not None else ["--path", "/"]), check=False)
        head, _, body = out[max(out.find("HTTP/1.1"), 0):].replace("\r", "").partition("\n\n")
        match = re.match(r"HTTP/1.1 (\d+)", head)
        if not match:
            raise AssertionError("invoke %s: %s" % (name, out))
        start = re.search(r"^X-Hearth-Start: (\w+)$", head, re.M)
        return int(match.group(1)), start.group(1) if start else None, body

    def calls(self, name, starts, calls):
        status, how, body = self.invoke(name, {})
        same("status (%s)" % body, status, 200)
        if how not in starts.split(" or "):
            raise AssertionError("start is %s, not %s" % (how, starts))
        same("answer", json.loads(body), {"calls": calls, "intact": True})

    def park(self, name):
        group = group_of(self.instance(name)["pid"])
        self.hearth("park", name)
        wait_for("%s is parked: %s" % (name, self.hearth("ps")), lambda: self.instance(name)["state"] == "parked")
        if os.path.exists(group):
            raise AssertionError("%s is still there when its instance is parked" % group)

    def wake(self, name):
        self.hearth("wake", name)
        wait_for("%s is awake" % name, lambda: self.instance(name)["state"] in ("hot", "warm"))

    def limits(self, name, memory, cpu, pids):
        """The limits the kernel has for an instance, which is alone in its group."""
        one = self.instance(name)
        group = group_of(one["pid"])
        same("cgroup", os.path.basename(group), one["id"])
        same("memory.max", read(group + "/memory.max"), str(memory))
        same("memory.swap.max", read(group + "/memory.swap.max"), "0")
        same("cpu.max", read(group + "/cpu.max"), cpu)
        same("pids.max", read(group + "/pids.max"), str(pids))
        if one["memory_bytes"] < MIB // 8:
            raise AssertionError("ps says that %s has %d bytes" % (name, one["memory_bytes"]))


def test(name, function, *args):
    start = time.monotonic()
    try:
        function(*args)
    except Exception:   # pylint: disable=broad-except
        count["not ok"] += 1
        say("not ok %s" % name)
        for line in traceback.format_exc().splitlines():
            say("    " + line)
        return False
    count["ok"] += 1
    say("ok %s (%.1f s)" % (name, time.monotonic() - start))
    return True


# --- what every daemon must do ----------------------------------------------------------------------------------------------------------

def doctor(node):
    answer = json.loads(node.hearth("--json", "doctor", check=False))
    bad = [i for i in answer["items"] if not i["ok"] and not i.get("optional")]
    same("what is missing", bad, [])
    detail = {i["name"]: i["detail"] for i in answer["items"]}
    same("cgroups", detail["cgroups"], "v2: memory cpu pids freezer")


def contracts(node):
    node.hearth("deploy", state_function("state", cpus=0.5, pids=64), manifest("web", "http", ["/usr/bin/python3", "web.py"], memory="128MiB"),
                manifest("echo", "native", ["./echo_c"], memory="64MiB"))
    node.calls("state", "cold", 1)
    node.calls("state", ALIVE, 2)
    status, start, body = node.invoke("web")
    same("web", (status, start, body.strip()), (200, "cold", "page /"))
    status, start, body = node.invoke("echo", {"a": 1})
    same("echo", (status, start, json.loads(body)), (200, "cold", {"a": 1}))


def limits(node):
    node.limits("state", 128 * MIB, "50000 100000", 64)
    node.limits("web", 128 * MIB, "max 100000", 512)


def parking(node):
    for name in ("state", "web", "echo"):
        node.park(name)
    node.wake("state")
    node.limits("state", 128 * MIB, "50000 100000", 64)
    node.calls("state", ALIVE, 3)
    node.park("state")
    node.calls("state", "wake", 4)
    same("web", node.invoke("web")[:2], (200, "wake"))
    same("echo", node.invoke("echo", {"a": 1})[:2], (200, "wake"))


def lazy(node):
    """An image large enough to be woken page by page."""
    node.hearth("deploy", state_function("big", memory="256MiB", env="{BALLAST_MIB: '64'}"))
    node.calls("big", "cold", 1)
    node.park("big")
    node.calls("big", "wake", 2)
    node.park("big")
    node.calls("big", "wake", 3)
    node.hearth("rm", "big")


def hog(node):
    node.hearth("deploy", state_function("hog", memory="64MiB"))
    status, _, body = node.invoke("hog", {"hog": 256})
    same("status", status, 502)
    if "memory limit of 64 MiB" not in body:
        raise AssertionError("the answer does not say why: " + body)
    same("oom_kills", [f["oom_kills"] for f in node.ps()["functions"] if f["name"] == "hog"], [1])
    node.calls("hog", "cold", 1)
    same("web", node.invoke("web")[0], 200)


def adopted(node, restart):
    """kill -9, and the next daemon has the same instances under the same limits."""
    node.calls("hog", ALIVE, 2)
    node.calls("state", ALIVE, 5)
    before = {i["id"]: i["pid"] for i in node.ps()["instances"]}
    old = node.ps()["node"]["pid"]
    restart(old)
    wait_for("another daemon", lambda: '"pid":' in node.hearth("--json", "ps", check=False) and node.ps()["node"]["pid"] != old)
    wait_for("the instances to be in use again", lambda: all(i["state"] in ("hot", "warm") for i in node.ps()["instances"]))
    same("instances", {i["id"]: i["pid"] for i in node.ps()["instances"]}, before)
    same("cgroups", node.ps()["node"]["cgroups"], "v2: memory cpu pids freezer")
    node.limits("state", 128 * MIB, "50000 100000", 64)
    node.calls("state", ALIVE, 6)
    node.park("state")
    node.calls("state", "wake", 7)
    node.hearth("deploy", state_function("later", cpus=0.25))
    node.calls("later", "cold", 1)
    node.limits("later", 128 * MIB, "25000 100000", 512)
    node.calls("hog", ALIVE, 3)
    same("status", node.invoke("hog", {"hog": 256})[0], 502)
    same("oom_kills", [f["oom_kills"] for f in node.ps()["functions"] if f["name"] == "hog"], [1])


def groups(node):
    """Instances are where no other program's group keeps them from having limits, and the daemon is where it was started."""
    same("instances", os.path.dirname(os.path.dirname(group_of(node.instance("state")["pid"]))), GROUPS + "/hearth")
    if node.run == "/run/hearth":
        same("daemon", group_of(node.ps()["node"]["pid"]), GROUPS + "/system.slice/hearthd.service")
        if "gateway on port" not in command("journalctl", "-u", "hearthd", "-n", "50", "--no-pager"):
            raise AssertionError("the unit's journal lacks what hearthd logs")


def ends(node):
    """Nothing outlives `hearth down`, however it tries."""
    status, _, body = node.invoke("later", {"leave": True})
    same("status", status, 200)
    group = group_of(node.instance("later")["pid"])
    pids = [int(p) for p in read(group + "/cgroup.procs").split()]
    if len(pids) < 3:
        raise AssertionError("the function left nothing behind: %s, %s" % (body, pids))
    daemon = node.ps()["node"]["pid"]
    node.hearth("rm", "later")
    wait_for("what the function left is gone", lambda: not any(os.path.exists("/proc/%d" % p) for p in pids))
    node.hearth("down")
    wait_for("the daemon is gone", lambda: not os.path.exists("/proc/%d" % daemon))
    same("cgroups", groups_left(), [])
    same("mounts", [line for line in read("/proc/mounts").splitlines() if node.run + "/" in line], [])


def battery(name, node, restart, leave_out=()):
    for what, function, args in (("doctor", doctor, ()), ("contracts", contracts, ()), ("cgroup", groups, ()), ("limits", limits, ()), ("park and wake", parking, ()),
                                 ("lazy wake", lazy, ()), ("out of memory", hog, ()), ("adoption", adopted, (restart,)), ("end", ends, ())):
        if function in leave_out:
            continue
        if not test("%s: %s" % (name, what), function, node, *args):
            for log in (node.run + "/hearthd.log",):
                if os.path.exists(log):
                    for line in read(log).splitlines()[-20:]:
                        say("    log: " + line)


# --- the ways to start one --------------------------------------------------------------------------------------------------------------

def service():
    """The unit, as installed."""
    def restart(pid):
        os.kill(pid, signal.SIGKILL)    # Restart=on-failure does the rest

    def again():
        """An upgrade restarts the unit."""
        node.hearth("deploy", state_function("again"))
        node.calls("again", "cold", 1)
        command("systemctl", "restart", "hearthd")
        wait_for("the instance to be in use again", lambda: node.instance("again")["state"] in ("hot", "warm"))
        node.calls("again", ALIVE, 2)
        node.hearth("rm", "again")

    node = Node("/run/hearth")
    if test("service: start", command, "systemctl", "start", "hearthd"):
        test("service: systemctl restart", again)
        battery("service", node, restart)
    for line in command("journalctl", "-u", "hearthd", "-n", "30", "--no-pager", check=False).splitlines():
        say("    journal: " + line)
    command("systemctl", "stop", "hearthd", check=False)


def up(name, run, state):
    """`hearth up -d` as a person types it, from the cgroup that this program is in."""
    def start():
        node.hearth("up", "-d", "--state", state, "--listen", "127.0.0.1:0")

    def restart(pid):
        os.kill(pid, signal.SIGKILL)
        wait_for("the end of hearthd", lambda: not os.path.exists("/proc/%d" % pid) or " Z " in read("/proc/%d/stat" % pid))
        start()

    node = Node(run)
    if test("%s: start" % name, start):
        battery(name, node, restart, (lazy,))   # which has nothing to do with the way of starting
    node.hearth("down", check=False)


def session():
    """A login session's group: other processes are in it, and nothing was delegated to us."""
    up("session", "/run/hearth-session", "/var/tmp/hearth-session")


def root_group():
    """The root group, as where init is no systemd; the run folder is on the disk instead of a tmpfs."""
    with open(GROUPS + "/cgroup.procs", "w", encoding="utf-8") as f:
        f.write("0")
    shutil.rmtree("/var/tmp/hearth-root", ignore_errors=True)
    up("root", "/var/tmp/hearth-root/run", "/var/tmp/hearth-root/state")


# --- idle memory goes to swap -----------------------------------------------------------------------------------------------------------

SWAP = "/dev/vdd"
LRU = "/sys/kernel/mm/lru_gen/enabled"
EAGER = "{min_idle: 2s, rate: 0.5, floor: 4MiB, prewarm_share: 0}"


def put(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def in_swap(group):
    return int(read(group + "/memory.swap.current"))


def memory(node, name):
    return node.instance(name).get("memory") or {}


def warm(node, name, at_least):
    """Until so much of it is in swap, by the kernel's own count; the daemon's agrees."""
    group = group_of(node.instance(name)["pid"])
    wait_for("%s is warm: %s" % (name, node.hearth("ps")), lambda: node.instance(name)["state"] == "warm")
    wait_for("%d MiB in swap" % (at_least // MIB), lambda: in_swap(group) >= at_least)
    wait_for("the daemon to see it", lambda: memory(node, name)["remote_bytes"] >= at_least)
    if memory(node, name)["resident_bytes"] > 90 * MIB - at_least:
        raise AssertionError("it is in swap and here too: %s" % memory(node, name))
    return group


def reclaim(mglru):
    """The kernel's reclaim as the engine: what is idle leaves for swap, comes back as it was, and is parked and woken from there."""
    run = "/run/hearth-%s" % ("mglru" if mglru else "reclaim")

    def start():
        put(LRU, "y" if mglru else "n")
        same("debugfs", os.path.exists("/sys/kernel/debug/lru_gen"), True)
        same("MGLRU", bool(int(read(LRU), 16) & 1), mglru)
        put("/tmp/reclaim.yaml", "farmem: reclaim\n")         # the newer kernel has the pager too
        node.hearth("up", "-d", "--config", "/tmp/reclaim.yaml", "--state", "/var/tmp" + run[4:], "--listen", "127.0.0.1:0")
        answer = json.loads(node.hearth("--json", "doctor", check=False))
        [item] = [i for i in answer["items"] if i["name"] == "memory reclaim"]
        same("doctor: " + item["detail"], (item["ok"], "MGLRU: segments" in item["detail"], "0.5 GiB of swap" in item["detail"]), (True, mglru, True))
        same("engine", node.ps()["node"]["farmem"]["engine"], "reclaim")

    def leaves():
        node.hearth("deploy", state_function("idle", memory="256MiB", keep_hot="2s", keep_warm="1h", farmem=EAGER, env="{BALLAST_MIB: '64'}"))
        node.calls("idle", "cold", 1)
        group = warm(node, "idle", 40 * MIB)
        same("memory.max", read(group + "/memory.max"), str(256 * MIB))
        node.calls("idle", "warm", 2)
        wait_for("what it read to be here", lambda: node.instance("idle")["state"] == "hot" and memory(node, "idle")["resident_bytes"] > 60 * MIB)
        # looked at when the call has ended, its memory also while it runs
        wait_for("its faults to be counted", lambda: memory(node, "idle")["faults"])
        one = memory(node, "idle")
        if one["offloaded_bytes"] < 40 * MIB:
            raise AssertionError("figures: %s" % one)

    def segments():
        """Of a function that has its ballast from its initialisation and never touches it, that segment leaves after the first requests, while it is hot."""
        node.hearth("deploy", state_function("init", memory="256MiB", keep_hot="1h", farmem="{min_idle: 1h}", env="{BALLAST_MIB: '64', LAZY: 'yes'}"))
        node.calls("init", "cold", 1)
        wait_for("the segment to be closed", lambda: memory(node, "init")["resident"]["init"] > 30 * MIB)
        for calls in range(2, 5):
            node.calls("init", "hot", calls)
        wait_for("the segment in swap: %s" % memory(node, "init"), lambda: memory(node, "init")["remote"]["init"] > 30 * MIB)
        same("state", node.instance("init")["state"], "hot")
        node.hearth("rm", "init")

    def prefetch():
        """What one request needed is asked for when the next one comes."""
        warm(node, "idle", 40 * MIB)
        node.calls("idle", "warm", 3)
        warm(node, "idle", 40 * MIB)
        node.calls("idle", "warm", 4)
        one = memory(node, "idle")
        if one["prefetched_pages"] < 5000 or one["prefetch_hits"] < 5000:
            raise AssertionError("figures: %s" % one)

    def parked():
        warm(node, "idle", 40 * MIB)
        node.park("idle")
        node.calls("idle", "wake", 5)
        warm(node, "idle", 40 * MIB)
        node.calls("idle", "warm", 6)

    def survives():
        warm(node, "idle", 40 * MIB)
        pid, daemon = node.instance("idle")["pid"], node.ps()["node"]["pid"]
        os.kill(daemon, signal.SIGKILL)
        wait_for("the end of hearthd", lambda: not os.path.exists("/proc/%d" % daemon) or " Z " in read("/proc/%d/stat" % daemon))
        start()
        wait_for("the instance to be in use again", lambda: node.instance("idle")["state"] in ("hot", "warm"))
        same("pid", node.instance("idle")["pid"], pid)
        node.calls("idle", ALIVE, 7)

    def killed():
        """What it had in swap is free when it ends."""
        group = warm(node, "idle", 40 * MIB)
        os.kill(node.instance("idle")["pid"], signal.SIGKILL)
        wait_for("its group is gone", lambda: not os.path.exists(group))
        node.calls("idle", "cold", 1)

    node = Node(run)
    name = os.path.basename(run)[7:]
    if test("%s: start" % name, start):
        for what, function in (("leaves", leaves), ("segments", segments), ("prefetch", prefetch), ("park and wake", parked), ("daemon killed", survives), ("instance killed", killed)):
            if function == segments and not mglru:
                continue
            if not test("%s: %s" % (name, what), function):
                for line in read(run + "/hearthd.log").splitlines()[-15:]:
                    say("    log: " + line)
    node.hearth("down", check=False)


def swapping(mglru):
    if not os.path.exists("/sys/kernel/debug/lru_gen"):
        command("mount", "-t", "debugfs", "none", "/sys/kernel/debug")
    for tool in (("mkswap", SWAP), ("swapon", SWAP)):
        command(*tool)
    try:
        reclaim(mglru)
    finally:
        command("swapoff", SWAP, check=False)


def main():
    only = re.search(r"vm\.only=(\S*)", read("/proc/cmdline")).group(1)
    say("Linux %s, up %.0f s" % (os.uname().release, float(read("/proc/uptime").split()[0])))
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    start = time.monotonic()
    for name, scenario in (("service", service), ("session", session), ("root", root_group), ("mglru", lambda: swapping(True)), ("reclaim", lambda: swapping(False))):
        if only in name:
            scenario()
    say("tests took %.0f s" % (time.monotonic() - start))
    say("%d passed, %d failed" % (count["ok"], count["not ok"]))


main()
