#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Into an image and out of it: state is kept, a bad image is never used, a full disk hurts nobody, snapshots are cloned."""

import concurrent.futures
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lifelib import BIN, Node, litter, main, wait_for  # noqa: E402

CONTRACTS = ("lambda", "http", "native")


class Parking(unittest.TestCase):
    def setUp(self):
        self.node = Node()
        self.addCleanup(self.node.close)
        self.node.start().knows()

    def tearDown(self):
        self.assertEqual(litter(), set())

    def parked(self, name="f", contract="lambda", **more):
        """A function that has counted to 3 and is parked."""
        node = self.node
        node.deploy(name, contract, **more)
        for expected in (1, 2, 3):
            self.assertEqual(node.count(name).count, expected)
        node.park(name)
        [image] = node.images(name)
        return image

    def falls_back(self, name="f"):
        """The next call starts cold, is right, and the log says why; the image is gone."""
        node = self.node
        at = len(node.text())
        answer = node.count(name)
        self.assertEqual((answer.count, answer.start), (1, "cold"))
        lines = [line for line in node.text()[at:].splitlines() if "wake failed, starting cold instead" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertEqual(node.images(name), [])
        self.assertEqual(node.count(name).count, 2)
        node.clean()
        return lines[0]

    def test_state_is_kept(self):
        node = self.node
        for contract in CONTRACTS:
            node.deploy(contract, contract)
            self.assertEqual(node.count(contract).start, "cold")
        for k in range(5):
            for contract in CONTRACTS:
                node.park(contract)
                self.assertEqual(len(node.images(contract)), 1)
            node.clean()
            for contract in CONTRACTS:
                answer = node.count(contract)
                self.assertEqual((answer.count, answer.start), (2 * k + 2, "wake"), contract)
                self.assertEqual(node.images(contract), [], "the image is older than the instance now")
                self.assertEqual(node.count(contract).start, "hot")
        node.clean()

    def test_truncated_file(self):
        image = self.parked()
        largest = max(glob.glob(image + "/*"), key=os.path.getsize)
        os.truncate(largest, os.path.getsize(largest) - 1)
        self.assertIn(os.path.basename(largest), self.falls_back())

    def test_one_bit_in_every_file(self):
        # one image, kept aside, is put back for every file: an eager and a lazy wake must both notice
        node, image = self.node, self.parked()
        kept = node.dir + "/kept"
        shutil.copytree(image, kept)
        names = sorted(os.listdir(kept))
        self.assertIn("manifest.json", names)
        self.assertGreater(len(names), 10)
        node.down()
        for name in names:
            with self.subTest(file=name):
                shutil.rmtree(image, ignore_errors=True)
                shutil.copytree(kept, image)
                with open(f"{image}/{name}", "r+b") as f:
                    size = os.path.getsize(f.name)
                    if size == 0:
                        f.write(b"x")
                    else:
                        f.seek(size // 2)
                        byte = f.read(1)[0]
                        f.seek(size // 2)
                        f.write(bytes([byte ^ 1]))
                node.start()
                at = len(node.text())
                answer = node.count("f")
                self.assertEqual((answer.count, answer.start), (1, "cold"))
                if name == "manifest.json":
                    self.assertIn("1 damaged images", node.text())
                else:
                    self.assertIn("wake failed, starting cold instead", node.text()[at:])
                    self.assertEqual(node.images("f"), [])
                node.clean()
                node.kill()
                self.end_instances()

    def end_instances(self):
        node = self.node
        node.start()
        for i in node.instances():
            os.kill(i["pid"], 9)
        wait_for("the instances' end", lambda: not [i for i in node.instances() if i["state"] != "parked"])
        node.down()

    def big(self, env=None, **more):
        """A function that is woken lazily, has counted to 1 and is parked, under a daemon with these variables."""
        node = self.node
        node.deploy("f", env={"BALLAST": str(40 << 20)}, **more)
        self.assertEqual(node.count("f").count, 1)
        node.park("f")
        if env:
            node.down()
            node.start(env).knows()
        [image] = node.images("f")
        return image

    def test_answer_waits_for_the_verdict(self):
        """A call runs while the image is still being verified; its answer comes when it has been, and nothing else happens to the instance before."""
        node = self.node
        self.big({"HEARTH_FAULT": "fail:wake-early"})
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(node.call, "f", {"check": True})
            self.assertFalse(node.ctl("park", name="f")["ok"])
            answer = answer.result()
        self.assertEqual((answer.count, answer.start), (2, "wake"))
        self.assertEqual(node.images("f"), [])
        self.assertEqual(node.call("f", {"check": True}).count, 3)
        node.park("f")
        self.assertEqual(node.count("f").count, 4)
        node.clean()

    def test_damage_found_during_a_call(self):
        """The call has run on an instance that turns out to be damaged: nobody gets that answer, it runs again on a cold one."""
        node = self.node
        image = self.big({"HEARTH_FAULT": "fail:wake-early"})
        pages = max(glob.glob(image + "/pages-*"), key=os.path.getsize)
        with open(pages, "r+b") as f:
            f.seek(os.path.getsize(pages) // 2 + 100)       # in the ballast, of which only every 4096th byte is looked at
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 1]))
        at = len(node.text())
        answer = node.call("f")
        self.assertEqual((answer.count, answer.start), (1, "cold"))
        lines = [line for line in node.text()[at:].splitlines() if "wake failed, starting cold instead" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(os.path.basename(pages), lines[0])
        self.assertEqual(node.images("f"), [])
        self.assertEqual(node.count("f").count, 2)
        node.clean()

    def test_box_killed_before_the_verdict(self):
        node = self.node
        self.big({"HEARTH_FAULT": "wake-early"})
        answer = node.call("f", {"check": True})
        self.assertEqual((answer.count, answer.start), (1, "cold"))
        self.assertIn("wake failed, starting cold instead", node.text())
        node.clean()

    def test_manifest_damaged(self):
        image = self.parked()
        with open(image + "/manifest.json", "r+b") as f:
            f.write(b"[")
        self.falls_back()

    def test_manifest_removed(self):
        os.unlink(self.parked() + "/manifest.json")
        self.falls_back()

    def test_image_removed(self):
        shutil.rmtree(self.parked())
        self.falls_back()

    def test_program_changed(self):
        self.parked(contract="native")
        program = self.node.code + "/count_native"
        with open(program, "rb") as f:
            data = bytearray(f.read())
        os.unlink(program)
        with open(program, "wb") as f:
            f.write(data + b"\0" * 4096)
        os.chmod(program, 0o755)
        self.falls_back()

    def test_program_changed_in_place(self):
        """Same length, same build id: only its contents and times differ."""
        self.parked(contract="native")
        program = self.node.code + "/count_native"
        with open(program, "r+b") as f:
            data = f.read()
            at = data.index(b"count_native: %s")
            f.seek(at)
            f.write(b"COUNT")
        self.falls_back()

    def test_program_removed(self):
        self.parked(contract="native")
        program = self.node.code + "/count_native"
        os.rename(program, program + ".away")
        node = self.node
        answer = node.count("f")
        self.assertEqual(answer.status, 502)
        self.assertIn("wake failed, starting cold instead", node.text())
        os.rename(program + ".away", program)
        self.assertEqual(node.count("f").count, 1)
        node.clean()

    def test_full_disk(self):
        node = self.node
        node.close()
        state = tempfile.mkdtemp(prefix="hearth-life-full-")
        self.addCleanup(os.rmdir, state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", state], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", state], check=True)
        node = self.node = Node(state=state)
        self.addCleanup(node.close)
        node.start().knows()
        node.deploy("f", keep_hot="100ms")
        self.assertEqual(node.count("f").count, 1)
        pid = node.instances("f")[0]["pid"]
        wait_for("a failed park", lambda: "parking failed" in node.text())
        for k in range(2, 6):
            answer = node.count("f")
            self.assertEqual((answer.count, answer.start), (k, "hot"))
        before = cpu_ticks(node.daemon.pid)
        time.sleep(1.5)         # a busy loop, or more tries, would show in this time
        self.assertLess(cpu_ticks(node.daemon.pid) - before, 20)
        self.assertEqual(node.count("f").count, 6)
        self.assertEqual(node.instances("f")[0]["pid"], pid)
        self.assertEqual((node.images("f"), node.drafts("f")), ([], []))
        lines = [line for line in node.text().splitlines() if "parking failed" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], "No space left|disk is full|full")
        self.assertEqual(node.functions("f")["parks"], 0)
        node.clean()
        node.down(seconds=10)           # what can't be parked is ended at once, not after the last grace

    def test_criu_missing(self):
        node = self.node
        node.close()
        node = self.node = Node()
        self.addCleanup(node.close)
        criu = node.dir + "/criu"
        real = os.environ.get("HEARTH_CRIU") or os.path.join(BIN, "../deps/criu")
        os.symlink(os.path.realpath(real), criu)
        node.start({"HEARTH_CRIU": criu}).knows()
        self.parked()
        os.unlink(criu)
        self.assertIn("criu", self.falls_back())
        # parking fails and hurts nobody
        reply = node.ctl("park", name="f")
        wait_for("the refusal", lambda: not reply["ok"] or "parking failed" in node.text())
        self.assertEqual(node.count("f").count, 3)
        node.clean()


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as f:
        return sum(int(v) for v in f.read().rpartition(")")[2].split()[11:13])


class Snapshots(unittest.TestCase):
    def setUp(self):
        self.node = Node()
        self.addCleanup(self.node.close)
        self.node.start().knows()

    def snapshot(self):
        return wait_for("a snapshot", lambda: self.node.functions("s")["snapshot"])

    def test_clones(self):
        node = self.node
        node.deploy("s", park="snapshot", max_instances=4, keep_hot="1h")
        name = self.snapshot()
        node.clean()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: node.call("s", {"sleep": 3}), range(4)))
        for a in answers:
            self.assertEqual((a.count, a.start), (1, "wake"), answers)
        self.assertEqual(len({a.instance for a in answers}), 4)
        self.assertEqual(self.snapshot(), name)
        # it outlives the daemon, killed or not
        for i in node.instances("s"):
            os.kill(i["pid"], 9)
        wait_for("the clones' end", lambda: not node.instances("s"))
        for end in (node.kill, node.down):
            end()
            node.start()
            self.assertEqual(self.snapshot(), name)
            a = node.count("s")
            self.assertEqual((a.count, a.start), (1, "wake"))
            os.kill(node.instances("s")[0]["pid"], 9)
            wait_for("the clone's end", lambda: not node.instances("s"))
        node.clean()
        # idle clones are ended, not parked: the next one begins afresh
        self.assertEqual(len(node.images("s")), 1)

    def test_remade(self):
        node = self.node
        node.deploy("s", park="snapshot", keep_hot="100ms")
        first = self.snapshot()
        shutil.rmtree(node.images("s")[0])
        a = node.count("s")
        self.assertEqual((a.count, a.start), (1, "cold"))
        second = wait_for("a new snapshot", lambda: (lambda s: s if s and s != first else None)(node.functions("s")["snapshot"]))
        wait_for("the idle one's end", lambda: not node.instances("s"))
        a = node.count("s")
        self.assertEqual((a.count, a.start), (1, "wake"))
        self.assertEqual([os.path.basename(p) for p in node.images("s")], [second])
        node.clean()

    def test_damaged_is_remade(self):
        node = self.node
        node.deploy("s", park="snapshot", keep_hot="100ms", max_instances=3)
        first = self.snapshot()
        [image] = node.images("s")
        pages = max(glob.glob(image + "/*"), key=os.path.getsize)
        with open(pages, "r+b") as f:
            f.seek(5000)
            byte = f.read(1)[0]
            f.seek(5000)
            f.write(bytes([byte ^ 0x10]))
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: node.call("s", {"sleep": 1}), range(3)))
        for a in answers:
            self.assertEqual(json.loads(a.body)["count"] >= 1, True)
            self.assertEqual(a.status, 200)
        wait_for("a new snapshot", lambda: (lambda s: s and s != first)(node.functions("s")["snapshot"]))
        node.clean()


if __name__ == "__main__":
    main()
