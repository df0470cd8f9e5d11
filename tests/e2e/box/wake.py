# SPDX-License-Identifier: Apache-2.0
"""Starting, parking and waking: state survives, clones, eager and lazy, damaged images, the pager's death."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from boxlib import Standby, begin, call, children, end, gone, job, main, of_its_own, state


def sandbox(p, checks):
    pid = p.start("s1")
    text = call(pid, "/sandbox")
    assert "CapPrm:\t0000000000000000" in text and "CapBnd:\t0000000000000000" in text and "NoNewPrivs:\t1" in text, text
    assert "Uid:\t65534\t65534\t65534\t65534" in text and "wrote" not in text and "pids 1 2" in text and "host s1" in text, text
    for fd in os.listdir("/proc/%d/fd" % pid):
        assert os.readlink("/proc/%d/fd/%s" % (pid, fd)) == "/dev/null", fd
    assert int(open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[3]) == pid, "not a session leader"
    if checks["cgroups"]["ok"]:
        assert "/%s/s1" % p.group in open("/proc/%d/cgroup" % pid).read()
    end(pid)


def refused(p, checks):
    cases = [({"command": ["/no/such/program"]}, "/no/such/program"), ({"command": ["nosuchprogram"]}, "nosuchprogram"),
             ({"directory": "/no/such/dir"}, "/no/such/dir"), ({"init": "/no/such/init"}, "/no/such/init"), ({"user": "no-such-user"}, "no-such-user"),
             ({"colour": "red"}, "colour"), ({"port": "8080"}, "port"), ({"isolation": "half"}, "isolation"), ({"mounts": ["/no/such/mount"]}, "/no/such/mount"),
             ({"directory": "/proc"}, "/proc")]
    for change, word in cases:
        result = job({**p.start_spec("r1"), **change})
        assert not result["ok"] and word in result["error"] and result["code"] < 0, result
        assert not os.path.exists(p.root) and not p.groups(), (change, p.groups())
    for text in ({"job": "fly"}, {}, {"job": "park"}, {"job": "wake", "id": "x"}, {"job": "wake", "id": "x", "image": "/no/image", "root": p.root, "criu": p.criu}):
        result = job(text)
        assert not result["ok"] and result["error"], result


def not_executable_inside(p, checks):
    hidden = os.path.join(p.dir, "hidden")
    os.mkdir(hidden)
    with open(os.path.join(hidden, "prog"), "w") as f:
        f.write("#!/bin/sh\n")
    os.chmod(os.path.join(hidden, "prog"), 0o755)
    result = job(p.start_spec("n1", command=[os.path.join(hidden, "prog")]))
    assert not result["ok"] and "mounts" in result["error"], result
    assert not p.groups(), p.groups()
    result = job(p.start_spec("n2", command=[os.path.join(hidden, "prog")], mounts=[hidden]))
    assert result["ok"], result
    assert gone(result["pid"])


def parked(p, mb):
    pid = p.start("a", mb)
    assert call(pid, "/") == "1"
    assert call(pid, "/write") == "ok"
    result = p.park("a", pid, meta={"revision": 7})
    assert result["ok"] and result["pages_bytes"] > mb << 20, result
    assert state(pid) == "T"
    end(pid)
    assert job({"job": "verify", "image": p.image("a")})["ok"]


def park_then_resume(p, checks):
    pid = p.start("a")
    assert call(pid, "/") == "1"
    assert p.park("a", pid)["ok"]
    assert job({"job": "resume", "pid": pid})["ok"]
    assert call(pid, "/") == "2"
    assert not p.park("a", pid)["ok"], "an image was overwritten"
    assert call(pid, "/") == "3"
    end(pid)


def wake_modes(p, checks):
    parked(p, 48)
    for lazy in ("never", "always", "auto"):
        woken = [p.wake("%s%d" % (lazy, k), "a", lazy=lazy) for k in range(2)]
        for k, result in enumerate(woken):
            assert result["ok"] and result["lazy"] == (lazy != "never"), result
            assert call(result["pid"], "/touch") == "ok"
            assert call(result["pid"], "/read") == "kept"
            assert call(result["pid"], "/") == "5", "clones share state"
            text = call(result["pid"], "/sandbox")
            assert "CapBnd:\t0000000000000000" in text and "NoNewPrivs:\t1" in text and "wrote" not in text, text
            if checks["cgroups"]["ok"]:
                assert "/%s/%s%d" % (p.group, lazy, k) in open("/proc/%d/cgroup" % result["pid"]).read()
            assert os.readlink("/proc/%d/ns/net" % result["pid"]) != os.readlink("/proc/self/ns/net")
        for result in woken:
            end(result["pid"])


def outside_tmp(p):
    """The function's folder at another place: one below /tmp would be shown in the sandbox's."""
    folder = tempfile.mkdtemp(prefix="hearth-box-test-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    shutil.copy(os.path.join(p.fn, "server.py"), folder)
    return folder


def empty_tmp(p, checks):
    """What is empty is not in the image, and is of the size and mode that it had; files of others in it come and go all the same."""
    size = 'df --output=size -k /tmp | tail -n 1; stat -c "%a %u %g" /tmp; grep " /tmp " /proc/self/mountinfo | cut -d" " -f 4-6; ls /tmp'
    inside = lambda pid: subprocess.run(["nsenter", "-t", str(pid), "-m", "sh", "-c", size], capture_output=True, text=True, check=True).stdout
    folder = outside_tmp(p)
    pid = p.start("a", 48, directory=folder)
    before = inside(pid)
    assert call(pid, "/unlinked") == "ok"
    assert p.park("a", pid)["ok"]
    end(pid)
    assert not [n for n in os.listdir(p.image("a")) if n.startswith("tmpfs")], os.listdir(p.image("a"))
    for lazy in ("never", "always"):
        pid = p.wake("w", "a", lazy=lazy)["pid"]
        assert inside(pid) == before, (inside(pid), before)
        assert call(pid, "/unlinked") == "kept"
        assert call(pid, "/write") == "ok" and call(pid, "/read") == "kept"
        assert call(pid, "/touch") == "ok"
        assert p.park(lazy, pid)["ok"]
        assert [n for n in os.listdir(p.image(lazy)) if n.startswith("tmpfs")], os.listdir(p.image(lazy))
        end(pid)
        pid = p.wake("again", lazy)["pid"]
        assert call(pid, "/read") == "kept"
        end(pid)
    shutil.rmtree(folder)


def tmp_filled_late(p, checks):
    """A file made between the look at /tmp and the stop is not lost: nothing is parked."""
    folder = outside_tmp(p)
    pid = p.start("a", directory=folder)
    late = os.path.join(p.dir, "late-criu")
    with open(late, "w") as f:
        f.write("#!/usr/bin/python3\nimport os, sys\nif sys.argv[1] == 'dump':\n    open('/proc/%d/root/tmp/note', 'w').write('kept')\n"
                "os.execv('%s', sys.argv)\n" % (pid, p.criu))
    os.chmod(late, 0o755)
    result = p.park("a", pid, criu=late)
    assert not result["ok"] and "/tmp" in result["error"], result
    assert not os.path.exists(p.image("a"))
    assert call(pid, "/read") == "kept"
    assert p.park("a", pid)["ok"]
    end(pid)
    pid = p.wake("w", "a")["pid"]
    assert call(pid, "/read") == "kept"
    end(pid)
    shutil.rmtree(folder)


def standing_by(p, checks):
    """A wake by a hearth-box that was there before; its group becomes the instance's, and goes where nothing comes of it."""
    parked(p, 8)
    spec = {"job": "wake", "id": "w", "function": "server", "image": p.image("a"), "criu": p.criu, "root": p.root, "work": os.path.join(p.work, "w"), **p.limits("w")}
    for lazy in ("never", "always"):
        standby = Standby(p.group)
        while checks["cgroups"]["ok"] and not any(standby.group in g for g in p.groups()):
            time.sleep(0.01)
        result = standby.give({**spec, "lazy": lazy})
        assert result["ok"], result
        assert call(result["pid"], "/read") == "kept"
        if checks["cgroups"]["ok"]:
            assert "/%s/w\n" % p.group in open("/proc/%d/cgroup" % result["pid"]).read()
        assert not any(".standby" in g for g in p.groups()), p.groups()
        end(result["pid"])
        for g in p.groups():
            if g.endswith("/w/"):
                os.rmdir(g)
    # no job, another job, a wake that fails, an instance's group that is there already
    assert Standby(p.group).give(None) is None
    assert Standby(p.group).give({"job": "verify", "image": p.image("a")})["ok"]
    result = Standby(p.group).give({**spec, "image": "/no/image"})
    assert not result["ok"] and "/no/image" in result["error"], result
    assert not any(".standby" in g for g in p.groups()), p.groups()
    first = p.wake("w", "a")
    result = Standby(p.group).give({**spec, "id": "w"})
    assert not any(".standby" in g for g in p.groups()), p.groups()
    for r in (first, result):
        assert r["ok"], r
        end(r["pid"])


def standing_by_not_yet(p, checks):
    """The wake comes before what stands by is in its group, and where it cannot have one."""
    parked(p, 8)
    for name, standby in (("early", Standby(p.group, {"HEARTH_FAULT": "fail:around-late"})), ("none", Standby(p.group + "/.."))):
        result = standby.give({"job": "wake", "id": name, "function": "server", "image": p.image("a"), "criu": p.criu, "root": p.root,
                               "work": os.path.join(p.work, name), **p.limits(name)})
        assert result["ok"], (name, result)
        assert call(result["pid"], "/read") == "kept"
        if checks["cgroups"]["ok"]:
            assert "/%s/%s\n" % (p.group, name) in open("/proc/%d/cgroup" % result["pid"]).read()
        assert not any(".standby" in g for g in p.groups()), p.groups()
        end(result["pid"])
    # nor are the groups in anyone's way when no wake comes
    assert Standby(p.group, {"HEARTH_FAULT": "fail:around-late"}).give(None) is None
    assert not any(".standby" in g for g in p.groups()), p.groups()


def park_a_woken_one_again(p, checks):
    parked(p, 8)
    for lazy in ("never", "always"):
        result = p.wake("b", "a", lazy=lazy)
        assert result["ok"], result
        assert call(result["pid"], "/touch") == "ok"
        again = p.park("b" + lazy, result["pid"])
        assert again["ok"], again
        end(result["pid"])
        result = p.wake("c", "b" + lazy, lazy=lazy)
        assert result["ok"], result
        assert call(result["pid"], "/touch") == "ok" and call(result["pid"], "/") == "5"
        end(result["pid"])


def lazy_events(p, checks):
    parked(p, 64)
    for path in ("/events", "/back"):
        result = p.wake("e" + path[1:], "a", lazy="always", env={"HEARTH_FAULT": "fail:pager-slow"})
        assert result["ok"], result
        answer = call(result["pid"], path)
        assert answer == "ok", answer
        end(result["pid"])


def pages_in_hand(p, checks):
    """A fault on a page that a filler has taken but not copied yet waits for it, and is not answered with zeros."""
    parked(p, 32)
    result = p.wake("h", "a", lazy="always", env={"HEARTH_FAULT": "fail:pager-holding"})
    assert result["ok"], result
    answer = call(result["pid"], "/touch", 60)
    assert answer == "ok", answer
    end(result["pid"])


def park_while_filling(p, checks):
    """Pages that are still on their way are in the next image too."""
    parked(p, 32)
    result = p.wake("b", "a", lazy="always", env={"HEARTH_FAULT": "fail:pager-slow"})
    assert result["ok"], result
    again = p.park("b", result["pid"])
    assert again["ok"], again
    end(result["pid"])
    result = p.wake("c", "b", lazy="never")
    assert result["ok"], result
    answer = call(result["pid"], "/touch")
    assert answer == "ok", answer
    end(result["pid"])


def pager_killed(p, checks):
    """A page that was not filled in must never read as zeros."""
    parked(p, 64)
    result = p.wake("k1", "a", lazy="always", env={"HEARTH_FAULT": "pager-filling"})
    if result["ok"]:
        assert gone(result["pid"]), "the instance outlived its pager"
    else:
        assert "pager" in result["error"] or "restore" in result["error"], result
    # nobody is told of an instance whose image was not verified to the end
    result = p.wake("k2", "a", lazy="always", env={"HEARTH_FAULT": "pager-verifying"})
    assert not result["ok"] and "verified" in result["error"], result
    assert not p.leftovers(), p.leftovers()
    # killed from outside while it fills, and its guard likewise: ended in one case, complete in the other
    for victim in ("pager", "guard"):
        result = p.wake("k-" + victim, "a", lazy="always", env={"HEARTH_FAULT": "fail:pager-slow"})
        assert result["ok"], result
        guard = [pid for pid in children() if pid != result["pid"]]
        assert len(guard) == 1, (victim, guard, state(result["pid"]))
        pager = int(open("/proc/%d/task/%d/children" % (guard[0], guard[0])).read())
        os.kill(pager if victim == "pager" else guard[0], signal.SIGKILL)
        if victim == "pager":
            try:
                answer = call(result["pid"], "/touch")
            except OSError:
                answer = "ended"
            assert answer == "ended", answer
            assert gone(result["pid"])
        else:
            assert call(result["pid"], "/touch") == "ok"
            end(result["pid"])


def box_killed_at_once(p, checks):
    """Before its child could ask to be killed with it: the child ends by itself, and starts nothing."""
    parked(p, 8)
    wake = {"job": "wake", "id": "o", "function": "server", "image": p.image("a"), "criu": p.criu, "root": p.root, "work": os.path.join(p.work, "o"), **p.limits("o")}
    for spec, fault in ((p.start_spec("o"), "start-orphaned"), (wake, "wake-orphaned")):
        box = begin(spec, {"HEARTH_FAULT": "fail:" + fault})
        child = of_its_own(box.pid)
        box.kill()
        box.wait()
        assert gone(child), "it lives on"
        box.stdout.close()
        assert not children(), children()
        for g in p.groups():
            os.rmdir(g)
    os.rmdir(wake["work"])


def box_killed_while_waking(p, checks):
    parked(p, 16)
    for lazy in ("never", "always"):
        result = p.wake("d" + lazy, "a", lazy=lazy, env={"HEARTH_FAULT": "wake-restored"})
        assert result.get("died"), result
        # lazy: the guard ends what was restored; eager: it is the daemon's child now, complete, and its to end
        if lazy == "always":
            deadline = time.monotonic() + 5
            while children() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not children(), children()
        for pid in children():
            end(pid)
        for name in os.listdir(p.work):
            os.system("rm -r '%s/%s'" % (p.work, name))


def damaged(p, checks):
    parked(p, 40)
    names = sorted(os.listdir(p.image("a")))
    assert "manifest.json" in names and "pages-1.img" in names
    for name in ("pages-1.img", "core-1.img", "manifest.json", "mm-1.img", "pagemap-1.img"):
        path = os.path.join(p.image("a"), name)
        good = open(path, "rb").read()
        at = len(good) // 2
        for bad in (good[:at] + bytes([good[at] ^ 16]) + good[at + 1:], good[:at], None):
            if os.path.lexists(path):
                os.unlink(path)
            if bad is not None:
                with open(path, "wb") as f:
                    f.write(bad)
            else:
                os.symlink("/nonexistent", path)
            for lazy in ("never", "always"):
                result = p.wake("x", "a", lazy=lazy)
                assert not result["ok"] and name in result["error"], (name, result)
                assert not p.groups() or all("/x/" not in g for g in p.groups()), p.groups()
                left = p.leftovers()
                assert not left, (name, lazy, left)
            os.unlink(path)
        with open(path, "wb") as f:
            f.write(good)
    result = p.wake("good", "a")
    assert result["ok"], result
    assert call(result["pid"], "/touch") == "ok"
    end(result["pid"])


ALL = [sandbox, refused, not_executable_inside, park_then_resume, wake_modes, empty_tmp, tmp_filled_late, standing_by, standing_by_not_yet, park_a_woken_one_again, lazy_events, pages_in_hand,
       park_while_filling, pager_killed, box_killed_at_once, box_killed_while_waking, damaged]
main([c for c in ALL if len(sys.argv) < 2 or c.__name__ in sys.argv[1:]])
