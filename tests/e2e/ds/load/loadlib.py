# SPDX-License-Identifier: Apache-2.0
"""Safetensors files, written as the format says and by nothing of ours."""
import json
import os
import random
import struct

BUILD = os.environ.get('HEARTH_BUILD', 'build')
os.environ.setdefault('HEARTH_DS_LIBRARY', os.path.join(BUILD, 'src', 'ds', 'libhearth-ds.so.0'))

BITS = {'BOOL': 8, 'U8': 8, 'I8': 8, 'F8_E4M3': 8, 'F8_E5M2': 8, 'F8_E8M0': 8, 'U16': 16, 'I16': 16, 'F16': 16, 'BF16': 16, 'U32': 32, 'I32': 32, 'F32': 32, 'U64': 64, 'I64': 64, 'F64': 64,
        'C64': 64}


def tensors(seed, count=30, large=200000):
    """{name: (dtype, shape, bytes)}: every type, scalars, tensors without elements, and one that is large."""
    rng, made = random.Random(seed), {}
    for k in range(count):
        dtype = list(BITS)[k % len(BITS)]
        shape = [rng.choice((0, 1, 2, 3, 17, 64)) for _ in range(rng.randrange(4))]
        made[f'layers.{k}.weight'] = (dtype, shape)
    made['scalar'], made['large'] = ('F32', []), ('BF16', [large])
    result = {}
    for name, (dtype, shape) in made.items():
        n = BITS[dtype] // 8
        for size in shape:
            n *= size
        # of BOOL every byte is 0 or 1
        result[name] = (dtype, shape, bytes(b & 1 for b in rng.randbytes(n)) if dtype == 'BOOL' else rng.randbytes(n))
    return result


def write(path, named, metadata=None, blanks=3):
    header, at = {'__metadata__': metadata} if metadata else {}, 0
    for name, (dtype, shape, data) in named.items():
        header[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode() + b' ' * blanks
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + b''.join(data for _, _, data in named.values()))
    return path


def write_set(folder, named, files=3):
    """Return: the path of the index."""
    names, where = list(named), {}
    for k in range(files):
        part = f'model-{k + 1:05}-of-{files:05}.safetensors'
        write(os.path.join(folder, part), {name: named[name] for name in names[k::files]}, {'format': 'pt'})
        where.update(dict.fromkeys(names[k::files], part))
    path = os.path.join(folder, 'model.safetensors.index.json')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump({'metadata': {'total_size': sum(len(data) for _, _, data in named.values())}, 'weight_map': where}, file)
    return path
