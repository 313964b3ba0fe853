"""BuildResult: one attempt at one program, eight checked fields.

Rule of this file: plain Python only, so that a short-lived compiler process pays nothing to make one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import UsageError

U32_END = 2**32
U64_END = 2**64
HASH_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class BuildResult:
    """One build result (record): what a model generated for a program, and what came of it.

    Args:
        tir_hash: 32 bytes that name the program (bytes, bytearray, memoryview or uint8[32]).
        generated_tasm: the generated instructions, a list or tuple of str; kept as a tuple.
        valid: did stack verification accept them?
        clock_cycles: what they cost, an int in [0, 2**64), or None if not measured.
        compiler_cycles: what the compiler's own output costs, an int in [0, 2**64).
        fallback_used: was the compiler's output taken instead?
        timestamp: Unix seconds, an int in [0, 2**64).
        model_version: the model's checkpoint number, an int in [0, 2**32).

    Raises:
        UsageError: a field has the wrong type or is out of range; numpy scalars count as what they hold,
            a bool is no int and an int no bool.

    >>> BuildResult(tir_hash=bytes(32), generated_tasm=["push 1"], valid=True, clock_cycles=5,
    ...             compiler_cycles=10, fallback_used=False, timestamp=0, model_version=1)
    BuildResult(tir_hash=00000000…0000, generated_tasm=('push 1',), valid=True, clock_cycles=5, \
compiler_cycles=10, fallback_used=False, timestamp=0, model_version=1)
    """

    tir_hash: bytes
    generated_tasm: tuple[str, ...]
    valid: bool
    clock_cycles: int | None
    compiler_cycles: int
    fallback_used: bool
    timestamp: int
    model_version: int

    if TYPE_CHECKING:  # what may be given is wider than what is kept

        def __init__(
            self,
            *,
            tir_hash: bytes | bytearray | memoryview | NDArray[np.uint8],
            generated_tasm: Sequence[str],
            valid: bool | np.bool_,
            clock_cycles: int | np.integer[Any] | None,
            compiler_cycles: int | np.integer[Any],
            fallback_used: bool | np.bool_,
            timestamp: int | np.integer[Any],
            model_version: int | np.integer[Any],
        ) -> None: ...

    def __post_init__(self) -> None:
        put = object.__setattr__
        if type(self.tir_hash) is not bytes or len(self.tir_hash) != HASH_BYTES:
            put(self, "tir_hash", _hash(self.tir_hash))
        put(self, "generated_tasm", _instructions(self.generated_tasm))
        if type(self.valid) is not bool:
            put(self, "valid", _bool(self.valid, "valid"))
        if self.clock_cycles is not None:
            put(self, "clock_cycles", _int(self.clock_cycles, "clock_cycles", U64_END))
        put(self, "compiler_cycles", _int(self.compiler_cycles, "compiler_cycles", U64_END))
        if type(self.fallback_used) is not bool:
            put(self, "fallback_used", _bool(self.fallback_used, "fallback_used"))
        put(self, "timestamp", _int(self.timestamp, "timestamp", U64_END))
        put(self, "model_version", _int(self.model_version, "model_version", U32_END))

    def __repr__(self) -> str:
        digits = self.tir_hash.hex()
        tasm = self.generated_tasm
        few = ", ".join(map(repr, tasm[:3]))
        shown = f"({few}, … {len(tasm) - 3} more)" if len(tasm) > 4 else repr(tasm)
        rest = ", ".join(f"{name}={getattr(self, name)!r}" for name in FIELDS[2:])
        return f"BuildResult(tir_hash={digits[:8]}…{digits[-4:]}, generated_tasm={shown}, {rest})"

    def to_dict(self) -> dict[str, Any]:
        """The eight fields as JSON has them: `tir_hash` in hex, `generated_tasm` a list, None as null."""
        out = {name: getattr(self, name) for name in FIELDS}
        out["tir_hash"] = self.tir_hash.hex()
        out["generated_tasm"] = list(self.generated_tasm)
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BuildResult:
        """The inverse of `to_dict`.

        Raises:
            UsageError: a field is missing, unknown, of the wrong type or out of range.
        """
        if not isinstance(data, Mapping):
            raise UsageError(f"expected an object with the fields {', '.join(FIELDS)}, got {_shown(data)}")
        for name in FIELDS:
            if name not in data:
                raise UsageError("missing field", name)
        for name in data:
            if name not in FIELDS:
                raise UsageError(f"unknown field (known: {', '.join(FIELDS)})", plain(name))
        digits = data["tir_hash"]
        if not isinstance(digits, str) or len(digits) != 2 * HASH_BYTES or not _is_hex(digits):
            raise UsageError(f"expected {2 * HASH_BYTES} hex digits, got {_shown(digits)}", "tir_hash")
        return cls(**{**data, "tir_hash": bytes.fromhex(digits)})


FIELDS: tuple[str, ...] = tuple(f.name for f in fields(BuildResult))


def unchecked(*values: Any) -> BuildResult:
    """A BuildResult of values known to be right, in the order of FIELDS: for readers that have validated."""
    result = object.__new__(BuildResult)
    put = object.__setattr__
    for name, value in zip(FIELDS, values, strict=True):
        put(result, name, value)
    return result


def _shown(value: object) -> str:
    """A value for a message: ASCII on one line, and short."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, (str, bytes, list, tuple)) and len(value) > 60:
        return f"{ascii(value[:20])[:50]}... of length {len(value)}"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain(name: object) -> str:
    """A field's name from outside, for a message: ASCII on one line, and short."""
    return _shown(name).strip("'\"")


def _is_hex(digits: str) -> bool:
    # int(…, 16) and bytes.fromhex also take underscores and spaces
    return all(c in "0123456789abcdefABCDEF" for c in digits)


def _hash(value: object) -> bytes:
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        value = value.tobytes() if value.ndim == 1 else value
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value)
        if len(value) == HASH_BYTES:
            return value
        raise UsageError(f"expected {HASH_BYTES} bytes, got {len(value)}", "tir_hash")
    raise UsageError(f"expected {HASH_BYTES} bytes, got {_shown(value)}", "tir_hash")


def _instructions(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"expected a list of str, got {_shown(value)}", "generated_tasm")
    for i, word in enumerate(value):
        if type(word) is not str and not isinstance(word, str):
            raise UsageError(f"expected a str, got {_shown(word)}", f"generated_tasm[{i}]")
        if not word.isascii():
            try:
                word.encode()
            except UnicodeEncodeError:
                raise UsageError(
                    f"expected text without lone surrogates, got {_shown(word)}", f"generated_tasm[{i}]"
                ) from None
    return tuple(word if type(word) is str else str(word) for word in value)


def _bool(value: object, field: str) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise UsageError(f"expected a bool, got {_shown(value)}", field)


def _int(value: object, field: str, end: int) -> int:
    if type(value) is int:
        number = value
    elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        number = int(value)
    else:
        number = -1
    if 0 <= number < end:
        return number
    raise UsageError(f"expected an int in [0, 2**{end.bit_length() - 1}), got {_shown(value)}", field)
