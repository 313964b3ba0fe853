"""The public surface, what importing it costs, and that imports point one way."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import ostinato
from ostinato import archive, judge, online, replay, report, store, targets, testing, tir, triton

SOURCE = Path(ostinato.__file__).parent
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "__pycache__" not in path.parts)

PUBLIC = {
    ostinato: {
        "Batch",
        "BuildResult",
        "DamageError",
        "EmptyBufferError",
        "OstinatoError",
        "RateLimitError",
        "ReplayBuffer",
        "Results",
        "Store",
        "UsageError",
        "VersionError",
        "Vocabulary",
        "archive",
        "judge",
        "replay",
        "reward",
        "store",
        "tir",
        "triton",
    },
    archive: {"ArchiveWriter", "Deviation", "deviation", "dumps", "loads", "open", "read", "save"},
    replay: {
        "DEFAULT_PATH",
        "Batch",
        "ByOutcome",
        "Dedupe",
        "Draw",
        "Fifo",
        "Fresh",
        "Greedy",
        "KeepBest",
        "LeastUseful",
        "Lifo",
        "LinearSchedule",
        "LowestPriority",
        "MappedBuffer",
        "Mixture",
        "Oldest",
        "PerProgram",
        "Proportional",
        "RankBased",
        "RateLimiter",
        "Remover",
        "RemoverIndex",
        "ReplayBuffer",
        "Reservoir",
        "Sampler",
        "SamplerIndex",
        "Scope",
        "Stats",
        "Table",
        "Uniform",
        "Window",
        "scale_free_priority",
        "td_priority",
    },
    store: {"Cursor", "Extra", "Keep", "Records", "Sealed", "Store", "Writer"},
    online: {
        "Decision",
        "Evaluation",
        "decide",
        "evaluate",
        "Beam",
        "Builder",
        "EditPolicy",
        "Example",
        "Features",
        "Find",
        "Folder",
        "Found",
        "Judged",
        "Learner",
        "Metrics",
        "Moment",
        "Verdict",
        "Policy",
        "Pool",
        "Proposals",
        "Rule",
        "RuleBook",
        "RulePolicy",
        "Study",
        "Target",
        "Task",
        "Work",
        "Worker",
        "learn",
    },
    targets: {
        "Best",
        "TritonTarget",
        "best",
        "functions_in",
        "held_out",
        "is_straight",
        "judged_again",
        "keep",
        "load",
    },
    report: {"Snapshot", "snapshot", "write"},
    triton: {
        "BY_NAME",
        "ERRORS",
        "INSTRUCTIONS",
        "TABLES",
        "Instruction",
        "Outcome",
        "ParseError",
        "Program",
        "Step",
        "Tip5",
        "format",
        "parse",
        "run",
        "trace",
    },
    tir: {
        "Builder",
        "Comparison",
        "FAMILIES",
        "HELD_OUT",
        "OPERATIONS",
        "Op",
        "Operation",
        "Program",
        "Result",
        "Subroutine",
        "TRAINING",
        "TYPES",
        "Value",
        "check",
        "cid",
        "corpus",
        "family",
        "format",
        "from_bytes",
        "interpret",
        "lower",
        "parse",
        "parse_many",
        "poseidon2",
        "to_bytes",
    },
    judge: {
        "Coverage",
        "Event",
        "Evidence",
        "Expected",
        "Finding",
        "Function",
        "Input",
        "Judge",
        "Reason",
        "Reference",
        "Report",
        "Verdict",
        "Verdicts",
        "judge",
        "load_programs",
        "of_tasm",
        "of_tir",
        "reverify",
        "run_block",
        "save_programs",
    },
    testing: {"FaultyFileSystem", "PowerLoss", "build_results", "instructions", "results"},
}
every_package = pytest.mark.parametrize("package", PUBLIC, ids=lambda package: package.__name__)


# Names


@every_package
def test_the_public_names_are_these(package: ModuleType):
    assert set(package.__all__) == PUBLIC[package]


@every_package
def test_the_public_names_are_sorted_and_stand_once(package: ModuleType):
    # as ruff sorts them: constants first, then classes, then the rest
    def kind(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert list(package.__all__) == sorted(set(package.__all__), key=kind)


@every_package
def test_every_public_name_exists(package: ModuleType):
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


@every_package
def test_no_public_name_is_left_out(package: ModuleType):
    names = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert names - set(package.__all__) == set()


def test_both_homes_of_a_name_give_the_same_thing():
    assert (ostinato.Batch, ostinato.ReplayBuffer) == (replay.Batch, replay.ReplayBuffer)


def test_the_errors_are_a_tree():
    assert [
        ostinato.UsageError.__mro__[1:3],
        ostinato.DamageError.__bases__,
        ostinato.VersionError.__bases__,
        ostinato.EmptyBufferError.__bases__,
        ostinato.RateLimitError.__bases__,
    ] == [(ostinato.OstinatoError, ValueError), *[(ostinato.OstinatoError,)] * 4]


@every_package
def test_every_package_says_what_it_is(package: ModuleType):
    assert package.__doc__


DOCUMENTED = [
    (package.__name__, name)
    for package, names in PUBLIC.items()
    for name in sorted(names)
    if inspect.isclass(getattr(package, name)) or inspect.isfunction(getattr(package, name))
]


@pytest.mark.parametrize(("package", "name"), DOCUMENTED)
def test_every_public_class_and_function_says_what_it_does(package: str, name: str):
    doc = inspect.getdoc(getattr(sys.modules[package], name)) or f"{name}("
    # a dataclass without words of its own gets its signature for a docstring
    assert not doc.startswith(f"{name}(")


def test_the_types_are_shipped():
    assert (SOURCE / "py.typed").is_file()


# What an import costs

HEAVY = [
    "numba",
    "llvmlite",
    "typer",
    "click",
    "rich",
    "plotille",
    "plotly",
    "torch",
    "ray",
    "pyarrow",
    "sqlite3",
]


def _loaded(program: str) -> list[str]:
    """Which of the heavy modules a child process has loaded after this program."""
    report = f"{program}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True)
    return list(ast.literal_eval(done.stdout))


RECORD = """
import ostinato
record = ostinato.BuildResult(tir_hash=bytes(32), generated_tasm=["push 1", "a long instruction"], valid=True,
    clock_cycles=None, compiler_cycles=10, fallback_used=False, timestamp=0, model_version=1)
"""


@pytest.mark.parametrize(
    "program",
    [
        "import ostinato",
        "import ostinato.archive, ostinato.replay, ostinato.jsonl, ostinato.summary, ostinato.data",
        "from ostinato import triton\ntriton.parse('push 1 halt').words",
        "import ostinato.judge, ostinato.tir",
        RECORD + "ostinato.archive.dumps([record] * 3)",
        RECORD + "from ostinato import jsonl\njsonl.parse(jsonl.dump(record))",
        RECORD + "ostinato.reward(ostinato.Results.concat([record]))",
        RECORD + "ostinato.reward(record)",
        RECORD + "ostinato.Results.concat([record])[0]",
    ],
    ids=[
        "import",
        "modules",
        "triton",
        "judge",
        "dumps",
        "jsonl",
        "reward of many",
        "reward of one",
        "results",
    ],
)
def test_what_a_short_lived_process_does_loads_nothing_heavy(program: str):
    assert _loaded(program) == []


def test_the_search_for_heavy_modules_finds_them():
    assert _loaded("import numba, rich") == ["numba", "llvmlite", "rich"]


# Imports point one way

# from what is used to what uses it, as ARCHITECTURE.md has them
LAYERS = [
    ["errors"],
    ["arguments"],
    ["files"],
    ["kernels"],
    ["goldilocks"],
    ["result"],
    ["vocabulary"],
    ["text"],
    ["results"],
    ["rewards"],
    ["archive"],
    ["replay"],
    ["jsonl", "summary", "data"],
    ["store"],
    ["triton"],
    ["tir"],
    ["judge"],
    ["online"],
    ["targets"],
    ["report"],
    [""],  # the package itself, which gives all of them their public names
    ["cli", "testing"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def _module(path: Path) -> str:
    """The dotted name below `ostinato`; "" for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _layer(module: str) -> str:
    return module.split(".", maxsplit=1)[0].removesuffix("_kernels")


def _imports(tree: ast.AST, *, local: bool = False) -> Iterator[tuple[str, bool]]:
    """Every module of this package that is imported, and whether only inside a function; not for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "ostinato":
                    yield alias.name.partition(".")[2], local
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            assert node.level == 0, "imports are absolute"
            if base.split(".")[0] == "ostinato":
                for alias in node.names:
                    full = f"{base}.{alias.name}".split(".")[1:]
                    here = SOURCE.joinpath(*full)
                    is_module = here.is_dir() or here.with_suffix(".py").is_file()
                    yield ".".join(full if is_module else full[:-1]), local
        else:
            inside = local or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from _imports(node, local=inside)


IMPORTS = [
    (_module(path), imported, local)
    for path in MODULES
    for imported, local in _imports(ast.parse(path.read_text(encoding="utf-8")))
]


def test_every_module_has_its_layer():
    assert {_layer(_module(path)) for path in MODULES} - RANK.keys() == set()


def test_imports_point_one_way():
    wrong = [
        f"{module} imports {imported}"
        for module, imported, _ in IMPORTS
        if _layer(module) != "" and RANK[_layer(imported)] > RANK[_layer(module)]
    ]
    assert wrong == []


def test_the_imports_are_found():
    assert {("results", "result", False), ("vocabulary", "vocabulary_kernels", True)} <= set(IMPORTS)


def test_kernels_are_imported_by_kernels_or_inside_functions():
    wrong = [
        f"{module} imports {imported}"
        for module, imported, local in IMPORTS
        if imported.endswith("kernels") and not local and not module.endswith("kernels")
    ]
    assert wrong == []


def _foreign(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


UNSAFE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


@pytest.mark.parametrize("path", MODULES, ids=_module)
def test_no_module_imports_pickle(path: Path):
    assert _foreign(path) & UNSAFE == set()


@pytest.mark.parametrize("path", MODULES, ids=_module)
def test_numba_is_known_in_one_place(path: Path):
    assert not _foreign(path) & {"numba", "llvmlite"} or _module(path) == "kernels"


@pytest.mark.parametrize("path", MODULES, ids=_module)
def test_the_terminal_is_known_to_the_command_line_only(path: Path):
    assert not _foreign(path) & {"typer", "rich", "plotille", "click"} or _layer(_module(path)) == "cli"
