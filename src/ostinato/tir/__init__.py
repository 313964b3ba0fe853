"""What is asked: for now the hash that names programs."""

from ostinato.tir.poseidon2 import poseidon2

__all__ = ["poseidon2"]
