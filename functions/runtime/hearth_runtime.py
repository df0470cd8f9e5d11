#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A client of the AWS Lambda Runtime API (2018-06-01) for Python functions.

    hearth_runtime.py [PATH/MODULE.HANDLER]

Without an argument the handler's name is taken from $_HANDLER. PATH/MODULE.py is looked up below $LAMBDA_TASK_ROOT (the working
directory if unset), its folder becomes the first entry of sys.path, and HANDLER(event, context) is called once for each invocation that
http://$AWS_LAMBDA_RUNTIME_API hands out.

The process has one thread and one connection, which it opens when it first asks for work: a checkpoint of an idle instance therefore
contains nothing but a read blocked on that connection.

With $HEARTH_ZYGOTE (hearth-function(5), zygote) it calls no handler itself: once the function is loaded it forks a worker whenever the host
asks for one. A worker is as described above, shares what nobody writes with the others, and ends when the host needs it no more.
"""

import contextlib
import gc
import http.client
import importlib.util
import json
import os
import sys
import time
import traceback
import warnings

API = "/2018-06-01/runtime"
USER_AGENT = "hearth-runtime-python/1"
HELPER_THREAD = "hearth-warm"   # of libhearth-warm.so, which looks after itself in a fork
PF_EXITING = 4                  # <linux/sched.h>, as /proc/PID/stat has it


class RuntimeApiError(Exception):
    """The Runtime API answered with something that leaves no sensible way to go on."""


class HandlerError(Exception):
    """The handler could not be found; its error type is one of AWS's Runtime.* names."""

    def __init__(self, error_type, message):
        super().__init__(message)
        self.error_type = error_type


class Identity:
    """Who called, when the caller used Amazon Cognito."""

    def __init__(self, fields):
        self.cognito_identity_id = fields.get("cognitoIdentityId")
        self.cognito_identity_pool_id = fields.get("cognitoIdentityPoolId")


class Client:
    """The application that called (part of ClientContext)."""

    FIELDS = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")

    def __init__(self, fields):
        for field in self.FIELDS:
            setattr(self, field, fields.get(field))


class ClientContext:
    """What a caller said about itself in the Lambda-Runtime-Client-Context header."""

    def __init__(self, fields):
        self.custom = fields.get("custom")
        self.env = fields.get("env")
        self.client = Client(fields["client"]) if isinstance(fields.get("client"), dict) else None


class Context:
    """The second argument of a handler: the fields and methods that AWS documents for Python."""

    def __init__(self, headers):
        environ = os.environ
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers.get("Lambda-Runtime-Invoked-Function-Arn")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        client = _json_header(headers, "Lambda-Runtime-Client-Context")
        self.client_context = None if client is None else ClientContext(client)
        self.identity = Identity(_json_header(headers, "Lambda-Runtime-Cognito-Identity") or {})
        self._deadline_ms = int(headers.get("Lambda-Runtime-Deadline-Ms") or 0)

    def get_remaining_time_in_millis(self):
        """Milliseconds until the invocation's deadline, 0 once it has passed."""
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        """Write a message to the function's log, as it is."""
        sys.stdout.write(str(message))

    def __repr__(self):
        return "Context([aws_request_id=%s,function_name=%s])" % (self.aws_request_id, self.function_name)


def _json_header(headers, name):
    value = headers.get(name)
    if not value:
        return None
    fields = json.loads(value)
    return fields if isinstance(fields, dict) else None


class RuntimeApi:
    """The calls of the API on one kept-alive connection. worker: the process's number, of one that a zygote forked."""

    def __init__(self, address, worker=None):
        self._address = address
        self._headers = {"User-Agent": USER_AGENT}
        if worker is not None:
            self._headers["Hearth-Worker"] = str(worker)
        self._connection = None

    def loaded(self):
        """Say that the runtime is loaded, and the function comes next: Hearth counts their memory apart. Other hosts answer that there is no such path."""
        self._request("POST", "/hearth/loaded", b"")
        self.close()            # the first answer to a question for work is then a new connection's, as it is without this

    def next(self):
        """Wait for an invocation. Return its headers and its body, or None: there is no more work for this worker. The wait has no time limit: an idle function waits here."""
        status, headers, body = self._request("GET", "/invocation/next")
        if status == 410:
            return None
        if status != 200:
            raise RuntimeApiError("next invocation: HTTP status %d: %s" % (status, _text(body)))
        return headers, body

    def fork(self, news):
        """Wait until a worker is to be forked. news: what became of the last fork, as headers. Return False where the host has no use for workers."""
        status, _, body = self._request("GET", "/hearth/fork", headers=news)
        if status not in (200, 404):
            raise RuntimeApiError("fork: HTTP status %d: %s" % (status, _text(body)))
        return status == 200

    def response(self, request_id, payload):
        """Hand in a result. Return the HTTP status: 202, or 413 when the payload was too large; others were reported."""
        return self._answer("/invocation/%s/response" % request_id, payload, {})

    def error(self, request_id, error):
        """Hand in an error of one invocation. Return the HTTP status."""
        return self._answer("/invocation/%s/error" % request_id, _error_payload(error), _error_headers(error))

    def init_error(self, error):
        """Say that the function could not be initialised. Return the HTTP status."""
        return self._answer("/init/error", _error_payload(error), _error_headers(error))

    def _answer(self, path, payload, headers):
        status, _, body = self._request("POST", path, payload, {"Content-Type": "application/json", **headers})
        if status >= 500:
            raise RuntimeApiError("%s: HTTP status %d: %s" % (path, status, _text(body)))
        if status not in (202, 413):
            # 400 and 403: the invocation is over (its deadline has passed, say). The next one is none the worse for it.
            _report("hearth_runtime: %s: HTTP status %d: %s" % (path, status, _text(body)))
        return status

    def _request(self, method, path, body=None, headers=None):
        reused = self._connection is not None
        try:
            return self._exchange(method, path, body, headers or {})
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # A server may close a kept-alive connection at any time between two requests: that is worth one more try on a new
            # connection, and only that. A refused or broken new connection is final.
            self.close()
            if not reused:
                raise
            return self._exchange(method, path, body, headers or {})

    def _exchange(self, method, path, body, headers):
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address)
        self._connection.request(method, API + path, body, {**self._headers, **headers})
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def close(self):
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _text(body):
    return body[:500].decode("utf-8", "replace")


def _report(message):
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)


def make_error(error_type, message, stack=()):
    """The error object of the Runtime API."""
    return {"errorMessage": str(message), "errorType": error_type, "stackTrace": list(stack)}


def exception_error(exception):
    """The error object of an exception: its class's name, its text, and the frames that are not this file's."""
    frames = traceback.extract_tb(exception.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<frozen importlib")]
    return make_error(type(exception).__name__, exception, traceback.format_list(own))


def _error_payload(error):
    # ASCII, so that not even a lone surrogate in a message can keep an error from being reported.
    return json.dumps(error).encode("ascii")


def _error_headers(error):
    # A header holds Latin-1 without line ends; a class name may be anything that Python takes for a name.
    error_type = error["errorType"]
    return {"Lambda-Runtime-Function-Error-Type": error_type if error_type.isascii() and error_type.isprintable() else "Unhandled"}


def load_handler(name, root):
    """Import PATH/MODULE.HANDLER from below root and return the handler. Raises HandlerError, or what the module raises."""
    path, dot, attribute = name.rpartition(".")
    if not dot or not path or not attribute:
        raise HandlerError("Runtime.MalformedHandlerName", "Bad handler '%s': want [PATH/]MODULE.HANDLER" % name)
    folder, _, module_name = path.rpartition("/")
    folder = os.path.abspath(os.path.join(root, folder))
    file = os.path.join(folder, *module_name.split(".")) + ".py"
    if not os.path.isfile(file):
        raise HandlerError("Runtime.ImportModuleError", "Unable to import module '%s': no file %s" % (path, file))
    sys.path.insert(0, folder)
    # By file, not by name: a function's folder may be called as a library that the function imports.
    spec = importlib.util.spec_from_file_location(module_name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise HandlerError("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (path, error)) from error
    except SyntaxError as error:
        raise HandlerError("Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (path, error)) from error
    handler = getattr(module, attribute, None)
    if not callable(handler):
        raise HandlerError("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (attribute, path))
    return handler


def run_handler(handler, headers, body):
    """Run one invocation. Return (payload, None), or (None, error) with the error object."""
    try:
        # No payload at all is an empty event, as in AWS's Invoke.
        event = json.loads(body) if body else {}
    except ValueError as error:
        return None, make_error("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error)
    try:
        result = handler(event, Context(headers))
    except Exception as error:
        return None, exception_error(error)
    try:
        return json.dumps(result, ensure_ascii=False, allow_nan=False).encode("utf-8"), None
    except (TypeError, ValueError, RecursionError) as error:
        return None, make_error("Runtime.MarshalError", "Unable to marshal response: %s" % error)


def serve_one(api, handler):
    """Wait for one invocation, run it, hand in what came of it. Return False when there is no more work."""
    invocation = api.next()
    if invocation is None:
        return False
    headers, body = invocation
    request_id = headers["Lambda-Runtime-Aws-Request-Id"]
    if not request_id:
        raise RuntimeApiError("next invocation: no Lambda-Runtime-Aws-Request-Id header")
    trace_id = headers.get("Lambda-Runtime-Trace-Id")
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    try:
        payload, error = run_handler(handler, headers, body)
    except SystemExit as leaving:
        _report("hearth_runtime: the handler called sys.exit(%s)" % leaving.code)
        api.error(request_id, make_error("Runtime.ExitError", "The handler called sys.exit(%s)" % leaving.code))
        raise SystemExit(1) from leaving
    sys.stdout.flush()
    if error is None and api.response(request_id, payload) == 413:
        error = make_error("Function.ResponseSizeTooLarge", "Response payload size (%d bytes) exceeded the limit" % len(payload))
    if error is not None:
        _report("[ERROR] %s: %s\n%s" % (error["errorType"], error["errorMessage"], "".join(error["stackTrace"])))
        api.error(request_id, error)
    return True


def initialise(api, name, root):
    """Load the handler. A failure is handed to the API and ends the process."""
    try:
        return load_handler(name, root)
    except HandlerError as failure:
        cause = failure.__cause__
        error = make_error(failure.error_type, failure, exception_error(cause)["stackTrace"] if cause else ())
    except SystemExit as leaving:
        error = make_error("Runtime.ExitError", "The function called sys.exit(%s) while it was initialised" % leaving.code)
    except Exception as failure:
        error = exception_error(failure)
    _report("[ERROR] %s: %s\n%s" % (error["errorType"], error["errorMessage"], "".join(error["stackTrace"])))
    api.init_error(error)
    raise SystemExit(1)


def _fork():
    with warnings.catch_warnings():
        # Newer Pythons warn of threads, which are looked at below.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _wait(child):
    """Return the exit status of a child, 0 where the function has the kernel reap children."""
    with contextlib.suppress(ChildProcessError):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 0


def other_threads():
    """The names of the threads that a fork would leave behind, though their locks may be held and their work needed in the child."""
    names = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open("/proc/self/task/%s/stat" % task) as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
            if int(task) != os.getpid() and name != HELPER_THREAD and not int(rest.split()[6]) & PF_EXITING:
                names.append(name)
    return sorted(names)


def threads_left():
    """The same after a fork, if there are any: libraries that can live with one (OpenBLAS) end their threads before it, and begin others when they need them again.

    Not without need: memory that has been shared by a fork once is kept from leaving for the pool (docs/adr/0026-zygote.md).
    """
    if not other_threads():
        return []
    child = _fork()
    if child == 0:
        os._exit(0)
    _wait(child)
    return other_threads()


def fork_worker():
    """Fork a worker that is no child of this process, but of who started it and looks after all of them. Return its number, or 0 in the worker."""
    sys.stdout.flush()
    sys.stderr.flush()
    read, write = os.pipe()
    try:
        child = _fork()
        if child == 0:
            try:
                worker = _fork()
            except OSError as error:
                os._exit(error.errno)
            if worker:
                os.write(write, b"%d" % worker)
                os._exit(0)
            return 0
        failed = _wait(child)
        if failed:
            raise OSError(failed, os.strerror(failed)) if failed > 0 else OSError("its parent was killed by signal %d" % -failed)
        worker = os.read(read, 32)
        if not worker:
            raise OSError("its parent did not live to tell of it")
        return int(worker)
    finally:
        os.close(read)
        os.close(write)


def reseed():
    """No two workers draw the same numbers. Python's own generator sees to it itself."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def work(address, handler):
    """The life of a worker, to its end: what the zygote's process has to do at its own exit is not done here."""
    status = 1
    api = RuntimeApi(address, os.getpid())
    try:
        reseed()
        while serve_one(api, handler):
            pass
        status = 0
    except (RuntimeApiError, OSError, http.client.HTTPException) as error:
        _report("hearth_runtime: Runtime API at %s: %s" % (address, str(error) or type(error).__name__))
    except SystemExit:
        pass                    # was reported
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def serve_as_zygote(api, address, handler):
    """Fork workers for as long as there is a host that wants some. Returns where that cannot be: calls are served by this process then."""
    left = threads_left()
    if left:
        _report("hearth_runtime: zygote: the function has %d threads that a fork would lose (%s): calls are run by one process, one at a time" % (len(left), ", ".join(left)))
        return
    # What is there now is never looked at by the collector again: it would write to every page of it, in each worker.
    gc.collect()
    gc.freeze()
    news = {}
    while api.fork(news):
        try:
            worker = fork_worker()
        except OSError as error:
            news = {"Hearth-Fork-Error": str(error)}
            continue
        if worker == 0:
            api.close()
            work(address, handler)
        news = {"Hearth-Forked": str(worker)}


def main(argv):
    address = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    if not address:
        print("hearth_runtime: AWS_LAMBDA_RUNTIME_API is not set: this program is started by a Lambda host", file=sys.stderr)
        return 2
    name = argv[1] if len(argv) > 1 else os.environ.get("_HANDLER", "")
    os.environ["_HANDLER"] = name
    sys.stdout.reconfigure(line_buffering=True)
    api = RuntimeApi(address)
    try:
        api.loaded()
        handler = initialise(api, name, os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd())
        if os.environ.get("HEARTH_ZYGOTE"):
            serve_as_zygote(api, address, handler)
        while serve_one(api, handler):
            pass
        return 0
    except (RuntimeApiError, OSError, http.client.HTTPException) as error:
        _report("hearth_runtime: Runtime API at %s: %s" % (address, str(error) or type(error).__name__))
        return 1
    finally:
        api.close()


if __name__ == "__main__":
    # As a script this is __main__; without its folder on sys.path a function cannot import it by accident.
    sys.path.pop(0)
    sys.exit(main(sys.argv))
