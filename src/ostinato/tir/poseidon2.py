"""Poseidon2 over Goldilocks as Trident has it: the hash that names programs.

Width 8, rate 4, 4 + 22 + 4 rounds, S-box x**7, matrices of Trident's own, no linear layer before the first round; not the
instance of the paper (Grassi et al. 2023). Bytes become words seven at a time, little-endian, and one word more with their
number; words are added to the state four at a time.
"""

from __future__ import annotations

from ostinato.errors import UsageError
from ostinato.goldilocks import P

WIDTH, RATE = 8, 4
FULL, PARTIAL = 4, 22  # rounds: so many full ones, partial ones, and as many full ones again
_CHUNK = 7  # bytes of a word
_DIAGONAL = tuple(1 + 2**i for i in range(WIDTH))

# the first 8 bytes of BLAKE3 of "Poseidon2-Goldilocks-t8-RF8-RP22-ROUND-WORD", mod p: eight for a full round, one for a partial
# fmt: off
CONSTANTS = (
    5112053732956317697, 9473458116042918275, 10509674974000539580, 17649578896322650714, 4676733232216740700,
    8354783368006601404, 10138633028848232161, 16437060353783668203, 18360095707910039790,
    8336867609519569230, 4926963633758351880, 5260035933000491794, 3476630190093866135, 5625866679009768583,
    8528845028053043751, 4603595646162494420, 6229847923134545385, 5689928932876659435, 8394103725637632273,
    16246099208046105775, 11459621544563647015, 10969903960254288490, 2518195555742053435,
    9909095267935466874, 14023673830025382740, 14121920984902565505, 4097641314176921713,
    17738199677859997055, 5912427587627606825, 14282379239270331892, 5457222966685723756,
    12999430844398258507, 3947817468721077627, 10600188801994782485, 3877028821823860198, 7775096123913438461,
    12010869415468146841, 16589410095207384663, 4047360581237821885, 2778797917901753573, 5542059168689196864,
    16257271287528972260, 14828929226268927700, 17769104411862892639, 13062219995286087020,
    9042522200754645292, 6431223278919660715, 4066719834037882788, 9453917517041397167, 12079232464483056018,
    713472711102401477, 8061670145055072382, 4779630904164538005, 7165782427231800930, 16936887576087672702,
    17332244640078539718, 8061279563104957553, 5269686620889695599, 15286155157547816567, 6457301101363685488,
    14217024426513498286, 10504820015760914800, 13021914642628566138, 14861689880082590633,
    14646556542223768775, 32346361620442563, 12162887057595177814, 5326931431780989541, 11693389311093287677,
    7210745005813644719, 14552266788863451401, 7573975670554093337, 7191682017606712640, 17969919805851795096,
    1280298733489777597, 13303957203066764644, 5493739790208916523, 1497251064115650654, 9425457378657564335,
    398054724767989697, 7072143680536865467, 17016014310720353563, 867404013202565566, 15795053546084681558,
    6035215656416074778, 2618977002729543425,
)
# fmt: on


def permute(state: list[int]) -> list[int]:
    """The state of eight words after thirty rounds. Cost: about 70 us."""
    at = 0
    for turn in range(2 * FULL + PARTIAL):
        if FULL <= turn < FULL + PARTIAL:
            state = [pow((state[0] + CONSTANTS[at]) % P, 7, P), *state[1:]]
            at += 1
            total = sum(state)
            state = [(d * x + total) % P for d, x in zip(_DIAGONAL, state, strict=True)]
        else:
            state = [pow((x + CONSTANTS[at + i]) % P, 7, P) for i, x in enumerate(state)]
            at += WIDTH
            total = sum(state)
            state = [(x + total) % P for x in state]
    return state


def poseidon2(data: bytes) -> bytes:
    """The hash of bytes, 32 bytes: four words, little-endian. Cost: 2.5 us a byte.

    Raises:
        UsageError: it is something else.

    >>> poseidon2(b"").hex()[:16]
    '0c3c1eaef3b8f8d5'
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UsageError(f"expected bytes, got {type(data).__name__}", "data")
    data = bytes(data)
    words = [int.from_bytes(data[i : i + _CHUNK], "little") for i in range(0, len(data), _CHUNK)]
    words.append(len(data))
    state = [0] * WIDTH
    for start in range(0, len(words), RATE):
        if start:
            state = permute(state)
        for i, word in enumerate(words[start : start + RATE]):
            state[i] = (state[i] + word) % P
    return b"".join(word.to_bytes(8, "little") for word in permute(state)[:RATE])
