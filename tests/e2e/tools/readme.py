#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Everything that README tells to type exists: make targets, hearth's sub-commands, scripts, files and links; its examples are those of docs/examples."""
import os
import re
import subprocess
import sys


def commands(text):
    """The lines of README's sh blocks, without comments and here-documents."""
    for block in re.findall(r'^```sh\n(.*?)^```', text, re.M | re.S):
        end = None
        for line in block.splitlines():
            if end:
                end = None if line == end else end
                continue
            here = re.search(r"<<'?(\w+)'?", line)
            end = here.group(1) if here else None
            line = re.sub(r'\s#\s.*', '', line).strip()
            if line and not line.startswith('#'):
                yield line


def make_targets(source):
    with open(os.path.join(source, 'Makefile'), encoding='utf-8') as file:
        return set(re.findall(r'^([\w-]+):', file.read(), re.M))


def sub_commands(build):
    """The sub-commands that hearth --help lists; None while the program is not built."""
    program = os.path.join(build, 'bin', 'hearth')
    if not os.path.exists(program):
        return None
    text = subprocess.run([program, '--help'], stdout=subprocess.PIPE, check=False, text=True).stdout
    return set(re.findall(r'^\s+(?:hearth )?([a-z]+(?:-[a-z]+)*)\b', text, re.M))


def check(line, source, targets, subs):
    """Return: what is wrong with one line, or None."""
    words = [w for w in line.replace('sudo ', '').split() if '=' not in w or w.startswith('-')]
    if not words:
        return None
    if words[0] == 'make':
        unknown = [w for w in words[1:] if w not in targets]
        return f'make has no target {unknown[0]}' if unknown else None
    if os.path.basename(words[0]) == 'hearth':
        # without the program there is nothing to compare with; its own tests say so
        return f'hearth has no sub-command {words[1]}' if subs is not None and len(words) > 1 and words[1] not in subs else None
    if words[0].startswith('tools/') and not os.access(os.path.join(source, words[0]), os.X_OK):
        return f'{words[0]} is no program'
    return None


def broken_links(text, source):
    for link in re.findall(r'\]\(([^)#]+)\)', text):
        if '://' not in link and not os.path.exists(os.path.join(source, link)):
            yield f'README links to {link}, which is not there'


EXAMPLES = ('hello/hello.py', 'hello/function.yaml', 'count/count.c', 'count/function.yaml')


def other_examples(text, source):
    """README shows the examples as they are in docs/examples, but for the licence line."""
    for name in EXAMPLES:
        with open(os.path.join(source, 'docs', 'examples', name), encoding='utf-8') as file:
            shown = ''.join(line for line in file if 'SPDX-License-Identifier' not in line)
        if f'\n{shown}```\n' not in text:
            yield f'README does not show docs/examples/{name} as it is'


def main():
    source, build = sys.argv[1:3]
    with open(os.path.join(source, 'README.md'), encoding='utf-8') as file:
        text = file.read()
    targets, subs = make_targets(source), sub_commands(build)
    lines = list(commands(text))
    wrong = [w for w in (check(line, source, targets, subs) for line in lines) if w] + list(broken_links(text, source)) + list(other_examples(text, source))
    for what in ('make demo', 'make test'):
        if what not in lines:
            wrong.append(f'README does not tell "{what}"')
    print('\n'.join(wrong) if wrong else f'{len(lines)} commands checked' + ('' if subs else ' (hearth is not built: its sub-commands were not)'))
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
