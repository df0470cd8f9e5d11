#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fig 8: a mix that changes: four phases of 5 s

Two types change places, then their shares, and then one is alone. 14 workers, 80% load in every phase, no network time.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from experiment import STYLE, Experiment  # noqa: E402

PHASE_S, STEP_S = 5, .02
POLICIES = ('c-fcfs', 'darc', 'minimax')


def settled(result, phase):
    """Seconds into a phase until no interval in it is over 1.5 times the worst of the phase's second half any more."""
    inside = [i for i in result['intervals'] if phase * PHASE_S <= i['from_s'] < (phase + 1) * PHASE_S - STEP_S / 2 and i['n'] > 0]
    late = max(i['slowdown_p999'] for i in inside[len(inside) // 2:])
    over = [i['from_s'] + STEP_S - phase * PHASE_S for i in inside if i['slowdown_p999'] > 1.5 * late]
    return max(over, default=0), late


def reserved(result, phase):
    """Seconds into a phase of the last change of the reservation in it; 0 = none"""
    return max((c['at_s'] - phase * PHASE_S for c in result['reservation_changes'] if phase * PHASE_S <= c['at_s'] < (phase + 1) * PHASE_S), default=0)


def main():
    e = Experiment('sched-fig8', __doc__)
    results = dict(zip(POLICIES, e.sims([{'workload': 'phases', 'policy': p, 'load': .8, 'interval': f'{round(STEP_S * 1000)}ms', 'requests': None} for p in POLICIES])))
    e.csv(['policy', 'from_s', 'phase', 'slowdown_p999', 'a_p999_us', 'b_p999_us'],
          [[p, i['from_s'], i['phase'], i['slowdown_p999'], *(t['p999_us'] for t in i['types'])] for p, r in results.items() for i in r['intervals']])

    def draw(axes):
        for axis, key in zip(axes, ('slowdown_p999', 0, 1)):
            for policy, r in results.items():
                at = [i for i in r['intervals'] if (i if key == 'slowdown_p999' else i['types'][key])['n'] > 0]
                axis.plot([i['from_s'] for i in at], [i[key] if key == 'slowdown_p999' else i['types'][key]['p999_us'] for i in at],
                          color=STYLE[policy][0], label=STYLE[policy][1], linewidth=.8)
            axis.set_yscale('log')
            axis.set_xlabel('seconds')
            axis.set_ylabel('p99.9 slowdown' if key == 'slowdown_p999' else f"p99.9 latency of {'ab'[key]}, us")
            axis.legend(fontsize=8)

    e.plot(draw, 3)
    for phase in range(4):
        e.row(f'phase {phase + 1}: DARC: last change of the reservation after, s', 'adapts', reserved(results['darc'], phase))
        for policy in ('darc', 'minimax'):
            after, level = settled(results[policy], phase)
            e.row(f'phase {phase + 1}: {STYLE[policy][1]}: settled after, s (slowdown then at most {level:.1f})', None, after)
    e.finish()


main()
