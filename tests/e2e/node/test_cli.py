#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Manifests, every sub-command, the box around a function, and a machine without privileges."""
import json
import os
import socket
import subprocess
import threading

from node_harness import HEARTH, NATIVE, PYTHON, Node, SkipTest, alive, log_has, main, need_full, wait_for

COMMANDS = ("up", "down", "deploy", "invoke", "ps", "top", "logs", "park", "wake", "rm", "doctor", "replay", "trace", "sched", "explain", "images")


def echo(node, name="echo_c", **keys):
    return node.deploy(name, ["./echo_c"], directory=NATIVE, contract="native", **{"concurrency": 64, "memory": "64MiB", **keys})


def refused(node, text, *words, args=(), name="m.yaml"):
    """A manifest that is refused with these words, as text and as JSON."""
    path = node.write(name, text, 0o644)
    done = node.cli("deploy", *args, path)
    assert done.returncode == 1 and not done.stdout, (text, done)
    for word in words:
        assert word in done.stderr.decode(), (word, done)
    done = node.cli("deploy", *args, path, json_out=True)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["ok"] is False and answer["code"] < 0 and words[0] in answer["error"], done


def test_manifests_that_are_refused(node):
    good = "name: a\ncommand: [/usr/bin/true]\n"
    refused(node, good + "colour: red\n", "m.yaml:3", "colour")
    refused(node, good + "memroy: 1GiB\n", "m.yaml:3", "memroy")
    refused(node, good + "name: b\n", "m.yaml:3", "name")
    refused(node, good + "concurrency: many\n", "m.yaml:3", "concurrency")
    refused(node, good + "memory: [1]\n", "m.yaml:3", "memory")
    refused(node, good + "timeout: -1s\n", "m.yaml:3", "timeout")
    refused(node, good + "contract: soap\n", "m.yaml:3", "contract")
    refused(node, good + "env: [1]\n", "m.yaml:3", "env")
    refused(node, "command: [/usr/bin/true]\n", "m.yaml", "name")
    refused(node, "name: a\n", "m.yaml", "command")
    refused(node, "name: a\ncommand: []\n", "m.yaml", "command")
    refused(node, "name: ../a\ncommand: [/usr/bin/true]\n", "m.yaml", "name")
    refused(node, "name: a\ncommand: [./nothing]\n", "nothing", "command")
    refused(node, "name: a\ncommand: [no-such-program-here]\n", "no-such-program-here", "PATH")
    refused(node, "name: a\ncommand: [/etc/passwd]\n", "executable")
    refused(node, good + "directory: ./nowhere\n", "nowhere")
    refused(node, good + "directory: /\n", "directory")
    refused(node, good + "mounts: [relative]\n", "relative")
    refused(node, good + "min_instances: 9\nmax_instances: 2\n", "min_instances")
    refused(node, good + "concurrency: 5\n", "concurrency")
    refused(node, "{", "m.yaml:")
    refused(node, "", "m.yaml")
    refused(node, "- a\n", "m.yaml")
    refused(node, "name: &a x\ncommand: *a\n", "m.yaml")
    assert node.ps()["functions"] == [], "a refused manifest left something"
    done = node.cli("deploy", os.path.join(node.dir, "none.yaml"))
    assert done.returncode == 1 and b"none.yaml" in done.stderr, done


def test_set(node):
    path = node.manifest("echo_c", ["./echo_c"], directory=NATIVE, contract="native", concurrency=64)
    assert node.cli("deploy", "--set", "max_instances=3", "--set", "concurrency=2", path).returncode == 0
    assert node.function("echo_c")["max_instances"] == 3
    refused(node, "name: a\ncommand: [/usr/bin/true]\n", "colour", args=("--set", "colour=red"))
    refused(node, "name: a\ncommand: [/usr/bin/true]\n", "timeout", args=("--set", "timeout=x"))
    for wrong in (("--set",), ("--set", "x", path), ("--set", "=1", path), ("--what", path), ()):
        assert node.cli("deploy", *wrong).returncode == 2, wrong


def test_one_name_twice_is_a_redeployment(node):
    node.deploy_lambda("v", "def handler(e, c): return 1\n")
    assert node.invoke("v").body == b"1"
    old = node.instances("v")[0]["id"]
    node.note_instances()
    node.write("v.py", "def handler(e, c): return 'edited'\n")      # the same manifest again: its files may have changed
    again = node.json("deploy", os.path.join(node.programs, "v.yaml"))
    assert again["changed"] is False and node.invoke("v").body == b'"edited"'
    node.write("w.py", "def handler(e, c): return 2\n")
    node.manifest("v", [PYTHON, "hearth_runtime.py", "w.handler"], contract="lambda")
    assert node.json("deploy", os.path.join(node.programs, "v.yaml"))["changed"] is True
    r = node.invoke("v")
    assert r.body == b"2" and r["X-Hearth-Instance"] != old, r
    wait_for("the old one's end", lambda: len(node.instances("v")) == 1)


def test_redeploy_and_remove_under_load(node):
    node.deploy_lambda("v", "import time\ndef handler(e, c):\n    time.sleep(0.02)\n    return 'ok'\n", max_instances=2)
    stop, states = threading.Event(), []

    def load():
        while not stop.is_set():
            states.append(node.invoke("v").status)
    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for t in threads:
        t.start()
    for k in range(4):
        served = len(states)
        wait_for("some calls", lambda: len(states) > served + 10)
        node.note_instances()
        assert node.cli("deploy", "--set", "env={K: '%d'}" % k, os.path.join(node.programs, "v.yaml")).returncode == 0
    assert set(states) == {200}, {s: states.count(s) for s in states}
    node.note_instances()
    node.remove("v")
    wait_for("calls after the removal", lambda: 404 in states)
    stop.set()
    for t in threads:
        t.join(30)
    assert set(states) <= {200, 404}, {s: states.count(s) for s in states}


def test_usage_and_help(node):
    assert node.cli("help").returncode == 0 and node.cli("--version").returncode == 0
    assert node.cli().returncode == 2 and node.cli("nothing").returncode == 2
    for c in COMMANDS:
        done = node.cli(c, "--help")
        assert done.returncode == 0 and done.stdout.startswith(b"usage: hearth " + c.encode()), (c, done)
        if c not in ("replay", "trace"):
            done = node.cli(c, "--no-such-option")
            assert done.returncode in (1, 2) and done.stderr and not done.stdout, (c, done)
    for c in ("invoke", "logs", "rm", "park", "wake", "deploy"):
        assert node.cli(c).returncode == 2, c
    for line in (("logs", "x", "-n", "0"), ("logs", "x", "-n", "y"), ("invoke", "x", "y"), ("invoke", "x", "--event", "--path", "/"), ("down", "now")):
        assert node.cli(*line).returncode == 2, line


def test_errors_as_json(node):
    for line in (("invoke", "none", "-d", "@/no/such/file"), ("logs", "none"), ("rm", "none"), ("park", "none"), ("wake", "none"), ("deploy", "/none.yaml")):
        done = node.cli(*line, json_out=True)
        answer = json.loads(done.stdout)
        assert done.returncode == 1 and answer["ok"] is False and answer["error"] and answer["code"] < 0, (line, done)
        done = node.cli(*line)
        assert done.returncode == 1 and done.stderr.startswith(b"hearth: ") and not done.stdout, (line, done)
    for line in (("ps",), ("down",), ("logs", "x"), ("invoke", "x"), ("rm", "x"), ("park", "x"), ("wake", "x")):
        done = subprocess.run([HEARTH, "--run", node.dir + "/nobody", "--json", *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        assert done.returncode == 1 and "hearth up" in json.loads(done.stdout)["error"], (line, done)


def test_invoke(node):
    echo(node)
    assert node.cli("invoke", "echo_c").stdout == b"{}"
    assert node.cli("invoke", "echo_c", "-d", "text").stdout == b"text"
    path = node.write("event.json", '{"from":"a file"}')
    assert node.cli("invoke", "echo_c", "-d", "@" + path).stdout == b'{"from":"a file"}'
    assert node.cli("invoke", "echo_c", "-d", "-", stdin=b"\x00\xff" * 1000).stdout == b"\x00\xff" * 1000
    assert node.cli("invoke", "echo_c", "--path", "/x", "-X", "PUT", "-d", "by path").stdout == b"by path"
    done = node.cli("invoke", "echo_c", "-i")
    assert done.stdout.startswith(b"HTTP/1.1 200 ") and b"X-Hearth-Instance:" in done.stdout, done
    done = node.cli("invoke", "echo_c", "--event")
    assert (done.returncode, done.stdout) == (0, b""), done
    done = node.cli("invoke", "none")
    assert done.returncode == 1 and b"404" in done.stderr and not done.stdout, done
    node.deploy_lambda("bad", "def handler(e, c): raise ValueError('x')\n")
    done = node.cli("invoke", "bad")
    assert done.returncode == 1 and b"error" in done.stderr and json.loads(done.stdout)["errorType"] == "ValueError", done


def test_a_function_and_a_program_of_one_name(node):
    echo(node)
    done = node.cli("run", "--name", "echo_c", "-d", "--", "sleep", "1000")
    assert done.returncode == 0, done
    program = node.ps()["programs"][0]
    assert (program["name"], program["state"], program["images"]) == ("echo_c", "running", []), program
    for what in ("park", "wake"):
        done = node.cli(what, "echo_c")
        assert done.returncode == 1 and b"as well" in done.stderr, done
    os.kill(program["pid"], 9)
    wait_for("the end of the program", lambda: node.ps()["programs"][0]["state"] == "ended")
    assert node.cli("park", "nobody").returncode == 1


def test_ps_and_top(node):
    echo(node)
    node.invoke("echo_c")
    all_of_it = node.ps()
    assert all_of_it["ok"] and all_of_it["node"]["isolation"] == "full" and all_of_it["functions"][0]["name"] == "echo_c", all_of_it
    assert b"echo_c" in node.cli("ps").stdout and node.cli("ps", "echo_c").returncode == 0


def test_logs(node):
    node.deploy_lambda("talks", "def handler(e, c):\n    print('line', e['n'], flush=True)\n")
    for n in range(20):
        node.invoke("talks", {"n": n})
    log_has("talks", node, "line 19")
    lines = node.cli("logs", "-n", "5", "talks").stdout.decode().splitlines()
    assert [line.split("out ")[1] for line in lines] == ["line %d" % n for n in range(15, 20)], lines
    follower = subprocess.Popen([HEARTH, "--run", node.run, "logs", "-n", "1", "-f", "talks"], stdout=subprocess.PIPE)
    try:
        assert b"line 19" in follower.stdout.readline()
        node.invoke("talks", {"n": "followed"})
        assert b"line followed" in follower.stdout.readline()
    finally:
        follower.kill()
        follower.wait()


LOOK = """
import json, os, socket
def handler(event, context):
    status = dict(l.split(":\\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\\t" in l)
    def can_write(path):
        try:
            open(path, "w").close(); os.unlink(path); return True
        except OSError:
            return False
    return {"pids": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()), "caps": [status[c] for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
            "nnp": status["NoNewPrivs"], "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "links": [n for _, n in socket.if_nameindex()],
            "written": [p for p in ("/x", "/usr/x", "/etc/x", "/dev/x", os.getcwd() + "/x", "/proc/sys/kernel/hostname") if can_write(p)], "tmp": can_write("/tmp/x"),
            "root": sorted(os.listdir("/")), "home": os.path.exists("/root") or os.path.exists("/home")}
"""


def test_the_box(node):
    node.deploy_lambda("look", LOOK)
    o = node.invoke("look").json()
    assert o["pids"][0] == 1 and len(o["pids"]) <= 3, o
    assert set(o["caps"]) == {"0000000000000000"} and o["nnp"] == "1", o
    assert (o["uid"], o["gid"], o["groups"]) in ((65534, 65534, []), (65534, 65534, [65534])), o
    assert o["links"] == ["lo"] and o["written"] == [] and o["tmp"] and not o["home"], o
    group = [g for g in node.cgroups() if os.path.basename(g) == node.instances("look")[0]["id"]]
    assert group, "no cgroup of the instance is found: the count of what leaks would see none"
    node.note_instances()
    node.deploy_lambda("look", LOOK, user="daemon")
    o = node.invoke("look").json()
    assert o["uid"] == 1 and set(o["caps"]) == {"0000000000000000"}, o


def test_doctor_as_root(node):
    done = node.cli("doctor", json_out=True)
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 1) and answer["items"] and all(i["name"] and i["detail"] for i in answer["items"]), done
    assert any("runs (pid %d)" % node.pid in i["detail"] for i in answer["items"]), answer
    assert node.cli("doctor").returncode == done.returncode


UNPRIVILEGED = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]


def test_machine_without_privileges(node):
    if subprocess.run([*UNPRIVILEGED, "test", "-x", HEARTH]).returncode:
        raise SkipTest("the build tree is not readable for others")
    done = subprocess.run([*UNPRIVILEGED, HEARTH, "--run", node.dir + "/nobody", "--json", "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["ok"] is False, done
    missing = [i for i in answer["items"] if not i["ok"]]
    assert missing and all(i["detail"] for i in missing), answer
    done = subprocess.run([*UNPRIVILEGED, HEARTH, "--run", node.run, "ps"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and b"may not" in done.stderr, done
    with Node(isolation="auto", run_as=UNPRIVILEGED) as other:
        assert other.ps()["node"]["isolation"] == "none"
        echo(other)
        assert other.invoke("echo_c", b"x").body == b"x"
        other.deploy_lambda("py", "import os\ndef handler(e, c): return os.getuid()\n")
        assert other.invoke("py").body == b"65534"
        other.deploy_python("web", "import http.server, os\nhttp.server.test(http.server.SimpleHTTPRequestHandler, port=int(os.environ['PORT']), bind='127.0.0.1')\n",
                            contract="http", port=free_port())
        assert other.call("web").status == 200
        pids = [i["pid"] for i in other.ps()["instances"]]
        assert len(pids) == 3
        assert other.cli("park", "py").returncode == 1
        other.down()
        wait_for("the functions' end", lambda: not any(alive(p) for p in pids))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def test_down_and_up_again(node):
    with Node() as other:
        echo(other)
        assert other.invoke("echo_c", b"x").body == b"x"
        second = other.cli("up", "-d", "--state", other.state, "--listen", "127.0.0.1:0", "--log", other.dir + "/second.log")
        assert second.returncode == 1 and b"log" in second.stderr, second
        other.down()
        other.up()
        assert other.invoke("echo_c", b"y").body == b"y", "the deployment is forgotten"


if __name__ == "__main__":
    need_full()
    main(globals())
