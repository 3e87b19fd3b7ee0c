"""Text that strangers chose, so that it can be printed: control characters written out. Standard library only."""

from __future__ import annotations

# Invisible, and able to make a line read as another than it is: marks, embeddings, overrides, isolates, separators.
_DECEPTIVE = {
    0x061C,
    0x200B,
    0x200E,
    0x200F,
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
}


def visible(text: str) -> str:
    """*text* with C0, C1, DEL, bidi controls and bytes that are not UTF-8 written as escapes; twice is as once."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    number = ord(character)
    if number < 0x20 or 0x7F <= number < 0xA0:
        return {9: "\\t", 10: "\\n", 13: "\\r"}.get(number, f"\\x{number:02x}")
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    if number in _DECEPTIVE or 0xD800 <= number <= 0xDFFF:
        return f"\\u{number:04x}"
    return character
