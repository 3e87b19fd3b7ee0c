"""Keys and certificates as files: what they say, and making them; knows no connection."""
