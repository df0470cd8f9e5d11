#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a zygote's workers cost beside instances that are started cold and clones of one image: time to the first answer, and memory for so many calls at a time

Three ways to have a place for one more call of a function that is loaded already somewhere. Time: from the call to its answer, where the place for it has to be made first, and where it is there. Memory: what the
control groups of all the function's instances are charged, with so many places that each have run calls. Nothing moves memory meanwhile, and nobody else calls.
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import farmem  # noqa: E402
from experiment import Experiment  # noqa: E402

WAYS = ('cold', 'clone', 'fork')
LAMBDA = tuple(name for name in farmem.FUNCTIONS if name != 'html_server')
PATIENCE_S = 120


def add_options(parser):
    farmem.options(parser)
    parser.set_defaults(functions=['chameleon', 'graph_bfs', 'bert'])
    parser.add_argument('--runs', type=int, default=5, metavar='N', help='starts of each kind (%(default)s)')
    parser.add_argument('--places', type=int, default=4, metavar='N', help='calls at a time (%(default)s)')


def until(what, condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise farmem.Broken(f'waited {PATIENCE_S} s in vain for {what}')
        time.sleep(.05)


class Ways:
    """One function on a node, deployed for one way after the other; each deployment ends what ran before."""

    def __init__(self, node, name, places):
        self.node, self.name, self.places = node, name, places

    def deploy(self, way, **keys):
        if way == 'clone':
            keys = {'park': 'snapshot', **keys}
        if way == 'fork':
            keys = {'zygote': 'true', 'concurrency': str(self.places), 'worker_idle': '1h', 'memory': '4GiB', **keys}
        self.node.deploy(self.name, keep_s=3600, **keys)
        if way == 'clone':
            until('a snapshot', lambda: self.node.ps()['functions'][0]['snapshot'])
        if way == 'fork':
            until('a zygote', lambda: self.living() and self.living()[0]['state'] == 'hot')

    def living(self):
        return [i for i in self.node.ps()['instances'] if i['state'] not in ('stopping', 'parked')]

    def first(self, way):
        """Return: (ms to the first answer, ms of the next one)"""
        self.deploy(way, **({'min_instances': '1'} if way == 'fork' else {}))
        until('what ran before to end', lambda: len(self.living()) == (way == 'fork'))
        ms, how = self.node.invoke(self.name)
        if how != {'cold': 'cold', 'clone': 'wake', 'fork': 'hot'}[way]:
            raise farmem.Broken(f'{self.name}: a {how} start instead of: {way}')
        return ms, self.node.invoke(self.name)[0]

    def held(self, way):
        """How many places there are."""
        return sum(i['workers'] or 0 if way == 'fork' else i['state'] == 'hot' for i in self.living())

    def memory(self, way):
        """MiB, with all places made and used."""
        keys = {'cold': {'min_instances': str(self.places)}, 'clone': {}, 'fork': {'min_instances': '1'}}[way]
        self.deploy(way, max_instances='1' if way == 'fork' else str(self.places), **keys)
        until(f'{self.places} places', lambda: self.crowd() and self.held(way) == self.places)
        self.crowd()
        return sum(i['memory_bytes'] for i in self.living()) / farmem.MIB

    def crowd(self):
        """Calls at a time, as many as there are places for and some that wait."""
        broken = []

        def some():
            try:
                for _ in range(3):
                    self.node.invoke(self.name)
            except (farmem.Broken, OSError) as error:
                broken.append(error)
        threads = [threading.Thread(target=some) for _ in range(2 * self.places)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if broken:
            raise broken[0]
        return True


def main():
    e = Experiment('farmem-zygote', __doc__, add_options=add_options, simulates=False, columns=('started cold', 'cloned', 'forked', 'is there'))
    if not set(e.args.functions) <= set(LAMBDA):
        sys.exit('hearth experiment: html_server has no zygote: it is of the http contract')
    rows = []
    try:
        for name in e.args.functions:
            with farmem.Node(e.args, 'keepalive') as node:
                until('the probe', lambda node=node: node.ps()['node']['can_park'] or node.ps()['node']['no_park'])
                ways = [way for way in WAYS if way != 'clone' or node.ps()['node']['can_park']]
                of = Ways(node, name, e.args.places)
                times = {way: [of.first(way) for _ in range(e.args.runs)] for way in ways}
                memory = {way: of.memory(way) for way in ways}
            first = {way: farmem.median([t[0] for t in times[way]]) for way in ways}
            e.row(f'{name}: call to answer, ms', *(first.get(way) for way in WAYS), farmem.median([t[1] for t in times['cold']]))
            e.row(f'{name}: {e.args.places} at a time, MiB', *(memory.get(way) for way in WAYS), None)
            rows += [[name, way, ms, again, memory[way]] for way in ways for ms, again in times[way]]
    except farmem.Broken as error:
        sys.exit(f'hearth experiment: {error}')
    e.csv(['function', 'way', 'first_ms', 'next_ms', f'mib_of_{e.args.places}'], rows)
    e.finish()


main()
