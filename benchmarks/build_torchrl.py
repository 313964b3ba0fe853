"""Compile torchrl's own C++ sources, which its wheel ships, for the torch that is installed here.

torchrl's prioritized sampler needs them, and the binary in its wheel fits one version of torch only. Nothing happens
where it fits; where there is no compiler, torchrl is left out of the comparison.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path


def main() -> None:
    spec = importlib.util.find_spec("torchrl")
    if spec is None or spec.origin is None:
        return
    home = Path(spec.origin).parent
    import torch  # its libraries must be loaded first

    path = next(home.glob("_torchrl*.so"), home / "_torchrl.so")
    try:
        module = importlib.util.spec_from_file_location("_torchrl", path)
        assert module is not None
        importlib.util.module_from_spec(module)
        return
    except ImportError:
        print(f"compiling torchrl's kernels for torch {torch.__version__}, a minute or two ...", flush=True)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # ninja
    from torch.utils import cpp_extension

    with tempfile.TemporaryDirectory() as folder:
        sources = [str(home / "csrc" / name) for name in ("pybind.cpp", "utils.cpp")]
        cpp_extension.load(
            "_torchrl",
            sources,
            extra_cflags=["-O3", "-DNDEBUG"],
            build_directory=folder,
            is_python_module=False,
        )
        shutil.copy(Path(folder) / "_torchrl.so", path)


if __name__ == "__main__":
    main()
