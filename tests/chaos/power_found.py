"""What was found on the disks that power cuts left behind."""

import msgspec


class Tried(msgspec.Struct, kw_only=True):
    """What was found of one kind of disk: `states` cut, of which `unsure` had unflushed writes.

    `lost` and `torn` count what should be there whole and is not, `unsound` disks that SQLite or
    TUF rejects, `stuck` those on which work did not go on, `bare` cars without a model that loads.
    """

    what: str
    operations: int = 0
    states: int = 0
    unsure: int = 0
    lost: int = 0
    torn: int = 0
    unsound: int = 0
    stuck: int = 0
    bare: int = 0
