# SPDX-License-Identifier: Apache-2.0
"""A sentence, or a pair, classified by a BERT-base transformer (FaaSMem's bert), in numpy.

Initialisation draws the 110 million weights (418 MiB) from $BERT_SEED and runs the model once, as model servers do to warm up; $BERT_LAYERS
makes a smaller model. There is no trained model here: the work and the memory are BERT's, the labels mean nothing.
Event: {"text", "pair": a second sentence, "max_tokens"}.
Result: {"tokens", "label", "probabilities", "embedding": the first eight of the pooled vector's numbers, "norm": its length}.
"""

import os

import numpy as np

from encoder import Config, Encoder, make_weights
from tokenizer import encode

TEXT = "A function that nobody calls should give its memory back, and take no time to be awake again."

CONFIG = Config(layers=int(os.environ.get("BERT_LAYERS", "12")))
MODEL = Encoder(CONFIG, make_weights(CONFIG, int(os.environ.get("BERT_SEED", "1"))))


def handler(event, context):
    max_tokens = int(event.get("max_tokens", 128))
    if not 3 <= max_tokens <= CONFIG.positions:
        raise ValueError(f"max_tokens: {max_tokens} is not in 3..{CONFIG.positions}")
    numbers, segments = encode(event.get("text", TEXT), event.get("pair"), CONFIG.vocabulary, max_tokens)
    pooled = MODEL.pool(MODEL.encode(numbers, segments))
    probabilities = MODEL.classify(pooled)
    return {
        "tokens": len(numbers),
        "label": int(probabilities.argmax()),
        "probabilities": [float(p) for p in probabilities],
        "embedding": [float(x) for x in pooled[:8]],
        "norm": float(np.linalg.norm(pooled)),
    }


# The first pass allocates what BLAS works in and touches every weight: that is not left to the first caller.
handler({}, None)
