"""What either side of a TLS connection is known by: places, keys, pins, and what goes wrong in words; no TLS itself."""
