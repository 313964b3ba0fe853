"""ostinato sample: draw from a file or a store as a trainer would."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ostinato.cli.common import (
    File,
    Json,
    busy,
    code,
    make_table,
    number,
    open_store,
    out,
    print_json,
    read_archive,
)
from ostinato.replay import (
    Fifo,
    Greedy,
    Lifo,
    PerProgram,
    Proportional,
    RankBased,
    ReplayBuffer,
    Sampler,
    Uniform,
)


class SamplerName(StrEnum):
    """The samplers a command can name."""

    greedy = "greedy"
    proportional = "proportional"
    rank_based = "rank-based"
    per_program = "per-program"
    uniform = "uniform"
    fifo = "fifo"
    lifo = "lifo"


def sample(
    file: File,
    n: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="How many to draw.")] = 10,
    sampler: Annotated[SamplerName, typer.Option(help="How to choose.")] = SamplerName.greedy,
    alpha: Annotated[
        float, typer.Option(help="proportional, rank-based, per-program: how much priorities or ranks count.")
    ] = 0.6,
    beta: Annotated[float, typer.Option(help="The same: how much weights correct for that.")] = 0.4,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same.")] = 0,
    json: Json = False,
) -> None:
    """Draw N build results from FILE.

    greedy takes the highest priorities, fifo the oldest, lifo the newest; the others draw by chance, with replacement,
    per-program a program first and then one of its records in proportion to priorities. Of a store, `record` is its id.
    """
    chosen: dict[SamplerName, Sampler] = {
        SamplerName.greedy: Greedy(),
        SamplerName.proportional: Proportional(alpha=alpha, beta=beta),
        SamplerName.rank_based: RankBased(alpha=alpha, beta=beta),
        SamplerName.per_program: PerProgram(Proportional(alpha=alpha, beta=beta)),
        SamplerName.uniform: Uniform(),
        SamplerName.fifo: Fifo(),
        SamplerName.lifo: Lifo(),
    }
    batch = _buffer(file, chosen[sampler], seed).sample(n)
    if json:
        print_json(
            [
                {
                    "record": int(batch.ids[i]),
                    "priority": float(batch.priority[i]),
                    "probability": float(batch.probability[i]),
                    "weight": float(batch.weight[i]),
                    "result": batch[i].to_dict(),
                }
                for i in range(len(batch))
            ]
        )
        return
    wide = out.width >= 110  # the instructions need more than a narrow terminal has
    names = ("record", "priority", "probability", "weight", "program", "cycles", "baseline", "outcome")
    table = make_table(*names, *(["code"] if wide else []), text=("program", "outcome"))
    for i, result in enumerate(batch):
        outcome = "fallback" if result.fallback_used else "valid" if result.valid else "invalid"
        cells = (
            number(int(batch.ids[i])),
            f"{batch.priority[i]:.4g}",
            f"{batch.probability[i]:.3g}",
            f"{batch.weight[i]:.3f}",
            result.tir_hash.hex()[:8],
            number(result.clock_cycles),
            number(result.compiler_cycles),
            outcome,
        )
        instructions = [code(result.generated_tasm, beside=88)] if wide else []
        table.add_row(*map(Text, (*cells, *instructions)))
    out.print(table)


def _buffer(file: Path, sampler: Sampler, seed: int) -> ReplayBuffer:
    """A buffer of all that is there."""
    if file.is_dir():
        with open_store(file) as store, busy("reading"):
            return store.replay(max(1, len(store)), sampler=sampler, seed=seed)
    results = read_archive(file)
    buffer = ReplayBuffer(max(1, len(results)), sampler=sampler, seed=seed)
    buffer.extend(results)
    return buffer
