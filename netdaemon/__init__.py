"""Start, watch, feed and signal long-lived programs over a socket."""

__version__ = "0.1.0"
