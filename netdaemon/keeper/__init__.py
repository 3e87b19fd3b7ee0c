"""The parent of the children: standard library only, no policy, nothing of netdaemon but this folder."""
