"""Tables as programs write them: read, or refused with what was seen and where."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.data.io.csvfile import read_csv, row_of

PLAIN = "path,label,group\na.png,mild,p1\nb.png,Größe,p2\n"


def table(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    read = read_csv(table(tmp_path, PLAIN.replace(",", separator)))
    assert read.equals(read_csv(table(tmp_path, PLAIN)))
    assert list(read.columns) == ["path", "label", "group"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_the_encoding_is_found(tmp_path: Path, encoding: str) -> None:
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    read = read_csv(table(tmp_path, mark + PLAIN.encode(encoding)))
    assert list(read["label"]) == ["mild", "Größe"]


@pytest.mark.parametrize(
    "content",
    [
        "path,label,\na.png,x,\nb.png,y,\n",
        "path,label\na.png,x,,\nb.png,y\n",
        "path,label\r\n\r\n a.png , x \r\nb.png,y\r\n",
        '"path","label"\n"a.png","x"\n"b.png","y"\n\n',
        "path,la\u200bbel\na.png,x\u00a0\nb.png,\ufeffy\n",
    ],
)
def test_what_says_nothing_is_passed_over(tmp_path: Path, content: str) -> None:
    read = read_csv(table(tmp_path, content))
    assert read.to_dict("list") == {"path": ["a.png", "b.png"], "label": ["x", "y"]}


def test_two_forms_of_one_word_are_one(tmp_path: Path) -> None:
    read = read_csv(table(tmp_path, "path,label\na,Gr\u00f6\u00dfe\nb,Gro\u0308\u00dfe\n"))
    assert len(set(read["label"])) == 1


def test_rows_are_counted_as_in_an_editor(tmp_path: Path) -> None:
    read = read_csv(table(tmp_path, "path,label\n\na.png,x\n\nb.png,y\n"))
    assert [row_of(index) for index in read.index] == [3, 5]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"),
        ("path,label,label\na,b,c\n", "several columns called 'label'"),
        ("path,,label\na,b,c\n", "column 2 has no name"),
        ("path,label\na.png,mild, or not\n", "line 2 has 3 cells and the first line 2"),
        ('path,label\n"a.png,x\n', "no table"),
        (b"path,label\n\0\0\0\0", "bytes that are no text"),
        ("version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        read_csv(table(tmp_path, content))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        read_csv(path)
