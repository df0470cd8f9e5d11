#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Loading weights of language models from safetensors files, beside mmap and the Python safetensors loader

Phoenix (SC 2025, figure 12) loads OPT 2.7/6.7/13B, Llama-3-8B, Falcon-7/11B and Qwen2.5-7/14B and needs 54% less time than mmap, 23% less than GDS. Here are files with the tensors of those
models in number, shape and type, weights from a seeded generator; of each model as many layers as --bytes allows, one at least. Every load is verified: the bytes on the device against the generator's.
"""
import json
import mmap
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

import ds  # noqa: E402
from ds import hearth_ds, numpy, torch  # noqa: E402

# hidden, intermediate, layers, vocabulary, share of the hidden size that keys and values have; matrices of the block between (gate and up: 2), biases
MODELS = {
    'opt-2.7b': (2560, 10240, 32, 50272, 1, 1, True), 'opt-6.7b': (4096, 16384, 32, 50272, 1, 1, True), 'opt-13b': (5120, 20480, 40, 50272, 1, 1, True),
    'llama-3-8b': (4096, 14336, 32, 128256, 1 / 4, 2, False), 'falcon-7b': (4544, 18176, 32, 65024, 64 / 4544, 1, False), 'falcon-11b': (4096, 16384, 60, 65024, 1 / 4, 1, False),
    'qwen2.5-7b': (3584, 18944, 28, 152064, 1 / 7, 2, False), 'qwen2.5-14b': (5120, 13824, 48, 152064, 1 / 5, 2, False),
}
PIECE = 1 << 20


def options(parser):
    parser.add_argument('--models', type=lambda s: s.split(','), default=list(MODELS), metavar='M,M...', help='of ' + ', '.join(MODELS))
    parser.add_argument('--bytes', type=lambda s: int(float(s)), default=1 << 30, metavar='N', help='of each model at most so many, whole layers, one at least; 0: all of it (default 1 GiB)')


def layer(n, hidden, inner, kv, ups, biases):
    """Names and shapes of one layer's tensors."""
    shapes = {'self_attn.q_proj': (hidden, hidden), 'self_attn.k_proj': (round(hidden * kv), hidden), 'self_attn.v_proj': (round(hidden * kv), hidden), 'self_attn.o_proj': (hidden, hidden),
              'mlp.up_proj': (inner, hidden), 'mlp.down_proj': (hidden, inner), 'input_layernorm': (hidden,), 'post_attention_layernorm': (hidden,)}
    if ups == 2:
        shapes['mlp.gate_proj'] = (inner, hidden)
    found = {f'model.layers.{n}.{name}.weight': shape for name, shape in shapes.items()}
    if biases:
        found.update({f'model.layers.{n}.{name}.bias': shape[:1] for name, shape in shapes.items()})
    return found


def size(shapes):
    return sum(2 * int(numpy.prod(shape)) for shape in shapes.values())


def tensors_of(model, limit):
    hidden, inner, layers, words, kv, ups, biases = MODELS[model]
    shapes = {'model.norm.weight': (hidden,)}
    for n in range(layers):
        more = layer(n, hidden, inner, kv, ups, biases)
        if limit and n > 0 and size(shapes) + size(more) > limit:
            break
        shapes.update(more)
    embedding = {'model.embed_tokens.weight': (words, hidden)}
    return {**embedding, **shapes} if not limit or size(shapes) + size(embedding) <= limit else shapes


def piece(seed, k):
    """The k-th MiB of a file's data."""
    return numpy.random.Generator(numpy.random.SFC64([seed, k])).integers(0, 256, PIECE, 'u1')


def write(path, shapes, seed):
    header, at = {'__metadata__': {'format': 'pt'}}, 0
    for name, shape in shapes.items():
        n = 2 * int(numpy.prod(shape))
        header[name] = {'dtype': 'F16', 'shape': list(shape), 'data_offsets': [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for k in range(0, at, PIECE):
            file.write(piece(seed, k // PIECE)[:at - k].tobytes())
    return at, 8 + len(text)


def verify(model, loaded, data_at, seed):
    """Each tensor's bytes, as they are on the device, against the generator's. @loaded: what load_safetensors() returned, as DLPack."""
    lib = hearth_ds._lib()
    for exported in loaded.values():
        placed = lib.loaded_at(exported._loaded.handle, exported._k).contents
        begin, memory = placed.tensor.contents.offset - data_at, hearth_ds.Memory.__new__(hearth_ds.Memory)
        memory.device, memory.nbytes, memory.address, memory.owner, memory.handle = exported.device, exported.nbytes, placed.at, exported, None
        memory.handle = lib.make(lib.register, hearth_ds._device(memory.device), memory.address, memory.nbytes)
        there = ds.contents(memory)
        for k in range(begin // PIECE, (begin + exported.nbytes - 1) // PIECE + 1):
            first, last = max(begin, k * PIECE), min(begin + exported.nbytes, (k + 1) * PIECE)
            if not numpy.array_equal(there[first - begin:last - begin], piece(seed, k)[first - k * PIECE:last - k * PIECE]):
                ds.wrong(f'{model}, {exported.name}')
        lib.release(memory.handle)


def by_mmap(path, device, shapes, data_at):
    """Every tensor copied out of a mapping of the file, as loaders without a library do."""
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        found, at = [], data_at
        for shape in shapes.values():
            n = 2 * int(numpy.prod(shape))
            view = numpy.frombuffer(mapping, 'u1', n, at)
            found.append(view.copy() if device == 'host' else torch.tensor(view, device=device))
            at += n
            del view
    if device != 'host':
        torch.cuda.synchronize()
    return found


def by_safetensors(path, device):
    """None where the Python package is not installed."""
    try:
        if device == 'host':
            from safetensors.numpy import load_file
            return lambda: load_file(path)
        from safetensors.torch import load_file
        return lambda: load_file(path, device=device)
    except ImportError:
        return None


def measure(e, model, folder):
    """Return: a row for the CSV file: bytes, tensors, then seconds cold and warm of each loader."""
    args, path, shapes = e.args, os.path.join(folder, f'{model}.safetensors'), tensors_of(model, e.args.bytes)
    nbytes, data_at = write(path, shapes, args.seed)
    row = {'bytes': nbytes, 'tensors': len(shapes)}
    loaders = {'ours': lambda: hearth_ds.load_safetensors(path, args.device, framework='dlpack'), 'python': by_safetensors(path, args.device),
               'mmap': (lambda: by_mmap(path, args.device, shapes, data_at)) if args.device == 'host' or torch else None}
    ds.settle(path)
    for cache, before in (('cold', ds.out_of_cache), ('warm', ds.into_cache)):
        found = ds.in_turns(args.repeat, loaders, lambda: before(path), lambda name, result: verify(model, result, data_at, args.seed) if name == 'ours' else None)
        row.update({f'{name} {cache}': seconds for name, seconds in found.items()})
    os.unlink(path)
    return row


def main():
    e = ds.begin('ds-safetensors', __doc__, ('published', 'ours', 'mmap', 'Python'), options)
    unknown = set(e.args.models) - set(MODELS)
    if unknown:
        sys.exit(f"hearth experiment: there is no model {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    with ds.Folder(e) as folder:
        rows = {model: measure(e, model, folder) for model in e.args.models}
    keys = ['bytes', 'tensors'] + [f'{name} {cache}' for cache in ('cold', 'warm') for name in ('ours', 'mmap', 'python')]
    e.csv(['model', 'device'] + [key.replace(' ', '_') + ('' if key in ('bytes', 'tensors') else '_s') for key in keys],
          [[model, e.args.device] + ['' if row[key] is None else row[key] for key in keys] for model, row in rows.items()])
    e.plot(lambda axes: draw(axes[0], rows))
    for cache in ('cold', 'warm'):
        for model, row in rows.items():
            e.row(f"{model}, {row['bytes'] / 1e9:.2f} GB to {e.args.device}, {cache}: GB/s", None, *(row[f'{name} {cache}'] and row['bytes'] / row[f'{name} {cache}'] / 1e9 for name in ('ours', 'mmap', 'python')))
    both = [(row['ours cold'], row['mmap cold']) for row in rows.values() if row['mmap cold']]
    if both:
        e.row('less time than mmap, cold, %', 54, 100 * (1 - sum(ours / other for ours, other in both) / len(both)), None, None)
    for cache in ('cold', 'warm'):
        both = [row[f'python {cache}'] / row[f'ours {cache}'] for row in rows.values() if row[f'python {cache}']]
        if both:
            e.row(f'times as fast as the Python loader, {cache}', None, sum(both) / len(both), None, None)
    e.finish()


def draw(axis, rows):
    for k, (name, colour) in enumerate((('ours', 'tab:red'), ('mmap', 'tab:blue'), ('python', 'tab:gray'))):
        for cache, alpha in (('cold', 1), ('warm', .5)):
            points = [(n, row['bytes'] / row[f'{name} {cache}'] / 1e9) for n, row in enumerate(rows.values()) if row[f'{name} {cache}']]
            axis.bar([n + k * .25 + (.12 if cache == 'warm' else 0) for n, _ in points], [y for _, y in points], .12, color=colour, alpha=alpha, label=f'{name}, {cache}')
    axis.set_xticks(range(len(rows)), list(rows), rotation=40, ha='right', fontsize=8)
    axis.set_ylabel('GB/s')
    axis.legend(fontsize=8)


main()
