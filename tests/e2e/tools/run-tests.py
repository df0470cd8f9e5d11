#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/run-tests counts right: it is run on a small project with tests of every outcome."""
import os
import re
import subprocess
import sys
import tempfile

TESTS = {
    'good': ('exitcode', 'exit 0'),
    'bad': ('exitcode', 'echo the reason of bad; exit 1'),
    'skipped': ('exitcode', 'echo no such device; exit 77'),
    'tap': ('tap', r'printf "1..4\nok 1 - a\nok 2 - b\nnot ok 3 - c\nok 4 - d # SKIP not here\n"; exit 1'),
    'died': ('tap', r'printf "1..2\nok 1 - a\n"; kill -9 $$'),
}


def make_project(folder, names):
    lines = ["project('p')"]
    for name in names:
        protocol, script = TESTS[name]
        path = os.path.join(folder, f'{name}.sh')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(f'#!/bin/sh\n{script}\n')
        os.chmod(path, 0o755)
        # the same name once more, of another suite and protocol, must not be mixed up with it
        lines.append(f"test('{name}', find_program('{name}.sh'), suite: 'bench', protocol: 'exitcode')")
        lines.append(f"test('{name}', find_program('{name}.sh'), suite: 'unit', protocol: '{protocol}')")
    with open(os.path.join(folder, 'meson.build'), 'w', encoding='utf-8') as file:
        file.write('\n'.join(lines) + '\n')
    subprocess.run(['meson', 'setup', os.path.join(folder, 'build'), folder], stdout=subprocess.DEVNULL, check=True)


def run(source, names):
    """Return: run-tests' exit status and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        make_project(folder, names)
        done = subprocess.run([os.path.join(source, 'tools', 'run-tests'), os.path.join(folder, 'build')], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout


def expect(what, got, wanted, output):
    if got != wanted:
        print(output)
        sys.exit(f'{what}: got {got!r}, wanted {wanted!r}')


def main():
    source = sys.argv[1]
    status, output = run(source, TESTS)
    expect('all kinds', (status, output.splitlines()[-1]), (1, '4 passed, 3 failed, 2 skipped'), output)
    for line in ('the reason of bad', 'skipped: skipped: no such device', r'skipped: \S+: not here'):
        expect(line, bool(re.search(line, output)), True, output)
    status, output = run(source, ['good'])
    expect('only good', (status, output.splitlines()[-1]), (0, '1 passed, 0 failed'), output)
    status, output = run(source, ['skipped'])
    expect('nothing but skips', (status, output.splitlines()[-1]), (1, '0 passed, 1 failed, 1 skipped'), output)
    status, output = run(source, [])
    expect('no tests', (status, output.splitlines()[-1]), (1, '0 passed, 1 failed'), output)
    print('counts are right')


if __name__ == '__main__':
    main()
