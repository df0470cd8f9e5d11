#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hearth-init with real runtimes of the lambda contract."""
import json, os, shutil, sys, time
from channel import *

HERE = os.path.dirname(os.path.abspath(__file__))


def runtime(name, **kw):
    i = Instance('lambda', [sys.executable, HERE + '/runtime.py', name], api_port=free_port(), **kw)
    i.connect()
    return i


def invoke(ch, id, body=b'{}', **meta):
    ch.send(INVOKE, id=id, arg=1999999999999, meta={'request_id': f'req-{id}', **meta}, body=body)


def test_shell_bootstrap_from_the_documentation():
    for tool in ('curl', '/bin/bash'):
        if not shutil.which(tool):
            raise SkipTest(tool + ' is not installed')
    with Instance('lambda', [HERE + '/bootstrap.sh'], api_port=free_port()) as i:
        ch = i.connect()
        i.ready()
        for n in range(1, 6):
            invoke(ch, n, b'{"n":%d}' % n)
            r = ch.expect(RESULT)
            assert (r.id, r.arg, r.body) == (n, OK, b"Echoing request: '{\"n\":%d}'" % n), r
        assert b'{"n":5}' in ch.log[2], ch.log


def test_all_headers_on_one_connection():
    with runtime('headers') as i:
        ch = i.ch
        i.ready()
        pids = set()
        for n in range(1, 301):
            invoke(ch, n, b'"\xc3\xa9"', arn='arn:aws:lambda:x', trace_id='Root=1-2', content_type='text/x', client_context='e30=', cognito_identity='{"a":1}')
            r = ch.expect(RESULT)
            doc = json.loads(r.body)
            pids.add(doc['pid'])
            assert r.id == n and r.arg == OK
        h = doc['headers']
        assert h['lambda-runtime-aws-request-id'] == 'req-300' and h['lambda-runtime-deadline-ms'] == '1999999999999'
        assert h['lambda-runtime-invoked-function-arn'] == 'arn:aws:lambda:x' and h['lambda-runtime-trace-id'] == 'Root=1-2'
        assert h['lambda-runtime-client-context'] == 'e30=' and h['lambda-runtime-cognito-identity'] == '{"a":1}'
        assert h['content-type'] == 'text/x' and doc['event'] == '"\u00e9"' and len(pids) == 1


def test_error_and_its_log_come_in_order():
    with runtime('fail') as i:
        i.ready()
        invoke(i.ch, 1)
        r = i.ch.expect(RESULT)
        assert r.arg == FUNCTION_ERROR and r.meta['error_type'] == 'Function.Oops' and json.loads(r.body)['errorType'] == 'Oops'
        assert i.ch.log[1] == b'about to fail\n'


def test_streamed_response_is_collected():
    with runtime('stream') as i:
        i.ready()
        body = os.urandom(7_000_000)
        invoke(i.ch, 1, body)
        r = i.ch.expect(RESULT)
        assert r.arg == OK and r.body == body and r.meta['content_type'] == 'text/plain'


def test_too_large_response():
    with runtime('huge') as i:
        i.ready()
        for n in (1, 2):
            invoke(i.ch, n)
            r = i.ch.expect(RESULT)
            assert r.arg == FUNCTION_ERROR and r.meta['error_type'] == 'Function.ResponseSizeTooLarge', r
        assert b'413 RequestEntityTooLarge\n' in i.ch.log[1]


def test_second_invocation_is_refused():
    with runtime('slow') as i:
        i.ready()
        invoke(i.ch, 1)
        invoke(i.ch, 2)
        r = i.ch.expect(RESULT)
        assert (r.id, r.arg) == (2, REFUSED)
        r = i.ch.expect(RESULT)
        assert (r.id, r.arg, r.body) == (1, OK, b'late')


def test_result_waits_for_the_next_connection():
    with runtime('slow') as i:
        i.ready()
        invoke(i.ch, 7)
        i.ch.close()
        ch = i.connect()
        assert ch.hello.id == 7 and ch.hello.flags == 1
        ch.close()
        time.sleep(0.7)         # until the function has answered, with nobody there
        ch = i.connect()
        assert ch.hello.id == 7
        r = ch.expect(RESULT)
        assert (r.id, r.body) == (7, b'late')
        ch.close()
        assert i.connect().hello.id == 0


def test_crash_mid_request():
    with runtime('crash') as i:
        i.ready()
        invoke(i.ch, 1)
        assert i.exited() & 0x7f == 11 and i.code == 139


def test_init_error():
    with runtime('init_error') as i:
        e = i.ch.expect(INIT_ERROR)
        assert e.meta['error_type'] == 'Runtime.Import' and json.loads(e.body)['errorType'] == 'ImportError'
        assert i.exited() == 1 << 8 and i.code == 1 and i.ch.log[1] == b'202\n'


def test_garbage_http():
    with runtime('garbage') as i:
        i.ready()
        for n in (1, 2, 3):
            invoke(i.ch, n)
            assert i.ch.expect(RESULT).body == b'still here'


def test_garbage_frames_end_the_connection_only():
    with runtime('headers') as i:
        i.ready()
        for junk in (os.urandom(64), pack(HELLO), pack(STOP, arg=99), b'\xff' * 32):
            i.ch.s.sendall(junk)
            try:
                i.ch.frame()
                assert False, 'still connected'
            except (EOFError, ConnectionResetError):
                pass
            i.connect()
        invoke(i.ch, 1)
        assert i.ch.expect(RESULT).id == 1


main(globals())
