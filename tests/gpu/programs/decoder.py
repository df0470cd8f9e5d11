#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Generates text with a decoder and a KV cache, weights from a seed: each step prints the words it chose, greedily

`large` is 32 layers of width 3072 in bfloat16 (7 GiB of weights, 6 GiB of cache): all but the cache's newest entries stays as it is. With --graph a step is one CUDA graph, replayed.
"""
import torch
from program import Program
from torch import nn

#         layers, width, heads, batch, length, words
SIZES = {'small': (2, 256, 4, 2, 128, 1024), 'large': (32, 3072, 24, 16, 1024, 32000)}


class Layer(nn.Module):
    def __init__(self, width, heads, batch, length):
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        for name in ('keys', 'values'):
            self.register_buffer(name, torch.zeros(batch, heads, length, width // heads))

    def forward(self, x, at, mask):
        """@x: one word of each text; @at: its place, a tensor of one; @mask: what it may look at."""
        batch, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, 3, self.heads, 1, width // self.heads).unbind(1)
        self.keys.index_copy_(2, at, k)
        self.values.index_copy_(2, at, v)
        weights = ((q @ self.keys.transpose(2, 3)) * (width // self.heads) ** -.5 + mask).softmax(3)
        x = x + self.out((weights @ self.values).reshape(batch, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    def __init__(self, layers, width, heads, batch, length, words):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.layers = nn.ModuleList(Layer(width, heads, batch, length) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.register_buffer('places', torch.arange(length))
        self.register_buffer('at', torch.zeros(1, dtype=torch.long))
        self.register_buffer('last', torch.zeros(batch, dtype=torch.long))

    @torch.no_grad()
    def step(self):
        mask = torch.where(self.places <= self.at, 0., float('-inf')).to(self.head.weight.dtype)
        x = self.words(self.last)
        for layer in self.layers:
            x = layer(x, self.at, mask)
        self.last.copy_(self.head(self.norm(x)).argmax(1))
        self.at.copy_((self.at + 1) % len(self.places))


def capture(model):
    """Return: what replays a step. The steps that warm up and the one that is captured are not of the text: the state is put back."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    kept = model.last.clone()
    with torch.cuda.stream(side):
        for _ in range(3):
            model.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model.step()
    model.last.copy_(kept)
    model.at.zero_()
    return graph.replay


def main():
    program = Program(__doc__, lambda parser: parser.add_argument('--graph', action='store_true', help='a step is a CUDA graph'))
    layers, width, heads, batch, length, words = SIZES[program.args.size]
    with program.device:
        torch.set_default_dtype(torch.bfloat16 if program.cuda else torch.float32)
        model = Decoder(layers, width, heads, batch, length, words)
    model.last.copy_(torch.arange(batch, device=program.device))
    step = capture(model) if program.args.graph else model.step
    for _ in program.steps():
        step()
        program.done(','.join(str(word) for word in model.last.tolist()))


main()
