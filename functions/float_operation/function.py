# SPDX-License-Identifier: Apache-2.0
"""Scalar floating-point work: sines, cosines and square roots, added up one by one (FunctionBench's float_operation).

Event: {"n": how many numbers}. Result: {"n", "sin", "cos", "sqrt"}: the three sums over i = 0 .. n-1.
"""

import math

DEFAULT_N = 150_000
MAX_N = 100_000_000


def handler(event, context):
    n = int(event.get("n", DEFAULT_N))
    if not 0 <= n <= MAX_N:
        raise ValueError(f"n: {n} is not in 0..{MAX_N}")
    sines = cosines = roots = 0.0
    for i in range(n):
        sines += math.sin(i)
        cosines += math.cos(i)
        roots += math.sqrt(i)
    return {"n": n, "sin": sines, "cos": cosines, "sqrt": roots}
