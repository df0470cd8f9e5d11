# SPDX-License-Identifier: Apache-2.0
"""A function as people write them: it loads a table, then answers requests from it. Knows nothing of far memory."""
import hashlib
import json
import sys
import time


def load():
    table = [{'id': i, 'name': f'x{i}', 'values': [(i * k) % 9973 / 7 for k in range(8)]} for i in range(60000)]
    return {row['name']: row for row in table}


def handle(rows, number):
    digest = hashlib.sha256()
    for i in range(200):
        digest.update(json.dumps(rows[f'x{(i * 37 + number) % 2000}']).encode())
    return digest.hexdigest()


def main():
    print('ready', flush=True)
    rows = None
    for line in sys.stdin:
        began = time.perf_counter_ns()
        answer = 'ok'
        if line.strip() == 'init':
            rows = load()
        else:
            answer = handle(rows, int(line))
        print(answer, time.perf_counter_ns() - began, flush=True)


main()
