# SPDX-License-Identifier: Apache-2.0
"""A function with a state that must survive: a counter, some memory with a known digest, and ways to be a bad guest."""
import hashlib
import json
import os
import subprocess

calls = 0
ballast = bytes(range(256)) * (int(os.environ.get("BALLAST_MIB", "1")) * 4096)
digest = hashlib.sha256(ballast).hexdigest()


def hog(mib):
    """Touch that much memory."""
    held = bytearray()
    for _ in range(mib):
        held += bytes(range(256)) * 4096
    return len(held)


def leave_behind():
    """A process in a session of its own, not ours to wait for."""
    child = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return child.pid


def handler(event, context):
    global calls
    calls += 1
    result = {"calls": calls, "intact": bool(os.environ.get("LAZY")) or hashlib.sha256(ballast).hexdigest() == digest}
    if event.get("hog"):
        result["hog"] = hog(event["hog"])
    if event.get("leave"):
        result["left"] = leave_behind()
    return json.loads(json.dumps(result))
