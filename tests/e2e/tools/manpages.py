#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The man pages say what the programs do: every sub-command, option, manifest key, configuration key and metric has its place, and every page is installed
and renders without a warning."""
import os
import re
import shutil
import subprocess
import sys


def read(*path):
    with open(os.path.join(*path), encoding='utf-8') as file:
        return file.read()


def plain(text):
    """A page without its macros' escapes: \\- is -, \\fB is nothing."""
    text = re.sub(r'\\f[BIRP]|\\&', '', text).replace('\\-', '-')
    return re.sub(r'^\.[A-Z]{1,2} |"', '', text, flags=re.M)


def section(text, name):
    found = re.search(rf'^\.SH {name}\n(.*?)(?=^\.SH |\Z)', text, re.M | re.S)
    return plain(found.group(1)) if found else ''


def run(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True).stdout


def options(text):
    return set(re.findall(r'(?<![\w-])--?[a-zA-Z][a-z-]*', text))


def check_synopsis(pages, name, usage):
    """Options of the usage line of --help (up to the first empty line) that the page's SYNOPSIS lacks."""
    page = next((p for p in pages if p.rsplit('.', 1)[0] == name), None)
    if not page:
        return [f'{name} has no page']
    missing = options(usage.split('\n\n')[0]) - options(section(pages[page], 'SYNOPSIS'))
    return [f'{page}: SYNOPSIS lacks {o}' for o in sorted(missing)]


def check_commands(pages, build):
    hearth = os.path.join(build, 'bin', 'hearth')
    names = re.findall(r'^  ([a-z]+) ', run(hearth, 'help'), re.M)
    wrong = [] if len(names) > 10 else [f'hearth help lists {len(names)} commands only']
    for name in names:
        wrong += check_synopsis(pages, f'hearth-{name}', run(hearth, name, '--help'))
        if not re.search(rf'\bhearth-{name} ?\(1\)', plain(pages['hearth.1'])):
            wrong.append(f'hearth.1 does not name hearth-{name}(1)')
    return wrong + check_synopsis(pages, 'hearthd', run(os.path.join(build, 'bin', 'hearthd'), '--help'))


def check_words(pages, page, what, words, before=r'\.TP\n\.BR? '):
    """Each of the words is the head of a paragraph, or stands where @before says."""
    heads = set(re.findall(rf'^{before}([a-z_]+)\b', pages[page], re.M))
    return [] if words and set(words) <= heads else [f'{page}: {what} {w} is missing' for w in sorted(set(words) - heads)] or [f'no {what} found']


def check_tables(pages, source):
    node = os.path.join(source, 'src', 'node')
    metrics = read(node, 'metrics.c') + read(node, 'metrics_sched.c')
    names = set(re.findall(r'"(hearth_[a-z_]*[a-z])"', metrics)) | {f'hearth_function_{n}_total' for n in re.findall(r'FAMILY\("([a-z_]+)"', metrics)}
    return (check_words(pages, 'hearth-function.5', 'key', re.findall(r'^\tKEY\("([a-z_]+)"', read(node, 'manifest.c'), re.M))
            + check_words(pages, 'hearthd.8', 'key', re.findall(r'^\tKEY\(([a-z_]+),', read(node, 'config.c'), re.M))
            + check_words(pages, 'hearth-serve.1', 'key', re.findall(r'^\t(?:TYPE_)?KEY\(([a-z_]+),', read(source, 'src', 'sched', 'dispatch', 'config.c'), re.M))
            + [f'hearth-serve.1: metric {m} is missing' for m in re.findall(r'"hearth_serve_([a-z_]*[a-z])"', read(source, 'src', 'sched', 'dispatch', 'metrics.c'))
               if not re.search(rf'\b{m}\b', section(pages['hearth-serve.1'], 'METRICS'))]
            + check_words(pages, 'hearthd.8', 'metric', names, before='')
            + [f'hearth-control.7: operation {op} is missing' for op in re.findall(r'\{ "([a-z]+)", op_', read(node, 'control.c'))
               if not re.search(rf'^\.B[R]? (?:[a-z ",]*\b)?{op}\b', pages['hearth-control.7'], re.M)])


def check_installed(pages, source):
    listed = set(re.findall(r"'([\w-]+\.\d)'", read(source, 'man', 'meson.build')))
    return [f'man/meson.build and man/ differ: {p}' for p in sorted(listed ^ set(pages))]


def check_rendering(pages, source):
    if not shutil.which('groff'):
        print('groff is not installed: pages were not rendered')
        return []
    said = {p: run('groff', '-ww', '-man', '-Tutf8', '-P-c', '-z', os.path.join(source, 'man', p)) for p in pages}
    return [f'{p}: {text.strip()}' for p, text in said.items() if text.strip()]


def main():
    source, build = sys.argv[1:3]
    folder = os.path.join(source, 'man')
    pages = {name: read(folder, name) for name in sorted(os.listdir(folder)) if re.search(r'\.\d$', name)}
    wrong = check_commands(pages, build) + check_tables(pages, source) + check_installed(pages, source) + check_rendering(pages, source)
    print('\n'.join(wrong) if wrong else f'{len(pages)} pages checked')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
