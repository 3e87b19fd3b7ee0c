"""Log files: output as CRI lines, rotated, and read again. Standard library only, so that ndtool can read them."""
