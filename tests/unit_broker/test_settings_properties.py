"""Java's properties format. Source of the expectations: java.util.Properties' documentation."""

import pytest
from automq_broker.kernel.errors import Refused
from automq_broker.settings.properties import parse_properties
from hypothesis import given, settings
from hypothesis import strategies as st


def _pairs(source: str) -> list[tuple[str, str]]:
    return [(p.key, p.value) for p in parse_properties(source)]


@pytest.mark.parametrize(
    ("source", "pairs"),
    [
        ("a=b", [("a", "b")]),
        ("a : b", [("a", "b")]),
        ("a b c", [("a", "b c")]),
        ("  a\t=\tb  ", [("a", "b  ")]),
        ("a", [("a", "")]),
        ("a=", [("a", "")]),
        ("a = = b", [("a", "= b")]),
        ("# c\n! d\n\n   # e\na=b", [("a", "b")]),
        ("a=b # no comment", [("a", "b # no comment")]),
        ("fruits   apple, banana, \\\n         cherry", [("fruits", "apple, banana, cherry")]),
        ("a=b\\\\\nc=d", [("a", "b\\"), ("c", "d")]),
        ("a\\=b\\ c\\:d=e", [("a=b c:d", "e")]),
        ("a=\\u0041\\t\\n\\q", [("a", "A\t\nq")]),
        ("a=1\r\nb=2\rc=3", [("a", "1"), ("b", "2"), ("c", "3")]),
        ("a=1\na=2", [("a", "1"), ("a", "2")]),
        ("a=x\\", [("a", "x")]),
        ("a=x\\\n# no comment here", [("a", "x# no comment here")]),
        ("=v", [("", "v")]),
        ("", []),
    ],
)
def test_lines_are_read_as_java_reads_them(source: str, pairs: list[tuple[str, str]]) -> None:
    assert _pairs(source) == pairs


def test_a_property_knows_the_line_it_starts_on() -> None:
    assert [p.line for p in parse_properties("# x\na=\\\n  b\n\nc=d")] == [2, 5]


def test_a_bad_escape_is_refused_with_its_line() -> None:
    with pytest.raises(Refused, match="line 2"):
        parse_properties("a=b\nc=\\u12")


def _escaped(text: str) -> str:
    return "".join(
        f"\\u{ord(c):04x}" if c in "\t\n\r\f" or ord(c) > 126 else f"\\{c}" if c in " =:#!\\" else c for c in text
    )


_TEXT = st.text(
    st.characters(min_codepoint=1, max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=1, max_size=20
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT), max_size=5))
def test_whatever_is_escaped_comes_back(pairs: list[tuple[str, str]]) -> None:
    source = "\n".join(f"{_escaped(key)}={_escaped(value)}" for key, value in pairs)
    assert _pairs(source) == pairs


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=" \t\n\r\\=:#!uab1", max_size=60))
def test_no_text_breaks_the_parser(source: str) -> None:
    try:
        parse_properties(source)
    except Refused:
        pass
