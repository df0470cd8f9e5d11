# SPDX-License-Identifier: Apache-2.0
calls = 0               # survives parking


def handler(event, context):
    global calls
    calls += 1
    return {"hello": event.get("name", "world"), "call": calls}
