"""Who may do what, and as whom a child may run: a file, what it says, and judging by it. Knows no daemon."""
