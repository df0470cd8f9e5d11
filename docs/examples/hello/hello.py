# SPDX-License-Identifier: Apache-2.0
calls = 0               # survives parking


def handler(event, context):
    global calls
    calls += 1
    print("call", calls, flush=True)
    return {"hello": event.get("name", "world"), "call": calls}
