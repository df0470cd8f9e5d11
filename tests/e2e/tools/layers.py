#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An include in the wrong direction does not compile.

For every part a probe is compiled exactly as one of the part's own sources is (compile_commands.json): with a header of each part that it may use,
which must work, and of each that it may not, which must fail because the header is not found.
"""
import json
import os
import shlex
import subprocess
import sys
import tempfile

# Who may include whom; the arrows of docs/ARCHITECTURE.md.
MAY_USE = {
    'base': set(),
    'cuda': {'base'},
    'fn': set(),
    'ds': {'base', 'cuda'},
    'cufile': {'base', 'cuda'},       # and hearth/ds.h
    'init': {'base', 'fn'},
    'ckpt': {'base', 'shim', 'cuda'},         # the keeper's end of its wire format; and hearth/ds.h
    'shim': {'base'},
    'http': {'base'},
    'trace': {'base'},
    'sched': {'base'},
    'farmem': {'base'},
    'box': {'base', 'ckpt', 'fn'},
    'node': {'base', 'fn', 'ckpt', 'http', 'box', 'sched', 'farmem'},
    'hearthd': {'base', 'node'},
    'hearth': {'base', 'cuda', 'cufile', 'ckpt', 'node', 'trace', 'sched', 'farmem', 'http'},    # cufile: its interface, to measure beside; ckpt: images; node: only what doctor probes and where the state is; http: the metrics of `hearth serve`
}


def public_header(source, part):
    """One public header of a part, as others include it; None while it has none."""
    folder = os.path.join(source, 'src', part, 'inc', part)
    names = sorted(n for n in os.listdir(folder) if n.endswith('.h')) if os.path.isdir(folder) else []
    return f'{part}/{names[0]}' if names else None


def part_of(source, file):
    relative = os.path.relpath(file, os.path.join(source, 'src'))
    return relative.split(os.sep)[0]


def compile_commands(source, build):
    """Of each part: the flags that its sources are compiled with."""
    flags = {}
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as file:
        for entry in json.load(file):
            path = os.path.join(entry['directory'], entry['file'])
            words = shlex.split(entry['command'])
            keep = [w for at, w in enumerate(words) if at and (w.startswith(('-I', '-isystem', '-D', '-std')) or words[at - 1] == '-isystem')]
            flags.setdefault(part_of(source, os.path.realpath(path)), (words[0], keep, entry['directory']))
    return flags


def includes(command, header, folder):
    """Compile a probe. Return: (worked, the compiler's words)."""
    compiler, flags, directory = command
    probe = os.path.join(folder, 'probe.c')
    with open(probe, 'w', encoding='utf-8') as file:
        file.write(f'#include "{header}"\n')
    done = subprocess.run([compiler, *flags, '-fsyntax-only', probe], cwd=directory, stderr=subprocess.PIPE, check=False, text=True)
    return done.returncode == 0, done.stderr


def check(part, other, command, header, folder):
    """Return: what is wrong, or None."""
    worked, words = includes(command, header, folder)
    if other == part:
        return None if worked else f'{part} cannot include its own {header}:\n{words}'
    if other in MAY_USE[part]:
        # it may, but need not: a part that does not use it does not list it
        return None if worked or 'No such file' in words or 'not found' in words else f'{part} cannot include {header}:\n{words}'
    if worked:
        return f'{part} must not be able to include {header}, but can'
    if 'No such file' not in words and 'not found' not in words:
        return f'{part} includes {header} and fails for another reason:\n{words}'
    return None


def main():
    source, build = (os.path.realpath(p) for p in sys.argv[1:3])
    commands = compile_commands(source, build)
    headers = {part: public_header(source, part) for part in MAY_USE}
    wrong, checked = [], 0
    for part in os.listdir(os.path.join(source, 'src')):
        if part not in MAY_USE:
            wrong.append(f'src/{part} has no place among the layers: say in {__file__} whom it may use')
    with tempfile.TemporaryDirectory() as folder:
        for part, command in sorted(commands.items()):
            for other, header in headers.items():
                if part in MAY_USE and header:
                    wrong.append(check(part, other, command, header, folder))
                    checked += 1
    wrong = [w for w in wrong if w]
    print('\n'.join(wrong) if wrong else f'{checked} pairs of parts checked')
    if not checked:
        print('nothing was checked')
    return 1 if wrong or not checked else 0


if __name__ == '__main__':
    sys.exit(main())
