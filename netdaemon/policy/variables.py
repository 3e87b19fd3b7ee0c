"""Environment variables that may be set, and those by which one makes a program run what is not its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from netdaemon.policy.matching import Glob

# What decides what a program loads or runs besides itself: an allowed program with one of these is any program. They
# are allowed only by a pattern that names them. Ending with * are beginnings.
DANGEROUS = (
    # The dynamic loader, glibc and its modules: code, and files that are read with the program's rights.
    "LD_*",
    "_RLD*",
    "DYLD_*",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "MALLOC_*",
    "NIS_PATH",
    "NLSPATH",
    "NSS_WRAPPER_*",
    "PATH_LOCALE",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TZDIR",
    # Shells: files that they read, functions that they take over, how they split words.
    "BASH_ENV",
    "BASH_FUNC_*",
    "BASHOPTS",
    "CDPATH",
    "ENV",
    "FPATH",
    "GLOBIGNORE",
    "IFS",
    "NULLCMD",
    "PROMPT_COMMAND",
    "PS4",
    "READNULLCMD",
    "SHELLOPTS",
    "ZDOTDIR",
    # Interpreters and virtual machines: modules and options of the command line.
    "CLASSPATH",
    "CORECLR_*",
    "COR_*",
    "DOTNET_*",
    "ERL_*",
    "GUILE_*",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "LUA_*",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL*",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PYTHON*",
    "RUBY*",
    "TCLLIBPATH",
    # Libraries that load modules, and programs that run what these say.
    "GIO_EXTRA_MODULES",
    "GIT_*",
    "GTK_MODULES",
    "GTK_PATH",
    "LESSCLOSE",
    "LESSOPEN",
    "OPENSSL_*",
    "QT_PLUGIN_PATH",
    "TERMCAP",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TERMPATH",
)

_NAMES = frozenset(one for one in DANGEROUS if not one.endswith("*"))
_BEGINNINGS = tuple(one[:-1] for one in DANGEROUS if one.endswith("*"))


def danger(name: str) -> str | None:
    """What of `DANGEROUS` a variable is, without a star; None: it is harmless."""
    if name in _NAMES:
        return name
    if not name.startswith(_BEGINNINGS):
        return None
    return next(one for one in _BEGINNINGS if name.startswith(one))


@dataclass(frozen=True, kw_only=True)
class Variables:
    """Variables that may be set."""

    allow: tuple[Glob, ...] = ()
    deny: tuple[Glob, ...] = ()

    def faults(self, env: Iterable[str]) -> Iterator[str]:
        """Why some of *env* may not be set; never a value."""
        for assignment in env:
            name = assignment.partition("=")[0]
            if any(glob.found(name) for glob in self.deny):
                yield f"{name} is denied"
                continue
            named = danger(name)
            allowed = (glob for glob in self.allow if glob.found(name))
            if named is None:
                if next(allowed, None) is None:
                    yield f"{name} is not allowed"
            elif not any(glob.beginning.startswith(named) for glob in allowed):
                yield f"{name} is not allowed; it decides what a program loads, and needs a pattern that names it"


NO_VARIABLES = Variables()
