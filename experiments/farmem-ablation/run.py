#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What each part of the policy is worth: all of it, without segments, without semi-warm, without prefetch, and keep-alive, under a trace, live

FaaSMem (ASPLOS 2024) does this with bert over eight hours of two traces; so is it here, with the traces and the compression of farmem-benchmarks: see there.
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import farmem  # noqa: E402
from experiment import Experiment  # noqa: E402

# name: (policy, the functions' farmem)
VARIANTS = {
    'keepalive': ('keepalive', None), 'all of it': ('hearth', None), 'without segments': ('hearth', '{segments: false}'),
    'without semi-warm': ('hearth', '{min_idle: 24h}'), 'without prefetch': ('hearth', '{prefetch: false}'),
}


def add_options(parser):
    farmem.options(parser)
    parser.set_defaults(functions=['bert'])
    farmem.trace_options(parser)


def main():
    e = Experiment('farmem-ablation', __doc__, add_options=add_options, simulates=False, columns=('local, MiB', 'pool, MiB', 'to keep-alive, %', 'P95 to keep-alive, %', 'faults', 'prefetched pages', 'errors'))
    compress = farmem.factor(e.args)
    engine, _ = farmem.engine()
    found = {}
    try:
        with tempfile.TemporaryDirectory(prefix='hearth-fm-') as folder:
            trace, what = farmem.trace_of(e.args, folder)
            for name, (policy, knobs) in VARIANTS.items():
                found[name] = farmem.measure(e.args, policy, trace, compress, e.args.functions, **({'farmem': knobs} if knobs else {}))
    except farmem.Broken as error:
        sys.exit(f'hearth experiment: {error}')
    base = found['keepalive']
    e.row(f"{', '.join(e.args.functions)}; {what}, {compress} times faster; engine {engine}", *[None] * len(e.columns))
    for name, one in found.items():
        e.row(name, farmem.of_all(one, 'local_mib'), one['pool'], farmem.change(one, base, 'local_mib'), farmem.change(one, base, 'p95_ms'), farmem.of_all(one, 'faults'),
              farmem.of_all(one, 'prefetched_pages'), one['errors'])
    e.csv(['variant', 's', 'local_mib'], [[name, at, mib] for name, one in found.items() for at, mib in one['series']])
    e.plot(lambda axes: draw(axes[0], found))
    e.finish()


def draw(axis, found):
    for name, one in found.items():
        axis.plot([at for at, _ in one['series']], [mib for _, mib in one['series']], label=name)
    axis.set_xlabel('time, s')
    axis.set_ylabel('local memory, MiB')
    axis.legend(fontsize=8)


main()
