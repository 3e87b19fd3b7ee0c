"""ndtool, the command line: on the blocking client, without Twisted."""
