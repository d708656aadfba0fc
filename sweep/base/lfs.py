"""Pointers that Git LFS leaves where it was not asked for the files themselves."""

_FIRST_LINE = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(content: bytes) -> None:
    """Raise ValueError if a file, by its first bytes, is a pointer of Git LFS."""
    if content.startswith(_FIRST_LINE):
        raise ValueError("it is a pointer of Git LFS, not the file: run 'git lfs pull' there")
