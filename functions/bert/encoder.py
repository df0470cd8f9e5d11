# SPDX-License-Identifier: Apache-2.0
"""BERT's encoder (Devlin et al., 2018) for inference, in numpy with 32-bit floats.

The architecture is the published one: sums of word, position and segment embeddings, normalised; layers of multi-head attention and a
feed-forward network, each followed by a residual connection and layer normalisation; a tanh pooler on the first token; a linear classifier.
The weights are those of an untrained BERT: matrices from a normal distribution of standard deviation 0.02 cut off at two of them, biases 0,
layer normalisation 1 and 0.
"""

import dataclasses

import numpy as np

EPSILON = np.float32(1e-12)
STDDEV = np.float32(0.02)


@dataclasses.dataclass(frozen=True)
class Config:
    """The size of a model; the defaults are BERT-base's."""

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    feed_forward: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    segments: int = 2
    labels: int = 2

    def __post_init__(self):
        if self.hidden % self.heads:
            raise ValueError(f"hidden: {self.hidden} is not a multiple of heads: {self.heads}")


def truncated_normal(random, *shape):
    """Values of a normal distribution, those beyond two standard deviations drawn again."""
    values = random.standard_normal(shape, dtype=np.float32)
    flat = values.reshape(-1)
    # In blocks: the search for what is beyond needs no array as large as the weights.
    for start in range(0, flat.size, 1 << 20):
        block = flat[start : start + (1 << 20)]
        beyond = np.flatnonzero(np.abs(block) > 2)
        while beyond.size:
            block[beyond] = random.standard_normal(beyond.size, dtype=np.float32)
            beyond = beyond[np.abs(block[beyond]) > 2]
    values *= STDDEV
    return values


def _ones(*shape):
    return np.ones(shape, np.float32)


def _zeros(*shape):
    return np.zeros(shape, np.float32)


def make_weights(config, seed):
    """Return the weights as a dictionary of arrays. Matrices have the shape (inputs, outputs); query, key and value are one matrix."""
    random = np.random.default_rng(seed)
    hidden, wide = config.hidden, config.feed_forward
    weights = {
        "word": truncated_normal(random, config.vocabulary, hidden),
        "position": truncated_normal(random, config.positions, hidden),
        "segment": truncated_normal(random, config.segments, hidden),
        "norm.scale": _ones(hidden),
        "norm.shift": _zeros(hidden),
    }
    for layer in range(config.layers):
        for name, inputs, outputs in (("qkv", hidden, 3 * hidden), ("out", hidden, hidden), ("up", hidden, wide), ("down", wide, hidden)):
            weights[f"{layer}.{name}.matrix"] = truncated_normal(random, inputs, outputs)
            weights[f"{layer}.{name}.bias"] = _zeros(outputs)
        for name in ("norm1", "norm2"):
            weights[f"{layer}.{name}.scale"] = _ones(hidden)
            weights[f"{layer}.{name}.shift"] = _zeros(hidden)
    for name, outputs in (("pooler", hidden), ("classifier", config.labels)):
        weights[f"{name}.matrix"] = truncated_normal(random, hidden, outputs)
        weights[f"{name}.bias"] = _zeros(outputs)
    return weights


def normalise(x, scale, shift):
    """Layer normalisation over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + EPSILON) * scale + shift


def gelu(x):
    """The Gaussian error linear unit in the tanh form that BERT's own code uses."""
    return np.float32(0.5) * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)))


def softmax(x):
    """Along the last axis."""
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


class Encoder:
    """A model of given weights."""

    def __init__(self, config, weights):
        self.config = config
        self.weights = weights

    def _linear(self, x, name):
        return x @ self.weights[name + ".matrix"] + self.weights[name + ".bias"]

    def _normalise(self, x, name):
        return normalise(x, self.weights[name + ".scale"], self.weights[name + ".shift"])

    def _attention(self, x, layer):
        tokens, heads = len(x), self.config.heads
        size = self.config.hidden // heads
        # (tokens, 3 * hidden) to three arrays (heads, tokens, size)
        query, key, value = self._linear(x, f"{layer}.qkv").reshape(tokens, 3, heads, size).transpose(1, 2, 0, 3)
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(size))
        mixed = (softmax(scores) @ value).transpose(1, 0, 2).reshape(tokens, heads * size)
        return self._linear(mixed, f"{layer}.out")

    def encode(self, numbers, segments):
        """The last layer's states, an array (tokens, hidden), of one sequence of tokens."""
        weights = self.weights
        if not 0 < len(numbers) <= self.config.positions:
            raise ValueError(f"{len(numbers)} tokens, not 1..{self.config.positions}")
        x = weights["word"][numbers] + weights["position"][: len(numbers)] + weights["segment"][segments]
        x = self._normalise(x, "norm")
        for layer in range(self.config.layers):
            x = self._normalise(x + self._attention(x, layer), f"{layer}.norm1")
            wide = gelu(self._linear(x, f"{layer}.up"))
            x = self._normalise(x + self._linear(wide, f"{layer}.down"), f"{layer}.norm2")
        return x

    def pool(self, states):
        """The sequence as one vector: the first token's state through a dense tanh layer."""
        return np.tanh(self._linear(states[:1], "pooler"))[0]

    def classify(self, pooled):
        """The probabilities of the labels."""
        return softmax(self._linear(pooled, "classifier"))
