"""What a program means: run operation by operation, in plain Python. The reference that the judge compares with.

Rule of this file: each operation is done here by itself or by one instruction of the machine, never by what our own lowering makes
of it, so that a wrong lowering is found instead of copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ostinato.errors import UsageError
from ostinato.goldilocks import P, inverse, x_inverse, x_mul
from ostinato.tir.checking import check, instructions_of
from ostinato.tir.program import Op, Program
from ostinato.triton.isa import BY_OPCODE, DIGEST, MIN_DEPTH, RATE
from ostinato.triton.machine import run as run_machine
from ostinato.triton.observing import U32_END, addresses_of, comparisons_of
from ostinato.triton.tip5 import Tip5

MAX_STEPS = 1_000_000
_MAX_CALLS = 128  # in each other: Python's own stack carries them

Site = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison that was made: where (places in nested bodies), of what kind (`triton.observing`), of which words."""

    site: Site
    kind: str
    left: tuple[int, ...]
    right: tuple[int, ...]
    outcome: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a program leaves.

    Attributes:
        error: the machine's kind of error, or None. halted: it stopped the machine instead of coming to its end.
        stack: the last word on top. ram: words by address, given and written. touched: the addresses read or written.
        output: what was written. public_used, secret_used, digests_used: how much was read. sponge: sixteen words, or None.
        steps: operations done. comparisons: on the way, in order.
    """

    error: str | None
    halted: bool
    stack: tuple[int, ...]
    ram: Mapping[int, int]
    touched: frozenset[int]
    output: tuple[int, ...]
    public_used: int
    secret_used: int
    digests_used: int
    sponge: tuple[int, ...] | None
    steps: int
    comparisons: tuple[Comparison, ...] = field(repr=False)


def interpret(
    program: Program,
    *,
    stack: Sequence[int] = (),
    public: Sequence[int] = (),
    secret: Sequence[int] = (),
    digests: Sequence[Sequence[int]] = (),
    ram: Mapping[int, int] | None = None,
    sponge: Sequence[int] | None = None,
    max_steps: int = MAX_STEPS,
    checked: bool = False,
) -> Result:
    """Run a program on a stack that ends with its arguments; words are in [0, p).

    Args:
        checked: `check` has passed the program already; for who runs it many times, since that costs more than running.
    Raises:
        UsageError: the program is wrong (`check`), the stack is too short, or it does not end: more than `max_steps`
            operations, or more than 128 bodies and calls in each other.

    Cost: about 1 us an operation to run, 3 us to check; 20 us for one that the machine does (`asm`).
    """
    if not checked:
        check(program)
    if len(stack) < len(program.arguments):
        raise UsageError(f"expected at least {len(program.arguments)} words, got {len(stack)}", "stack")
    run = _Run(program, list(stack), public, secret, digests, dict(ram or {}), sponge, max_steps)
    error, halted = None, False
    try:
        run.function(program.body, (0,))
    except _Failure as failure:
        error = failure.kind
    except _Halt:
        halted = True
    return Result(
        error, halted, tuple(run.stack), run.ram, frozenset(run.touched), tuple(run.output), run.public_used,
        run.secret_used, run.digests_used, None if run.sponge is None else tuple(run.sponge), run.steps,
        tuple(run.comparisons),
    )  # fmt: skip


class _Failure(Exception):  # noqa: N818 - it never leaves this file
    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Halt(Exception):  # noqa: N818
    pass


# the machine's instruction with the same errors and addresses, and how the operation's operands stand to the instruction's
_LIKE = {
    "lt": ("lt", (1, 0)), "div_mod": ("div_mod", (1, 0)), "pow": ("pow", (1, 0)), "and": ("and", (0, 1)), "or": ("and", (0, 1)),
    "xor": ("xor", (0, 1)), "eq": ("eq", (0, 1)), "pop_count": ("pop_count", (0,)), "log2": ("log_2_floor", (0,)),
    "invert": ("invert", (0,)), "if": ("skiz", (0,)), "if_only": ("skiz", (0,)), "loop": ("skiz", (0,)),
    "merkle_step": ("merkle_step", range(8)), "merkle_load": ("merkle_step_mem", range(8)),
}  # fmt: skip
_FAILS = {
    "assert": "AssertionFailed",
    "assert_vector": "VectorAssertionFailed",
    "u32": "OpStackError.FailedU32Conversion",
}


class _Run:
    def __init__(
        self, program: Program, stack: list[int], public: Sequence[int], secret: Sequence[int],
        digests: Sequence[Sequence[int]], ram: dict[int, int], sponge: Sequence[int] | None, max_steps: int,
    ) -> None:  # fmt: skip
        self.stack, self.ram, self.max_steps = stack, ram, max_steps
        self.public, self.secret, self.digests = public, secret, digests
        self.public_used = self.secret_used = self.digests_used = self.steps = 0
        self.output: list[int] = []
        self.touched: set[int] = set()
        self.sponge = None if sponge is None else list(sponge)
        self.comparisons: list[Comparison] = []
        self._calls = 0
        self._subroutines = {one.name: (k, one) for k, one in enumerate(program.subroutines)}

    def function(self, body: tuple[Op, ...], site: Site) -> None:
        self._calls += 1
        if self._calls > _MAX_CALLS:
            raise UsageError(f"it does not end: more than {_MAX_CALLS} calls in each other", "program")
        for k, op in enumerate(body):
            self._step()
            self._op(op, (*site, k))
        self._calls -= 1

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self.max_steps:
            raise UsageError(f"it does not end: more than {self.max_steps:,} operations", "program")

    def _op(self, op: Op, site: Site) -> None:
        like = _LIKE.get(op.name)
        if like is not None:
            name, order = like
            st = [self.stack[-1 - k] if k < len(self.stack) else 0 for k in order]
            self._compare(site, name, st)
        structured = self._STRUCTURES.get(op.name)
        if structured is not None:
            structured(self, op, site)
        elif op.name == "assert":
            self._assert(op.arguments[0], site)
        elif op.name in ("shl", "shr"):
            self._shift(op.name, site)
        elif op.name in _BINARY:
            b, a = self.stack.pop(), self.stack.pop()
            self.stack.append(_BINARY[op.name](a, b) % P)
        elif op.name in _UNARY:
            self.stack.append(_UNARY[op.name](self.stack.pop()) % P)
        else:
            self._SIMPLE[op.name](self, *op.arguments)

    def _compare(self, site: Site, name: str, st: Sequence[int]) -> None:
        """Note what an instruction compares, and fail where it would."""
        for kind, left, right, holds in comparisons_of(name, st):
            self.comparisons.append(Comparison(site, kind, left, right, int(holds)))
            if kind in _FAILS and not holds:
                raise _Failure(_FAILS[kind])
            if kind == "zero" and holds:
                raise _Failure(
                    {"div_mod": "DivisionByZero", "log_2_floor": "LogarithmOfZero"}.get(name, "InverseOfZero")
                )

    # structures

    def _if(self, op: Op, site: Site) -> None:
        if self.stack.pop() != 0:
            self.function(op.body, (*site, 0))
        else:
            self.function(op.orelse, (*site, 1))

    def _if_only(self, op: Op, site: Site) -> None:
        if self.stack.pop() != 0:
            self.function(op.body, site)

    def _loop(self, op: Op, site: Site) -> None:
        while self.stack[-1] != 0:
            self.stack[-1] -= 1
            self._step()
            self.function(op.body, site)
            self._compare(site, "skiz", self.stack[-1:])

    def _proof_block(self, op: Op, site: Site) -> None:
        self.function(op.body, site)

    def _call(self, op: Op, site: Site) -> None:
        number, one = self._subroutines[op.text]
        self.function(one.body, (number + 1,))
        if op.name == "entry":
            raise _Halt

    def _halt(self, op: Op, site: Site) -> None:
        raise _Halt

    def _nothing(self, op: Op, site: Site) -> None:
        pass

    def _asm(self, op: Op, site: Site) -> None:
        """Each line by the machine itself."""
        for k, (opcode, argument) in enumerate(instructions_of(op)):
            row = BY_OPCODE[opcode]
            st = self.stack[::-1]
            self.touched |= addresses_of(row.name, argument, st)
            text = row.name if row.argument is None else f"{row.name} {argument}"
            for kind, left, right, holds in comparisons_of(row.name, st):
                self.comparisons.append(Comparison((*site, k), kind, left, right, int(holds)))
            outcome = run_machine(
                f"{text} halt",
                public=self.public[self.public_used :],
                secret=self.secret[self.secret_used :],
                digests=self.digests[self.digests_used :],
                ram=self.ram,
                stack=self.stack,
                sponge=self.sponge,
            )
            self.output += outcome.output
            self.public_used = len(self.public) - outcome.public_left
            self.secret_used = len(self.secret) - outcome.secret_left
            self.digests_used = len(self.digests) - outcome.digests_left
            self.ram, self.sponge = outcome.ram, None if outcome.sponge is None else list(outcome.sponge)
            self.stack = list(outcome.final_stack[::-1][MIN_DEPTH:])
            if outcome.error is not None:
                raise _Failure(outcome.error)

    # the stack

    def _take(self, count: int) -> list[int]:
        """So many words from the top, the top first."""
        taken = self.stack[len(self.stack) - count :][::-1]
        del self.stack[len(self.stack) - count :]
        return taken

    def _push(self, word: int) -> None:
        self.stack.append(word)

    def _pop(self, count: int) -> None:
        self._take(count)

    def _dup(self, i: int) -> None:
        self.stack.append(self.stack[-1 - i])

    def _swap(self, i: int) -> None:
        stack = self.stack
        stack[-1], stack[-1 - i] = stack[-1 - i], stack[-1]

    def _split(self) -> None:
        word = self.stack.pop()
        self.stack += [word >> 32, word % U32_END]

    def _div_mod(self) -> None:
        d, n = self._take(2)
        self.stack += [n // d, n % d]

    def _assert(self, count: int, site: Site) -> None:
        self._compare(site, "assert" if count == 1 else "assert_vector", self.stack[: -2 * DIGEST - 1 : -1])
        self._take(count)

    def _shift(self, name: str, site: Site) -> None:
        n, x = self._take(2)
        self._compare(site, "pow", (2, n))
        factor = pow(2, n, P)
        if name == "shl":
            word = x * factor % P
            self._compare(site, "pop_count", (word,))
            self.stack.append(word)
        else:
            self._compare(site, "div_mod", (x, factor))
            self.stack.append(x // factor)

    # inputs and memory

    def _read_io(self, count: int) -> None:
        if self.public_used + count > len(self.public):
            raise _Failure("EmptyPublicInput")
        self.stack += self.public[self.public_used : self.public_used + count]
        self.public_used += count

    def _hint(self, count: int) -> None:
        if self.secret_used + count > len(self.secret):
            raise _Failure("EmptySecretInput")
        self.stack += self.secret[self.secret_used : self.secret_used + count]
        self.secret_used += count

    def _write_io(self, count: int) -> None:
        self.output += self._take(count)

    def _reveal(self, tag: int, count: int) -> None:
        self.output += [tag, *self._take(count)]

    def _seal(self, tag: int, count: int) -> None:
        words = [tag, *[0] * (RATE - 1 - count), *self._take(count)]
        self.output += Tip5.hash10(words)

    def _load(self, address: int) -> int:
        address %= P
        self.touched.add(address)
        return self.ram.get(address, 0)

    def _store(self, address: int, word: int) -> None:
        self.touched.add(address % P)
        self.ram[address % P] = word

    def _read_mem(self, count: int) -> None:
        p = self.stack.pop()
        self.stack += [self._load(p - k) for k in range(count)]
        self.stack.append((p - count) % P)

    def _write_mem(self, count: int) -> None:
        p, *words = self._take(count + 1)
        for k, word in enumerate(words):
            self._store(p + k, word)
        self.stack.append((p + count) % P)

    def _ram_read(self, count: int) -> None:
        self._read_mem(count)
        self.stack.pop()

    def _ram_write(self, count: int) -> None:
        *words, p = self._take(count + 1)
        for k, word in enumerate(words):
            self._store(p + k, word)

    # hashing

    def _hash(self) -> None:
        self.stack += Tip5.hash10(self._take(RATE))[::-1]

    def _open_sponge(self) -> list[int]:
        if self.sponge is None:
            raise _Failure("SpongeNotInitialized")
        return self.sponge

    def _sponge_init(self) -> None:
        self.sponge = [0] * 16

    def _sponge_absorb(self) -> None:
        sponge = self._open_sponge()
        self.sponge = list(Tip5.permutation([*self._take(RATE), *sponge[RATE:]]))

    def _sponge_squeeze(self) -> None:
        sponge = self._open_sponge()
        self.stack += sponge[:RATE][::-1]
        self.sponge = list(Tip5.permutation(sponge))

    def _sponge_load(self) -> None:
        sponge = self._open_sponge()
        p = self._take(DIGEST)[0]
        words = [self._load(p + k) for k in range(RATE)]
        self.sponge = list(Tip5.permutation([*words, *sponge[RATE:]]))
        self.stack += [*words[3::-1], (p + RATE) % P]

    def _up(self, digest: list[int], index: int, sibling: Sequence[int]) -> None:
        pair = (sibling, digest) if index % 2 else (digest, sibling)
        self.stack += [index // 2, *Tip5.hash_pair(*pair)[::-1]]

    def _merkle_step(self) -> None:
        if self.digests_used >= len(self.digests):
            raise _Failure("EmptySecretDigestInput")
        *digest, index = self._take(DIGEST + 1)
        self.digests_used += 1
        self._up(digest, index, self.digests[self.digests_used - 1])

    def _merkle_load(self) -> None:
        *digest, index, word, p = self._take(DIGEST + 3)
        sibling = [self._load(p + k) for k in range(DIGEST)]
        self.stack += [(p + DIGEST) % P, word]
        self._up(digest, index, sibling)

    # the extension field

    def _ext_mul(self) -> None:
        x, y = self._take(3), self._take(3)
        self.stack += x_mul(x, y)[::-1]

    def _ext_invert(self) -> None:
        x = self._take(3)
        if not any(x):
            raise _Failure("InverseOfZero")
        self.stack += x_inverse(x)[::-1]

    def _element(self, p: int) -> list[int]:
        return [self._load(p + k) for k in range(3)]

    def _fold(self, x: Sequence[int], step: int, p: int, q: int) -> None:
        a = self._take(3)
        product = x_mul(x, self._element(q))
        self.stack += [(u + v) % P for u, v in zip(a, product, strict=True)][::-1]
        self.stack += [(q + 3) % P, (p + step) % P]

    def _fold_ext(self) -> None:
        p, q = self._take(2)
        self._fold(self._element(p), 3, p, q)

    def _fold_base(self) -> None:
        p, q = self._take(2)
        self._fold((self._load(p), 0, 0), 1, p, q)

    _STRUCTURES: Mapping[str, Callable[[_Run, Op, Site], None]] = {
        "if": _if, "if_only": _if_only, "loop": _loop, "proof_block": _proof_block, "call": _call, "entry": _call,
        "halt": _halt, "asm": _asm, "comment": _nothing, "return": _nothing,
    }  # fmt: skip
    _SIMPLE: Mapping[str, Callable[..., None]] = {
        "push": _push, "pop": _pop, "dup": _dup, "swap": _swap, "split": _split, "div_mod": _div_mod, "read_io": _read_io,
        "hint": _hint, "write_io": _write_io, "reveal": _reveal, "seal": _seal, "read_mem": _read_mem, "write_mem": _write_mem,
        "ram_read": _ram_read, "ram_write": _ram_write, "hash": _hash, "sponge_init": _sponge_init,
        "sponge_absorb": _sponge_absorb, "sponge_squeeze": _sponge_squeeze, "sponge_load": _sponge_load,
        "merkle_step": _merkle_step, "merkle_load": _merkle_load, "ext_mul": _ext_mul, "ext_invert": _ext_invert,
        "fold_ext": _fold_ext, "fold_base": _fold_base,
    }  # fmt: skip


_UNARY: Mapping[str, Callable[[int], int]] = {
    "neg": lambda a: -a,
    "invert": inverse,
    "pop_count": int.bit_count,
    "log2": lambda a: a.bit_length() - 1,
}
_BINARY: Mapping[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "eq": lambda a, b: int(a == b),
    "lt": lambda a, b: int(a < b),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "pow": lambda a, b: pow(a, b, P),
}
