"""Which context each journal was written in: copied from the files, so that it can be asked for by its values.

Rule of this file: the files are the truth. A row that differs is replaced; one that is damaged is left out and
made anew by `rebuild_contexts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ostinato.errors import DamageError, UsageError
from ostinato.store.catalog_database import Database
from ostinato.store.catalog_rows import CONTEXTS, checked_int, checked_text, from_json, to_json
from ostinato.store.catalog_session import Session
from ostinato.store.layout import JOURNAL_END


@dataclass(frozen=True, slots=True)
class JournalContext:
    """What a writer said about itself when it opened a journal (`opened`, Unix seconds)."""

    journal: int
    context: dict[str, str]
    opened: int


class Contexts(Database):
    """Contexts of journals. Costs are per call; see Database."""

    def put_contexts(self, items: Iterable[tuple[int, Mapping[str, str], int]]) -> None:
        """Keep (journal, context, opened) of each item; one that is kept already costs no write.

        Raises:
            UsageError: a number is out of range, or a context holds something else than texts; nothing is kept.
        """
        given = [_checked(*item) for item in items]
        self.refuse_read_only()
        with self.reading() as session:
            new = [item for item in given if not _has(session, item)]
        if new:
            with self.writing() as session:
                for item in new:
                    keep(session, item)

    def rebuild_contexts(self, items: Iterable[tuple[int, Mapping[str, str], int]]) -> None:
        """The same, of all journals: what else was kept is forgotten, damaged rows too."""
        given = [_checked(*item) for item in items]
        with self.writing() as session:
            session.execute("DELETE FROM contexts")
            session.execute("DELETE FROM context_values")
            for item in given:
                keep(session, item)

    def contexts(self) -> dict[int, JournalContext]:
        """Every journal's context, by its number; damaged ones are left out (`left_out`).

        Cost: O(journals), about 10 us each.
        """
        with self.reading() as session:
            return {item.journal: item for item in session.rows(CONTEXTS, context_of)}

    def journals_where(self, /, **values: str) -> list[int]:
        """The journals, rising, whose contexts have all these values; all journals, if none is named.

        Cost: O(journals that have any one of them), by an index.
        """
        wanted = {checked_text(key, "key"): checked_text(value, key) for key, value in values.items()}
        with self.reading() as session:
            if not wanted:
                return [item.journal for item in session.rows(CONTEXTS, context_of)]
            found = [_indexed(session, key, value) for key, value in wanted.items()]
            # the index is for finding only: what is damaged in it must not tell us wrong
            journals = [(journal,) for journal in sorted(set.intersection(*found))]
            items = session.rows(CONTEXTS, context_of, journals)
            return [item.journal for item in items if wanted.items() <= item.context.items()]


def _checked(journal: Any, context: Any, opened: Any) -> JournalContext:
    if not isinstance(context, Mapping):
        raise UsageError("expected a mapping of str to str", "context")
    texts = {checked_text(key, "context"): checked_text(value, "context") for key, value in context.items()}
    return JournalContext(
        checked_int(journal, "journal", JOURNAL_END, 1), texts, checked_int(opened, "opened")
    )


def _has(session: Session, item: JournalContext) -> bool:
    try:
        return session.row(CONTEXTS, (item.journal,), context_of) == item
    except DamageError:
        return False  # the files are right


def _indexed(session: Session, key: str, value: str) -> set[int]:
    sql = "SELECT journal FROM context_values WHERE key = ? AND value = ?"
    return {journal for (journal,) in session.query(sql, key, value) if type(journal) is int}


def context_of(cells: tuple[Any, ...]) -> JournalContext:
    """A checked row's context. Raises DamageError if it holds something else than texts."""
    journal, _, opened = cells
    context = from_json(CONTEXTS, cells, "context", dict)
    if not all(isinstance(value, str) for value in context.values()):
        raise CONTEXTS.damage(cells, "a value of the context is no text")
    if not 1 <= journal < JOURNAL_END or opened < 0:
        raise CONTEXTS.damage(cells, "a number is out of range")
    return JournalContext(journal, context, opened)


def keep(session: Session, item: JournalContext) -> None:
    """Keep a context and its values, instead of those of the same journal."""
    if session.one("SELECT 1 FROM contexts WHERE journal = ?", item.journal) is not None:
        # by the journal, not by the values of the old row, which may be damaged: a scan, but rare
        session.execute("DELETE FROM context_values WHERE journal = ?", item.journal)
    session.insert(CONTEXTS, (item.journal, to_json(item.context, "context"), item.opened))
    for key, value in item.context.items():
        session.execute("INSERT OR REPLACE INTO context_values VALUES (?, ?, ?)", key, value, item.journal)


def check_values(session: Session) -> Iterator[str]:
    """What is wrong with the index of values, in words."""
    items = session.rows(CONTEXTS, context_of)
    expected = {(key, value, item.journal) for item in items for key, value in item.context.items()}
    strange = 0
    for row in session.query("SELECT key, value, journal FROM context_values"):
        if row in expected:
            expected.remove(row)
        else:
            strange += 1
    for count, what in (len(expected), "are missing"), (strange, "are of no context"):
        if count:
            yield f"{session.path}: {count} rows of context_values {what}; rebuilding the contexts mends it"
