"""The daemon: who is connected, what runs, and who may do what to it; never imports netdaemon.client."""
