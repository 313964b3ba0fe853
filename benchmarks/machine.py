"""The Triton VM machine and the judge beside the plain-Python machine of the tests, in one run.

All on one core: programs are run by one thread, and judged by one. The real machine, traced, judges about 4,500 small
jobs a second on two cores of this kind (triton-vm 2.0.0, called once a job).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine, seconds
from ostinato import Vocabulary, triton
from ostinato.data import triton_attempts
from ostinato.judge import Judge, of_tasm
from ostinato.results import program_keys
from ostinato.triton import Tip5

ROOT = Path(__file__).parent.parent

REAL_VM_JOBS = 4500  # a second, as measured when the goldens were made

# eighteen simple instructions a turn: stack, field arithmetic, a branch and a jump
LOOP = """
push 5000000 call turn halt
turn: dup 0 push 0 eq skiz return addi -1
      dup 0 push 3 mul push 7 add dup 1 swap 1 pop 2 swap 1 push 2 add swap 1 recurse
"""
TURNS = 5_000_000
SLOW_TURNS = 20_000

# thirty instructions that leave what they found: a candidate that passes every test
THIRTY = ["push 3", "mul", "dup 0", "push 5", "add", "swap 1", "pop 1", "addi -5", "push 1", "mul"] * 2 + [
    "dup 0", "dup 0", "add", "swap 1", "pop 1", "push 7", "pop 1", "nop", "addi 1", "addi -1",
]  # fmt: skip


def run(say: Callable[[str], None] = print, quick: bool = False) -> dict[str, Any]:
    """All figures, as numbers."""
    out: dict[str, Any] = {"machine": machine()}
    say("machine: compiling afresh, starting again")
    out |= _starting()
    say("machine: a long run, and the plain-Python machine")
    out |= _long(TURNS // 50 if quick else TURNS, SLOW_TURNS // 20 if quick else SLOW_TURNS)
    say("machine: hashing and parsing")
    out |= _hashing(quick)
    say("machine: judging")
    out |= _judging(100 if quick else 20_000)
    return out


def _starting() -> dict[str, float]:
    """The first call with nothing compiled, and with all compiled, each in a process of its own."""
    code = (
        "import time; a = time.perf_counter()\n"
        "from ostinato import judge, triton\n"
        "triton.run('push 1 halt')\n"
        "b = time.perf_counter()\n"
        "triton.run('push 1 halt').heights\n"
        "own = judge.Judge(judge.of_tasm('f', ['push 1', 'add'], ['field']), tests=8)\n"
        "own.judge([['addi 1']])\n"
        "print(b - a, time.perf_counter() - a)"
    )
    with tempfile.TemporaryDirectory() as folder:
        taken = []
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True,
                env={**os.environ, "NUMBA_CACHE_DIR": folder},
            )  # fmt: skip
            taken.append([float(number) for number in done.stdout.split()])
    (first_run, first_all), (later_run, later_all) = taken
    return {
        "first_run_s": first_run, "first_judge_s": first_all, "start_run_s": later_run, "start_judge_s": later_all,
    }  # fmt: skip


def _long(turns: int, slow_turns: int) -> dict[str, float]:
    sys.path.insert(0, str(ROOT / "tests"))
    import slow_machine

    text = LOOP.replace(str(TURNS), str(turns))
    program = triton.parse(text)
    cycles = triton.run(program, max_cycles=10**9).cycles
    fast = seconds(lambda: triton.run(program, max_cycles=10**9), 5)
    slow_text = LOOP.replace(str(TURNS), str(slow_turns))
    slow_cycles = triton.run(slow_text, max_cycles=10**9).cycles

    def slowly() -> None:
        slow_machine.run(slow_text, [], [], [], [], [], 10**9)

    slow = seconds(slowly, 3)
    return {"simple_per_s": cycles / fast, "python_per_s": slow_cycles / slow}


def _hashing(quick: bool) -> dict[str, float]:
    from ostinato.triton.tip5_kernels import permute_many

    rows = 200 if quick else 50_000
    states = np.random.default_rng(0).integers(0, 2**63, (rows, 16), dtype=np.uint64)
    state = list(range(16))
    lines = "\n".join(THIRTY)
    return {
        "permutation_s": seconds(lambda: permute_many(states), 7) / rows,
        "permutation_call_s": seconds(lambda: Tip5.permutation(state), 200),
        "parse_s": seconds(lambda: triton.parse(lines), 200),
    }


def _judging(count: int) -> dict[str, float]:
    own = Judge(of_tasm("f", [*THIRTY, "nop"], ["field"]), seed=0, own=False)
    tests = len(own.inputs)
    few = max(1, count // 20)
    candidates = [THIRTY] * few
    vocabulary = Vocabulary(sorted(set(THIRTY)))
    ids = np.array([vocabulary.id(line) for line in THIRTY] * few, np.int32)
    offsets = np.arange(0, len(ids) + 1, len(THIRTY), dtype=np.int64)
    from_text = seconds(lambda: own.judge(candidates, confirm="none"), 5)
    from_ids = seconds(lambda: own.judge_tokens(ids, offsets, vocabulary, confirm="none"), 5)
    out = {
        "judge_tests": tests,
        "runs_per_s_text": few * tests / from_text,
        "runs_per_s_tokens": few * tests / from_ids,
    }
    return out | _attempts(count)


def _attempts(count: int) -> dict[str, float]:
    """Real candidates of one program: most are wrong, and are found out on their first input."""
    results = triton_attempts()
    hashes = program_keys(results.tir_hash)
    name = hashes[np.argmax(results.valid)]
    own = [list(results.generated_tasm[i]) for i in np.flatnonzero(hashes == name).tolist()][:count]
    baseline = next(
        list(results.generated_tasm[i])
        for i in np.flatnonzero((hashes == name) & results.valid).tolist()
        if results.clock_cycles[i] == results.compiler_cycles[i]
    )
    judge = Judge(of_tasm("f", baseline, ["field"] * 12), seed=0)
    taken = seconds(lambda: judge.judge(own, confirm="none"), 5)
    return {"attempts": len(own), "attempts_per_s": len(own) / taken}


def table(f: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [
        ("simple instructions, one long run", f"{f['simple_per_s'] / 1e6:.0f} M/s", ">= 150 M/s"),
        ("the same, beside the plain-Python machine", f"{f['simple_per_s'] / f['python_per_s']:.0f} x ({f['python_per_s'] / 1e6:.2f} M/s)", ">= 60 x"),
        ("a Tip5 permutation", f"{f['permutation_s'] * 1e6:.2f} us ({f['permutation_call_s'] * 1e6:.1f} us as a call from Python)", "<= 3 us"),
        ("candidate runs of 30 instructions, judged from token ids", f"{f['runs_per_s_tokens'] / 1e6:.2f} M/s", ">= 0.5 M/s"),
        ("the same from lines of text", f"{f['runs_per_s_text'] / 1e6:.2f} M/s", ">= 0.5 M/s"),
        ("real attempts at one program judged, from lines of text", f"{f['attempts_per_s'] / 1e3:.0f} k candidates/s", ""),
        ("parse 30 instructions", f"{f['parse_s'] * 1e6:.0f} us", ""),
        ("first run with nothing compiled", f"{f['first_run_s']:.1f} s (with the heights of the tables, and the judge: {f['first_judge_s']:.1f} s)", "<= 20 s"),
        ("from the start of a process to the first run's end", f"{f['start_run_s']:.2f} s (to the first verdict: {f['start_judge_s']:.2f} s)", "<= 1 s"),
    ]  # fmt: skip
    lines = ["| what | measured | goal |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return (
        "\n".join(lines)
        + f"\n\nOne core, medians; {f['judge_tests']} tests a candidate, none of which tells it from the reference. "
        f"Ratios are within this run. {f['machine']}.\n"
    )


def readme(f: dict[str, Any]) -> str:
    """What the README says of them."""
    return (
        f"The machine runs {f['simple_per_s'] / 1e6:.0f} M simple instructions a second on one core "
        f"({f['simple_per_s'] / f['python_per_s']:.0f} x a plain-Python machine), a Tip5 permutation in "
        f"{f['permutation_s'] * 1e6:.1f} us, and {f['runs_per_s_tokens'] / 1e6:.1f} M candidates of 30 instructions a second on a "
        f"test each (the real VM, traced: about {REAL_VM_JOBS:,} small jobs a second on two cores; "
        "[figures](benchmarks/results/machine.md))."
    )
