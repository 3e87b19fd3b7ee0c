"""Files of specs, and what is to be done for a daemon to match them; knows no sockets."""

from netdaemon.apply.carrying import Applied, Deed, Outcome, carry_out
from netdaemon.apply.faults import Fault, SpecFaults
from netdaemon.apply.planning import Action, Kind, Plan, plan
from netdaemon.apply.reading import SpecSet, read

__all__ = [
    "Action",
    "Applied",
    "Deed",
    "Fault",
    "Kind",
    "Outcome",
    "Plan",
    "SpecFaults",
    "SpecSet",
    "carry_out",
    "plan",
    "read",
]
