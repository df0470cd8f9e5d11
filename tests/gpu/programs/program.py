# SPDX-License-Identifier: Apache-2.0
"""What the PyTorch programs under test share: options, deterministic settings, the line that each step prints, and holds.

A program does numbered steps and prints a line after each, whose value is exact: the same program with the same options prints the same values whatever happens to it in between. A hold stops it
before a step until a file is there, so that no test depends on time; then a first kernel runs, and "go" says when that was over.
"""
import argparse
import os
import time

# before torch is loaded: cuBLAS reads it once
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

import torch  # noqa: E402


def hold(text):
    step, _, path = text.partition(':')
    if not step.isdigit() or not path:
        raise argparse.ArgumentTypeError(f'{text}: not STEP:FILE')
    return int(step), path


class Program:
    """One run: its options, and its steps."""

    def __init__(self, doc, add_options=None):
        parser = argparse.ArgumentParser(description=doc.split('\n', maxsplit=1)[0])
        parser.add_argument('--steps', type=int, default=20, metavar='N', help='then it ends; default 20')
        parser.add_argument('--size', choices=('small', 'large'), default='large')
        parser.add_argument('--seed', type=int, default=1, metavar='S', help='of weights and data; default 1')
        parser.add_argument('--device', default='cuda', help='default cuda')
        parser.add_argument('--hold', type=hold, action='append', default=[], metavar='STEP:FILE', help='print "hold STEP" before that step and wait until FILE is there')
        if add_options:
            add_options(parser)
        self.args = parser.parse_args()
        self.holds = dict(self.args.hold)
        self.device = torch.device(self.args.device)
        self.cuda = self.device.type == 'cuda'
        self.first = torch.zeros(1, device=self.device)
        torch.manual_seed(self.args.seed)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False

    def steps(self):
        """Step numbers; holds are kept here. A step's time is from here to its done()."""
        self.say('ready', pid=os.getpid(), reserved=self.reserved())
        for step in range(self.args.steps):
            if step in self.holds:
                self.wait(step, self.holds[step])
            self.step, self.began = step, time.time()
            yield step
        self.say('end', reserved=self.reserved())

    def wait(self, step, path):
        if self.cuda:
            torch.cuda.synchronize()
        print(f'hold {step}', flush=True)
        while not os.path.exists(path):
            time.sleep(.001)
        self.first.add_(1).item()
        print(f'go {step} {time.time():.6f}', flush=True)

    def done(self, value):
        """@value: what the step came to, read back from the device, so the step is over."""
        now = time.time()
        print(f'step {self.step} {value} {now - self.began:.4f} {now:.6f}', flush=True)

    def reserved(self):
        return torch.cuda.memory_reserved() if self.cuda else 0

    def say(self, what, **facts):
        print(what, *(f'{k}={v}' for k, v in facts.items()), f'at={time.time():.6f}', flush=True)
