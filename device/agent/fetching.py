"""Gets the model of one release, piece by piece, from what the broker keeps.

Laws:
- nothing is asked for that the signed metadata do not describe, and nothing that is here already;
- a connection that breaks costs the piece that was under way, and nothing else: metadata, which are
  long, are not asked for again while the pieces that they describe are on their way;
- whoever sends a piece that nobody asked for is silenced and otherwise ignored.
"""

import random

from device.agent.chunks import ChunkStore, Requests
from device.agent.effects import Effect, Subscribe, Unsubscribe
from device.agent.releases import ReleaseClient, SignedRelease
from device.home import Home
from shared.clock import Clock
from shared.messages import ReleaseMetadata
from shared.topics import RELEASE_TARGET


class Fetching:
    """The release metadata that are known, and the model that is being fetched."""

    def __init__(self, home: Home, clock: Clock, rng: random.Random) -> None:
        """Know no metadata yet, and fetch nothing."""
        self._home = home
        self._clock = clock
        self._client = ReleaseClient(home, clock)
        self._requests = Requests(rng)
        self._store: ChunkStore | None = None
        self._is_connected = False
        self.metadata: ReleaseMetadata | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all pieces of the model are here."""
        store = self._store
        return store is not None and (not store.missing or self._home.model(store.sha256).exists())

    @property
    def is_under_way(self) -> bool:
        """Whether all that is still needed is pieces."""
        return self._store is not None and bool(self._store.missing) and self.metadata is not None

    def connected(self) -> None:
        """Ask anew for what the last connection did not bring."""
        self._is_connected = True
        self._requests.restart()

    def disconnected(self) -> None:
        """Forget what was asked for."""
        self._is_connected = False
        self._requests.restart()

    def find(self, target: str) -> SignedRelease | None:
        """Return what verified metadata say of `target`; None before there are any.

        Raises:
            RetryLaterError: they do not verify, are expired or do not (yet) name the target.
            RefusedError: they name it in a form that cannot be used.
        """
        return None if self.metadata is None else self._client.find(self.metadata, target)

    def open(self, signed: SignedRelease) -> None:
        """Fetch the model of `signed` from now on.

        Raises:
            RetryLaterError: the disk is full or fails.
        """
        if self._store is None or self._store.signed != signed:
            self._store = ChunkStore(self._home, signed)

    def ask(self) -> list[Effect]:
        """Ask for the pieces that are due."""
        store = self._store
        if store is None or not self._is_connected:
            return []
        # A retained message comes once for each subscription, so asking again means leaving first.
        effects: list[Effect] = []
        for number in self._requests.ask(store.missing, self._clock.monotonic_us()):
            topic = RELEASE_TARGET.topic(sha256=store.sha256, n=number)
            effects += [Unsubscribe(topic_filter=topic), Subscribe(topic_filter=topic)]
        return effects

    def take(self, sha256: str, number: int, data: bytes) -> bool:
        """Keep a piece; tell whether it is one of the model that is being fetched.

        Raises:
            RefusedError: it is not the signed one.
            RetryLaterError: the disk is full or fails.
        """
        store = self._store
        if store is None or store.sha256 != sha256:
            return False
        store.put(number, data)
        self._requests.answered(number)
        return True

    def close(self, sha256: str) -> ChunkStore | None:
        """Return what is here of the model `sha256`, also after a kill, and fetch no more of it.

        Raises:
            RetryLaterError: the disk is full or fails.
        """
        store, self._store = self._store, None
        return store or ChunkStore.resume(self._home, sha256)

    def leave(self) -> list[Effect]:
        """Stop fetching."""
        store, self._store = self._store, None
        asked = () if store is None else self._requests.asked
        self._requests.restart()
        return [
            Unsubscribe(topic_filter=RELEASE_TARGET.topic(sha256=store.sha256, n=number))
            for number in asked
            if store is not None
        ]
