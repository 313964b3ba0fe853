"""The store: a folder that keeps build results for good; many processes append, no kill hurts.

    store = Store.open("attempts")
    with store.writer(context={"host": "laptop"}) as writer:
        writer.append(result)                 returned: it survives the death of any process
    buffer = store.replay(1_000_000)          records where they lie; buffer.refresh() takes in what others append

FORMAT.md describes every byte. Importing this loads numpy alone.
"""

from ostinato.store.cursor import Cursor
from ostinato.store.manifest import Extra
from ostinato.store.records import Records
from ostinato.store.retention import Keep
from ostinato.store.store import Store
from ostinato.store.upkeep import Sealed
from ostinato.store.writer import Writer

__all__ = ["Cursor", "Extra", "Keep", "Records", "Sealed", "Store", "Writer"]
