"""The web console: what a person in a browser sees of the fleet.

Laws:
- it reads and shows; nothing here changes anything;
- it works without the internet: every script, style and font comes from this server;
- one look at the database a second serves every open page, and a page only receives what changed.

`reader` says what it reads, `board` turns that into what is shown (pure), `charts` and `theme` say
how it looks, `pages` draw it. `mount` is the one entrance.
"""

from fleet_server.console.mounting import mount

__all__ = ["mount"]
