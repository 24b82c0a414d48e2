"""The worst moments of a drive, to be looked at: positions and speeds, step by step. Bounded, since a harness writes it and others show it."""

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from livinglab.domain.model import Frozen

REPLAY_LIMIT = 4 << 20
"""Bytes of the document."""
MOST_EPISODES, MOST_FRAMES, MOST_OTHERS = 12, 1_500, 60

Kind = Literal["car", "lorry", "pedestrian"]
Word = Annotated[str, Field(max_length=80)]
Sentence = Annotated[str, Field(max_length=300)]
Track = Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=MOST_FRAMES)]
Gaps = Annotated[tuple[FiniteFloat | None, ...], Field(max_length=MOST_FRAMES)]
Polyline = Annotated[tuple[tuple[FiniteFloat, FiniteFloat], ...], Field(min_length=2, max_length=500)]


class Size(Frozen):
    """Of a road user, in metres."""

    length: float = Field(gt=0, le=50)
    width: float = Field(gt=0, le=10)


class Other(Frozen):
    """Somebody else: where it was at the frames (their indices, in order) at which it is known. Metres; angles in radians."""

    id: int
    kind: Kind
    frames: Annotated[tuple[Annotated[int, Field(ge=0, lt=MOST_FRAMES)], ...], Field(min_length=1, max_length=MOST_FRAMES)]
    x: Track
    y: Track
    angle: Track

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        if len({len(self.frames), len(self.x), len(self.y), len(self.angle)}) != 1:
            msg = "frames, x, y and angle have one length"
            raise ValueError(msg)
        if any(later <= earlier for earlier, later in zip(self.frames, self.frames[1:], strict=False)):
            msg = "the frames are in order, each once"
            raise ValueError(msg)
        return self


class Contact(Frozen):
    """How an episode ended that ended in a collision: when (s), with whom, and how fast they met (m/s)."""

    time: float = Field(ge=0)
    other: Word
    relative_speed: float = Field(ge=0)


class ReplayEpisode(Frozen):
    """One episode of the vehicle under test, frame by frame: s, m, rad, m/s, m/s². `gap` and `ttc` are None where nobody is ahead."""

    id: Word
    family: Word
    why: Sentence
    """It is among the worst."""
    preventable: bool
    collision: Contact | None
    parameters: Annotated[dict[Word, FiniteFloat], Field(max_length=30)] = {}
    time: Track
    x: Track
    y: Track
    angle: Track
    speed: Track
    acceleration: Track
    gap: Gaps
    ttc: Gaps
    others: Annotated[tuple[Other, ...], Field(max_length=MOST_OTHERS)] = ()
    edges: Annotated[tuple[Polyline, ...], Field(max_length=40)] = ()
    """Of the road."""

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        tracks = (self.time, self.x, self.y, self.angle, self.speed, self.acceleration, self.gap, self.ttc)
        if len({len(track) for track in tracks}) != 1:
            msg = "time, x, y, angle, speed, acceleration, gap and ttc have one length"
            raise ValueError(msg)
        if any(other.frames[-1] >= len(self.time) for other in self.others):
            msg = "another road user is known at a frame that there is not"
            raise ValueError(msg)
        return self


class Replay(Frozen):
    """`replay.json`, as a harness of closed-loop driving writes it beside its measurements."""

    schema_version: Literal[1] = 1
    ttc_threshold: float = Field(gt=0, le=60)
    """s"""
    lane_width: float = Field(gt=0, le=20)
    """Of the lane in which each episode begins; x is its direction, y = 0 its middle."""
    sizes: dict[Kind, Size]
    ego: Size
    episodes: Annotated[tuple[ReplayEpisode, ...], Field(max_length=MOST_EPISODES)]
