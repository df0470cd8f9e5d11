#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a transformer language model from a seed: each step prints its loss exactly

`large` is 12 layers of width 2048 with AdamW in float32: about 15 GiB of device memory, all of it written in every step. The text is a seeded Markov chain, so there is something to learn; batches
are made on the CPU and copied from pinned memory.
"""
import torch
from program import Program
from torch import nn

#         layers, width, heads, batch, length, words
SIZES = {'small': (2, 256, 4, 4, 64, 512), 'large': (12, 2048, 16, 8, 512, 8192)}


class Model(nn.Module):
    def __init__(self, layers, width, heads, length, words):
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Parameter(torch.randn(length, width) * .02)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, words)
        self.register_buffer('mask', nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, text):
        return self.head(self.layers(self.words(text) + self.places, mask=self.mask))


class Text:
    """Each word is followed by one of four."""

    def __init__(self, seed, batch, length, words):
        self.random = torch.Generator().manual_seed(seed)
        self.follows = torch.randint(words, (words, 4), generator=self.random)
        self.shape, self.words = (batch, length), words

    def next(self, pin):
        batch, length = self.shape
        text = torch.empty(batch, length + 1, dtype=torch.long)
        text[:, 0] = torch.randint(self.words, (batch,), generator=self.random)
        choice = torch.randint(4, (batch, length), generator=self.random)
        for i in range(length):
            text[:, i + 1] = self.follows[text[:, i], choice[:, i]]
        return text.pin_memory() if pin else text


def main():
    program = Program(__doc__)
    layers, width, heads, batch, length, words = SIZES[program.args.size]
    model = Model(layers, width, heads, length, words).to(program.device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    text = Text(program.args.seed, batch, length, words)
    for _ in program.steps():
        batch_now = text.next(program.cuda).to(program.device, non_blocking=True)
        optimizer.zero_grad()
        found = model(batch_now[:, :-1])
        loss = nn.functional.cross_entropy(found.flatten(0, 1), batch_now[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        program.done(loss.item().hex())


main()
