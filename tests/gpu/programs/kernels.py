#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kernels that were compiled while it runs (Triton), and matrix products (cuBLAS), on state that each step changes: prints a digest
"""
import torch
import triton
import triton.language as tl
from program import Program

SIZES = {'small': 512, 'large': 8192}


@triton.jit
def turn(words, n, step, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    old = tl.load(words + at, mask=at < n, other=0)
    tl.store(words + at, (old ^ (old >> 7)) * 1664525 + at + step, mask=at < n)


@triton.jit
def count(words, table, n, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    word = tl.load(words + at, mask=at < n, other=0)
    tl.atomic_add(table + (word & 1023), 1, mask=at < n)


def main():
    program = Program(__doc__)
    side = SIZES[program.args.size]
    n = side * side
    words = torch.arange(n, dtype=torch.int32, device=program.device)
    table = torch.zeros(1024, dtype=torch.int32, device=program.device)
    matrix = torch.randn(side, side, device=program.device) / side ** .5
    vectors = torch.randn(side, 16, device=program.device)
    for step in program.steps():
        turn[(triton.cdiv(n, 1024),)](words, n, step, block=1024)
        count[(triton.cdiv(n, 1024),)](words, table, n, block=1024)
        vectors = torch.tanh(matrix @ vectors + table[:16] / n)
        program.done(f'{int(table.square().sum())}:{int(words.sum())}:{vectors.double().sum().item().hex()}')


main()
