"""A Merkle log as RFC 6962, section 2.1, defines it: roots and inclusion proofs."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_HASH = 32


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two below `size` (≥ 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def root(leaves: Sequence[bytes]) -> bytes:
    """The log's root; of an empty log, the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    return _root([_leaf(data) for data in leaves])


def _root(level: list[bytes]) -> bytes:
    """Pairs level by level; a last odd node moves up as it is, which is the RFC's split at the largest power of two."""
    while len(level) > 1:
        paired = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) - len(level) % 2 :]
    return level[0]


@dataclass(frozen=True)
class Frontier:
    """What a growing log must remember: its size, and the hashes of its complete subtrees, the largest first. O(log size)."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, leaves: Iterable[bytes]) -> "Frontier":
        """That of a log of these leaves."""
        frontier = cls()
        for data in leaves:
            frontier = frontier.append(data)
        return frontier

    def append(self, data: bytes) -> "Frontier":
        """That of the log with one leaf more."""
        hashes, node, size = list(self.hashes), _leaf(data), self.size
        while size & 1:
            node = _node(hashes.pop(), node)
            size >>= 1
        return Frontier(self.size + 1, (*hashes, node))

    def root(self) -> bytes:
        """The log's root, as `root` gives it from all leaves."""
        if not self.hashes:
            return root([])
        node = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            node = _node(left, node)
        return node

    def to_bytes(self) -> bytes:
        """The hashes, one after another."""
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """Again. `ValueError` if a log of that size has another number of subtrees."""
        if len(data) != _HASH * size.bit_count():
            msg = f"the frontier of a log of {size} leaves has {size.bit_count()} hashes."
            raise ValueError(msg)
        return cls(size, tuple(data[i : i + _HASH] for i in range(0, len(data), _HASH)))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of a leaf, from the leaf upwards. `IndexError` if there is no such leaf."""
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    return _path([_leaf(data) for data in leaves], index)


def _path(hashes: list[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = _split(len(hashes))
    if index < k:
        return [*_path(hashes[:k], index), _root(hashes[k:])]
    return [*_path(hashes[k:], index - k), _root(hashes[:k])]


def verify_inclusion(data: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """Is `data` leaf number `index` of the log of that size and root? See RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    node, last, current = _leaf(data), size - 1, index
    for sibling in proof:
        if last == 0:
            return False
        if current & 1 or current == last:
            node = _node(sibling, node)
            while not current & 1 and current:
                current >>= 1
                last >>= 1
        else:
            node = _node(node, sibling)
        current >>= 1
        last >>= 1
    return last == 0 and node == expected_root
