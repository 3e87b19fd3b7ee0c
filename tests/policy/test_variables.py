"""What of an environment may be set."""

from __future__ import annotations

import pytest

from netdaemon.policy.matching import Glob
from netdaemon.policy.variables import DANGEROUS, Variables, danger


def allowed(name: str, allow: list[str], deny: list[str] | None = None) -> bool:
    variables = Variables(allow=tuple(map(Glob, allow)), deny=tuple(map(Glob, deny or [])))
    return not list(variables.faults([f"{name}=secret"]))


@pytest.mark.parametrize("name", DANGEROUS)
def test_what_is_dangerous_has_to_be_named(name: str) -> None:
    variable = name.replace("*", "X")
    beginning = name.rstrip("*")
    assert danger(variable) == beginning
    assert not allowed(variable, ["*", "?*", beginning[:1] + "*", beginning[:-1] + "*", "*" + variable[1:]])
    assert allowed(variable, ["*", variable])
    assert allowed(variable, [name if name.endswith("*") else name + "*"])
    assert not allowed(variable, [variable], deny=["*"])


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "BASH_ENV", "ENV", "IFS", "PERL5OPT"])
def test_these_are_dangerous(name: str) -> None:
    assert danger(name)


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "LDFLAGS", "ENVIRONMENT", "IFS2", "BASH", "PORT"])
def test_these_are_not(name: str) -> None:
    assert danger(name) is None
    assert allowed(name, ["*"])


@pytest.mark.parametrize(
    ("name", "allow", "deny", "expected"),
    [
        ("PORT", [], [], False),
        ("PORT", ["PORT"], [], True),
        ("PORT", ["PO?T"], [], True),
        ("PORT", ["HOST"], [], False),
        ("SECRET_KEY", ["*"], ["SECRET_*"], False),
        ("SECRET", ["*"], ["SECRET_*"], True),
        ("port", ["PORT"], [], False),
        ("LD_PRELOAD", ["LD_LIBRARY_PATH"], [], False),
        ("LD_PRELOAD", ["LD_?RELOAD"], [], True),
    ],
)
def test_variables(name: str, allow: list[str], deny: list[str], expected: bool) -> None:
    assert allowed(name, allow, deny) is expected


def test_all_faults_and_no_value() -> None:
    told = list(Variables(allow=(Glob("A*"),), deny=(Glob("AB"),)).faults(["A=1", "AB=secret", "C=secret", "IFS=x"]))
    assert [one.split()[0] for one in told] == ["AB", "C", "IFS"]
    assert "secret" not in "".join(told)
