#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One process with all devices: layers on each, activations travel from one to the next, gradients back; each step prints the loss

Ends with 77 where there are fewer than two devices. `large` has 1 GiB on each.
"""
import sys

import torch
from program import Program
from torch import nn

#         layers on each, width, batch
SIZES = {'small': (2, 512, 32), 'large': (16, 4096, 64)}


def main():
    if torch.cuda.device_count() < 2:
        print('skipped: two devices are needed')
        sys.exit(77)
    program = Program(__doc__)
    layers, width, batch = SIZES[program.args.size]
    stages = [nn.Sequential(*(m for _ in range(layers) for m in (nn.Linear(width, width), nn.Tanh()))).to(f'cuda:{k}') for k in range(torch.cuda.device_count())]
    optimizer = torch.optim.Adam([p for stage in stages for p in stage.parameters()], lr=1e-3)
    for step in program.steps():
        x = first = torch.randn(batch, width, generator=torch.Generator().manual_seed(step)).to('cuda:0')
        for k, stage in enumerate(stages):
            x = stage(x.to(f'cuda:{k}'))
        loss = (x.to('cuda:0') - first).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        program.done(loss.item().hex())


main()
