# SPDX-License-Identifier: Apache-2.0
"""The product of two dense random matrices (FunctionBench's matmul), double precision, by numpy's BLAS.

Event: {"n": order, "seed": of the matrices}.
Result: {"n", "seed", "sum", "trace", "error"}. error is Freivalds' check, max |(AB)x - A(Bx)| / n for a random x.
"""

import numpy as np

DEFAULT_N = 1024
MAX_N = 8192


def handler(event, context):
    n = int(event.get("n", DEFAULT_N))
    seed = int(event.get("seed", 1))
    if not 1 <= n <= MAX_N:
        raise ValueError(f"n: {n} is not in 1..{MAX_N}")
    random = np.random.default_rng(seed)
    a, b = random.random((n, n)), random.random((n, n))
    product = a @ b
    probe = random.random(n)
    error = np.abs(product @ probe - a @ (b @ probe)).max() / n
    return {"n": n, "seed": seed, "sum": float(product.sum()), "trace": float(np.trace(product)), "error": float(error)}
