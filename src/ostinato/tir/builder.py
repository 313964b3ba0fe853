"""Programs made in Python, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ostinato.errors import UsageError
from ostinato.tir.checking import check
from ostinato.tir.operations import BY_NAME
from ostinato.tir.program import Op, Program, Subroutine, Value


class Builder:
    """A program in the making. Each operation is a method, named as in the table (`and_`, `or_`, `assert_` where Python
    has the word), takes its numbers and gives the builder back; bodies are `with` blocks.

    Args:
        name: of the function. arguments, results: types by name, the last on top. description: one sentence.

    >>> build = Builder("clear_if", {"flag": "bool", "x": "field"}, {"y": "field"})
    >>> _ = build.swap(1)
    >>> with build.if_only():
    ...     _ = build.pop(1).push(0)
    >>> print(build.program())
    fn clear_if(flag: bool, x: field) -> (y: field)
        swap 1
        if_only
            pop 1
            push 0
        end
    end
    """

    def __init__(
        self, name: str, arguments: Mapping[str, str], results: Mapping[str, str], description: str = ""
    ) -> None:
        self._name = name
        self._arguments = tuple(Value(*item) for item in arguments.items())
        self._results = tuple(Value(*item) for item in results.items())
        self._bodies: list[list[Op]] = [[]]
        self._subroutines: list[Subroutine] = []
        if description:
            self.comment(description)

    def op(self, name: str, *arguments: int) -> Builder:
        """Put an operation that has nothing but numbers.

        Raises:
            UsageError: there is none of this name.
        """
        row = BY_NAME.get(name)
        if row is None or row.structure != "none":
            raise UsageError(f"expected an operation without label or body, got {name!r:.40}", "name")
        return self._put(Op(name, arguments))

    def __getattr__(self, name: str) -> Callable[..., Builder]:
        row = BY_NAME.get(name.rstrip("_"))
        if name.startswith("_") or row is None or row.structure != "none":
            raise AttributeError(f"no operation {name!r}")
        return lambda *arguments: self.op(row.name, *arguments)

    def _put(self, op: Op) -> Builder:
        self._bodies[-1].append(op)
        return self

    def comment(self, text: str) -> Builder:
        """Put words for people."""
        return self._put(Op("comment", text=" ".join(text.split())))

    def call(self, name: str) -> Builder:
        """Call a subroutine, which `sub` defines, now or later."""
        return self._put(Op("call", text=name))

    def entry(self, name: str) -> Builder:
        """Call a subroutine and stop the machine."""
        return self._put(Op("entry", text=name))

    def asm(self, effect: int, *lines: str) -> Builder:
        """Put instructions of the machine, which leave so many words more (or less)."""
        return self._put(Op("asm", (effect,), lines=tuple(" ".join(line.split()) for line in lines)))

    @contextmanager
    def _body(self) -> Iterator[list[Op]]:
        self._bodies.append([])
        try:
            yield self._bodies[-1]
        finally:
            self._bodies.pop()

    @contextmanager
    def if_(self) -> Iterator[None]:
        """The body for a condition that is not 0; `else_` may follow."""
        with self._body() as ops:
            yield
        self._put(Op("if", body=tuple(ops)))

    @contextmanager
    def else_(self) -> Iterator[None]:
        """The other body of the `if_` before.

        Raises:
            UsageError: there is none.
        """
        last = self._bodies[-1][-1] if self._bodies[-1] else None
        if last is None or last.name != "if" or last.orelse:
            raise UsageError("`else_` follows `if_`", "else_")
        with self._body() as ops:
            yield
        self._bodies[-1][-1] = Op("if", body=last.body, orelse=tuple(ops))

    @contextmanager
    def if_only(self) -> Iterator[None]:
        """A body that is run, or not, and keeps the depth."""
        with self._body() as ops:
            yield
        self._put(Op("if_only", body=tuple(ops)))

    @contextmanager
    def loop(self, label: str = "") -> Iterator[None]:
        """A body that is run as often as the word on top says, and finds it on top, counted down."""
        with self._body() as ops:
            yield
        self._put(Op("loop", text=label, body=tuple(ops)))

    @contextmanager
    def proof_block(self, digest: bytes) -> Iterator[None]:
        """A body with a mark of 32 bytes."""
        with self._body() as ops:
            yield
        self._put(Op("proof_block", text=bytes(digest).hex(), body=tuple(ops)))

    @contextmanager
    def sub(self, name: str, takes: int, leaves: int) -> Iterator[None]:
        """A subroutine of the program."""
        with self._body() as ops:
            yield
        self._subroutines.append(Subroutine(name, takes, leaves, tuple(ops)))

    def program(self) -> Program:
        """The program, checked.

        Raises:
            UsageError: it is wrong, see `check`; or a body is still open.
        """
        if len(self._bodies) != 1:
            raise UsageError("a body is still open", "program")
        return check(
            Program(
                self._name, self._arguments, self._results, tuple(self._bodies[0]), tuple(self._subroutines)
            )
        )
