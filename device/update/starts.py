"""Does drive get anywhere, or does it die at every start? A count of starts that came to nothing.

Laws:
- three in a row are a crash loop; whichever model was put into memory last is to blame;
- a manoeuvre that ended by itself, a minute in memory or an orderly end says that it lives;
- what died before the model came counts for nothing.
"""

from typing import Final

from shared.samples import Count, Record

CRASHES: Final = 3
ALIVE_US: Final = 60_000_000


class Starts(Record, frozen=True):
    """`unclean` is the journal's count when drive was last known to live, `crashes` those since."""

    unclean: Count = 0
    crashes: Count = 0

    @property
    def is_loop(self) -> bool:
        """Whether these are too many."""
        return self.crashes >= CRASHES

    def seen(self, unclean: int) -> "Starts":
        """Return the count after a look at the journal's; an orderly end sets that one back."""
        known = self.unclean if unclean >= self.unclean else 0
        return Starts(unclean=known, crashes=unclean - known)
