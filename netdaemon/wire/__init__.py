"""Bytes to messages and back, for both versions of the protocol; imports no twisted, zope, socket or os."""
