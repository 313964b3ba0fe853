"""A second Triton VM, for reading: plain ints and lists, an instruction a branch, no table shared with the library.

The top of the stack is the list's end. `run` returns what golden.jsonl has of a program. Text here is instructions and labels
with white space between, no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from blake3 import blake3

P = 2**64 - 2**32 + 1
R = 2**64 % P  # Montgomery form is x R
WITH_ARGUMENT = {
    "push", "pop", "divine", "pick", "place", "dup", "swap", "call", "read_mem", "write_mem", "addi", "read_io", "write_io",
}  # fmt: skip
OPCODES = {
    "push": 1, "pop": 3, "divine": 9, "pick": 17, "place": 25, "dup": 33, "swap": 41, "halt": 0, "nop": 8, "skiz": 2, "call": 49,
    "return": 16, "recurse": 24, "recurse_or_return": 32, "assert": 10, "read_mem": 57, "write_mem": 11, "hash": 18,
    "assert_vector": 26, "sponge_init": 40, "sponge_absorb": 34, "sponge_absorb_mem": 48, "sponge_squeeze": 56, "add": 42,
    "addi": 65, "mul": 50, "invert": 64, "eq": 58, "split": 4, "lt": 6, "and": 14, "xor": 22, "log_2_floor": 12, "pow": 30,
    "div_mod": 20, "pop_count": 28, "xx_add": 66, "xx_mul": 74, "x_invert": 72, "xb_mul": 82, "read_io": 73, "write_io": 19,
    "merkle_step": 36, "merkle_step_mem": 44, "xx_dot_step": 80, "xb_dot_step": 88,
}  # fmt: skip
GROWTH = {
    "push": 1, "dup": 1, "split": 1, "sponge_squeeze": 10, "skiz": -1, "assert": -1, "hash": -5, "assert_vector": -5,
    "sponge_absorb": -10, "add": -1, "mul": -1, "eq": -1, "lt": -1, "and": -1, "xor": -1, "pow": -1, "xx_add": -3,
    "xx_mul": -3, "xb_mul": -1,
}  # fmt: skip
GROWTH_A_WORD = {"pop": -1, "divine": 1, "read_mem": 1, "write_mem": -1, "read_io": 1, "write_io": -1}

LOOKUP = [((b + 1) ** 3 - 1) % 257 for b in range(256)]
_sha = hashlib.sha256(b"Tip5").digest()
MDS = [int.from_bytes(_sha[2 * i : 2 * i + 2], "little") for i in range(16)]
CONSTANTS = [
    int.from_bytes(blake3(b"Tip5" + bytes([i])).digest()[:16], "little") * pow(R, -1, P) % P
    for i in range(80)
]


@lru_cache(maxsize=100_000)
def permuted(state: tuple[int, ...]) -> tuple[tuple[int, ...], frozenset[int]]:
    """(the state after five rounds, the 16-bit limbs that were looked up)"""
    limbs = set()
    for turn in range(5):
        boxed = []
        for i, word in enumerate(state):
            if i < 4:
                raw = (word * R % P).to_bytes(8, "little")
                limbs |= {int.from_bytes(raw[k : k + 2], "little") for k in (0, 2, 4, 6)}
                boxed.append(int.from_bytes(bytes(LOOKUP[b] for b in raw), "little") * pow(R, -1, P) % P)
            else:
                boxed.append(pow(word, 7, P))
        mixed = [sum(MDS[(r - c) % 16] * boxed[c] for c in range(16)) for r in range(16)]
        state = tuple((word + CONSTANTS[16 * turn + i]) % P for i, word in enumerate(mixed))
    return state, frozenset(limbs)


def x_product(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """In the extension: long multiplication, then x**4 = x**2 - x and x**3 = x - 1."""
    long = [0] * 5
    for i in range(3):
        for k in range(3):
            long[i + k] += a[i] * b[k]
    return [(long[0] - long[3]) % P, (long[1] + long[3] - long[4]) % P, (long[2] + long[4]) % P]


class Stop(Exception):  # noqa: N818 - it is how a run ends, not what went wrong with us
    """(kind, message)"""


def shown(word: int) -> str:
    if word >= P - 256:
        return f"-{P - word}"
    return str(word) if word <= 256 else str(word).rjust(20, "0")


class Machine:
    def __init__(self, text: str, public: Iterable[int], secret: Iterable[int], digests: Iterable[Sequence[int]],
                 ram: Iterable[tuple[int, int]], stack: Iterable[int]) -> None:  # fmt: skip
        self.code: dict[int, tuple[str, Any]] = {}  # by word address
        labels, at, tokens = {}, 0, iter(text.split())
        for token in tokens:
            if token.endswith(":"):
                labels[token[:-1]] = at
            elif token in WITH_ARGUMENT:
                argument = next(tokens)
                self.code[at] = token, argument if token == "call" else int(argument) % P
                at += 2
            else:
                self.code[at] = token, None
                at += 1
        self.length = at
        words = []
        for place, (name, argument) in self.code.items():
            if name == "call":
                argument = labels[argument]
                self.code[place] = name, argument
            words += [OPCODES[name]] + ([] if argument is None else [argument])
        self.limbs: set[int] = set()
        self.hash_rows = 6 * (len(words) // 10 + 1)
        padded = [*words, 1] + [0] * (-(len(words) + 1) % 10)
        state = (0,) * 16
        for i in range(0, len(padded), 10):
            state = self.permute((*padded[i : i + 10], *state[10:]))
        self.digest = state[:5]
        self.stack = [*reversed(self.digest), *[0] * 11, *stack]
        self.ip = self.cycles = self.op_stack_rows = self.ram_rows = 0
        self.jumps: list[tuple[int, int]] = []
        self.ram = dict(ram)
        self.public, self.secret, self.digests = list(public), list(secret), [tuple(d) for d in digests]
        self.output: list[int] = []
        self.sponge: tuple[int, ...] | None = None
        self.u32_entries: set[tuple[str, int, int]] = set()
        self.halted = False

    def permute(self, state: tuple[int, ...]) -> tuple[int, ...]:
        after, limbs = permuted(state)
        self.limbs |= limbs
        return after

    def hash_ten(self, words: Sequence[int]) -> tuple[int, ...]:
        self.hash_rows += 6
        return self.permute((*words, 1, 1, 1, 1, 1, 1))[:5]

    def st(self, i: int) -> int:
        return self.stack[-1 - i]

    def pop(self, count: int = 1) -> list[int]:
        """The top first."""
        return [self.stack.pop() for _ in range(count)]

    def word(self, address: int) -> int:
        self.ram_rows += 1
        return self.ram.get(address % P, 0)

    def extension(self, address: int) -> list[int]:
        return [self.word(address + k) for k in range(3)]

    def u32(self, *places: int) -> list[int]:
        for i in places:
            if self.st(i) >= 2**32:
                raise Stop(
                    "OpStackError.FailedU32Conversion",
                    f"failed to convert BFieldElement {shown(self.st(i))} into u32",
                )
        return [self.st(i) for i in places]

    def take(self, queue: list[int], count: int, which: str) -> None:
        if len(queue) < count:
            kind = f"Empty{which.capitalize()}Input"
            raise Stop(kind, f"{which} input buffer is empty after {len(queue)} reads")
        self.stack += queue[:count]
        del queue[:count]

    def step(self) -> None:
        if self.ip >= self.length:
            raise Stop("InstructionPointerOverflow", "instruction pointer points outside of program")
        name, a = self.code[self.ip]
        growth = GROWTH.get(name, 0) + GROWTH_A_WORD.get(name, 0) * (a or 0)
        if len(self.stack) + growth < 16:
            raise Stop("OpStackError.TooShallow", "operational stack is too shallow")
        following = self.ip + (2 if name in WITH_ARGUMENT else 1)
        self.ip = self.act(name, a, following)
        self.op_stack_rows += abs(growth)
        self.cycles += 1

    def act(self, name: str, a: int, following: int) -> int:
        """Do it; where to go on."""
        st, stack = self.st, self.stack
        if name == "push":
            stack.append(a)
        elif name == "pop":
            self.pop(a)
        elif name == "divine":
            self.take(self.secret, a, "secret")
        elif name == "pick":
            stack.append(stack.pop(-1 - a))
        elif name == "place":
            stack.insert(len(stack) - 1 - a, stack.pop())
        elif name == "dup":
            stack.append(st(a))
        elif name == "swap":
            stack[-1], stack[-1 - a] = stack[-1 - a], stack[-1]
        elif name == "halt":
            self.halted = True
        elif name == "skiz":
            if st(0) == 0:
                if following >= self.length:
                    raise Stop("InstructionPointerOverflow", "instruction pointer points outside of program")
                following += 2 if self.code[following][0] in WITH_ARGUMENT else 1
            self.pop()
        elif name == "call":
            self.jumps.append((following, a))
            return a
        elif name in ("return", "recurse", "recurse_or_return"):
            if not self.jumps:
                raise Stop("JumpStackIsEmpty", "jump stack is empty")
            if name == "return" or (name == "recurse_or_return" and st(5) == st(6)):
                return self.jumps.pop()[0]
            return self.jumps[-1][1]
        elif name == "assert":
            if st(0) != 1:
                raise Stop("AssertionFailed", f"assertion failed: expected 1, got {shown(st(0))}")
            self.pop()
        elif name == "assert_vector":
            for i in range(5):
                if st(i) != st(i + 5):
                    raise Stop(
                        "VectorAssertionFailed",
                        f"vector assertion failed because stack[{i}] != stack[{i + 5}]: expected {shown(st(i))}, got {shown(st(i + 5))}",
                    )
            self.pop(5)
        elif name == "read_mem":
            [pointer] = self.pop()
            stack += [self.word(pointer - k) for k in range(a)] + [(pointer - a) % P]
        elif name == "write_mem":
            pointer, *words = self.pop(a + 1)
            self.ram |= {(pointer + k) % P: word for k, word in enumerate(words)}
            self.ram_rows += a
            stack.append((pointer + a) % P)
        elif name == "hash":
            stack += reversed(self.hash_ten(self.pop(10)))
        elif name == "sponge_init":
            self.sponge = (0,) * 16
            self.hash_rows += 1
        elif name in ("sponge_absorb", "sponge_absorb_mem", "sponge_squeeze"):
            if self.sponge is None:
                raise Stop(
                    "SpongeNotInitialized", "the Sponge state must be initialized before it can be used"
                )
            rate = list(self.sponge[:10])
            if name == "sponge_absorb":
                rate = self.pop(10)
            elif name == "sponge_squeeze":
                stack += reversed(rate)
            else:
                pointer, *_ = self.pop(5)
                rate = [self.word(pointer + k) for k in range(10)]
                stack += [*reversed(rate[:4]), (pointer + 10) % P]
            self.hash_rows += 6
            self.sponge = self.permute((*rate, *self.sponge[10:]))
        elif name in ("add", "mul", "eq"):
            y, x = self.pop(2)
            stack.append({"add": (x + y) % P, "mul": x * y % P, "eq": int(x == y)}[name])
        elif name == "addi":
            stack[-1] = (st(0) + a) % P
        elif name == "invert":
            if st(0) == 0:
                raise Stop("InverseOfZero", "0 does not have a multiplicative inverse")
            stack[-1] = pow(st(0), -1, P)
        elif name == "split":
            [x] = self.pop()
            stack += [x >> 32, x & 0xFFFFFFFF]
            self.u32_entries.add(("split", x & 0xFFFFFFFF, x >> 32))
        elif name in ("lt", "and", "xor"):
            x, y = self.u32(0, 1)
            self.pop(2)
            stack.append({"lt": int(x < y), "and": x & y, "xor": x ^ y}[name])
            self.u32_entries.add(("lt" if name == "lt" else "and", x, y))
        elif name == "div_mod":
            n, d = self.u32(0, 1)
            if d == 0:
                raise Stop("DivisionByZero", "division by 0 is impossible")
            stack[-2:] = [n // d, n % d]
            self.u32_entries |= {("lt", n % d, d), ("split", n, n // d)}
        elif name == "pow":
            [e] = self.u32(1)
            [base, _] = self.pop(2)
            stack.append(pow(base, e, P))
            self.u32_entries.add(("pow", base, e))
        elif name in ("log_2_floor", "pop_count"):
            [x] = self.u32(0)
            if name == "log_2_floor" and x == 0:
                raise Stop("LogarithmOfZero", "the logarithm of 0 does not exist")
            stack[-1] = x.bit_length() - 1 if name == "log_2_floor" else x.bit_count()
            self.u32_entries.add((name, x, 0))
        elif name in ("xx_add", "xx_mul"):
            x, y = self.pop(3), self.pop(3)
            z = x_product(x, y) if name == "xx_mul" else [(u + v) % P for u, v in zip(x, y, strict=True)]
            stack += reversed(z)
        elif name == "xb_mul":
            scalar, *x = self.pop(4)
            stack += reversed([scalar * word % P for word in x])
        elif name == "x_invert":
            x = self.pop(3)
            if x == [0, 0, 0]:
                self.stack += reversed(x)
                raise Stop("InverseOfZero", "0 does not have a multiplicative inverse")
            stack += reversed(x_power(x, P**3 - 2))
        elif name == "read_io":
            self.take(self.public, a, "public")
        elif name == "write_io":
            self.output += self.pop(a)
        elif name in ("merkle_step", "merkle_step_mem"):
            [index] = self.u32(5)
            if name == "merkle_step":
                if not self.digests:
                    raise Stop("EmptySecretDigestInput", "no more secret digests available")
                sibling = self.digests.pop(0)
            else:
                sibling = tuple(self.word(st(7) + k) for k in range(5))
                stack[-8] = (st(7) + 5) % P
            own = self.pop(5)
            pair = (*own, *sibling) if index % 2 == 0 else (*sibling, *own)
            stack[-1] = index // 2
            stack += reversed(self.hash_ten(pair))
            self.u32_entries.add(("split", index, index // 2))
        elif name in ("xx_dot_step", "xb_dot_step"):
            right, left, *acc = self.pop(5)
            x = self.extension(left)
            if name == "xx_dot_step":
                z, right = x_product(x, self.extension(right)), right + 3
            else:
                scalar = self.word(right)
                z, right = [scalar * word % P for word in x], right + 1
            stack += reversed([(u + v) % P for u, v in zip(acc, z, strict=True)])
            stack += [(left + 3) % P, right % P]
        else:
            assert name == "nop", name
        return following

    def heights(self) -> dict[str, int]:
        def rows(kind: str, a: int, b: int) -> int:
            return 1 + (b if kind == "pow" else max(a, b)).bit_length()

        return {
            "program": -(-(self.length + 1) // 10) * 10,
            "processor": self.cycles,
            "op_stack": self.op_stack_rows,
            "ram": self.ram_rows,
            "jump_stack": self.cycles,
            "hash": self.hash_rows,
            "cascade": len(self.limbs),
            "lookup": 256,
            "u32": sum(rows(*entry) for entry in self.u32_entries),
        }


def x_power(x: Sequence[int], exponent: int) -> list[int]:
    """The group of the extension has p**3 - 1 elements."""
    result, square = [1, 0, 0], list(x)
    while exponent:
        if exponent & 1:
            result = x_product(result, square)
        square = x_product(square, square)
        exponent >>= 1
    return result


def run(
    text: str, public: Iterable[int] = (), secret: Iterable[int] = (), digests: Iterable[Sequence[int]] = (),
    ram: Iterable[Sequence[int]] = (), stack: Iterable[int] = (), max_cycles: int = 20_000,
) -> dict[str, Any]:  # fmt: skip
    """What golden.jsonl says of a program; the wording of its fields is there."""
    machine = Machine(text, public, secret, digests, ram, stack)
    error = message = None
    try:
        while not machine.halted:
            if machine.cycles >= max_cycles:
                raise Stop("CycleLimit", f"no halt within {max_cycles} cycles")
            machine.step()
    except Stop as stop:
        error, message = stop.args
    out: dict[str, Any] = {
        "ok": error is None, "halted": error is None, "error": error, "ip": machine.ip, "cycles": machine.cycles,
        "output": machine.output, "final_stack": machine.stack[::-1],
        "ram": [list(pair) for pair in sorted(machine.ram.items())],
        "sponge": None if machine.sponge is None else list(machine.sponge),
        "jump_stack": [list(entry) for entry in machine.jumps],
        "public_left": len(machine.public), "secret_left": len(machine.secret), "digests_left": len(machine.digests),
        "program_digest": list(machine.digest), "program_len": machine.length,
    }  # fmt: skip
    if error is not None:
        return {**out, "error_message": message}
    heights = machine.heights()
    height = max(heights.values())
    return {**out, "heights": heights, "height": height, "padded_height": 1 << (height - 1).bit_length()}
