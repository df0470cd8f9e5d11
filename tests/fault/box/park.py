# SPDX-License-Identifier: Apache-2.0
"""Parking fails at every step, by every means: the instance runs on (or is ended, where CRIU was killed in the middle of it), and no image is to be seen."""
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "e2e", "box"))
from boxlib import BOX, begin, call, children, end, gone, job, main, state  # noqa: E402


def wait_helpers(pid):
    """Until neither CRIU nor a minder is there any more."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and [c for c in children() if c != pid]:
        time.sleep(0.005)
    return time.monotonic() < deadline


def sweep(folder):
    """As hearthd does after a job that was killed: what was killed before it had a minder left a folder, which nobody holds."""
    for name in os.listdir(folder):
        if not name.startswith(".tmp-"):
            continue
        path = os.path.join(folder, name)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        finally:
            os.close(held)


def runs_on(p, pid, before, what):
    """Right after a failed parking, or as soon as the minder of a killed one is done."""
    assert wait_helpers(pid), (what, "the minder does not end")
    assert state(pid) not in (None, "T", "t", "Z"), (what, state(pid))
    answer = call(pid, "/")
    assert int(answer) == before + 1, (what, answer, before)
    assert call(pid, "/touch") == "ok", what
    seen = [n for n in os.listdir(p.images) if not n.startswith(".failed-")] if os.path.isdir(p.images) else []
    assert not seen, (what, seen)
    return before + 2


def goes_on(p, name, pid, what):
    """After a parking that was killed, as hearthd does: killed when the minder had been told that all is well, it left a whole image and a stopped instance."""
    assert wait_helpers(pid), (what, "the minder does not end")
    if state(pid) == "T":
        assert job({"job": "verify", "image": p.image(name)})["ok"], what
        assert job({"job": "resume", "pid": pid, "image": p.image(name)})["ok"], what
        shutil.rmtree(p.image(name))
    sweep(p.images)


def fault_points(p, checks):
    pid = p.start("a", 8)
    count = int(call(pid, "/"))
    for fault in ("park-before-dump", "park-after-dump", "park-after-commit", "fail:park-before-dump", "fail:park-after-dump"):
        result = p.park("a", pid, env={"HEARTH_FAULT": fault})
        assert not result["ok"], (fault, result)
        assert fault.startswith("fail:") != bool(result.get("died")), (fault, result)
        count = runs_on(p, pid, count, fault)
    result = p.park("a", pid, env={"HEARTH_FAULT": "park-before-result"})
    assert result.get("died") and wait_helpers(pid) and state(pid) == "T", (result, state(pid))
    goes_on(p, "a", pid, "park-before-result")
    count = runs_on(p, pid, count, "park-before-result")
    # CRIU's own faults: early, in the pages, connecting the parasite. One that ends in an error leaves the instance running; one that kills
    # CRIU may leave its code in the processes: such an instance is ended, and never was an image to be seen.
    for fault in ("1", "3", "5"):
        result = p.park("a", pid, env={"CRIU_FAULT": fault})
        assert not result["ok"], (fault, result)
        if "killed by signal" in result["error"]:
            assert result["code"] == -errno.EOWNERDEAD and gone(pid), (fault, result)
            assert not [n for n in os.listdir(p.images) if not n.startswith(".failed-")], os.listdir(p.images)
            pid = p.start("a", 8)
            count = int(call(pid, "/"))
        else:
            assert "runs on" in result["error"], (fault, result)
            count = runs_on(p, pid, count, "CRIU_FAULT=" + fault)
    result = p.park("a", pid)
    assert result["ok"], result
    end(pid)


def criu_of(box):
    for line in open("/proc/%d/task/%d/children" % (box, box)).read().split():
        try:
            if open("/proc/%s/comm" % line).read().strip() == "criu":
                return int(line)
        except OSError:
            pass
    return None


def park_and_kill(p, pid, whom, delay):
    """Return the result, or None if the victim was gone before the blow."""
    box = subprocess.Popen([BOX], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    box.stdin.write(json.dumps(p.park_spec("a", pid)))
    box.stdin.close()
    victim = None
    deadline = time.monotonic() + 5
    while box.poll() is None and time.monotonic() < deadline:
        try:
            victim = criu_of(box.pid)
        except OSError:
            break
        if victim:
            break
    time.sleep(delay)
    struck = False
    try:
        os.kill(victim if whom == "criu" else box.pid, signal.SIGKILL)
        struck = True
    except (ProcessLookupError, TypeError):
        pass
    text = box.stdout.read()
    box.wait()
    return struck, json.loads(text) if text else None


def killed(p, checks):
    pid = p.start("a", 8)
    count = int(call(pid, "/"))
    blows = lost = 0
    for whom in ("criu", "box"):
        for step in range(14):
            struck, result = park_and_kill(p, pid, whom, step * 0.006)
            if result and result["ok"]:         # the blow came too late
                assert job({"job": "resume", "pid": pid})["ok"]
                os.rename(p.image("a"), os.path.join(p.dir, "late-%s-%d" % (whom, step)))
            else:
                blows += struck
            if whom == "criu" and gone(pid, 0.1):
                # CRIU borrows the registers of the processes for moments; killed just then, it takes them along. See docs/adr/0007-box-park.md
                lost += 1
                assert not [n for n in os.listdir(p.images) if not n.startswith(".failed-")]
                p.remove_groups()
                pid = p.start("a", 8)
                count = int(call(pid, "/"))
                continue
            if whom == "box" and struck and os.path.isdir(p.images):
                goes_on(p, "a", pid, (whom, step))
            count = runs_on(p, pid, count, (whom, step))
    assert blows >= 6, blows
    print("     %d blows, the instance was lost to %d" % (blows, lost))
    assert p.park("a", pid)["ok"]
    end(pid)


def waits_for_lock(box):
    """Until a job waits for a lock, or has ended."""
    while box.poll() is None and not any(" -> FLOCK" in line and " %d " % box.pid in line for line in open("/proc/locks")):
        time.sleep(0.005)
    return box.poll() is None


def late_minder(p, checks):
    """The minder of a parking that was killed is late: nobody goes on with the instance before it is done."""
    pid = p.start("a", 8)
    count = int(call(pid, "/"))
    stops = os.path.join(p.dir, "criu-stops")       # before it begins; by then there is a minder
    with open(stops, "w") as f:
        f.write('#!/bin/sh\ncase "$1" in dump) kill -STOP $$ ;; esac\nexec %s "$@"\n' % p.criu)
    os.chmod(stops, 0o755)
    box = begin(p.park_spec("a", pid, criu=stops))
    while True:
        mine = [int(c) for c in open("/proc/%d/task/%d/children" % (box.pid, box.pid)).read().split()]
        criu = [c for c in mine if state(c) == "T"]
        if criu:
            break
        time.sleep(0.005)
    [minder] = [c for c in mine if c not in criu]
    os.kill(minder, signal.SIGSTOP)
    box.kill()
    box.wait()
    box.stdout.close()
    os.kill(criu[0], signal.SIGCONT)
    assert gone(criu[0])
    for spec in ({"job": "resume", "pid": pid, "image": p.image("a")}, p.park_spec("a", pid)):
        waiting = begin(spec)
        assert waits_for_lock(waiting), (spec["job"], waiting.stdout.read())
        if spec["job"] == "park":
            os.kill(minder, signal.SIGCONT)
        else:
            waiting.kill()
        result = waiting.stdout.read()
        waiting.wait()
        waiting.stdout.close()
    assert json.loads(result)["ok"], result
    assert job({"job": "resume", "pid": pid, "image": p.image("a")})["ok"]
    assert wait_helpers(pid)
    assert job({"job": "verify", "image": p.image("a")})["ok"], "the minder removed what was not its own"
    assert int(call(pid, "/")) == count + 1
    end(pid)


def disk_full(p, checks):
    pid = p.start("a", 16)
    count = int(call(pid, "/"))
    os.mkdir(p.images)
    for size in ("64k", "1m", "12m"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "none", p.images], check=True)
        try:
            result = p.park("a", pid)
            assert not result["ok"] and "runs on" in result["error"], (size, result)
            count = runs_on(p, pid, count, size)
        finally:
            subprocess.run(["umount", p.images], check=True)
    assert p.park("a", pid)["ok"]
    end(pid)


def cannot(p, checks):
    pid = p.start("a")
    count = int(call(pid, "/"))
    for change, word in (({"criu": "/no/such/criu"}, "/no/such/criu"), ({"criu": "/bin/true"}, "/bin/true"), ({"starttime": 1}, "gone"),
                         ({"pid": 2 ** 22 - 3}, "gone"), ({"image": "relative/path"}, "absolute"), ({"image": "/x/.hidden"}, "dot")):
        result = job({**p.park_spec("a", pid), **change})
        assert not result["ok"] and word in result["error"], (change, result)
        count = runs_on(p, pid, count, change)
    host = p.start("h", network="host", env=["PORT=0"])
    result = p.park("h", host)
    assert not result["ok"] and "network" in result["error"], result
    end(host)
    # something CRIU can't dump: its words reach the message, its log stays
    odd = p.start("o", command=["/usr/bin/python3", "-c", "import os,time; os.chdir('/tmp'); os.open('gone', os.O_CREAT | os.O_RDWR); "
                                "f = os.open('/proc/1', os.O_RDONLY); s = __import__('socket'); k = s.socket(s.AF_NETLINK, s.SOCK_RAW, 9)\nwhile 1: time.sleep(9)"])
    time.sleep(0.5)
    result = p.park("o", odd)
    if not result["ok"]:
        assert "Error (criu/" in result["error"], result
        assert os.path.exists(os.path.join(p.images, ".failed-o.log"))
        assert state(odd) == "S", state(odd)
    end(odd)
    end(pid)


ALL = [fault_points, killed, late_minder, disk_full, cannot]
main([c for c in ALL if len(sys.argv) < 2 or c.__name__ in sys.argv[1:]])
