# SPDX-License-Identifier: Apache-2.0
"""The Linpack problem (FunctionBench's linpack): solve a dense random system by LU decomposition, in double precision.

Event: {"n": equations, "seed": of the system}.
Result: {"n", "seed", "operations", "residual", "solution_sum"}. operations is 2n³/3 + 2n², by which Linpack's rate is defined; residual is
HPL's |Ax - b| / (eps (|A| |x| + |b|) n) in maximum norms, right when below 16.
"""

import numpy as np

DEFAULT_N = 1000
MAX_N = 8192


def handler(event, context):
    n = int(event.get("n", DEFAULT_N))
    seed = int(event.get("seed", 1))
    if not 1 <= n <= MAX_N:
        raise ValueError(f"n: {n} is not in 1..{MAX_N}")
    random = np.random.default_rng(seed)
    a = random.random((n, n)) - 0.5
    b = random.random(n) - 0.5
    x = np.linalg.solve(a, b)
    norm_a = np.abs(a).sum(axis=1).max()
    scale = np.finfo(float).eps * (norm_a * np.abs(x).max() + np.abs(b).max()) * n
    residual = np.abs(a @ x - b).max() / scale
    return {"n": n, "seed": seed, "operations": 2 * n**3 // 3 + 2 * n**2, "residual": float(residual), "solution_sum": float(x.sum())}
