# SPDX-License-Identifier: Apache-2.0
"""A Lambda runtime on one keep-alive connection, and functions for it that behave or misbehave; the first argument names one."""
import http.client, json, os, sys, time

BASE = '/2018-06-01/runtime/'
conn = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])


def call(method, path, body=None, headers={}, **kw):
    conn.request(method, BASE + path, body, headers, **kw)
    r = conn.getresponse()
    return r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read()


def loop(handler):
    while True:
        _, h, event = call('GET', 'invocation/next')
        handler(h['lambda-runtime-aws-request-id'], h, event)


def headers(id, h, event):
    call('POST', f'invocation/{id}/response', json.dumps({'headers': h, 'event': event.decode(), 'pid': os.getpid()}))


def fail(id, h, event):
    print('about to fail', flush=True)
    call('POST', f'invocation/{id}/error', json.dumps({'errorMessage': 'no', 'errorType': 'Oops'}), {'Lambda-Runtime-Function-Error-Type': 'Function.Oops'})


def stream(id, h, event):
    parts = [event[i:i + 1000] for i in range(0, len(event), 1000)]
    call('POST', f'invocation/{id}/response', iter(parts), {'Transfer-Encoding': 'chunked', 'Lambda-Runtime-Function-Response-Mode': 'streaming',
         'Content-Type': 'text/plain'}, encode_chunked=True)


def huge(id, h, event):
    status, _, body = call('POST', f'invocation/{id}/response', b'x' * 6291557)
    print(status, json.loads(body)['errorType'], flush=True)


def crash(id, h, event):
    os.kill(os.getpid(), 11)


def slow(id, h, event):
    print('slow begins', flush=True)
    time.sleep(0.5)         # the function's work; the test hangs up meanwhile
    call('POST', f'invocation/{id}/response', b'late')


def garbage(id, h, event):
    import socket
    host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
    for junk in (b'\x16\x03\x01garbage\r\n\r\n', b'GET\r\n\r\n', b'POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n', os.urandom(4000)):
        with socket.create_connection((host, int(port))) as s:
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    call('POST', f'invocation/{id}/response', b'still here')


def init_error():
    print(call('POST', 'init/error', b'{"errorMessage":"no module","errorType":"ImportError"}', {'Lambda-Runtime-Function-Error-Type': 'Runtime.Import'})[0], flush=True)
    sys.exit(1)


if sys.argv[1] == 'init_error':
    init_error()
loop(globals()[sys.argv[1]])
