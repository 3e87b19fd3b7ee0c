"""Children over descriptors that were handed to us, whoever launched them; knows no clients and no wire."""
