"""What is judged: a program with its reference, its baseline and its argument types, from TIR or from a programs file.

A programs file is JSON: a list of objects with `name`, `description`, `inputs` and
`outputs` (numbers of words), `argument_types` (one for each input: a name, or its letter), `baseline` (lines of TASM), and, if
one likes, `tir_hash` (hex; else the Poseidon2 hash of the baseline's lines joined by newlines), `baseline_cycles` and
`tests`: objects with `args` (the last on top), `below`, `ram` (pairs of address and word), `public`, `secret`, `digests`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ostinato.errors import DamageError, UsageError
from ostinato.files import replace_file
from ostinato.goldilocks import P
from ostinato.judge.inputs import TYPES, Input, Reference
from ostinato.judge.references import TasmReference, TirReference
from ostinato.tir import Program, cid, lower, poseidon2
from ostinato.triton.isa import DIGEST
from ostinato.triton.parsing import ParseError

MAX_BYTES = 256 << 20  # of a programs file

LETTERS = {"f": "field", "u": "u32", "b": "bool", "m": "address", "p": "positive", "x": "any"}


@dataclass(frozen=True, slots=True)
class Function:
    """A program as the judge knows it.

    Attributes:
        name, description: for people. tir_hash: 32 bytes.
        reference: what is right. baseline: the ordinary compiler's lines.
        results: words that it leaves in place of its arguments, or None where that is not known.
        tests: inputs that came with it.
    """

    name: str
    description: str
    tir_hash: bytes
    reference: Reference
    baseline: tuple[str, ...]
    results: int | None = None
    tests: tuple[Input, ...] = ()

    @property
    def types(self) -> tuple[str, ...]:
        """The types of its arguments."""
        return self.reference.types


def of_tir(program: Program, *, tests: Sequence[Input] = ()) -> Function:
    """A TIR program: its interpreter is the reference, its lowering the baseline, its content hash the name.

    Raises:
        UsageError: the program is wrong, see `tir.check`.
    """
    return Function(
        name=program.name,
        description=program.description,
        tir_hash=cid(program),
        reference=TirReference(program),
        baseline=lower(program),
        results=len(program.results),
        tests=tuple(tests),
    )


def of_tasm(
    name: str,
    baseline: Sequence[str],
    types: Sequence[str],
    *,
    description: str = "",
    results: int | None = None,
    tir_hash: bytes | None = None,
    tests: Sequence[Input] = (),
) -> Function:
    """A block of TASM, which is its own reference and baseline.

    Raises:
        UsageError: a type is none; ParseError: the baseline is no block.
    """
    lines = tuple(baseline)
    return Function(
        name=name,
        description=description,
        tir_hash=poseidon2("\n".join(lines).encode()) if tir_hash is None else tir_hash,
        reference=TasmReference(lines, [_type(text, "types") for text in types]),
        baseline=lines,
        results=results,
        tests=tuple(tests),
    )


def _type(text: object, name: str) -> str:
    found = LETTERS.get(text, text) if isinstance(text, str) else None
    if found not in TYPES:
        known = ", ".join(f"{word} ({letter})" for letter, word in LETTERS.items())
        raise UsageError(f"expected a type, one of {known}, got {text!r:.40}", name)
    return str(found)


def load_programs(path: str | Path) -> list[Function]:
    """The functions of a programs file.

    Raises:
        DamageError: it is no programs file; says in which program and field. OSError: it cannot be read.
    """
    file = Path(path)
    if file.stat().st_size > MAX_BYTES:
        raise DamageError(f"a programs file has at most {MAX_BYTES:,} bytes", source=str(file))
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamageError(f"no JSON: {error}", source=str(file)) from None
    if not isinstance(data, list):
        raise DamageError(f"expected a list of programs, got {type(data).__name__}", source=str(file))
    functions = []
    for i, entry in enumerate(data):
        try:
            functions.append(_function(entry))
        except UsageError as error:
            where = "" if error.field is None else f".{error.field}"
            raise DamageError(
                error.cause, record=i, field=f"programs[{i}]{where}", source=str(file)
            ) from None
    return functions


def save_programs(path: str | Path, functions: Sequence[Function]) -> None:
    """Write a programs file, whole or not at all; `load_programs` reads it."""
    rows = [
        {
            "name": one.name,
            "description": one.description,
            "tir_hash": one.tir_hash.hex(),
            "inputs": len(one.types),
            "outputs": one.results or 0,
            "argument_types": list(one.types),
            "baseline": list(one.baseline),
            "tests": [input_dict(test) for test in one.tests],
        }
        for one in functions
    ]
    with replace_file(path) as file:
        file.write(json.dumps(rows, indent=1).encode())


def input_dict(given: Input) -> dict[str, object]:
    """An input as a programs file has its tests."""
    return {
        "args": list(given.arguments),
        "below": list(given.below),
        "ram": [[address, word] for address, word in given.ram.items()],
        "public": list(given.public),
        "secret": list(given.secret),
        "digests": [list(digest) for digest in given.digests],
        "sponge": None if given.sponge is None else list(given.sponge),
    }


def _function(entry: Any) -> Function:
    if not isinstance(entry, dict):
        raise UsageError(f"expected an object, got {type(entry).__name__}")
    inputs = _count(entry, "inputs")
    types = _list(entry, "argument_types")
    if len(types) != inputs:
        raise UsageError(
            f"expected {inputs} types, as many as there are inputs, got {len(types)}", "argument_types"
        )
    baseline = _list(entry, "baseline")
    if not all(isinstance(line, str) for line in baseline):
        raise UsageError("expected lines of TASM", "baseline")
    try:
        return of_tasm(
            _text(entry, "name"),
            baseline,
            types,
            description=_text(entry, "description", ""),
            results=_count(entry, "outputs"),
            tir_hash=_hash(entry.get("tir_hash")),
            tests=[_test(test, inputs, f"tests[{k}]") for k, test in enumerate(_list(entry, "tests", []))],
        )
    except ParseError as error:
        raise UsageError(str(error), "baseline") from None


def _text(entry: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = entry.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"expected text, got {value!r:.40}", name)
    return value


def _count(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**16:
        raise UsageError(f"expected a number of words, got {value!r:.40}", name)
    return value


def _list(entry: Mapping[str, Any], name: str, default: list[Any] | None = None) -> list[Any]:
    value = entry.get(name, default)
    if not isinstance(value, list):
        raise UsageError(f"expected a list, got {value!r:.40}", name)
    return value


def _hash(value: Any) -> bytes | None:
    if value is None:
        return None
    try:
        digest = bytes.fromhex(value)
    except (TypeError, ValueError):
        digest = b""
    if len(digest) != 32:
        raise UsageError(f"expected 64 hexadecimal digits, got {value!r:.80}", "tir_hash")
    return digest


def _test(entry: Any, inputs: int, where: str) -> Input:
    if not isinstance(entry, dict):
        raise UsageError(f"expected an object, got {type(entry).__name__}", where)
    arguments = _words(entry.get("args", []), f"{where}.args")
    if len(arguments) != inputs:
        raise UsageError(f"expected {inputs} words, got {len(arguments)}", f"{where}.args")
    rows = [_words(row, f"{where}.ram") for row in _list(entry, "ram", [])]
    if any(len(row) != 2 for row in rows):
        raise UsageError("expected pairs of address and word", f"{where}.ram")
    digests = [_words(row, f"{where}.digests") for row in _list(entry, "digests", [])]
    if any(len(row) != DIGEST for row in digests):
        raise UsageError(f"expected {DIGEST} words each", f"{where}.digests")
    sponge = entry.get("sponge")
    return Input(
        arguments=arguments,
        below=_words(entry.get("below", []), f"{where}.below"),
        ram={row[0]: row[1] for row in rows},
        public=_words(entry.get("public", []), f"{where}.public"),
        secret=_words(entry.get("secret", []), f"{where}.secret"),
        digests=tuple(digests),
        sponge=None if sponge is None else _words(sponge, f"{where}.sponge", 16),
    )


def _words(value: Any, where: str, count: int | None = None) -> tuple[int, ...]:
    fits = isinstance(value, list) and all(
        isinstance(word, int) and not isinstance(word, bool) and 0 <= word < P for word in value
    )
    if not fits or (count is not None and len(value) != count):
        what = "words" if count is None else f"{count} words"
        raise UsageError(f"expected a list of {what} in [0, p), got {value!r:.60}", where)
    return tuple(value)
