#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fit the generator's constants to a trace in the Azure Functions 2021 format.

    tools/fit_trace.py TRACE.csv > src/trace/fit.h

docs/adr/0009-trace-generator.md says what each constant means and why the model has this shape.
Standard library only; the same file gives the same output.
"""
import csv
import math
import statistics as st
import sys
from collections import defaultdict

PERIODS_S = (60, 120, 180, 300, 600)      # whole-minute schedules that occur
TOPS = (1, 2, 3, 5, 10, 20)               # "the k most called functions have this share of the calls"
QUANTILES = 21                            # reference distributions: 0 %, 5 %, ... 100 %


def load(path):
    """Calls by function as (start, duration), sorted; and the number of applications."""
    by_func, apps = defaultdict(list), set()
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            duration = float(row["duration"])
            start = float(row["end_timestamp"]) - duration
            by_func[row["app"], row["func"]].append((start, duration))
            apps.add(row["app"])
    for calls in by_func.values():
        calls.sort()
    return by_func, len(apps)


def batches(calls):
    """Groups of calls that start within a second of the one before."""
    groups = [[calls[0]]]
    for before, call in zip(calls, calls[1:]):
        if call[0] - before[0] < 1:
            groups[-1].append(call)
        else:
            groups.append([call])
    return groups


def classify(calls):
    """burst: many at once; loop: each begins when the one before ends; timer: the rest."""
    if len(calls) >= 8 and len(batches(calls)) * 4 <= len(calls):
        return "burst"
    follows = [abs(b[0] - (a[0] + a[1])) < 0.05 * (b[0] - a[0]) for a, b in zip(calls, calls[1:])]
    if follows and sum(follows) * 2 > len(follows):
        return "loop"
    return "timer"


def logs(durations):
    return [math.log(max(d, 0.001)) for d in durations]


def robust(values):
    """Mean and spread of a normal from its median and its 16 % and 84 % points: a few odd calls don't pull them."""
    v = sorted(values)
    at = lambda q: quantile(v, q)
    return at(0.5), max((at(0.8413) - at(0.1587)) / 2, 0.01)


def quantile(v, q):
    """Linear interpolation between the order statistics of a sorted list."""
    x = q * (len(v) - 1)
    i = min(int(x), len(v) - 2) if len(v) > 1 else 0
    return v[0] if len(v) == 1 else v[i] + (x - i) * (v[i + 1] - v[i])


def fit_popularity(counts):
    """Zipf-Mandelbrot (rank + q)^-s: the pair with the smallest largest gap between cumulative shares."""
    total, best = sum(counts), (math.inf, 0, 0)
    for q in (i / 10 for i in range(0, 151)):
        for s in (i / 50 for i in range(20, 251)):
            weights = [(r + q) ** -s for r in range(1, len(counts) + 1)]
            norm, a, b, gap = sum(weights), 0.0, 0.0, 0.0
            for c, w in zip(counts, weights):
                a, b = a + c / total, b + w / norm
                gap = max(gap, abs(a - b))
            best = min(best, (gap, q, s))
    return best


def fit_timers(timers):
    """Durations of two kinds of timer (long: over 20 s); how late timers fire after the full minute; where they begin."""
    out = {}
    mus = {f: st.mean(logs(d for _, d in calls)) for f, calls in timers.items()}
    long = {f for f, mu in mus.items() if mu > math.log(20)}
    calls = sum(map(len, timers.values()))
    out["LONG_FUNCTIONS"] = len(long) / len(timers)
    out["LONG_CALLS"] = sum(len(timers[f]) for f in long) / calls
    out["LONG_MU"], out["LONG_SD"] = robust(logs(d for f in long for _, d in timers[f]))
    # Short ones: the spread of all their calls is that between functions (each weighted by its calls) and that within them.
    values = [(mus[f], x) for f in timers if f not in long for x in logs(d for _, d in timers[f])]
    out["SHORT_MU"] = st.mean(x for _, x in values)
    out["SHORT_SD"] = st.pstdev(mu for mu, _ in values)
    out["SHORT_SPREAD_SD"] = math.sqrt(st.mean((x - mu) ** 2 for mu, x in values))
    late = [x for c in timers.values() for x in (s % 60 for s, _ in c) if 0 < x < 5]
    slow = [x for x in late if x > 0.1]
    out["LATE_MU"], out["LATE_SD"] = robust([math.log(x) for x in late if x <= 0.1])
    out["SLOW_SHARE"] = len(slow) / len(late)
    out["SLOW_MU"], out["SLOW_SD"] = robust([math.log(x) for x in slow])
    out["PHASE_ZERO"] = sum(c[0][0] < 30 for c in timers.values()) / len(timers)
    return out


def fit(path):
    by_func, apps = load(path)
    kinds = {f: classify(c) for f, c in by_func.items()}
    of = lambda kind: {f: c for f, c in by_func.items() if kinds[f] == kind}
    counts = sorted(map(len, by_func.values()), reverse=True)
    total = sum(counts)
    starts = sorted(s for c in by_func.values() for s, _ in c)
    durations = sorted(d for c in by_func.values() for _, d in c)
    gaps = sorted(b - a for a, b in zip(starts, starts[1:]))
    out = {"FUNCTIONS": len(by_func), "INVOCATIONS": total, "APPS": apps, "SPAN_S": starts[-1] - starts[0]}
    gap, out["POPULARITY_Q"], out["POPULARITY_S"] = fit_popularity(counts)
    for kind in ("burst", "loop"):
        calls = [c for f in of(kind).values() for c in f]
        if not calls:
            sys.exit(f"{path}: no {kind} function: the model does not describe this trace")
        out[kind.upper() + "_SHARE"] = len(calls) / total
        out[kind.upper() + "_MU"], out[kind.upper() + "_SD"] = robust(logs(d for _, d in calls))
    groups = [g for c in of("burst").values() for g in batches(c)]
    out["BURST_SIZE"] = round(st.mean(map(len, groups)))
    # of an exponential distribution, by its median: one pause in a burst would set the mean
    out["BURST_GAP_S"] = st.median(b[0] - a[0] for g in groups for a, b in zip(g, g[1:])) / math.log(2)
    out.update(fit_timers(of("timer")))
    out["DURATION_MAX_S"] = durations[-1]
    tables = {
        "DURATION_S_AT": [quantile(durations, i / (QUANTILES - 1)) for i in range(QUANTILES)],
        "GAP_S_AT": [quantile(gaps, i / (QUANTILES - 1)) for i in range(QUANTILES)],
        "TOP_SHARE": [sum(counts[:k]) / total for k in TOPS],
    }
    return out, tables, gap


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: tools/fit_trace.py TRACE.csv > src/trace/fit.h", file=sys.stderr)
        return 2
    out, tables, gap = fit(sys.argv[1])
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by tools/fit_trace.py from a trace; not edited by hand. docs/adr/0009-trace-generator.md says what each means. */")
    print("#ifndef TRACE_FIT_H\n#define TRACE_FIT_H\n")
    for name, value in out.items():
        print(f"#define FIT_{name} {value}" if isinstance(value, int) else f"#define FIT_{name} {value:.6g}")
    print(f"/* largest gap between fitted and seen cumulative popularity: {gap:.4f} */\n")
    print("#define FIT_PERIODS_S { " + ", ".join(map(str, PERIODS_S)) + " }")
    print("#define FIT_TOPS { " + ", ".join(map(str, TOPS)) + " }")
    for name, values in tables.items():
        print(f"#define FIT_{name} {{ \\")
        for i in range(0, len(values), 7):
            print("\t" + ", ".join(f"{v:.6g}" for v in values[i:i + 7]) + (", \\" if i + 7 < len(values) else " }"))
    print("\n#endif")
    return 0


if __name__ == "__main__":
    sys.exit(main())
