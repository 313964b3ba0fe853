"""Vocabulary: stable ids for words, against a plain dict."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato import BuildResult, DamageError, Results, UsageError, Vocabulary
from record_helpers import (
    columns_of,
    complaint,
    every_way,
    few,
    from_list,
    more,
    record,
    record_lists,
    texts,
    words,
)


def numbered(given_words: list[str]) -> dict[str, int]:
    """The model: ids in order of first appearance."""
    model: dict[str, int] = {}
    for word in given_words:
        model.setdefault(word, len(model))
    return model


# Ids


@more
@given(st.lists(words, max_size=40))
def test_ids_are_given_in_order_of_first_appearance(given_words: list[str]):
    model = numbered(given_words)
    assert Vocabulary().ids(given_words) == [model[word] for word in given_words]


@more
@given(st.lists(st.lists(words, max_size=6), max_size=10))
def test_ids_do_not_depend_on_the_parts_words_come_in(portions: list[list[str]]):
    vocabulary = Vocabulary()
    for portion in portions:
        vocabulary.ids(portion)
    assert list(vocabulary) == list(numbered([word for portion in portions for word in portion]))


@every_way
@few
@given(given_records=record_lists)
def test_ids_do_not_depend_on_the_way_words_come_in(results_of: Any, given_records: list[BuildResult]):
    vocabulary = Vocabulary()
    flat, _ = results_of(given_records).tokens(vocabulary)
    told = [word for r in given_records for word in r.generated_tasm]
    assert (flat.tolist(), list(vocabulary)) == (Vocabulary().ids(told), list(numbered(told)))


@few
@given(record_lists)
def test_ids_do_not_depend_on_the_ids_of_another_vocabulary(given_records: list[BuildResult]):
    told = [word for r in given_records for word in r.generated_tasm]
    other = Vocabulary(reversed(list(dict.fromkeys(told))))
    results = Results.from_columns(**columns_of(given_records, other))
    assert list(Vocabulary.from_results(results)) == list(numbered(told))


@every_way
def test_all_ways_meet_in_one_vocabulary(results_of: Any):
    vocabulary = Vocabulary()
    told = ["add", "push 18446744069414584320", "", "é"]
    flat, _ = results_of([record(generated_tasm=told)]).tokens(vocabulary)
    assert (flat.tolist(), vocabulary.ids(told)) == ([0, 1, 2, 3], [0, 1, 2, 3])


def test_a_word_is_found_by_its_id():
    vocabulary = Vocabulary(["push 1", "", "é"])
    assert [vocabulary.word(i) for i in range(3)] == ["push 1", "", "é"]


@pytest.mark.parametrize("token", [-1, 2, 2**31])
def test_an_id_without_a_word_is_refused(token: int):
    message = complaint(UsageError, Vocabulary(["a", "b"]).word, token)
    assert message == f"expected an id in [0, 2), got {token} - at `token`"


def test_a_vocabulary_holds_its_words_only():
    vocabulary = Vocabulary(["push 1", "add"])
    assert [x in vocabulary for x in ("add", "mul", "", "push 1 ", 1, None, b"add")] == [True, *[False] * 6]


def test_asking_whether_a_word_is_there_does_not_add_it():
    vocabulary = Vocabulary()
    assert ("add" in vocabulary, len(vocabulary)) == (False, 0)


def test_the_first_words_are_given_once_each():
    message = complaint(UsageError, Vocabulary, ["a", "b", "c", "b", "a"])
    assert message == "expected each word once, got 'b' again - at `words[3]`"


def test_words_may_come_from_a_generator():
    assert list(Vocabulary(str(i) for i in range(3))) == ["0", "1", "2"]


def test_the_repr_says_how_many():
    assert repr(Vocabulary(["a", "b"], unknown="raise")) == "Vocabulary(2 words, unknown='raise')"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_and_its_source_grow_apart(copied: Any):
    first = Vocabulary(["a"])
    second = copied(first)
    first.ids(["one"])
    second.ids(["two"])
    assert (list(first), list(second)) == (["a", "one"], ["a", "two"])


# Unknown words


def test_an_unknown_word_gets_the_next_id():
    assert (Vocabulary(["a"]).id("b"), Vocabulary(["a"], unknown="add").id("b")) == (1, 1)


def test_an_unknown_word_is_refused_when_asked():
    message = complaint(UsageError, Vocabulary(["a"], unknown="raise").ids, ["a", "b c", "d"])
    assert message == "'b c' is not in the vocabulary - at `generated_tasm`"


@every_way
def test_tokens_of_an_unknown_word_are_refused_when_asked(results_of: Any):
    results = results_of([record(generated_tasm=["add"]), record(generated_tasm=["add", "mul", "nop"])])
    message = complaint(UsageError, results.tokens, Vocabulary(["add"], unknown="raise"))
    assert message == "'mul' is not in the vocabulary - at `generated_tasm`"


def test_a_refused_word_adds_nothing():
    vocabulary = Vocabulary(["a"], unknown="raise")
    complaint(UsageError, vocabulary.ids, ["b"])
    assert ("b" in vocabulary, list(vocabulary)) == (False, ["a"])


def test_an_unknown_word_gets_the_id_that_was_given():
    vocabulary = Vocabulary(["<unknown>", "a"], unknown=0)
    assert (vocabulary.ids(["a", "b", "a", "c"]), len(vocabulary)) == ([1, 0, 1, 0], 2)


@every_way
def test_tokens_of_an_unknown_word_are_the_id_that_was_given(results_of: Any):
    results = results_of([record(generated_tasm=["mul", "add", "a word of more than sixteen bytes"])])
    flat, _ = results.tokens(Vocabulary(["<unknown>", "add"], unknown=0))
    assert flat.tolist() == [0, 1, 0]


@pytest.mark.parametrize("unknown", [-1, 2**31, True, "skip", "", 1.5, None])
def test_what_says_nothing_of_unknown_words_is_refused(unknown: Any):
    message = f"expected 'add', 'raise' or an id in [0, 2**31), got {unknown!r} - at `unknown`"
    assert complaint(UsageError, Vocabulary, unknown=unknown) == message


# Words that are easily taken for one another


def _alike(length: int) -> list[str]:
    """Words of one length that differ in one byte: the first, the last, or the eighth."""
    out = ["a" * length]
    for place in {0, 7, 8, length - 1}:
        if 0 <= place < length:
            out += ["a" * place + c + "a" * (length - place - 1) for c in ("b", "\0", "\x7f")]
    return out


ALIKE = list(
    dict.fromkeys(word for length in (0, 1, 6, 7, 8, 9, 15, 16, 17, 23, 24, 25) for word in _alike(length))
)
# padding with zero bytes must not make them equal
ZEROS = ["\0" * length for length in range(26)]
SAME_TAIL = ["x" * length + "tail" for length in range(26)]


@pytest.mark.parametrize("alike", [ALIKE, ZEROS, SAME_TAIL], ids=["one byte", "zeros", "tail"])
def test_words_that_are_alike_have_ids_of_their_own(alike: list[str]):
    vocabulary = Vocabulary()
    assert (vocabulary.ids(alike), list(vocabulary)) == (list(range(len(alike))), alike)


@pytest.mark.parametrize("alike", [ALIKE, ZEROS, SAME_TAIL], ids=["one byte", "zeros", "tail"])
def test_words_that_are_alike_keep_their_ids_one_by_one(alike: list[str]):
    vocabulary = Vocabulary(alike, unknown="raise")
    assert [vocabulary.ids((word,))[0] for word in alike] == list(range(len(alike)))


@every_way
@pytest.mark.parametrize("alike", [ALIKE, ZEROS, SAME_TAIL], ids=["one byte", "zeros", "tail"])
def test_words_that_are_alike_are_told_apart_in_results(results_of: Any, alike: list[str]):
    results = results_of([record(generated_tasm=alike), record(generated_tasm=alike[::-1])])
    n = len(alike)
    assert results.tokens(Vocabulary())[0].tolist() == [*range(n), *reversed(range(n))]


@pytest.mark.parametrize("size", [7, 8, 9, 15, 16, 17])
def test_words_that_differ_in_the_last_byte_differ(size: int):
    alike = ["p" * (size - 1) + chr(c) for c in range(128)]
    assert Vocabulary().ids(alike + alike) == [*range(128), *range(128)]


# Many


def _many_words() -> list[str]:
    chance = random.Random(7)
    pool = "abcdefghijklmnopqrstuvwxyz 0123456789_"
    found = {""}
    while len(found) < 50_000:
        found.add("".join(chance.choices(pool, k=chance.randrange(41))))
    return sorted(found, key=lambda word: chance.random())


MANY = _many_words()


def test_fifty_thousand_words_get_their_ids_at_once():
    assert Vocabulary().ids(MANY) == list(range(50_000))


def test_fifty_thousand_words_come_back_in_order():
    assert list(Vocabulary(MANY)) == MANY


def test_a_growing_vocabulary_agrees_with_a_dict():
    chance = random.Random(8)
    vocabulary, model, told, expected = Vocabulary(), {}, [], []
    done = 0
    while done < len(MANY):
        size = chance.choice([1, 2, 17, 999, 5000])
        portion = MANY[done : done + size] + chance.choices(MANY[: done + 1], k=size)
        done += size
        expected += [model.setdefault(word, len(model)) for word in portion]
        told += vocabulary.ids(portion)
    assert (told, list(vocabulary)) == (expected, list(model))


@every_way
def test_many_words_in_results_get_their_ids(results_of: Any):
    portions = [record(generated_tasm=MANY[i : i + 8]) for i in range(0, 20_000, 8)]
    flat, _ = results_of(portions).tokens(Vocabulary())
    assert flat.tolist() == list(range(20_000))


def test_words_after_many_are_still_unknown():
    vocabulary = Vocabulary(MANY[:40_000], unknown=0)
    assert set(vocabulary.ids(MANY[40_000:])) == {0}


def test_one_word_may_be_large():
    large = ["x" * 100_000, "x" * 99_999 + "y", "x"]
    assert list(Vocabulary(large)) == large


# Files


@few
@given(
    given_words=st.lists(
        words | texts | st.text("\\nr\n\r\0\u2028\x85", max_size=6), unique=True, max_size=12
    )
)
def test_a_saved_vocabulary_comes_back(tmp_path_factory: Any, given_words: list[str]):
    path = tmp_path_factory.mktemp("saved") / "words.txt"
    Vocabulary(given_words).save(path)
    assert list(Vocabulary.load(path)) == given_words


@pytest.mark.parametrize(
    ("given_words", "content"),
    [
        ([], b""),
        ([""], b"\n"),
        (["push 1", "é"], "push 1\né\n".encode()),
        (["a\\b", "c\nd", "e\rf", "\\n"], b"a\\\\b\nc\\nd\ne\\rf\n\\\\n\n"),
    ],
)
def test_a_file_has_a_word_a_line(tmp_path: Path, given_words: list[str], content: bytes):
    Vocabulary(given_words).save(tmp_path / "words.txt")
    assert (tmp_path / "words.txt").read_bytes() == content


def test_saving_leaves_one_file(tmp_path: Path):
    for given_words in (["a"], ["b"]):
        Vocabulary(given_words).save(tmp_path / "words.txt")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("words.txt", "b\n")]


def test_a_loaded_vocabulary_treats_unknown_words_as_asked(tmp_path: Path):
    Vocabulary(["a"]).save(tmp_path / "words.txt")
    assert "'b' is not in" in complaint(
        UsageError, Vocabulary.load(tmp_path / "words.txt", unknown="raise").id, "b"
    )


def test_ids_go_on_where_the_saved_ones_end(tmp_path: Path):
    Vocabulary(["a", "b"]).save(tmp_path / "words.txt")
    assert Vocabulary.load(str(tmp_path / "words.txt")).ids(["b", "c"]) == [1, 2]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"add", "no newline after the last word - at line 1"),
        (b"add\nmul\npo", "no newline after the last word - at line 3"),
        (b"add\nmul\nadd\n", "'add' stands already on line 1 - at line 3"),
        (b"add\n\nmul\n\n", "'' stands already on line 2 - at line 4"),
        (b"a\\nb\na\\qb\n", "unknown escape \\q - at line 2"),
        (b"add\nmul\\\n", "unknown escape \\ - at line 2"),
        (b"add\n\\\\\\\n", "unknown escape \\ - at line 2"),
        (b"add\nm\xffl\n", "invalid UTF-8 - at byte 5"),
        (b"\xed\xa0\x80\n", "invalid UTF-8 - at byte 0"),
    ],
)
def test_a_damaged_file_says_where(tmp_path: Path, content: bytes, cause: str):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    assert complaint(DamageError, Vocabulary.load, path) == f"{path}: {cause}"


def test_the_line_of_the_damage_can_be_asked(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"a\nb\na\n")
    with pytest.raises(DamageError) as caught:
        Vocabulary.load(path)
    assert (caught.value.line, caught.value.source) == (3, str(path))


def test_every_prefix_of_a_file_is_damaged_or_has_its_first_words(tmp_path: Path):
    path = tmp_path / "words.txt"
    Vocabulary(["push 1", "a\\b", "", "é"]).save(path)
    whole = path.read_bytes()
    read: list[list[str] | None] = []
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        try:
            read.append(list(Vocabulary.load(path)))
        except DamageError:
            read.append(None)
    kept = [found for found in read if found is not None]
    assert kept == [["push 1", "a\\b", "", "é"][:n] for n in range(5)]


def test_a_missing_file_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "words.txt")


@every_way
def test_from_results_has_the_words_of_the_results(results_of: Any):
    results = results_of([record(generated_tasm=["b", "a"]), record(generated_tasm=["a", "c"])])
    assert list(Vocabulary.from_results(results)) == ["b", "a", "c"]


def test_from_results_of_nothing_is_empty():
    assert list(Vocabulary.from_results(from_list([]))) == []
