"""Inputs that nobody thought of, by atheris, for whatever reads what others have written; a part of the tests."""
