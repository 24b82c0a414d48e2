"""Canonical JSON: written fast where Python's own writer gives the bytes of RFC 8785, and as `rfc8785` writes it everywhere else."""

import json
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from livinglab.domain.canonical import _no_duplicates, _no_number, _written_fast, canonical, parse_json, quoted
from livinglab.domain.errors import Invalid


class Word(StrEnum):
    YES = "yes"


class Number(IntEnum):
    ONE = 1


def outcome(function: Callable[[Any], Any], value: Any) -> Any:
    """What comes out, or the kind of error; `Invalid` is what we make of the library's."""
    try:
        return function(value)
    except Invalid:
        return rfc8785.CanonicalizationError
    except rfc8785.CanonicalizationError:
        return rfc8785.CanonicalizationError
    except (ValueError, TypeError, RecursionError) as error:
        return type(error)


text = st.text(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from('\b\f\n\r\t\0\x1f\x7f\\"/\u2028\ud7ff\ud800\udfff\ue000\uffff\U00010000'))
)
"""With lone surrogates, and with those beside which order by code points and by UTF-16 differ."""
plain = st.one_of(st.none(), st.booleans(), text, st.integers(-(2**53) + 1, 2**53 - 1))
odd = st.one_of(st.floats(), st.integers(), st.sampled_from([2**53, -(2**53), Word.YES, Number.ONE, b"bytes", {1}]))
odd_keys = st.one_of(text, st.integers(), st.none(), st.booleans(), st.just(Word.YES))


def documents(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(keys, inner)), max_leaves=20)


@given(st.one_of(documents(plain, text), documents(st.one_of(plain, odd), odd_keys)))
@example({"\ue000": 1, "\U00010000": 2})
@example({"a": {"\ud800": 1}})
@example({1: 2, "1": 3})
@example([2**53 - 1, -(2**53) + 1])
@example(2**53)
@example(10**5000)
@example({"a": 1.0})
@example([float("nan")])
def test_both_ways_of_writing_give_the_same_bytes_or_the_same_error(document: Any) -> None:
    assert outcome(canonical, document) == outcome(rfc8785.dumps, document)


@given(
    documents(
        plain.filter(lambda value: not isinstance(value, str)) | st.text(st.characters(max_codepoint=0xD7FF)),
        st.text(st.characters(max_codepoint=0xD7FF)),
    )
)
def test_what_the_lab_states_is_written_fast(document: Any) -> None:
    assert _written_fast(document) == rfc8785.dumps(document)


@pytest.mark.parametrize("document", [1.0, 2**53, -(2**53), {1: 2}, {None: 1}, {True: 1}, Word.YES, Number.ONE, {Word.YES: 1}, ["\ud800"],
                                      {"\ue000": 1, "\U00010000": 2}, b"", {1}, float("inf")])  # fmt: skip
def test_what_the_two_may_differ_in_is_left_to_the_library(document: Any) -> None:
    assert _written_fast(document) is None


@pytest.mark.parametrize("depth", [63, 64, 65, 5_000, 200_000])
def test_depth_is_no_way_to_other_bytes(depth: int) -> None:
    document: Any = []
    for _ in range(depth):
        document = [document]
    assert outcome(canonical, document) == outcome(rfc8785.dumps, document)
    while document:
        document = document.pop()  # else Python frees it level by level


def test_a_document_that_holds_itself_is_none() -> None:
    document: list[Any] = []
    document += [document, document]
    assert outcome(canonical, document) is RecursionError


def read_slowly(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_number)


TOKENS = ('{"a":', '"a"', '"b":', "}", "{", "[", "]", ",", " ", "\n", "1", "-0", "1.5e3", "NaN", "-Infinity", "true", "null", "\ufeff", '"\\ud800"',
          '"\\u0061":', "\x00", "\u2028")  # fmt: skip
pieces = st.lists(st.sampled_from(TOKENS), max_size=12).map("".join)


@given(
    st.one_of(pieces.map(str.encode), st.binary(max_size=20), documents(st.one_of(plain, st.floats()), text).map(lambda d: json.dumps(d).encode()))
)
@example(b'{"a":1,"\\u0061":2}')
@example(b"[" * 100_000)
def test_json_is_read_as_pythons_own_reader_does_it_with_the_same_demands(data: bytes) -> None:
    assert repr(outcome(parse_json, data)) == repr(outcome(read_slowly, data))


@given(st.lists(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('",\\[]')))))
@example([])
@example([""])
@example(["", ""])
@example(['","', '"', ",", "\\", '\\"', '",', ',"', '\\","\\'])
def test_texts_that_are_written_at_once_are_those_that_are_written_one_by_one(texts: list[str]) -> None:
    assert [text.encode() for text in quoted(texts)] == [rfc8785.dumps(text) for text in texts]
