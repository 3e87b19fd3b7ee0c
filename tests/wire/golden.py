"""Every message of both versions as its bytes, written out; what the bytes are is a promise to every client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netdaemon.wire.answers import (
    Abort,
    Attached,
    Changed,
    DaemonInfo,
    End,
    Failure,
    Gap,
    Happened,
    Listing,
    OfProcess,
    Ok,
    Output,
    Pruned,
    Started,
    Status,
    Stopped,
    Taken,
    Watching,
    Welcome,
)
from netdaemon.wire.commands import (
    Again,
    Attach,
    Change,
    Data,
    Detach,
    Flow,
    Hello,
    Info,
    Inspect,
    Kill,
    List,
    Prune,
    Reload,
    Remove,
    Request,
    Resize,
    Shutdown,
    Start,
    Stop,
    Wait,
    Watch,
)
from netdaemon.wire.records import Counts, Fate, Limits, Pty, Reason, Scope, State, Until
from netdaemon.wire.specs import Log, Policy, Ready, Restart, Step
from netdaemon.wire.told import Happening, Logged, ProcessRecord, Stats
from netdaemon.wire.whom import Profile, RunAs, Sandbox


@dataclass(frozen=True)
class Golden:
    """A message and its bytes.

    :param ask: the request that a reply answers.
    :param read: what the other side makes of the bytes, where they do not say all of the message.
    """

    message: Any
    octets: str
    ask: Request | None = None
    read: Any = None


V2_REQUESTS = [
    Golden(
        Hello(client="nd", token=b"\x01\xff"),
        """
        00000025  # length
        00000001 0001  # id 1, HELLO
        0002  # version 2
        0006 636c69656e74 00000002 6e64  # client: nd
        0005 746f6b656e 00000002 01ff  # token: octets
        0000  # end of the box
        """,
    ),
    Golden(
        Start(
            argv=("sh", "-c", "café \udcff"),
            path="/bin/sh",
            env=("A=1", "B="),
            cwd="/",
            name="web-1",
            labels=("tier=1",),
            pty=Pty(term="xterm"),
            merge=True,
            keep=4096,
            key="k-1",
            attach=True,
            from_=-1,
            channels=(1, 2),
            hold=1000,
            read_only=False,
            stop=(Step(stdin=b"quit\n"), Step(wait=5000), Step(signal=15, scope=Scope.PROCESS), Step(kill=True)),
            restart=Restart(
                policy=Policy.ON_FAILURE, codes=(0, 2), delay=200, longest=30000, settled=5000, burst=5, interval=120000
            ),
            ready=Ready(output="listening", timeout=30000),
            watchdog=10000,
            log=Log(path="/var/log/\udcff.log", size=65536, age=86400000, files=3, compress=False, required=True),
            run_as=RunAs(
                user="games",
                group="60",
                groups=("audio", "29"),
                umask=0o27,
                chroot="/srv/\udcff",
                nice=-5,
                oom_score_adj=500,
                no_new_privs=True,
                capabilities=("net_bind_service", "kill"),
            ),
            limits=("nofile=1024:4096", "core=unlimited"),
            cgroup=("memory.max=536870912", "cpu.max=50000/100000"),
        ),
        """
        0000047e  # length
        00000002 0101  # id 2, START
        0004 61726776 00000017  # argv: array of text
          00000002 7368  # sh
          00000002 2d63  # -c
          00000007 636166c3a920ff  # any bytes
        0004 70617468 00000007 2f62696e2f7368  # path: /bin/sh
        0003 656e76 0000000d  # env: array of text
          00000003 413d31  # A=1
          00000002 423d  # B=
        0003 637764 00000001 2f  # cwd: /
        0004 6e616d65 00000005 7765622d31  # name: web-1
        0006 6c6162656c73 0000000a  # labels: array of text
          00000006 746965723d31  # tier=1
        0003 707479 00000038  # pty: a record
          0004 726f7773 00000008 0000000000000018  # rows: 24
          0007 636f6c756d6e73 00000008 0000000000000050  # columns: 80
          0004 7465726d 00000005 787465726d  # term: xterm
          0000  # end of the record
        0005 6d65726765 00000001 01  # merge: True
        0004 6b656570 00000008 0000000000001000  # keep: 4096
        0003 6b6579 00000003 6b2d31  # key: k-1
        0006 617474616368 00000001 01  # attach: True
        0004 66726f6d 00000008 ffffffffffffffff  # from: -1
        0008 6368616e6e656c73 00000018  # channels: array of integer
          00000008 0000000000000001  # 1
          00000008 0000000000000002  # 2
        0004 686f6c64 00000008 00000000000003e8  # hold: 1000
        0009 726561645f6f6e6c79 00000001 00  # read_only: False
        0004 73746f70 0000006b  # stop: array of record
          00000012  # one record
            0005 737464696e 00000005 717569740a  # stdin: octets
            0000  # end of the record
          00000014  # one record
            0004 77616974 00000008 0000000000001388  # wait: 5000
            0000  # end of the record
          00000028  # one record
            0006 7369676e616c 00000008 000000000000000f  # signal: 15
            0005 73636f7065 00000007 70726f63657373  # scope: process
            0000  # end of the record
          0000000d  # one record
            0004 6b696c6c 00000001 01  # kill: True
            0000  # end of the record
        0007 72657374617274 000000a1  # restart: a record
          0006 706f6c696379 0000000a 6f6e2d6661696c757265  # policy: on-failure
          0005 636f646573 00000018  # codes: array of integer
            00000008 0000000000000000  # 0
            00000008 0000000000000002  # 2
          0005 64656c6179 00000008 00000000000000c8  # delay: 200
          0007 6c6f6e67657374 00000008 0000000000007530  # longest: 30000
          0007 736574746c6564 00000008 0000000000001388  # settled: 5000
          0005 6275727374 00000008 0000000000000005  # burst: 5
          0008 696e74657276616c 00000008 000000000001d4c0  # interval: 120000
          0000  # end of the record
        0005 7265616479 0000002c  # ready: a record
          0006 6f7574707574 00000009 6c697374656e696e67  # output: listening
          0007 74696d656f7574 00000008 0000000000007530  # timeout: 30000
          0000  # end of the record
        0008 7761746368646f67 00000008 0000000000002710  # watchdog: 10000
        0003 6c6f67 0000006e  # log: a record
          0004 70617468 0000000e 2f7661722f6c6f672fff2e6c6f67  # path: any bytes
          0004 73697a65 00000008 0000000000010000  # size: 65536
          0003 616765 00000008 0000000005265c00  # age: 86400000
          0005 66696c6573 00000008 0000000000000003  # files: 3
          0008 636f6d7072657373 00000001 00  # compress: False
          0008 7265717569726564 00000001 01  # required: True
          0000  # end of the record
        0006 72756e5f6173 000000cc  # run_as: a record
          0004 75736572 00000005 67616d6573  # user: games
          0005 67726f7570 00000002 3630  # group: 60
          0006 67726f757073 0000000f  # groups: array of text
            00000005 617564696f  # audio
            00000002 3239  # 29
          0005 756d61736b 00000008 0000000000000017  # umask: 23
          0006 6368726f6f74 00000006 2f7372762fff  # chroot: any bytes
          0004 6e696365 00000008 fffffffffffffffb  # nice: -5
          000d 6f6f6d5f73636f72655f61646a 00000008 00000000000001f4  # oom_score_adj: 500
          000c 6e6f5f6e65775f7072697673 00000001 01  # no_new_privs: True
          000c 6361706162696c6974696573 0000001c  # capabilities: array of text
            00000010 6e65745f62696e645f73657276696365  # net_bind_service
            00000004 6b696c6c  # kill
          0000  # end of the record
        0006 6c696d697473 00000026  # limits: array of text
          00000010 6e6f66696c653d313032343a34303936  # nofile=1024:4096
          0000000e 636f72653d756e6c696d69746564  # core=unlimited
        0006 6367726f7570 00000030  # cgroup: array of text
          00000014 6d656d6f72792e6d61783d353336383730393132  # memory.max=536870912
          00000014 6370752e6d61783d35303030302f313030303030  # cpu.max=50000/100000
        0000  # end of the box
        """,
    ),
    Golden(
        Start(argv=("a",)),
        """
        00000017  # length
        00000002 0101  # id 2, START
        0004 61726776 00000005  # argv: array of text
          00000001 61  # a
        0000  # end of the box
        """,
    ),
    Golden(
        Start(argv=("a",), restart=Restart(policy=Policy.ALWAYS, codes=()), ready=Ready(pattern="^ok$")),
        """
        000000c7  # length
        00000002 0101  # id 2, START
        0004 61726776 00000005  # argv: array of text
          00000001 61  # a
        0007 72657374617274 00000085  # restart: a record
          0006 706f6c696379 00000006 616c77617973  # policy: always
          0005 636f646573 00000000  # codes: array of integer, none
          0005 64656c6179 00000008 0000000000000064  # delay: 100
          0007 6c6f6e67657374 00000008 000000000000ea60  # longest: 60000
          0007 736574746c6564 00000008 0000000000002710  # settled: 10000
          0005 6275727374 00000008 0000000000000000  # burst: 0
          0008 696e74657276616c 00000008 000000000000ea60  # interval: 60000
          0000  # end of the record
        0005 7265616479 00000013  # ready: a record
          0007 7061747465726e 00000004 5e6f6b24  # pattern: ^ok$
          0000  # end of the record
        0000  # end of the box
        """,
    ),
    Golden(
        Start(
            argv=("a",),
            stop=(Step(signal=2), Step(kill=True)),
            ready=Ready(notify=True),
            log=Log(path="/l"),
            run_as=RunAs(user="games"),
            limits=(),
            sandbox=Sandbox(profile=Profile.PRIVATE, network=True, writable=("/var/\udcff",)),
        ),
        """
        00000132  # length
        00000002 0101  # id 2, START
        0004 61726776 00000005  # argv: array of text
          00000001 61  # a
        0004 73746f70 0000002b  # stop: array of record
          00000016  # one record
            0006 7369676e616c 00000008 0000000000000002  # signal: 2
            0000  # end of the record
          0000000d  # one record
            0004 6b696c6c 00000001 01  # kill: True
            0000  # end of the record
        0005 7265616479 0000000f  # ready: a record
          0006 6e6f74696679 00000001 01  # notify: True
          0000  # end of the record
        0003 6c6f67 00000051  # log: a record
          0004 70617468 00000002 2f6c  # path: /l
          0004 73697a65 00000008 0000000000a00000  # size: 10485760
          0005 66696c6573 00000008 0000000000000005  # files: 5
          0008 636f6d7072657373 00000001 01  # compress: True
          0008 7265717569726564 00000001 00  # required: False
          0000  # end of the record
        0006 72756e5f6173 00000011  # run_as: a record
          0004 75736572 00000005 67616d6573  # user: games
          0000  # end of the record
        0006 6c696d697473 00000000  # limits: array of text, none
        0007 73616e64626f78 0000003c  # sandbox: a record
          0007 70726f66696c65 00000007 70726976617465  # profile: private
          0007 6e6574776f726b 00000001 01  # network: True
          0008 7772697461626c65 0000000a  # writable: array of text
            00000006 2f7661722fff  # any bytes
          0000  # end of the record
        0000  # end of the box
        """,
    ),
    Golden(
        Attach(process="web-1", from_=0, channels=(1,), hold=-1, read_only=True),
        """
        00000068  # length
        00000002 0102  # id 2, ATTACH
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        0004 66726f6d 00000008 0000000000000000  # from: 0
        0008 6368616e6e656c73 0000000c  # channels: array of integer
          00000008 0000000000000001  # 1
        0004 686f6c64 00000008 ffffffffffffffff  # hold: -1
        0009 726561645f6f6e6c79 00000001 01  # read_only: True
        0000  # end of the box
        """,
    ),
    Golden(
        List(select=("state=running", "web*"), after="7", limit=100),
        """
        0000004c  # length
        00000002 0103  # id 2, LIST
        0006 73656c656374 00000019  # select: array of text
          0000000d 73746174653d72756e6e696e67  # state=running
          00000004 7765622a  # web*
        0005 6166746572 00000001 37  # after: 7
        0005 6c696d6974 00000008 0000000000000064  # limit: 100
        0000  # end of the box
        """,
    ),
    Golden(
        Detach(to=2),
        """
        00000018  # length
        00000002 0104  # id 2, DETACH
        0002 746f 00000008 0000000000000002  # to: 2
        0000  # end of the box
        """,
    ),
    Golden(
        Inspect(process="web-1"),
        """
        0000001a  # length
        00000002 0105  # id 2, INSPECT
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        0000  # end of the box
        """,
    ),
    Golden(
        Inspect(process="web-1", stats=True),
        """
        00000026  # length
        00000002 0105  # id 2, INSPECT
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        0005 7374617473 00000001 01  # stats: True
        0000  # end of the box
        """,
    ),
    Golden(
        Remove(process="web-1", generation=1),
        """
        00000032  # length
        00000002 0106  # id 2, REMOVE
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
        0000  # end of the box
        """,
    ),
    Golden(
        Wait(process="web-1", for_=Until.ENDED),
        """
        00000028  # length
        00000002 0107  # id 2, WAIT
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        0003 666f72 00000005 656e646564  # for: ended
        0000  # end of the box
        """,
    ),
    Golden(
        Watch(since="c-41", select=("web*",), stats=1000),
        """
        0000003e  # length
        00000002 0108  # id 2, WATCH
        0005 73696e6365 00000004 632d3431  # since: c-41
        0006 73656c656374 00000008  # select: array of text
          00000004 7765622a  # web*
        0005 7374617473 00000008 00000000000003e8  # stats: 1000
        0000  # end of the box
        """,
    ),
    Golden(
        Watch(),
        """
        00000008  # length
        00000002 0108  # id 2, WATCH
        0000  # end of the box
        """,
    ),
    Golden(
        Change(
            process="web-1",
            generation=2,
            whole=True,
            argv=("sh", "\udcff"),
            path="/bin/sh",
            env=("A=1",),
            cwd="/srv",
            name="web-2",
            labels=("tier=2",),
            pty=Pty(),
            merge=True,
            stop=(Step(signal=2),),
            restart=Restart(policy=Policy.NEVER),
            ready=Ready(notify=True),
            watchdog=500,
            log=Log(path="/var/log/web"),
            run_as=RunAs(nice=19, capabilities=()),
            limits=("as=1073741824",),
            cgroup=("pids.max=max",),
            sandbox=Sandbox(profile=Profile.PRIVATE),
        ),
        """
        000002e3  # length
        00000002 0109  # id 2, CHANGE
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        000a 67656e65726174696f6e 00000008 0000000000000002  # generation: 2
        0005 77686f6c65 00000001 01  # whole: True
        0004 61726776 0000000b  # argv: array of text
          00000002 7368  # sh
          00000001 ff  # any bytes
        0004 70617468 00000007 2f62696e2f7368  # path: /bin/sh
        0003 656e76 00000007  # env: array of text
          00000003 413d31  # A=1
        0003 637764 00000004 2f737276  # cwd: /srv
        0004 6e616d65 00000005 7765622d32  # name: web-2
        0006 6c6162656c73 0000000a  # labels: array of text
          00000006 746965723d32  # tier=2
        0003 707479 00000029  # pty: a record
          0004 726f7773 00000008 0000000000000018  # rows: 24
          0007 636f6c756d6e73 00000008 0000000000000050  # columns: 80
          0000  # end of the record
        0005 6d65726765 00000001 01  # merge: True
        0004 73746f70 0000001a  # stop: array of record
          00000016  # one record
            0006 7369676e616c 00000008 0000000000000002  # signal: 2
            0000  # end of the record
        0007 72657374617274 00000090  # restart: a record
          0006 706f6c696379 00000005 6e65766572  # policy: never
          0005 636f646573 0000000c  # codes: array of integer
            00000008 0000000000000000  # 0
          0005 64656c6179 00000008 0000000000000064  # delay: 100
          0007 6c6f6e67657374 00000008 000000000000ea60  # longest: 60000
          0007 736574746c6564 00000008 0000000000002710  # settled: 10000
          0005 6275727374 00000008 0000000000000000  # burst: 0
          0008 696e74657276616c 00000008 000000000000ea60  # interval: 60000
          0000  # end of the record
        0005 7265616479 0000000f  # ready: a record
          0006 6e6f74696679 00000001 01  # notify: True
          0000  # end of the record
        0008 7761746368646f67 00000008 00000000000001f4  # watchdog: 500
        0003 6c6f67 0000005b  # log: a record
          0004 70617468 0000000c 2f7661722f6c6f672f776562  # path: /var/log/web
          0004 73697a65 00000008 0000000000a00000  # size: 10485760
          0005 66696c6573 00000008 0000000000000005  # files: 5
          0008 636f6d7072657373 00000001 01  # compress: True
          0008 7265717569726564 00000001 00  # required: False
          0000  # end of the record
        0006 72756e5f6173 00000026  # run_as: a record
          0004 6e696365 00000008 0000000000000013  # nice: 19
          000c 6361706162696c6974696573 00000000  # capabilities: array of text, none
          0000  # end of the record
        0006 6c696d697473 00000011  # limits: array of text
          0000000d 61733d31303733373431383234  # as=1073741824
        0006 6367726f7570 00000010  # cgroup: array of text
          0000000c 706964732e6d61783d6d6178  # pids.max=max
        0007 73616e64626f78 00000032  # sandbox: a record
          0007 70726f66696c65 00000007 70726976617465  # profile: private
          0007 6e6574776f726b 00000001 00  # network: False
          0008 7772697461626c65 00000000  # writable: array of text, none
          0000  # end of the record
        0000  # end of the box
        """,
    ),
    Golden(
        Change(process="web-1", labels=()),
        """
        00000026  # length
        00000002 0109  # id 2, CHANGE
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        0006 6c6162656c73 00000000  # labels: array of text, none
        0000  # end of the box
        """,
    ),
    Golden(
        Prune(select=("state=exited",), age=3600000),
        """
        00000035  # length
        00000002 010a  # id 2, PRUNE
        0006 73656c656374 00000010  # select: array of text
          0000000c 73746174653d657869746564  # state=exited
        0003 616765 00000008 000000000036ee80  # age: 3600000
        0000  # end of the box
        """,
    ),
    Golden(
        Prune(),
        """
        00000008  # length
        00000002 010a  # id 2, PRUNE
        0000  # end of the box
        """,
    ),
    Golden(
        Data(to=2, at=5, generation=3, payload=b"hi\n"),
        """
        00000058  # length
        00000002 0201  # id 2, DATA
        0002 746f 00000008 0000000000000002  # to: 2
        0007 6368616e6e656c 00000008 0000000000000000  # channel: 0
        0002 6174 00000008 0000000000000005  # at: 5
        000a 67656e65726174696f6e 00000008 0000000000000003  # generation: 3
        0000  # end of the box
        68690a  # payload
        """,
    ),
    Golden(
        Data(to=2),
        """
        0000002d  # length
        00000002 0201  # id 2, DATA
        0002 746f 00000008 0000000000000002  # to: 2
        0007 6368616e6e656c 00000008 0000000000000000  # channel: 0
        0000  # end of the box
        """,
    ),
    Golden(
        Kill(process="web-1", signal=15, scope=Scope.TREE, generation=1),
        """
        00000055  # length
        00000002 0203  # id 2, KILL
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        0006 7369676e616c 00000008 000000000000000f  # signal: 15
        0005 73636f7065 00000004 74726565  # scope: tree
        000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
        0000  # end of the box
        """,
    ),
    Golden(
        Kill(to=2, signal=9),
        """
        0000002c  # length
        00000002 0203  # id 2, KILL
        0002 746f 00000008 0000000000000002  # to: 2
        0006 7369676e616c 00000008 0000000000000009  # signal: 9
        0000  # end of the box
        """,
    ),
    Golden(
        Resize(to=2, rows=50, columns=132),
        """
        0000003f  # length
        00000002 0204  # id 2, RESIZE
        0002 746f 00000008 0000000000000002  # to: 2
        0004 726f7773 00000008 0000000000000032  # rows: 50
        0007 636f6c756d6e73 00000008 0000000000000084  # columns: 132
        0000  # end of the box
        """,
    ),
    Golden(
        Flow(to=2, paused=True),
        """
        00000025  # length
        00000002 0206  # id 2, FLOW
        0002 746f 00000008 0000000000000002  # to: 2
        0006 706175736564 00000001 01  # paused: True
        0000  # end of the box
        """,
    ),
    Golden(
        Stop(process="web-1", steps=(Step(stdin=b"stop\n"), Step(wait=100), Step(kill=True)), generation=4),
        """
        0000007c  # length
        00000002 0209  # id 2, STOP
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        0005 7374657073 0000003f  # steps: array of record
          00000012  # one record
            0005 737464696e 00000005 73746f700a  # stdin: octets
            0000  # end of the record
          00000014  # one record
            0004 77616974 00000008 0000000000000064  # wait: 100
            0000  # end of the record
          0000000d  # one record
            0004 6b696c6c 00000001 01  # kill: True
            0000  # end of the record
        000a 67656e65726174696f6e 00000008 0000000000000004  # generation: 4
        0000  # end of the box
        """,
    ),
    Golden(
        Stop(process="web-1"),
        """
        0000001a  # length
        00000002 0209  # id 2, STOP
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        0000  # end of the box
        """,
    ),
    Golden(
        Again(process="web-1", generation=4),
        """
        00000032  # length
        00000002 020a  # id 2, RESTART
        0007 70726f63657373 00000005 7765622d31  # process: web-1
        000a 67656e65726174696f6e 00000008 0000000000000004  # generation: 4
        0000  # end of the box
        """,
    ),
    Golden(
        Info(),
        """
        00000008  # length
        00000002 0301  # id 2, INFO
        0000  # end of the box
        """,
    ),
    Golden(
        Reload(),
        """
        00000008  # length
        00000002 0302  # id 2, RELOAD
        0000  # end of the box
        """,
    ),
    Golden(
        Shutdown(processes=Fate.STOP),
        """
        0000001b  # length
        00000002 0303  # id 2, SHUTDOWN
        0009 70726f636573736573 00000004 73746f70  # processes: stop
        0000  # end of the box
        """,
    ),
]

V2_REPLIES = [
    Golden(
        Welcome(server="nd 1", instance="i1", principal="uid:0", features=("a", "b")),
        """
        00000083  # length
        00000001 0001  # id 1, HELLO
        0002  # version 2
        0006 736572766572 00000004 6e642031  # server: nd 1
        0008 696e7374616e6365 00000002 6931  # instance: i1
        0009 7072696e636970616c 00000005 7569643a30  # principal: uid:0
        000b 6d61785f6d657373616765 00000008 0000000000100000  # max_message: 1048576
        0006 77696e646f77 00000008 0000000000080000  # window: 524288
        0008 6665617475726573 0000000a  # features: array of text
          00000001 61  # a
          00000001 62  # b
        0000  # end of the box
        """,
        ask=Hello(),
    ),
    Golden(
        Ok(),
        """
        00000008  # length
        00000002 ff00  # id 2, OK
        0000  # end of the box
        """,
        ask=Detach(to=2),
    ),
    Golden(
        Started(process=ProcessRecord(id="1", state=State.RUNNING, argv=("cat",), pid=77)),
        """
        00000128  # length
        00000002 ff00  # id 2, OK
        0007 70726f63657373 00000105  # process: a record
          0002 6964 00000001 31  # id: 1
          0006 6c6162656c73 00000000  # labels: array of text, none
          0005 7374617465 00000007 72756e6e696e67  # state: running
          000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
          0004 61726776 00000007  # argv: array of text
            00000003 636174  # cat
          0003 637764 00000001 2f  # cwd: /
          0005 6d65726765 00000001 00  # merge: False
          0005 6f776e6572 00000000  # owner: empty
          0003 706964 00000008 000000000000004d  # pid: 77
          0007 63726561746564 00000008 0000000000000000  # created: 0
          0005 626567696e 00000008 0000000000000000  # begin: 0
          0003 656e64 00000008 0000000000000000  # end: 0
          0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
          0003 656f66 00000000  # eof: array of integer, none
          0008 6174746163686564 00000008 0000000000000000  # attached: 0
          0004 6b656570 00000008 0000000000000000  # keep: 0
          0000  # end of the record
        0007 63726561746564 00000001 01  # created: True
        0000  # end of the box
        """,
        ask=Start(argv=("cat",)),
    ),
    Golden(
        Attached(
            process=ProcessRecord(id="1", state=State.RUNNING, argv=("cat",), pid=77),
            offset=7,
            begin=3,
            end=9,
            stdin_end=5,
            eof=(2,),
        ),
        """
        0000017e  # length
        00000002 0110  # id 2, ATTACHED
        0007 70726f63657373 00000105  # process: a record
          0002 6964 00000001 31  # id: 1
          0006 6c6162656c73 00000000  # labels: array of text, none
          0005 7374617465 00000007 72756e6e696e67  # state: running
          000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
          0004 61726776 00000007  # argv: array of text
            00000003 636174  # cat
          0003 637764 00000001 2f  # cwd: /
          0005 6d65726765 00000001 00  # merge: False
          0005 6f776e6572 00000000  # owner: empty
          0003 706964 00000008 000000000000004d  # pid: 77
          0007 63726561746564 00000008 0000000000000000  # created: 0
          0005 626567696e 00000008 0000000000000000  # begin: 0
          0003 656e64 00000008 0000000000000000  # end: 0
          0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
          0003 656f66 00000000  # eof: array of integer, none
          0008 6174746163686564 00000008 0000000000000000  # attached: 0
          0004 6b656570 00000008 0000000000000000  # keep: 0
          0000  # end of the record
        0006 6f6666736574 00000008 0000000000000007  # offset: 7
        0005 626567696e 00000008 0000000000000003  # begin: 3
        0003 656e64 00000008 0000000000000009  # end: 9
        0009 737464696e5f656e64 00000008 0000000000000005  # stdin_end: 5
        0003 656f66 0000000c  # eof: array of integer
          00000008 0000000000000002  # 2
        0000  # end of the box
        """,
        ask=Attach(process="1"),
    ),
    Golden(
        Listing(
            processes=(
                ProcessRecord(id="1", state=State.RUNNING, argv=("cat",), pid=77),
                ProcessRecord(id="b", state=State.EXITED, argv=("x\udcff",), signal=9, core=True),
            ),
            after="b",
        ),
        """
        00000241  # length
        00000002 0103  # id 2, LIST
        0009 70726f636573736573 0000021e  # processes: array of record
          00000105  # one record
            0002 6964 00000001 31  # id: 1
            0006 6c6162656c73 00000000  # labels: array of text, none
            0005 7374617465 00000007 72756e6e696e67  # state: running
            000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
            0004 61726776 00000007  # argv: array of text
              00000003 636174  # cat
            0003 637764 00000001 2f  # cwd: /
            0005 6d65726765 00000001 00  # merge: False
            0005 6f776e6572 00000000  # owner: empty
            0003 706964 00000008 000000000000004d  # pid: 77
            0007 63726561746564 00000008 0000000000000000  # created: 0
            0005 626567696e 00000008 0000000000000000  # begin: 0
            0003 656e64 00000008 0000000000000000  # end: 0
            0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
            0003 656f66 00000000  # eof: array of integer, none
            0008 6174746163686564 00000008 0000000000000000  # attached: 0
            0004 6b656570 00000008 0000000000000000  # keep: 0
            0000  # end of the record
          00000111  # one record
            0002 6964 00000001 62  # id: b
            0006 6c6162656c73 00000000  # labels: array of text, none
            0005 7374617465 00000006 657869746564  # state: exited
            000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
            0004 61726776 00000006  # argv: array of text
              00000002 78ff  # any bytes
            0003 637764 00000001 2f  # cwd: /
            0005 6d65726765 00000001 00  # merge: False
            0005 6f776e6572 00000000  # owner: empty
            0007 63726561746564 00000008 0000000000000000  # created: 0
            0006 7369676e616c 00000008 0000000000000009  # signal: 9
            0004 636f7265 00000001 01  # core: True
            0005 626567696e 00000008 0000000000000000  # begin: 0
            0003 656e64 00000008 0000000000000000  # end: 0
            0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
            0003 656f66 00000000  # eof: array of integer, none
            0008 6174746163686564 00000008 0000000000000000  # attached: 0
            0004 6b656570 00000008 0000000000000000  # keep: 0
            0000  # end of the record
        0005 6166746572 00000001 62  # after: b
        0000  # end of the box
        """,
        ask=List(),
    ),
    Golden(
        OfProcess(
            process=ProcessRecord(
                id="a7",
                name="web",
                labels=("tier=1", "x="),
                state=State.EXITED,
                generation=3,
                argv=("/bin/sh", "-c", ""),
                cwd="/srv",
                pty=Pty(term="xterm"),
                merge=True,
                owner="alice",
                pid=4242,
                created=1700000000000000,
                started=1700000000000001,
                exited=1700000000000002,
                code=3,
                core=False,
                begin=4096,
                end=1099511627776,
                stdin_end=5,
                eof=(0, 1, 2),
                attached=2,
                keep=65536,
                key="k-1",
                digest="d1",
                stop=(Step(stdin=b"quit\n"), Step(wait=5000), Step(signal=15, scope=Scope.PROCESS), Step(kill=True)),
                restart=Restart(
                    policy=Policy.ON_FAILURE,
                    codes=(0, 2),
                    delay=200,
                    longest=30000,
                    settled=5000,
                    burst=5,
                    interval=120000,
                ),
                ready=Ready(pattern="^ok", timeout=1),
                watchdog=10000,
                log=Log(path="/var/log/\udcff.log", size=65536, age=86400000, files=3, compress=False, required=True),
                run_as=RunAs(
                    user="games",
                    group="60",
                    groups=("audio", "29"),
                    umask=0o27,
                    chroot="/srv/\udcff",
                    nice=-5,
                    oom_score_adj=500,
                    no_new_privs=True,
                    capabilities=("net_bind_service", "kill"),
                ),
                limits=("nofile=1024:4096", "core=unlimited"),
                cgroup=("memory.max=536870912", "cpu.max=50000/100000"),
                sandbox=Sandbox(profile=Profile.PRIVATE, network=True, writable=("/var/\udcff",)),
                uid=5,
                gid=60,
                failures=2,
                due=1700000000000003,
                step="wait 5s",
            ),
            logged=Logged(offset=9, inode=8, size=7, lost=6, error="full"),
            stats=Stats(time=1, processes=2, cpu=3, percent=4, memory=5, threads=6, descriptors=7, read=8, written=9),
        ),
        """
        0000070a  # length
        00000002 ff00  # id 2, OK
        0007 70726f63657373 000005c8  # process: a record
          0002 6964 00000002 6137  # id: a7
          0004 6e616d65 00000003 776562  # name: web
          0006 6c6162656c73 00000010  # labels: array of text
            00000006 746965723d31  # tier=1
            00000002 783d  # x=
          0005 7374617465 00000006 657869746564  # state: exited
          000a 67656e65726174696f6e 00000008 0000000000000003  # generation: 3
          0004 61726776 00000015  # argv: array of text
            00000007 2f62696e2f7368  # /bin/sh
            00000002 2d63  # -c
            00000000  # empty
          0003 637764 00000004 2f737276  # cwd: /srv
          0003 707479 00000038  # pty: a record
            0004 726f7773 00000008 0000000000000018  # rows: 24
            0007 636f6c756d6e73 00000008 0000000000000050  # columns: 80
            0004 7465726d 00000005 787465726d  # term: xterm
            0000  # end of the record
          0005 6d65726765 00000001 01  # merge: True
          0005 6f776e6572 00000005 616c696365  # owner: alice
          0003 706964 00000008 0000000000001092  # pid: 4242
          0007 63726561746564 00000008 00060a24181e4000  # created: 1700000000000000
          0007 73746172746564 00000008 00060a24181e4001  # started: 1700000000000001
          0006 657869746564 00000008 00060a24181e4002  # exited: 1700000000000002
          0004 636f6465 00000008 0000000000000003  # code: 3
          0004 636f7265 00000001 00  # core: False
          0005 626567696e 00000008 0000000000001000  # begin: 4096
          0003 656e64 00000008 0000010000000000  # end: 1099511627776
          0009 737464696e5f656e64 00000008 0000000000000005  # stdin_end: 5
          0003 656f66 00000024  # eof: array of integer
            00000008 0000000000000000  # 0
            00000008 0000000000000001  # 1
            00000008 0000000000000002  # 2
          0008 6174746163686564 00000008 0000000000000002  # attached: 2
          0004 6b656570 00000008 0000000000010000  # keep: 65536
          0003 6b6579 00000003 6b2d31  # key: k-1
          0006 646967657374 00000002 6431  # digest: d1
          0004 73746f70 0000006b  # stop: array of record
            00000012  # one record
              0005 737464696e 00000005 717569740a  # stdin: octets
              0000  # end of the record
            00000014  # one record
              0004 77616974 00000008 0000000000001388  # wait: 5000
              0000  # end of the record
            00000028  # one record
              0006 7369676e616c 00000008 000000000000000f  # signal: 15
              0005 73636f7065 00000007 70726f63657373  # scope: process
              0000  # end of the record
            0000000d  # one record
              0004 6b696c6c 00000001 01  # kill: True
              0000  # end of the record
          0007 72657374617274 000000a1  # restart: a record
            0006 706f6c696379 0000000a 6f6e2d6661696c757265  # policy: on-failure
            0005 636f646573 00000018  # codes: array of integer
              00000008 0000000000000000  # 0
              00000008 0000000000000002  # 2
            0005 64656c6179 00000008 00000000000000c8  # delay: 200
            0007 6c6f6e67657374 00000008 0000000000007530  # longest: 30000
            0007 736574746c6564 00000008 0000000000001388  # settled: 5000
            0005 6275727374 00000008 0000000000000005  # burst: 5
            0008 696e74657276616c 00000008 000000000001d4c0  # interval: 120000
            0000  # end of the record
          0005 7265616479 00000027  # ready: a record
            0007 7061747465726e 00000003 5e6f6b  # pattern: ^ok
            0007 74696d656f7574 00000008 0000000000000001  # timeout: 1
            0000  # end of the record
          0008 7761746368646f67 00000008 0000000000002710  # watchdog: 10000
          0003 6c6f67 0000006e  # log: a record
            0004 70617468 0000000e 2f7661722f6c6f672fff2e6c6f67  # path: any bytes
            0004 73697a65 00000008 0000000000010000  # size: 65536
            0003 616765 00000008 0000000005265c00  # age: 86400000
            0005 66696c6573 00000008 0000000000000003  # files: 3
            0008 636f6d7072657373 00000001 00  # compress: False
            0008 7265717569726564 00000001 01  # required: True
            0000  # end of the record
          0006 72756e5f6173 000000cc  # run_as: a record
            0004 75736572 00000005 67616d6573  # user: games
            0005 67726f7570 00000002 3630  # group: 60
            0006 67726f757073 0000000f  # groups: array of text
              00000005 617564696f  # audio
              00000002 3239  # 29
            0005 756d61736b 00000008 0000000000000017  # umask: 23
            0006 6368726f6f74 00000006 2f7372762fff  # chroot: any bytes
            0004 6e696365 00000008 fffffffffffffffb  # nice: -5
            000d 6f6f6d5f73636f72655f61646a 00000008 00000000000001f4  # oom_score_adj: 500
            000c 6e6f5f6e65775f7072697673 00000001 01  # no_new_privs: True
            000c 6361706162696c6974696573 0000001c  # capabilities: array of text
              00000010 6e65745f62696e645f73657276696365  # net_bind_service
              00000004 6b696c6c  # kill
            0000  # end of the record
          0006 6c696d697473 00000026  # limits: array of text
            00000010 6e6f66696c653d313032343a34303936  # nofile=1024:4096
            0000000e 636f72653d756e6c696d69746564  # core=unlimited
          0006 6367726f7570 00000030  # cgroup: array of text
            00000014 6d656d6f72792e6d61783d353336383730393132  # memory.max=536870912
            00000014 6370752e6d61783d35303030302f313030303030  # cpu.max=50000/100000
          0007 73616e64626f78 0000003c  # sandbox: a record
            0007 70726f66696c65 00000007 70726976617465  # profile: private
            0007 6e6574776f726b 00000001 01  # network: True
            0008 7772697461626c65 0000000a  # writable: array of text
              00000006 2f7661722fff  # any bytes
            0000  # end of the record
          0003 756964 00000008 0000000000000005  # uid: 5
          0003 676964 00000008 000000000000003c  # gid: 60
          0008 6661696c75726573 00000008 0000000000000002  # failures: 2
          0003 647565 00000008 00060a24181e4003  # due: 1700000000000003
          0004 73746570 00000007 77616974203573  # step: wait 5s
          0000  # end of the record
        0006 6c6f67676564 0000005c  # logged: a record
          0006 6f6666736574 00000008 0000000000000009  # offset: 9
          0005 696e6f6465 00000008 0000000000000008  # inode: 8
          0004 73697a65 00000008 0000000000000007  # size: 7
          0004 6c6f7374 00000008 0000000000000006  # lost: 6
          0005 6572726f72 00000004 66756c6c  # error: full
          0000  # end of the record
        0005 7374617473 000000ba  # stats: a record
          0004 74696d65 00000008 0000000000000001  # time: 1
          0009 70726f636573736573 00000008 0000000000000002  # processes: 2
          0003 637075 00000008 0000000000000003  # cpu: 3
          0007 70657263656e74 00000008 0000000000000004  # percent: 4
          0006 6d656d6f7279 00000008 0000000000000005  # memory: 5
          0007 74687265616473 00000008 0000000000000006  # threads: 6
          000b 64657363726970746f7273 00000008 0000000000000007  # descriptors: 7
          0004 72656164 00000008 0000000000000008  # read: 8
          0007 7772697474656e 00000008 0000000000000009  # written: 9
          0000  # end of the record
        0000  # end of the box
        """,
        ask=Inspect(process="1", stats=True),
    ),
    Golden(
        Stopped(
            process=ProcessRecord(id="1", state=State.EXITED, argv=("cat",), code=0), step="signal TERM", already=True
        ),
        """
        0000013d  # length
        00000002 ff00  # id 2, OK
        0007 70726f63657373 00000105  # process: a record
          0002 6964 00000001 31  # id: 1
          0006 6c6162656c73 00000000  # labels: array of text, none
          0005 7374617465 00000006 657869746564  # state: exited
          000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
          0004 61726776 00000007  # argv: array of text
            00000003 636174  # cat
          0003 637764 00000001 2f  # cwd: /
          0005 6d65726765 00000001 00  # merge: False
          0005 6f776e6572 00000000  # owner: empty
          0007 63726561746564 00000008 0000000000000000  # created: 0
          0004 636f6465 00000008 0000000000000000  # code: 0
          0005 626567696e 00000008 0000000000000000  # begin: 0
          0003 656e64 00000008 0000000000000000  # end: 0
          0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
          0003 656f66 00000000  # eof: array of integer, none
          0008 6174746163686564 00000008 0000000000000000  # attached: 0
          0004 6b656570 00000008 0000000000000000  # keep: 0
          0000  # end of the record
        0004 73746570 0000000b 7369676e616c205445524d  # step: signal TERM
        0007 616c7265616479 00000001 01  # already: True
        0000  # end of the box
        """,
        ask=Stop(process="1"),
    ),
    Golden(
        Changed(process=ProcessRecord(id="1", state=State.EXITED, argv=("cat",), code=0), restart=True),
        """
        00000128  # length
        00000002 ff00  # id 2, OK
        0007 70726f63657373 00000105  # process: a record
          0002 6964 00000001 31  # id: 1
          0006 6c6162656c73 00000000  # labels: array of text, none
          0005 7374617465 00000006 657869746564  # state: exited
          000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
          0004 61726776 00000007  # argv: array of text
            00000003 636174  # cat
          0003 637764 00000001 2f  # cwd: /
          0005 6d65726765 00000001 00  # merge: False
          0005 6f776e6572 00000000  # owner: empty
          0007 63726561746564 00000008 0000000000000000  # created: 0
          0004 636f6465 00000008 0000000000000000  # code: 0
          0005 626567696e 00000008 0000000000000000  # begin: 0
          0003 656e64 00000008 0000000000000000  # end: 0
          0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
          0003 656f66 00000000  # eof: array of integer, none
          0008 6174746163686564 00000008 0000000000000000  # attached: 0
          0004 6b656570 00000008 0000000000000000  # keep: 0
          0000  # end of the record
        0007 72657374617274 00000001 01  # restart: True
        0000  # end of the box
        """,
        ask=Change(process="1"),
    ),
    Golden(
        Pruned(count=3),
        """
        0000001b  # length
        00000002 ff00  # id 2, OK
        0005 636f756e74 00000008 0000000000000003  # count: 3
        0000  # end of the box
        """,
        ask=Prune(),
    ),
    Golden(
        Watching(cursor="c-42", fresh=False),
        """
        00000024  # length
        00000002 ff00  # id 2, OK
        0006 637572736f72 00000004 632d3432  # cursor: c-42
        0005 6672657368 00000001 00  # fresh: False
        0000  # end of the box
        """,
        ask=Watch(since="c-42"),
    ),
    Golden(
        Watching(cursor="c-7", fresh=True, snapshot=True),
        """
        00000032  # length
        00000002 ff00  # id 2, OK
        0006 637572736f72 00000003 632d37  # cursor: c-7
        0005 6672657368 00000001 01  # fresh: True
        0008 736e617073686f74 00000001 01  # snapshot: True
        0000  # end of the box
        """,
        ask=Watch(),
    ),
    Golden(
        Taken(accepted=3, end=8),
        """
        0000002f  # length
        00000002 ff00  # id 2, OK
        0008 6163636570746564 00000008 0000000000000003  # accepted: 3
        0003 656e64 00000008 0000000000000008  # end: 8
        0000  # end of the box
        """,
        ask=Data(to=2),
    ),
    Golden(
        DaemonInfo(
            version="0.1.0",
            instance="i1",
            pid=10,
            keeper_pid=11,
            uptime=1500,
            limits=Limits(
                clients=1,
                processes=2,
                exited=3,
                attachments=4,
                requests=5,
                message=6,
                window=7,
                keep=8,
                descriptors=9,
                clients_each=10,
                newcomers=11,
                processes_each=12,
                input=13,
                request_rate=14,
                byte_rate=15,
                burst=16,
            ),
            counts=Counts(clients=1, running=2, exited=3, attachments=4, descriptors=5, newcomers=6, slowed=7),
            degraded=("no-pidfd",),
        ),
        """
        0000029f  # length
        00000002 ff00  # id 2, OK
        0007 76657273696f6e 00000005 302e312e30  # version: 0.1.0
        0008 696e7374616e6365 00000002 6931  # instance: i1
        0003 706964 00000008 000000000000000a  # pid: 10
        000a 6b65657065725f706964 00000008 000000000000000b  # keeper_pid: 11
        0006 757074696d65 00000008 00000000000005dc  # uptime: 1500
        0006 6c696d697473 00000169  # limits: a record
          0007 636c69656e7473 00000008 0000000000000001  # clients: 1
          0009 70726f636573736573 00000008 0000000000000002  # processes: 2
          0006 657869746564 00000008 0000000000000003  # exited: 3
          000b 6174746163686d656e7473 00000008 0000000000000004  # attachments: 4
          0008 7265717565737473 00000008 0000000000000005  # requests: 5
          0007 6d657373616765 00000008 0000000000000006  # message: 6
          0006 77696e646f77 00000008 0000000000000007  # window: 7
          0004 6b656570 00000008 0000000000000008  # keep: 8
          000b 64657363726970746f7273 00000008 0000000000000009  # descriptors: 9
          000c 636c69656e74735f65616368 00000008 000000000000000a  # clients_each: 10
          0009 6e6577636f6d657273 00000008 000000000000000b  # newcomers: 11
          000e 70726f6365737365735f65616368 00000008 000000000000000c  # processes_each: 12
          0005 696e707574 00000008 000000000000000d  # input: 13
          000c 726571756573745f72617465 00000008 000000000000000e  # request_rate: 14
          0009 627974655f72617465 00000008 000000000000000f  # byte_rate: 15
          0005 6275727374 00000008 0000000000000010  # burst: 16
          0000  # end of the record
        0006 636f756e7473 0000009d  # counts: a record
          0007 636c69656e7473 00000008 0000000000000001  # clients: 1
          0007 72756e6e696e67 00000008 0000000000000002  # running: 2
          0006 657869746564 00000008 0000000000000003  # exited: 3
          000b 6174746163686d656e7473 00000008 0000000000000004  # attachments: 4
          000b 64657363726970746f7273 00000008 0000000000000005  # descriptors: 5
          0009 6e6577636f6d657273 00000008 0000000000000006  # newcomers: 6
          0006 736c6f776564 00000008 0000000000000007  # slowed: 7
          0000  # end of the record
        0008 6465677261646564 0000000c  # degraded: array of text
          00000008 6e6f2d7069646664  # no-pidfd
        0000  # end of the box
        """,
        ask=Info(),
    ),
    Golden(
        Failure(code="stdin-full", errno=11, message="full", process="1", field="to", stage="exec", accepted=3, end=8),
        """
        00000091  # length
        00000002 fff0  # id 2, ERROR
        0004 636f6465 0000000a 737464696e2d66756c6c  # code: stdin-full
        0005 6572726e6f 00000008 000000000000000b  # errno: 11
        0007 6d657373616765 00000004 66756c6c  # message: full
        0007 70726f63657373 00000001 31  # process: 1
        0005 6669656c64 00000002 746f  # field: to
        0005 7374616765 00000004 65786563  # stage: exec
        0008 6163636570746564 00000008 0000000000000003  # accepted: 3
        0003 656e64 00000008 0000000000000008  # end: 8
        0000  # end of the box
        """,
        ask=Inspect(process="1"),
    ),
]

V2_EVENTS = [
    Golden(
        Output(channel=1, offset=7, time=1700000000000000, payload=b"hi\n"),
        """
        00000046  # length
        00000002 0201  # id 2, DATA
        0007 6368616e6e656c 00000008 0000000000000001  # channel: 1
        0006 6f6666736574 00000008 0000000000000007  # offset: 7
        0004 74696d65 00000008 00060a24181e4000  # time: 1700000000000000
        0000  # end of the box
        68690a  # payload
        """,
    ),
    Golden(
        Output(channel=2, offset=10),
        """
        00000043  # length
        00000002 0201  # id 2, DATA
        0007 6368616e6e656c 00000008 0000000000000002  # channel: 2
        0006 6f6666736574 00000008 000000000000000a  # offset: 10
        0004 74696d65 00000008 0000000000000000  # time: 0
        0000  # end of the box
        """,
    ),
    Golden(
        Status(state=State.RUNNING, generation=2, pid=77, end=10),
        """
        00000054  # length
        00000002 0202  # id 2, STATUS
        0005 7374617465 00000007 72756e6e696e67  # state: running
        000a 67656e65726174696f6e 00000008 0000000000000002  # generation: 2
        0003 706964 00000008 000000000000004d  # pid: 77
        0003 656e64 00000008 000000000000000a  # end: 10
        0000  # end of the box
        """,
    ),
    Golden(
        Status(state=State.EXITED, code=3, core=False, end=10),
        """
        0000005f  # length
        00000002 0202  # id 2, STATUS
        0005 7374617465 00000006 657869746564  # state: exited
        000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
        0004 636f6465 00000008 0000000000000003  # code: 3
        0004 636f7265 00000001 00  # core: False
        0003 656e64 00000008 000000000000000a  # end: 10
        0000  # end of the box
        """,
    ),
    Golden(
        Status(state=State.STARTING, generation=2, pid=78, end=10),
        """
        00000055  # length
        00000002 0202  # id 2, STATUS
        0005 7374617465 00000008 7374617274696e67  # state: starting
        000a 67656e65726174696f6e 00000008 0000000000000002  # generation: 2
        0003 706964 00000008 000000000000004e  # pid: 78
        0003 656e64 00000008 000000000000000a  # end: 10
        0000  # end of the box
        """,
    ),
    Golden(
        Status(state=State.STOPPING, pid=77, end=10),
        """
        00000055  # length
        00000002 0202  # id 2, STATUS
        0005 7374617465 00000008 73746f7070696e67  # state: stopping
        000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
        0003 706964 00000008 000000000000004d  # pid: 77
        0003 656e64 00000008 000000000000000a  # end: 10
        0000  # end of the box
        """,
    ),
    Golden(
        Status(state=State.BACKOFF, signal=11, core=True, end=10),
        """
        00000062  # length
        00000002 0202  # id 2, STATUS
        0005 7374617465 00000007 6261636b6f6666  # state: backoff
        000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
        0006 7369676e616c 00000008 000000000000000b  # signal: 11
        0004 636f7265 00000001 01  # core: True
        0003 656e64 00000008 000000000000000a  # end: 10
        0000  # end of the box
        """,
    ),
    Golden(
        Status(state=State.FAILED, generation=3, code=1, end=10),
        """
        00000054  # length
        00000002 0202  # id 2, STATUS
        0005 7374617465 00000006 6661696c6564  # state: failed
        000a 67656e65726174696f6e 00000008 0000000000000003  # generation: 3
        0004 636f6465 00000008 0000000000000001  # code: 1
        0003 656e64 00000008 000000000000000a  # end: 10
        0000  # end of the box
        """,
    ),
    Golden(
        Gap(from_=7, to=4103),
        """
        0000002a  # length
        00000002 0205  # id 2, GAP
        0004 66726f6d 00000008 0000000000000007  # from: 7
        0002 746f 00000008 0000000000001007  # to: 4103
        0000  # end of the box
        """,
    ),
    Golden(
        Happened(
            cursor="c-43",
            type=Happening.LOG_FAILED,
            time=1700000000000000,
            principal="uid:0",
            detail="full",
            process=ProcessRecord(id="1", state=State.RUNNING, argv=("cat",), pid=77),
        ),
        """
        00000174  # length
        00000002 0207  # id 2, EVENT
        0006 637572736f72 00000004 632d3433  # cursor: c-43
        0004 74797065 0000000a 6c6f672d6661696c6564  # type: log-failed
        0004 74696d65 00000008 00060a24181e4000  # time: 1700000000000000
        0009 7072696e636970616c 00000005 7569643a30  # principal: uid:0
        0006 64657461696c 00000004 66756c6c  # detail: full
        0007 70726f63657373 00000105  # process: a record
          0002 6964 00000001 31  # id: 1
          0006 6c6162656c73 00000000  # labels: array of text, none
          0005 7374617465 00000007 72756e6e696e67  # state: running
          000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
          0004 61726776 00000007  # argv: array of text
            00000003 636174  # cat
          0003 637764 00000001 2f  # cwd: /
          0005 6d65726765 00000001 00  # merge: False
          0005 6f776e6572 00000000  # owner: empty
          0003 706964 00000008 000000000000004d  # pid: 77
          0007 63726561746564 00000008 0000000000000000  # created: 0
          0005 626567696e 00000008 0000000000000000  # begin: 0
          0003 656e64 00000008 0000000000000000  # end: 0
          0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
          0003 656f66 00000000  # eof: array of integer, none
          0008 6174746163686564 00000008 0000000000000000  # attached: 0
          0004 6b656570 00000008 0000000000000000  # keep: 0
          0000  # end of the record
        0000  # end of the box
        """,
    ),
    Golden(
        Happened(
            type=Happening.SNAPSHOT,
            process=ProcessRecord(id="1", state=State.RUNNING, argv=("cat",), pid=77),
            snapshot=True,
        ),
        """
        00000168  # length
        00000002 0207  # id 2, EVENT
        0006 637572736f72 00000000  # cursor: empty
        0004 74797065 00000008 736e617073686f74  # type: snapshot
        0004 74696d65 00000008 0000000000000000  # time: 0
        0009 7072696e636970616c 00000000  # principal: empty
        0007 70726f63657373 00000105  # process: a record
          0002 6964 00000001 31  # id: 1
          0006 6c6162656c73 00000000  # labels: array of text, none
          0005 7374617465 00000007 72756e6e696e67  # state: running
          000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
          0004 61726776 00000007  # argv: array of text
            00000003 636174  # cat
          0003 637764 00000001 2f  # cwd: /
          0005 6d65726765 00000001 00  # merge: False
          0005 6f776e6572 00000000  # owner: empty
          0003 706964 00000008 000000000000004d  # pid: 77
          0007 63726561746564 00000008 0000000000000000  # created: 0
          0005 626567696e 00000008 0000000000000000  # begin: 0
          0003 656e64 00000008 0000000000000000  # end: 0
          0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
          0003 656f66 00000000  # eof: array of integer, none
          0008 6174746163686564 00000008 0000000000000000  # attached: 0
          0004 6b656570 00000008 0000000000000000  # keep: 0
          0000  # end of the record
        0008 736e617073686f74 00000001 01  # snapshot: True
        0000  # end of the box
        """,
    ),
    Golden(
        Happened(
            type=Happening.STATS,
            process=ProcessRecord(id="1", state=State.RUNNING, argv=("cat",), pid=77),
            stats=Stats(cpu=5),
        ),
        """
        0000021b  # length
        00000002 0207  # id 2, EVENT
        0006 637572736f72 00000000  # cursor: empty
        0004 74797065 00000005 7374617473  # type: stats
        0004 74696d65 00000008 0000000000000000  # time: 0
        0009 7072696e636970616c 00000000  # principal: empty
        0007 70726f63657373 00000105  # process: a record
          0002 6964 00000001 31  # id: 1
          0006 6c6162656c73 00000000  # labels: array of text, none
          0005 7374617465 00000007 72756e6e696e67  # state: running
          000a 67656e65726174696f6e 00000008 0000000000000001  # generation: 1
          0004 61726776 00000007  # argv: array of text
            00000003 636174  # cat
          0003 637764 00000001 2f  # cwd: /
          0005 6d65726765 00000001 00  # merge: False
          0005 6f776e6572 00000000  # owner: empty
          0003 706964 00000008 000000000000004d  # pid: 77
          0007 63726561746564 00000008 0000000000000000  # created: 0
          0005 626567696e 00000008 0000000000000000  # begin: 0
          0003 656e64 00000008 0000000000000000  # end: 0
          0009 737464696e5f656e64 00000008 0000000000000000  # stdin_end: 0
          0003 656f66 00000000  # eof: array of integer, none
          0008 6174746163686564 00000008 0000000000000000  # attached: 0
          0004 6b656570 00000008 0000000000000000  # keep: 0
          0000  # end of the record
        0005 7374617473 000000ba  # stats: a record
          0004 74696d65 00000008 0000000000000000  # time: 0
          0009 70726f636573736573 00000008 0000000000000000  # processes: 0
          0003 637075 00000008 0000000000000005  # cpu: 5
          0007 70657263656e74 00000008 0000000000000000  # percent: 0
          0006 6d656d6f7279 00000008 0000000000000000  # memory: 0
          0007 74687265616473 00000008 0000000000000000  # threads: 0
          000b 64657363726970746f7273 00000008 0000000000000000  # descriptors: 0
          0004 72656164 00000008 0000000000000000  # read: 0
          0007 7772697474656e 00000008 0000000000000000  # written: 0
          0000  # end of the record
        0000  # end of the box
        """,
    ),
    Golden(
        End(reason=Reason.DETACHED),
        """
        0000001c  # length
        00000002 0208  # id 2, END
        0006 726561736f6e 00000008 6465746163686564  # reason: detached
        0000  # end of the box
        """,
    ),
    Golden(
        End(reason=Reason.RESUBSCRIBE),
        """
        0000001f  # length
        00000002 0208  # id 2, END
        0006 726561736f6e 0000000b 7265737562736372696265  # reason: resubscribe
        0000  # end of the box
        """,
    ),
    Golden(
        Abort(code="protocol-error", errno=74, message="no"),
        """
        00000042  # length
        00000000 ffff  # id 0, ABORT
        0004 636f6465 0000000e 70726f746f636f6c2d6572726f72  # code: protocol-error
        0005 6572726e6f 00000008 000000000000004a  # errno: 74
        0007 6d657373616765 00000002 6e6f  # message: no
        0000  # end of the box
        """,
    ),
]

V1_REQUESTS = [
    Golden(
        Hello(client="unsaid"),
        """
        00000008  # length
        00000001 0001  # id 1, HELLO
        0001  # version 1
        """,
        read=Hello(),
    ),
    Golden(
        Start(argv=("/bin/sh", "-c", "café \udcff"), env=("A=1", "B="), attach=True),
        """
        00000024  # length
        00000002 0101  # id 2, START
        2f62696e2f7368 00  # path: /bin/sh
        0002  # argv, items: 2
        2d63 00  # item: -c
        636166c3a920ff 00  # item: any bytes
        0002  # envp, items: 2
        413d31 00  # item: A=1
        423d 00  # item: B=
        """,
    ),
    Golden(
        Attach(process="/bin/cat:77"),
        """
        00000012  # length
        00000002 0102  # id 2, ATTACH
        2f62696e2f6361743a3737 00  # process: /bin/cat:77
        """,
    ),
    Golden(
        List(),
        """
        00000006  # length
        00000002 0103  # id 2, LIST
        """,
    ),
    Golden(
        Data(to=2, payload=b"hi\n"),
        """
        0000000d  # length
        00000003 0201  # id 3, DATA
        0000  # channel: 0
        0003 68690a  # data: 3 bytes
        """,
    ),
    Golden(
        Data(to=2),
        """
        0000000a  # length
        00000003 0201  # id 3, DATA
        0000  # channel: 0
        0000   # data: 0 bytes
        """,
    ),
    Golden(
        Kill(to=2, signal=15),
        """
        00000008  # length
        00000003 0203  # id 3, KILL
        000f  # signal: 15
        """,
    ),
]

V1_REPLIES = [
    Golden(
        Welcome(server="unsaid"),
        """
        00000008  # length
        00000001 0001  # id 1, HELLO
        0001  # version 1
        """,
        ask=Hello(),
        read=Welcome(window=0),
    ),
    Golden(
        Ok(),
        """
        00000006  # length
        00000003 ff00  # id 3, OK
        """,
        ask=Kill(to=2, signal=15),
    ),
    Golden(
        Taken(accepted=3, end=3),
        """
        00000006  # length
        00000003 ff00  # id 3, OK
        """,
        ask=Data(to=2, payload=b"hi\n"),
    ),
    Golden(
        Attached(process=ProcessRecord(id="/bin/cat:77", state=State.RUNNING, argv=("cat",), pid=65613), offset=7),
        """
        00000016  # length
        00000002 0110  # id 2, ATTACHED
        2f62696e2f6361743a3737 00  # process: /bin/cat:77
        0001  # status: 1
        004d  # status_code: 77
        """,
        ask=Start(argv=("cat",), attach=True),
        read=Attached(process=ProcessRecord(id="/bin/cat:77", state=State.RUNNING, argv=("/bin/cat:77",), pid=77)),
    ),
    Golden(
        Attached(process=ProcessRecord(id="b", state=State.EXITED, argv=("b",), code=3)),
        """
        0000000c  # length
        00000002 0110  # id 2, ATTACHED
        62 00  # process: b
        0002  # status: 2
        0003  # status_code: 3
        """,
        ask=Attach(process="b"),
    ),
    Golden(
        Listing(
            processes=(
                ProcessRecord(id="/bin/cat:77", state=State.RUNNING, argv=("/bin/cat:77",), pid=77),
                ProcessRecord(id="b", state=State.EXITED, argv=("b",), code=3),
                ProcessRecord(id="c", state=State.EXITED, argv=("c",), signal=9),
                ProcessRecord(id="d", state=State.EXITED, argv=("d",)),
            )
        ),
        """
        0000002a  # length
        00000002 0103  # id 2, LIST
        0004  # processes: 4
        2f62696e2f6361743a3737 00  # process: /bin/cat:77
        0001  # status: 1
        004d  # status_code: 77
        62 00  # process: b
        0002  # status: 2
        0003  # status_code: 3
        63 00  # process: c
        0003  # status: 3
        0009  # status_code: 9
        64 00  # process: d
        0002  # status: 2
        ffff  # status_code: 65535
        """,
        ask=List(),
    ),
    Golden(
        Failure(code="already-attached", errno=114, message="no"),
        """
        0000000d  # length
        00000002 fff0  # id 2, ERROR
        00000072  # code: 114
        6e6f 00  # message: no
        """,
        ask=List(),
    ),
]

V1_EVENTS = [
    Golden(
        Output(channel=1, offset=7, time=5, payload=b"hi\n"),
        """
        0000000d  # length
        00000000 0201  # id 0, DATA
        0001  # channel: 1
        0003 68690a  # data: 3 bytes
        """,
        read=Output(channel=1, payload=b"hi\n"),
    ),
    Golden(
        Output(channel=2),
        """
        0000000a  # length
        00000000 0201  # id 0, DATA
        0002  # channel: 2
        0000   # data: 0 bytes
        """,
    ),
    Golden(
        Status(state=State.RUNNING, generation=2, pid=77, end=3),
        """
        0000000a  # length
        00000000 0202  # id 0, STATUS
        0001  # status: 1
        004d  # status_code: 77
        """,
        read=Status(state=State.RUNNING, pid=77),
    ),
    Golden(
        Status(state=State.EXITED, code=3),
        """
        0000000a  # length
        00000000 0202  # id 0, STATUS
        0002  # status: 2
        0003  # status_code: 3
        """,
    ),
    Golden(
        Status(state=State.EXITED, signal=9, core=True),
        """
        0000000a  # length
        00000000 0202  # id 0, STATUS
        0003  # status: 3
        0009  # status_code: 9
        """,
        read=Status(state=State.EXITED, signal=9),
    ),
    Golden(
        Status(state=State.FAILED),
        """
        0000000a  # length
        00000000 0202  # id 0, STATUS
        0002  # status: 2
        ffff  # status_code: 65535
        """,
        read=Status(state=State.EXITED),
    ),
    Golden(
        Abort(errno=74, message="no"),
        """
        0000000d  # length
        00000000 ffff  # id 0, ABORT
        0000004a  # code: 74
        6e6f 00  # message: no
        """,
    ),
]
