"""UNIX sockets under Twisted as netdaemon needs them; knows no messages."""
