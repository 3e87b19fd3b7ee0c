"""`twistd netdaemon`: the name that twistd shows, and where its options are."""

from twisted.application.service import ServiceMaker

netdaemon = ServiceMaker(
    "netdaemon",
    "netdaemon.tap",
    "Start, watch, feed and signal long-lived programs for clients on a socket.",
    "netdaemon",
)
