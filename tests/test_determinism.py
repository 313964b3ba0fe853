"""The same data, seed and calls give the same batches: in this process, in another one, on another machine."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from ostinato import EmptyBufferError, ReplayBuffer
from ostinato.replay import Dedupe
from test_state import CAPACITY, REMOVERS, SAMPLERS, knows_its_number, result

WHOLE = ("ids", "tokens", "offsets", "times_sampled", "timestamp")
REAL = ("priority", "probability", "weight")

# What batches were when this was written. Another number here means that old runs cannot be repeated: say so in
# CHANGELOG.md. The new ones are what `everything()` gives.
GOLDEN: dict[str, list[str]] = {
    "greedy": ["9205d453cfb23069", "5ca6d7ab315d9e09"],
    "uniform": ["fe60a6436dfbd19c", "df73d14f1532f3f9"],
    "uniform without replacement": ["69bdde847d0dc69e", "67bc73081ccdf209"],
    "fifo": ["e71a27a979decc48", "2836a25d1876416d"],
    "lifo": ["1131b78178cf81fe", "419ecc69fafbdee5"],
    "proportional": ["e6dffef8216a0e16", "e3d13e80cd9baf47"],
    "proportional plain": ["90d01e7883afaa3a", "f683200b480a5474"],
    "proportional without replacement": ["0c45f927614602ff", "8373e8b48945066b"],
    "proportional scheduled": ["e6dffef8216a0e16", "4fd1f1ba50ebcaa5"],
    "rank based": ["705346ccc74a0686", "5b3fc04c7dbbb734"],
    "rank based scheduled": ["705346ccc74a0686", "7f27e987d80f8300"],
    "per program": ["42ff4390808a0366", "e5e4efe89313a646"],
    "per program proportional": ["f231db8415c406b6", "a704ab72dc3c45d6"],
    "by outcome": ["a7021ec3840bff5b", "8c0c7f19fc64dfde"],
    "by outcome proportional": ["c9e699f69a730693", "c779375c23aa111c"],
    "fresh": ["7c3cc9b76503f81b", "87d5dcca20347631"],
    "mixture": ["79d4ca98942443cc", "293630560ee75ef4"],
    "mixture of all that is fresh": ["f297033fafefb6ba", "b335583af22cfdb3"],
    "window": ["f4eb69d263c9d7a7", "44e0c554345072cc"],
    "window with a decay": ["e69c08cc7342827d", "b00bb94d05be87ed"],
    "window on ranks": ["890898bdec8a2eb6", "1736a12a67eb15a2"],
    "window on programs": ["f25407f00f6a8b47", "4432ac1f973482c2"],
    "window at a version": ["31df3ff80ddb8aa3", "0d3bcb9f317d4d5a"],
    "mixture of windows": ["c973f26dffdc7295", "a2ecd9b739cd4bb5"],
}
GOLDEN_LEFT: dict[str, str] = {
    "lowest priority": "fb883f87d589f521",
    "lowest priority, newest": "d13617178b10569b",
    "oldest": "10e88deae1ea66b1",
    "least useful": "4f04b990226f70fb",
    "reservoir": "93da8722e34903fd",
    "keep best, lowest": "8242d168e8dc7ca4",
    "keep best, oldest": "788a06b0272238a2",
    "keep best, least useful": "c7c2ec5401f2340f",
    "keep best, reservoir": "6ce1f07d70852250",
}


def digests_of(sampler: Any) -> list[str]:
    """Of what is drawn, and of the numbers beside it to the last bit."""
    buffer = ReplayBuffer(CAPACITY, sampler=sampler, seed=11)
    whole, real = hashlib.sha256(), hashlib.sha256()
    for turn in range(30):
        rng = np.random.default_rng(turn)
        for _ in range(7):
            buffer.push(result(rng, turn))
        buffer.extend([result(rng, turn) for _ in range(5)], rng.integers(0, 9, 5) / 8)
        try:
            batch = buffer.sample(None if turn % 3 and knows_its_number(sampler) else 16)
        except EmptyBufferError:
            whole.update(b"empty")
            continue
        for hashed, names in ((whole, WHOLE), (real, REAL)):
            for name in names:
                column = getattr(batch, name)
                hashed.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
        buffer.update_priorities(batch.ids, rng.integers(0, 9, len(batch)) / 8)
        buffer.remove(buffer.ids()[:: 9 + turn])
    return [whole.hexdigest()[:16], real.hexdigest()[:16]]


def left_by(remover: Any) -> str:
    """A digest of what stays, with repeats merged, and without."""
    hashed = hashlib.sha256()
    for dedupe in (None, Dedupe()):
        buffer = ReplayBuffer(
            CAPACITY, sampler=SAMPLERS["proportional"], remover=remover, seed=5, dedupe=dedupe
        )
        for turn in range(30):
            rng = np.random.default_rng(turn)
            # more programs than are protected at a time
            buffer.extend([result(rng, turn, kinds=4) for _ in range(9)], rng.integers(1, 9, 9) / 8)
            buffer.sample(8)
            hashed.update(buffer.ids().astype("<i8").tobytes())
    return hashed.hexdigest()[:16]


def everything() -> dict[str, Any]:
    samplers = {name: digests_of(sampler) for name, sampler in SAMPLERS.items()}
    return {"samplers": samplers, "removers": {name: left_by(remover) for name, remover in REMOVERS.items()}}


@functools.cache
def here() -> dict[str, Any]:
    return everything()


@functools.cache
def in_another_process(hash_seed: str) -> dict[str, Any]:
    code = "import json; from test_determinism import everything; print(json.dumps(everything()))"
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.dirname(__file__),
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return found


HASH_SEEDS = ["1", "4294967295"]


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_another_process_draws_the_same_batches(name: str, hash_seed: str) -> None:
    assert in_another_process(hash_seed)["samplers"][name] == here()["samplers"][name]


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
@pytest.mark.parametrize("name", REMOVERS)
def test_another_process_removes_the_same_records(name: str, hash_seed: str) -> None:
    assert in_another_process(hash_seed)["removers"][name] == here()["removers"][name]


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_process_draws_the_same_batches_again(name: str) -> None:
    assert digests_of(SAMPLERS[name]) == here()["samplers"][name]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_machine_draws_the_same_records(name: str) -> None:
    assert here()["samplers"][name][0] == GOLDEN[name][0]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_machine_gives_the_same_probabilities_and_weights_to_the_last_bit(name: str) -> None:
    assert here()["samplers"][name][1] == GOLDEN[name][1]


@pytest.mark.parametrize("name", REMOVERS)
def test_every_machine_removes_the_same_records(name: str) -> None:
    assert here()["removers"][name] == GOLDEN_LEFT[name]


def test_each_sampler_and_remover_does_something_else() -> None:
    """Else the digests would say nothing."""
    seen = here()
    drawn, left = {tuple(pair) for pair in seen["samplers"].values()}, set(seen["removers"].values())
    assert (len(drawn), len(left)) == (len(SAMPLERS), len(REMOVERS))
