#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""src/trace/fit.h is what tools/fit_trace.py makes of the real trace. Skipped where that is missing."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__)) + "/../../.."
trace = os.environ.get("HEARTH_TEST_TRACE", "")
if not os.path.exists(trace):
    print(f"skipped: no real trace at {trace or '$HEARTH_TEST_TRACE'}")
    sys.exit(77)
made = subprocess.run([sys.executable, f"{ROOT}/tools/fit_trace.py", trace], stdout=subprocess.PIPE, check=True, text=True).stdout
with open(f"{ROOT}/src/trace/fit.h") as f:
    if f.read() != made:
        print("src/trace/fit.h differs from what tools/fit_trace.py prints")
        sys.exit(1)
