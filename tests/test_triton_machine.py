"""The machine against the real one's verdicts, against the plain-Python one, and against hostile programs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import slow_machine
from machine_programs import KINDS, P, jobs, words
from ostinato import UsageError
from ostinato.goldilocks import inverse, x_inverse, x_mul
from ostinato.triton import Outcome, ParseError, parse, run, trace
from test_slow_machine import differences, goldens


def test_every_golden_program_ends_as_on_the_real_machine() -> None:
    refused = 0
    for golden in goldens():
        inputs = {
            name: golden[name] for name in ("public", "secret", "digests", "ram", "stack", "max_cycles")
        }
        try:
            outcome = run(golden["code"], **inputs)
        except ParseError:
            assert golden["result"]["error"] == "ParseError", golden["id"]
            refused += 1
            continue
        assert differences(golden, outcome.to_dict()) == {}, golden["id"]
    assert refused == 62


@pytest.mark.parametrize("kind", KINDS)
def test_random_programs_end_as_on_the_plain_machine(kind: str) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(jobs(kind))
    def agree(job: Any) -> None:
        expected = slow_machine.run(job.text, **job.inputs())
        found = run(job.text, **job.inputs()).to_dict()
        assert {name: found[name] for name in expected} == expected

    agree()


@settings(max_examples=60, deadline=None)
@given(jobs("all"))
def test_a_trace_steps_through_what_a_run_does(job: Any) -> None:
    outcome = run(job.text, **job.inputs())
    *steps, last = trace(job.text, **job.inputs())
    assert last.outcome is not None
    assert last.outcome.to_dict() == outcome.to_dict()
    assert [step.cycle for step in steps][: outcome.cycles] == list(range(outcome.cycles))
    assert last.stack == outcome.final_stack


def test_a_trace_shows_the_stack_before_each_instruction() -> None:
    steps = list(trace("push 2 call double halt double: push 2 mul return"))
    assert [(step.ip, step.instruction, step.stack[0], step.jump_depth) for step in steps] == [
        (0, "push 2", 0, 0),
        (2, "call double", 2, 0),
        (5, "push 2", 2, 1),
        (7, "mul", 2, 1),
        (8, "return", 4, 1),
        (4, "halt", 4, 0),
        (5, "", 4, 0),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "call a a: push 1 recurse",
        "call a a: call a",
        "push 0 call a a: push 7 swap 1 write_mem 1 recurse",
        "call a a: push 1 write_io 1 recurse",
        "sponge_init call a a: sponge_squeeze recurse",
    ],
)
def test_a_program_that_wants_everything_gets_an_error(text: str) -> None:
    outcome = run(text, max_cycles=3_000_000, memory_limit=1 << 20)
    assert (outcome.error, outcome.error_message) == (
        "MemoryLimit",
        "more than 1048576 bytes of memory are needed",
    )


def test_a_program_that_never_ends_is_stopped() -> None:
    outcome = run("call a a: nop recurse", max_cycles=10_000_001)
    assert (outcome.error, outcome.cycles) == ("CycleLimit", 10_000_001)
    assert outcome.error_message == "no halt within 10000001 cycles"


def test_many_addresses_are_kept_and_given_back() -> None:
    text = """
        push 0 push 2000 call a halt
        a: dup 0 push 0 eq skiz return addi -1
           dup 0 dup 2 write_mem 1 pop 1 pick 1 addi 1000003 place 1 recurse
    """
    outcome = run(text)
    assert outcome.ok
    assert outcome.ram == {1000003 * k: 1999 - k for k in range(2000)}


def test_a_word_that_is_given_twice_is_the_last() -> None:
    assert run("push 3 read_mem 1 halt", ram=[(3, 1), (3, 9)]).final_stack[1] == 9


def test_heights_are_counted_for_runs_that_end_well_alone() -> None:
    failed, ended = run("push 0 assert halt"), run("halt")
    assert (failed.heights, failed.height, failed.padded_height, failed.dominant_table) == (None,) * 4
    assert ended.heights == slow_machine.run("halt")["heights"]
    assert (ended.height, ended.padded_height, ended.dominant_table) == (256, 256, "Lookup")


def test_an_outcome_says_what_happened() -> None:
    assert repr(run("push 2 push 3 add write_io 1 halt")) == "Outcome(ok, 5 cycles, output=[5])"
    said = "Outcome(AssertionFailed at word 2 after 1 cycles: assertion failed: expected 1, got 7)"
    assert repr(run("push 7 assert halt")) == said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"public": [P]}, f"expected ints in [0, p), got {P} - at `public`"),
        ({"secret": [-1]}, "expected ints in [0, p), got [-1] - at `secret`"),
        ({"stack": ["1"]}, "expected ints in [0, p), got ['1'] - at `stack`"),
        ({"stack": [2**64]}, f"expected ints in [0, p), got [{2**64}] - at `stack`"),
        ({"digests": [[1, 2]]}, "expected 5 words, got 2 - at `digests`"),
        ({"digests": 3}, "expected a sequence, got 3 - at `digests`"),
        ({"ram": [1]}, "expected a mapping, or pairs of address and word - at `ram`"),
        ({"ram": {P: 1}}, f"expected ints in [0, p), got {P} - at `ram`"),
        ({"sponge": [0] * 15}, "expected 16 words, got 15 - at `sponge`"),
        ({"max_cycles": -1}, "expected an int in [0, 2**62), got -1 - at `max_cycles`"),
        ({"memory_limit": 1.5}, "expected an int in [0, 2**62), got 1.5 - at `memory_limit`"),
    ],
)
def test_a_wrong_input_is_refused_by_name(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        run("halt", **arguments)
    assert str(caught.value) == complaint


def test_a_run_may_begin_in_the_middle_of_a_sponge() -> None:
    state = list(range(16))
    outcome = run("sponge_squeeze halt", sponge=state)
    assert outcome.final_stack[:10] == tuple(range(10))
    assert outcome.sponge == slow_machine.permuted(tuple(state))[0]


@settings(max_examples=300, deadline=None)
@given(st.lists(words, min_size=6, max_size=6))
def test_the_field_of_the_kernels_is_the_field(drawn: list[int]) -> None:
    a, b, c, d, e, f = drawn
    text = "mul write_io 1 add write_io 1 halt"
    assert run(text, stack=[c, d, a, b]).output == (a * b % P, (c + d) % P)
    assert run("xx_mul write_io 3 halt", stack=[f, e, d, c, b, a]).output == x_mul((a, b, c), (d, e, f))
    if a:
        assert run("invert write_io 1 halt", stack=[a]).output == (inverse(a),)
    if (a, b, c) != (0, 0, 0):
        found = run("x_invert write_io 3 halt", stack=[c, b, a]).output
        assert found == x_inverse((a, b, c))
        assert x_mul(found, (a, b, c)) == (1, 0, 0)


def test_nothing_has_no_inverse() -> None:
    for call in (lambda: inverse(P), lambda: x_inverse((0, 0, 0))):
        with pytest.raises(ZeroDivisionError):
            call()


def test_importing_the_machine_loads_no_compiler() -> None:
    code = "import sys, ostinato.triton; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_program_is_run_as_it_was_parsed() -> None:
    program = parse("push 1 write_io 1 halt")
    outcome: Outcome = run(program)
    assert (outcome.program, outcome.program_len, outcome.program_digest) == (program, 5, program.digest)
