"""The client as Twisted programs use it: Deferreds, remote processes, and spawnProcess across a socket."""
