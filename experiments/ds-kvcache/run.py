#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fetching KV-cache blocks by id from a store, in the order that conversations ask for them, beside one read a block and mmap

Phoenix (SC 2025, figure 11) replays four traces with blocks of 8, 16 and 64 KiB and is 246, 101 and 5% faster than GDS. The traces give the ids of the blocks of each round of each conversation;
one of them is fragmented (runs of 1.36 blocks). A store is filled in the order of ids; then each round is one batch. Every block that was read is verified. Where the traces are not there a
seeded generator makes some of the same shape, and the table calls them synthetic.
"""
import ctypes
import mmap
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import ds  # noqa: E402
from ds import hearth_ds, numpy, torch  # noqa: E402

TRACES = ('gsm100', 'paper_assit', 'quality', 'sharegpt-sample-200')
# rounds of each conversation, and how many blocks a round has: what the traces have on average
SHAPES = {'gsm100': (100, 2, 168, False), 'paper_assit': (23, 2, 341, False), 'quality': (15, 2, 214, False), 'sharegpt-sample-200': (197, 7, 15, True)}
PUBLISHED = {8: 246, 16: 101, 64: 5}
PUT_BATCH = 1024


def options(parser):
    beside = os.path.join(ds.HERE, '..', '..', 'shared', 'data', 'kvcache')
    parser.add_argument('--traces', default=beside, metavar='DIR', help='where the traces are; without them synthetic ones are made')
    parser.add_argument('--names', type=lambda s: s.split(','), default=list(TRACES), metavar='T,T...', help='of ' + ', '.join(TRACES))
    parser.add_argument('--sizes', type=lambda s: [int(v) for v in s.split(',')], default=[8, 16, 64], metavar='K,K...', help='of blocks, KiB (8,16,64)')
    parser.add_argument('--blocks', type=int, default=8192, metavar='N', help='of each trace, the first so many; 0: all (%(default)s)')


def parse(path):
    with open(path, encoding='utf-8') as file:
        return [[int(block) for block in line.split(',')] for line in re.findall(r'^Round \d+-\w+: \[([\d, ]+)\]', file.read(), re.M)]


def synthetic(name, seed):
    """Documents are read in one piece. Conversations that go on at the same time get their blocks one by one in turns, so that those of a round lie apart."""
    conversations, rounds, mean, fragmented = SHAPES[name]
    rng, block, made = random.Random(f'{seed} {name}'), 0, []
    for _ in range(rounds):
        batch = [(k, max(1, round(rng.expovariate(1 / mean)))) for k in range(conversations)]
        lists = [[] for _ in batch]
        if fragmented:
            left = [k for k, n in batch for _ in range(n)]
            rng.shuffle(left)
            for k in left:
                lists[k].append(block)
                block += 1
        else:
            for k, n in batch:
                lists[k] = list(range(block, block + n))
                block += n
        made += lists
    return made


def trace(args, name):
    """Return: rounds, each a list of ids, and whether they are synthetic."""
    path = os.path.join(args.traces, name + '.txt')
    found = os.path.exists(path)
    rounds, taken = [], 0
    for blocks in parse(path) if found else synthetic(name, args.seed):
        if args.blocks and taken + len(blocks) > args.blocks:
            blocks = blocks[:args.blocks - taken]
        if blocks:
            rounds.append(blocks)
        taken += len(blocks)
        if args.blocks and taken >= args.blocks:
            break
    return rounds, not found


def runs(rounds):
    """Blocks that follow one another, on average."""
    return sum(map(len, rounds)) / sum(1 for blocks in rounds for k, block in enumerate(blocks) if k == 0 or block != blocks[k - 1] + 1)


def pattern(ids, nbytes, seed):
    """What the blocks hold: different at every place of every block."""
    words = numpy.arange(nbytes // 8, dtype='u8')[None, :] * numpy.uint64(0x9e3779b97f4a7c15)
    return words ^ (numpy.asarray(ids, 'u8')[:, None] * numpy.uint64(0xbf58476d1ce4e5b9) + numpy.uint64(seed))


def fill(path, ids, nbytes, seed):
    """A store with these blocks, in the order of their ids. Return: it."""
    store = hearth_ds.KVStore(path, 'x', nbytes, checked=False)
    memory = hearth_ds.Memory(PUT_BATCH * nbytes)
    view = numpy.frombuffer(memory.buffer(), 'u8')
    for k in range(0, len(ids), PUT_BATCH):
        some = ids[k:k + PUT_BATCH]
        view[:len(some) * nbytes // 8] = pattern(some, nbytes, seed).reshape(-1)
        store.put(store.batch([(block, 0, i * nbytes) for i, block in enumerate(some)], memory))
    store.commit()
    return store


class Reader:
    """All rounds of a trace by one way. Blocks of a round lie side by side in memory, as they are asked for."""

    def __init__(self, args, store, rounds, positions, nbytes):
        self.args, self.store, self.rounds, self.positions, self.nbytes = args, store, rounds, positions, nbytes
        self.memory = hearth_ds.Memory(max(map(len, rounds)) * nbytes, args.device)
        self.batches = [store.batch([(block, 0, i * nbytes) for i, block in enumerate(blocks)], self.memory) for blocks in rounds]
        self.data = os.path.join(args.store, 'data')

    def check(self, blocks, name):
        there = ds.contents(self.memory)[:len(blocks) * self.nbytes].view('u8').reshape(len(blocks), -1)
        if not numpy.array_equal(there, pattern(blocks, self.nbytes, self.args.seed)):
            ds.wrong(name)

    def clear(self):
        """So that what one way left is not taken for what the next one read."""
        zeros = hearth_ds.Memory(self.memory.nbytes)
        ctypes.memset(zeros.address, 0, zeros.nbytes)
        fd = os.memfd_create('hearth-ds-zeros')
        with hearth_ds.File(f'/proc/self/fd/{fd}', 'r+') as file:
            file.write(zeros)
            file.read(self.memory)
        os.close(fd)

    def ours(self, checked=False):
        for blocks, batch in zip(self.rounds, self.batches):
            lib = hearth_ds._lib()
            if lib.kv_get(self.store.handle, batch, batch.count) != len(blocks):
                ds.wrong('a batch')
            if checked:
                self.check(blocks, 'a batch')

    def one_by_one(self, checked=False):
        with hearth_ds.File(self.data) as file:
            for blocks in self.rounds:
                for i, block in enumerate(blocks):
                    file.read(self.memory, self.positions[block] * self.nbytes, self.nbytes, i * self.nbytes)
                if checked:
                    self.check(blocks, 'one by one')

    def by_mmap(self, checked=False):
        """Each block is copied out of a mapping: into memory of the host, and from there to the device."""
        room = numpy.empty(self.memory.nbytes, 'u1') if self.memory.device != 'host' else numpy.frombuffer(self.memory.buffer(), 'u1')
        with open(self.data, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
            view = numpy.frombuffer(mapping, 'u1')
            for blocks in self.rounds:
                for i, block in enumerate(blocks):
                    at = self.positions[block] * self.nbytes
                    room[i * self.nbytes:(i + 1) * self.nbytes] = view[at:at + self.nbytes]
                if self.memory.device != 'host':
                    torch.from_numpy(room[:len(blocks) * self.nbytes]).to(self.memory.device)
                    torch.cuda.synchronize()
                elif checked:
                    self.check(blocks, 'mmap')
            del view


def measure(e, name, kib, folder):
    """Return: a row for the CSV file."""
    args, nbytes = e.args, kib << 10
    rounds, made = trace(args, name)
    ids = sorted({block for blocks in rounds for block in blocks})
    args.store = os.path.join(folder, f'{name}-{kib}')
    with fill(args.store, ids, nbytes, args.seed) as store:
        reader = Reader(args, store, rounds, {block: k for k, block in enumerate(ids)}, nbytes)
        ways = {'ours': reader.ours, 'one': reader.one_by_one, 'mmap': reader.by_mmap if args.device == 'host' or torch else None}
        row = {'trace': name, 'synthetic': int(made), 'kib': kib, 'blocks': sum(map(len, rounds)), 'rounds': len(rounds), 'run': runs(rounds)}
        ds.settle(reader.data)
        for run in filter(None, ways.values()):
            reader.clear()
            run(checked=True)
        found = ds.in_turns(args.repeat, ways, lambda: ds.out_of_cache(reader.data))
        row.update({way: seconds and row['blocks'] * nbytes / seconds / 1e9 for way, seconds in found.items()})
    return row


def draw(axis, rows):
    for k, (way, colour) in enumerate((('ours', 'tab:red'), ('one', 'tab:blue'), ('mmap', 'tab:gray'))):
        points = [(n, row[way]) for n, row in enumerate(rows) if row[way]]
        axis.bar([n + k * .27 for n, _ in points], [y for _, y in points], .27, color=colour, label={'one': 'one by one'}.get(way, way))
    axis.set_xticks(range(len(rows)), [f"{row['trace']} {row['kib']}K" + ('*' if row['synthetic'] else '') for row in rows], rotation=60, ha='right', fontsize=7)
    axis.set_ylabel('GB/s' + (' (*: synthetic)' if any(row['synthetic'] for row in rows) else ''))
    axis.legend(fontsize=8)


def main():
    e = ds.begin('ds-kvcache', __doc__, ('published', 'ours', 'one by one', 'mmap'), options)
    unknown = set(e.args.names) - set(TRACES)
    if unknown or not e.args.sizes or any(kib < 1 for kib in e.args.sizes):
        sys.exit(f"hearth experiment: --names takes {', '.join(TRACES)}; --sizes whole numbers of KiB")
    rows = []
    with ds.Folder(e) as folder:
        for kib in e.args.sizes:
            rows += [measure(e, name, kib, folder) for name in e.args.names]
    keys = ['trace', 'synthetic', 'kib', 'blocks', 'rounds', 'run', 'ours', 'one', 'mmap']
    e.csv(['trace', 'synthetic', 'block_kib', 'blocks', 'rounds', 'blocks_in_a_run', 'ours_gb_s', 'one_by_one_gb_s', 'mmap_gb_s'], [['' if row[key] is None else row[key] for key in keys] for row in rows])
    e.plot(lambda axes: draw(axes[0], rows))
    for row in rows:
        e.row(f"{row['trace']}{', synthetic' if row['synthetic'] else ''}, {row['kib']} KiB, {row['blocks']} blocks: GB/s", None, row['ours'], row['one'], row['mmap'])
    for kib in e.args.sizes:
        some = [row for row in rows if row['kib'] == kib]
        e.row(f'{kib} KiB: more than one by one (published: than GDS), %', PUBLISHED.get(kib), 100 * (sum(row['ours'] / row['one'] for row in some) / len(some) - 1), None, None)
    e.finish()


main()
