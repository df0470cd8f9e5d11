#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draw the report of a replay: one self-contained page (inline SVG, no script, nothing fetched).

    tools/report.py DIR/report.json [OUT.html]      without OUT.html: DIR/report.html
"""
import html
import json
import math
import os
import sys

MIB, GIB = 1 << 20, 1 << 30
KINDS = ("cold", "wake", "warm", "hot")
LAYOUTS = (("wide", 1080, 330), ("narrow", 540, 300))       # one drawing for wide windows, one for narrow: text keeps its size

STYLE = """
:root { color-scheme: light dark; --page: #f7f6f3; --card: #ffffff; --text: #1f2328; --soft: #626a73; --rule: #e3e1dc; --grid: #ecebe7;
  --hearth: #d4500b; --hearth-fill: #d4500b33; --keep: #64748b; --keep-fill: #64748b22; --cold: #2f6fde; --wake: #8b46d6; --warm: #b88a00; --hot: #d4500b;
  --good: #1a7f4b; --bad: #c02626; --note: #fff4d6; --note-rule: #e3b341; --note-text: #6b4d00; }
@media (prefers-color-scheme: dark) { :root { --page: #14161a; --card: #1c1f25; --text: #e6e8eb; --soft: #9aa4b0; --rule: #2d323a; --grid: #282c33;
  --hearth: #ff8a4c; --hearth-fill: #ff8a4c40; --keep: #94a3b8; --keep-fill: #94a3b826; --cold: #6ea3ff; --wake: #bd8cff; --warm: #e0b93f; --hot: #ff8a4c;
  --good: #4fc788; --bad: #ff7b72; --note: #362b0e; --note-rule: #8a6d1d; --note-text: #f3d98b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1128px; margin: 0 auto; padding: 28px 24px 40px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; } h2 { font-size: 17px; margin: 0 0 2px; }
p { margin: 0; } .soft { color: var(--soft); } .small { font-size: 13px; }
.note { background: var(--note); border: 1px solid var(--note-rule); color: var(--note-text); border-radius: 8px; padding: 10px 14px; margin: 16px 0 0; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px; margin: 20px 0; }
.tile, section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.tile { padding: 14px 16px; } .tile .name { color: var(--soft); font-size: 13px; } .tile .value { font-size: 30px; line-height: 1.25; font-weight: 650; letter-spacing: -0.02em; }
.tile .more { color: var(--soft); font-size: 13px; } .good { color: var(--good); } .bad { color: var(--bad); }
section { padding: 18px 20px; margin: 0 0 16px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft); margin: 8px 0 4px; }
.legend i { display: inline-block; width: 18px; height: 10px; border-radius: 2px; margin-right: 6px; vertical-align: baseline; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; } svg.narrow { display: none; }
svg text { fill: var(--soft); } svg text.strong { fill: var(--text); font-weight: 600; } svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--rule); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; margin-top: 8px; }
th { font-weight: 500; color: var(--soft); font-size: 13px; } th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th:last-child, td:last-child { padding-right: 0; } tbody tr:last-child td { border-bottom: 0; }
.zero { color: var(--soft); opacity: 0.6; } footer { color: var(--soft); font-size: 13px; } footer p { margin-top: 6px; }
@media (max-width: 760px) { main { padding: 20px 14px 32px; } .tiles { grid-template-columns: repeat(2, 1fr); gap: 10px; } .tile .value { font-size: 25px; }
  section { padding: 14px; } svg.wide { display: none; } svg.narrow { display: block; } .extra { display: none; } th, td { padding: 6px 5px; font-size: 12.5px; } th { font-size: 12px; } }
"""


def esc(text):
    return html.escape(str(text))


def duration(ms):
    """A latency with its unit, in about three digits."""
    if ms >= 10_000:
        return f"{ms / 1000:.1f} s"
    if ms >= 1000:
        return f"{ms / 1000:.2f} s"
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms" if ms >= 1 else f"{ms * 1000:.0f} µs"


def nice_step(top, ticks):
    """The smallest of 1, 2, 5 times a power of ten that divides 0..top into at most that many steps."""
    raw = max(top, 1e-9) / ticks
    power = 10 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)


def points(pairs):
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def memory_chart(report, name, width, height):
    rows = report["series"]
    left, right, top, bottom = 62, 12, 14, 40
    unit, unit_name = (GIB, "GiB") if max(max(r["keepalive_bytes"], r["hearth_bytes"]) for r in rows) >= 2 * GIB else (MIB, "MiB")
    t_end = max(rows[-1]["t_s"], 0.001)
    v_top = max(max(r["keepalive_bytes"], r["hearth_bytes"]) for r in rows) / unit * 1.04 or 1
    x = lambda t: left + t / t_end * (width - left - right)
    y = lambda v: height - bottom - v / unit / v_top * (height - top - bottom)
    out = [f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" aria-label="Memory over time: Hearth against plain keep-alive">']
    step = nice_step(v_top, 5)
    for i in range(int(v_top / step) + 1):
        v = i * step
        out.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(v * unit):.1f}" y2="{y(v * unit):.1f}"/>'
                   f'<text x="{left - 8}" y="{y(v * unit) + 4:.1f}" text-anchor="end">{v:g}</text>')
    out.append(f'<text x="14" y="{(top + height - bottom) / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {(top + height - bottom) / 2:.0f})">memory, {unit_name}</text>')
    step = nice_step(t_end, 10 if width > 800 else 6)
    for i in range(int(t_end / step) + 1):
        out.append(f'<line class="axis" x1="{x(i * step):.1f}" x2="{x(i * step):.1f}" y1="{height - bottom}" y2="{height - bottom + 5}"/>'
                   f'<text x="{x(i * step):.1f}" y="{height - bottom + 19}" text-anchor="middle">{i * step:g}</text>')
    out.append(f'<text x="{(left + width - right) / 2:.0f}" y="{height - 4}" text-anchor="middle">seconds of the replay</text>')
    for key, colour in (("keepalive_bytes", "keep"), ("hearth_bytes", "hearth")):
        # A value holds until the next sample; keep-alive changes in steps, so both are drawn as steps.
        line = []
        for a, b in zip(rows, rows[1:] + [rows[-1]]):
            line += [(x(a["t_s"]), y(a[key])), (x(b["t_s"]), y(a[key]))]
        area = [(line[0][0], y(0))] + line + [(line[-1][0], y(0))]
        out.append(f'<polygon points="{points(area)}" fill="var(--{colour}-fill)"/><polyline points="{points(line)}" fill="none" stroke="var(--{colour})" stroke-width="1.8" stroke-linejoin="round"/>')
    last = report["memory"]["horizon_s"]
    if last <= t_end:
        end = x(last) > width * 0.7
        out.append(f'<line x1="{x(last):.1f}" x2="{x(last):.1f}" y1="{top - 6}" y2="{height - bottom}" stroke="var(--text)" stroke-dasharray="3 4" opacity="0.55"/>'
                   f'<text x="{x(last) + (-6 if end else 6):.1f}" y="{top + 4}" text-anchor="{"end" if end else "start"}">last answer</text>')
    out.append(f'<line class="axis" x1="{left}" x2="{width - right}" y1="{height - bottom}" y2="{height - bottom}"/></svg>')
    return "".join(out)


def latency_chart(report, name, width, _):
    kinds = [k for k in KINDS if report["latency_by_start"][k]["count"]]
    left, right, top, row, axis = 118 if width > 800 else 92, 24, 8, 58, 40
    height = top + row * max(len(kinds), 1) + axis
    values = [report["latency_by_start"][k] for k in kinds]
    low = 10 ** math.floor(math.log10(max(min((v["min"] for v in values), default=1), 0.01)))
    high = 10 ** math.ceil(math.log10(max(max((v["max"] for v in values), default=10), low * 10)))
    x = lambda ms: left + (math.log10(max(ms, low)) - math.log10(low)) / (math.log10(high) - math.log10(low)) * (width - left - right)
    out = [f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" aria-label="Latency by kind of start, logarithmic scale">']
    for e in range(round(math.log10(low)), round(math.log10(high)) + 1):
        ms = 10.0 ** e
        label = f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"
        out.append(f'<line class="grid" x1="{x(ms):.1f}" x2="{x(ms):.1f}" y1="{top}" y2="{height - axis}"/>'
                   f'<text x="{x(ms):.1f}" y="{height - axis + 18}" text-anchor="middle">{label}</text>')
        for m in range(2, 10):
            if ms * m < high:
                out.append(f'<line class="axis" x1="{x(ms * m):.1f}" x2="{x(ms * m):.1f}" y1="{height - axis}" y2="{height - axis + 4}"/>')
    out.append(f'<line class="axis" x1="{left}" x2="{width - right}" y1="{height - axis}" y2="{height - axis}"/>'
               f'<text x="{(left + width - right) / 2:.0f}" y="{height - 4}" text-anchor="middle">latency, from when the request was due (logarithmic)</text>')
    for i, k in enumerate(kinds):
        v, mid, colour = report["latency_by_start"][k], top + row * i + row / 2 + 6, f"var(--{k})"
        bar = max(x(v["p95"]) - x(v["p25"]), 3)
        at = min(max(x(v["p50"]), left + 40), width - right - 46)
        out.append(f'<text class="strong" x="0" y="{mid + 1:.1f}">{k}</text><text x="0" y="{mid + 16:.1f}">{v["count"]} request{"s" if v["count"] != 1 else ""}</text>'
                   f'<line x1="{x(v["min"]):.1f}" x2="{x(v["max"]):.1f}" y1="{mid}" y2="{mid}" stroke="{colour}" stroke-width="1.6"/>'
                   + "".join(f'<line x1="{x(v[q]):.1f}" x2="{x(v[q]):.1f}" y1="{mid - 6}" y2="{mid + 6}" stroke="{colour}" stroke-width="1.6"/>' for q in ("min", "max"))
                   + f'<rect x="{x(v["p25"]):.1f}" y="{mid - 10}" width="{bar:.1f}" height="20" rx="3" fill="{colour}" opacity="0.45"/>'
                   f'<line x1="{x(v["p50"]):.1f}" x2="{x(v["p50"]):.1f}" y1="{mid - 13}" y2="{mid + 13}" stroke="{colour}" stroke-width="3"/>'
                   f'<circle cx="{x(v["p99"]):.1f}" cy="{mid}" r="4" fill="var(--card)" stroke="{colour}" stroke-width="2"/>'
                   f'<text class="strong" x="{at:.1f}" y="{mid - 17:.1f}" text-anchor="middle">{duration(v["p50"])}</text>')
    out.append("</svg>")
    return "".join(out)


def both(chart, report):
    return "".join(chart(report, *layout) for layout in LAYOUTS)


def tile(name, value, more, kind=""):
    return f'<div class="tile"><div class="name">{name}</div><div class="value {kind}">{value}</div><div class="more">{more}</div></div>'


def tiles(r):
    m, lat, starts = r["memory"], r["latency_ms"], r["starts"]
    saved = tile("Memory saved", f'{m["saved_pct"]:.1f} %', f'{m["hearth_gib_s"]:.2f} (pool {m["pool_gib_s"]:.2f}) instead of {m["keepalive_gib_s"]:.2f} GiB·s', "good" if m["saved_pct"] > 0 else "bad")
    errors = "no errors" if not r["errors"] else f'<span class="bad">{r["errors"]} error{"s" if r["errors"] != 1 else ""}</span>'
    requests = tile("Requests", r["requests"], f'{errors}, in {r["memory"]["horizon_s"]:.0f} s')
    latency = tile("Latency, median", duration(lat["p50"]), f'p95 {duration(lat["p95"])}, p99 {duration(lat["p99"])}')
    start = tile("Cold starts", starts["cold"], f'{starts["wake"]} woken, {starts["warm"]} warm, {starts["hot"]} hot · keep-alive {r["keepalive_cold_starts"]}')
    return f'<div class="tiles">{saved}{requests}{latency}{start}</div>'


def function_table(r):
    """Errors have a column only when there are some; the last column gives way in a narrow window."""
    cell = lambda v, kind="": f'<td class="{kind}{" zero" if v == 0 else ""}">{v}</td>'
    counts = ["requests"] + (["errors"] if r["errors"] else []) + ["cold", "wake", "warm", "hot"]
    rows = []
    for f in sorted(r["functions"], key=lambda f: -f["requests"]):
        timed = f["requests"] > f["errors"]
        rows.append(f'<tr><td>{esc(f["name"])}</td>' + "".join(cell(f[k]) for k in counts)
                    + f'<td>{duration(f["p50_ms"]) if timed else "–"}</td><td>{duration(f["p95_ms"]) if timed else "–"}</td>'
                    + f'<td>{f["hot_bytes"] / MIB:.1f}</td>' + cell(f["keepalive_cold_starts"], "extra") + "</tr>")
    head = "".join(f"<th>{h}</th>" for h in ["function"] + counts + ["p50", "p95", "MiB hot"]) + '<th class="extra">cold, keep-alive</th>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def error_section(r):
    if not r["error_list"]:
        return ""
    rows = "".join(f'<tr><td>{esc(e["function"])}</td><td>{e["t_s"]:.2f} s</td><td style="text-align:left;white-space:normal">{esc(e["error"])}</td></tr>' for e in r["error_list"])
    more = f' (the first {len(r["error_list"])} of {r["errors"]})' if r["errors"] > len(r["error_list"]) else ""
    return f'<section><h2>Errors{more}</h2><div class="scroll"><table><tbody>{rows}</tbody></table></div></section>'


def page(r):
    m, tail = r["memory"], r["memory_with_tail"]
    what = "Synthetic trace" if r["synthetic"] else f'Trace {esc(r["trace"])}'
    note = (f'<p class="note"><strong>Synthetic trace.</strong> The calls were generated (seed {r["seed"]}) by a model fitted to a recorded trace; they were not recorded. '
            "Latencies and memory are as measured.</p>") if r["synthetic"] else ""
    legend = lambda *items: '<div class="legend">' + "".join(f'<span><i style="background:var(--{c})"></i>{t}</span>' for c, t in items) + "</div>"
    kept = r["keepalive_s"] / r["compress"]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hearth replay: {what}</title><style>{STYLE}</style></head><body><main>
<h1>Hearth against plain keep-alive</h1>
<p class="soft">{what}: {r["requests"]} calls of {r["trace_functions"]} functions within {r["trace_span_s"] / 60:.0f} minutes, replayed {r["compress"]:g}× faster on {len(r["functions"])} deployed functions</p>
{note}{tiles(r)}
<section><h2>Memory over time</h2>
<p class="soft small">All instances and hearthd itself, as measured; plain keep-alive as simulated on the same requests ({r["keepalive_s"]:g} s, compressed to {kept:g} s).
With the idle time after the last answer: {tail["saved_pct"]:.1f} % saved ({tail["hearth_gib_s"]:.2f} instead of {tail["keepalive_gib_s"]:.2f} GiB·s).</p>
{legend(("keep", "plain keep-alive"), ("hearth", "Hearth"))}{both(memory_chart, r)}</section>
<section><h2>Latency by kind of start</h2>
<p class="soft small">Line: shortest to longest. Bar: from the 25th to the 95th percentile. Mark: the median. Ring: the 99th percentile.</p>
{both(latency_chart, r)}</section>
<section><h2>Functions</h2>{function_table(r)}</section>
{error_section(r)}
<footer><p>{esc(r["memory_method"])}</p>
<p>{r["samples"]["taken"]} memory samples ({r["samples"]["failed"]} failed); requests sent {duration(r["send_late_ms"]["p99"])} late at the 99th percentile; {r["wall_s"]:.0f} s in all;
Linux {esc(r["host"]["kernel"])}, {r["host"]["cpus"]} processors; hearthd itself {m["hearthd_gib_s"]:.3f} GiB·s.</p></footer>
</main></body></html>
"""


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        print("usage: tools/report.py DIR/report.json [OUT.html]", file=sys.stderr)
        return 2
    source = sys.argv[1]
    target = sys.argv[2] if len(sys.argv) == 3 else os.path.join(os.path.dirname(source), "report.html")
    try:
        with open(source, encoding="utf-8") as f:
            text = page(json.load(f))
        with open(target + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(target + ".new", target)
    except (OSError, ValueError) as e:
        print(f"report.py: cannot make {target} of {source}: {e}", file=sys.stderr)
        return 1
    except KeyError as e:
        print(f"report.py: {source} is no report of hearth replay: {e} is missing", file=sys.stderr)
        return 1
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
