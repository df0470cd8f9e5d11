#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a ResNet from a seed: each step prints its loss exactly

Convolutions through cuDNN, batch normalisation with running statistics, SGD with momentum. Pictures are seeded noise whose mean tells their class. Where the published network has a pooling
whose gradient is not deterministic there is a convolution with stride 2, or a mean.
"""
import torch
from program import Program
from torch import nn

#         blocks per stage, width, batch, picture, classes
SIZES = {'small': ((1, 1, 1, 1), 16, 8, 64, 10), 'large': ((3, 4, 6, 3), 64, 128, 224, 1000)}


class Bottleneck(nn.Module):
    def __init__(self, inside, width, stride):
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width))
        self.short = nn.Identity() if inside == 4 * width and stride == 1 else nn.Sequential(nn.Conv2d(inside, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x):
        return nn.functional.relu(self.way(x) + self.short(x))


def resnet(blocks, width, classes):
    parts, inside = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1)], width
    for stage, count in enumerate(blocks):
        for block in range(count):
            parts.append(Bottleneck(inside, width << stage, 2 if stage and not block else 1))
            inside = 4 * (width << stage)
    return nn.Sequential(*parts, nn.Flatten(2), Mean(), nn.Linear(inside, classes))


class Mean(nn.Module):
    """Over the places of the last stage."""

    def forward(self, x):
        return x.mean(2)


def main():
    program = Program(__doc__)
    blocks, width, batch, picture, classes = SIZES[program.args.size]
    model = resnet(blocks, width, classes).to(program.device)
    optimizer = torch.optim.SGD(model.parameters(), .05, momentum=.9, weight_decay=1e-4)
    random = torch.Generator(program.device).manual_seed(program.args.seed)
    for _ in program.steps():
        labels = torch.randint(classes, (batch,), generator=random, device=program.device)
        pictures = torch.randn(batch, 3, picture, picture, generator=random, device=program.device) + (labels / classes)[:, None, None, None]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pictures), labels)
        loss.backward()
        optimizer.step()
        program.done(loss.item().hex())


main()
