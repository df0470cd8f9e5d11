#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""functions/runtime/hearth_runtime.py as a process of its own, against a Runtime API server."""

import json
import os
import socket
import subprocess
import tempfile
import time
import unittest

from runtime_api import PYTHON, RUNTIME, WAIT_S, RuntimeApiServer

MODULE = '''
import os, sys, json
import helper

COUNT = 0

def echo(event, context):
    return event

def twice(event, context):
    print("before the answer")
    return [event, event]

def context(event, context):
    client = context.client_context
    return {
        "aws_request_id": context.aws_request_id,
        "invoked_function_arn": context.invoked_function_arn,
        "function_name": context.function_name,
        "function_version": context.function_version,
        "memory_limit_in_mb": context.memory_limit_in_mb,
        "log_group_name": context.log_group_name,
        "log_stream_name": context.log_stream_name,
        "remaining": context.get_remaining_time_in_millis(),
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "client": client and [client.custom, client.env, client.client.app_title],
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "helper": helper.NAME,
        "handler": os.environ["_HANDLER"],
    }

class Grief(Exception):
    pass

def inner(event):
    raise Grief("no good: " + event["why"])

def act(event, context):
    global COUNT
    COUNT += 1
    what = event.get("what")
    if what == "raise":
        inner(event)
    if what == "object":
        return {"x": object()}
    if what == "nan":
        return float("nan")
    if what == "surrogate":
        return "\\ud800"
    if what == "raise surrogate":
        raise ValueError("\\ud800")
    if what == "path":
        return sys.path
    if what == "die":
        print("last words")
        os.kill(os.getpid(), 9)
    if what == "exit":
        sys.exit(3)
    return {"count": COUNT, "event": event}
'''

BROKEN = {
    "raises.py": "def f():\n    raise KeyError('gone')\nf()\n",
    "leaves.py": "import sys\nsys.exit(0)\n",
    "syntax.py": "def handler(:\n",
    "imports.py": "import no_such_module_anywhere\n",
    "fine.py": "handler = 3\n",
}


class RuntimeTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        os.mkdir(os.path.join(self.folder, "sub"))
        files = {"sub/function.py": MODULE, "sub/helper.py": "NAME = 'beside'\n", **BROKEN}
        for name, text in files.items():
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        self.api = self.enterContext(RuntimeApiServer())

    def start(self, handler="sub/function.act", **env):
        return self.api.start([PYTHON, RUNTIME, handler], self.folder, env)

    def check_error(self, post, request_id, error_type):
        self.assertEqual(post.path, f"invocation/{request_id}/error")
        error = post.json()
        self.assertEqual(sorted(error), ["errorMessage", "errorType", "stackTrace"])
        self.assertEqual(error["errorType"], error_type)
        self.assertEqual(post.headers["Lambda-Runtime-Function-Error-Type"], error_type)
        self.assertIsInstance(error["stackTrace"], list)
        return error

    def test_context_carries_every_header(self):
        self.api.put(
            request_id="8476a536",
            invoked_function_arn="arn:aws:lambda:local:0:function:f",
            trace_id="Root=1-5bef4de7",
            client_context=json.dumps({"custom": {"a": 1}, "env": {"b": 2}, "client": {"app_title": "App"}}),
            cognito_identity=json.dumps({"cognitoIdentityId": "me", "cognitoIdentityPoolId": "pool"}),
        )
        names = ("FUNCTION_NAME", "FUNCTION_VERSION", "FUNCTION_MEMORY_SIZE", "LOG_GROUP_NAME", "LOG_STREAM_NAME")
        self.start("sub/function.context", **{"AWS_LAMBDA_" + name: name for name in names})
        post = self.api.take()
        self.assertEqual(post.path, "invocation/8476a536/response")
        self.assertEqual(post.headers["Content-Type"], "application/json")
        result = post.json()
        self.assertTrue(0 < result.pop("remaining") <= 30_000)
        self.assertEqual(
            result,
            {
                "aws_request_id": "8476a536",
                "invoked_function_arn": "arn:aws:lambda:local:0:function:f",
                "function_name": "FUNCTION_NAME",
                "function_version": "FUNCTION_VERSION",
                "memory_limit_in_mb": "FUNCTION_MEMORY_SIZE",
                "log_group_name": "LOG_GROUP_NAME",
                "log_stream_name": "LOG_STREAM_NAME",
                "trace": "Root=1-5bef4de7",
                "client": [{"a": 1}, {"b": 2}, "App"],
                "identity": ["me", "pool"],
                "helper": "beside",
                "handler": "sub/function.context",
            },
        )
        # Nothing of one invocation is left over for the next; a deadline that has passed leaves no time.
        self.api.put(request_id="second", deadline_ms="1000")
        result = self.api.take().json()
        self.assertEqual((result["aws_request_id"], result["trace"], result["client"], result["remaining"]), ("second", None, None, 0))

    def test_payloads_come_back_as_they_were(self):
        self.start("sub/function.echo")
        values = [None, True, 0, -1.5, "", "žluťoučký 🐎 \u2028 \x00", [], {"k": [{}]}, {"ключ": "值"}, "x" * (6 << 20)]
        for index, value in enumerate(values):
            self.api.put(json.dumps(value, ensure_ascii=index % 2 == 0).encode(), request_id=f"r{index}")
            post = self.api.take()
            self.assertEqual(post.path, f"invocation/r{index}/response")
            self.assertEqual(post.json(), value)
            if index == 8:
                self.assertIn("值".encode(), post.body)
        self.assertEqual(self.api.connections, 2)      # one says that the runtime is loaded

    def test_no_payload_is_an_empty_event(self):
        self.api.put(b"")
        self.start("sub/function.echo")
        self.assertEqual(self.api.take().json(), {})

    def test_exception_is_reported_and_the_instance_goes_on(self):
        self.api.put({"what": "raise", "why": "ž"})
        self.api.put({}, request_id="id-2")
        self.start()
        error = self.check_error(self.api.take(), "id-1", "Grief")
        self.assertEqual(error["errorMessage"], "no good: ž")
        self.assertEqual(len(error["stackTrace"]), 2)
        self.assertIn("in act", error["stackTrace"][0])
        self.assertIn("in inner", error["stackTrace"][1])
        post = self.api.take()
        self.assertEqual((post.path, post.json()["count"]), ("invocation/id-2/response", 2))

    def test_result_that_is_not_json(self):
        child = self.start()
        for what in ("object", "nan", "surrogate"):
            self.api.put({"what": what}, request_id=what)
            self.check_error(self.api.take(), what, "Runtime.MarshalError")
        self.api.put({"what": "raise surrogate"})
        self.assertEqual(self.check_error(self.api.take(), "id-1", "ValueError")["errorMessage"], "\ud800")
        self.assertIsNone(child.poll())

    def test_event_that_is_not_json(self):
        self.start("sub/function.echo")
        for body in (b"{", b"\xff\xfe\xfd"):
            self.api.put(body)
            self.check_error(self.api.take(), "id-1", "Runtime.UnmarshalError")

    def test_exit_in_a_handler(self):
        self.api.put({"what": "exit"})
        child = self.start()
        error = self.check_error(self.api.take(), "id-1", "Runtime.ExitError")
        self.assertIn("3", error["errorMessage"])
        self.assertEqual(child.wait(WAIT_S), 1)

    def test_init_errors(self):
        cases = {
            "raises.handler": ("KeyError", "gone", 2),
            "leaves.handler": ("Runtime.ExitError", "sys.exit(0)", 0),
            "syntax.handler": ("Runtime.UserCodeSyntaxError", "syntax", 0),
            "imports.handler": ("Runtime.ImportModuleError", "no_such_module_anywhere", 1),
            "absent.handler": ("Runtime.ImportModuleError", "absent", 0),
            "fine.handler": ("Runtime.HandlerNotFound", "'handler' missing", 0),
            "fine.other": ("Runtime.HandlerNotFound", "'other' missing", 0),
            "fine": ("Runtime.MalformedHandlerName", "'fine'", 0),
            "": ("Runtime.MalformedHandlerName", "''", 0),
        }
        for handler, (error_type, text, frames) in cases.items():
            with self.subTest(handler=handler):
                child = self.start(handler)
                post = self.api.take()
                self.assertEqual(post.path, "init/error")
                error = post.json()
                self.assertEqual(error["errorType"], error_type)
                self.assertEqual(post.headers["Lambda-Runtime-Function-Error-Type"], error_type)
                self.assertIn(text, error["errorMessage"])
                self.assertEqual(len(error["stackTrace"]), frames)
                _, stderr = child.communicate(timeout=WAIT_S)
                self.assertEqual(child.returncode, 1)
                self.assertIn(error_type, stderr)
        self.assertEqual(self.api.next_calls, 0)

    def test_response_too_large(self):
        self.api.statuses = [413, 202]
        self.api.put({})
        self.start("sub/function.echo")
        self.assertEqual(self.api.take().path, "invocation/id-1/response")
        self.check_error(self.api.take(), "id-1", "Function.ResponseSizeTooLarge")

    def test_answer_that_comes_too_late(self):
        self.api.statuses = [403, 400]
        child = self.start()
        for index in range(3):
            self.api.put({}, request_id=f"r{index}")
            self.assertEqual(self.api.take().json()["count"], index + 1)
        self.assertIsNone(child.poll())

    def test_server_error_ends_the_process(self):
        self.api.statuses = [500]
        self.api.put({})
        child = self.start()
        self.api.take()
        self.assertEqual(child.wait(WAIT_S), 1)
        self.api.put(b"no", status=500)
        child = self.start()
        _, stderr = child.communicate(timeout=WAIT_S)
        self.assertEqual(child.returncode, 1)
        self.assertIn("HTTP status 500", stderr)

    def test_connection_closed_between_requests(self):
        self.api.close_after_post = True
        self.start()
        for index in range(3):
            self.api.put({}, request_id=f"r{index}")
            self.assertEqual(self.api.take().json()["count"], index + 1)
        # A fourth, if the runtime has already asked for the next one.
        self.assertIn(self.api.connections, (4, 5))

    def test_server_gone(self):
        child = self.start()
        while not self.api.next_calls:
            self.assertIsNone(child.poll())
            time.sleep(0.01)
        self.api.invocations.put(None)
        # The first answer of a connection that was never used: not a kept-alive connection that went stale, but a dead server.
        self.assertEqual(child.wait(WAIT_S), 1)

    def test_nobody_listens(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            env = {**os.environ, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:%d" % unused.getsockname()[1]}
            run = subprocess.run([PYTHON, RUNTIME, "sub/function.act"], cwd=self.folder, env=env, capture_output=True, text=True, timeout=WAIT_S)
        self.assertEqual(run.returncode, 1)
        self.assertIn("refused", run.stderr)

    def test_no_address(self):
        env = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_RUNTIME_API"}
        run = subprocess.run([PYTHON, RUNTIME, "a.b"], env=env, capture_output=True, text=True, timeout=WAIT_S)
        self.assertEqual(run.returncode, 2)
        self.assertIn("AWS_LAMBDA_RUNTIME_API", run.stderr)

    def test_handler_and_root_from_the_environment(self):
        self.api.put({"a": 1})
        env = {"_HANDLER": "function.echo", "LAMBDA_TASK_ROOT": os.path.join(self.folder, "sub")}
        self.api.start([PYTHON, RUNTIME], "/", env)
        self.assertEqual(self.api.take().json(), {"a": 1})

    def test_output_is_out_before_the_answer(self):
        self.api.put(1)
        child = self.start("sub/function.twice")
        self.assertEqual(child.stdout.readline(), "before the answer\n")
        self.assertEqual(self.api.take().json(), [1, 1])

    def test_lines_are_out_when_written(self):
        self.api.put({"what": "die"})
        stdout, _ = self.start().communicate(timeout=WAIT_S)
        self.assertEqual(stdout, "last words\n")

    def test_search_path(self):
        self.api.put({"what": "path"})
        self.start()
        path = self.api.take().json()
        self.assertEqual(path[0], os.path.realpath(os.path.join(self.folder, "sub")))
        self.assertNotIn(os.path.dirname(RUNTIME), path)

    def test_zygote_forks_a_worker(self):
        zygote = self.start(HEARTH_ZYGOTE="1")
        self.assertNotIn("Hearth-Forked", self.api.fork_calls.get(timeout=WAIT_S))
        self.api.put({}, request_id="r1")
        self.api.forks.put(200)
        first = self.api.asked.get(timeout=WAIT_S)["Hearth-Worker"]
        self.assertEqual(self.api.fork_calls.get(timeout=WAIT_S)["Hearth-Forked"], first)
        self.assertNotEqual(first, str(zygote.pid))
        post = self.api.take()
        self.assertEqual((post.path, post.headers["Hearth-Worker"], post.json()["count"]), ("invocation/r1/response", first, 1))
        # another one begins where the zygote stands; the first, which asks again, is told that it may go
        self.api.put({}, request_id="r2", status=410)
        self.assertEqual(self.api.asked.get(timeout=WAIT_S)["Hearth-Worker"], first)
        self.api.put({}, request_id="r3")
        self.api.forks.put(200)
        second = self.api.fork_calls.get(timeout=WAIT_S)["Hearth-Forked"]
        post = self.api.take()
        self.assertEqual((post.headers["Hearth-Worker"], post.json()["count"]), (second, 1))
        self.assertNotEqual(first, second)
        self.api.put({}, request_id="none", status=410)

    def test_zygote_where_the_host_knows_of_none(self):
        self.api.forks.put(404)
        self.api.put({}, request_id="r1")
        self.start(HEARTH_ZYGOTE="1")
        self.assertEqual(self.api.take().json()["count"], 1)
        self.assertNotIn("Hearth-Worker", self.api.asked.get(timeout=WAIT_S))

    def test_zygote_with_a_thread(self):
        module = "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\ndef handler(event, context):\n    return 1\n"
        with open(os.path.join(self.folder, "threads.py"), "w") as file:
            file.write(module)
        self.api.put({}, request_id="r1")
        child = self.start("threads.handler", HEARTH_ZYGOTE="1")
        self.assertEqual(self.api.take().json(), 1)
        self.assertTrue(self.api.fork_calls.empty())
        child.kill()
        self.assertIn("1 threads that a fork would lose", child.communicate(timeout=WAIT_S)[1])

    def test_zygote_that_cannot_fork(self):
        # each user has some processes, so none more is to be had
        module = "import resource, os\nos.setuid(65534)\nresource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\ndef handler(event, context):\n    return 1\n"
        if os.geteuid() != 0:
            self.skipTest("needs root")
        os.chmod(self.folder, 0o755)
        with open(os.path.join(self.folder, "limited.py"), "w") as file:
            file.write(module)
        self.api.forks.put(200)
        self.start("limited.handler", HEARTH_ZYGOTE="1")
        self.api.fork_calls.get(timeout=WAIT_S)
        self.assertIn("Resource temporarily unavailable", self.api.fork_calls.get(timeout=WAIT_S)["Hearth-Fork-Error"])

    def test_idle_instance_is_one_thread(self):
        child = self.start()
        self.api.put({})
        self.api.take()
        self.assertEqual(len(os.listdir(f"/proc/{child.pid}/task")), 1)


if __name__ == "__main__":
    unittest.main()
