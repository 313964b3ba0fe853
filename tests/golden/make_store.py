"""Made `store/` and `store.json` beside this file, once: a store of version 1 that must be readable for ever.

    python tests/golden/make_store.py NEW_FOLDER

makes another of the same content; the one that is kept is never made again, since what matters is that old files are read.
`store.json` is what the slow reader saw in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ostinato.store import Extra, Store
from slow_store_reader import read_store
from store_helpers import made

COLUMNS = {"loss": Extra("<f4", 0.5), "step": "<i8", "greedy": "|b1", "far": Extra("<f8", float("inf"))}


def make(path: Path) -> None:
    """Two segments, a journal of a writer that was stopped while it wrote, one with a damaged frame, corrections everywhere."""
    store = Store.open(path, extras=COLUMNS)
    with store.writer({"host": "größer", "worker": "1"}, rotate_bytes=4096) as writer:
        ids = [writer.append(made(k), {"step": -k, "greedy": k % 2 == 1}) for k in range(24)]
    with store.writer({"worker": "2"}) as writer:
        ids += writer.extend(
            [made(k) for k in range(24, 40)], {"step": range(16), "greedy": True, "loss": float("nan")}
        ).tolist()
    store.amend(ids[3], made(103), reason="an output was not compared: é", at=1_700_000_100)
    store.seal(max_bytes=6000)
    store.amend(ids[3], made(203), reason="nor was another", at=1_700_000_200)
    store.amend(ids[4], made(104), reason="too late to count", at=1_700_000_150)
    store.seal()
    store.amend(ids[4], made(204), reason="counts", at=1_700_000_300)
    with store.writer({}) as writer:
        for k in range(40, 45):
            number = writer.append(made(k), {"step": k, "greedy": False, "far": -1.5}) >> 24
    store.close()
    torn = path / "journals" / f"{number:06d}.journal"
    torn.write_bytes(torn.read_bytes()[:-100])
    with store.writer({"worker": "3"}) as writer:
        for k in range(45, 50):
            number = writer.append(made(k), {"step": k, "greedy": False}) >> 24
    store.close()
    hurt = path / "journals" / f"{number:06d}.journal"
    data = bytearray(hurt.read_bytes())
    data[len(data) // 2] ^= 4
    hurt.write_bytes(data)
    for file in path.glob("catalog.sqlite*"):
        file.unlink()  # it is derived


def seen(path: Path) -> str:
    """What the slow reader sees."""
    found = read_store(path)
    value = {"records": found.records, "amendments": found.amendments, "skipped": found.skipped}
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    make(folder / "store")
    (folder / "store.json").write_text(seen(folder / "store"))
