"""The web console: what a person in a browser sees of the fleet, and does about it.

Laws:
- it changes nothing itself: each act is a call of the REST API as the person who asks (`asking`);
- it works without the internet: every script, style and font comes from this server;
- one look at the database a second serves every open page, and a page only receives what changed.

`sheets` turn what was read into `nodes` (pure), which `sheet` draws; `pages` read, and say what may
be done (`acts`); `shell` keeps a page alive and holds it to its session's rights (`sessions`,
`gate`). `mount` is the one entrance.
"""

from fleet_server.console.mounting import mount

__all__ = ["mount"]
