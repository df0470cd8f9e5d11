#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training with NCCL, a process for each device: gradients are summed over all, each step prints the loss

Ends with 77 where there are fewer than two devices. `large` has 1 GiB of weights on each.
"""
import builtins
import os
import sys
import tempfile

import torch
import torch.multiprocessing
from torch import distributed, nn

RANKS_MAX = 8
#         layers, width, batch
SIZES = {'small': (4, 512, 32), 'large': (16, 4096, 64)}


def work(rank, ranks, meeting):
    from program import Program
    if rank > 0:
        builtins.print = lambda *args, **kwargs: None
    torch.cuda.set_device(rank)
    program = Program(__doc__)
    distributed.init_process_group('nccl', init_method=f'file://{meeting}', rank=rank, world_size=ranks, device_id=torch.device('cuda', rank))
    layers, width, batch = SIZES[program.args.size]
    with program.device:
        model = nn.Sequential(*(m for _ in range(layers) for m in (nn.Linear(width, width), nn.Tanh())))
    optimizer = torch.optim.SGD(model.parameters(), lr=.01)
    data = torch.Generator(device='cuda').manual_seed(program.args.seed + rank)
    for _ in program.steps():
        x = torch.randn(batch, width, generator=data, device='cuda')
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        for p in model.parameters():
            distributed.all_reduce(p.grad)
        optimizer.step()
        total = loss.detach().clone()
        distributed.all_reduce(total)
        program.done(total.item().hex())
    distributed.destroy_process_group()


def main():
    ranks = min(torch.cuda.device_count(), RANKS_MAX)
    if ranks < 2:
        print('skipped: two devices are needed')
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (ranks, os.path.join(folder, 'meeting')), ranks)


if __name__ == '__main__':
    main()
