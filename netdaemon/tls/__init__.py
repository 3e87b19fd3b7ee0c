"""TCP with TLS 1.3 under Twisted, where both sides show certificates; knows no messages."""
