"""Store: the durable home of build results, in a folder that many processes append to."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.typing import DTypeLike, NDArray

from ostinato import archive, jsonl
from ostinato.arguments import as_int, integer, optional_integer, seconds
from ostinato.errors import DamageError, OstinatoError, UsageError
from ostinato.result import BuildResult
from ostinato.store import layout
from ostinato.store.amendments import SealedAmendment
from ostinato.store.compact import compact
from ostinato.store.creation import create_store
from ostinato.store.cursor import Cursor
from ostinato.store.fs import REAL, FileSystem
from ostinato.store.journal import Context
from ostinato.store.manifest import Extra, Extras, Manifest, as_extras, read_manifest
from ostinato.store.output import SEGMENT_BYTES
from ostinato.store.records import Records, records_of, unseen
from ostinato.store.retention import Keep
from ostinato.store.seal import seal
from ostinato.store.segment import Part
from ostinato.store.upkeep import Progress, Sealed
from ostinato.store.view import Change, View, check_folder, stretches
from ostinato.store.writer import ROTATE_BYTES, Durability, Writer

if TYPE_CHECKING:
    from ostinato.replay import Remover, Sampler
    from ostinato.rewards import Reward
    from ostinato.store.catalog import Catalog
    from ostinato.store.check import Report
    from ostinato.store.following import StoreBuffer
    from ostinato.store.health import Health
    from ostinato.store.programs import Programs
    from ostinato.store.transfer import Merged
    from ostinato.vocabulary import Vocabulary

_CHUNK = 1 << 16


def _reopen(path: str) -> Store:
    return Store.open(path, create=False)


class Store:
    """A folder that keeps build results for good; `Store.open` gives one.

    Any number of processes and threads may append, read, seal and compact at the same time; a store object itself may be
    used by many threads. FORMAT.md says every byte; docs/what-survives-what.md says what is lost when.

    >>> import tempfile
    >>> from ostinato.data import triton_attempts
    >>> store = Store.open(tempfile.mkdtemp() + "/attempts")
    >>> with store.writer(context={"host": "laptop"}) as writer:
    ...     ids = writer.extend(triton_attempts()[:1000])
    >>> len(store), store.results()[0] == triton_attempts()[0]
    (1000, True)
    """

    def __init__(self, path: str, fs: FileSystem, found: Manifest) -> None:
        self._fs, self._root = fs, path
        self._manifest = found
        self._view: View | None = None
        self._catalog: Catalog | None = None
        self._lock = threading.RLock()
        _STORES.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        extras: Mapping[str, Extra | DTypeLike] | None = None,
        fs: FileSystem = REAL,
    ) -> Store:
        """Open the store in this folder.

        Args:
            create: make it, if there is none and the folder is missing or empty.
            extras: the columns that it keeps beside each record: names and dtypes, or `Extra`s; of a store that is there
                already they must be the same. None takes them as they are.
            fs: how files are reached; another one in tests (`ostinato.testing.FaultyFileSystem`).
        Raises:
            FileNotFoundError: there is none and `create` is False. UsageError: the folder holds something else, or the extra
                columns are others. DamageError: MANIFEST cannot be read. VersionError: of a newer version.
            OSError: as the system says.
        """
        root = os.path.realpath(_folder(path))
        if extras is not None and not isinstance(extras, Mapping):
            raise UsageError(f"expected names and dtypes, got {extras!r}", "extras")
        wanted = None if extras is None else as_extras(extras)
        try:
            found = read_manifest(fs, root)
        except FileNotFoundError:
            if not create:
                raise FileNotFoundError(
                    2, "no store: it has no MANIFEST", os.path.join(root, layout.MANIFEST)
                ) from None
            found = create_store(fs, root, wanted or {})
        except NotADirectoryError:
            raise UsageError(f"{root} is a file, not a store's folder", "path") from None
        check_folder(fs, root)
        if wanted is not None and wanted != found.extras:
            raise UsageError(
                f"the store has the columns {described(found.extras)}, not {described(wanted)}", "extras"
            )
        return cls(root, fs, found)

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Its folder."""
        return self._root

    @property
    def store_id(self) -> str:
        """32 hex digits that name it for good."""
        return self._manifest.store_id.hex()

    @property
    def extras(self) -> Extras:
        """The extra columns, by name."""
        return dict(self._manifest.extras)

    def __len__(self) -> int:
        """Records now, those of other processes included; of what is damaged as much as is known. O(what is new)."""
        with self._reading() as (view, _, _):
            segments = sum(segment.records - segment.damaged for segment in view.segments.values())
            return segments + sum(journal.records for journal in view.journals.values())

    def __repr__(self) -> str:
        return f"Store({self._root!r})"

    def close(self) -> None:
        """Give up mapped files and the catalog's connections; results that are held stay readable. Using it opens them again."""
        with self._lock:
            self._view = None
            catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, it is its folder: whoever loads it opens that."""
        if self._fs is not REAL:
            raise UsageError("a store on a file system of its own cannot be pickled", "fs")
        return _reopen, (self._root,)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- appending ------------------------------------------------------------------------------------------

    def writer(
        self,
        context: Mapping[str, str] | None = None,
        *,
        durability: Durability = "system",
        interval_ms: float = 50.0,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> Writer:
        """A writer with a journal of its own.

        Args:
            context: what is the same for all it appends: target, versions of toolchain and verifier, host, worker, what you
                like; str to str, kept in the journal and reachable from every record (`Records.context`).
            durability: when what was appended survives power loss. "system": when the system writes it, some seconds later, or
                when `sync` returns. "group": at most `interval_ms` later. "each": when `append` or `extend` returns.
                Whichever: `append` returned = it survives the death of every process.
            rotate_bytes: a journal that would grow larger is left for a new one.
        Raises:
            UsageError: an argument is not what it should be. OSError: as the system says.
        """
        return Writer(
            self._fs,
            self._root,
            self._manifest,
            lambda: read_manifest(self._fs, self._root),
            context=context,
            durability=durability,
            interval_ms=interval_ms,
            rotate_bytes=rotate_bytes,
        )

    def amend(self, identity: int, result: BuildResult, *, reason: str, at: int | None = None) -> int:
        """Put a corrected verdict beside a record: readers see it from now on, the old one stays in the history.

        Args:
            at: Unix seconds; of several corrections that with the latest counts, of equals the one made last. None is now, but
                not before those that are there.
        Returns:
            The correction's own id.
        Raises:
            UsageError: there is no such record, or the result is of another program. OSError: as the system says.

        As durable as `append`. Sealing, and compacting where the record is sealed already, folds it in. A small journal each:
        for many, `amend_many`.
        """
        return self.amend_many([(identity, result)], reason=reason, at=at)[0]

    def amend_many(
        self, corrections: Iterable[tuple[int, BuildResult]], *, reason: str, at: int | None = None
    ) -> list[int]:
        """`amend` for many records, all of which must be there."""
        given = [(identity, result) for identity, result in corrections]
        if not isinstance(reason, str):
            raise UsageError(f"expected a str, got {type(reason).__name__}", "reason")
        try:
            reason.encode()
        except UnicodeEncodeError:
            raise UsageError("expected text without lone surrogates", "reason") from None
        at = optional_integer(at, "at", 0, 2**63)
        for identity, result in given:
            if not isinstance(result, BuildResult):
                raise UsageError(f"expected a BuildResult, got {type(result).__name__}", "result")
            if self.get(identity).tir_hash != result.tir_hash:
                raise UsageError(f"record {identity} is of another program", "result.tir_hash")
        if not given:
            return []
        with self._reading() as (view, _, _):
            latest = {identity: known.at for identity, (known, _) in view.effective().items()}
        now = int(time.time())
        with self.writer({"role": "amend"}) as writer:
            return [
                # a clock that was set back must not let an older correction count
                writer.amend(i, max(now, latest.get(i, 0)) if at is None else at, reason, result)
                for i, result in ((int(identity), result) for identity, result in given)
            ]

    # --- reading --------------------------------------------------------------------------------------------

    def results(self, since: Cursor | None = None) -> Records:
        """All records, or those that the cursor has not seen, as they are now: segments first, then journals by number, each
        in the order in which its writer appended.

        Cost: O(what is new) where the cursor is the last one that this store gave, else O(records) to find them; 90 bytes a
        record, the text stays in the files. For more than memory holds: `parts`.

        A record that was seen is not told of again when it is corrected: see `amendments`.
        """
        since = Cursor() if since is None else _cursor(since)
        with self._reading() as (view, change, before):
            parts = change.added if since == before else list(view.parts())
            found = [part for part in (unseen(part, since) for part in parts) if part is not None]
            return records_of(view, found, view.cursor.union(since.ranges()))

    def parts(self, since: Cursor | None = None, size: int = _CHUNK) -> Iterator[Records]:
        """The same, at most `size` records at a time; each part's cursor is where to go on after it."""
        since = Cursor() if since is None else _cursor(since)
        size = integer(size, "size", 1, None)
        view = View(self._fs, self._root)
        view.refresh()
        for whole in view.parts():
            part = unseen(whole, since)
            if part is None:
                continue
            for first in range(0, len(part.ids), size):
                ids, places = part.ids[first : first + size], part.places[first : first + size]
                since = since.union(stretches(ids))
                yield records_of(view, [Part(ids, places)], since)

    def follow(
        self,
        since: Cursor | None = None,
        *,
        poll_s: float = 0.1,
        timeout_s: float | None = None,
    ) -> Iterator[Records]:
        """What is there and what comes, as it comes, without an end.

        Each record once; corrections of those that were seen are in `amendments`.

        Args:
            since: begin after this cursor; None: with the first record.
            poll_s: how often to look. timeout_s: end when nothing has come for so long.
        Raises:
            UsageError: an argument is not what it should be; when it is called, not when the first is asked for.
        """
        since = Cursor() if since is None else _cursor(since)
        poll_s = seconds(poll_s, "poll_s")
        timeout_s = None if timeout_s is None else seconds(timeout_s, "timeout_s")
        return self._follow(since, poll_s, timeout_s)

    def _follow(self, since: Cursor, poll_s: float, timeout_s: float | None) -> Iterator[Records]:
        view = View(self._fs, self._root)
        quiet_since = time.monotonic()
        while True:
            change = view.refresh()
            view.buffers.drop(change.left)
            parts = [part for part in (unseen(p, since) for p in change.added) if part is not None]
            if parts:
                for part in parts:
                    for first in range(0, len(part.ids), _CHUNK):
                        some = Part(part.ids[first : first + _CHUNK], part.places[first : first + _CHUNK])
                        since = since.union(stretches(some.ids))
                        yield records_of(view, [some], since)
                quiet_since = time.monotonic()
                continue
            if timeout_s is not None and time.monotonic() - quiet_since >= timeout_s:
                return
            time.sleep(poll_s)

    def get(self, identity: int) -> BuildResult:
        """The record with this id, as it is now.

        Raises:
            UsageError: there is none. DamageError: it cannot be read.
        """
        return self._one(identity)[0]

    def context(self, identity: int) -> Context:
        """The context of the writer that appended this record.

        Raises:
            UsageError: there is no such record.
        """
        return self._one(identity).context(0)

    def _one(self, identity: int) -> Records:
        number = as_int(identity)
        if number is None:
            raise UsageError(f"expected an int, got {identity!r}", "identity")
        with self._reading() as (view, _, _):
            place = view.find(number) if 0 <= number < 2**63 else None
            if place is None:
                raise UsageError(f"no record {identity} in the store", "identity")
            part = Part(np.array([identity], np.int64), np.array([place], np.int64))
            found = records_of(view, [part], view.cursor)
            if not len(found):
                raise DamageError(f"record {identity} cannot be read", source=self._root)
            return found

    def replay(
        self,
        capacity: int,
        *,
        sampler: Sampler | None = None,
        remover: Remover | None = None,
        reward: Reward | None = None,
        seed: int | None = None,
        vocabulary: Vocabulary | None = None,
        max_age_s: int | None = None,
        max_times_sampled: int | None = None,
    ) -> StoreBuffer:
        """A replay buffer over the records where they lie, without a copy, that follows the store: `refresh` takes in what
        others have appended.

        Args: as for ReplayBuffer. Ids are the store's, and stay when records are sealed.

        Cost: 0.1 us a sealed record, 1 us one that was appended alone; memory as MappedBuffer says.
        """
        from ostinato.rewards import reward as seed_reward
        from ostinato.store.following import StoreBuffer

        return StoreBuffer(
            View(self._fs, self._root),
            capacity,
            sampler=sampler,
            remover=remover,
            reward=seed_reward if reward is None else reward,
            seed=seed,
            vocabulary=vocabulary,
            max_age_s=max_age_s,
            max_times_sampled=max_times_sampled,
        )

    def amendments(self) -> list[SealedAmendment]:
        """The history of corrections, oldest first: each with what the record was before, where that is known."""
        with self._reading() as (view, _, _):
            out = [sealed for segment in view.segments.values() for sealed in segment.amendments]
            for journal in view.journals.values():
                out += [SealedAmendment(a, view.as_appended(a.id), False) for a in journal.amendments]
            return sorted(out, key=lambda sealed: (sealed.amendment.at, sealed.amendment.amendment))

    # --- keeping in order -----------------------------------------------------------------------------------

    def seal(
        self,
        *,
        max_bytes: int = SEGMENT_BYTES,
        wait_s: float = 0.0,
        progress: Progress | None = None,
    ) -> Sealed:
        """Make segments of all journals that no writer holds, in order, and fold corrections in.

        Args:
            max_bytes: of a segment's archive, below 2 GiB. wait_s: how long to wait for another process that seals.
            progress: called with (bytes done, bytes in all).
        Raises:
            OstinatoError: another process seals. OSError: as the system says; nothing is lost then.

        A journal with damage is put aside in the folder `aside` when all that can be read of it is sealed. Cost: 5 ns a byte;
        memory for a chunk, and 8 bytes a record of a segment.
        """
        done = seal(
            self._fs,
            self._root,
            max_bytes=integer(max_bytes, "max_bytes", 1, None),
            wait_s=seconds(wait_s, "wait_s"),
            progress=progress,
        )
        self._note_contexts()
        return done

    def compact(
        self,
        keep: Keep | None = None,
        *,
        now: int | None = None,
        max_bytes: int = SEGMENT_BYTES,
        wait_s: float = 0.0,
        progress: Progress | None = None,
    ) -> Sealed:
        """Seal; then write anew what the policy keeps, what was corrected, and small segments as one.

        Args:
            keep: which sealed records stay; None: all. Records in journals that are being written stay.
            now: Unix seconds, for ages; None is now.
        Raises:
            as `seal`.

        Ids stay. Memory: as `seal`, and what Keep says. Cost: as many passes over the fields as the policy has rules (5 for
        `newest`), and 5 ns a byte that is written.
        """
        if keep is not None and not isinstance(keep, Keep):
            raise UsageError(f"expected a Keep, got {keep!r}", "keep")
        now = optional_integer(now, "now", 0, 2**63)
        return compact(
            self._fs,
            self._root,
            keep,
            now=int(time.time()) if now is None else now,
            max_bytes=integer(max_bytes, "max_bytes", 1, None),
            wait_s=seconds(wait_s, "wait_s"),
            progress=progress,
        )

    def health(self, *, now: int | None = None) -> Health:
        """Writers alive and dead, lag, what is torn, damaged, repeated, amended, sizes, the unsealed share, drift.

        Cost: O(records), 0.05 us each.
        """
        from ostinato.store.health import Drift, health

        now = optional_integer(now, "now", 0, 2**63)
        drift: list[Drift] | None = None
        problems: list[str] = []
        if os.path.exists(os.path.join(self._root, layout.CATALOG)):
            try:
                drift = [
                    Drift(
                        tir_hash=program.tir_hash.hex(),
                        name=program.name,
                        cycles=[row.cycles for row in self.programs.history(program.tir_hash)],
                    )
                    for program in self.programs.drift()
                ]
            except (OstinatoError, OSError) as error:
                problems.append(str(error))
        else:
            drift = []
        with self._reading(thorough=True) as (view, _, _):
            return health(
                self._fs, self._root, view, int(time.time()) if now is None else now, drift, problems
            )

    def repair(self, *, wait_s: float = 10.0) -> Report:
        """Put aside what is damaged, so that the rest goes on, then check; see `ostinato.store.check.repair`. Deletes nothing."""
        from ostinato.store.check import repair

        wait_s = seconds(wait_s, "wait_s")
        self.close()
        return repair(self._fs, self._root, wait_s=wait_s)

    def check(self, *, progress: Progress | None = None) -> Report:
        """Read every byte: frames, sums, archives, the catalog. Says what is wrong; changes nothing. 1 GB/s."""
        from ostinato.store.check import check

        return check(self._fs, self._root, progress)

    # --- in and out -----------------------------------------------------------------------------------------

    def import_archive(
        self,
        path: str | os.PathLike[str],
        *,
        context: Mapping[str, str] | None = None,
        extras: Mapping[str, npt.ArrayLike] | None = None,
    ) -> NDArray[np.int64]:
        """Append all records of an archive, such as Trident's replay.rkyv; returns their ids.

        Raises:
            DamageError: rkyv would refuse it; nothing is appended. UsageError, OSError: as `Writer.extend`.
        """
        results = archive.read(path)
        with self.writer({"imported_from": os.path.basename(os.fspath(path)), **(context or {})}) as writer:
            return writer.extend(results, extras)

    def import_jsonl(
        self,
        file: BinaryIO,
        *,
        context: Mapping[str, str] | None = None,
        source: str | None = None,
        skip: Callable[[DamageError], None] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> int:
        """Append the build results of JSON lines as they come; returns how many. What stands before a bad line is appended.

        Args:
            source: the file's name, for messages.
            skip: called with the DamageError of a bad line, which is then passed over; None raises it.
            extras: one value for all, for each extra column.
        Raises:
            DamageError: a line is no build result; says which line and field. UsageError, OSError: as `Writer.append`.
        """
        count = 0
        with self.writer(context) as writer:
            for result in jsonl.read(file, skip=skip, source=source):
                writer.append(result, extras)
                count += 1
        return count

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        best: int | None = None,
        best_per_program: int | None = None,
    ) -> int:
        """Write an archive that Trident opens, highest priority first, of equals the oldest; returns how many records.

        Args:
            best: the so many of the highest priority. best_per_program: of each program those with the fewest cycles.
        Raises:
            UsageError: it would be 2 GiB or more.
        """
        from ostinato.store.transfer import export

        best = optional_integer(best, "best", 0)
        best_per_program = optional_integer(best_per_program, "best_per_program", 0)
        view = View(self._fs, self._root)
        view.refresh()
        return export(view, path, best=best, best_per_program=best_per_program)

    def merge(self, other: Store, *, wait_s: float = 10.0) -> Merged:
        """Bring all records of another store, with new ids, with their contexts and corrections, in one step: killed at any moment,
        all have come or none. Merged again, it brings what is new there. Then programs come, with their baselines.

        Raises:
            UsageError: it is a copy of this store, or an extra column is missing there and has no default.
            OstinatoError: another process seals.

        Records of the other store that come while it is read may stay for the next time. A record comes as it is then: corrected
        there later, it must be corrected here too. Extra columns that this store does not have are left out, and named.
        """
        from ostinato.store.transfer import merge, merge_programs

        if not isinstance(other, Store):
            raise UsageError(f"expected a Store, got {type(other).__name__}", "other")
        wait_s = seconds(wait_s, "wait_s")
        view = View(other._fs, other._root)
        view.refresh()
        merged = merge(self._fs, self._root, view, wait_s=wait_s)
        self._note_contexts()
        path = os.path.join(other._root, layout.CATALOG)
        if not os.path.exists(path):
            return merged
        problems: list[str] = []
        try:
            problems += merge_programs(other.programs, self.programs)
        except (OstinatoError, OSError) as error:  # the records are here by now
            problems.append(str(error))
        return dataclasses.replace(merged, problems=tuple(problems))

    # --- the catalog ----------------------------------------------------------------------------------------

    @property
    def catalog(self) -> Catalog:
        """Programs, contexts, model versions, lineage and metadata, in SQLite."""
        with self._lock:
            if self._catalog is None:
                from ostinato.store.catalog import Catalog

                path = os.path.join(self._root, layout.CATALOG)
                read_only = not os.access(self._root, os.W_OK)
                self._catalog = Catalog(path, read_only=read_only)
            return self._catalog

    @property
    def programs(self) -> Programs:
        """What is to be compiled: for a tir_hash its TIR, name, baseline and cycles."""
        return self.catalog.programs

    def journals_where(self, **values: str) -> list[int]:
        """The numbers, rising, of the journals whose context has all these values, sealed or not; a record's is `id >> 24`.

        Cost: O(journals), from the files: the catalog, which has the same for whoever asks it in SQL, may not be there.
        """
        for name, value in values.items():
            if not isinstance(value, str):
                raise UsageError(f"expected a str, got {value!r}", name)
        with self._reading() as (view, _, _):
            items = view.contexts()
        return sorted(number for number, context, _ in items if values.items() <= context.items())

    def _note_contexts(self) -> None:
        """Copy contexts that the catalog does not have yet; that it cannot be written harms nobody."""
        with self._reading() as (view, _, _):
            items = view.contexts()
        with contextlib.suppress(OstinatoError, OSError):
            self.catalog.put_contexts(items)

    # --- inside ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self, *, thorough: bool = False) -> Iterator[tuple[View, Change, Cursor]]:
        """(the view, what is new in it, its cursor before), under the lock."""
        with self._lock:
            # one whose look was interrupted halfway is of no use any more
            if self._view is None or self._view.is_halfway:
                self._view = View(self._fs, self._root)
            view = self._view
            before = view.cursor
            change = view.refresh(thorough=thorough)
            view.buffers.drop(change.left)
            yield view, change, before


def described(extras: Extras) -> str:
    def one(name: str, extra: Extra) -> str:
        return f"{name} {extra.kind}" + ("" if extra.default is None else f" = {extra.default}")

    return ", ".join(one(name, extra) for name, extra in extras.items()) or "(none)"


def _folder(path: object) -> str:
    """A path as text.

    Raises:
        UsageError: it is none.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise UsageError(f"expected the path of a folder, a str or a Path, got {path!r}", "path")
    return text


def _cursor(given: object) -> Cursor:
    if not isinstance(given, Cursor):
        raise UsageError(f"expected a Cursor, got {type(given).__name__}", "since")
    return given


_STORES: weakref.WeakSet[Store] = weakref.WeakSet()


def _forked() -> None:
    for store in list(_STORES):
        if store._lock.acquire(blocking=False):
            store._lock.release()
        else:  # another thread, which is not here, was in the middle
            store._view, store._lock = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
