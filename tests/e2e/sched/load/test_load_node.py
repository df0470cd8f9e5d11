#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`hearth load` against a real node: functions behind the gateway."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../node'))
import node_harness as harness                      # noqa: E402

SLOW = "import time, json\ndef handler(event, context):\n    time.sleep(event['service_ns'] / 1e9)\n    return event\n"


def load(node, *args):
    done = node.cli('load', 'http://127.0.0.1:%d' % node.port, *args, '--timeout', '100s', json_out=True, timeout=110)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def deploy_echo(node, *names):
    for name in names:
        node.deploy(name, ['./echo_c'], directory=harness.NATIVE, contract='native', concurrency=16)


def test_functions_are_types(node):
    deploy_echo(node, 'one', 'two')
    got = load(node, '--function', 'one=0.75', '--function', 'two', '--rate', '400', '--duration', '1s', '--warmup', '0', '--flows', '16')
    assert got['loss'] == 0 and got['total']['status'] == {'200': got['total']['due']}, got
    assert sum(got['starts'].values()) == got['total']['due'] and got['starts']['cold'] >= 2, got['starts']
    assert got['types']['one']['due'] > 2 * got['types']['two']['due'] > 0, got
    assert node.metric('hearth_function_requests_total', function='one') == got['types']['one']['due']


def test_a_mix_on_one_function(node):
    node.deploy_lambda('slow', SLOW, max_instances=4)
    got = load(node, '--function', 'slow', '--workload', 'high-bimodal', '--dilate', '100', '--rate', '2k', '--duration', '1s', '-d',
               '{"service_ns":{service_ns},"type":"{type}"}')
    assert got['loss'] == 0, got
    assert got['types']['long']['latency_us']['p50'] >= 10000, got['types']['long']
    assert got['types']['long']['slowdown']['p50'] >= 1, got['types']['long']


def test_azure_trace(node):
    deploy_echo(node, 'one', 'two')
    path = os.path.join(node.dir, 'azure.csv')
    with open(path, 'w', encoding='utf-8') as f:
        f.write('app,func,end_timestamp,duration\n' + ''.join('a,f%d,%g,1\n' % (i % 4, 1 + i) for i in range(100)))
    got = load(node, '--azure', path, '--dilate', '0.005', '--function', 'one', '--function', 'two', '--warmup', '0')
    assert (got['types']['one']['ok'], got['types']['two']['ok']) == (50, 50), got


def test_no_such_function(node):
    got = load(node, '--function', 'none', '--rate', '100', '--duration', '300ms', '--warmup', '0')
    assert got['total']['status'] == {'404': got['total']['due']} and got['total']['ok'] == 0, got


harness.need_full()
harness.main(globals())
