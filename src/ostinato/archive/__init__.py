"""Archives: files in rkyv 0.8's format, as Trident reads and writes its `replay.rkyv`.

    archive.save("replay.rkyv", results)      whole or not at all
    results = archive.open("replay.rkyv")     mapped, checked, nothing copied
    archive.loads(archive.dumps(results))     the same, of bytes

FORMAT.md describes every byte.
"""

from ostinato.archive.canonical import Deviation, deviation
from ostinato.archive.reading import loads, open, read
from ostinato.archive.writing import ArchiveWriter, dumps, save

__all__ = ["ArchiveWriter", "Deviation", "deviation", "dumps", "loads", "open", "read", "save"]
